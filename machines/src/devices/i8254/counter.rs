//! One counter of an 8254 as a value: bytes and gate in, count and OUT out, by the time in ns that the caller gives.
//!
//! Source: Intel 8254 datasheet (231164), "Operational Description" and "Mode Definitions". A count is taken to be loaded, and a trigger to be
//! seen, when it is written, not at the next pulse of CLK.

use gearbox_core::clock::{ns_to_ticks, ticks_to_ns};
use serde::{Deserialize, Serialize};

/// CLK of all three counters of a PC: a twelfth of the colour burst crystal's fourfold, in Hz.
pub const PIT_HZ: u64 = 1_193_182;

/// What a counter does with its OUT pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Mode 0: OUT rises when the count is over.
    InterruptOnTerminalCount,
    /// Mode 1: a rising gate makes OUT low for the count.
    OneShot,
    /// Mode 2: OUT is low for the last tick of each period.
    RateGenerator,
    /// Mode 3: OUT is high for the first half of each period.
    SquareWave,
    /// Mode 4: OUT is low for one tick when the count is over.
    SoftwareStrobe,
    /// Mode 5: the same, started by a rising gate.
    HardwareStrobe,
}

impl Mode {
    fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }
    fn periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }
    /// Counting starts at a rising gate only.
    fn triggered(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }
}

/// Where counting stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// A control word, a count or a trigger is awaited.
    Waiting,
    /// At time `since` (ns), `ahead` ticks of the count were over.
    Running { since: u64, ahead: u64 },
    /// The gate holds the count after this many ticks.
    Held(u64),
}

/// A count that takes effect at the end of a period, or at the next trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    count: u32,
    /// Time in ns; `None` at a trigger.
    at: Option<u64>,
}

/// One counter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counter {
    /// Bits 5-0 of the control word: access, mode, BCD.
    control: u8,
    gate: bool,
    /// The initial count in force, 1 to 10000h (or 10000 in BCD).
    count: u32,
    pending: Option<Pending>,
    /// A count has been written since the control word.
    loaded: bool,
    phase: Phase,
    /// The low byte of a count whose high byte is awaited.
    low: Option<u8>,
    /// The next read of a two-byte count gives the high byte.
    read_high: bool,
    latched: Option<u16>,
    latched_status: Option<u8>,
}

/// Ticks that can be over when the counting element is looked at: as many as fit in ns of machine time.
const MOST_AHEAD: u64 = u64::MAX / 2;

const ACCESS_HIGH: u8 = 2;
const ACCESS_BOTH: u8 = 3;

impl Counter {
    /// A counter as a PC's firmware finds it: a square wave of the longest period.
    pub fn new(gate: bool, now: u64) -> Self {
        let mut c = Self {
            control: 0,
            gate,
            count: 0x10000,
            pending: None,
            loaded: false,
            phase: Phase::Waiting,
            low: None,
            read_high: false,
            latched: None,
            latched_status: None,
        };
        c.set_control(0x06);
        c.load(0, now);
        c
    }
    /// Can a counter be like this?
    pub(super) fn is_sound(&self) -> bool {
        let counts = 1..=0x10000;
        let ahead = match self.phase {
            Phase::Waiting => 0,
            Phase::Held(ticks) | Phase::Running { ahead: ticks, .. } => ticks,
        };
        counts.contains(&self.count)
            && self.pending.is_none_or(|p| counts.contains(&p.count))
            && self.control <= 0x3f
            && ahead <= MOST_AHEAD
    }
    /// The mode in force.
    pub fn mode(&self) -> Mode {
        Mode::from_bits(self.control >> 1)
    }
    /// The initial count in force.
    pub fn count(&self) -> u32 {
        self.count
    }
    /// Level of the gate.
    pub fn gate(&self) -> bool {
        self.gate
    }
    fn access(&self) -> u8 {
        self.control >> 4
    }
    fn bcd(&self) -> bool {
        self.control & 1 != 0
    }

