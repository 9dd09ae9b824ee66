//! `-icount`: machine time is a count of instructions, `count << shift` ns and what was added while nobody executed any.

use crate::cpu::Cpu;
use gearbox_core::accel::{Icount, Shift};
use gearbox_core::clock::{ClockSource, HostClock};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The shift that adaptation begins with, and the largest.
const FIRST_SHIFT: u32 = 3;
/// How often adaptation looks, in ns of host time.
const LOOK_EVERY: u64 = 100_000_000;
/// How far host and machine may be apart, in ns, before adaptation changes the shift: it needs two looks to tell where they are heading.
const WOBBLE: i64 = 100_000_000;
/// With `align`, how far the machine may be ahead of the host.
const AHEAD: u64 = 3_000_000;
/// And by how much it must fall further behind before the user is told again.
const LATE_STEP: u64 = 1_000_000_000;

/// The clock of a machine whose instructions are counted.
pub(crate) struct CountedClock {
    count: AtomicU64,
    scale: Mutex<Scale>,
    config: Icount,
    host: HostClock,
    pace: Mutex<Pace>,
}

/// From instructions to time.
#[derive(Clone, Copy)]
struct Scale {
    shift: u32,
    /// Added, so that time goes on without a step when the shift changes, and passes while nobody executes anything.
    bias: u64,
}

#[derive(Default)]
struct Pace {
    next_look: u64,
    last_lead: i64,
    told_late: u64,
}

impl CountedClock {
    /// At 0, stopped.
    pub(crate) fn new(config: Icount) -> Self {
        let shift = match config.shift {
            Shift::Fixed(n) => n.into(),
            Shift::Auto => FIRST_SHIFT,
        };
        Self {
            count: AtomicU64::new(0),
            scale: Mutex::new(Scale { shift, bias: 0 }),
            config,
            host: HostClock::new(),
            pace: Mutex::default(),
        }
    }
    /// Instructions so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
    /// So many have been executed in all.
    pub(crate) fn set_count(&self, count: u64) {
        self.count.store(count, Ordering::Release);
    }
    /// After how many instructions it is `deadline`.
    pub(crate) fn instructions_until(&self, deadline: u64) -> u64 {
        let shift = self.scale.lock().shift;
        deadline.saturating_sub(self.now()).div_ceil(1 << shift)
    }
    /// To be called now and then by whoever executes: adapts the shift, or waits for the host, where that was asked for.
    pub(crate) fn keep_pace(&self) {
        if self.config.shift == Shift::Auto {
            self.adapt();
        } else if self.config.align {
            self.align();
        }
    }
    fn adapt(&self) {
        let (host, now) = (self.host.now(), self.now());
        let mut pace = self.pace.lock();
        if host < pace.next_look {
            return;
        }
        pace.next_look = host + LOOK_EVERY;
        let lead = now as i64 - host as i64;
        let mut scale = self.scale.lock();
        if lead > 0 && pace.last_lead + WOBBLE < lead * 2 && scale.shift > 0 {
            scale.shift -= 1;
        } else if lead < 0 && pace.last_lead - WOBBLE > lead * 2 && scale.shift < Icount::MAX_SHIFT.into() {
            scale.shift += 1;
        }
        pace.last_lead = lead;
        scale.bias = now.wrapping_sub(self.count() << scale.shift);
    }
    fn align(&self) {
        let (host, now) = (self.host.now(), self.now());
        if now > host + AHEAD {
            std::thread::sleep(Duration::from_nanos(now - host));
            return;
        }
        let (late, mut pace) = (host.saturating_sub(now), self.pace.lock());
        if late > pace.told_late + LATE_STEP {
            pace.told_late = late;
            tracing::warn!("the guest is late by {:.1} seconds", late as f64 / 1e9);
        }
    }
}

