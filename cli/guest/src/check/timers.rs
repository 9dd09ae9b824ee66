//! Timers and clocks, measured against one another.

use super::{Stop, Verdict};
use crate::devices::hpet::Hpet;
use crate::devices::pit::{self, Mode};
use crate::devices::{pm_timer, rtc};
use crate::text::Hertz;
use crate::{acpi, time};

/// Measurements are repeated so often before a wrong rate counts: a busy host may stop the guest in the midst of one.
const ATTEMPTS: u32 = 20;

/// `got` is within 2 % of `want`.
fn is_near(got: u64, want: u64) -> bool {
    got.abs_diff(want) <= want / 50
}

/// Measures a rate until it is right, at most [`ATTEMPTS`] times.
fn measure(want: u64, mut rate: impl FnMut() -> Option<u64>) -> Result<u64, Stop> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        last = rate();
        if let Some(hz) = last.filter(|&hz| is_near(hz, want)) {
            return Ok(hz);
        }
    }
    match last {
        Some(hz) => fail!("runs at {}, expected {}", Hertz(hz), Hertz(want)),
        None => fail!("stands still"),
    }
}

/// Never backwards, and at its rate as channel 2 of the 8254 measures it.
pub fn pm_timer() -> Verdict {
    let Some(timer) = acpi::pm_timer() else { return Err(Stop::Absent("no PM timer in the FADT")) };
    let mut last = timer.read();
    for _ in 0..200 {
        let now = timer.read();
        ensure!(timer.between(last, now) < 1 << 22, "goes back from {last:#x} to {now:#x}");
        last = now;
    }
    let hz = measure(pm_timer::HZ, || {
        pit::start2();
        let (start, first) = time::sample(|| timer.read().into());
        let (pit_start, pit_first) = time::sample(pit::elapsed2);
        time::spin_ms(4);
        let (end, last) = time::sample(|| timer.read().into());
        let (pit_end, pit_last) = time::sample(pit::elapsed2);
        let ticks = u128::from(timer.between(first as u32, last as u32)) * u128::from(pit_end.wrapping_sub(pit_start));
        let reference = u128::from(pit_last.wrapping_sub(pit_first) & 0xffff) * u128::from(end.wrapping_sub(start));
        (ticks * u128::from(pit::HZ)).checked_div(reference).map(|hz| hz as u64)
    })?;
    Ok(text!("{}", Hertz(hz)))
}

/// Count, output, gate and read-back of channel 2.
pub fn channel_2() -> Verdict {
    const COUNT: u16 = 5966; // 5 ms
    let restarts = (0..ATTEMPTS).any(|_| {
        pit::start2();
        time::spin_ms(2);
        let before = pit::elapsed2();
        pit::gate2(false);
        pit::gate2(true);
        pit::elapsed2() < before
    });
    ensure!(restarts, "the gate does not restart the count in mode 2");

    let since = time::Since::now();
    pit::load(2, Mode::TerminalCount, COUNT);
    let early = pit::output2();
    let status = pit::status(2);
    let written = since.ns() / 1000;
    ensure!(time::wait_ms(5000, pit::output2), "the output stays low");
    let elapsed = since.ns() / 1000;
    pit::gate2(false);
    if written < 4000 {
        ensure!(!early, "the output is high although the count has not run out");
        ensure_eq!(status & 0xbf, 0x30, "output, mode and access bits of the status");
    }
    ensure!(elapsed >= 4900, "5 ms took only {elapsed} us");
    Ok(text!("5 ms in {elapsed} us"))
}

/// The main counter runs at the rate that it claims.
pub fn hpet() -> Verdict {
    let Some(hpet) = Hpet::find() else { return Err(Stop::Absent("not listed by ACPI")) };
    let period = u64::from(hpet.period_fs());
    ensure!((1..=100_000_000).contains(&period), "claims a period of {period} fs");
    let want = 1_000_000_000_000_000 / period;
    let before = hpet.enable(true);
    let result = measure(want, || {
        let (tsc, ticks) = time::race(32, want / 200, || hpet.count().into())?;
        Some((u128::from(ticks) * u128::from(time::tsc_hz())).checked_div(tsc.into())? as u64)
    });
    hpet.enable(before);
    Ok(text!("{}", Hertz(result?)))
}

/// The clock holds a date and time of day, and says that it is valid.
pub fn rtc_time() -> Verdict {
    if !rtc::present() {
        return Err(Stop::Absent("no MC146818"));
    }
    let Some(now) = rtc::now() else { fail!("does not hold still") };
    ensure!(now.is_plausible(), "shows {now}");
    ensure!(rtc::read(rtc::D) & 0x80 != 0, "says that its time is not valid");
    Ok(text!("{now}"))
}
