//! Character back ends that come and go: `chardev-add` and its companions.

use super::{Control, Error, Result};
use crate::args::consoles::CHARDEV_TYPES;
use crate::assemble::describe;
use crate::backend::chardev::{ChardevSpec, Mux, SocketAddress, SocketRole, Source};
use crate::qmp::types::chardev::{
    ChardevBackend, ChardevBackendInfo, ChardevBackendKind, ChardevInfo, ChardevReturn, SocketAddressKind,
};
use std::time::Duration;

impl Control {
    /// `query-chardev`.
    pub fn chardevs(&self) -> Vec<ChardevInfo> {
        let info = |c: crate::backend::chardev::ChardevInfo| ChardevInfo {
            label: c.id,
            filename: c.filename,
            frontend_open: c.in_use,
        };
        self.facts.chardevs.list().into_iter().map(info).collect()
    }
    /// `query-chardev-backends`.
    pub fn chardev_backends() -> Vec<ChardevBackendInfo> {
        CHARDEV_TYPES.iter().map(|(name, _)| ChardevBackendInfo { name: (*name).to_owned() }).collect()
    }
    /// `chardev-add`.
    ///
    /// # Errors
    /// The id is taken, or the host refused it.
    pub fn chardev_add(&self, id: &str, backend: ChardevBackend) -> Result<ChardevReturn> {
        self.add_chardev(id, spec(backend)?)
    }
    /// The same, from what `-chardev` says.
    pub(crate) fn add_chardev(&self, id: &str, spec: ChardevSpec) -> Result<ChardevReturn> {
        if self.facts.chardevs.list().iter().any(|c| c.id == id) {
            return Err(Error::generic(format!("Chardev with id '{id}' already exists")));
        }
        let (source, made) = open(id, &spec)?;
        let added = self.facts.chardevs.add(id, describe(&spec), source);
        added.map_err(|e| Error::generic(e.to_string()))?;
        Ok(made)
    }
    /// `chardev-change`: another back end under an id that nobody uses.
    ///
    /// # Errors
    /// There is none of that id, it is in use, or the host refused the new one.
    pub fn chardev_change(&self, id: &str, backend: ChardevBackend) -> Result<ChardevReturn> {
        self.change_chardev(id, spec(backend)?)
    }
    /// The same, from what `-chardev` says.
    pub(crate) fn change_chardev(&self, id: &str, spec: ChardevSpec) -> Result<ChardevReturn> {
        if !self.facts.chardevs.list().iter().any(|c| c.id == id) {
            return Err(Error::generic(format!("Chardev '{id}' does not exist")));
        }
        let (source, made) = open(id, &spec)?;
        let old = self.facts.chardevs.replace(id, describe(&spec), source);
        close(old.map_err(|e| Error::generic(e.to_string()))?);
        Ok(made)
    }
    /// `chardev-remove`.
    ///
    /// # Errors
    /// There is none of that id, or it is in use.
    pub fn chardev_remove(&self, id: &str) -> Result<()> {
        let known = self.facts.chardevs.list().into_iter().find(|c| c.id == id);
        let known = known.ok_or_else(|| Error::generic(format!("Chardev '{id}' not found")))?;
        if known.in_use {
            return Err(Error::generic(format!("Chardev '{id}' is busy")));
        }
        close(self.facts.chardevs.remove(id).map_err(|e| Error::generic(e.to_string()))?);
        Ok(())
    }
}

fn open(id: &str, spec: &ChardevSpec) -> Result<(Source, ChardevReturn)> {
    let open = spec.open(id).map_err(|e| Error::generic(format!("{}: {e}", describe(spec))))?;
    let pty = open.pty.map(|path| path.display().to_string());
    Ok((Source::One(open.backend), ChardevReturn { pty }))
}

fn close(source: Source) {
    match source {
        Source::One(backend) => backend.close(),
        Source::Many(mux) => Mux::close(&mux),
    }
}

fn spec(backend: ChardevBackend) -> Result<ChardevSpec> {
    Ok(match backend.kind {
        ChardevBackendKind::File(file) => {
            ChardevSpec::File { path: file.data.out.into(), append: file.data.append.unwrap_or(false) }
        }
        ChardevBackendKind::Pipe(pipe) => ChardevSpec::Pipe { path: pipe.data.device.into() },
        ChardevBackendKind::Pty(_) => ChardevSpec::Pty,
        ChardevBackendKind::Null(_) => ChardevSpec::Null,
        ChardevBackendKind::Socket(socket) => {
            if socket.data.wait == Some(true) {
                return Err(Error::generic("'wait' option is incompatible with a machine that runs"));
            }
            let address = match socket.data.addr.kind {
                SocketAddressKind::Unix(at) => SocketAddress::Unix(at.data.path.into()),
                SocketAddressKind::Inet(at) => SocketAddress::Tcp(format!("{}:{}", at.data.host, at.data.port)),
            };
            let role = match socket.data.server {
                Some(false) => {
                    let every = socket.data.reconnect.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
                    SocketRole::Client { reconnect: every.map(Duration::from_secs) }
                }
                _ => SocketRole::Server { wait: false },
            };
            ChardevSpec::Socket { address, role }
        }
    })
}
