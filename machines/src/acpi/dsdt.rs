//! The DSDT: what is on the board and cannot be discovered, in AML (ACPI 6.4, chapters 5.3, 6 and 20).

use super::aml::{
    Interrupts, Raw, device, field, hid, list, method, name, path, ports, raw, region, resources, scope, store,
};
use super::cpu_hotplug::{self, processor_name};
use super::table::table;
use super::{LINK_IRQS, Platform, floppy, pci_hotplug};
use crate::devices::hpet::SIZE;
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Equal, Field, FieldAccessType, FieldEntry,
    FieldLockRule, FieldUpdateRule, If, Local, Memory32Fixed, OpRegion, OpRegionSpace, Or, Package, PackageBuilder,
    ResourceTemplate, Return, Store, ZERO,
};

/// Slot of the ISA bridge.
const ISA_SLOT: u32 = 1;
/// First route register in the bridge's configuration space.
const PIRQ_ROUTE: u8 = 0x60;
const ROUTE_DISABLED: u8 = 0x80;
/// The links: name, route register.
const LINKS: [(&str, &str); 4] = [("LNKA", "PRQ0"), ("LNKB", "PRQ1"), ("LNKC", "PRQ2"), ("LNKD", "PRQ3")];
/// The link of the system control interrupt, which the power management function's pin is wired to.
const SCI_LINK: &str = "LNKS";
/// Offset of the number in an extended interrupt descriptor.
const INTERRUPT_NUMBER: u8 = 5;

/// The table.
pub(super) fn dsdt(p: &Platform) -> Vec<u8> {
    let mut system_bus = vec![pci_root(p)];
    system_bus.extend(LINKS.iter().zip(0u8..).map(|((link, register), n)| pci_link(link, register, n)));
    if let Some(pm) = &p.pm {
        system_bus.push(sci_link(pm.sci));
    }
    match &p.hotplug {
        Some(h) => system_bus.push(cpu_hotplug::container(h.cpus, &p.processors)),
        None => system_bus.extend(
            (0..p.processors.len() as u32)
                .map(|uid| device(&processor_name(uid), &[name("_HID", &"ACPI0007"), name("_UID", &uid)])),
        ),
    }
    system_bus.extend(p.hpet.map(hpet));
    let mut body = scope("\\_SB_", &system_bus).0;
    if p.hotplug.is_some() {
        body.extend(pci_hotplug::event_handler().0);
        body.extend(cpu_hotplug::event_handler().0);
    }
    if let Some(pm) = &p.pm {
        let s5 = Package::new(vec![&pm.s5, &pm.s5, &ZERO, &ZERO]);
        body.extend(name("\\_S5_", &s5).0);
    }
    // Revision 2: integers have 64 bits.
    table(b"DSDT", 2, &body)
}

/// The event timers.
fn hpet(base: u32) -> Raw {
    let memory = Memory32Fixed::new(false, base, SIZE as u32);
    device("HPET", &[hid("PNP0103"), name("_UID", &ZERO), name("_STA", &0x0fu8), resources("_CRS", &[&memory])])
}

fn pci_root(p: &Platform) -> Raw {
    let (first, last) = p.pci_memory;
    let vga = AddressSpace::new_memory(AddressSpaceCacheable::Cacheable, true, 0xa_0000u32, 0xb_ffff, None);
    let hole = AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, first, last, None);
    let crs = resources(
        "_CRS",
        &[
            &AddressSpace::new_bus_number(0u16, 0xff),
            &ports(0xcf8, 8),
            &AddressSpace::new_io(0u16, 0xcf7, None),
            &AddressSpace::new_io(0xd00u16, 0xffff, None),
            &vga,
            &hole,
        ],
    );
    let mut terms = vec![hid("PNP0A03"), name("_UID", &ZERO), crs, routing(), isa_bridge(p)];
    terms.extend(p.hotplug.iter().flat_map(pci_hotplug::slots));
    device("PCI0", &terms)
}

/// `_PRT`: which link each pin of each slot is wired to.
fn routing() -> Raw {
    let mut table = PackageBuilder::new();
    for slot in 0..32u32 {
        for pin in 0..4u32 {
            let link = if (slot, pin) == (ISA_SLOT, 0) { SCI_LINK } else { LINKS[((slot + 3 + pin) % 4) as usize].0 };
            let link = path(&format!("\\_SB_.{link}"));
            table.add_element(&Package::new(vec![&(slot << 16 | 0xffff), &pin, &link, &ZERO]));
        }
    }
    name("_PRT", &table)
}

