//! The types that have no home of their own: roots, abstract parents, interfaces, buses. Names and parents are QEMU's (`qom-list-types`).

use super::TypeInfo;

/// Which bus a type and its descendants plug into.
pub(super) const BUS_OF: [(&str, &str); 6] = [
    ("floppy", "floppy-bus"),
    ("ide-device", "IDE"),
    ("isa-device", "ISA"),
    ("pci-device", "PCI"),
    ("sys-bus-device", "System"),
    ("virtio-serial-port", "virtio-serial-bus"),
];

const INTERFACES: [&str; 8] = [
    "acpi-device-interface",
    "conventional-pci-device",
    "fw_cfg-data-generator",
    "hotplug-handler",
    "nmi",
    "resettable",
    "user-creatable",
    "vmstate-if",
];

/// (name, parent)
const ABSTRACT: [(&str, &str); 24] = [
    ("base-pci-bridge", "pci-device"),
    ("bus", "object"),
    ("chardev", "object"),
    ("chardev-fd", "chardev"),
    ("cpu", "device"),
    ("fw_cfg", "sys-bus-device"),
    ("generic-pc-machine", "x86-machine"),
    ("ide-device", "device"),
    ("ioapic-common", "sys-bus-device"),
    ("apic-common", "device"),
    ("isa-device", "device"),
    ("machine", "object"),
    ("memory-backend", "object"),
    ("pci-device", "device"),
    ("pci-host-bridge", "sys-bus-device"),
    ("pci-ide", "pci-device"),
    ("pci-piix3", "pci-device"),
    ("pci-vga", "pci-device"),
    ("pic-common", "isa-device"),
    ("pit-common", "isa-device"),
    ("rng-backend", "object"),
    ("sys-bus-device", "device"),
    ("virtio-serial-port", "device"),
    ("x86-machine", "machine"),
];

/// (name, parent)
const CONCRETE: [(&str, &str); 17] = [
    ("IDE", "bus"),
    ("ISA", "bus"),
    ("PCI", "bus"),
    ("System", "bus"),
    ("accel", "object"),
    ("apic", "apic-common"),
    ("chardev-file", "chardev-fd"),
    ("chardev-null", "chardev"),
    ("chardev-pipe", "chardev-fd"),
    ("chardev-pty", "chardev"),
    ("chardev-socket", "chardev"),
    ("chardev-stdio", "chardev-fd"),
    ("container", "object"),
    ("floppy-bus", "bus"),
    ("irq", "object"),
    ("memory-region", "object"),
    ("virtio-serial-bus", "bus"),
];

pub(super) fn types() -> Vec<TypeInfo> {
    let root = |name, is_abstract| TypeInfo { parent: None, is_abstract, ..TypeInfo::of(name, "") };
    let mut all = vec![root("object", true), root("interface", true)];
    all.extend(INTERFACES.iter().map(|name| TypeInfo::abstract_of(name, "interface")));
    all.push(TypeInfo::abstract_of("device", "object").implements(&["resettable", "vmstate-if"]));
    all.push(TypeInfo::abstract_of("x86_64-cpu", "cpu"));
    all.extend(ABSTRACT.iter().map(|(name, parent)| TypeInfo::abstract_of(name, parent)));
    all.extend(CONCRETE.iter().map(|(name, parent)| TypeInfo::of(name, parent)));
    all
}
