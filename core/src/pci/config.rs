//! The configuration space of one function: 256 bytes, which of their bits the guest may change, and the standard header's layout
//! (PCI Local Bus Specification 3.0, chapter 6).

/// Offsets in the standard header (figure 6-1).
pub mod reg {
    #![allow(missing_docs)]
    pub const VENDOR_ID: u8 = 0x00;
    pub const DEVICE_ID: u8 = 0x02;
    pub const COMMAND: u8 = 0x04;
    pub const STATUS: u8 = 0x06;
    pub const REVISION_ID: u8 = 0x08;
    pub const CLASS: u8 = 0x09;
    pub const CACHE_LINE_SIZE: u8 = 0x0c;
    pub const HEADER_TYPE: u8 = 0x0e;
    pub const BAR0: u8 = 0x10;
    pub const SUBSYSTEM_VENDOR_ID: u8 = 0x2c;
    pub const SUBSYSTEM_ID: u8 = 0x2e;
    pub const ROM_BAR: u8 = 0x30;
    pub const CAPABILITIES: u8 = 0x34;
    pub const INTERRUPT_LINE: u8 = 0x3c;
    pub const INTERRUPT_PIN: u8 = 0x3d;
    /// What a function is: vendor and device; class; header type; subsystem; interrupt pin.
    pub(crate) const IDENTITY: [std::ops::Range<usize>; 5] = [0..4, 9..12, 14..15, 0x2c..0x30, 0x3d..0x3e];
    /// First byte that the standard header does not define.
    pub const DEVICE_SPECIFIC: u8 = 0x40;
}

/// Bits of the command register (6.2.2).
pub mod command {
    #![allow(missing_docs)]
    pub const IO: u16 = 1 << 0;
    pub const MEMORY: u16 = 1 << 1;
    pub const MASTER: u16 = 1 << 2;
    pub const SERR: u16 = 1 << 8;
    pub const INTX_DISABLE: u16 = 1 << 10;
}

/// Bits of the status register (6.2.3).
pub mod status {
    #![allow(missing_docs)]
    pub const INTERRUPT: u16 = 1 << 3;
    pub const CAP_LIST: u16 = 1 << 4;
    pub const MHZ_66: u16 = 1 << 5;
    pub const FAST_BACK: u16 = 1 << 7;
    pub const DEVSEL_MEDIUM: u16 = 1 << 9;
    /// The error bits, all cleared by writing 1.
    pub const ERRORS: u16 = 0xf900;
}

/// Interrupt pin of a function (6.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum IntxPin {
    A,
    B,
    C,
    D,
}

impl IntxPin {
    const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// The pin of a bridge that this one of a device in a slot behind it is wired to.
    pub fn swizzled(self, slot: u8) -> Self {
        Self::ALL[(usize::from(slot) + self as usize) % 4]
    }
    /// What the register says in which a function names its pin.
    pub fn from_register(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value.checked_sub(1)?)).copied()
    }
}

/// Identity of a function: the read-only part of its standard header.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigHeader {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Base class, subclass and programming interface, from the highest byte down (`0x06_01_00`).
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// Subsystem vendor and device id.
    pub subsystem: (u16, u16),
    /// Initial status register.
    pub status: u16,
    /// The interrupt pin that it uses.
    pub interrupt_pin: Option<IntxPin>,
    /// The device in this slot has more functions (bit 7 of the header type).
    pub multifunction: bool,
}

/// Bytes of a conventional configuration space.
pub const CONFIG_SIZE: usize = 256;

/// A configuration space: its bytes, those it takes at reset, the bits that the guest may change, and those it clears by writing 1.
#[derive(Clone)]
pub struct ConfigSpace {
    bytes: [u8; CONFIG_SIZE],
    initial: [u8; CONFIG_SIZE],
    writable: [u8; CONFIG_SIZE],
    clear_on_one: [u8; CONFIG_SIZE],
}

impl ConfigSpace {
    /// The space of a type 0 header. As on QEMU's conventional devices, everything from offset 0x40 on can be written until
    /// [`ConfigSpace::set_writable`] says otherwise.
    pub fn new(h: &ConfigHeader) -> Self {
        let zeros = [0; CONFIG_SIZE];
        let mut c = Self { bytes: zeros, initial: zeros, writable: zeros, clear_on_one: zeros };
        let pin = h.interrupt_pin.map_or(0, |p| p as u8 + 1);
        c.init(reg::VENDOR_ID, &h.vendor.to_le_bytes());
        c.init(reg::DEVICE_ID, &h.device.to_le_bytes());
        c.init(reg::STATUS, &h.status.to_le_bytes());
        c.init(reg::REVISION_ID, &[h.revision]);
        c.init(reg::CLASS, &h.class.to_le_bytes()[..3]);
        c.init(reg::HEADER_TYPE, &[u8::from(h.multifunction) << 7]);
        c.init(reg::SUBSYSTEM_VENDOR_ID, &h.subsystem.0.to_le_bytes());
        c.init(reg::SUBSYSTEM_ID, &h.subsystem.1.to_le_bytes());
        c.init(reg::INTERRUPT_PIN, &[pin]);
        let command = command::IO | command::MEMORY | command::MASTER | command::SERR | command::INTX_DISABLE;
        c.set_writable(reg::COMMAND, &command.to_le_bytes());
        c.set_writable(reg::CACHE_LINE_SIZE, &[0xff]);
        c.set_writable(reg::INTERRUPT_LINE, &[0xff]);
        c.set_writable(reg::DEVICE_SPECIFIC, &[0xff; CONFIG_SIZE - reg::DEVICE_SPECIFIC as usize]);
        c.set_clear_on_one(reg::STATUS, &status::ERRORS.to_le_bytes());
        c
    }

