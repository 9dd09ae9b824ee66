//! Time by the TSC, whose rate is measured against the ACPI PM timer, or the 8254 where there is none.

use crate::acpi;
use crate::devices::{pit, pm_timer};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);

/// The time-stamp counter.
pub fn tsc() -> u64 {
    // SAFETY: CR4.TSD is clear, so RDTSC may run in ring 3.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What [`calibrate`] measured.
pub fn tsc_hz() -> u64 {
    TSC_HZ.load(Relaxed)
}

/// Turns TSC ticks to ns.
pub fn to_ns(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(tsc_hz())) as u64
}

/// A point in time from which on to measure.
#[derive(Clone, Copy)]
pub struct Since(u64);

impl Since {
    /// Now.
    pub fn now() -> Since {
        Since(tsc())
    }

    /// ns since then.
    pub fn ns(self) -> u64 {
        to_ns(tsc().wrapping_sub(self.0))
    }
}

/// Waits, busy.
pub fn spin_ms(ms: u64) {
    let since = Since::now();
    while since.ns() < ms * 1_000_000 {
        core::hint::spin_loop();
    }
}

/// Waits, busy, until `done`, for at most `ms`; true if it came.
pub fn wait_ms(ms: u64, mut done: impl FnMut() -> bool) -> bool {
    let since = Since::now();
    loop {
        if done() {
            return true;
        }
        if since.ns() > ms * 1_000_000 {
            return done();
        }
        core::hint::spin_loop();
    }
}

/// Reads two counters at (almost) the same time: of several tries, the one during which the TSC moved least.
pub fn sample(mut counter: impl FnMut() -> u64) -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..6 {
        let before = tsc();
        let value = counter();
        let width = tsc().wrapping_sub(before);
        if width < best.0 {
            best = (width, before.wrapping_add(width / 2), value);
        }
    }
    (best.1, best.2)
}

/// Counts a counter of `bits` width against the TSC for about `units` of it; gives TSC ticks and counter ticks.
/// `None` if it stands still.
pub fn race(bits: u32, units: u64, mut counter: impl FnMut() -> u64) -> Option<(u64, u64)> {
    let mask = u64::MAX >> (64 - bits);
    let (tsc0, first) = sample(&mut counter);
    for _ in 0..2_000_000 {
        if counter().wrapping_sub(first) & mask >= units {
            let (tsc1, last) = sample(&mut counter);
            return Some((tsc1.wrapping_sub(tsc0), last.wrapping_sub(first) & mask));
        }
    }
    None
}

/// Measures the TSC over some 10 ms. Without a working reference the rate stays a guess of 1 GHz; the checks of the
/// timers then say what is wrong.
pub fn calibrate() {
    let against_pm = acpi::pm_timer().and_then(|timer| race(timer.bits(), 36_000, || timer.read().into()));
    let (ticks, hz) = match against_pm {
        Some(ticks) => (Some(ticks), pm_timer::HZ),
        // Of its 16 bits a busy host may miss a whole round, which makes the TSC look too fast.
        None => ((0..5).filter_map(|_| pit::race(12_000)).min_by_key(|(tsc, pit)| tsc * 1000 / pit.max(&1)), pit::HZ),
    };
    if let Some((tsc, reference)) = ticks {
        TSC_HZ.store((u128::from(tsc) * u128::from(hz) / u128::from(reference.max(1))).max(1) as u64, Relaxed);
    }
}
