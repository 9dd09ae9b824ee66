//! The MC146818 real-time clock and its memory (CMOS), at ports 70h and 71h.
//!
//! Sources: Motorola MC146818A datasheet; Intel 82371SB (PIIX3) datasheet (290550) for the ports and the NMI enable. It is computed, not
//! ticked: registers follow from the time when they are read, and a timer runs only towards an interrupt that is enabled.

mod calendar;

pub use calendar::{Alarm, Cmos, Format, reg};

use gearbox_core::board::state::Slice;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, Timer};
use gearbox_core::event::Event;
use gearbox_core::machine::{RtcBase, RtcClock, RtcConfig};
use gearbox_core::object::{TypeEntry, TypeInfo};
use std::time::{SystemTime, UNIX_EPOCH};
use time::UtcOffset;

const SECOND: i128 = 1_000_000_000;
/// The divider chain's input in Hz.
const CRYSTAL: i128 = 32_768;
/// UIP is set for so long before an update: 244 microseconds, eight periods of the crystal.
const UIP_NS: i128 = 244_140;

const REG_A: usize = 0x0a;
const REG_B: usize = 0x0b;
const REG_C: usize = 0x0c;
const REG_D: usize = 0x0d;
/// A second place for the century, of the PS/2.
const CENTURY_PS2: usize = 0x37;

mod a {
    pub(super) const UIP: u8 = 0x80;
    /// With both upper divider bits set the chain is held in reset; other values above 20h are for tests.
    pub(super) const DIVIDER: u8 = 0x70;
    pub(super) const CRYSTAL_32K: u8 = 0x20;
    pub(super) const RATE: u8 = 0x0f;
}
mod b {
    pub(super) const SET: u8 = 0x80;
    pub(super) const SQWE: u8 = 0x08;
    pub(super) const BINARY: u8 = 0x04;
    pub(super) const HOURS24: u8 = 0x02;
}
/// Interrupt flags of register C, and enables of register B.
mod flag {
    pub(super) const IRQF: u8 = 0x80;
    pub(super) const PERIODIC: u8 = 0x40;
    pub(super) const ALARM: u8 = 0x20;
    pub(super) const UPDATE: u8 = 0x10;
    pub(super) const ALL: u8 = 0x70;
}
/// Register D: RAM and time are valid.
const VALID: u8 = 0x80;

/// Configuration of the clock (`mc146818rtc`).
#[derive(Clone, Debug, Default)]
pub struct Rtc {
    /// What it shows at first, and what it follows (`-rtc`).
    pub config: RtcConfig,
    /// What its memory holds at first, as (index, value).
    pub memory: Vec<(u8, u8)>,
    /// What every system reset writes there, as (index, value).
    pub memory_at_reset: Vec<(u8, u8)>,
}

/// Pins of the clock.
#[derive(Clone, Copy, Debug)]
pub struct RtcPins {
    /// IRQ, to interrupt 8. Asserted high.
    pub irq: Line,
}

/// The clock.
#[derive(Debug)]
pub struct RtcDevice {
    cmos: Cmos,
    index: u8,
    nmi_masked: bool,
    source: RtcClock,
    /// Time of the clock less that of its source, in ns.
    offset: i128,
    /// The same at first, from which changes are told.
    base_offset: i128,
    path: String,
    /// Register C tells of everything up to this time of the clock.
    seen: i128,
    /// Tick of the crystal from which periods are counted.
    phase: i128,
    irq: Line,
    timer: Timer,
    memory_at_reset: Vec<(u8, u8)>,
}

impl DeviceSpec for Rtc {
    type Device = RtcDevice;
    type Pins = RtcPins;
    const TYPE: &'static str = "mc146818rtc";

