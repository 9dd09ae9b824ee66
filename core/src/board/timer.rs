//! Timers of the board's devices, in machine time.

use super::DeviceId;
use std::collections::BTreeSet;

/// A timer that a device claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timer(u32);

struct Entry {
    device: DeviceId,
    tag: u32,
    armed: Option<u64>,
}

#[derive(Default)]
pub(super) struct Timers {
    entries: Vec<Entry>,
    /// Entries whose devices have gone.
    free: Vec<Timer>,
    queue: BTreeSet<(u64, Timer)>,
}

impl Timers {
    pub(super) fn add(&mut self, device: DeviceId, tag: u32) -> Timer {
        let entry = Entry { device, tag, armed: None };
        if let Some(timer) = self.free.pop() {
            self.entries[timer.0 as usize] = entry;
            return timer;
        }
        self.entries.push(entry);
        Timer(self.entries.len() as u32 - 1)
    }
    /// Gives up the timers of a device that goes.
    pub(super) fn remove(&mut self, device: DeviceId) {
        for n in 0..self.entries.len() as u32 {
            if self.entries[n as usize].device == device && !self.free.contains(&Timer(n)) {
                self.disarm(Timer(n));
                self.free.push(Timer(n));
            }
        }
    }
    pub(super) fn arm(&mut self, timer: Timer, ns: u64) {
        // u64::MAX stands for "no timer" outside.
        let ns = ns.min(u64::MAX - 1);
        self.disarm(timer);
        self.entries[timer.0 as usize].armed = Some(ns);
        self.queue.insert((ns, timer));
    }
    pub(super) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.entries[timer.0 as usize].armed.take() {
            self.queue.remove(&(at, timer));
        }
    }
    /// The timers of a device, in order.
    fn of(&self, device: DeviceId) -> impl Iterator<Item = Timer> {
        let all = self.entries.iter().enumerate().filter(move |(_, e)| e.device == device);
        all.map(|(n, _)| Timer(n as u32))
    }
    /// When they are due.
    pub(super) fn deadlines(&self, device: DeviceId) -> Vec<Option<u64>> {
        self.of(device).map(|timer| self.entries[timer.0 as usize].armed).collect()
    }
    /// Arms and disarms them.
    pub(super) fn set_deadlines(&mut self, device: DeviceId, deadlines: &[Option<u64>]) {
        let timers: Vec<_> = self.of(device).collect();
        for (timer, deadline) in timers.into_iter().zip(deadlines) {
            match deadline {
                Some(ns) => self.arm(timer, *ns),
                None => self.disarm(timer),
            }
        }
    }
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.first().map(|&(at, _)| at)
    }
    /// Disarms and returns what is due at `now`, earliest first.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<(DeviceId, u32)> {
        let mut due = Vec::new();
        while let Some(&(at, timer)) = self.queue.first().filter(|&&(at, _)| at <= now) {
            self.queue.remove(&(at, timer));
            let e = &mut self.entries[timer.0 as usize];
            e.armed = None;
            due.push((e.device, e.tag));
        }
        due
    }
}
