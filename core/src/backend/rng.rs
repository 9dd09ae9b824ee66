//! Sources of random numbers, by id (`-object rng-builtin`, `-object rng-random`): for devices that give them to guests.

use crate::object::{ObjectSpec, Property, TypeEntry, TypeInfo, UserObject};
use crate::property;
use std::fs::File;
use std::io::{self, Read};

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

impl Default for RngRandom {
    fn default() -> Self {
        Self { filename: HOST.to_owned() }
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
