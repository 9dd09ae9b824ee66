//! Base address registers (PCI Local Bus Specification 3.0, 6.2.5).

use super::config::{ConfigSpace, command, reg};
use crate::mem::RegionId;

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// Memory anywhere; takes two registers.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// The expansion ROM.
    Rom,
}

impl BarKind {
    /// The bits that say what it is.
    fn type_bits(self) -> u32 {
        match self {
            Self::Io => 1,
            Self::Memory32 { prefetchable } => u32::from(prefetchable) << 3,
            Self::Memory64 { prefetchable } => 4 | u32::from(prefetchable) << 3,
            Self::Rom => 0,
        }
    }
    /// Smallest size in bytes that the type bits leave room for.
    fn smallest(self) -> u64 {
        match self {
            Self::Io => 4,
            Self::Memory32 { .. } | Self::Memory64 { .. } => 16,
            Self::Rom => 2048,
        }
    }
    /// Decoded in port space rather than in memory space.
    pub fn is_io(self) -> bool {
        self == Self::Io
    }
}

/// A base address register and the region behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) kind: BarKind,
    pub(crate) region: RegionId,
    /// Where the region is mapped now.
    pub(crate) mapped: Option<u64>,
    offset: u8,
    size: u64,
}

/// A base address register as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarInfo {
    /// Its number: 0 to 5, or 6 for the expansion ROM.
    pub index: u8,
    /// What it decodes.
    pub kind: BarKind,
    /// How many bytes.
    pub size: u64,
    /// Where, while it is mapped.
    pub address: Option<u64>,
}

impl Bar {
    /// As lists show it.
    pub(crate) fn info(&self) -> BarInfo {
        let index = if self.kind == BarKind::Rom { 6 } else { (self.offset - reg::BAR0) / 4 };
        BarInfo { index, kind: self.kind, size: self.size, address: self.mapped }
    }
    /// Lays the register out in `config`. `index` is 0 to 5, and ignored for the ROM. The size is rounded up to a power of two.
    pub(crate) fn new(config: &mut ConfigSpace, index: u8, kind: BarKind, size: u64, region: RegionId) -> Self {
        let offset = if kind == BarKind::Rom { reg::ROM_BAR } else { reg::BAR0 + 4 * index };
        let size = size.max(kind.smallest()).next_power_of_two();
        let mask = !(size - 1);
        let enable = u32::from(kind == BarKind::Rom);
        config.init(offset, &kind.type_bits().to_le_bytes());
        config.set_writable(offset, &(mask as u32 | enable).to_le_bytes());
        if let BarKind::Memory64 { .. } = kind {
            config.set_writable(offset + 4, &((mask >> 32) as u32).to_le_bytes());
        }
        Self { kind, region, mapped: None, offset, size }
    }

    /// Where the register and the command bits put the region now. As on a PC, address 0 and ranges that wrap decode nothing.
    pub(crate) fn decode(&self, config: &ConfigSpace) -> Option<u64> {
        let enabled = if self.kind.is_io() { command::IO } else { command::MEMORY };
        if config.command() & enabled == 0 {
            return None;
        }
        let low = u64::from(config.dword(self.offset));
        let (raw, limit) = match self.kind {
            BarKind::Io => (low, 0xffff),
            BarKind::Rom if low & 1 == 0 => return None,
            BarKind::Memory64 { .. } => (low | u64::from(config.dword(self.offset + 4)) << 32, u64::MAX),
            BarKind::Memory32 { .. } | BarKind::Rom => (low, 0xffff_ffff),
        };
        let first = raw & !(self.size - 1);
        let last = first.checked_add(self.size - 1)?;
        (first != 0 && last < limit).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::MemTree;
    use crate::pci::ConfigHeader;

    fn bar(kind: BarKind, size: u64) -> (ConfigSpace, Bar) {
        let mut c = ConfigSpace::new(&ConfigHeader::default());
        let region = MemTree::new("m", u64::MAX).root();
        let b = Bar::new(&mut c, 0, kind, size, region);
        (c, b)
    }

    #[test]
    fn sizing_by_all_ones() {
        for (kind, size, expect) in [
            (BarKind::Io, 0x20, 0xffff_ffe1),
            (BarKind::Memory32 { prefetchable: true }, 0x1000, 0xffff_f008),
            (BarKind::Memory64 { prefetchable: false }, 0x1000, 0xffff_f004),
            (BarKind::Rom, 0x1_0000, 0xffff_0001),
        ] {
            let (mut c, b) = bar(kind, size);
            c.write(b.offset, 4, 0xffff_ffff);
            assert_eq!(c.dword(b.offset), expect, "{kind:?}");
        }
    }

    #[test]
    fn decodes_only_when_enabled_and_sane() {
        let (mut c, b) = bar(BarKind::Memory64 { prefetchable: false }, 0x1000);
        c.write(0x10, 4, 0xfeb0_0000);
        assert_eq!(b.decode(&c), None);
        c.write(reg::COMMAND, 2, 2);
        assert_eq!(b.decode(&c), Some(0xfeb0_0000));
        c.write(0x14, 4, 1);
        assert_eq!(b.decode(&c), Some(0x1_feb0_0000));
        c.write(0x14, 4, 0xffff_ffff);
        c.write(0x10, 4, 0xffff_ffff);
        assert_eq!(b.decode(&c), None);
        let (mut c, b) = bar(BarKind::Io, 0x20);
        c.write(reg::COMMAND, 2, 1);
        assert_eq!(b.decode(&c), None, "address 0");
        c.write(0x10, 4, 0xc001);
        assert_eq!(b.decode(&c), Some(0xc000));
        c.write(0x10, 4, 0x1_c001u32);
        assert_eq!(b.decode(&c), None, "beyond 64 KiB");
        let (mut c, b) = bar(BarKind::Rom, 0x1000);
        c.write(reg::COMMAND, 2, 2);
        c.write(0x30, 4, 0xfeb0_0000);
        assert_eq!(b.decode(&c), None, "ROM not enabled");
        c.write(0x30, 4, 0xfeb0_0001);
        assert_eq!(b.decode(&c), Some(0xfeb0_0000));
    }
}
