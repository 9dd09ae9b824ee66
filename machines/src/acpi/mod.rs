//! Tables by which an operating system finds what is not discoverable: ACPI (ACPI 6.4, chapter 5) and MP (MultiProcessor Specification
//! 1.4). Built from a [`Platform`], which the board fills in with what it has realized.

mod aml;
mod cpu_hotplug;
mod dsdt;
mod fixed;
mod floppy;
mod loader;
mod mp;
mod numa;
mod pci_hotplug;
mod table;
mod vmgenid;

use crate::boot::Blob;
use crate::devices::floppy::DriveKind;
use crate::devices::vmgenid::page as vmgenid_page;
pub use loader::Script;
use loader::Zone;
pub use numa::{NodeMemory, NumaPlatform};
pub use pci_hotplug::HotplugBus;
pub(crate) use table::checksum;
use uuid::Uuid;

/// What the tables tell of.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// The processors that there can be, the bootstrap processor first.
    pub processors: Vec<Processor>,
    /// NUMA nodes, if there are any.
    pub numa: Option<NumaPlatform>,
    /// Base of the I/O APIC.
    pub ioapic: u32,
    /// First and last address of the memory that PCI has below 4 GiB.
    pub pci_memory: (u32, u32),
    /// The ACPI registers.
    pub pm: Option<PowerManagement>,
    /// Devices and processors can come and go.
    pub hotplug: Option<Hotplug>,
    /// First port and interrupt of each serial port.
    pub serials: Vec<(u16, u8)>,
    /// First port and interrupt of each parallel port.
    pub parallels: Vec<(u16, u8)>,
    /// Port of a [`PvPanic`](crate::devices::pvpanic::PvPanic).
    pub pvpanic: Option<u16>,
    /// Number of a [`VmGenId`](crate::devices::vmgenid::VmGenId).
    pub generation: Option<Uuid>,
    /// The drives of the floppy controller.
    pub floppies: [Option<DriveKind>; 2],
    /// There is a PS/2 mouse.
    pub mouse: bool,
    /// Where the event timers are.
    pub hpet: Option<u32>,
    /// Functions on PCI bus 0 that use an interrupt pin.
    pub pci_interrupts: Vec<PciInterrupt>,
    /// Tables that the user adds.
    pub more: Vec<Vec<u8>>,
}

/// A processor, or a place for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Local APIC id.
    pub apic_id: u32,
    /// It is there.
    pub present: bool,
}

/// Where the registers of hot-plug are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hotplug {
    /// Those of [`crate::devices::pci::hotplug`].
    pub pci: u16,
    /// The buses on which devices can come and go.
    pub pci_root: HotplugBus,
    /// Those of [`crate::devices::cpu_hotplug`].
    pub cpus: u16,
}

/// Where the ACPI registers are.
#[derive(Clone, Copy, Debug)]
pub struct PowerManagement {
    /// Base of PM1 event, PM1 control and timer.
    pub base: u16,
    /// General-purpose events.
    pub gpe0: u16,
    /// Their length in bytes.
    pub gpe0_len: u8,
    /// Interrupt.
    pub sci: u8,
    /// Port that turns ACPI mode on and off, and the values for it.
    pub command: (u16, u8, u8),
    /// Port and value that reset the machine.
    pub reset: (u16, u8),
    /// SLP_TYP of S5.
    pub s5: u8,
}

/// An interrupt pin on PCI bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciInterrupt {
    /// Slot.
    pub slot: u8,
    /// 0 for INTA.
    pub pin: u8,
    /// ISA interrupt that it reaches.
    pub irq: u8,
}

/// ISA interrupts that PCI and the SCI may use: level-triggered and active high.
const LEVEL_IRQS: [u8; 4] = [5, 9, 10, 11];
/// Interrupts to which a PCI link may be set.
const LINK_IRQS: [u32; 3] = [5, 10, 11];
/// The global system interrupt of ISA interrupt `irq`: the timer is on input 2.
fn gsi(irq: u8) -> u8 {
    if irq == 0 { 2 } else { irq }
}
const LAPIC_BASE: u32 = 0xfee0_0000;
/// The firmware control structure wants this.
const ALIGN: usize = 64;
/// The files in which firmware finds the tables.
const TABLES: &str = "etc/acpi/tables";
const RSDP: &str = "etc/acpi/rsdp";
const GENERATION: &str = "etc/vmgenid_guid";
const GENERATION_ADDRESS: &str = "etc/vmgenid_addr";

/// The tables, laid out.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Where the root pointer is.
    pub rsdp: u64,
    /// Everything, to be loaded.
    pub blobs: Vec<Blob>,
}