    /// A control word for this counter: `control` is its bits 5-0. Counting stops until a count is written.
    pub fn set_control(&mut self, control: u8) {
        *self = Self {
            control: control & 0x3f,
            gate: self.gate,
            count: self.count,
            pending: None,
            loaded: false,
            phase: Phase::Waiting,
            low: None,
            read_high: false,
            latched: None,
            latched_status: None,
        };
    }
    /// Latches the count, unless one is latched that has not been read yet.
    pub fn latch_count(&mut self, now: u64) {
        self.sync(now);
        self.latched = self.latched.or(Some(self.value(now)));
    }
    /// Latches the status byte, likewise.
    pub fn latch_status(&mut self, now: u64) {
        self.sync(now);
        let null = !self.loaded || self.pending.is_some();
        let status = u8::from(self.level(now)) << 7 | u8::from(null) << 6 | self.control;
        self.latched_status = self.latched_status.or(Some(status));
    }
    /// A load from the counter's port.
    pub fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        self.sync(now);
        let [low, high] = self.latched.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let gives_high = match self.access() {
            ACCESS_BOTH => {
                self.read_high = !self.read_high;
                !self.read_high
            }
            access => access == ACCESS_HIGH,
        };
        if gives_high || self.access() != ACCESS_BOTH {
            self.latched = None;
        }
        if gives_high { high } else { low }
    }
    /// A store to the counter's port.
    pub fn write(&mut self, v: u8, now: u64) {
        self.sync(now);
        match (self.access(), self.low.take()) {
            (ACCESS_BOTH, None) => {
                self.low = Some(v);
                if self.mode() == Mode::InterruptOnTerminalCount {
                    self.phase = Phase::Waiting;
                }
            }
            (ACCESS_BOTH, Some(low)) => self.load(u16::from_le_bytes([low, v]), now),
            (ACCESS_HIGH, _) => self.load(u16::from(v) << 8, now),
            _ => self.load(v.into(), now),
        }
    }
    /// Changes the gate.
    pub fn set_gate(&mut self, gate: bool, now: u64) {
        self.sync(now);
        let rises = gate && !self.gate;
        self.gate = gate;
        let mode = self.mode();
        self.phase = match self.phase {
            _ if rises && self.loaded && (mode.periodic() || mode.triggered()) => {
                if let Some(p) = self.pending.take() {
                    self.count = p.count;
                }
                Phase::Running { since: now, ahead: 0 }
            }
            Phase::Held(ticks) if gate => Phase::Running { since: now, ahead: ticks },
            Phase::Running { .. } if !gate && mode.periodic() => Phase::Waiting,
            Phase::Running { .. } if !gate && !mode.triggered() => Phase::Held(self.ticks(now).unwrap_or(0)),
            phase => phase,
        };
    }

    /// Takes a new initial count.
    fn load(&mut self, raw: u16, now: u64) {
        let count = match (raw, self.bcd()) {
            (0, false) => 0x10000,
            (0, true) => 10_000,
            (n, false) => n.into(),
            (n, true) => from_bcd(n),
        };
        let first = !std::mem::replace(&mut self.loaded, true);
        let mode = self.mode();
        if mode.triggered() {
            self.pending = Some(Pending { count, at: None });
            return;
        }
        if mode.periodic() && !first && self.gate {
            // The period (half of a square wave) that is under way is finished first.
            if let Some(at) = self.next_change(now, mode == Mode::SquareWave) {
                self.pending = Some(Pending { count, at: Some(at) });
                return;
            }
        }
        self.count = count;
        self.pending = None;
        self.phase = match (self.gate, mode.periodic()) {
            (true, _) => Phase::Running { since: now, ahead: 0 },
            (false, true) => Phase::Waiting,
            (false, false) => Phase::Held(0),
        };
    }
    /// Puts a pending count in force if its time has come.
    fn sync(&mut self, now: u64) {
        if let Some(Pending { count, at: Some(at) }) = self.pending
            && at <= now
        {
            let ahead = if self.level(at) { 0 } else { u64::from(count.div_ceil(2)) };
            self.count = count;
            self.pending = None;
            self.phase = Phase::Running { since: at, ahead };
        }
    }

    /// Ticks since the count was loaded.
    fn ticks(&self, now: u64) -> Option<u64> {
        match self.phase {
            Phase::Waiting => None,
            Phase::Held(ticks) => Some(ticks),
            Phase::Running { since, ahead } => Some(ahead + ns_to_ticks(now.saturating_sub(since), PIT_HZ)),
        }
    }
    /// The counting element, as a guest reads it.
    fn value(&self, now: u64) -> u16 {
        let n = u64::from(self.count);
        let wrap = if self.bcd() { 10_000 } else { 0x10000 };
        let d = self.ticks(now).unwrap_or(0);
        let v = match self.mode() {
            Mode::RateGenerator => n - d % n,
            Mode::SquareWave => {
                // Each half counts down by two from the even number at or below the count.
                let (phase, half) = (d % n, n.div_ceil(2));
                let into = if phase < half { phase } else { phase - half };
                (n & !1) - 2 * into
            }
            _ => (n + wrap - d % wrap) % wrap,
        };
        let v = (v % wrap) as u16;
        if self.bcd() { to_bcd(v) } else { v }
    }
    /// Level of OUT.
    pub fn out(&mut self, now: u64) -> bool {
        self.sync(now);
        self.level(now)
    }
    fn level(&self, now: u64) -> bool {
        let Some(d) = self.ticks(now) else { return self.mode() != Mode::InterruptOnTerminalCount };
        let n = u64::from(self.count);
        match self.mode() {
            Mode::InterruptOnTerminalCount | Mode::OneShot => d >= n,
            Mode::RateGenerator => d % n != n - 1,
            Mode::SquareWave => d % n < n.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => d != n,
        }
    }
    /// When OUT changes next, in ns and later than `now`; `None` if it stays.
    pub fn next_edge(&mut self, now: u64) -> Option<u64> {
        self.sync(now);
        self.next_change(now, true)
    }
    /// When OUT changes next, or with `both_edges` false when it rises next.
    fn next_change(&self, now: u64, both_edges: bool) -> Option<u64> {
        let Phase::Running { since, ahead } = self.phase else { return None };
        let (d, n) = (self.ticks(now)?, u64::from(self.count));
        let next = match self.mode() {
            Mode::InterruptOnTerminalCount | Mode::OneShot => (d < n).then_some(n),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => (d <= n).then(|| if d < n { n } else { n + 1 }),
            // A period of one tick never changes.
            _ if n == 1 => None,
            mode => {
                let (start, phase) = (d - d % n, d % n);
                let turn = if mode == Mode::RateGenerator { n - 1 } else { n.div_ceil(2) };
                Some(start + if both_edges && phase < turn { turn } else { n })
            }
        }?;
        Some(since.saturating_add(ticks_to_ns(next - ahead, PIT_HZ)))
    }
}

