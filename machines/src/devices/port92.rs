//! Port 92h: the PS/2's system control port A, with a second gate for A20 and a fast reset of the CPU.
//!
//! Source: Intel 82371SB (PIIX3) datasheet (290550), "Port 92h register"; on the PS/2 and in QEMU bit 0 resets on a rising edge.

use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, SystemRequest,
};
use gearbox_core::event::ShutdownCause;
use gearbox_core::object::{TypeEntry, TypeInfo};

/// Configuration of the port (`port92`): it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Port92;

/// Pins of the port.
#[derive(Clone, Copy, Debug)]
pub struct Port92Pins {
    /// Gate of address line 20; open when high. The 8042 has another one: either opens the way.
    pub a20: Line,
}

/// The port.
#[derive(Debug)]
pub struct Port92Device {
    value: u8,
    a20: Line,
}

const RESET: u8 = 1 << 0;
const A20: u8 = 1 << 1;

impl DeviceSpec for Port92 {
    type Device = Port92Device;
    type Pins = Port92Pins;
    const TYPE: &'static str = "port92";

    fn realize(self, r: &mut Realize<'_>) -> Result<(Port92Device, Port92Pins), RealizeError> {
        r.ports(0, "port92", 0x92, 1);
        let pins = Port92Pins { a20: r.output("a20") };
        Ok((Port92Device { value: 0, a20: pins.a20 }, pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Port92>("isa-device", "system control port 92h")) }

impl Device for Port92Device {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { value, a20: _ } = self;
        Saved::of(value).version(1)
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8) -> u64 {
        self.value.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        let rises = v & !self.value & RESET != 0;
        self.value = v;
        cx.set(self.a20, v & A20 != 0);
        if rises {
            cx.request(SystemRequest::Reset(ShutdownCause::GuestReset));
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.value = 0;
        cx.set(self.a20, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    #[test]
    fn it_gates_a20_and_resets_on_the_rising_edge() {
        let mut b = Bench::new();
        let p = b.realize(Port92).unwrap();
        assert_eq!((b.inb(0x92), b.level(p.a20)), (0, false));
        b.outb(0x92, 0x02);
        assert_eq!((b.inb(0x92), b.level(p.a20)), (2, true));
        assert_eq!(b.requests(), []);
        b.outb(0x92, 0x03);
        b.outb(0x92, 0x03);
        assert_eq!(b.requests(), [SystemRequest::Reset(ShutdownCause::GuestReset)]);
        b.reset();
        assert_eq!((b.inb(0x92), b.level(p.a20)), (0, false));
    }
}
