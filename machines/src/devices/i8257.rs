//! A DMA controller of the PC with its page registers (`i8257`), and its channels as devices on the ISA bus use them.
//!
//! Sources: Intel 8237A datasheet (231466); Intel 82371SB (PIIX3) datasheet (290550), "DMA page registers". As in QEMU, the mask is read at the
//! address of the request register. A device moves its data through a [`DmaChannel`], a handle to the registers that it shares with the controller; a
//! request by software waits for a device for ever.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Channel {
    address: u16,
    count: u16,
    page: u8,
    /// What was programmed, for auto-initialization.
    base: (u16, u16),
    mode: u8,
}

/// Bits of a channel's mode.
mod mode {
    pub(super) const WRITE: u8 = 1 << 2;
    pub(super) const READ: u8 = 1 << 3;
    pub(super) const AUTO_INITIALIZE: u8 = 1 << 4;
    pub(super) const DOWN: u8 = 1 << 5;
}

/// The controller.
#[derive(Debug)]
pub struct DmaDevice {
    shared: Arc<Mutex<Registers>>,
    ready: [Line; 4],
}

/// What a board connects.
#[derive(Clone, Debug)]
pub struct DmaPins {
    /// For devices.
    pub channels: [DmaChannel; 4],
    /// High while a channel is not masked, for devices that wait for one.
    pub ready: [Line; 4],
}

/// A channel in the hands of a device. Everything happens with the board locked, so nobody waits for anybody.
#[derive(Clone, Debug)]
pub struct DmaChannel {
    shared: Arc<Mutex<Registers>>,
    n: usize,
}

fn locked(shared: &Mutex<Registers>) -> MutexGuard<'_, Registers> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DmaChannel {
    /// Moves data to memory, until it is all there or the count is over: how many bytes, and whether the count is over. None if the channel is masked or
    /// goes the other way.
    pub fn to_memory(&self, cx: &mut Cx<'_>, data: &[u8]) -> Option<(usize, bool)> {
        let (at, len, over) = locked(&self.shared).advance(self.n, mode::WRITE, data.len())?;
        for (n, byte) in data[..len].iter().enumerate() {
            // Memory that is not there takes nothing.
            let _ = cx.dma_write(at.nth(n), std::slice::from_ref(byte));
        }
        Some((len, over))
    }
    /// Moves at most so many bytes from memory: them, and whether the count is over. None as above.
    pub fn from_memory(&self, cx: &mut Cx<'_>, most: usize) -> Option<(Vec<u8>, bool)> {
        let (at, len, over) = locked(&self.shared).advance(self.n, mode::READ, most)?;
        let bytes = (0..len).map(|n| {
            let mut byte = [0xff];
            let _ = cx.dma_read(at.nth(n), &mut byte);
            byte[0]
        });
        Some((bytes.collect(), over))
    }
}

/// Where a transfer goes: the page stays as it is.
#[derive(Clone, Copy)]
struct Addresses {
    page: u64,
    first: u16,
    down: bool,
}

impl Addresses {
    fn nth(self, n: usize) -> u64 {
        let at = if self.down { self.first.wrapping_sub(n as u16) } else { self.first.wrapping_add(n as u16) };
        self.page << 16 | u64::from(at)
    }
}

/// The registers.
#[derive(Debug)]
struct Registers {
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
    /// Read: status. Written: command.
    pub(super) const STATUS: u64 = 0;
    pub(super) const REQUEST: u64 = 1;
    pub(super) const MASK_BIT: u64 = 2;
    pub(super) const MODE: u64 = 3;
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
    type Pins = DmaPins;
    const TYPE: &'static str = "i8257";

    fn realize(self, r: &mut Realize<'_>) -> Result<(DmaDevice, DmaPins), RealizeError> {
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
        let registers =
            Registers { channels: Default::default(), status: 0, mask: ALL_MASKED, flip_flop: false, shift };
        let shared = Arc::new(Mutex::new(registers));
        let ready = r.outputs("ready");
        let channels = [0, 1, 2, 3].map(|n| DmaChannel { shared: shared.clone(), n });
        Ok((DmaDevice { shared, ready }, DmaPins { channels, ready }))
    }
}

/// Sets or clears a bit.
fn put(bits: u8, bit: u8, on: bool) -> u8 {
    if on { bits | bit } else { bits & !bit }
}

impl Registers {
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
    /// Takes so many bytes of a channel's count: where they go, how many there are, and whether the count is over then.
    fn advance(&mut self, n: usize, direction: u8, most: usize) -> Option<(Addresses, usize, bool)> {
        let bit = 1 << n;
        let c = &mut self.channels[n];
        // Only bytes are moved: nothing on the boards uses the other controller.
        if self.mask & bit != 0 || c.mode & (mode::WRITE | mode::READ) != direction || self.shift != 0 {
            return None;
        }
        let left = usize::from(c.count) + 1;
        let len = left.min(most);
        let addresses = Addresses { page: c.page.into(), first: c.address, down: c.mode & mode::DOWN != 0 };
        c.address = addresses.nth(len) as u16;
        c.count = c.count.wrapping_sub(len as u16);
        let over = len == left;
        if over {
            self.status |= bit;
            if c.mode & mode::AUTO_INITIALIZE != 0 {
                (c.address, c.count) = c.base;
            } else {
                self.mask |= bit;
            }
        }
        Some((addresses, len, over))
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
            control::MODE => self.channels[usize::from(v & 3)].mode = v,
            // The command register has nothing that is used on a PC.
            _ => {}
        }
    }
}

impl Registers {
    fn read(&mut self, region: u32, offset: u64) -> u64 {
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
    fn write(&mut self, region: u32, offset: u64, v: u8) {
        match region {
            CHANNELS => {
                let (register, shift) = self.half(offset);
                *register = *register & !(0xff << shift) | u16::from(v) << shift;
                let c = &mut self.channels[(offset >> self.shift & 7) as usize / 2];
                c.base = (c.address, c.count);
            }
            CONTROL => self.write_control(offset >> self.shift, v),
            _ => *self.page(region, offset) = v,
        }
    }
}

impl DmaDevice {
    fn show(&self, cx: &mut Cx<'_>) {
        let mask = locked(&self.shared).mask;
        self.ready.iter().enumerate().for_each(|(n, line)| cx.set(*line, mask >> n & 1 == 0));
    }
}

impl Device for DmaDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { shared, ready: _ } = self;
        let Registers { channels, status, mask, flip_flop, shift: _ } = *locked(shared);
        let put = |values| {
            let mut r = locked(shared);
            (r.channels, r.status, r.mask, r.flip_flop) = values;
        };
        Saved::via((channels, status, mask, flip_flop), |_| true, put).version(1)
    }
    fn read(&mut self, _cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8) -> u64 {
        locked(&self.shared).read(region, offset)
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        // A channel may have come to the end of its count since.
        self.show(cx);
        locked(&self.shared).write(region, offset, value as u8);
        self.show(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        locked(&self.shared).master_clear();
        self.show(cx);
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