/// A link whose interrupt a route register of the ISA bridge chooses.
fn pci_link(link: &str, register: &str, n: u8) -> Raw {
    let route = path(&format!("\\_SB_.PCI0.ISA_.{register}"));
    let disabled = raw(&Equal::new(&And::new(&ZERO, &route, &ROUTE_DISABLED), &ROUTE_DISABLED));
    let any = Interrupts { edge: false, numbers: &LINK_IRQS };
    let none = Interrupts { edge: false, numbers: &[0] };
    let (buffer, number) = (Local(0), path("IRQN"));
    let chosen = raw(&And::new(&number, &route, &15u8));
    let clear = raw(&Store::new(&number, &ZERO));
    device(
        link,
        &[
            hid("PNP0C0F"),
            name("_UID", &n),
            resources("_PRS", &[&any]),
            method("_STA", 0, &[&If::new(&disabled, vec![&Return::new(&0x09u8)]), &Return::new(&0x0bu8)]),
            method("_DIS", 0, &[&Or::new(&route, &route, &ROUTE_DISABLED)]),
            method(
                "_CRS",
                0,
                &[
                    &Store::new(&buffer, &ResourceTemplate::new(vec![&none])),
                    &CreateDWordField::new(&number, &buffer, &INTERRUPT_NUMBER),
                    &chosen,
                    &If::new(&disabled, vec![&clear]),
                    &Return::new(&buffer),
                ],
            ),
            method(
                "_SRS",
                1,
                &[&CreateDWordField::new(&number, &Arg(0), &INTERRUPT_NUMBER), &Store::new(&route, &number)],
            ),
        ],
    )
}

/// The link of an interrupt that is wired for good.
fn sci_link(irq: u8) -> Raw {
    let wired = Interrupts { edge: false, numbers: &[irq.into()] };
    device(
        SCI_LINK,
        &[
            hid("PNP0C0F"),
            name("_UID", &4u8),
            resources("_PRS", &[&wired]),
            resources("_CRS", &[&wired]),
            method("_STA", 0, &[&Return::new(&0x0bu8)]),
            method("_DIS", 0, &[]),
            method("_SRS", 1, &[]),
        ],
    )
}

fn isa_bridge(p: &Platform) -> Raw {
    let routes = LINKS.iter().map(|(_, register)| {
        let mut n = [0; 4];
        n.copy_from_slice(register.as_bytes());
        FieldEntry::Named(n, 8)
    });
    let fields = Field::new(
        path("P40C"),
        FieldAccessType::Byte,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        routes.collect(),
    );
    let region = OpRegion::new(path("P40C"), OpRegionSpace::PCIConfig, &PIRQ_ROUTE, &4u8);
    let mut terms = vec![name("_ADR", &(ISA_SLOT << 16)), list(&[raw(&region), raw(&fields)])];
    terms.extend(isa_devices(p));
    device("ISA_", &terms)
}

/// The register of panics, with the methods by which it is read and written (QEMU, docs/specs/pvpanic).
fn pvpanic(port: u16) -> Raw {
    let register = FieldEntry::Named(*b"PVPR", 8);
    device(
        "PVPA",
        &[
            name("_HID", &"QEMU0001"),
            name("_STA", &0x0fu8),
            resources("_CRS", &[&ports(port, 1)]),
            region("PVPO", port, 1),
            field("PVPO", FieldAccessType::Byte, FieldUpdateRule::Preserve, vec![register]),
            method("RDPT", 0, &[&Return::new(&path("PVPR"))]),
            method("WRPT", 1, &[&store("PVPR", &Arg(0))]),
        ],
    )
}

fn isa_devices(p: &Platform) -> Vec<Raw> {
    let irq = |n: &'static [u32]| Interrupts { edge: true, numbers: n };
    let isa = |path: &str, id: &str, crs: &[&dyn Aml]| device(path, &[hid(id), resources("_CRS", crs)]);
    let mut devices = vec![
        isa("PIC_", "PNP0000", &[&ports(0x20, 2), &ports(0xa0, 2), &ports(0x4d0, 2)]),
        isa("TMR_", "PNP0100", &[&ports(0x40, 4), &irq(&[0])]),
        isa("RTC_", "PNP0B00", &[&ports(0x70, 2), &irq(&[8])]),
        isa("SPKR", "PNP0800", &[&ports(0x61, 1)]),
        isa("KBD_", "PNP0303", &[&ports(0x60, 1), &ports(0x64, 1), &irq(&[1])]),
    ];
    if p.mouse {
        devices.push(isa("MOU_", "PNP0F13", &[&irq(&[12])]));
    }
    for (prefix, id, cards) in [("COM", "PNP0501", &p.serials), ("LPT", "PNP0400", &p.parallels)] {
        for (n, (base, number)) in (1..).zip(cards) {
            let numbers = [u32::from(*number)];
            let crs = resources("_CRS", &[&ports(*base, 8), &Interrupts { edge: true, numbers: &numbers }]);
            devices.push(device(&format!("{prefix}{n}"), &[hid(id), name("_UID", &(n as u32)), crs]));
        }
    }
    devices.push(floppy::controller(p.floppies));
    let fw_cfg = [name("_HID", &"QEMU0002"), name("_STA", &0x0bu8), resources("_CRS", &[&ports(0x510, 12)])];
    devices.push(device("FWCF", &fw_cfg));
    devices.extend(p.pvpanic.map(pvpanic));
    if let Some(pm) = &p.pm {
        let own = [ports(pm.base, 64), ports(pm.gpe0, pm.gpe0_len), ports(pm.command.0, 2), ports(0x92, 1)];
        let own: Vec<&dyn Aml> = own.iter().map(|r| r as &dyn Aml).collect();
        devices.push(isa("MBRD", "PNP0C02", &own));
    }
    devices
}
