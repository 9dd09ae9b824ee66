//! Memory back ends: host memory for guest RAM, by id (`-object memory-backend-ram`, QEMU's "Memory backends").

use crate::mem::RamBlock;
use crate::object::{
    Backends, ObjectSpec, Property, PropertyValue, TypeEntry, TypeInfo, UserObject, Value, parse_size,
};
use crate::property;
use std::path::PathBuf;
use std::sync::Arc;

/// A number of bytes, in text with a suffix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl PropertyValue for Size {
    const KIND: &'static str = "size";
    fn to_value(&self) -> Value {
        self.0.into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        parse_size(text).map(Self).ok_or_else(|| format!("'{text}' is no size"))
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(text, backends),
            value => value.as_u64().map(Self).ok_or_else(|| "expected a size".to_owned()),
        }
    }
}

/// Memory for a guest.
pub struct MemoryBackend {
    /// The memory.
    pub block: Arc<RamBlock>,
    /// Others see what is written to it.
    pub share: bool,
    /// Its pages are there from the start.
    pub prealloc: bool,
}

impl UserObject for MemoryBackend {}

/// Properties of every kind of memory.
#[derive(Clone, Debug, Default)]
struct Common {
    size: Size,
    share: bool,
    prealloc: bool,
}

impl Common {
    fn complete(self, block: std::io::Result<Arc<RamBlock>>) -> Result<MemoryBackend, String> {
        let block = block.map_err(|e| format!("can't allocate memory: {e}"))?;
        if self.prealloc {
            block.touch();
        }
        Ok(MemoryBackend { block, share: self.share, prealloc: self.prealloc })
    }
    fn check(&self) -> Result<(), String> {
        if self.size.0 == 0 { Err("can't create backend with size 0".to_owned()) } else { Ok(()) }
    }
}

/// Anonymous memory (`memory-backend-ram`).
#[derive(Default)]
pub struct MemoryBackendRam {
    common: Common,
}

impl ObjectSpec for MemoryBackendRam {
    type Object = MemoryBackend;
    const TYPE: &'static str = "memory-backend-ram";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("prealloc", bool, common.prealloc, "allocate all pages at once"),
        property!("share", bool, common.share, "the memory is shared with others"),
        property!("size", Size, common.size, "bytes"),
    ]];
    fn complete(self, id: &str) -> Result<MemoryBackend, String> {
        self.common.check()?;
        let block = RamBlock::new(id, self.common.size.0);
        self.common.complete(block)
    }
}

/// Memory in a file (`memory-backend-file`).
#[derive(Default)]
pub struct MemoryBackendFile {
    common: Common,
    mem_path: String,
}

impl ObjectSpec for MemoryBackendFile {
    type Object = MemoryBackend;
    const TYPE: &'static str = "memory-backend-file";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("mem-path", String, mem_path, "the file, or a directory for one without a name"),
        property!("prealloc", bool, common.prealloc, "allocate all pages at once"),
        property!("share", bool, common.share, "others see what is written, and so does the file"),
        property!("size", Size, common.size, "bytes"),
    ]];
    fn complete(self, id: &str) -> Result<MemoryBackend, String> {
        self.common.check()?;
        if self.mem_path.is_empty() {
            return Err("mem-path property not set".to_owned());
        }
        let path = PathBuf::from(&self.mem_path);
        let block = RamBlock::in_file(id, &path, self.common.size.0, self.common.share);
        self.common.complete(block.map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", path.display()))))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::user::<MemoryBackendRam>("memory-backend", "anonymous memory")) }
inventory::submit! { TypeEntry(&TypeInfo::user::<MemoryBackendFile>("memory-backend", "memory in a file")) }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{ObjectAddError, UserObjects};

    fn properties(p: &[(&str, &str)]) -> Vec<(String, Value)> {
        p.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect()
    }

    #[test]
    fn ram_by_id() {
        let objects = UserObjects::default();
        objects.add("memory-backend-ram", "m0", &properties(&[("size", "64k")])).unwrap();
        let held = objects.get::<MemoryBackend>("m0").unwrap();
        assert_eq!(held.block.size(), 0x1_0000);
        assert_eq!(objects.remove("m0"), Err(ObjectAddError::InUse("m0".into())));
        drop(held);
        assert_eq!(
            objects.list()[0].properties.iter().find(|p| p.name == "size").unwrap().default,
            Some(0x1_0000.into())
        );
        objects.remove("m0").unwrap();
        assert_eq!(objects.remove("m0"), Err(ObjectAddError::NotFound("m0".into())));
    }

    #[test]
    fn mistakes_in_words() {
        let objects = UserObjects::default();
        let add =
            |kind: &str, id: &str, p: &[(&str, &str)]| objects.add(kind, id, &properties(p)).unwrap_err().to_string();
        assert_eq!(add("memory-backend-ram", "m", &[]), "can't create backend with size 0");
        assert!(
            add("memory-backend-ram", "m", &[("sise", "1")])
                .contains("'memory-backend-ram.sise' not found; did you mean 'size'?")
        );
        assert_eq!(add("isa-serial", "m", &[]), "Invalid parameter 'isa-serial'");
        assert_eq!(add("memory-backend-ram", "1m", &[]), "Parameter 'id' expects an identifier");
        assert!(
            add("memory-backend-file", "m", &[("size", "4096"), ("mem-path", "/nowhere/x")]).contains("/nowhere/x")
        );
    }

    #[test]
    fn a_file_is_written_only_when_it_is_shared() {
        let file = std::env::temp_dir().join(format!("gearbox-memory-{}", std::process::id()));
        let path = file.to_str().unwrap();
        for (share, expect) in [("off", 0), ("on", 7)] {
            let objects = UserObjects::default();
            objects
                .add("memory-backend-file", "f", &properties(&[("size", "4096"), ("mem-path", path), ("share", share)]))
                .unwrap();
            objects.get::<MemoryBackend>("f").unwrap().block.write(5, &[7]);
            let bytes = std::fs::read(&file).unwrap();
            assert_eq!((bytes.len(), bytes[5]), (4096, expect));
        }
        std::fs::remove_file(&file).unwrap();
    }
}
