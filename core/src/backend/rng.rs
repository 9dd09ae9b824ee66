//! Sources of random numbers, by id (`-object rng-builtin`, `-object rng-random`): for devices that give them to guests.

use crate::object::{ObjectSpec, Property, TypeEntry, TypeInfo, UserObject};
use crate::property;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// A source of random numbers.
pub struct Rng(File);

impl UserObject for Rng {}

impl Rng {
    /// Fills `buf`; it may wait, so not with the board locked.
    ///
    /// # Errors
    /// The host's source failed, or has an end.
    pub fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        (&self.0).read_exact(buf)
    }
}

const HOST: &str = "/dev/urandom";

fn open(path: &str) -> Result<Rng, String> {
    File::open(path).map(Rng).map_err(|e| format!("Could not open '{path}': {e}"))
}

/// A device's property that names a source.
#[derive(Clone, Default)]
pub struct RngSource {
    id: String,
    rng: Option<Arc<Rng>>,
}

impl RngSource {
    /// The source `rng`, as it was asked for.
    pub fn named(id: &str, rng: Arc<Rng>) -> Self {
        Self { id: id.to_owned(), rng: Some(rng) }
    }
    /// As it was asked for; empty without a source.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The source; the host's own generator where there is none.
    ///
    /// # Errors
    /// The host has none.
    pub fn rng(&self) -> Result<Arc<Rng>, String> {
        self.rng.clone().map_or_else(|| open(HOST).map(Arc::new), Ok)
    }
}

impl std::fmt::Debug for RngSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RngSource({})", self.id)
    }
}

/// A source that a device reads without waiting: a thread does. It goes with the reader, as soon as the source lets it.
pub struct RngReader {
    wanted: Sender<usize>,
    done: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl RngReader {
    /// Reads from `rng`. `ready` is called, on the thread, when there is something to [take](RngReader::take).
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn new(rng: Arc<Rng>, ready: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (wanted, requests) = channel::<usize>();
        let done = Arc::new(Mutex::new(VecDeque::new()));
        let results = done.clone();
        std::thread::Builder::new().name("rng".into()).spawn(move || {
            for bytes in requests {
                let mut data = vec![0; bytes];
                if let Err(e) = rng.fill(&mut data) {
                    tracing::warn!("random numbers: {e}");
                    data.clear();
                }
                results.lock().push_back(data);
                ready();
            }
        })?;
        Ok(Self { wanted, done })
    }
    /// Asks for so many bytes.
    pub fn request(&self, bytes: usize) {
        // The thread ends after the reader only.
        let _ = self.wanted.send(bytes);
    }
    /// Takes what has come for the oldest request: nothing if the source failed.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.done.lock().pop_front()
    }
}

/// The host's own generator (`rng-builtin`).
#[derive(Default)]
pub struct RngBuiltin;

impl ObjectSpec for RngBuiltin {
    type Object = Rng;
    const TYPE: &'static str = "rng-builtin";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[];
    fn complete(self, _id: &str) -> Result<Rng, String> {
        open(HOST)
    }
}

/// A file of random bytes (`rng-random`).
pub struct RngRandom {
    filename: String,
}

impl RngRandom {
    /// The bytes of a file.
    pub fn at(filename: &str) -> Self {
        Self { filename: filename.to_owned() }
    }
}

impl Default for RngRandom {
    fn default() -> Self {
        Self::at(HOST)
    }
}

impl ObjectSpec for RngRandom {
    type Object = Rng;
    const TYPE: &'static str = "rng-random";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("filename", String, filename, "where the bytes come from")]];
    fn complete(self, _id: &str) -> Result<Rng, String> {
        open(&self.filename)
    }
}

inventory::submit! { TypeEntry(&TypeInfo::user::<RngBuiltin>("rng-backend", "random numbers of the host")) }
inventory::submit! { TypeEntry(&TypeInfo::user::<RngRandom>("rng-backend", "random numbers from a file")) }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::UserObjects;

    #[test]
    fn a_reader_does_not_wait() {
        let (told, hear) = channel();
        let reader = RngReader::new(RngSource::default().rng().unwrap(), move || told.send(()).unwrap()).unwrap();
        assert!(reader.take().is_none());
        [32, 1].into_iter().for_each(|n| reader.request(n));
        (0..2).for_each(|_| hear.recv().unwrap());
        assert_eq!([reader.take().unwrap().len(), reader.take().unwrap().len()], [32, 1]);
        assert!(reader.take().is_none());
        drop(reader);
        assert!(hear.recv().is_err(), "the thread has gone");
        assert!(RngSource::default().rng().is_ok() && open("/nowhere").is_err());
    }

    #[test]
    fn bytes_by_id() {
        let objects = UserObjects::default();
        objects.add("rng-builtin", "r0", &[]).unwrap();
        let mut bytes = [0; 32];
        objects.get::<Rng>("r0").unwrap().fill(&mut bytes).unwrap();
        assert_ne!(bytes, [0; 32]);
        objects.add("rng-random", "r1", &[("filename".to_owned(), "/dev/zero".into())]).unwrap();
        objects.get::<Rng>("r1").unwrap().fill(&mut bytes).unwrap();
        assert_eq!(bytes, [0; 32]);
        let e = objects.add("rng-random", "r2", &[("filename".to_owned(), "/nowhere".into())]).unwrap_err();
        assert!(e.to_string().contains("Could not open '/nowhere'"));
    }
}
