//! A reader of QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg).

use super::Io;
use gearbox_machines::devices::fw_cfg::key;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
/// Size, key, reserved word and name.
const ENTRY: usize = 64;
const NAME: usize = 8;

/// The items that a machine hands to its firmware.
///
/// ```
/// use gearbox::testing::{FwCfg, Vm};
///
/// let mut bench = Vm::pc().bench()?;
/// let mut items = FwCfg::of(&mut bench);
/// assert_eq!(items.item(0, 4), *b"QEMU");
/// assert_eq!(items.file("etc/e820").expect("the memory map").len() % 20, 0);
/// # Ok::<(), gearbox::testing::StartError>(())
/// ```
pub struct FwCfg<'a, T: Io + ?Sized>(&'a mut T);

/// A file of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfgFile {
    /// Its name.
    pub name: String,
    /// Its item.
    pub key: u16,
    /// Its size in bytes.
    pub size: u32,
}

impl<'a, T: Io + ?Sized> FwCfg<'a, T> {
    /// The items of this machine.
    pub fn of(machine: &'a mut T) -> Self {
        Self(machine)
    }
    /// The first `len` bytes of an item; zeros stand beyond its end.
    pub fn item(&mut self, key: u16, len: usize) -> Vec<u8> {
        self.0.outw(SELECTOR, key);
        (0..len).map(|_| self.0.inb(DATA)).collect()
    }
    /// The directory of files.
    pub fn files(&mut self) -> Vec<FwCfgFile> {
        let count = self.item(key::FILE_DIR, 4);
        let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]) as usize;
        let bytes: Vec<u8> = (0..count.min(4096) * ENTRY).map(|_| self.0.inb(DATA)).collect();
        let file = |e: &[u8]| FwCfgFile {
            name: e[NAME..].iter().take_while(|&&b| b != 0).map(|&b| char::from(b)).collect(),
            key: u16::from_be_bytes([e[4], e[5]]),
            size: u32::from_be_bytes([e[0], e[1], e[2], e[3]]),
        };
        bytes.chunks_exact(ENTRY).map(file).collect()
    }
    /// Contents of a file, if there is one of that name.
    pub fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        let file = self.files().into_iter().find(|f| f.name == name)?;
        Some(self.item(file.key, file.size as usize))
    }
}
