//! `isa-debug-exit`: a port with which a guest ends the process (QEMU, hw/misc/debugexit).

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, SystemRequest};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::property;

/// Configuration of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugExit {
    /// First port.
    pub iobase: u16,
    /// Number of ports, 1 to 4.
    pub iosize: u16,
}

impl Default for DebugExit {
    fn default() -> Self {
        Self { iobase: 0x501, iosize: 2 }
    }
}

/// The device. It reads as 0; a store of `v` ends the process with status `(v << 1) | 1`, cut to eight bits, so that no store can look like
/// a success.
#[derive(Debug)]
pub struct DebugExitDevice;

impl DeviceSpec for DebugExit {
    type Device = DebugExitDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-debug-exit";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("iobase", u16, iobase, "first port"),
        property!("iosize", u16, iosize, "number of ports, 1 to 4"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(DebugExitDevice, ()), RealizeError> {
        if !(1..=4).contains(&self.iosize) {
            return Err(r.property_error("iosize", format!("{} is not between 1 and 4", self.iosize)));
        }
        if self.iobase.checked_add(self.iosize - 1).is_none() {
            return Err(r.property_error("iobase", format!("{:#x} leaves no room for the ports", self.iobase)));
        }
        r.ports_wide(0, "isa-debug-exit", self.iobase, self.iosize, 4);
        Ok((DebugExitDevice, ()))
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<DebugExit>("isa-device", "ends the emulator with a status that the guest writes"))
}

impl Device for DebugExitDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8) -> u64 {
        0
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, value: u64) {
        cx.request(SystemRequest::Exit((value << 1) as u8 | 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    #[test]
    fn a_store_ends_the_process_with_an_odd_status() {
        let mut b = Bench::new();
        b.realize(DebugExit { iobase: 0xf4, iosize: 4 }).unwrap();
        assert_eq!(b.inb(0xf4), 0);
        b.outb(0xf4, 0x10);
        b.outl(0xf4, 0x7f);
        b.outw(0xf4, 0x180);
        assert_eq!(b.requests(), [0x21, 0xff, 0x01].map(SystemRequest::Exit));
    }

    #[test]
    fn it_lies_where_it_is_put() {
        let mut b = Bench::new();
        b.realize(DebugExit::default()).unwrap();
        assert_eq!((b.inb(0x500), b.inb(0x501), b.inb(0x502), b.inb(0x503)), (0xff, 0, 0, 0xff));
        assert!(b.realize(DebugExit { iobase: 0x502, iosize: 1 }).is_err(), "taken");
        for (iobase, iosize) in [(0x600, 0), (0x600, 5), (0xffff, 2)] {
            assert!(b.realize(DebugExit { iobase, iosize }).is_err());
        }
        b.realize(DebugExit { iobase: 0xffff, iosize: 1 }).unwrap();
    }
}