/// Lays tables out one after the other, in one file. What they hold of addresses is relative to its start until [`Script`] is carried out.
#[derive(Default)]
struct TableFile {
    bytes: Vec<u8>,
    /// Offset, size and target of each address.
    pointers: Vec<(usize, u8, &'static str)>,
    /// Start and length of each table that has addresses.
    sums: Vec<(usize, usize)>,
}

impl TableFile {
    /// Adds a table, and says where.
    fn add(&mut self, table: &[u8]) -> u32 {
        self.add_with_pointers(table, TABLES, &[])
    }
    /// Adds a table with addresses in `to`, each at an offset of the table with a size.
    fn add_with_pointers(&mut self, table: &[u8], to: &'static str, pointers: &[(usize, u8)]) -> u32 {
        let at = self.bytes.len().next_multiple_of(ALIGN);
        self.bytes.resize(at, 0);
        self.bytes.extend(table);
        self.pointers.extend(pointers.iter().map(|&(offset, size)| (at + offset, size, to)));
        if !pointers.is_empty() {
            // OVMF takes the sum with what stands there, and puts its complement in that place.
            self.bytes[at + table::CHECKSUM] = 0;
            self.sums.push((at, table.len()));
        }
        at as u32
    }
}

/// Builds the ACPI tables for whoever knows where they go.
pub fn script(platform: &Platform) -> Script {
    let mut file = TableFile::default();
    let mut roots = Vec::new();
    if let Some(pm) = &platform.pm {
        let facs = file.add(&fixed::facs());
        let dsdt = file.add(&dsdt::dsdt(platform));
        roots.push(file.add_with_pointers(&fixed::fadt(pm, facs, dsdt), TABLES, &fixed::FADT_POINTERS));
    }
    roots.push(file.add(&fixed::madt(platform)));
    if platform.generation.is_some() {
        roots.push(file.add_with_pointers(&vmgenid::ssdt(), GENERATION, &[(vmgenid::ADDRESS_OFFSET, 4)]));
    }
    roots.extend(platform.hpet.map(|base| file.add(&fixed::hpet(base))));
    if let Some(n) = &platform.numa {
        roots.push(file.add(&numa::srat(&platform.processors, n)));
        let distances = n.nodes.distances.as_deref().map(|d| file.add(&numa::slit(d)));
        roots.extend(distances);
        let hmat = n.nodes.hmat.as_ref().map(|hmat| file.add(&numa::hmat(&n.nodes, hmat)));
        roots.extend(hmat);
    }
    roots.extend(platform.more.iter().map(|table| file.add(table)));
    let mut directory = |signature, wide: bool| {
        let size = if wide { 8 } else { 4 };
        let entries: Vec<u8> = roots.iter().flat_map(|&r| u64::from(r).to_le_bytes()[..size].to_vec()).collect();
        let pointers: Vec<_> = (0..roots.len()).map(|n| (table::HEADER + n * size, size as u8)).collect();
        file.add_with_pointers(&table::table(signature, 1, &entries), TABLES, &pointers)
    };
    let (rsdt, xsdt) = (directory(b"RSDT", false), directory(b"XSDT", true));

    let mut script = Script::default();
    script.file(RSDP, table::rsdp(rsdt, xsdt.into()), 16, Zone::FSegment);
    script.file(TABLES, file.bytes, ALIGN as u32, Zone::High);
    if let Some(generation) = platform.generation {
        script.device_file(GENERATION, vmgenid_page(generation), 4096, Zone::High);
        script.tell(GENERATION_ADDRESS, 8, GENERATION);
    }
    for (offset, size, to) in file.pointers {
        script.pointer(TABLES, offset, size, to);
    }
    for (start, len) in file.sums {
        script.sum(TABLES, start + table::CHECKSUM, start, len);
    }
    for (offset, size) in table::RSDP_POINTERS {
        script.pointer(RSDP, offset, size, TABLES);
    }
    for (offset, len) in table::RSDP_SUMS {
        script.sum(RSDP, offset, 0, len);
    }
    script
}

/// Builds all tables into `start..end`, which must lie below 1 MiB where both standards look: between 0xf0000 and 0xfffff.
///
/// # Errors
/// They need more room.
pub fn build(platform: &Platform, start: u64, end: u64) -> Result<Tables, String> {
    let mp = mp::configuration(platform);
    let pointer_at = start.next_multiple_of(16);
    let mp_at = pointer_at + 16;
    let mp_blobs = [
        Blob::new("MP floating pointer", pointer_at, mp::floating_pointer(mp_at as u32)),
        Blob::new("MP configuration", mp_at, mp),
    ];
    let (mut blobs, _) = script(platform).place(mp_blobs[1].end(), end)?;
    let rsdp = blobs[0].addr;
    blobs.extend(mp_blobs);
    Ok(Tables { rsdp, blobs })
}

#[cfg(test)]
mod tests;
