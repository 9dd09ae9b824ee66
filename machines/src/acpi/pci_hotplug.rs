//! AML for hot-plug of PCI devices: a device object for each slot of the root bus, and the handler of the general-purpose event that tells the
//! operating system about them (ACPI 6.4, 5.6.6 and 6.3). The registers are those of [`crate::devices::pci::hotplug`].

use super::Hotplug;
use super::aml::{
    Raw, acquire, call, device, dword_field, hid, list, method, mutex, name, notification, notify, path, ports, raw,
    region, release, resources, store,
};
use crate::devices::pci::hotplug::{GPE, LEN, port};
use acpi_tables::aml::{And, Arg, If, ONE, Return, ShiftLeft, ZERO};

/// Keeps the bus select register and what it selects together.
const LOCK: &str = "PHLK";
const ROOT_BUS: u8 = 0;

/// Name of a slot's device object.
fn slot_name(slot: u32) -> String {
    format!("SL{slot:02X}")
}

/// What goes into the scope of the host bridge.
pub(super) fn slots(h: &Hotplug) -> Vec<Raw> {
    let used = |slot: &u32| h.pci_slots & 1 << slot != 0;
    let mut terms = vec![registers(h.pci), mutex(LOCK), eject(), tell_changes()];
    terms.extend((0..32).filter(used).map(slot_device));
    terms.push(tell_slots((0..32).filter(used)));
    terms
}

/// The handler of the event.
pub(super) fn event_handler() -> Raw {
    method(&format!("\\_GPE._E{GPE:02X}"), 0, &[&call("\\_SB_.PCI0.PHEV", &[])])
}

/// The registers, under the names by which the methods know them, and a device object that holds their ports.
fn registers(base: u16) -> Raw {
    let holder =
        [hid("PNP0A06"), name("_UID", &"PCI hot-plug"), name("_STA", &0x0bu8), resources("_CRS", &[&ports(base, LEN)])];
    list(&[
        device("PHPR", &holder),
        region("PHPO", base, LEN),
        dword_field(
            "PHPO",
            &[("PHUP", port::UP), ("PHDN", port::DOWN), ("PHEJ", port::EJECT), ("PHBS", port::BUS_SELECT)],
        ),
    ])
}

/// `PHEJ` of slot: gives up what is in it.
fn eject() -> Raw {
    let bit = ShiftLeft::new(&ZERO, &ONE, &Arg(0));
    method("PHE0", 1, &[&acquire(LOCK), &store("PHBS", &ROOT_BUS), &store("PHEJ", &bit), &release(LOCK)])
}

fn slot_device(slot: u32) -> Raw {
    device(
        &slot_name(slot),
        &[name("_ADR", &(slot << 16)), name("_SUN", &slot), method("_EJ0", 1, &[&call("PHE0", &[&slot])])],
    )
}

/// Sends notification `Arg1` to every slot that has a bit in `Arg0`.
fn tell_slots(slots: impl Iterator<Item = u32>) -> Raw {
    let tell = slots.map(|slot| {
        let bit = 1u32 << slot;
        raw(&If::new(&And::new(&ZERO, &Arg(0), &bit), vec![&notify(&path(&slot_name(slot)), &Arg(1))]))
    });
    method("PHNT", 2, &[&list(&tell.collect::<Vec<_>>())])
}

/// Tells what has come and what is to go.
fn tell_changes() -> Raw {
    method(
        "PHEV",
        0,
        &[
            &acquire(LOCK),
            &store("PHBS", &ROOT_BUS),
            &call("PHNT", &[&path("PHUP"), &notification::DEVICE_CHECK]),
            &call("PHNT", &[&path("PHDN"), &notification::EJECT_REQUEST]),
            &release(LOCK),
            &Return::new(&ZERO),
        ],
    )
}
