//! Guest RAM around the PCI hole, and what the rest of the machine is told of it.

use crate::boot::e820::{Kind, MemoryMap};
use gearbox_core::backend::memory::MemoryBackend;
use gearbox_core::board::BoardState;
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{BuildError, MachineConfig};
use gearbox_core::mem::{MemTree, RamBlock, RegionId};
use std::sync::Arc;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// RAM of this size or more leaves the fourth GiB to PCI altogether.
const SPLIT_AT: u64 = 0xe000_0000;
const SPLIT: u64 = 0xc000_0000;
/// Where base memory ends and the extended BIOS data area begins.
pub(in crate::boards) const EBDA: u64 = 0x9_fc00;
/// The shadow RAM in which firmware keeps its tables.
pub(in crate::boards) const TABLES: (u64, u64) = (0xf_0000, 0x10_0000);
/// Last address of the PCI hole: the I/O APIC follows.
const HOLE_LAST: u32 = 0xfebf_ffff;
/// Least and most RAM: the shadow RAM below 1 MiB must be there.
pub(in crate::boards) const LEAST: u64 = MIB;
pub(in crate::boards) const MOST: u64 = 64 * GIB;

/// How RAM is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::boards) struct Layout {
    /// Bytes from address 0 on.
    pub(in crate::boards) low: u64,
    /// Bytes from 4 GiB on.
    pub(in crate::boards) high: u64,
}

/// The regions of the memory tree that the host bridge needs.
pub(in crate::boards) struct Regions {
    pub(in crate::boards) low: RegionId,
    /// PCI memory space, below everything else.
    pub(in crate::boards) pci: RegionId,
}

impl Layout {
    /// As QEMU's `pc_init1` divides it.
    pub(in crate::boards) fn new(ram: u64) -> Self {
        let low = if ram >= SPLIT_AT { SPLIT } else { ram };
        Self { low, high: ram - low }
    }
    /// The same on boards without PCI, where less has to stay free (QEMU's `gigabyte_align` is off).
    pub(in crate::boards) fn without_pci(ram: u64) -> Self {
        let low = ram.min(SPLIT_AT);
        Self { low, high: ram - low }
    }
    /// First and last address of the memory that firmware gives to PCI: as much below 4 GiB as one memory type range can name.
    pub(in crate::boards) fn hole(self) -> (u32, u32) {
        let first = [0x8000_0000, 0xc000_0000].into_iter().find(|&first| self.low <= u64::from(first));
        (first.unwrap_or(SPLIT_AT as u32), HOLE_LAST)
    }
    /// What an operating system is told.
    pub(in crate::boards) fn map(self) -> MemoryMap {
        let mut m = MemoryMap::new();
        m.add(0, EBDA.min(self.low), Kind::Ram);
        m.add(EBDA, 0xa_0000, Kind::Reserved);
        m.add(TABLES.0, TABLES.1, Kind::Reserved);
        m.add(MIB, self.low.max(MIB), Kind::Ram);
        m.add(4 * GIB, 4 * GIB + self.high, Kind::Ram);
        m
    }
    /// Where RAM is, as first and last address.
    pub(in crate::boards) fn areas(self) -> Vec<(u64, u64)> {
        let high = (self.high > 0).then(|| (4 * GIB, 4 * GIB + self.high - 1));
        std::iter::once((0, self.low - 1)).chain(high).collect()
    }
    /// The RAM alone, in the form of the map's entries, for firmware to make its own map of.
    pub(in crate::boards) fn ram(self) -> Vec<u8> {
        let mut m = MemoryMap::new();
        m.add(0, self.low, Kind::Ram);
        m.add(4 * GIB, 4 * GIB + self.high, Kind::Ram);
        m.entries().iter().flat_map(|e| e.to_bytes()).collect()
    }
    /// Memory sizes in CMOS RAM, as (index, value): base and extended memory in KiB, memory above 16 MiB and above 4 GiB in 64 KiB.
    pub(in crate::boards) fn cmos(self) -> Vec<(u8, u8)> {
        let base = (self.low / 1024).min(640);
        let extended = (self.low.saturating_sub(MIB) / 1024).min(0xffff);
        let above_16m = (self.low.saturating_sub(16 * MIB) / 0x1_0000).min(0xffff);
        let above_4g = self.high / 0x1_0000;
        let mut bytes = Vec::new();
        let mut put = |first: u8, len: usize, value: u64| {
            bytes.extend((first..).zip(value.to_le_bytes().into_iter().take(len)));
        };
        put(0x15, 2, base);
        put(0x17, 2, extended);
        put(0x30, 2, extended);
        put(0x34, 2, above_16m);
        put(0x5b, 3, above_4g);
        bytes
    }
    /// The RAM that an operating system uses, as (first and last offset in the RAM, address): without the VGA window.
    pub(in crate::boards) fn usable(self) -> [(u64, u64, u64); 3] {
        const WINDOW: u64 = 0xa_0000;
        [(0, WINDOW.min(self.low), 0), (MIB, self.low, MIB), (self.low, self.low + self.high, 4 * GIB)]
    }
    /// Maps RAM and PCI memory space.
    ///
    /// # Errors
    /// The host refused the memory, or the back end that was asked for.
    pub(in crate::boards) fn realize(
        self,
        config: &MachineConfig,
        nodes: &NumaNodes,
        s: &mut BoardState,
    ) -> Result<Regions, BuildError> {
        let low = self.map_ram(config, nodes, s)?;
        let m = s.memory();
        let pci = m.container("pci", u64::MAX);
        m.map(m.root(), 0, pci, -1);
        Ok(Regions { low, pci })
    }
    /// Maps RAM; the region of what is below 4 GiB.
    ///
    /// # Errors
    /// As [`Layout::realize`].
    pub(in crate::boards) fn map_ram(
        self,
        config: &MachineConfig,
        nodes: &NumaNodes,
        s: &mut BoardState,
    ) -> Result<RegionId, BuildError> {
        let ram = pieces(config, nodes, s)?;
        let m = s.memory();
        let low = part(m, "ram-below-4g", &ram, 0, self.low);
        m.map(m.root(), 0, low, 0);
        if self.high > 0 {
            let high = part(m, "ram-above-4g", &ram, self.low, self.high);
            m.map(m.root(), 4 * GIB, high, 0);
        }
        Ok(low)
    }
}

