//! A DMA controller of the PC with its page registers (`i8257`): the registers that its four channels are programmed by.
//!
//! Sources: Intel 8237A datasheet (231466); Intel 82371SB (PIIX3) datasheet (290550), "DMA page registers". As in QEMU, the mask is read at the
//! address of the request register. No device on the boards asks for a transfer, so that a channel's current address and count stay at
//! what was programmed; a request by software waits for a device for ever.

use gearbox_core::board::{Cx, Device, DeviceSpec, Realize, RealizeError, ResetKind};
use gearbox_core::object::{TypeEntry, TypeInfo};

/// Configuration of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dma {
    /// First port of the channel registers; the control registers follow.
    pub base: u16,
    /// Base of the page registers.
    pub page_base: u16,
    /// Transfers are of words, and registers are two ports apart: the second controller.
    pub words: bool,
}

impl Dma {
    /// The two of a PC: channels 0 to 3 move bytes, 4 to 7 words.
    pub const PC: [Self; 2] =
        [Self { base: 0x00, page_base: 0x80, words: false }, Self { base: 0xc0, page_base: 0x88, words: true }];
}

/// Registers of a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    address: u16,
    count: u16,
    page: u8,
}

/// The controller.
#[derive(Debug)]
pub struct DmaDevice {
    channels: [Channel; 4],
    /// Requests in the upper half; terminal counts in the lower half, which only transfers set.
    status: u8,
    mask: u8,
    /// The next access to a 16-bit register is to its upper byte.
    flip_flop: bool,
    /// Ports for each register, as a power of two.
    shift: u32,
}

/// I/O regions.
const CHANNELS: u32 = 0;
const CONTROL: u32 = 1;
const PAGES: u32 = 2;
const PAGE_0: u32 = 3;

/// Channel of each of the ports that [`PAGES`] begins with, in the wiring of the PC.
const PAGE_CHANNELS: [usize; 3] = [2, 3, 1];

/// Control registers (231466, figure 5).
mod control {
    /// Read: status. Written: command, of which nothing is seen without transfers.
    pub(super) const STATUS: u64 = 0;
    pub(super) const REQUEST: u64 = 1;
    pub(super) const MASK_BIT: u64 = 2;
    pub(super) const CLEAR_FLIP_FLOP: u64 = 4;
    pub(super) const MASTER_CLEAR: u64 = 5;
    pub(super) const CLEAR_MASK: u64 = 6;
    pub(super) const MASK: u64 = 7;
    /// In the request and mask bit registers: set, rather than clear, the bit of the channel in bits 0 and 1.
    pub(super) const SET: u8 = 1 << 2;
}
const ALL_MASKED: u8 = 0xff;

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Dma>("isa-device", "DMA controller")) }

impl DeviceSpec for Dma {
    type Device = DmaDevice;
    type Pins = ();
    const TYPE: &'static str = "i8257";

    fn realize(self, r: &mut Realize<'_>) -> Result<(DmaDevice, ()), RealizeError> {
        let shift = u32::from(self.words);
        let len = 8 << shift;
        if self.base.checked_add(2 * len - 1).is_none() {
            return Err(r.property_error("base", format!("{:#x} leaves no room for the ports", self.base)));
        }
        if self.page_base.checked_add(7).is_none() {
            return Err(r.property_error("page-base", format!("{:#x} leaves no room for the ports", self.page_base)));
        }
        r.ports(CHANNELS, "dma-chan", self.base, len);
        r.ports(CONTROL, "dma-cont", self.base + len, len);
        r.ports(PAGES, "dma-page", self.page_base + 1, 3);
        r.ports(PAGE_0, "dma-page", self.page_base + 7, 1);
        Ok((DmaDevice { channels: Default::default(), status: 0, mask: ALL_MASKED, flip_flop: false, shift }, ()))
    }
}

/// Sets or clears a bit.
fn put(bits: u8, bit: u8, on: bool) -> u8 {
    if on { bits | bit } else { bits & !bit }
}

impl DmaDevice {
    /// The 16-bit register at an offset, and how far to shift for the byte of it that is next.
    fn half(&mut self, offset: u64) -> (&mut u16, u32) {
        let n = (offset >> self.shift & 7) as usize;
        let upper = self.flip_flop;
        self.flip_flop = !upper;
        let c = &mut self.channels[n / 2];
        let register = if n.is_multiple_of(2) { &mut c.address } else { &mut c.count };
        (register, if upper { 8 } else { 0 })
    }
    fn page(&mut self, region: u32, offset: u64) -> &mut u8 {
        let n = if region == PAGE_0 { 0 } else { PAGE_CHANNELS[(offset % 3) as usize] };
        &mut self.channels[n].page
    }
    fn master_clear(&mut self) {
        (self.flip_flop, self.status, self.mask) = (false, 0, ALL_MASKED);
    }
    fn write_control(&mut self, register: u64, v: u8) {
        let bit = 1 << (v & 3);
        let on = v & control::SET != 0;
        match register {
            control::REQUEST => self.status = put(self.status, bit << 4, on) & !bit,
            control::MASK_BIT => self.mask = put(self.mask, bit, on),
            control::CLEAR_FLIP_FLOP => self.flip_flop = false,
            control::MASTER_CLEAR => self.master_clear(),
            control::CLEAR_MASK => self.mask = 0,
            control::MASK => self.mask = v,
            // Command and mode say how transfers are made.
            _ => {}
        }
    }
}

