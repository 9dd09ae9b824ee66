//! AML for hot-plug of PCI devices: a device object for each slot of each bus, and the handler of the general-purpose event that tells the
//! operating system about them (ACPI 6.4, 5.6.6 and 6.3). The registers are those of [`crate::devices::pci::hotplug`].

use super::Hotplug;
use super::aml::{
    Raw, acquire, call, device, dword_field, hid, list, method, mutex, name, notification, notify, path, ports, raw,
    region, release, resources, store,
};
use crate::devices::pci::hotplug::{GPE, LEN, port};
use acpi_tables::aml::{And, Arg, If, ONE, Return, ShiftLeft, ZERO};
use gearbox_core::pci::{BusId, Devfn};

/// Keeps the bus select register and what it selects together.
const LOCK: &str = "PHLK";

/// Name of a slot's device object.
fn slot_name(slot: u8) -> String {
    format!("SL{slot:02X}")
}

/// Path of the host bridge.
const ROOT: &str = "\\_SB_.PCI0";

/// The slots of a bus whose devices can come and go, and the bridges on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotplugBus {
    /// By which number the registers know the bus.
    pub bus: BusId,
    /// A bit for each of the slots.
    pub slots: u32,
    /// Where the bridges are, and the buses behind them.
    pub bridges: Vec<(Devfn, HotplugBus)>,
}

/// What goes into the scope of the host bridge.
pub(super) fn slots(h: &Hotplug) -> Vec<Raw> {
    let mut terms = vec![registers(h.pci), mutex(LOCK), eject(), tell_all()];
    terms.extend(bus(&h.pci_root, ROOT));
    terms
}

/// What goes into the scope of a bus, which has this path.
fn bus(b: &HotplugBus, at: &str) -> Vec<Raw> {
    let slots = || (0..32u8).filter(|slot| b.slots & 1 << slot != 0);
    let bridges: Vec<_> =
        b.bridges.iter().map(|(devfn, behind)| (devfn, format!("{at}.BR{:02X}", devfn.0), behind)).collect();
    let mut terms: Vec<_> = slots().map(|slot| slot_device(b.bus, slot)).collect();
    terms.extend(bridges.iter().map(|(devfn, path, behind)| {
        let mut inner = vec![name("_ADR", &(u32::from(devfn.slot()) << 16 | u32::from(devfn.function())))];
        inner.extend(bus(behind, path));
        device(&path[path.len() - 4..], &inner)
    }));
    terms.extend([tell_slots(slots()), tell_changes(b.bus, bridges.iter().map(|(_, path, _)| path))]);
    terms
}

/// The handler of the event.
pub(super) fn event_handler() -> Raw {
    method(&format!("\\_GPE._E{GPE:02X}"), 0, &[&call(&format!("{ROOT}.PHEV"), &[])])
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

/// Of a bus (`Arg0`) and a slot (`Arg1`): gives up what is in it.
fn eject() -> Raw {
    let bit = ShiftLeft::new(&ZERO, &ONE, &Arg(1));
    method("PHE0", 2, &[&acquire(LOCK), &store("PHBS", &Arg(0)), &store("PHEJ", &bit), &release(LOCK)])
}

fn slot_device(bus: BusId, slot: u8) -> Raw {
    let give_up = method("_EJ0", 1, &[&call("PHE0", &[&bus.0, &slot])]);
    device(&slot_name(slot), &[name("_ADR", &(u32::from(slot) << 16)), name("_SUN", &slot), give_up])
}

/// Sends notification `Arg1` to every slot of the bus that has a bit in `Arg0`.
fn tell_slots(slots: impl Iterator<Item = u8>) -> Raw {
    let tell = slots.map(|slot| {
        let bit = 1u32 << slot;
        raw(&If::new(&And::new(&ZERO, &Arg(0), &bit), vec![&notify(&path(&slot_name(slot)), &Arg(1))]))
    });
    method("PHNT", 2, &[&list(&tell.collect::<Vec<_>>())])
}

/// Tells what has come and what is to go, on the bus and behind its bridges.
fn tell_changes<'a>(bus: BusId, bridges: impl Iterator<Item = &'a String>) -> Raw {
    let behind = bridges.map(|bridge| call(&format!("{bridge}.PHCH"), &[]));
    method(
        "PHCH",
        0,
        &[
            &store("PHBS", &bus.0),
            &call("PHNT", &[&path("PHUP"), &notification::DEVICE_CHECK]),
            &call("PHNT", &[&path("PHDN"), &notification::EJECT_REQUEST]),
            &list(&behind.collect::<Vec<_>>()),
        ],
    )
}

/// The same for all buses.
fn tell_all() -> Raw {
    method("PHEV", 0, &[&acquire(LOCK), &call("PHCH", &[]), &release(LOCK), &Return::new(&ZERO)])
}
