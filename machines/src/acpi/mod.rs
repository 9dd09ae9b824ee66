//! Tables by which an operating system finds what is not discoverable: ACPI (ACPI 6.4, chapter 5) and MP (MultiProcessor Specification
//! 1.4). Built from a [`Platform`], which the board fills in with what it has realized.

mod aml;
mod cpu_hotplug;
mod dsdt;
mod fixed;
mod mp;
mod numa;
mod pci_hotplug;
mod table;
mod vmgenid;

use crate::boot::Blob;
use crate::devices::vmgenid::page;
pub use numa::{NodeMemory, NumaPlatform};
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
    /// Port of a [`PvPanic`](crate::devices::pvpanic::PvPanic).
    pub pvpanic: Option<u16>,
    /// Number of a [`VmGenId`](crate::devices::vmgenid::VmGenId).
    pub generation: Option<Uuid>,
    /// There is a PS/2 mouse.
    pub mouse: bool,
    /// Functions on PCI bus 0 that use an interrupt pin.
    pub pci_interrupts: Vec<PciInterrupt>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hotplug {
    /// Those of [`crate::devices::pci::hotplug`].
    pub pci: u16,
    /// A bit for each slot of PCI bus 0 whose device can come and go.
    pub pci_slots: u32,
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
const ALIGN: u64 = 64;

/// The tables, laid out.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Where the root pointer is.
    pub rsdp: u64,
    /// Everything, to be loaded.
    pub blobs: Vec<Blob>,
}

/// Lays blobs out one after the other.
struct Layout {
    next: u64,
    blobs: Vec<Blob>,
}

impl Layout {
    /// Places a table and gives its address.
    fn place(&mut self, name: &'static str, bytes: Vec<u8>) -> u64 {
        let addr = self.next;
        self.next = (addr + bytes.len() as u64).next_multiple_of(ALIGN);
        self.blobs.push(Blob::new(name, addr, bytes));
        addr
    }
}

/// Builds all tables into `start..end`, which must lie below 1 MiB where both standards look: between 0xf0000 and 0xfffff.
///
/// # Errors
/// They need more room.
pub fn build(platform: &Platform, start: u64, end: u64) -> Result<Tables, String> {
    let mut at = Layout { next: start, blobs: Vec::new() };
    let mut roots = Vec::new();
    if let Some(pm) = &platform.pm {
        let facs = at.place("FACS", fixed::facs());
        let dsdt = at.place("DSDT", dsdt::dsdt(platform));
        roots.push(at.place("FADT", fixed::fadt(pm, facs as u32, dsdt as u32)));
    }
    roots.push(at.place("MADT", fixed::madt(platform)));
    if let Some(generation) = platform.generation {
        let page = at.place("VM generation id", page(generation, vmgenid::PAGE_USED));
        roots.push(at.place("SSDT", vmgenid::ssdt(page as u32)));
    }
    if let Some(n) = &platform.numa {
        roots.push(at.place("SRAT", numa::srat(&platform.processors, n)));
        let distances = n.nodes.distances.as_deref().map(|d| at.place("SLIT", numa::slit(d)));
        roots.extend(distances);
        let hmat = n.nodes.hmat.as_ref().map(|hmat| at.place("HMAT", numa::hmat(&n.nodes, hmat)));
        roots.extend(hmat);
    }
    let pointers = |wide: bool| {
        roots.iter().flat_map(|r| r.to_le_bytes()[..if wide { 8 } else { 4 }].to_vec()).collect::<Vec<u8>>()
    };
    let rsdt = at.place("RSDT", table::table(b"RSDT", 1, &pointers(false)));
    let xsdt = at.place("XSDT", table::table(b"XSDT", 1, &pointers(true)));
    let rsdp = at.place("RSDP", table::rsdp(rsdt as u32, xsdt));
    let mp = at.place("MP configuration", mp::configuration(platform));
    at.place("MP floating pointer", mp::floating_pointer(mp as u32));
    if at.next > end {
        return Err(format!("the ACPI and MP tables need {} bytes; there are {}", at.next - start, end - start));
    }
    Ok(Tables { rsdp, blobs: at.blobs })
}

#[cfg(test)]
mod tests;
