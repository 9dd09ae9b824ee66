//! The 8254 programmable interval timer of a PC with the system control port 61h, which drives the gate of counter 2 and shows its output.
//!
//! Sources: Intel 8254 datasheet (231164); Intel 82371SB (PIIX3) datasheet (290550), "NMI status and control register".

mod counter;

pub use counter::{Counter, Mode, PIT_HZ};

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, Timer};
use gearbox_core::object::{TypeEntry, TypeInfo};

/// Bits of port 61h.
mod port61 {
    pub(super) const GATE2: u8 = 1 << 0;
    /// Gate, speaker, and the enables of SERR# and IOCHK#, neither of which ever comes.
    pub(super) const WRITABLE: u8 = 0x0f;
    pub(super) const REFRESH: u8 = 1 << 4;
    pub(super) const OUT2: u8 = 1 << 5;
}

/// The bit of port 61h that shows memory refresh toggles each time this many ns are over.
const REFRESH_NS: u64 = 15_085;

/// Edges of OUT 0 that a busy host missed are made up for if they are at most this old, so that a guest that counts ticks loses none. Older
/// ones are dropped.
const MOST_LATE_NS: u64 = 100_000_000;

/// Configuration of the timer (`isa-pit`): it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pit;

/// Pins of the timer. Counter 1 is not connected in a PC, and counter 2 drives a loudspeaker that is not modelled.
#[derive(Clone, Copy, Debug)]
pub struct PitPins {
    /// OUT 0, to interrupt 0.
    pub out0: Line,
}

/// The timer.
#[derive(Debug)]
pub struct PitDevice {
    counters: [Counter; 3],
    port61: u8,
    out0: Line,
    timer: Timer,
    /// When the timer is due.
    due: u64,
}

const COUNTERS: u32 = 0;
const PORT61: u32 = 1;
/// Offset of the control word register.
const CONTROL: usize = 3;

impl DeviceSpec for Pit {
    type Device = PitDevice;
    type Pins = PitPins;
    const TYPE: &'static str = "isa-pit";

