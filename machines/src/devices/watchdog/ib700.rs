//! `ib700`: the watchdog of the iBASE IB700 single-board computer. A store to one port starts it anew, a store to another stops it.
//!
//! Sources: iBASE IB700 user manual, "Watchdog timer configuration"; as in QEMU, the port that follows each of the two does the same.

use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, SystemRequest, Timer,
};
use gearbox_core::object::{Category, TypeEntry, TypeInfo};

/// Configuration of the watchdog: it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ib700;

/// The watchdog.
#[derive(Debug)]
pub struct Ib700Device {
    timer: Timer,
}

const STOP: u32 = 0;
const START: u32 = 1;
const STOP_PORT: u16 = 0x441;
const START_PORT: u16 = 0x443;
/// The time that is stored as 0, and how much shorter it is for each step from there, in ns.
const LONGEST: u64 = 30_000_000_000;
const STEP: u64 = 2_000_000_000;

inventory::submit! { TypeEntry(&TypeInfo::device::<Ib700>("isa-device", "iBASE 700 watchdog").category(Category::Watchdog)) }

impl DeviceSpec for Ib700 {
    type Device = Ib700Device;
    type Pins = ();
    const TYPE: &'static str = "ib700";

    fn realize(self, r: &mut Realize<'_>) -> Result<(Ib700Device, ()), RealizeError> {
        r.ports(STOP, "ib700", STOP_PORT, 2);
        r.ports(START, "ib700", START_PORT, 2);
        Ok((Ib700Device { timer: r.timer(0) }, ()))
    }
}

impl Device for Ib700Device {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, _offset: u64, _size: u8, value: u64) {
        match region {
            STOP => cx.disarm(self.timer),
            _ => cx.arm(self.timer, cx.now().saturating_add(LONGEST - STEP * (value & 0xf))),
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        cx.request(SystemRequest::WatchdogExpired);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        cx.disarm(self.timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_expires_when_nobody_starts_it_anew() {
        let mut b = Bench::new();
        b.realize(Ib700).unwrap();
        b.clock_step_ns(60 * SECOND);
        assert_eq!((b.requests(), b.inb(0x441), b.inb(0x443)), (vec![], 0xff, 0xff), "not started");
        // Two seconds, started anew after one.
        b.outb(0x443, 14);
        b.clock_step_ns(SECOND);
        b.outb(0x443, 14);
        b.clock_step_ns(2 * SECOND - 1);
        assert_eq!(b.requests(), []);
        b.clock_step_ns(1);
        assert_eq!(b.requests(), [SystemRequest::WatchdogExpired]);
        assert_eq!(b.deadline(), None, "once");
    }

    #[test]
    fn it_stops_by_command_and_by_reset() {
        let mut b = Bench::new();
        b.realize(Ib700).unwrap();
        b.outb(0x443, 0xf0);
        assert_eq!(b.deadline(), Some(30 * SECOND), "the upper half does not count");
        b.outb(0x441, 1);
        assert_eq!(b.deadline(), None);
        b.outb(0x443, 13);
        b.reset();
        b.clock_step_ns(60 * SECOND);
        assert_eq!(b.requests(), []);
        b.outb(0x443, 15);
        b.clock_step();
        assert_eq!(b.requests(), [SystemRequest::WatchdogExpired], "no time at all");
    }
}
