//! The ACPI tables (ACPI 6.5): found by the root pointer, checked by their sums, and read for what the checks need.

use crate::devices::pm_timer::PmTimer;
use crate::once::Once;
use crate::port;
use core::slice;

const MAX_TABLES: usize = 24;
static ACPI: Once<Acpi> = Once::new();

/// A table, or another checksummed structure.
#[derive(Clone, Copy)]
pub struct Table {
    bytes: &'static [u8],
}

impl Table {
    /// The table at a physical address below 4 GiB; `None` if what is there has no plausible length.
    fn at(addr: u64) -> Option<Table> {
        const HEADER: u64 = 36;
        if !(0x400..(1 << 32) - HEADER).contains(&addr) {
            return None;
        }
        // SAFETY: the first 4 GiB are mapped, and nothing writes to the tables.
        let length = u64::from(unsafe { ((addr + 4) as *const u32).read_unaligned() });
        if !(HEADER..=1 << 20).contains(&length) || addr + length > 1 << 32 {
            return None;
        }
        // SAFETY: as above, and all of it is below 4 GiB.
        Some(Table { bytes: unsafe { slice::from_raw_parts(addr as *const u8, length as usize) } })
    }

    /// Where it is.
    pub fn address(&self) -> u64 {
        self.bytes.as_ptr() as u64
    }

    /// All of it, the header included.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// Signature, four characters.
    pub fn signature(&self) -> &'static str {
        core::str::from_utf8(&self.bytes[..4]).unwrap_or("????")
    }

    /// OEM id and OEM table id.
    pub fn oem(&self) -> (&'static str, &'static str) {
        let field = |range| core::str::from_utf8(&self.bytes[range]).unwrap_or("?").trim_matches(['\0', ' ']);
        (field(10..16), field(16..24))
    }

    /// The bytes sum up to zero.
    pub fn sum_is_right(&self) -> bool {
        sums_to_zero(self.bytes)
    }

    fn field<const N: usize>(&self, offset: usize) -> [u8; N] {
        self.bytes.get(offset..offset + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
    }

    fn byte(&self, offset: usize) -> u8 {
        self.field::<1>(offset)[0]
    }

    fn word(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.field(offset))
    }

    fn long(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.field(offset))
    }

    /// The I/O port of a generic address structure, or else of the older field for it.
    fn port(&self, older: usize, generic: usize) -> Option<u16> {
        const SYSTEM_IO: u8 = 1;
        let (space, address) = (self.byte(generic), self.long(generic + 4));
        let port = if space == SYSTEM_IO && address != 0 { address } else { self.word(older).into() };
        u16::try_from(port).ok().filter(|&port| port != 0)
    }
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// The tables found.
pub struct Acpi {
    /// Address and revision of the root pointer.
    pub rsdp: (u64, u8),
    /// The sum of the root pointer is right.
    pub rsdp_sum_is_right: bool,
    tables: [Option<Table>; MAX_TABLES],
}

impl Acpi {
    /// All tables: root table, those that it lists, and the DSDT.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().flatten()
    }

    fn find(&self, signature: &str) -> Option<&Table> {
        self.tables().find(|t| t.signature() == signature)
    }
}

/// Looks for the tables, at `rsdp` or else where firmware leaves the root pointer.
pub fn init(rsdp: Option<u64>) {
    if let Some(acpi) = rsdp.or_else(scan_for_rsdp).and_then(read) {
        ACPI.set(acpi);
    }
}

/// The tables, if there are any.
pub fn get() -> Option<&'static Acpi> {
    ACPI.get()
}

fn scan_for_rsdp() -> Option<u64> {
    // SAFETY: the BIOS area is mapped and only read.
    let area = unsafe { slice::from_raw_parts(0xe_0000 as *const u8, 0x2_0000) };
    let mut blocks = area.chunks(16).zip((0xe_0000..).step_by(16));
    blocks.find(|(block, _)| block.starts_with(b"RSD PTR ")).map(|(_, addr)| addr)
}

fn read(rsdp: u64) -> Option<Acpi> {
    if !(0x400..(1 << 32) - 36).contains(&rsdp) {
        return None;
    }
    // SAFETY: below 4 GiB all is mapped, and the structure is only read.
    let root = unsafe { slice::from_raw_parts(rsdp as *const u8, 36) };
    if !root.starts_with(b"RSD PTR ") {
        return None;
    }
    let revision = root[15];
    let rsdt = u64::from(u32::from_le_bytes(root[16..20].try_into().ok()?));
    let xsdt = u64::from_le_bytes(root[24..32].try_into().ok()?);
    let has_xsdt = revision >= 2 && xsdt != 0;
    let (table, entry_size) = if has_xsdt { (Table::at(xsdt)?, 8) } else { (Table::at(rsdt)?, 4) };

    let mut acpi = Acpi {
        rsdp: (rsdp, revision),
        rsdp_sum_is_right: sums_to_zero(&root[..20]) && (revision < 2 || sums_to_zero(root)),
        tables: [None; MAX_TABLES],
    };
    acpi.tables[0] = Some(table);
    let listed = table.bytes[36..].chunks_exact(entry_size).filter_map(|entry| {
        let mut addr = [0; 8];
        addr[..entry_size].copy_from_slice(entry);
        Table::at(u64::from_le_bytes(addr))
    });
    for (slot, table) in acpi.tables[1..MAX_TABLES - 1].iter_mut().zip(listed) {
        *slot = Some(table);
    }
    acpi.tables[MAX_TABLES - 1] = acpi.find("FACP").and_then(|fadt| {
        let x_dsdt = fadt.long(140);
        Table::at(if x_dsdt != 0 { x_dsdt } else { fadt.word(40).into() })
    });
    Some(acpi)
}

