//! Interrupts from the timers by each way that there is to the CPU.

use super::{Stop, Verdict, passed};
use crate::devices::apic::{self, IoApic, local};
use crate::devices::pit::{self, Mode};
use crate::devices::{pic, rtc};
use crate::interrupts::{self, IO_APIC, LAPIC_TIMER, PIC_BASE, SELF_IPI, count};
use crate::mmio::Mmio;
use crate::time;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

const IRQ_TIMER: u32 = 0;
const IRQ_RTC: u32 = 8;
const MILLISECOND: u16 = 1193;
/// How long an interrupt may be overdue before it counts as missing, in ms.
const PATIENCE: u64 = 5000;

/// The timer tick arrives: then waiting in HLT comes to an end.
static TICKS: AtomicBool = AtomicBool::new(false);

/// Counts `ticks` interrupts of `vector` that should come each `period_us`, from `start` on. None may be missing, and
/// they must not come faster than they should. Late is no fault: a busy host makes them so, and the rates of the timers
/// are checked by their counters.
fn count_ticks(vector: u32, ticks: u32, period_us: u64, start: impl Fn()) -> Verdict {
    let before = count(vector);
    let since = time::Since::now();
    start();
    interrupts::on();
    let arrived = time::wait_ms(PATIENCE, || count(vector).wrapping_sub(before) >= ticks);
    interrupts::off();
    let elapsed = since.ns() / 1000;
    let got = count(vector).wrapping_sub(before);
    ensure!(arrived, "{got} of {ticks} interrupts in {} ms", elapsed / 1000);
    ensure!(u64::from(got) <= elapsed * 51 / 50 / period_us + 1, "{got} interrupts in {elapsed} us are too many");
    Ok(text!("{ticks} in {elapsed} us"))
}

/// Both 8259A anew, all masked, nothing latched, and IRQ 0 quiet for 50 ms.
fn quiet() {
    interrupts::off();
    pit::load(0, Mode::TerminalCount, 0);
    pic::init();
}

/// IRQ 0 by way of the 8259A in virtual wire mode.
pub fn pit_by_pic() -> Verdict {
    quiet();
    pic::unmask(IRQ_TIMER);
    let verdict = count_ticks(PIC_BASE, 8, 1000, || pit::load(0, Mode::RateGenerator, MILLISECOND));
    quiet();
    TICKS.store(verdict.is_ok(), Relaxed);
    verdict
}

/// A request waits while interrupts are off, and comes once when they are opened; a masked one does not come.
pub fn masking() -> Verdict {
    quiet();
    pic::unmask(IRQ_TIMER);
    let before = count(PIC_BASE);
    pit::load(0, Mode::TerminalCount, MILLISECOND);
    let requested = time::wait_ms(PATIENCE, || pic::requests() & 1 != 0);
    let early = count(PIC_BASE) != before;
    interrupts::on();
    let delivered = time::wait_ms(PATIENCE, || count(PIC_BASE) != before);
    time::spin_ms(1);
    interrupts::off();
    let times = count(PIC_BASE).wrapping_sub(before);
    ensure!(requested, "the 8259A does not show the request");
    ensure!(!early, "delivered although interrupts were off");
    ensure!(delivered, "not delivered when interrupts were opened");
    ensure!(times == 1, "delivered {times} times");

    quiet();
    pit::load(0, Mode::TerminalCount, MILLISECOND);
    interrupts::on();
    time::spin_ms(3);
    interrupts::off();
    ensure!(count(PIC_BASE).wrapping_sub(before) == 1, "delivered although masked in the 8259A");
    quiet();
    passed()
}

/// HLT lasts until the interrupt, and ends with it.
pub fn halt() -> Verdict {
    if !TICKS.load(Relaxed) {
        return Err(Stop::Absent("no timer tick to wake up by"));
    }
    quiet();
    pic::unmask(IRQ_TIMER);
    let mut halts = 0;
    let since = time::Since::now();
    for _ in 0..3 {
        let before = count(PIC_BASE);
        pit::load(0, Mode::TerminalCount, 2 * MILLISECOND);
        while count(PIC_BASE) == before {
            interrupts::halt();
            halts += 1;
        }
    }
    let elapsed = since.ns() / 1000;
    quiet();
    ensure!(elapsed >= 5800, "three halts of 2 ms took only {elapsed} us");
    ensure!(halts < 100, "woke up {halts} times for 3 interrupts");
    Ok(text!("3 times 2 ms in {elapsed} us"))
}

