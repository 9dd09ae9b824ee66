//! PCI-PCI bridges (PCI-to-PCI Bridge Architecture Specification 1.2): which configuration cycles, addresses and interrupts pass.
//!
//! What is behind a bridge is in containers of its bus, which are seen through windows in those of the bus in front of it. Windows that overlap are joined:
//! an address is the same on both sides, so that it does not matter which of them lets it pass. As in QEMU, the bit "ISA enable" changes nothing.

use super::{BusId, ConfigSpace, PciBus, command, reg as header, status};
use crate::board::{DeviceId, Realize};
use crate::mem::{MemTree, RegionId};

/// Offsets in the header of a bridge (3.2).
pub mod reg {
    #![allow(missing_docs)]
    pub const PRIMARY: u8 = 0x18;
    pub const SECONDARY: u8 = 0x19;
    pub const SUBORDINATE: u8 = 0x1a;
    pub const IO_BASE: u8 = 0x1c;
    pub const IO_LIMIT: u8 = 0x1d;
    pub const SECONDARY_STATUS: u8 = 0x1e;
    pub const MEMORY_BASE: u8 = 0x20;
    pub const MEMORY_LIMIT: u8 = 0x22;
    pub const PREFETCHABLE_BASE: u8 = 0x24;
    pub const PREFETCHABLE_LIMIT: u8 = 0x26;
    pub const PREFETCHABLE_BASE_HIGH: u8 = 0x28;
    pub const PREFETCHABLE_LIMIT_HIGH: u8 = 0x2c;
    pub const CONTROL: u8 = 0x3e;
}

/// Bits of the bridge control register (3.2.5.18).
pub mod control {
    #![allow(missing_docs)]
    pub const VGA: u16 = 1 << 3;
    pub const RESET: u16 = 1 << 6;
    /// All that can be written.
    pub(super) const WRITABLE: u16 = 0x0bff;
}

/// Header type of a bridge.
const HEADER_TYPE: u8 = 1;
/// Status of the secondary bus: it can do 66 MHz, and fast back-to-back transfers.
const SECONDARY_STATUS: u16 = status::MHZ_66 | status::FAST_BACK;
/// Bits of bases and limits of memory that say which addresses they have room for: 64 bits.
const WIDE: u16 = 1;
/// Where a VGA is.
const VGA_MEMORY: Range = (0xa_0000, 0xb_ffff);
const VGA_PORTS: [Range; 2] = [(0x3b0, 0x3bb), (0x3c0, 0x3df)];
/// Most windows of a bridge in each space.
const MOST: usize = 3;
/// Most bridges behind one another.
const MOST_NESTED: usize = 12;

/// First and last address.
pub type Range = (u64, u64);

/// Ranges without gaps and overlaps, in order.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut all: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match all.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => all.push((first, last)),
        }
    }
    all
}

