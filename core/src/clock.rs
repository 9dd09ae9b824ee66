//! The clock of one machine, in nanoseconds since it was made. It stands still while the machine is stopped.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A source of machine time.
pub trait ClockSource: Send + Sync {
    /// Machine time in nanoseconds.
    fn now(&self) -> u64;
    /// The machine starts or stops running.
    fn set_running(&self, running: bool);
    /// How long a host thread has to sleep until machine time `deadline`; `None` when no sleep brings it nearer, because someone
    /// advances this clock by hand or by executing instructions.
    fn host_wait(&self, deadline: u64) -> Option<Duration>;
    /// Time goes on from `ns`: the machine, which is stopped, gets the state of another moment.
    fn set(&self, ns: u64);
    /// How many instructions all vCPUs have executed, where machine time is made of them: then whoever executes them fires the timers of the
    /// board as well, and nobody else does.
    fn instructions(&self) -> Option<u64> {
        None
    }
    /// Moves the clock forward to `ns`. Clocks that follow the host ignore it and return false.
    fn advance_to(&self, _ns: u64) -> bool {
        false
    }
}

/// Follows the host's monotonic clock while the machine runs.
#[derive(Default)]
pub struct HostClock(Mutex<HostState>);

#[derive(Default)]
struct HostState {
    elapsed: u64,
    since: Option<Instant>,
}

impl HostState {
    fn now(&self) -> u64 {
        self.elapsed + self.since.map_or(0, |s| s.elapsed().as_nanos() as u64)
    }
}

impl HostClock {
    /// A stopped clock at 0.
    pub fn new() -> Self {
        Self::default()
    }
}

impl ClockSource for HostClock {
    fn now(&self) -> u64 {
        self.0.lock().now()
    }
    fn set_running(&self, running: bool) {
        let mut s = self.0.lock();
        s.elapsed = s.now();
        s.since = running.then(Instant::now);
    }
    fn set(&self, ns: u64) {
        let mut s = self.0.lock();
        s.elapsed = ns;
        s.since = s.since.map(|_| Instant::now());
    }
    fn host_wait(&self, deadline: u64) -> Option<Duration> {
        let s = self.0.lock();
        s.since.map(|_| Duration::from_nanos(deadline.saturating_sub(s.now())))
    }
}

/// Moves only when told: qtest's clock, and the base of an instruction-counted one.
#[derive(Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock at 0.
    pub fn new() -> Self {
        Self::default()
    }
}

impl ClockSource for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
    fn set_running(&self, _running: bool) {}
    fn set(&self, ns: u64) {
        self.0.store(ns, Ordering::Release);
    }
    fn host_wait(&self, _deadline: u64) -> Option<Duration> {
        None
    }
    fn advance_to(&self, ns: u64) -> bool {
        self.0.fetch_max(ns, Ordering::AcqRel);
        true
    }
}

/// Ticks of a `hz` oscillator in `ns` nanoseconds, rounded down.
pub fn ns_to_ticks(ns: u64, hz: u64) -> u64 {
    (u128::from(ns) * u128::from(hz) / 1_000_000_000) as u64
}

/// The first nanosecond at which a `hz` oscillator has ticked `ticks` times (rounded up, so that
/// `ns_to_ticks(ticks_to_ns(t)) == t`).
pub fn ticks_to_ns(ticks: u64, hz: u64) -> u64 {
    let ns = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(hz));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_clock_stands_still_while_stopped() {
        let c = HostClock::new();
        assert_eq!(c.now(), 0);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(c.now(), 0);
        c.set_running(true);
        std::thread::sleep(Duration::from_millis(2));
        c.set_running(false);
        let t = c.now();
        assert!(t >= 2_000_000);
        assert_eq!(c.now(), t);
    }

    #[test]
    fn ticks_round_trip() {
        for t in [0, 1, 2, 100, 65_536, 1 << 40] {
            assert_eq!(ns_to_ticks(ticks_to_ns(t, 1_193_182), 1_193_182), t);
        }
        assert_eq!(ticks_to_ns(100, 1_193_182), 83_810);
    }
}
