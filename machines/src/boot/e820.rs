//! The memory map that firmware hands to an operating system (ACPI 6.4, 15; the entries of INT 15h, AX=E820h).

/// What a range of addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// RAM for the operating system.
    Ram = 1,
    /// Nothing for it.
    Reserved = 2,
}

/// One range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
}

impl Entry {
    /// First address behind it.
    pub fn end(&self) -> u64 {
        self.start + self.size
    }
    /// As INT 15h and Linux' zero page have it: base, length, type.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut b = [0; 20];
        b[..8].copy_from_slice(&self.start.to_le_bytes());
        b[8..16].copy_from_slice(&self.size.to_le_bytes());
        b[16..].copy_from_slice(&(self.kind as u32).to_le_bytes());
        b
    }
}

/// A memory map in the order of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryMap(Vec<Entry>);

impl MemoryMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds `start..end`; nothing if that is empty.
    ///
    /// # Panics
    /// It begins before the end of what was added last: an error in a board file.
    pub fn add(&mut self, start: u64, end: u64, kind: Kind) {
        assert!(self.0.last().is_none_or(|e| e.end() <= start), "memory map out of order at {start:#x}");
        if start < end {
            self.0.push(Entry { start, size: end - start, kind });
        }
    }
    /// The ranges.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
    /// Is all of `start..start + size` RAM for the operating system?
    pub fn is_ram(&self, start: u64, size: u64) -> bool {
        let Some(end) = start.checked_add(size) else { return false };
        self.0.iter().any(|e| e.kind == Kind::Ram && e.start <= start && end <= e.end())
    }
    /// The RAM range that holds address 1 MiB: where kernels and their initial RAM disks go.
    pub fn low_ram(&self) -> Option<Entry> {
        self.0.iter().copied().find(|e| e.kind == Kind::Ram && e.start <= 1 << 20 && e.end() > 1 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_is_found() {
        let mut m = MemoryMap::new();
        m.add(0, 0x9_fc00, Kind::Ram);
        m.add(0x9_fc00, 0x10_0000, Kind::Reserved);
        m.add(0x10_0000, 0x800_0000, Kind::Ram);
        m.add(1 << 32, 1 << 32, Kind::Ram);
        assert_eq!(m.entries().len(), 3);
        assert!(m.is_ram(0x10_0000, 0x7f0_0000));
        assert!(!m.is_ram(0x10_0000, 0x7f0_0001));
        assert!(!m.is_ram(0x9_f000, 0x1000));
        assert!(!m.is_ram(u64::MAX, 2));
        assert_eq!(m.low_ram().map(|e| e.end()), Some(0x800_0000));
        assert_eq!(m.entries()[1].to_bytes()[8..], [0, 4, 6, 0, 0, 0, 0, 0, 2, 0, 0, 0]);
    }
}