/// IRQ 8, through the second 8259A; each interrupt must be acknowledged in register C.
pub fn rtc_periodic() -> Verdict {
    const RATE_1024_HZ: u8 = 0x26;
    const PERIODIC: u8 = 0x40;
    const IRQF: u8 = 0x80;
    const WANTED: u32 = 6;
    if !rtc::present() {
        return Err(Stop::Absent("no MC146818"));
    }
    quiet();
    let (a, b) = (rtc::read(rtc::A), rtc::read(rtc::B));
    rtc::write(rtc::A, RATE_1024_HZ);
    let since = time::Since::now();
    rtc::write(rtc::B, b & !0x70 | PERIODIC);
    rtc::read(rtc::C);
    pic::unmask(IRQ_RTC);
    let vector = PIC_BASE + IRQ_RTC;
    let mut seen = count(vector);
    // One request may be latched in the 8259A from before register C was cleared.
    let (mut got, mut stale, mut flags) = (0, 0, 0);
    interrupts::on();
    while got < WANTED && stale < 2 && time::wait_ms(PATIENCE, || count(vector) != seen) {
        seen = seen.wrapping_add(1);
        flags = rtc::read(rtc::C);
        if flags & (IRQF | PERIODIC) == IRQF | PERIODIC {
            got += 1;
        } else {
            stale += 1;
        }
    }
    interrupts::off();
    let elapsed = since.ns() / 1000;
    rtc::write(rtc::B, b);
    rtc::write(rtc::A, a);
    rtc::read(rtc::C);
    quiet();
    ensure!(got == WANTED, "{got} of {WANTED} interrupts, {stale} stale, register C {flags:#x}");
    ensure!(elapsed >= 4700, "{WANTED} interrupts of 1024 Hz in {elapsed} us");
    Ok(text!("{WANTED} in {elapsed} us"))
}

fn local_apic() -> Result<Mmio, Stop> {
    apic::local().ok_or(Stop::Absent("no local APIC"))
}

/// The local APIC's timer, once and periodically, at the rate that it shows.
pub fn local_apic_timer() -> Verdict {
    const DIVIDE_BY_1: u32 = 0b1011;
    let apic = local_apic()?;
    quiet();
    apic.write(local::DIVIDE, DIVIDE_BY_1);
    apic.write(local::LVT_TIMER, apic::MASKED | LAPIC_TIMER);
    apic.write(local::INITIAL_COUNT, u32::MAX);
    let elapsed = || u64::from(u32::MAX - apic.read(local::CURRENT_COUNT));
    let (tsc0, first) = time::sample(elapsed);
    time::spin_ms(2);
    let (tsc1, last) = time::sample(elapsed);
    let ticks = last.saturating_sub(first);
    let per_ms = u128::from(ticks) * u128::from(time::tsc_hz()) / 1000 / u128::from((tsc1 - tsc0).max(1));
    ensure!(per_ms > 0, "the count stands still");
    let per_ms = per_ms.min(1 << 30) as u32;

    let before = count(LAPIC_TIMER);
    apic.write(local::LVT_TIMER, LAPIC_TIMER);
    let since = time::Since::now();
    apic.write(local::INITIAL_COUNT, 2 * per_ms);
    interrupts::on();
    let arrived = time::wait_ms(PATIENCE, || count(LAPIC_TIMER) != before);
    let elapsed = since.ns() / 1000;
    time::spin_ms(3);
    interrupts::off();
    let times = count(LAPIC_TIMER).wrapping_sub(before);
    ensure!(arrived, "no interrupt from the one-shot timer");
    ensure!(elapsed >= 1900, "2 ms took only {elapsed} us");
    ensure!(times == 1, "the one-shot timer fired {times} times");

    let verdict = count_ticks(LAPIC_TIMER, 5, 1000, || {
        apic.write(local::LVT_TIMER, apic::PERIODIC | LAPIC_TIMER);
        apic.write(local::INITIAL_COUNT, per_ms);
    });
    apic.write(local::LVT_TIMER, apic::MASKED | LAPIC_TIMER);
    apic.write(local::INITIAL_COUNT, 0);
    verdict?;
    Ok(text!("{}", crate::text::Hertz(u64::from(per_ms) * 1000)))
}

/// An interrupt to itself waits for the flag and for the task priority.
pub fn self_ipi() -> Verdict {
    const TO_SELF: u32 = 1 << 18 | 1 << 14;
    let apic = local_apic()?;
    quiet();
    let before = count(SELF_IPI);
    let pending = || apic.read(local::IRR + 0x10 * u64::from(SELF_IPI / 32)) >> (SELF_IPI % 32) & 1 != 0;
    let arrived = || count(SELF_IPI) != before;
    apic.write(local::TPR, 0xf0);
    apic.write(local::ICR_LOW, TO_SELF | SELF_IPI);
    let requested = time::wait_ms(PATIENCE, pending);
    interrupts::on();
    time::spin_ms(1);
    let despite_priority = arrived();
    interrupts::off();
    apic.write(local::TPR, 0);
    let despite_flag = arrived();
    interrupts::on();
    let came = time::wait_ms(PATIENCE, arrived);
    interrupts::off();
    ensure!(requested, "the request register does not show it");
    ensure!(!despite_priority, "delivered although the task priority forbids it");
    ensure!(!despite_flag, "delivered although interrupts were off");
    ensure!(came, "not delivered");
    ensure!(!pending(), "the request register still shows it");
    passed()
}

/// IRQ 0 by way of the I/O APIC, with the 8259A cut off.
pub fn pit_by_io_apic() -> Verdict {
    let local = local_apic()?;
    let Some(io) = IoApic::first() else { return Err(Stop::Absent("not listed by ACPI")) };
    let input = apic::input_of_isa(0);
    ensure!(input < io.inputs(), "IRQ 0 is on input {input} of {}", io.inputs());
    quiet();
    apic::wire_pic(local, false);
    io.route(input as u8, IO_APIC, local.read(local::ID) >> 24);
    let verdict = count_ticks(IO_APIC, 5, 1000, || pit::load(0, Mode::RateGenerator, MILLISECOND));
    io.mask(input as u8);
    apic::wire_pic(local, true);
    quiet();
    let remark = verdict?;
    Ok(text!("input {input}, {remark}"))
}
