//! The PCI bus.

use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use crate::qmp::types::pci::{PciBusInfo, PciDeviceInfo, PciMemoryRange, PciMemoryRegion};
use std::fmt::Write;

/// `info pci`.
pub(super) fn pci(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let buses = m.control.pci()?;
    if buses.is_empty() {
        return Ok(writeln!(out, "PCI devices not supported")?);
    }
    buses.iter().flat_map(|bus| &bus.devices).try_for_each(|d| show(d, out))
}

fn show(d: &PciDeviceInfo, out: &mut Output) -> Done {
    writeln!(out, "  Bus {:2}, device {:3}, function {}:", d.bus, d.slot, d.function)?;
    match &d.class_info.desc {
        Some(name) => write!(out, "    {name}")?,
        None => write!(out, "    Class {:04}", d.class_info.class)?,
    }
    writeln!(out, ": PCI device {:04x}:{:04x}", d.id.vendor, d.id.device)?;
    if let (Some(vendor), Some(subsystem)) = (d.id.subsystem_vendor, d.id.subsystem) {
        writeln!(out, "      PCI subsystem {vendor:04x}:{subsystem:04x}")?;
    }
    if let (Some(irq), pin @ 1..=4) = (d.irq, d.irq_pin) {
        let letter = char::from(b'A' + pin as u8 - 1);
        writeln!(out, "      IRQ {irq}, pin {letter}")?;
    }
    if let Some(bridge) = &d.pci_bridge {
        show_bridge(&bridge.bus, out)?;
    }
    d.regions.iter().try_for_each(|r| show_region(r, out))?;
    writeln!(out, "      id \"{}\"", d.qdev_id)?;
    d.pci_bridge.iter().flat_map(|b| &b.devices).flatten().try_for_each(|d| show(d, out))
}

fn show_bridge(bus: &PciBusInfo, out: &mut Output) -> Done {
    writeln!(out, "      BUS {}.", bus.number)?;
    writeln!(out, "      secondary bus {}.", bus.secondary)?;
    writeln!(out, "      subordinate bus {}.", bus.subordinate)?;
    let PciMemoryRange { base, limit } = bus.io_range;
    writeln!(out, "      IO range [{base:#06x}, {limit:#06x}]")?;
    for (name, range) in [("memory", &bus.memory_range), ("prefetchable memory", &bus.prefetchable_range)] {
        writeln!(out, "      {name} range [{:#010x}, {:#010x}]", range.base, range.limit)?;
    }
    Ok(())
}

fn show_region(r: &PciMemoryRegion, out: &mut Output) -> Done {
    let last = r.address.wrapping_add(r.size).wrapping_sub(1);
    write!(out, "      BAR{}: ", r.bar)?;
    if r.ty == "io" {
        return Ok(writeln!(out, "I/O at {:#06x} [{last:#06x}].", r.address)?);
    }
    let bits = if r.mem_type_64 == Some(true) { 64 } else { 32 };
    let prefetch = if r.prefetch == Some(true) { " prefetchable" } else { "" };
    Ok(writeln!(out, "{bits} bit{prefetch} memory at {:#010x} [{last:#010x}].", r.address)?)
}