/// The PM timer, if the FADT names one.
pub fn pm_timer() -> Option<PmTimer> {
    const TMR_VAL_EXT: u32 = 1 << 8;
    let fadt = get()?.find("FACP")?;
    Some(PmTimer::new(fadt.port(76, 208)?, if fadt.word(112) & TMR_VAL_EXT != 0 { 32 } else { 24 }))
}

/// What the soft-off needs.
pub struct PowerControl {
    pm1: [Option<u16>; 2],
    sleep_types: [u8; 2],
}

impl PowerControl {
    /// The PM1 control registers with the sleep type for each.
    pub fn registers(&self) -> impl Iterator<Item = (u16, u8)> {
        self.pm1.into_iter().zip(self.sleep_types).filter_map(|(port, sleep_type)| Some((port?, sleep_type)))
    }
}

/// The PM1 control registers, and the S5 sleep types from `\_S5`. Switches the machine to ACPI mode first, if needed.
pub fn power_control() -> Option<PowerControl> {
    const SCI_EN: u16 = 1;
    let acpi = get()?;
    let fadt = acpi.find("FACP")?;
    let definitions = acpi.tables().filter(|t| matches!(t.signature(), "DSDT" | "SSDT"));
    let sleep_types = definitions.filter_map(|t| s5_sleep_types(t.bytes)).next()?;
    let pm1a = fadt.port(64, 172)?;
    let (smi_command, enable) = (fadt.word(48), fadt.byte(52));
    if port::in16(pm1a) & SCI_EN == 0 && smi_command != 0 && enable != 0 {
        port::out8(smi_command as u16, enable);
    }
    Some(PowerControl { pm1: [Some(pm1a), fadt.port(68, 184)], sleep_types })
}

/// The two sleep types from `Name (_S5, Package () { a, b, ... })` in AML (ACPI 6.5, 20.2 and 7.4.2.6).
fn s5_sleep_types(aml: &[u8]) -> Option<[u8; 2]> {
    const PACKAGE: u8 = 0x12;
    let start = aml.windows(5).position(|w| w == [b'_', b'S', b'5', b'_', PACKAGE])? + 5;
    let length_bytes = 1 + usize::from(*aml.get(start)? >> 6);
    // After the package length comes the number of elements.
    let mut rest = aml.get(start + length_bytes + 1..)?;
    let mut number = || {
        let (value, used) = match *rest {
            [0x0a, value, ..] | [0x0b, value, _, ..] => (value, if rest[0] == 0x0a { 2 } else { 3 }),
            [value @ 0..=1, ..] => (value, 1),
            _ => return None,
        };
        rest = &rest[used..];
        Some(value & 7)
    };
    Some([number()?, number()?])
}

/// The HPET's address, if it is listed.
pub fn hpet() -> Option<u64> {
    Some(get()?.find("HPET")?.long(44)).filter(|&base| base != 0 && base < 0xffff_f000)
}

/// An entry of the MADT that the guest knows.
pub enum Interrupt {
    /// A processor: its APIC id, and whether it is enabled.
    Processor(u32, bool),
    /// An I/O APIC: id, address, first global interrupt.
    IoApic(u8, u32, u32),
    /// An ISA interrupt that is not the global one of the same number: source, global interrupt, flags.
    Override(u8, u32, u16),
}

/// The entries of the MADT.
pub fn madt() -> impl Iterator<Item = Interrupt> {
    let mut rest = get().and_then(|acpi| acpi.find("APIC")).and_then(|t| t.bytes.get(44..)).unwrap_or(&[]);
    core::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?).max(2);
        let entry = rest.get(..length)?;
        rest = &rest[length..];
        Some(entry)
    })
    .filter_map(|entry| {
        let word = |at: usize| Some(u32::from_le_bytes(entry.get(at..at + 4)?.try_into().ok()?));
        match entry[0] {
            0 => Some(Interrupt::Processor((*entry.get(3)?).into(), word(4)? & 1 != 0)),
            1 => Some(Interrupt::IoApic(*entry.get(2)?, word(4)?, word(8)?)),
            2 => Some(Interrupt::Override(
                *entry.get(3)?,
                word(4)?,
                u16::from_le_bytes([*entry.get(8)?, *entry.get(9)?]),
            )),
            9 => Some(Interrupt::Processor(word(4)?, word(8)? & 1 != 0)),
            _ => None,
        }
    })
}
