//! What is known of a client of QMP: what it has negotiated, and the descriptors that it passed.

use crate::control::{Error, Result};
use crate::qmp::qapi::qapi_enum;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

qapi_enum! {
    /// What a server offers and a client may enable (QAPI `QMPCapability`).
    enum Capability {
        /// Commands out of band.
        Oob = "oob",
    }
}

/// Descriptors by the names that `getfd` gave them. They belong to a server, and outlive its connections.
pub type NamedFds = Arc<Mutex<BTreeMap<String, OwnedFd>>>;

/// A client.
#[derive(Default)]
pub struct Client {
    negotiated: AtomicBool,
    oob: AtomicBool,
    /// Descriptors that came with the request that is being served.
    passed: Mutex<Vec<OwnedFd>>,
    named: NamedFds,
}

impl Client {
    /// Most descriptors with names.
    const NAMED: usize = 256;

    /// A client of a server that keeps descriptors in `named`.
    pub fn new(named: NamedFds) -> Self {
        Self { named, ..Self::default() }
    }
    /// Somebody in this process, who need not negotiate.
    pub fn internal() -> Self {
        Self { negotiated: AtomicBool::new(true), ..Self::default() }
    }
    /// Is the negotiation over?
    pub fn negotiated(&self) -> bool {
        self.negotiated.load(Ordering::Acquire)
    }
    /// May it send commands out of band?
    pub fn oob(&self) -> bool {
        self.oob.load(Ordering::Acquire)
    }
    /// Ends the negotiation.
    ///
    /// # Errors
    /// It is over already.
    pub fn negotiate(&self, enable: &[Capability]) -> Result<()> {
        if self.negotiated() {
            let desc = "Capabilities negotiation is already complete, command ignored";
            return Err(Error::command_not_found(desc));
        }
        self.oob.store(enable.contains(&Capability::Oob), Ordering::Release);
        self.negotiated.store(true, Ordering::Release);
        Ok(())
    }

    /// The descriptors that came with a request.
    pub(super) fn pass(&self, fds: Vec<OwnedFd>) {
        *self.passed.lock() = fds;
    }
    /// Takes the first descriptor that came with the request.
    ///
    /// # Errors
    /// None came.
    pub fn take_fd(&self) -> Result<OwnedFd> {
        let mut passed = self.passed.lock();
        if passed.is_empty() {
            return Err(Error::generic("No file descriptor supplied via SCM_RIGHTS"));
        }
        Ok(passed.remove(0))
    }
    /// `getfd`: names the descriptor that came with the request; one of that name before it is closed.
    ///
    /// # Errors
    /// None came, or the name cannot be one.
    pub fn name_fd(&self, name: String) -> Result<()> {
        let fd = self.take_fd()?;
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Error::generic("Parameter 'fdname' expects a name not starting with a digit"));
        }
        let mut named = self.named.lock();
        if named.len() >= Self::NAMED && !named.contains_key(&name) {
            return Err(Error::generic("There are too many file descriptors; closefd closes one"));
        }
        named.insert(name, fd);
        Ok(())
    }
    /// Takes a descriptor by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn take_named_fd(&self, name: &str) -> Result<OwnedFd> {
        let fd = self.named.lock().remove(name);
        fd.ok_or_else(|| Error::generic(format!("File descriptor named '{name}' not found")))
    }
}