/// The RAM: one block, or those of the NUMA nodes one after the other.
fn pieces(config: &MachineConfig, nodes: &NumaNodes, s: &mut BoardState) -> Result<Vec<Arc<RamBlock>>, BuildError> {
    let ids: Vec<_> = nodes.nodes.iter().filter_map(|n| n.memdev.as_deref()).collect();
    let wrong =
        |value: &str, reason: &str| BuildError::Option { option: "numa", value: value.into(), reason: reason.into() };
    match (ids.as_slice(), &config.memory_backend) {
        ([], _) => Ok(vec![config.ram(s, "pc.ram")?]),
        (_, Some(id)) => {
            Err(wrong(id, "'-machine memory-backend' and '-numa memdev' properties are mutually exclusive"))
        }
        (ids, None) => ids
            .iter()
            .map(|id| {
                let backend = config
                    .objects
                    .get::<MemoryBackend>(id)
                    .ok_or_else(|| wrong(id, "there is no such memory back end"))?;
                let block = backend.block.clone();
                s.hold(backend);
                Ok(block)
            })
            .collect(),
    }
}

/// The region of `len` bytes from `offset` on of blocks that lie one after the other.
fn part(m: &mut MemTree, name: &str, blocks: &[Arc<RamBlock>], offset: u64, len: u64) -> RegionId {
    if let [block] = blocks {
        return m.ram(block, offset, len);
    }
    let whole = m.container(name, len);
    let (mut start, end) = (0, offset + len);
    for block in blocks {
        let stop = start + block.size();
        let (from, to) = (start.max(offset), stop.min(end));
        if from < to {
            let piece = m.ram(block, from - start, to - from);
            m.map(whole, from - offset, piece, 0);
        }
        start = stop;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_opens_at_3_5_gib() {
        for (ram, low, high) in [
            (128 * MIB, 128 * MIB, 0),
            (SPLIT_AT - MIB, SPLIT_AT - MIB, 0),
            (SPLIT_AT, SPLIT, 0x2000_0000),
            (64 * GIB, SPLIT, 61 * GIB),
        ] {
            assert_eq!(Layout::new(ram), Layout { low, high });
        }
    }

    #[test]
    fn the_pci_hole_is_never_ram() {
        for (ram, first) in [
            (128 * MIB, 0x8000_0000),
            (2 * GIB + MIB, 0xc000_0000),
            (3 * GIB + MIB, 0xe000_0000),
            (SPLIT_AT, 0xc000_0000),
            (64 * GIB, 0xc000_0000),
        ] {
            let layout = Layout::new(ram);
            assert_eq!(layout.hole(), (first, 0xfebf_ffff));
            assert!(layout.low <= first.into());
        }
    }

    #[test]
    fn cmos_sizes_are_qemus() {
        let get = |ram, index| Layout::new(ram).cmos().into_iter().find(|(i, _)| *i == index).unwrap().1;
        let row = |ram| [0x15, 0x16, 0x17, 0x18, 0x30, 0x31, 0x34, 0x35, 0x5b, 0x5c, 0x5d].map(|i| get(ram, i));
        assert_eq!(row(512 * MIB), [0x80, 2, 0xff, 0xff, 0xff, 0xff, 0, 0x1f, 0, 0, 0]);
        assert_eq!(row(8 * GIB), [0x80, 2, 0xff, 0xff, 0xff, 0xff, 0, 0xbf, 0, 0x40, 1]);
    }
}