    fn realize(self, r: &mut Realize<'_>) -> Result<(PitDevice, PitPins), RealizeError> {
        r.ports(COUNTERS, "pit", 0x40, 4);
        r.ports(PORT61, "pcspk", 0x61, 1);
        let pins = PitPins { out0: r.output("out0") };
        Ok((PitDevice { counters: power_on(r.now()), port61: 0, out0: pins.out0, timer: r.timer(0), due: 0 }, pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Pit>("pit-common", "interval timer, 8254")) }

/// Only the gate of counter 2 is not tied high.
fn power_on(now: u64) -> [Counter; 3] {
    [true, true, false].map(|gate| Counter::new(gate, now))
}

impl PitDevice {
    /// The three counters, for `info` commands.
    pub fn counters(&self) -> &[Counter; 3] {
        &self.counters
    }
    /// Shows OUT 0 as it is at time `at`, and arms the timer for its next change.
    fn settle(&mut self, cx: &mut Cx<'_>, at: u64) {
        cx.set(self.out0, self.counters[0].out(at));
        self.arm(cx, at);
    }
    fn arm(&mut self, cx: &mut Cx<'_>, at: u64) {
        match self.counters[0].next_edge(at) {
            Some(due) => {
                self.due = due;
                cx.arm(self.timer, due);
            }
            None => cx.disarm(self.timer),
        }
    }
    /// A store to the control word register. Returns which counter begins anew; latching changes none.
    fn control(&mut self, v: u8, now: u64) -> Option<usize> {
        match usize::from(v >> 6) {
            // Read-back: a clear bit 5 latches the count, a clear bit 4 the status.
            3 => {
                for (n, c) in self.counters.iter_mut().enumerate() {
                    let named = v & (2 << n) != 0;
                    if named && v & 0x20 == 0 {
                        c.latch_count(now);
                    }
                    if named && v & 0x10 == 0 {
                        c.latch_status(now);
                    }
                }
                None
            }
            n if v & 0x30 == 0 => {
                self.counters[n].latch_count(now);
                None
            }
            n => {
                self.counters[n].set_control(v);
                Some(n)
            }
        }
    }
}

impl Device for PitDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { counters, port61, out0: _, timer: _, due } = self;
        let sound = |(counters, port61, _): &([Counter; 3], u8, u64)| {
            counters.iter().all(Counter::is_sound) && *port61 <= port61::WRITABLE
        };
        Saved::sound((counters, port61, due), sound).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8) -> u64 {
        let now = cx.now();
        let v = if region == PORT61 {
            let refresh = if (now / REFRESH_NS) & 1 != 0 { port61::REFRESH } else { 0 };
            let out2 = if self.counters[2].out(now) { port61::OUT2 } else { 0 };
            self.port61 | refresh | out2
        } else {
            // The control word register cannot be read; like QEMU we give 0.
            self.counters.get_mut(offset as usize).map_or(0, |c| c.read(now))
        };
        v.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        let (now, v) = (cx.now(), value as u8);
        if region == PORT61 {
            self.port61 = v & port61::WRITABLE;
            self.counters[2].set_gate(v & port61::GATE2 != 0, now);
            return;
        }
        let changed = match offset as usize {
            CONTROL => self.control(v, now),
            n => {
                self.counters[n].write(v, now);
                Some(n)
            }
        };
        if changed == Some(0) {
            self.settle(cx, now);
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        let now = cx.now();
        let at = if now.saturating_sub(self.due) > MOST_LATE_NS { now } else { self.due };
        self.settle(cx, at);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        let now = cx.now();
        self.counters = power_on(now);
        self.port61 = 0;
        // OUT 0 shows the new state at its next change: the interrupt controller should not find an edge that no guest asked for.
        self.arm(cx, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;

    fn pit() -> (Bench, Realized<PitPins>) {
        let mut b = Bench::new();
        let pit = b.realize(Pit).unwrap();
        (b, pit)
    }

    #[test]
    fn a_count_of_100_is_over_to_the_ns() {
        let (mut b, pit) = pit();
        b.outb(0x43, 0x30);
        b.outb(0x40, 100);
        b.outb(0x40, 0);
        b.clock_step_ns(83_809);
        assert!(!b.level(pit.out0));
        b.clock_step_ns(1);
        assert!(b.level(pit.out0));
    }

    /// Mode 2, 100 times a second.
    fn hundred_a_second(b: &mut Bench) {
        b.outb(0x43, 0x34);
        b.outb(0x40, 11_932u16 as u8);
        b.outb(0x40, (11_932u16 >> 8) as u8);
    }

    #[test]
    fn a_hundred_interrupts_a_second() {
        let (mut b, pit) = pit();
        hundred_a_second(&mut b);
        b.watch(pit.out0);
        b.clock_step_ns(1_000_000_000);
        let rises: Vec<u64> = b.edges().iter().filter(|e| e.level).map(|e| e.ns).collect();
        assert_eq!(rises.len(), 99, "the hundredth is due 15 microseconds after the second");
        assert_eq!((rises[0], rises[98]), (10_000_151, 990_014_935));
    }

    #[test]
    fn a_saved_timer_goes_on_in_the_middle_of_a_period() {
        let (mut first, _) = pit();
        hundred_a_second(&mut first);
        first.clock_step_ns(33_700_000);
        // The count is latched, half of it read, and half of a new one written.
        first.outb(0x43, 0x00);
        let low = first.inb(0x40);
        first.outb(0x40, 0x10);
        let (mut second, pit) = pit();
        second.take_over(&first).unwrap();
        second.watch(pit.out0);
        for b in [&mut first, &mut second] {
            assert_eq!(b.inb(0x40), (((11_932 * 4 - 40_210) as u16) >> 8) as u8, "low half {low:#x}");
            b.outb(0x40, 0x27);
            b.clock_step_ns(16_300_000);
        }
        // The old period ends at 40 ms, and the new count of 10000 counts from there.
        let rises: Vec<_> = second.edges().iter().filter(|e| e.level).map(|e| e.ns).collect();
        assert_eq!(rises, [40_000_604, 48_381_556]);
        assert_eq!(first.inb(0x40), second.inb(0x40));
    }

    #[test]
    fn after_reset_it_ticks_as_firmware_expects() {
        let (mut b, pit) = pit();
        b.outb(0x43, 0x30);
        b.reset();
        b.watch(pit.out0);
        b.clock_step_ns(54_925_402);
        let edges: Vec<_> = b.edges().iter().map(|e| (e.ns, e.level)).collect();
        assert_eq!(edges, [(54_925_402, true)], "18.2 Hz");
        b.outb(0x43, 0xe2);
        assert_eq!(b.inb(0x40), 0x86, "OUT high, square wave, as QEMU has it without firmware");
    }

    #[test]
    fn read_back_latches_several_counters() {
        let (mut b, _) = pit();
        for (port, control) in [(0x40, 0x34), (0x41, 0x74)] {
            b.outb(0x43, control);
            b.outb(port, 0);
            b.outb(port, 0x80);
        }
        b.clock_step_ns(100_000);
        b.outb(0x43, 0xc6); // count and status of 0 and 1
        b.clock_step_ns(100_000);
        for port in [0x40, 0x41] {
            assert_eq!(b.inb(port), 0xb4);
            assert_eq!(u16::from_le_bytes([b.inb(port), b.inb(port)]), 0x8000 - 119);
        }
        assert_eq!(b.inb(0x43), 0);
    }

    #[test]
    fn port_61_gates_and_shows_counter_2() {
        let (mut b, _) = pit();
        b.outb(0x61, 0xfd);
        b.outb(0x43, 0xb0);
        b.outb(0x42, 100);
        b.outb(0x42, 0);
        assert_eq!(b.inb(0x61), 0x0d, "gate and enables; OUT 2 is low");
        b.outb(0x61, 0x0c);
        b.clock_step_ns(83_810);
        b.outb(0x61, 0x01);
        b.clock_step_ns(83_809);
        assert_eq!(b.inb(0x61) & 0x20, 0, "the gate had stopped it");
        b.clock_step_ns(1);
        assert_eq!(b.inb(0x61) & 0x20, 0x20);
        assert_eq!(b.deadline().map(|d| d > b.clock_ns()), Some(true), "only counter 0 has a timer");
    }

    #[test]
    fn refresh_toggles_each_15_microseconds() {
        let (mut b, _) = pit();
        let seen = [0; 4].map(|_| {
            b.clock_step_ns(15_085);
            b.inb(0x61) & 0x10
        });
        assert_eq!(seen, [0x10, 0, 0x10, 0]);
    }

    #[test]
    fn every_sequence_of_bytes_is_survived() {
        let (mut b, _) = pit();
        let mut x = 1u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (port, v) = ([0x40, 0x41, 0x42, 0x43, 0x61][(x >> 24) as usize % 5], (x >> 16) as u8);
            if x & 0x100 != 0 {
                b.outb(port, v);
            } else {
                b.inb(port);
            }
            b.clock_step_ns(u64::from(x >> 9 & 0x7ff));
        }
    }
}