impl Device for DmaDevice {
    fn read(&mut self, _cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8) -> u64 {
        match region {
            CHANNELS => {
                let (register, shift) = self.half(offset);
                (*register >> shift & 0xff).into()
            }
            CONTROL => match offset >> self.shift {
                control::STATUS => {
                    let v = self.status;
                    self.status &= 0xf0;
                    v.into()
                }
                control::REQUEST => self.mask.into(),
                _ => 0,
            },
            _ => (*self.page(region, offset)).into(),
        }
    }
    fn write(&mut self, _cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        match region {
            CHANNELS => {
                let (register, shift) = self.half(offset);
                *register = *register & !(0xff << shift) | u16::from(v) << shift;
            }
            CONTROL => self.write_control(offset >> self.shift, v),
            _ => *self.page(region, offset) = v,
        }
    }
    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: ResetKind) {
        self.master_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    fn bench() -> Bench {
        let mut b = Bench::new();
        Dma::PC.into_iter().for_each(|d| {
            b.realize(d).unwrap();
        });
        b
    }

    #[test]
    fn the_ports_are_those_of_a_pc() {
        let b = bench();
        for port in (0x00..0x10).chain(0xc0..0xe0).chain([0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b, 0x8f]) {
            let mask = if [0x09, 0xd2, 0xd3].contains(&port) { 0xff } else { 0 };
            assert_eq!(b.inb(port), mask, "{port:#x}");
        }
        for port in [0x80, 0x84, 0x88, 0x8c, 0x10, 0xe0] {
            assert_eq!(b.inb(port), 0xff, "{port:#x}");
        }
    }

    #[test]
    fn words_are_programmed_by_halves() {
        let mut b = bench();
        // Channel 2 for a floppy: 512 bytes at 0x12_3400.
        for (port, v) in [(0x0a, 6), (0x0c, 0), (0x04, 0x00), (0x04, 0x34), (0x05, 0xff), (0x05, 0x01), (0x81, 0x12)] {
            b.outb(port, v);
        }
        b.outb(0x0c, 0);
        assert_eq!([4, 4, 5, 5, 0x81].map(|p| b.inb(p)), [0x00, 0x34, 0xff, 0x01, 0x12]);
        assert_eq!(b.inb(0x04), 0x00, "an even number of accesses: the lower half again");
        b.outb(0x0c, 0);
        assert_eq!(b.inb(0x04), 0x00);
        // The second controller's registers are at even ports.
        for (port, v) in [(0xd8, 0), (0xc4, 0x78), (0xc4, 0x56), (0x8b, 0x9a)] {
            b.outb(port, v);
        }
        assert_eq!([0xc4, 0xc5, 0x8b, 0x83].map(|p| b.inb(p)), [0x78, 0x56, 0x9a, 0]);
    }

    #[test]
    fn pages_belong_to_their_channels() {
        let mut b = bench();
        [0x87, 0x83, 0x81, 0x82].into_iter().zip(1..).for_each(|(port, v)| b.outb(port, v));
        assert_eq!([0x87, 0x83, 0x81, 0x82].map(|p| b.inb(p)), [1, 2, 3, 4]);
        b.reset();
        assert_eq!(b.inb(0x81), 3, "pages have no reset");
    }

    #[test]
    fn masks_and_requests() {
        let mut b = bench();
        b.outb(0x0a, 2);
        assert_eq!(b.inb(0x09), 0xfb);
        b.outb(0x0e, 0);
        assert_eq!(b.inb(0x09), 0);
        b.outb(0x0a, 7);
        b.outb(0x0f, b.inb(0x09) | 1);
        assert_eq!(b.inb(0x09), 9);
        b.outb(0x09, 6);
        assert_eq!((b.inb(0x08), b.inb(0x08)), (0x40, 0x40));
        b.outb(0x09, 2);
        assert_eq!(b.inb(0x08), 0);
        b.outb(0x09, 7);
        b.outb(0x0d, 0);
        assert_eq!((b.inb(0x08), b.inb(0x09)), (0, 0xff), "master clear");
    }
}