impl ClockSource for CountedClock {
    fn now(&self) -> u64 {
        let scale = *self.scale.lock();
        (self.count() << scale.shift).wrapping_add(scale.bias)
    }
    fn set_running(&self, running: bool) {
        self.host.set_running(running);
    }
    fn host_wait(&self, deadline: u64) -> Option<Duration> {
        self.config.sleep.then(|| Duration::from_nanos(deadline.saturating_sub(self.now())))
    }
    fn set(&self, ns: u64) {
        let mut scale = self.scale.lock();
        scale.bias = ns.wrapping_sub(self.count() << scale.shift);
    }
    fn advance_to(&self, ns: u64) -> bool {
        let mut scale = self.scale.lock();
        let now = (self.count() << scale.shift).wrapping_add(scale.bias);
        scale.bias = scale.bias.wrapping_add(ns.saturating_sub(now));
        true
    }
    fn instructions(&self) -> Option<u64> {
        Some(self.count())
    }
}

impl Cpu {
    /// This vCPU goes on, and the count with it.
    pub(crate) fn begin_turn(&mut self, limited: bool) {
        self.turn_from = (limited && self.counted.is_some()).then_some(self.icount);
        if let Some(clock) = &self.counted {
            clock.keep_pace();
            self.other_counts = clock.count().wrapping_sub(self.icount);
            self.turn_began = clock.now();
        }
    }
    /// A turn that has begun, among counted instructions, ends where it would without a kick.
    pub(crate) fn finishes_turn(&self) -> bool {
        self.turn_from.is_some_and(|from| self.icount != from)
    }
    /// Others will go on from here.
    pub(crate) fn end_turn(&mut self) {
        self.tell_time();
    }
    /// Has the board's timers fire that are due. Between two instructions.
    pub(crate) fn fire_timers(&mut self, clock: &CountedClock) {
        if let Ok(bus) = self.bus()
            && bus.deadline().is_some_and(|due| due <= clock.now())
        {
            bus.settle_timers();
            self.map_changed |= self.peers.views() != self.views_seen;
        }
    }
    /// How many instructions may be executed before a timer has to be looked at: one of the board, or of this vCPU. `None` when that of another
    /// vCPU has become due in this turn.
    pub(crate) fn until_timer(&mut self, clock: &CountedClock) -> Option<i64> {
        let now = self.now();
        let ours = self.shared.deadline().into_iter().chain(self.bus().ok().and_then(|bus| bus.deadline())).min();
        let mut first = ours.map_or(u64::MAX, |due| clock.instructions_until(due).max(1));
        let theirs = Cell::new(None::<u64>);
        self.peers.others(&self.shared, |s| {
            theirs.set(theirs.get().into_iter().chain(s.deadline().filter(|&due| due > self.turn_began)).min())
        });
        if let Some(due) = theirs.get() {
            if due <= now {
                return None;
            }
            first = first.min(clock.instructions_until(due));
        }
        Some(i64::try_from(first).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(shift: Shift, sleep: bool) -> CountedClock {
        CountedClock::new(Icount { shift, sleep, align: false })
    }

    #[test]
    fn time_is_what_was_executed() {
        let c = clock(Shift::Fixed(2), false);
        c.set_count(10);
        assert_eq!((c.now(), c.instructions()), (40, Some(10)));
        assert_eq!((c.instructions_until(41), c.instructions_until(44), c.instructions_until(3)), (1, 1, 0));
    }

    #[test]
    fn waiting_moves_it_without_instructions() {
        let c = clock(Shift::Fixed(0), false);
        assert_eq!(c.host_wait(1000), None);
        assert!(c.advance_to(1000));
        assert!(c.advance_to(500));
        assert_eq!((c.now(), c.count()), (1000, 0));
        c.set_count(5);
        assert_eq!(c.now(), 1005);
        assert_eq!(clock(Shift::Fixed(0), true).host_wait(1000), Some(Duration::from_nanos(1000)));
    }

    #[test]
    fn adaptation_follows_the_host_without_a_step() {
        let c = clock(Shift::Auto, true);
        c.set_count(1 << 30);
        let before = c.now();
        c.keep_pace();
        assert_eq!((c.now(), c.scale.lock().shift), (before, FIRST_SHIFT - 1));
    }
}
