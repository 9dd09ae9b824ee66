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
    /// Entries whose devices have gone. The lowest is used again first, so that those of a device are always in the order in which it claimed them.
    free: BTreeSet<Timer>,
    /// What is due at the same time comes in the order of the devices.
    queue: BTreeSet<(u64, DeviceId, Timer)>,
}

impl Timers {
    pub(super) fn add(&mut self, device: DeviceId, tag: u32) -> Timer {
        let entry = Entry { device, tag, armed: None };
        if let Some(timer) = self.free.pop_first() {
            self.entries[timer.0 as usize] = entry;
            return timer;
        }
        self.entries.push(entry);
        Timer(self.entries.len() as u32 - 1)
    }
    /// Gives up the timers of a device that goes.
    pub(super) fn remove(&mut self, device: DeviceId) {
        let timers: Vec<_> = self.of(device).collect();
        for timer in timers {
            self.disarm(timer);
            self.free.insert(timer);
        }
    }
    pub(super) fn arm(&mut self, timer: Timer, ns: u64) {
        // u64::MAX stands for "no timer" outside.
        let ns = ns.min(u64::MAX - 1);
        self.disarm(timer);
        let entry = &mut self.entries[timer.0 as usize];
        entry.armed = Some(ns);
        self.queue.insert((ns, entry.device, timer));
    }
    pub(super) fn disarm(&mut self, timer: Timer) {
        let entry = &mut self.entries[timer.0 as usize];
        if let Some(at) = entry.armed.take() {
            self.queue.remove(&(at, entry.device, timer));
        }
    }
    /// The timers of a device, in order.
    fn of(&self, device: DeviceId) -> impl Iterator<Item = Timer> {
        let all = self.entries.iter().enumerate().map(|(n, e)| (Timer(n as u32), e));
        all.filter(move |(timer, e)| e.device == device && !self.free.contains(timer)).map(|(timer, _)| timer)
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
        self.queue.first().map(|&(at, ..)| at)
    }
    /// Disarms and returns what is due at `now`, earliest first.
    pub(super) fn take_due(&mut self, now: u64) -> Vec<(DeviceId, u32)> {
        let mut due = Vec::new();
        while let Some(&next) = self.queue.first().filter(|&&(at, ..)| at <= now) {
            self.queue.remove(&next);
            let (_, _, timer) = next;
            let e = &mut self.entries[timer.0 as usize];
            e.armed = None;
            due.push((e.device, e.tag));
        }
        due
    }
}
