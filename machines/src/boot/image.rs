//! What a loader makes of the files it is given: bytes at addresses, and where to begin.

use super::e820::MemoryMap;
use super::entry::Entry;
use std::sync::Arc;

/// Bytes for guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What they are, for messages.
    pub name: &'static str,
    /// Guest-physical address.
    pub addr: u64,
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Bytes of zeros that follow them (a BSS).
    pub zeros: u64,
}

impl Blob {
    /// Bytes without zeros behind them.
    pub fn new(name: &'static str, addr: u64, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { name, addr, bytes: bytes.into(), zeros: 0 }
    }
    /// Bytes that it takes in memory.
    pub fn size(&self) -> u64 {
        (self.bytes.len() as u64).saturating_add(self.zeros)
    }
    /// First address behind it.
    pub fn end(&self) -> u64 {
        self.addr.saturating_add(self.size())
    }
}

/// Something that can be booted any number of times: loaded anew after every reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// What to load.
    pub blobs: Vec<Blob>,
    /// Where to begin.
    pub entry: Entry,
}

impl BootImage {
    /// Checks that everything lies in RAM and nothing on something else.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, map: &MemoryMap) -> Result<(), String> {
        for (n, b) in self.blobs.iter().enumerate() {
            if !map.is_ram(b.addr, b.size()) {
                return Err(format!("{} at {:#x}-{:#x} does not lie in RAM", b.name, b.addr, b.end()));
            }
            if let Some(o) = self.blobs[..n].iter().find(|o| o.addr < b.end() && b.addr < o.end()) {
                return Err(format!("{} at {:#x} overlaps {} at {:#x}", b.name, b.addr, o.name, o.addr));
            }
        }
        Ok(())
    }
}

/// A hostile file as bytes: little-endian values by offset, none of which need be there.
#[derive(Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// `len` bytes at `offset`.
    pub fn slice(self, offset: u64, len: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }
    /// A fixed number of bytes.
    pub fn array<const N: usize>(self, offset: u64) -> Option<[u8; N]> {
        self.slice(offset, N as u64)?.try_into().ok()
    }
    /// A byte.
    pub fn byte(self, offset: u64) -> Option<u8> {
        self.array(offset).map(u8::from_le_bytes)
    }
    /// A word.
    pub fn word(self, offset: u64) -> Option<u16> {
        self.array(offset).map(u16::from_le_bytes)
    }
    /// A double word.
    pub fn dword(self, offset: u64) -> Option<u32> {
        self.array(offset).map(u32::from_le_bytes)
    }
    /// A quad word.
    pub fn qword(self, offset: u64) -> Option<u64> {
        self.array(offset).map(u64::from_le_bytes)
    }
}

/// A table that is filled in by offset.
pub struct Table<const N: usize>(pub [u8; N]);

impl<const N: usize> Default for Table<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Table<N> {
    /// All zeros.
    pub fn new() -> Self {
        Self::default()
    }
    /// Puts bytes at `offset`.
    ///
    /// # Panics
    /// They do not fit: an error of the loader, never of a file.
    pub fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    /// Puts a byte.
    pub fn byte(&mut self, offset: usize, v: u8) {
        self.put(offset, &[v]);
    }
    /// Puts a word.
    pub fn word(&mut self, offset: usize, v: u16) {
        self.put(offset, &v.to_le_bytes());
    }
    /// Puts a double word.
    pub fn dword(&mut self, offset: usize, v: u32) {
        self.put(offset, &v.to_le_bytes());
    }
    /// Puts a quad word.
    pub fn qword(&mut self, offset: usize, v: u64) {
        self.put(offset, &v.to_le_bytes());
    }
}
