//! PCI by configuration mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2): what firmware does, for tests.

use super::Io;
use gearbox_core::pci::{Devfn, command, reg};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Bytes of a configuration space.
const SPACE: usize = 256;
/// In the header type: the device has more functions than one.
const MULTIFUNCTION: u8 = 1 << 7;
const BARS: u8 = 6;

/// The first bus of a machine, seen through its ports.
///
/// ```
/// use gearbox::testing::{Devfn, Pci, Vm};
///
/// let mut bench = Vm::pc().bench()?;
/// let mut pci = Pci::of(&mut bench);
/// assert_eq!(pci.read32(Devfn::new(0, 0), 0), 0x1237_8086);
/// assert!(pci.functions().iter().any(|f| f.class == [0x06, 0x01, 0x00])); // an ISA bridge
/// # Ok::<(), gearbox::testing::StartError>(())
/// ```
pub struct Pci<'a, T: Io + ?Sized>(&'a mut T);

/// What a function says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Where it is.
    pub at: Devfn,
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class, subclass, programming interface.
    pub class: [u8; 3],
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciBar {
    /// 0 to 5.
    pub index: u8,
    /// Ports, or else memory.
    pub io: bool,
    /// Memory whose address has 64 bits; it takes the next register too.
    pub wide: bool,
    /// Memory that may be prefetched.
    pub prefetchable: bool,
    /// Bytes that it decodes.
    pub size: u64,
    /// Where it is.
    pub address: u64,
}

macro_rules! config {
    ($($ty:ident: $read:ident $write:ident;)*) => {$(
        #[doc = concat!("Reads a `", stringify!($ty), "` of a function's configuration space, at a multiple of its size.")]
        pub fn $read(&mut self, at: Devfn, register: u8) -> $ty {
            let port = self.select(at, register);
            self.0.port_in(port, size_of::<$ty>() as u8) as $ty
        }
        #[doc = concat!("Writes a `", stringify!($ty), "`.")]
        pub fn $write(&mut self, at: Devfn, register: u8, value: $ty) {
            let port = self.select(at, register);
            self.0.port_out(port, size_of::<$ty>() as u8, value.into());
        }
    )*};
}

impl<'a, T: Io + ?Sized> Pci<'a, T> {
    /// The bus of this machine.
    pub fn of(machine: &'a mut T) -> Self {
        Self(machine)
    }
    fn select(&mut self, at: Devfn, register: u8) -> u16 {
        self.0.outl(ADDRESS, ENABLE | u32::from(at.0) << 8 | u32::from(register & !3));
        DATA + u16::from(register & 3)
    }
    config! {
        u8: read8 write8;
        u16: read16 write16;
        u32: read32 write32;
    }
    /// A whole configuration space.
    pub fn space(&mut self, at: Devfn) -> [u8; SPACE] {
        let mut bytes = [0; SPACE];
        for (register, four) in (0..SPACE).step_by(4).zip(bytes.chunks_exact_mut(4)) {
            four.copy_from_slice(&self.read32(at, register as u8).to_le_bytes());
        }
        bytes
    }
    /// One function, if it is there.
    pub fn function(&mut self, at: Devfn) -> Option<PciFunction> {
        let [v0, v1, d0, d1] = self.read32(at, reg::VENDOR_ID).to_le_bytes();
        let [revision, interface, subclass, class] = self.read32(at, reg::REVISION_ID).to_le_bytes();
        let (vendor, device) = (u16::from_le_bytes([v0, v1]), u16::from_le_bytes([d0, d1]));
        let class = [class, subclass, interface];
        (vendor != 0xffff).then_some(PciFunction { at, vendor, device, revision, class })
    }
    /// All functions, in the order of their addresses.
    pub fn functions(&mut self) -> Vec<PciFunction> {
        let mut found = Vec::new();
        for slot in 0..32 {
            let Some(first) = self.function(Devfn::new(slot, 0)) else { continue };
            found.push(first);
            if self.read8(first.at, reg::HEADER_TYPE) & MULTIFUNCTION != 0 {
                found.extend((1..8).filter_map(|n| self.function(Devfn::new(slot, n))));
            }
        }
        found
    }
    /// Base address registers of a function that decode something, with their sizes, found as firmware finds them: by writing ones. Decoding is
    /// switched off meanwhile, and the addresses are as before afterwards.
    pub fn bars(&mut self, at: Devfn) -> Vec<PciBar> {
        let old = self.read16(at, reg::COMMAND);
        self.write16(at, reg::COMMAND, old & !(command::IO | command::MEMORY));
        let mut found = Vec::new();
        let mut index = 0;
        while index < BARS {
            let bar = self.bar(at, index);
            index += 1 + u8::from(bar.is_some_and(|b| b.wide));
            found.extend(bar);
        }
        self.write16(at, reg::COMMAND, old);
        found
    }
    fn bar(&mut self, at: Devfn, index: u8) -> Option<PciBar> {
        const IO: u32 = 1;
        const WIDE: u32 = 4;
        const PREFETCHABLE: u32 = 8;
        let register = reg::BAR0 + 4 * index;
        let (low, low_mask) = self.probe(at, register);
        if low_mask == 0 {
            return None;
        }
        if low_mask & IO != 0 {
            let size = u64::from(!(low_mask & !3) & 0xffff) + 1;
            let address = u64::from(low & !3);
            return Some(PciBar { index, io: true, wide: false, prefetchable: false, size, address });
        }
        let wide = low_mask & WIDE != 0 && index + 1 < BARS;
        let (high, high_mask) = if wide { self.probe(at, register + 4) } else { (0, u32::MAX) };
        let mask = u64::from(high_mask) << 32 | u64::from(low_mask & !15);
        let address = u64::from(high) << 32 | u64::from(low & !15);
        let prefetchable = low_mask & PREFETCHABLE != 0;
        Some(PciBar { index, io: false, wide, prefetchable, size: (!mask).wrapping_add(1), address })
    }
    /// Contents of a base address register, and what it reads as after all ones have been written.
    fn probe(&mut self, at: Devfn, register: u8) -> (u32, u32) {
        let old = self.read32(at, register);
        self.write32(at, register, u32::MAX);
        let mask = self.read32(at, register);
        self.write32(at, register, old);
        (old, mask)
    }
    /// Puts a BAR at `address`, and lets the function decode it and master the bus.
    pub fn map_bar(&mut self, at: Devfn, bar: PciBar, address: u64) {
        let register = reg::BAR0 + 4 * bar.index;
        self.write32(at, register, address as u32);
        if bar.wide {
            self.write32(at, register + 4, (address >> 32) as u32);
        }
        let decode = if bar.io { command::IO } else { command::MEMORY };
        let old = self.read16(at, reg::COMMAND);
        self.write16(at, reg::COMMAND, old | decode | command::MASTER);
    }
    /// Capabilities of a function as (identifier, offset), in the order of its list.
    pub fn capabilities(&mut self, at: Devfn) -> Vec<(u8, u8)> {
        const HAS_LIST: u16 = 1 << 4;
        const POINTER: u8 = 0x34;
        let mut found = Vec::new();
        if self.read16(at, reg::STATUS) & HAS_LIST == 0 {
            return found;
        }
        let mut next = self.read8(at, POINTER) & !3;
        // Each takes four bytes at least, so that a list which is longer goes round in circles.
        while next >= 0x40 && found.len() < SPACE / 4 {
            found.push((self.read8(at, next), next));
            next = self.read8(at, next + 1) & !3;
        }
        found
    }
}
