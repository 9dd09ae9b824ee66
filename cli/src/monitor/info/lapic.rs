//! The local APIC of a CPU (SDM vol. 3, chapter 11).

use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Failure, Output};
use crate::monitor::{HumanMonitor, NO_CPU};
use crate::x86::state::LapicState;
use std::fmt::Write;

/// Offsets of registers (table 11-1), divided by 16.
mod reg {
    pub(super) const ID: usize = 0x02;
    pub(super) const TPR: usize = 0x08;
    pub(super) const APR: usize = 0x09;
    pub(super) const PPR: usize = 0x0a;
    pub(super) const LDR: usize = 0x0d;
    pub(super) const DFR: usize = 0x0e;
    pub(super) const SVR: usize = 0x0f;
    pub(super) const ISR: usize = 0x10;
    pub(super) const TMR: usize = 0x18;
    pub(super) const IRR: usize = 0x20;
    pub(super) const ESR: usize = 0x28;
    pub(super) const ICR: usize = 0x30;
    pub(super) const ICR2: usize = 0x31;
    pub(super) const LVT_TIMER: usize = 0x32;
    pub(super) const LVT_THERMAL: usize = 0x33;
    pub(super) const LVT_PERFORMANCE: usize = 0x34;
    pub(super) const LVT_LINT0: usize = 0x35;
    pub(super) const LVT_LINT1: usize = 0x36;
    pub(super) const LVT_ERROR: usize = 0x37;
    pub(super) const INITIAL_COUNT: usize = 0x38;
    pub(super) const CURRENT_COUNT: usize = 0x39;
    pub(super) const DIVIDE: usize = 0x3e;
}

/// `info lapic`.
pub(super) fn lapic(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let cpu = match arguments.number("apic-id") {
        None => m.cpu,
        Some(id) => find(m, id)?,
    };
    match m.registers(Some(cpu))?.lapic {
        Some(lapic) => show(cpu, &lapic, out),
        None => Ok(writeln!(out, "local apic state not available")?),
    }
}

/// The CPU whose local APIC has this id.
fn find(m: &HumanMonitor, id: i64) -> Result<usize, Failure> {
    let has = |cpu: &usize| {
        let lapic = m.registers(Some(*cpu)).ok().and_then(|s| s.lapic);
        lapic.is_some_and(|l| i64::from(value(&l, reg::ID) >> 24) == id)
    };
    let present = m.control.cpus_fast()?.into_iter().filter_map(|c| usize::try_from(c.cpu_index).ok());
    present.into_iter().find(has).ok_or_else(|| Failure::plain(NO_CPU))
}

fn value(l: &LapicState, register: usize) -> u32 {
    l.regs.get(register).copied().unwrap_or_default()
}

fn show(cpu: usize, l: &LapicState, out: &mut Output) -> Done {
    let get = |register| value(l, register);
    writeln!(out, "dumping local APIC state for CPU {cpu:<2}\n")?;
    for (name, register) in [
        ("LVT0", reg::LVT_LINT0),
        ("LVT1", reg::LVT_LINT1),
        ("LVTPC", reg::LVT_PERFORMANCE),
        ("LVTERR", reg::LVT_ERROR),
        ("LVTTHMR", reg::LVT_THERMAL),
        ("LVTT", reg::LVT_TIMER),
    ] {
        show_lvt(name, get(register), register == reg::LVT_TIMER, out)?;
    }
    let dcr = get(reg::DIVIDE) & 0xb;
    // Bits 3, 1 and 0 are the exponent, less 1 and modulo 8 (figure 11-10).
    let divide = 1u32 << (((dcr & 3 | dcr >> 1 & 4) + 1) & 7);
    let (initial, current) = (get(reg::INITIAL_COUNT), get(reg::CURRENT_COUNT));
    writeln!(out, "Timer\t DCR={dcr:#x} (divide by {divide}) initial_count = {initial} current_count = {current}")?;
    let svr = get(reg::SVR);
    let enabled = if svr >> 8 & 1 != 0 { "enabled" } else { "disabled" };
    let focus = if svr >> 9 & 1 != 0 { "on" } else { "off" };
    writeln!(out, "SPIV\t {svr:#010x} APIC {enabled}, focus={focus}, spurious vec {}", svr & 0xff)?;
    show_icr(l, out)?;
    writeln!(out, "ESR\t {:#010x}", get(reg::ESR))?;
    show_vectors("ISR", l, reg::ISR, out)?;
    show_vectors("IRR", l, reg::IRR, out)?;
    let (dfr, ldr) = (get(reg::DFR) >> 28, get(reg::LDR) >> 24);
    write!(out, "\nAPR {:#04x} TPR {:#04x} DFR {dfr:#04x} LDR {ldr:#04x}", get(reg::APR), get(reg::TPR))?;
    if dfr == 0 {
        write!(out, "(cluster {}: id {})", ldr >> 4, ldr & 0xf)?;
    }
    Ok(writeln!(out, " PPR {:#04x}", get(reg::PPR))?)
}

