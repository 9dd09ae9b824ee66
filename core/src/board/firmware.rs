//! Files that devices have for firmware. A firmware configuration device serves them beside what the board gives it (QEMU's
//! `fw_cfg_add_file`).

use super::{BoardState, Cx, DeviceId, Realize};
use std::sync::Arc;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFile {
    /// Its name, such as `etc/pvpanic-port`.
    pub name: &'static str,
    /// What is in it.
    pub bytes: Arc<[u8]>,
    /// Firmware may write to it, and so answer the device.
    pub writable: bool,
    owner: DeviceId,
}

/// All of them, by name.
#[derive(Default)]
pub(super) struct FirmwareFiles(Vec<FirmwareFile>);

impl FirmwareFiles {
    fn add(&mut self, file: FirmwareFile) -> Result<(), DeviceId> {
        match self.0.binary_search_by_key(&file.name, |f| f.name) {
            Ok(n) => Err(self.0[n].owner),
            Err(n) => {
                self.0.insert(n, file);
                Ok(())
            }
        }
    }
    fn write(&mut self, name: &str, offset: usize, data: &[u8]) -> bool {
        let file = self.0.iter_mut().find(|f| f.name == name && f.writable);
        let end = offset.checked_add(data.len());
        let (Some(file), Some(end)) = (file, end) else { return false };
        let mut bytes = file.bytes.to_vec();
        let Some(target) = bytes.get_mut(offset..end) else { return false };
        target.copy_from_slice(data);
        file.bytes = bytes.into();
        true
    }
    /// What is in those files of a device that can be written, by their names.
    pub(super) fn written(&self, owner: DeviceId) -> Vec<Vec<u8>> {
        self.0.iter().filter(|f| f.owner == owner && f.writable).map(|f| f.bytes.to_vec()).collect()
    }
    /// Puts something else in them, of the same length.
    pub(super) fn set_written(&mut self, owner: DeviceId, contents: &[Vec<u8>]) {
        let files = self.0.iter_mut().filter(|f| f.owner == owner && f.writable);
        files.zip(contents).for_each(|(file, bytes)| file.bytes = bytes.as_slice().into());
    }
    /// The files of a device that goes.
    pub(super) fn forget(&mut self, owner: DeviceId) {
        self.0.retain(|f| f.owner != owner);
    }
}

impl Realize<'_> {
    /// A file for firmware, which goes with the device.
    pub fn firmware_file(&mut self, name: &'static str, bytes: impl Into<Arc<[u8]>>, writable: bool) {
        let file = FirmwareFile { name, bytes: bytes.into(), writable, owner: self.id };
        if self.fabric.firmware.add(file).is_err() {
            self.conflicts.push(format!("another device has the firmware file {name}"));
        }
    }
}

/// Where a ROM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RomPlace {
    /// A file that firmware copies to where it wants it.
    File(String),
    /// In memory.
    Memory {
        /// From there on.
        addr: u64,
        /// It is RAM, in which the board puts it.
        ram: bool,
    },
    /// Tables in a file, of which firmware knows by another one where to put them.
    Tables(String),
}

/// A ROM as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rom {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: RomPlace,
    /// Bytes.
    pub size: u64,
}

impl Rom {
    /// A file by its full name.
    pub fn file(name: &str, size: usize) -> Self {
        let short = name.rsplit('/').next().unwrap_or(name);
        Self { name: short.to_owned(), place: RomPlace::File(name.to_owned()), size: size as u64 }
    }
}

impl BoardState {
    /// Has lists show a ROM of the board.
    pub fn show_rom(&mut self, rom: Rom) {
        self.roms.push(rom);
    }
    /// All ROMs: the board's, and files with those of devices.
    pub fn roms(&self) -> Vec<Rom> {
        let files = self.fabric.firmware.0.iter().filter(|f| f.name.contains("roms/"));
        let files = files.map(|f| Rom::file(f.name, f.bytes.len()));
        let mut all: Vec<_> = self.roms.iter().cloned().chain(files).collect();
        all.sort_by_key(|rom| match rom.place {
            RomPlace::File(_) => (0, 0),
            RomPlace::Memory { addr, .. } => (1, addr),
            RomPlace::Tables(_) => (2, 0),
        });
        all
    }
}

impl Cx<'_> {
    /// The files that devices have for firmware, by name.
    pub fn firmware_files(&self) -> &[FirmwareFile] {
        &self.fabric.firmware.0
    }
    /// Writes to one of them, for firmware. Nothing is written unless the file is writable and has room for all of it; says whether it was.
    pub fn write_firmware_file(&mut self, name: &str, offset: usize, data: &[u8]) -> bool {
        self.fabric.firmware.write(name, offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_one_owner_and_one_size() {
        let mut files = FirmwareFiles::default();
        let file = |name, writable, owner| FirmwareFile {
            name,
            bytes: [1, 2, 3].into(),
            writable,
            owner: DeviceId::nth(owner),
        };
        files.add(file("etc/b", true, 1)).unwrap();
        files.add(file("etc/a", false, 2)).unwrap();
        assert_eq!(files.add(file("etc/b", false, 3)), Err(DeviceId::nth(1)));
        assert_eq!(files.0.iter().map(|f| f.name).collect::<Vec<_>>(), ["etc/a", "etc/b"]);
        assert!(
            !files.write("etc/a", 0, &[9])
                && !files.write("etc/b", 2, &[9, 9])
                && !files.write("etc/b", usize::MAX, &[9])
        );
        assert!(files.write("etc/b", 1, &[9, 9]));
        assert_eq!(*files.0[1].bytes, [1, 9, 9]);
        files.forget(DeviceId::nth(1));
        assert_eq!(files.0.len(), 1);
    }
}