    /// Sets bytes and the values that they take at reset. Bytes beyond the end are ignored, here and below.
    pub fn init(&mut self, offset: u8, values: &[u8]) {
        put(&mut self.bytes, offset, values);
        put(&mut self.initial, offset, values);
    }
    /// Sets which bits the guest may change.
    pub fn set_writable(&mut self, offset: u8, mask: &[u8]) {
        put(&mut self.writable, offset, mask);
    }
    /// Sets which bits the guest clears by writing 1.
    pub fn set_clear_on_one(&mut self, offset: u8, mask: &[u8]) {
        put(&mut self.clear_on_one, offset, mask);
    }
    /// Puts a capability at `offset`: `body` is what follows its identifier and the pointer to the next one. It comes before those that are there, and
    /// can only be read until [`ConfigSpace::set_writable`] says otherwise (6.7).
    pub fn add_capability(&mut self, id: u8, offset: u8, body: &[u8]) {
        let next = self.byte(reg::CAPABILITIES);
        let bytes = [&[id, next], body].concat();
        self.init(offset, &bytes);
        self.set_writable(offset, &vec![0; bytes.len()]);
        self.init(reg::CAPABILITIES, &[offset]);
        let status = self.word(reg::STATUS) | status::CAP_LIST;
        self.init(reg::STATUS, &status.to_le_bytes());
    }
    /// Back to the initial values.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    /// One byte.
    pub fn byte(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }
    /// A little-endian word; bytes beyond the end read as 0, here and below.
    pub fn word(&self, offset: u8) -> u16 {
        self.value(offset, 2) as u16
    }
    /// A little-endian double word.
    pub fn dword(&self, offset: u8) -> u32 {
        self.value(offset, 4)
    }
    /// What a guest's load of `size` bytes (1, 2 or 4) sees.
    pub fn value(&self, offset: u8, size: u8) -> u32 {
        let at = usize::from(offset);
        let bytes = self.bytes[at..].iter().take(usize::from(size.min(4)));
        bytes.rev().fold(0, |v, &b| v << 8 | u32::from(b))
    }
    /// Changes bytes, whatever the guest may do (the device's own doing).
    pub fn set(&mut self, offset: u8, values: &[u8]) {
        put(&mut self.bytes, offset, values);
    }
    /// A guest's store of `size` bytes.
    pub fn write(&mut self, offset: u8, size: u8, value: u32) {
        let values = value.to_le_bytes().into_iter().take(usize::from(size));
        for (at, v) in (usize::from(offset)..CONFIG_SIZE).zip(values) {
            let (w, c) = (self.writable[at], self.clear_on_one[at]);
            self.bytes[at] = (self.bytes[at] & !w | v & w) & !(v & c);
        }
    }

    /// Command register.
    pub fn command(&self) -> u16 {
        self.word(reg::COMMAND)
    }
    /// Interrupt pin.
    pub fn interrupt_pin(&self) -> Option<IntxPin> {
        IntxPin::from_register(self.byte(reg::INTERRUPT_PIN))
    }
}

fn put(array: &mut [u8; CONFIG_SIZE], offset: u8, values: &[u8]) {
    array[usize::from(offset)..].iter_mut().zip(values).for_each(|(a, v)| *a = *v);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writable_bits_change_and_errors_clear_by_one() {
        let mut c = ConfigSpace::new(&ConfigHeader { vendor: 0x8086, device: 0x1237, ..ConfigHeader::default() });
        c.write(0, 4, 0xffff_ffff);
        assert_eq!(c.dword(0), 0x1237_8086);
        c.set(reg::STATUS, &0xf980u16.to_le_bytes());
        c.write(reg::COMMAND, 4, 0x0100_ffff);
        assert_eq!(c.dword(reg::COMMAND), 0xf880_0507);
        c.write(0xfe, 4, 0x4433_2211);
        assert_eq!((c.value(0xfe, 4), c.word(0xfe)), (0x2211, 0x2211));
        c.reset();
        assert_eq!((c.command(), c.byte(0xff)), (0, 0));
    }

    #[test]
    fn pins_are_read_back() {
        let pin = |interrupt_pin| ConfigSpace::new(&ConfigHeader { interrupt_pin, ..ConfigHeader::default() });
        assert_eq!(pin(Some(IntxPin::C)).interrupt_pin(), Some(IntxPin::C));
        assert_eq!(pin(None).interrupt_pin(), None);
    }
}