/// Delivery modes (figure 11-8).
const DELIVERY: [&str; 8] = ["Fixed", "...", "SMI", "...", "NMI", "INIT", "...", "ExtINT"];
const NMI: u32 = 4;

/// What a bit of a register is called when it is set, and when it is clear.
fn word(register: u32, bit: u32, set: &'static str, clear: &'static str) -> &'static str {
    if register >> bit & 1 != 0 { set } else { clear }
}

fn show_lvt(name: &str, lvt: u32, timer: bool, out: &mut Output) -> Done {
    let pick = |bit, set, clear| word(lvt, bit, set, clear);
    let mode = match (timer, lvt >> 17 & 3) {
        (false, _) => "",
        (true, 0) => "one-shot",
        (true, 1) => "periodic",
        (true, _) => "tsc-deadline",
    };
    let delivery = lvt >> 8 & 7;
    write!(
        out,
        "{name}\t {lvt:#010x} {} {:<5} {:<6} {:<7} {mode:<12} {:<6}",
        pick(13, "active-lo", "active-hi"),
        pick(15, "level", "edge"),
        pick(16, "masked", ""),
        pick(12, "pending", ""),
        DELIVERY[delivery as usize],
    )?;
    if delivery == NMI {
        return Ok(writeln!(out)?);
    }
    Ok(writeln!(out, " (vec {})", lvt & 0xff)?)
}

fn show_icr(l: &LapicState, out: &mut Output) -> Done {
    let (icr, icr2) = (value(l, reg::ICR), value(l, reg::ICR2));
    let pick = |bit, set, clear| word(icr, bit, set, clear);
    let shorthand = icr >> 18 & 3;
    let logical = icr >> 11 & 1 != 0;
    writeln!(
        out,
        "ICR\t {icr:#010x} {} {} {} {}",
        pick(11, "logical", "physical"),
        pick(15, "level", "edge"),
        pick(14, "assert", "de-assert"),
        ["no-shorthand", "self", "all-self", "all"][shorthand as usize],
    )?;
    write!(out, "ICR2\t {icr2:#010x}")?;
    let dest = icr2 >> 24;
    let mask = |bits: u32| (0..bits).rev().map(|n| if dest >> n & 1 != 0 { '1' } else { '0' }).collect::<String>();
    match (shorthand, logical, value(l, reg::DFR) >> 28) {
        (1.., ..) => writeln!(out)?,
        (0, false, _) => writeln!(out, " cpu {dest} (APIC ID)")?,
        (0, true, 0xf) => writeln!(out, " mask {} (APIC ID)", mask(8))?,
        (0, true, 0) => writeln!(out, " cluster {} mask {} (APIC ID)", dest >> 4, mask(4))?,
        (0, true, _) => writeln!(out)?,
    }
    Ok(())
}

/// The vectors of a 256-bit register, and which of them are level-triggered.
fn show_vectors(name: &str, l: &LapicState, first: usize, out: &mut Output) -> Done {
    let bit = |first: usize, n: usize| value(l, first + n / 32) >> (n % 32) & 1 != 0;
    let vectors = (0..256).filter(|n| bit(first, *n));
    let text: String = vectors.map(|n| format!("{n}{} ", if bit(reg::TMR, n) { "(level)" } else { "" })).collect();
    Ok(writeln!(out, "{name}\t {}", if text.is_empty() { "(none)" } else { &text })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86::lapic::Lapic;

    #[test]
    fn after_reset_it_reads_as_qemus() {
        let mut out = Output::default();
        let mut state = Lapic::new(0, true, true).save(0);
        state.regs[reg::IRR + 1] = 1 << 16;
        state.regs[reg::TMR + 1] = 1 << 16;
        let done = show(0, &state, &mut out);
        let text = out.finish(done);
        for line in [
            "dumping local APIC state for CPU 0 \n",
            "LVTERR\t 0x00010000 active-hi edge  masked                      Fixed  (vec 0)\n",
            "LVTT\t 0x00010000 active-hi edge  masked         one-shot     Fixed  (vec 0)\n",
            "Timer\t DCR=0x0 (divide by 2) initial_count = 0 current_count = 0\n",
            "SPIV\t 0x000000ff APIC disabled, focus=off, spurious vec 255\n",
            "ICR2\t 0x00000000 cpu 0 (APIC ID)\n",
            "ISR\t (none)\nIRR\t 48(level) \n",
            "TPR 0x00 DFR 0x0f LDR 0x00 PPR 0x00\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
    }
}
