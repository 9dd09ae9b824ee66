//! A timer: when the counter reaches its comparator, once or again and again (specification, 2.3.8 and 2.3.9).

use serde::{Deserialize, Serialize};

/// Bits of a timer's configuration and capability register.
pub(super) mod config {
    pub(in super::super) const LEVEL: u64 = 1 << 1;
    pub(in super::super) const ENABLE: u64 = 1 << 2;
    pub(super) const PERIODIC: u64 = 1 << 3;
    /// It can be periodic, and has 64 bits.
    pub(super) const CAPABILITIES: u64 = 1 << 4 | 1 << 5;
    pub(super) const SET_VALUE: u64 = 1 << 6;
    pub(super) const MODE_32: u64 = 1 << 8;
    pub(super) const ROUTE: u64 = 0x1f << ROUTE_SHIFT;
    pub(super) const ROUTE_SHIFT: u32 = 9;
    pub(super) const WRITABLE: u64 = LEVEL | ENABLE | PERIODIC | SET_VALUE | MODE_32 | ROUTE;
}

/// A timer, without what it drives.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Comparator {
    configuration: u64,
    value: u64,
    /// From one match to the next; 0 if nothing has been said.
    period: u64,
    /// It has matched at this value, and does so again only when the counter has gone round.
    spent: bool,
}

impl Default for Comparator {
    fn default() -> Self {
        Self { configuration: 0, value: u64::MAX, period: 0, spent: false }
    }
}

impl Comparator {
    pub(super) fn has(&self, bit: u64) -> bool {
        self.configuration & bit != 0
    }
    pub(super) fn configuration(&self) -> u64 {
        self.configuration | config::CAPABILITIES
    }
    /// Somebody may see what it does.
    pub(super) fn runs(&self) -> bool {
        self.has(config::ENABLE | config::LEVEL)
    }
    pub(super) fn route(&self) -> usize {
        ((self.configuration & config::ROUTE) >> config::ROUTE_SHIFT) as usize
    }
    pub(super) fn value(&self) -> u64 {
        self.value & self.width()
    }
    /// Ticks from one match to the next, if there is more than one.
    pub(super) fn period(&self) -> Option<u64> {
        Some(self.period).filter(|p| *p != 0 && self.has(config::PERIODIC))
    }
    fn width(&self) -> u64 {
        if self.has(config::MODE_32) { u32::MAX.into() } else { u64::MAX }
    }
    pub(super) fn configure(&mut self, new: u64) {
        self.configuration = new & config::WRITABLE;
        self.value &= self.width();
        self.period &= self.width() >> 1;
    }
    /// A store to the comparator: of a periodic timer it is the period, and the next match too where that was asked for.
    pub(super) fn set(&mut self, value: u64, mask: u64) {
        let merged = |old: u64| old & !mask | value & mask;
        if !self.has(config::PERIODIC) || self.has(config::SET_VALUE) {
            self.value = merged(self.value) & self.width();
            self.spent = false;
        }
        if self.has(config::PERIODIC) {
            self.period = merged(self.period) & self.width() >> 1;
        }
        self.configuration &= !config::SET_VALUE;
    }
    /// Ticks from `count` until it matches; none if that is never.
    pub(super) fn next_match(&self, count: u64) -> Option<u64> {
        let width = self.width();
        let ahead = self.value.wrapping_sub(count) & width;
        let past = ahead > width >> 1;
        match (self.spent, past) {
            (false, true) => Some(0),
            (false, false) => Some(ahead),
            // The next time is when the counter has gone round; with 64 bits that is never.
            (true, _) if self.has(config::MODE_32) => Some(if ahead == 0 { width + 1 } else { ahead }),
            (true, _) => None,
        }
    }
    /// It has matched, and the counter is at `count` now: a period on, or over.
    pub(super) fn matched(&mut self, count: u64) {
        let width = self.width();
        match self.period() {
            Some(period) => {
                let late = count.wrapping_sub(self.value) & width;
                // Not late at all if it is still ahead.
                let periods = if late > width >> 1 { 1 } else { late / period + 1 };
                self.value = self.value.wrapping_add(periods.wrapping_mul(period)) & width;
            }
            None => self.spent = true,
        }
    }
}
