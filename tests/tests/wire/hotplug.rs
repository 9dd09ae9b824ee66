//! A PCI device comes and goes while the machine is there (QEMU, docs/specs/acpi_pci_hotplug).

use super::reading::Readings;
use gearbox::testing::{Devfn, Io, Pci, Process};
use serde_json::json;
use std::time::Duration;

const UP: u16 = 0xae00;
const DOWN: u16 = 0xae04;
const EJECT: u16 = 0xae08;
const BUS: u16 = 0xae10;
/// General-purpose events: status, and what of it interrupts. PCI hot-plug is bit 1.
const GPE: u16 = 0xafe0;
const GPE_ENABLE: u16 = 0xafe2;
const SLOT: u8 = 7;

/// Plugs a device, looks at it, asks for it to go, and lets it go as a guest does.
pub fn pci(p: &mut Process, r: &mut Readings) {
    let q = p.qtest();
    q.irq_intercept_in("ioapic").expect("an I/O APIC");
    q.outb(GPE_ENABLE, 2);
    let device = json!({"driver": "pci-testdev", "id": "it", "addr": format!("{SLOT:#x}")});
    let added = p.qmp().execute("device_add", device.clone());
    r.note("hotplug added", added.unwrap_or_else(|e| panic!("{e}")).to_string());
    registers(p, r, "after plugging");
    r.note("hotplug added twice", p.qmp().execute("device_add", device).unwrap_err().to_string());

    let q = p.qtest();
    q.outb(GPE, 2);
    let mut pci = Pci::of(q);
    for (n, sixteen) in pci.space(Devfn::new(SLOT, 0)).chunks_exact(16).enumerate() {
        r.bytes(format!("hotplug configuration {n:x}0"), sixteen);
    }
    for bar in pci.bars(Devfn::new(SLOT, 0)) {
        r.note(format!("hotplug BAR {}", bar.index), format!("{bar:?}"));
    }

    p.qmp().execute("device_del", json!({"id": "it"})).unwrap_or_else(|e| panic!("{e}"));
    registers(p, r, "after asking it to go");
    p.qtest().outl(EJECT, 1 << SLOT);
    let deleted = p.qmp().event("DEVICE_DELETED", Duration::from_secs(20)).unwrap_or_else(|e| panic!("{e}"));
    r.note("hotplug deleted", format!("{} {}", deleted["data"]["device"], deleted["data"]["path"]));
    registers(p, r, "after it has gone");
    r.note("hotplug function", format!("{:?}", Pci::of(p.qtest()).function(Devfn::new(SLOT, 0))));
}

fn registers(p: &mut Process, r: &mut Readings, when: &str) {
    let q = p.qtest();
    q.outl(BUS, 0);
    for (name, port) in [("up", UP), ("down", DOWN)] {
        r.number(format!("hotplug {name} {when}"), q.inl(port));
    }
    r.number(format!("hotplug event {when}"), q.inb(GPE));
    let irqs: Vec<_> = q.take_irqs().iter().map(|i| (i.line, u8::from(i.level))).collect();
    r.note(format!("hotplug interrupts {when}"), format!("{irqs:?}"));
}
