//! PCI by configuration mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2).

use crate::port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// A function on bus, device, function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

impl core::fmt::Display for Function {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl Function {
    fn select(self, register: u8) {
        let place = u32::from(self.bus) << 16 | u32::from(self.device) << 11 | u32::from(self.function) << 8;
        port::out32(ADDRESS, 1 << 31 | place | u32::from(register & 0xfc));
    }

    /// A doubleword of configuration space.
    pub fn read32(self, register: u8) -> u32 {
        self.select(register);
        port::in32(DATA)
    }

    /// A word of configuration space.
    pub fn read16(self, register: u8) -> u16 {
        self.select(register);
        port::in16(DATA + u16::from(register & 2))
    }

    /// A byte of configuration space.
    pub fn read8(self, register: u8) -> u8 {
        self.select(register);
        port::in8(DATA + u16::from(register & 3))
    }

    /// Vendor and device id, unless nothing is there.
    pub fn id(self) -> Option<(u16, u16)> {
        let id = self.read32(0);
        (id & 0xffff != 0xffff && id != 0).then_some((id as u16, (id >> 16) as u16))
    }

    /// Base class and subclass.
    pub fn class(self) -> (u8, u8) {
        let class = self.read32(8);
        ((class >> 24) as u8, (class >> 16) as u8)
    }
}

/// The mechanism answers: its address register holds what is written.
pub fn present() -> bool {
    port::out32(ADDRESS, 1 << 31);
    port::in32(ADDRESS) == 1 << 31
}

/// Every function on bus 0 and on the buses behind bridges, in order.
pub fn functions() -> impl Iterator<Item = Function> {
    let buses = present().then(|| 0..=highest_bus());
    buses.into_iter().flatten().flat_map(|bus| (0..32).flat_map(move |device| functions_of(bus, device)))
}

fn functions_of(bus: u8, device: u8) -> impl Iterator<Item = Function> {
    let first = Function { bus, device, function: 0 };
    let several = first.id().is_some() && first.read8(0x0e) & 0x80 != 0;
    let count = if first.id().is_none() {
        0
    } else if several {
        8
    } else {
        1
    };
    (0..count).map(move |function| Function { bus, device, function }).filter(|f| f.id().is_some())
}

/// The highest subordinate bus number of the bridges on bus 0.
fn highest_bus() -> u8 {
    const BRIDGE_TO_PCI: (u8, u8) = (6, 4);
    let on_bus_0 = (0..32).flat_map(|device| functions_of(0, device));
    on_bus_0.filter(|f| f.class() == BRIDGE_TO_PCI).map(|f| f.read8(0x1a)).max().unwrap_or(0)
}

/// A base address register, decoded.
pub enum Bar {
    /// I/O ports from here on.
    Io(u32),
    /// Memory from here on; prefetchable.
    Memory(u64, bool),
}

/// The base address registers that are set, with their index.
pub fn bars(f: Function) -> impl Iterator<Item = (u8, Bar)> {
    let count = if f.read8(0x0e) & 0x7f == 0 { 6 } else { 2 };
    let mut index = 0;
    core::iter::from_fn(move || {
        while index < count {
            let at = index;
            let low = f.read32(0x10 + 4 * at);
            index += 1;
            if low & 1 != 0 {
                if low & !3 != 0 {
                    return Some((at, Bar::Io(low & !3)));
                }
                continue;
            }
            let wide = low & 6 == 4 && index < count;
            let high = if wide { f.read32(0x10 + 4 * index) } else { 0 };
            index += u8::from(wide);
            let base = u64::from(high) << 32 | u64::from(low & !15);
            if base != 0 {
                return Some((at, Bar::Memory(base, low & 8 != 0)));
            }
        }
        None
    })
}

/// The name of a class (PCI Local Bus 3.0, appendix D).
pub fn class_name(class: (u8, u8)) -> &'static str {
    match class {
        (0, 1) => "VGA-compatible device",
        (1, 0) => "SCSI controller",
        (1, 1) => "IDE controller",
        (1, 6) => "SATA controller",
        (1, 8) => "NVMe controller",
        (1, _) => "storage controller",
        (2, 0) => "Ethernet controller",
        (2, _) => "network controller",
        (3, 0) => "VGA controller",
        (3, _) => "display controller",
        (4, _) => "multimedia device",
        (5, _) => "memory controller",
        (6, 0) => "host bridge",
        (6, 1) => "ISA bridge",
        (6, 4) => "PCI bridge",
        (6, 0x80) => "bridge (power management)",
        (6, _) => "bridge",
        (7, _) => "communication controller",
        (8, _) => "system peripheral",
        (9, _) => "input device",
        (0xc, 3) => "USB controller",
        (0xc, 5) => "SMBus controller",
        (0xc, _) => "serial bus controller",
        (0xff, _) => "device of no class",
        _ => "device",
    }
}