impl ConfigSpace {
    /// Makes it that of a bridge.
    pub fn make_bridge(&mut self) {
        self.init(header::HEADER_TYPE, &[self.byte(header::HEADER_TYPE) | HEADER_TYPE]);
        self.init(reg::SECONDARY_STATUS, &SECONDARY_STATUS.to_le_bytes());
        for register in [reg::PREFETCHABLE_BASE, reg::PREFETCHABLE_LIMIT] {
            self.init(register, &WIDE.to_le_bytes());
        }
        self.set_writable(reg::PRIMARY, &[0xff; 4]);
        self.set_writable(reg::IO_BASE, &[0xf0, 0xf0]);
        self.set_writable(reg::MEMORY_BASE, &[0xf0, 0xff].repeat(4));
        self.set_writable(reg::PREFETCHABLE_BASE_HIGH, &[0xff; 8]);
        self.set_writable(reg::CONTROL, &control::WRITABLE.to_le_bytes());
    }
    /// Is it that of a bridge?
    pub fn is_bridge(&self) -> bool {
        self.byte(header::HEADER_TYPE) & 0x7f == HEADER_TYPE
    }
    /// The I/O window of a bridge, even if it is closed or empty.
    pub fn io_window(&self) -> Range {
        let at = |register| u64::from(self.byte(register) & 0xf0) << 8;
        (at(reg::IO_BASE), at(reg::IO_LIMIT) | 0xfff)
    }
    /// The memory window of a bridge, even if it is closed or empty.
    pub fn memory_window(&self) -> Range {
        let at = |register| u64::from(self.word(register) & 0xfff0) << 16;
        (at(reg::MEMORY_BASE), at(reg::MEMORY_LIMIT) | 0xf_ffff)
    }
    /// Its window for memory that is read without side effects, even if it is closed or empty.
    pub fn prefetchable_window(&self) -> Range {
        let at = |low, high| u64::from(self.word(low) & 0xfff0) << 16 | u64::from(self.dword(high)) << 32;
        let base = at(reg::PREFETCHABLE_BASE, reg::PREFETCHABLE_BASE_HIGH);
        (base, at(reg::PREFETCHABLE_LIMIT, reg::PREFETCHABLE_LIMIT_HIGH) | 0xf_ffff)
    }
    /// Lowest and highest number of the buses behind a bridge.
    fn buses_behind(&self) -> (u8, u8) {
        (self.byte(reg::SECONDARY), self.byte(reg::SUBORDINATE))
    }
    fn control(&self) -> u16 {
        self.word(reg::CONTROL)
    }
    /// What passes: memory, and ports.
    fn open(&self) -> [Vec<Range>; 2] {
        let (command, vga) = (self.command(), self.control() & control::VGA != 0);
        let on = |bit: u16, windows: &[Range], vga_ranges: &[Range]| {
            let vga_ranges = vga_ranges.iter().filter(|_| vga);
            let all = windows.iter().filter(|(first, last)| first <= last).chain(vga_ranges);
            joined(if command & bit == 0 { Vec::new() } else { all.copied().collect() })
        };
        let memory = [self.memory_window(), self.prefetchable_window()];
        [on(command::MEMORY, &memory, &[VGA_MEMORY]), on(command::IO, &[self.io_window()], &VGA_PORTS)]
    }
}

/// What a bridge shows of the bus behind it in one space of the bus in front of it.
#[derive(Default)]
struct Windows {
    regions: Vec<RegionId>,
    open: Vec<Range>,
}

impl Windows {
    fn apply(&mut self, tree: &mut MemTree, parent: RegionId, open: Vec<Range>) {
        if self.open == open {
            return;
        }
        for (n, &region) in self.regions.iter().enumerate() {
            match open.get(n) {
                Some(&(first, last)) => {
                    tree.set_alias(region, first, last - first);
                    tree.map(parent, first, region, 1);
                }
                None => tree.unmap(region),
            }
        }
        self.open = open;
    }
}

/// What makes a function a bridge.
pub(super) struct Bridge {
    /// The bus behind it.
    pub(super) bus: BusId,
    memory: Windows,
    ports: Windows,
    /// The bus is held in reset.
    reset: bool,
}

impl Bridge {
    /// Puts its registers in force; says whether a reset of the bus begins.
    pub(super) fn apply(
        &mut self,
        config: &ConfigSpace,
        (memory, memory_parent): (&mut MemTree, RegionId),
        (ports, ports_parent): (&mut MemTree, RegionId),
    ) -> bool {
        let [open_memory, open_ports] = config.open();
        self.memory.apply(memory, memory_parent, open_memory);
        self.ports.apply(ports, ports_parent, open_ports);
        let was = std::mem::replace(&mut self.reset, config.control() & control::RESET != 0);
        self.reset && !was
    }
}

impl PciBus {
    /// The bus that firmware has given this number; configuration cycles reach it from the root through one bridge after the other.
    pub(super) fn numbered(&self, number: u8) -> Option<BusId> {
        if number == 0 {
            return Some(BusId::ROOT);
        }
        let mut at = BusId::ROOT;
        // Each turn goes one bridge further from the root.
        loop {
            let behind = |f: &&super::Function| {
                let (first, last) = f.config.buses_behind();
                (first..=last).contains(&number) && f.config.control() & control::RESET == 0
            };
            let bridge = self.on(at).map(|(_, f)| f).filter(|f| f.bridge.is_some()).find(behind)?;
            at = bridge.bridge.as_ref()?.bus;
            if bridge.config.buses_behind().0 == number {
                return Some(at);
            }
        }
    }
    /// The bridges between a bus and the root, the next one first.
    pub(super) fn bridges_before(&self, bus: BusId) -> impl Iterator<Item = DeviceId> {
        let before = move |bus: BusId| self.buses.get(&bus)?.bridge;
        std::iter::successors(before(bus), move |bridge| before(self.by_owner.get(bridge)?.0))
    }
    /// Those who own functions behind a bridge, however far.
    pub(super) fn behind(&self, bridge: DeviceId) -> Vec<DeviceId> {
        let is_behind = |bus: BusId| self.bridges_before(bus).any(|b| b == bridge);
        self.by_owner.iter().filter(|(_, (bus, _))| is_behind(*bus)).map(|(owner, _)| *owner).collect()
    }
    /// The bus behind a bridge.
    pub fn behind_bridge(&self, bridge: DeviceId) -> Option<BusId> {
        Some(self.function(bridge)?.bridge.as_ref()?.bus)
    }
    /// The number that firmware has given a bus.
    pub fn number(&self, bus: BusId) -> u8 {
        let bridge = self.buses.get(&bus).and_then(|b| self.config(b.bridge?));
        bridge.map_or(0, |config| config.byte(reg::SECONDARY))
    }
}

