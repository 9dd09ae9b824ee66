//! `isa-debugcon`: a port to which firmware writes text (Bochs' port E9h; QEMU, hw/char/debugcon).

use gearbox_core::backend::chardev::Chardev;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, Saved};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::property;
use std::collections::VecDeque;

/// Configuration of the console.
#[derive(Clone)]
pub struct Debugcon {
    /// The port.
    pub iobase: u16,
    /// What the port reads as: E9h tells a guest that the console is there.
    pub readback: u8,
    /// Where the text goes.
    pub chardev: Chardev,
}

impl Default for Debugcon {
    fn default() -> Self {
        Self { iobase: 0xe9, readback: 0xe9, chardev: Chardev::default() }
    }
}

/// The console. Text that the back end does not take at once waits here.
#[derive(Debug)]
pub struct DebugconDevice {
    readback: u8,
    waiting: VecDeque<u8>,
    dropped: bool,
}

/// The port cannot make the guest wait, so that beyond this many waiting bytes text is lost.
const MOST: usize = 64 << 10;

impl DeviceSpec for Debugcon {
    type Device = DebugconDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-debugcon";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("chardev", Chardev, chardev, "the back end"),
        property!("iobase", u16, iobase, "the port"),
        property!("readback", u8, readback, "what a read of the port gives"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(DebugconDevice, ()), RealizeError> {
        r.ports(0, "isa-debugcon", self.iobase, 1);
        r.chardev(0, self.chardev.backend());
        Ok((DebugconDevice { readback: self.readback, waiting: VecDeque::new(), dropped: false }, ()))
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<Debugcon>("isa-device", "a console that takes a byte for each write to a port"))
}

impl DebugconDevice {
    fn send(&mut self, cx: &Cx<'_>) {
        let Some(backend) = cx.chardev(0) else { return self.waiting.clear() };
        while !self.waiting.is_empty() {
            let n = backend.write(self.waiting.as_slices().0);
            if n == 0 {
                return;
            }
            self.waiting.drain(..n);
        }
        self.dropped = false;
    }
}

impl Device for DebugconDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { readback: _, waiting, dropped } = self;
        Saved::sound((waiting, dropped), |(waiting, _)| waiting.len() <= MOST).version(1)
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8) -> u64 {
        self.readback.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, value: u64) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(value as u8);
        } else if !std::mem::replace(&mut self.dropped, true) {
            tracing::warn!("isa-debugcon: the back end is full; text is lost");
        }
        self.send(cx);
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        self.send(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    #[test]
    fn text_goes_to_the_back_end() {
        let mut b = Bench::new();
        let c = Bench::chardev();
        b.realize(Debugcon { chardev: c.clone().into(), ..Debugcon::default() }).unwrap();
        assert_eq!(b.inb(0xe9), 0xe9);
        b"hello".iter().for_each(|&x| b.outb(0xe9, x));
        assert_eq!(c.output(), b"hello");
        c.set_room(2);
        b"1234".iter().for_each(|&x| b.outb(0xe9, x));
        assert_eq!(c.output(), b"12");
        c.set_room(9);
        assert_eq!(c.output(), b"34");
    }

    #[test]
    fn a_full_back_end_costs_bounded_memory() {
        let mut b = Bench::new();
        let c = Bench::chardev();
        b.realize(Debugcon { chardev: c.clone().into(), ..Debugcon::default() }).unwrap();
        c.set_room(0);
        (0..MOST + 10).for_each(|n| b.outb(0xe9, n as u8));
        c.set_room(usize::MAX);
        assert_eq!(c.output().len(), MOST);
    }

    #[test]
    fn without_a_back_end_text_is_gone() {
        let mut b = Bench::new();
        b.realize(Debugcon { iobase: 0x402, readback: 0x55, chardev: Chardev::default() }).unwrap();
        b.outb(0x402, b'x');
        assert_eq!((b.inb(0x402), b.inb(0xe9)), (0x55, 0xff));
    }
}
