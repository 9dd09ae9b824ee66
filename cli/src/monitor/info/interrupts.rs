//! The interrupt controllers of the board.

use crate::board::BoardState;
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use gearbox_machines::devices::i8259::{Chip, PicPair};
use gearbox_machines::devices::ioapic::{Entry, IoApicDevice};
use std::fmt::Write;

/// `info pic`: both kinds.
pub(super) fn pic(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.machine()?.board().with(|s| {
        show_ioapics(s, out)?;
        if let Some(pair) = super::device_of::<PicPair>(s, "isa-i8259") {
            for (n, chip) in pair.chips().into_iter().enumerate().rev() {
                show_chip(n, chip, out)?;
            }
        }
        Ok(())
    })
}

/// `info irq`: how often each input was raised.
pub(super) fn irq(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.machine()?.board().with(|s| {
        if let Some(ioapic) = super::device_of::<IoApicDevice>(s, "ioapic") {
            show_counts("ioapic", ioapic.raised(), out)?;
        }
        if let Some(pair) = super::device_of::<PicPair>(s, "isa-i8259") {
            show_counts("isa-i8259", pair.raised(), out)?;
        }
        Ok(())
    })
}

fn show_counts(name: &str, counts: &[u64], out: &mut Output) -> Done {
    writeln!(out, "IRQ statistics for {name}:")?;
    let raised = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    raised.into_iter().try_for_each(|(n, count)| Ok(writeln!(out, "{n:2}: {count}")?))
}

/// `info ioapic`.
pub(super) fn ioapic(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.machine()?.board().with(|s| show_ioapics(s, out))
}

fn show_chip(n: usize, c: &Chip, out: &mut Output) -> Done {
    Ok(writeln!(
        out,
        "pic{n}: irr={:02x} imr={:02x} isr={:02x} hprio={} irq_base={:02x} rr_sel={} elcr={:02x} fnm={}",
        c.irr(),
        c.imr(),
        c.isr(),
        c.top(),
        c.base(),
        u8::from(c.reads_isr()),
        c.elcr(),
        u8::from(c.fully_nested()),
    )?)
}

fn show_ioapics(s: &mut BoardState, out: &mut Output) -> Done {
    for (n, id) in super::devices_of(s, "ioapic").into_iter().enumerate() {
        if let Some(ioapic) = s.device::<IoApicDevice>(id) {
            show_ioapic(n, ioapic, out)?;
        }
    }
    Ok(())
}

fn show_ioapic(n: usize, a: &IoApicDevice, out: &mut Output) -> Done {
    write!(out, "ioapic{n}: ver={:#x} id={:#04x} sel={:#04x}", a.version(), a.id(), a.select())?;
    match a.select() {
        select @ 0x10.. => writeln!(out, " (redir[{}])", (select - 0x10) / 2)?,
        _ => writeln!(out)?,
    }
    let mut remote = 0u32;
    for (pin, entry) in a.table().iter().enumerate() {
        show_entry(pin, *entry, out)?;
        remote |= u32::from(entry.level() && entry.remote_irr()) << pin;
    }
    writeln!(out, "  IRR      {}", pins(a.pins()))?;
    Ok(writeln!(out, "  Remote IRR {}", pins(remote))?)
}

/// Delivery modes (82093AA, 3.2.4).
const DELIVERY: [&str; 8] = ["fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT"];

fn show_entry(pin: usize, e: Entry, out: &mut Output) -> Done {
    let bits = e.bits();
    let logical = bits >> 11 & 1 != 0;
    let dest = bits >> 56 & if logical { 0xff } else { 0xf };
    let polarity = if bits >> 13 & 1 != 0 { "active-lo" } else { "active-hi" };
    let trigger = if e.level() { "level" } else { "edge" };
    let masked = if e.masked() { "masked" } else { "" };
    let delivery = DELIVERY[(bits >> 8 & 7) as usize];
    let mode = if logical { "logical" } else { "physical" };
    let vector = e.vector();
    Ok(writeln!(
        out,
        "  pin {pin:<2} {bits:#018x} dest={dest} vec={vector:<3} {polarity} {trigger:<5} {masked:<6} {delivery:<6} {mode}"
    )?)
}

/// The bits that are set.
fn pins(set: u32) -> String {
    let numbers: Vec<_> = (0..32).filter(|n| set >> n & 1 != 0).map(|n| n.to_string()).collect();
    if numbers.is_empty() { "(none)".to_owned() } else { numbers.join(" ") }
}