fn from_bcd(v: u16) -> u32 {
    let sum = (0..4).rev().fold(0, |n, digit| n * 10 + u32::from(v >> (4 * digit) & 0xf));
    // Digits above nine carry over.
    match sum % 10_000 {
        0 => 10_000,
        n => n,
    }
}

fn to_bcd(v: u16) -> u16 {
    (0..4).rev().fold(0, |bcd, digit| (bcd << 4) | (v / 10u16.pow(digit) % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ticks to the first ns at which they are over.
    fn t(ticks: u64) -> u64 {
        ticks_to_ns(ticks, PIT_HZ)
    }
    /// A counter with both bytes accessed.
    fn counter(mode: u8, bcd: bool, count: u16) -> Counter {
        let mut c = Counter::new(true, 0);
        c.set_control(0x30 | mode << 1 | u8::from(bcd));
        load(&mut c, count, 0);
        c
    }
    fn load(c: &mut Counter, count: u16, now: u64) {
        count.to_le_bytes().into_iter().for_each(|b| c.write(b, now));
    }
    fn read(c: &mut Counter, now: u64) -> u16 {
        u16::from_le_bytes([c.read(now), c.read(now)])
    }
    /// Ticks at which OUT changes, and to what.
    fn edges(c: &mut Counter, from: u64, n: usize) -> Vec<(u64, bool)> {
        let mut now = t(from);
        std::iter::from_fn(|| {
            let was = c.out(now);
            let next = c.next_edge(now)?;
            assert_eq!(c.out(next - 1), was, "not a ns early");
            now = next;
            Some((ns_to_ticks(now, PIT_HZ), c.out(now)))
        })
        .take(n)
        .collect()
    }

    #[test]
    fn mode_0_rises_once() {
        let mut c = counter(0, false, 4);
        assert!(!c.out(0));
        assert_eq!(edges(&mut c, 0, 3), [(4, true)]);
        assert_eq!(read(&mut c, t(6)), 0xfffe, "it counts on");
        c.write(9, t(7));
        assert!(!c.out(t(7)), "the first byte of a new count stops it");
        assert_eq!(c.next_edge(t(7)), None);
    }

    #[test]
    fn mode_0_is_held_by_the_gate() {
        let mut c = counter(0, false, 100);
        c.set_gate(false, t(30));
        assert_eq!(c.next_edge(t(50)), None);
        assert_eq!(read(&mut c, t(50)), 70);
        c.set_gate(true, t(60));
        assert_eq!(c.next_edge(t(60)), Some(t(60) + t(70)));
    }

    #[test]
    fn mode_1_fires_at_each_trigger() {
        let mut c = counter(1, false, 3);
        assert!(c.out(0));
        assert_eq!(c.next_edge(0), None);
        c.set_gate(false, 0);
        c.set_gate(true, t(1));
        assert!(!c.out(t(1)));
        assert_eq!(c.next_edge(t(1)), Some(t(1) + t(3)));
        load(&mut c, 10, t(2));
        assert_eq!(c.next_edge(t(2)), Some(t(1) + t(3)), "a new count waits for the next trigger");
        c.set_gate(false, t(2));
        c.set_gate(true, t(3));
        assert_eq!(c.next_edge(t(3)), Some(t(3) + t(10)));
    }

    #[test]
    fn mode_2_is_low_for_the_last_tick() {
        let mut c = counter(2, false, 4);
        assert_eq!(edges(&mut c, 0, 4), [(3, false), (4, true), (7, false), (8, true)]);
        assert_eq!([0, 1, 2, 3, 4].map(|n| read(&mut c, t(n))), [4, 3, 2, 1, 4]);
        load(&mut c, 3, t(5));
        assert_eq!(edges(&mut c, 5, 4), [(7, false), (8, true), (10, false), (11, true)]);
        c.set_gate(false, t(20));
        assert!(c.out(t(20)) && c.next_edge(t(20)).is_none());
    }

    #[test]
    fn mode_3_halves_the_period() {
        let mut even = counter(3, false, 4);
        assert_eq!(edges(&mut even, 0, 4), [(2, false), (4, true), (6, false), (8, true)]);
        assert_eq!([0, 1, 2, 3].map(|n| read(&mut even, t(n))), [4, 2, 4, 2]);
        let mut odd = counter(3, false, 5);
        assert_eq!(edges(&mut odd, 0, 4), [(3, false), (5, true), (8, false), (10, true)]);
        assert_eq!([0, 1, 2, 3, 4].map(|n| read(&mut odd, t(n))), [4, 2, 0, 4, 2]);
    }

    #[test]
    fn mode_3_takes_a_new_count_at_the_end_of_a_half() {
        let mut c = counter(3, false, 10);
        load(&mut c, 4, t(2));
        c.latch_status(t(2));
        assert_eq!(c.read(t(2)) & 0x40, 0x40, "null count");
        assert_eq!(edges(&mut c, 2, 4), [(5, false), (7, true), (9, false), (11, true)]);
        c.latch_status(t(12));
        assert_eq!(c.read(t(12)) & 0x40, 0);
    }

    #[test]
    fn modes_4_and_5_strobe() {
        let mut c = counter(4, false, 2);
        assert_eq!(edges(&mut c, 0, 3), [(2, false), (3, true)]);
        let mut c = counter(5, false, 2);
        assert_eq!(edges(&mut c, 0, 3), []);
        c.set_gate(false, 0);
        c.set_gate(true, 0);
        assert_eq!(edges(&mut c, 0, 3), [(2, false), (3, true)]);
    }

    #[test]
    fn bcd_counts_decades() {
        let mut c = counter(2, true, 0x1000);
        assert_eq!(c.count(), 1000);
        assert_eq!(read(&mut c, t(1)), 0x0999);
        let mut c = counter(0, true, 0);
        assert_eq!(c.count(), 10_000);
        assert_eq!(read(&mut c, t(1)), 0x9999);
        assert_eq!(counter(0, true, 0xffff).count(), 6665, "digits above nine carry");
    }

    #[test]
    fn the_longest_and_the_shortest_period() {
        let mut c = counter(2, false, 0);
        assert_eq!(c.next_edge(0), Some(t(0xffff)));
        for mode in [2, 3] {
            let mut c = counter(mode, false, 1);
            assert_eq!(c.next_edge(0), None, "not a legal count; it must not spin");
            load(&mut c, 2, t(5));
            assert!(c.next_edge(t(5)).is_some());
        }
    }

    #[test]
    fn latches_hold_until_read() {
        let mut c = counter(0, false, 0x1234);
        c.latch_count(t(4));
        c.latch_count(t(8));
        c.latch_status(t(8));
        assert_eq!(c.read(t(9)), 0x30, "status comes first");
        assert_eq!(read(&mut c, t(9)), 0x1230);
        assert_eq!(read(&mut c, t(9)), 0x122b);
    }
}