impl Realize<'_> {
    /// Makes the device's function a bridge to a new bus of this name.
    pub fn pci_bridge(&mut self, name: &str) {
        let id = self.id();
        let front = self.pci_bus();
        if self.pci().bridges_before(front).count() >= MOST_NESTED {
            return self.refuse(format!("there are at most {MOST_NESTED} bridges behind one another"));
        }
        let Some(bus) = self.pci().next_bus() else {
            return self.refuse("there are at most 256 PCI buses".to_owned());
        };
        let memory = self.memory_container("pci_bridge_pci", u64::MAX);
        let ports = self.port_container("pci_bridge_io", 0x1_0000);
        let windows = |of, alias: &mut dyn FnMut(RegionId) -> RegionId| Windows {
            regions: (0..MOST).map(|_| alias(of)).collect(),
            open: Vec::new(),
        };
        let memory_windows = windows(memory, &mut |of| self.alias_region("pci_bridge_mem", of, 0, 1));
        let port_windows = windows(ports, &mut |of| self.port_alias_region("pci_bridge_io", of, 0, 1));
        let pci = self.pci();
        pci.add_bus(bus, id, name, memory, ports);
        if let Some(f) = pci.function_mut(id) {
            f.config.make_bridge();
            f.bridge = Some(Bridge { bus, memory: memory_windows, ports: port_windows, reset: false });
        }
        let path = self.pci().firmware_path(id, "pci-bridge").unwrap_or_default();
        self.bus(name, "PCI", true).firmware_path = path;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_that_touch_are_one() {
        assert_eq!(joined(vec![(8, 9), (0, 3), (4, 5), (2, 4)]), [(0, 5), (8, 9)]);
        assert_eq!(joined(vec![(5, u64::MAX), (0, 1), (7, 9)]), [(0, 1), (5, u64::MAX)]);
        assert_eq!(joined(Vec::new()), []);
    }

    #[test]
    fn registers_say_what_passes() {
        let mut c = ConfigSpace::new(&crate::pci::ConfigHeader::default());
        c.make_bridge();
        assert_eq!(c.open(), [vec![], vec![]], "commands are off");
        c.write(header::COMMAND, 2, 7);
        assert_eq!(c.open(), [vec![(0, 0xf_ffff)], vec![(0, 0xfff)]], "after reset");
        c.write(reg::IO_BASE, 2, 0xd1c5);
        c.write(reg::MEMORY_BASE, 4, 0xfe0f_fdff);
        c.write(reg::PREFETCHABLE_BASE, 4, 0x0010_0020);
        assert_eq!((c.word(reg::IO_BASE), c.dword(reg::MEMORY_BASE)), (0xd0c0, 0xfe00_fdf0));
        assert_eq!(c.open(), [vec![(0xfdf0_0000, 0xfe0f_ffff)], vec![(0xc000, 0xdfff)]]);
        c.write(reg::PREFETCHABLE_LIMIT_HIGH, 4, 1);
        c.write(reg::CONTROL, 2, control::VGA.into());
        let memory = vec![(0xa_0000, 0xb_ffff), (0x20_0000, 0x1_001f_ffff)];
        assert_eq!(c.open(), [memory, vec![(0x3b0, 0x3bb), (0x3c0, 0x3df), (0xc000, 0xdfff)]]);
        c.write(reg::IO_BASE, 2, 0x00f0);
        assert_eq!(c.open()[1].len(), 2, "the limit is below the base");
    }
}
