//! The character back ends of a machine, by id (`-chardev`, `chardev-add`).

use super::{CharBackend, Mux, Received};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A device's property that names a back end: the back end with its id.
#[derive(Clone, Default)]
pub struct Chardev {
    id: String,
    backend: Option<Arc<dyn CharBackend>>,
}

impl Chardev {
    /// The back end `backend`, known as `id`.
    pub fn named(id: &str, backend: Arc<dyn CharBackend>) -> Self {
        Self { id: id.to_owned(), backend: Some(backend) }
    }
    /// Its id; empty without a back end.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The back end, for [`Realize::chardev`](crate::board::Realize::chardev).
    pub fn backend(&self) -> Option<Arc<dyn CharBackend>> {
        self.backend.clone()
    }
}

impl From<Option<Arc<dyn CharBackend>>> for Chardev {
    fn from(backend: Option<Arc<dyn CharBackend>>) -> Self {
        Self { id: String::new(), backend }
    }
}

impl<B: CharBackend + 'static> From<Arc<B>> for Chardev {
    fn from(backend: Arc<B>) -> Self {
        Some(backend as Arc<dyn CharBackend>).into()
    }
}

/// Why a back end could not be had, added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChardevError {
    /// There is none of that id.
    #[error("there is no chardev '{id}'{hint}")]
    Unknown {
        /// As given.
        id: String,
        /// `; did you mean 'x'?`, or nothing.
        hint: String,
    },
    /// It has as many users as it can have.
    #[error("chardev '{0}' is in use already; mux=on lets several share it")]
    Busy(String),
    /// There is one of that id already.
    #[error("there is a chardev '{0}' already")]
    Exists(String),
}

/// What an id stands for.
#[derive(Clone)]
pub enum Source {
    /// A back end for one user.
    One(Arc<dyn CharBackend>),
    /// A multiplexer for several.
    Many(Arc<Mux>),
}

struct Entry {
    source: Source,
    filename: String,
    users: Arc<AtomicUsize>,
}

/// A back end as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChardevInfo {
    /// Its id.
    pub id: String,
    /// What it is connected to, in the form of `query-chardev`.
    pub filename: String,
    /// A front end uses it.
    pub in_use: bool,
}

/// The character back ends of a machine.
#[derive(Default)]
pub struct Chardevs(Mutex<BTreeMap<String, Entry>>);

impl Chardevs {
    /// Adds a back end.
    ///
    /// # Errors
    /// The id is taken.
    pub fn add(&self, id: &str, filename: impl Into<String>, source: Source) -> Result<(), ChardevError> {
        let mut entries = self.0.lock();
        if entries.contains_key(id) {
            return Err(ChardevError::Exists(id.to_owned()));
        }
        entries.insert(id.to_owned(), Entry { source, filename: filename.into(), users: Arc::default() });
        Ok(())
    }
    /// Takes a back end out, if nobody uses it.
    ///
    /// # Errors
    /// There is none of that id, or it is in use.
    pub fn remove(&self, id: &str) -> Result<Source, ChardevError> {
        let mut entries = self.0.lock();
        let users = entries.get(id).map(|e| e.users.load(Ordering::Acquire));
        match users {
            None => Err(unknown(id, &entries)),
            Some(0) => Ok(entries.remove(id).expect("it is there").source),
            Some(_) => Err(ChardevError::Busy(id.to_owned())),
        }
    }
    /// Puts another back end behind an id that nobody uses.
    ///
    /// # Errors
    /// As [`Chardevs::remove`].
    pub fn replace(&self, id: &str, filename: impl Into<String>, source: Source) -> Result<Source, ChardevError> {
        let old = self.remove(id)?;
        self.add(id, filename, source)?;
        Ok(old)
    }
    /// Becomes a user of a back end, until the result is dropped.
    ///
    /// # Errors
    /// There is none of that id, or it has as many users as it can have.
    pub fn attach(&self, id: &str) -> Result<Arc<dyn CharBackend>, ChardevError> {
        let entries = self.0.lock();
        let entry = entries.get(id).ok_or_else(|| unknown(id, &entries))?;
        let busy = || ChardevError::Busy(id.to_owned());
        let below = match &entry.source {
            Source::One(_) if entry.users.load(Ordering::Acquire) > 0 => return Err(busy()),
            Source::One(backend) => backend.clone(),
            Source::Many(mux) => Arc::new(mux.port().ok_or_else(busy)?),
        };
        entry.users.fetch_add(1, Ordering::AcqRel);
        Ok(Arc::new(Front { below, users: entry.users.clone() }))
    }
    /// The multiplexer behind an id, if it is one.
    pub fn mux(&self, id: &str) -> Option<Arc<Mux>> {
        match &self.0.lock().get(id)?.source {
            Source::Many(mux) => Some(mux.clone()),
            Source::One(_) => None,
        }
    }
    /// All of them, by id.
    pub fn list(&self) -> Vec<ChardevInfo> {
        let info = |(id, e): (&String, &Entry)| ChardevInfo {
            id: id.clone(),
            filename: e.filename.clone(),
            in_use: e.users.load(Ordering::Acquire) > 0,
        };
        self.0.lock().iter().map(info).collect()
    }
}

fn unknown(id: &str, entries: &BTreeMap<String, Entry>) -> ChardevError {
    let near = crate::closest(id, entries.keys().map(String::as_str));
    ChardevError::Unknown { id: id.to_owned(), hint: crate::did_you_mean(near) }
}

/// One user's hold on a back end.
struct Front {
    below: Arc<dyn CharBackend>,
    users: Arc<AtomicUsize>,
}

impl Drop for Front {
    fn drop(&mut self) {
        self.below.on_ready(Box::new(|| {}));
        self.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl CharBackend for Front {
    fn read(&self, buf: &mut [u8]) -> usize {
        self.below.read(buf)
    }
    fn has_connections(&self) -> bool {
        self.below.has_connections()
    }
    fn receive(&self, buf: &mut [u8]) -> Received {
        self.below.receive(buf)
    }
    fn take_fds(&self) -> Vec<OwnedFd> {
        self.below.take_fds()
    }
    fn write(&self, data: &[u8]) -> usize {
        self.below.write(data)
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        self.below.on_ready(ready);
    }
    fn call_again(&self) {
        self.below.call_again();
    }
    fn window_size(&self) -> Option<(u16, u16)> {
        self.below.window_size()
    }
    fn flush(&self) {
        self.below.flush();
    }
    fn close(&self) {
        self.below.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::null::Null;
    use super::*;

    #[test]
    fn one_user_at_a_time_and_none_when_it_goes() {
        let c = Chardevs::default();
        c.add("a", "null", Source::One(Arc::new(Null))).unwrap();
        assert_eq!(c.add("a", "null", Source::One(Arc::new(Null))), Err(ChardevError::Exists("a".into())));
        let user = c.attach("a").unwrap();
        assert!(matches!(c.attach("a"), Err(ChardevError::Busy(_))) && c.list()[0].in_use);
        assert!(matches!(c.remove("a"), Err(ChardevError::Busy(_))));
        drop(user);
        assert!(c.attach("a").is_ok() && !c.list()[0].in_use);
        assert!(c.remove("a").is_ok() && c.list().is_empty());
        assert!(c.attach("a").err().unwrap().to_string().contains("no chardev 'a'"));
    }
}
