//! A QMP server: a thread between a character back end, whose clients come and go, and the machine's control.

use super::client::NamedFds;
use super::outbox::Outbox;
use super::session::Session;
use crate::backend::chardev::{CharBackend, Received};
use crate::control::Control;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running server. It ends when it is dropped; a client that goes does not end it.
pub struct Server {
    shared: Arc<Shared>,
    join: Option<JoinHandle<()>>,
}

struct Shared {
    backend: Arc<dyn CharBackend>,
    outbox: Arc<Outbox>,
    signal: Mutex<Signal>,
    changed: Condvar,
}

/// Why the thread should wake.
#[derive(Default)]
struct Signal {
    ready: bool,
    quit: bool,
}

impl Shared {
    fn signal(&self, f: impl FnOnce(&mut Signal)) {
        f(&mut self.signal.lock());
        self.changed.notify_all();
    }
    /// Waits for something to do; false at the end.
    fn wait(&self) -> bool {
        let mut signal = self.signal.lock();
        while !(signal.ready || signal.quit) {
            self.changed.wait(&mut signal);
        }
        signal.ready = false;
        !signal.quit
    }
    fn serve(&self, control: &Arc<Control>, pretty: bool) {
        let named = NamedFds::default();
        let begin = || Session::begin(control, &self.outbox, &named, pretty);
        let mut session = (!self.backend.has_connections()).then(begin);
        let mut bytes = [0; 4096];
        while self.wait() {
            loop {
                match self.backend.receive(&mut bytes) {
                    Received::Nothing => break,
                    Received::Connected => session = Some(begin()),
                    Received::Disconnected => {
                        session = None;
                        self.outbox.close();
                    }
                    Received::Bytes(n) => {
                        if let Some(session) = &mut session {
                            session.feed(&bytes[..n], || self.backend.take_fds());
                        }
                    }
                }
            }
        }
    }
}

impl Server {
    /// Serves `control` on `backend`; `pretty` lays replies out for people.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(control: Arc<Control>, backend: Arc<dyn CharBackend>, pretty: bool) -> io::Result<Self> {
        let outbox = Arc::new(Outbox::new(backend.clone()));
        let shared = Arc::new(Shared { backend, outbox, signal: Mutex::default(), changed: Condvar::new() });
        let weak = Arc::downgrade(&shared);
        shared.backend.on_ready(Box::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.outbox.pump();
                shared.signal(|s| s.ready = true);
            }
        }));
        let theirs = shared.clone();
        let join = std::thread::Builder::new().name("qmp".into()).spawn(move || theirs.serve(&control, pretty))?;
        // Input may have come before there was anyone to be told.
        shared.signal(|s| s.ready = true);
        Ok(Self { shared, join: Some(join) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.outbox.end();
        self.shared.signal(|s| s.quit = true);
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
        self.shared.outbox.pump();
    }
}