    fn realize(self, r: &mut Realize<'_>) -> Result<(RtcDevice, RtcPins), RealizeError> {
        r.ports(0, "rtc", 0x70, 2);
        let pins = RtcPins { irq: r.output("irq") };
        let start = match self.config.base {
            RtcBase::At(secs) => i128::from(secs) * SECOND,
            RtcBase::Utc => host_ns(),
            RtcBase::Localtime => {
                let zone = UtcOffset::current_local_offset()
                    .map_err(|e| r.property_error("base", format!("the host's time zone is not known: {e}")))?;
                host_ns() + i128::from(zone.whole_seconds()) * SECOND
            }
        };
        let offset = start - source_ns(self.config.clock, r.now());
        let mut device = RtcDevice {
            cmos: [0; 128],
            index: 0,
            nmi_masked: false,
            source: self.config.clock,
            offset,
            base_offset: offset,
            path: r.path().to_owned(),
            seen: start,
            phase: 0,
            irq: pins.irq,
            timer: r.timer(0),
            memory_at_reset: self.memory_at_reset,
        };
        device.cmos[REG_A] = 0x26;
        device.cmos[REG_B] = b::HOURS24;
        device.cmos[REG_D] = VALID;
        for (index, value) in self.memory {
            device.set_memory(index, value);
        }
        Ok((device, pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Rtc>("isa-device", "real-time clock, MC146818A")) }

fn host_ns() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => d.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

fn source_ns(source: RtcClock, machine_ns: u64) -> i128 {
    match source {
        RtcClock::Host => host_ns(),
        RtcClock::Vm => machine_ns.into(),
    }
}

impl RtcDevice {
    /// A byte of memory, or a register as last computed.
    pub fn memory(&self, index: u8) -> u8 {
        self.cmos[usize::from(index & 0x7f)]
    }
    /// Sets a byte of memory. Registers of time and control are left alone.
    pub fn set_memory(&mut self, index: u8, value: u8) {
        let index = usize::from(index & 0x7f);
        if index > REG_D && index != reg::CENTURY {
            self.cmos[index] = value;
        }
    }
    /// Bit 7 of port 70h: NMIs are kept from the CPU.
    pub fn nmi_masked(&self) -> bool {
        self.nmi_masked
    }

    fn format(&self) -> Format {
        Format { binary: self.cmos[REG_B] & b::BINARY != 0, hours24: self.cmos[REG_B] & b::HOURS24 != 0 }
    }
    /// Time of the clock in ns since 1970. It goes on inside while updates are inhibited.
    fn time(&self, cx: &Cx<'_>) -> i128 {
        source_ns(self.source, cx.now()) + self.offset
    }
    /// The divider chain runs and updates are not inhibited.
    fn updates(&self) -> bool {
        self.cmos[REG_B] & b::SET == 0 && self.cmos[REG_A] & a::DIVIDER <= a::CRYSTAL_32K
    }
    /// The period of periodic interrupts in ticks of the crystal.
    fn period(&self) -> Option<i128> {
        let runs = self.cmos[REG_A] & a::DIVIDER <= a::CRYSTAL_32K;
        match self.cmos[REG_A] & a::RATE {
            0 => None,
            // The two fastest rates of this crystal are those of codes 8 and 9.
            code @ 1..=2 => Some(1 << (code + 6)),
            code => Some(1 << (code - 1)),
        }
        .filter(|_| runs)
    }
    /// How many periods are over at time `t`.
    fn periods(&self, t: i128, period: i128) -> i128 {
        (tick(t) - self.phase).div_euclid(period)
    }
    /// Shows the time in its registers, where updates reach them.
    fn show(&mut self, t: i128) {
        if self.updates() {
            self.format().write(&mut self.cmos, seconds(t));
        }
    }
    /// The guest has changed the registers: that is the time from now on. The phase within the second stays.
    fn adopt(&mut self, cx: &Cx<'_>, t: i128) {
        let delta = (i128::from(self.format().read(&self.cmos)) - i128::from(seconds(t))) * SECOND;
        self.offset += delta;
        self.seen = t + delta;
        // The calendar spans four digits of years, so that the difference in seconds fits.
        let offset = ((self.offset - self.base_offset) / SECOND) as i64;
        cx.emit(&Event::RtcChange { offset, path: self.path.clone() });
    }

    /// Notes in register C what has happened since the last time.
    fn catch_up(&mut self, t: i128) {
        let before = std::mem::replace(&mut self.seen, t);
        if t <= before {
            return;
        }
        if let Some(period) = self.period()
            && self.periods(before, period) != self.periods(t, period)
        {
            self.cmos[REG_C] |= flag::PERIODIC;
        }
        if self.updates() && seconds(before) != seconds(t) {
            self.cmos[REG_C] |= flag::UPDATE;
            if self.format().alarm(&self.cmos).after(seconds(before)).is_some_and(|at| at <= seconds(t)) {
                self.cmos[REG_C] |= flag::ALARM;
            }
        }
    }
    fn interrupts(&self) -> bool {
        self.cmos[REG_B] & self.cmos[REG_C] & flag::ALL != 0
    }
    /// When the next enabled interrupt comes, in the clock's time.
    fn next_interrupt(&self, t: i128) -> Option<i128> {
        let enabled = |bit| self.cmos[REG_B] & bit != 0;
        let periodic = self.period().filter(|_| enabled(flag::PERIODIC)).map(|period| {
            let next = self.phase + (self.periods(t, period) + 1) * period;
            // The first ns at which the tick is over.
            -(-next * SECOND).div_euclid(CRYSTAL)
        });
        let update = enabled(flag::UPDATE).then(|| seconds(t) + 1);
        let alarm = enabled(flag::ALARM).then(|| self.format().alarm(&self.cmos).after(seconds(t))).flatten();
        let second = update.into_iter().chain(alarm).min().filter(|_| self.updates());
        periodic.into_iter().chain(second.map(|s| i128::from(s) * SECOND)).min()
    }
    /// Drives IRQ, and arms the timer while it is low and something may raise it.
    fn settle(&mut self, cx: &mut Cx<'_>, t: i128) {
        let irq = self.interrupts();
        cx.set(self.irq, irq);
        match self.next_interrupt(t).filter(|_| !irq) {
            Some(at) => cx.arm(self.timer, cx.now().saturating_add(u64::try_from(at - t).unwrap_or(0))),
            None => cx.disarm(self.timer),
        }
    }

    fn get(&mut self, cx: &mut Cx<'_>) -> u8 {
        let t = self.time(cx);
        let index = usize::from(self.index);
        match index {
            REG_A => {
                let updating = self.updates() && t.rem_euclid(SECOND) >= SECOND - UIP_NS;
                self.cmos[REG_A] & !a::UIP | if updating { a::UIP } else { 0 }
            }
            REG_C => {
                self.catch_up(t);
                let v = self.cmos[REG_C] | if self.interrupts() { flag::IRQF } else { 0 };
                self.cmos[REG_C] = 0;
                self.settle(cx, t);
                v
            }
            _ => {
                self.show(t);
                self.cmos[if index == CENTURY_PS2 { reg::CENTURY } else { index }]
            }
        }
    }
    fn put(&mut self, cx: &mut Cx<'_>, v: u8) {
        let t = self.time(cx);
        self.catch_up(t);
        self.show(t);
        match usize::from(self.index) {
            REG_A => self.set_divider(cx, v, t),
            REG_B => {
                let ran = self.updates();
                // Inhibiting updates also turns their interrupt off.
                self.cmos[REG_B] = if v & b::SET != 0 { v & !flag::UPDATE } else { v };
                if self.updates() && !ran {
                    self.adopt(cx, t);
                }
            }
            REG_C | REG_D => {}
            reg::SECONDS | reg::MINUTES | reg::HOURS | reg::WEEKDAY..=reg::YEAR | reg::CENTURY | CENTURY_PS2 => {
                let index = usize::from(self.index);
                self.cmos[if index == CENTURY_PS2 { reg::CENTURY } else { index }] = v;
                if self.updates() {
                    self.adopt(cx, t);
                }
            }
            index => self.cmos[index] = v,
        }
        let t = self.time(cx);
        self.settle(cx, t);
    }
    /// Sets divider and rate. The first update after the chain has been held comes half a second later; as in QEMU, the first period of a new
    /// rate begins where the last one of the old rate ended.
    fn set_divider(&mut self, cx: &Cx<'_>, v: u8, t: i128) {
        let period = self.period();
        let held = self.cmos[REG_A] & a::DIVIDER > a::CRYSTAL_32K;
        self.cmos[REG_A] = v & !a::UIP;
        if held && v & a::DIVIDER <= a::CRYSTAL_32K {
            self.offset += SECOND / 2 - t.rem_euclid(SECOND);
            let t = i128::from(seconds(t)) * SECOND + SECOND / 2;
            self.seen = t;
            if self.updates() {
                self.adopt(cx, t);
            }
        }
        if self.period() != period {
            self.phase = match period {
                Some(period) => self.phase + self.periods(t, period) * period,
                None => tick(self.seen),
            };
        }
    }
}

fn seconds(t: i128) -> i64 {
    t.div_euclid(SECOND) as i64
}

/// Ticks of the crystal at time `t`.
fn tick(t: i128) -> i128 {
    (t * CRYSTAL).div_euclid(SECOND)
}

impl Device for RtcDevice {
    fn state(&mut self) -> DeviceState<'_> {
        /// Times beyond this are not those of a calendar with four digits of years.
        const MOST: i128 = 20_000 * 366 * 86_400 * SECOND;
        let Self {
            cmos,
            index,
            nmi_masked,
            source: _,
            offset,
            base_offset: _,
            path: _,
            seen,
            phase,
            irq: _,
            timer: _,
            memory_at_reset: _,
        } = self;
        let sound = |(index, offset, seen, phase): &(u8, i128, i128, i128)| {
            *index < 0x80 && [offset, seen, phase].iter().all(|t| t.unsigned_abs() < MOST as u128)
        };
        Saved::of((Slice(cmos), nmi_masked)).and(Saved::sound((index, offset, seen, phase), sound)).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8) -> u64 {
        // The index cannot be read back.
        if offset == 0 { 0xff } else { self.get(cx).into() }
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        if offset == 0 {
            self.index = v & 0x7f;
            self.nmi_masked = v & 0x80 != 0;
        } else {
            self.put(cx, v);
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        let t = self.time(cx);
        self.catch_up(t);
        self.settle(cx, t);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, kind: ResetKind) {
        if kind == ResetKind::System {
            for (index, value) in self.memory_at_reset.clone() {
                self.set_memory(index, value);
            }
        }
        let t = self.time(cx);
        self.catch_up(t);
        self.cmos[REG_B] &= !(flag::ALL | b::SQWE);
        self.cmos[REG_C] = 0;
        self.index = 0;
        self.nmi_masked = false;
        self.settle(cx, t);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;

    /// 2024-02-29 23:59:58 UTC.
    const LEAP: i64 = 1_709_251_198;

    struct Rig {
        b: Bench,
        rtc: Realized<RtcPins>,
    }
    fn rig() -> Rig {
        let mut b = Bench::new();
        let config = RtcConfig { base: RtcBase::At(LEAP), clock: RtcClock::Vm };
        let rtc = b
            .realize(Rtc { config, memory: vec![(0x15, 0x80), (0x16, 0x02), (0x0b, 0xff)], ..Rtc::default() })
            .unwrap();
        Rig { b, rtc }
    }
    impl Rig {
        fn get(&mut self, index: u8) -> u8 {
            self.b.outb(0x70, index);
            self.b.inb(0x71)
        }
        fn set(&mut self, index: u8, v: u8) {
            self.b.outb(0x70, index);
            self.b.outb(0x71, v);
        }
        fn time(&mut self) -> [u8; 3] {
            [4, 2, 0].map(|r| self.get(r))
        }
        fn date(&mut self) -> [u8; 5] {
            [0x32, 9, 8, 7, 6].map(|r| self.get(r))
        }
        fn step_ms(&mut self, ms: u64) {
            self.b.clock_step_ns(ms * 1_000_000);
        }
        fn irq(&self) -> bool {
            self.b.level(self.rtc.irq)
        }
    }

    #[test]
    fn it_shows_the_time_and_keeps_memory() {
        let mut r = rig();
        assert_eq!([0x0a, 0x0b, 0x0c, 0x0d].map(|i| r.get(i)), [0x26, 0x02, 0, 0x80]);
        assert_eq!((r.time(), r.date()), ([0x23, 0x59, 0x58], [0x20, 0x24, 0x02, 0x29, 5]));
        r.step_ms(2000);
        assert_eq!((r.time(), r.date()), ([0, 0, 0], [0x20, 0x24, 0x03, 0x01, 6]));
        assert_eq!(r.get(0x37), 0x20);
        assert_eq!((r.get(0x15), r.get(0x16)), (0x80, 0x02));
        r.set(0x7f, 0x77);
        r.b.reset();
        assert_eq!((r.get(0x7f), r.b.inb(0x70)), (0x77, 0xff));
    }

    #[test]
    fn a_guest_sets_it() {
        let mut r = rig();
        r.step_ms(300);
        r.set(0x0b, 0x86); // inhibit updates, binary, 24 hours
        for (i, v) in [(0, 50), (2, 20), (4, 13), (7, 31), (8, 12), (9, 99), (0x32, 19)] {
            r.set(i, v);
        }
        r.step_ms(5000);
        assert_eq!(r.time(), [13, 20, 50], "it stands");
        r.set(0x0b, 0x06);
        assert_eq!((r.time(), r.date()), ([13, 20, 50], [19, 99, 12, 31, 6]));
        r.step_ms(700);
        assert_eq!(r.time(), [13, 20, 51], "the divider chain went on");
        r.set(0x0b, 0x04);
        assert_eq!(r.time(), [0x80 | 1, 20, 51], "1 PM");
        r.set(4, 12);
        r.set(0x0b, 0x06);
        assert_eq!(r.time(), [0, 20, 51], "12 AM");
    }

    #[test]
    fn update_in_progress_comes_244_microseconds_before() {
        let mut r = rig();
        r.b.clock_step_ns(1_000_000_000 - 244_141);
        assert_eq!(r.get(0x0a), 0x26);
        r.b.clock_step_ns(1);
        assert_eq!(r.get(0x0a), 0xa6);
        r.b.clock_step_ns(244_140);
        assert_eq!((r.get(0x0a), r.get(0)), (0x26, 0x59));
    }

    #[test]
    fn update_ended_interrupts_each_second() {
        let mut r = rig();
        r.set(0x0b, 0x12);
        r.step_ms(999);
        assert!(!r.irq());
        r.step_ms(1);
        assert!(r.irq());
        assert_eq!((r.get(0x0c) & 0x90, r.irq()), (0x90, false));
        r.step_ms(1000);
        assert!(r.irq());
        r.set(0x0b, 0x92);
        assert_eq!(r.get(0x0b), 0x82, "inhibited");
        assert!(!r.irq());
    }

    #[test]
    fn periodic_interrupts_come_at_the_rate() {
        let mut r = rig();
        r.set(0x0b, 0x42);
        let mut ticks = 0;
        while r.b.clock_step() < 100_000_000 {
            assert!(r.irq());
            assert_eq!(r.get(0x0c), 0xc0);
            ticks += 1;
        }
        assert_eq!(ticks, 102, "1024 Hz");
        r.set(0x0a, 0x2f);
        r.get(0x0c);
        let last = 103 * 32;
        assert_eq!(
            r.b.clock_step(),
            ((last + 16384) * 1_000_000_000u64).div_ceil(32768),
            "2 Hz, from the last tick on"
        );
        r.set(0x0a, 0x20);
        r.get(0x0c);
        assert_eq!(r.b.deadline(), None);
    }

    #[test]
    fn flags_are_set_without_their_interrupts() {
        let mut r = rig();
        assert_eq!(r.b.deadline(), None, "nothing ticks for nobody");
        assert_eq!(r.get(0x0c), 0);
        r.step_ms(1);
        assert_eq!(r.get(0x0c), 0x40);
        assert_eq!(r.get(0x0c), 0);
        r.step_ms(1000);
        assert_eq!(r.get(0x0c), 0x50);
        r.step_ms(1000);
        r.set(0x0b, 0x12);
        assert!(r.irq(), "enabling an interrupt whose flag is set asks at once");
    }

    #[test]
    fn the_alarm_goes_off() {
        let mut r = rig();
        for (i, v) in [(1, 0x05), (3, 0x00), (5, 0xff)] {
            r.set(i, v);
        }
        r.set(0x0b, 0x22);
        r.step_ms(6999);
        assert!(!r.irq());
        r.step_ms(1);
        assert!(r.irq());
        assert_eq!(r.get(0x0c) & 0xa0, 0xa0);
        assert_eq!(r.b.clock_step(), 3_607_000_000_000, "each hour");
    }

    #[test]
    fn the_divider_can_be_held_to_set_the_phase() {
        let mut r = rig();
        r.step_ms(100);
        r.set(0x0a, 0x76);
        r.step_ms(5000);
        assert_eq!(r.get(0), 0x58);
        r.set(0x0a, 0x26);
        r.step_ms(499);
        assert_eq!(r.get(0), 0x58);
        r.step_ms(1);
        assert_eq!(r.get(0), 0x59);
    }

    #[test]
    fn it_follows_the_host_unless_told_otherwise() {
        let mut b = Bench::new();
        let rtc = b.realize(Rtc::default()).unwrap();
        b.outb(0x70, 0x32);
        assert!(b.inb(0x71) >= 0x20);
        b.clock_step_ns(1 << 60);
        b.outb(0x70, 0x32);
        assert_eq!(b.inb(0x71), 0x20, "machine time does not matter");
        b.outb(0x70, 0x8f);
        assert!(b.device(rtc.id, |d: &mut RtcDevice| d.nmi_masked()));
    }

    #[test]
    fn every_sequence_of_bytes_is_survived() {
        let mut r = rig();
        let mut x = 1u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = if x & 0x200 != 0 { (x >> 24) as u8 & 0x0f } else { (x >> 24) as u8 };
            if x & 0x100 != 0 {
                r.set(index, (x >> 16) as u8);
            } else {
                r.get(index);
            }
            r.b.clock_step_ns(u64::from(x >> 10 & 0xfffff));
        }
    }
}
