//! The MP configuration table (MultiProcessor Specification 1.4, chapter 4), for operating systems without ACPI.

use super::table::checksum;
use super::{LAPIC_BASE, Platform, gsi};

const SPEC_1_4: u8 = 4;
const PCI_BUS: u8 = 0;
const ISA_BUS: u8 = 1;
const IOAPIC_ID: u8 = 0;
/// Version registers of the APICs.
const LAPIC_VERSION: u8 = 0x14;
const IOAPIC_VERSION: u8 = 0x20;
/// Interrupt types (table 4-10).
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
/// Interrupt flags: as the bus has it, or active high and level-triggered.
const CONFORMS: u16 = 0;
const LEVEL_HIGH: u16 = 1 | 3 << 2;
const ALL_LAPICS: u8 = 0xff;

/// The pointer by which the table is found (4.1).
pub(super) fn floating_pointer(table: u32) -> Vec<u8> {
    let mut t = b"_MP_".to_vec();
    t.extend(table.to_le_bytes());
    t.extend([1, SPEC_1_4, 0, 0, 0, 0, 0, 0]);
    t[10] = checksum(&t);
    t
}

/// The configuration table. Processors whose APIC id has more than 8 bits cannot be named in it.
pub(super) fn configuration(p: &Platform) -> Vec<u8> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for (n, cpu) in p.processors.iter().enumerate().filter(|(_, cpu)| cpu.present) {
        const ENABLED: u8 = 1;
        const BOOTSTRAP: u8 = 2;
        let Some(id) = u8::try_from(cpu.apic_id).ok().filter(|&id| id != ALL_LAPICS) else { continue };
        let flags = ENABLED | if n == 0 { BOOTSTRAP } else { 0 };
        let mut e = vec![0, id, LAPIC_VERSION, flags];
        // A processor of family 6 with FPU and APIC; software asks CPUID for more.
        e.extend([0x600u32, 1 << 0 | 1 << 9, 0, 0].map(u32::to_le_bytes).concat());
        entries.push(e);
    }
    entries.push([&[1, PCI_BUS][..], b"PCI   "].concat());
    entries.push([&[1, ISA_BUS][..], b"ISA   "].concat());
    entries.push([&[2, IOAPIC_ID, IOAPIC_VERSION, 1][..], &p.ioapic.to_le_bytes()].concat());
    let interrupt = |entry: u8, kind: u8, flags: u16, bus: u8, source: u8, apic: u8, input: u8| {
        let [low, high] = flags.to_le_bytes();
        vec![entry, kind, low, high, bus, source, apic, input]
    };
    for i in &p.pci_interrupts {
        let source = i.slot << 2 | i.pin;
        entries.push(interrupt(3, INT, LEVEL_HIGH, PCI_BUS, source, IOAPIC_ID, gsi(i.irq)));
    }
    let pci = |irq| p.pci_interrupts.iter().any(|i| i.irq == irq);
    for irq in (0..16).filter(|&irq| irq != 2 && !pci(irq)) {
        entries.push(interrupt(3, INT, CONFORMS, ISA_BUS, irq, IOAPIC_ID, gsi(irq)));
    }
    entries.push(interrupt(4, EXT_INT, CONFORMS, ISA_BUS, 0, 0, 0));
    entries.push(interrupt(4, NMI, CONFORMS, ISA_BUS, 0, ALL_LAPICS, 1));

    let body = entries.concat();
    let mut t = b"PCMP".to_vec();
    t.extend((44 + body.len() as u16).to_le_bytes());
    t.extend([SPEC_1_4, 0]);
    t.extend(b"GEARBOX PC          ");
    t.extend([0; 6]);
    t.extend((entries.len() as u16).to_le_bytes());
    t.extend(LAPIC_BASE.to_le_bytes());
    t.extend([0; 4]);
    t.extend(body);
    t[7] = checksum(&t);
    t
}
