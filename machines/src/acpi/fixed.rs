//! FADT, FACS and MADT (ACPI 6.4, 5.2.9, 5.2.10, 5.2.12).

use super::table::{HEADER, table};
use super::{LAPIC_BASE, LEVEL_IRQS, Platform, PowerManagement, Processor, gsi};
use crate::boot::image::Table;
use crate::devices::hpet::BLOCK_ID;

/// IAPC_BOOT_ARCH: there are ISA devices, and an 8042.
const LEGACY_DEVICES: u16 = 1 << 0;
const HAS_8042: u16 = 1 << 1;
/// FADT flags: WBINVD works, C1 on all processors, no sleep button as a fixed event, no RTC wake as one, a reset register.
const FADT_FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10;
/// Latencies that say: there is no C2, no C3.
const NO_C2: u16 = 101;
const NO_C3: u16 = 1001;
/// CMOS byte of the century.
const CENTURY: u8 = 0x32;

/// The firmware control structure.
pub(super) fn facs() -> Vec<u8> {
    let mut t = Table::<64>::new();
    t.put(0, b"FACS");
    t.dword(4, 64);
    t.byte(32, 1);
    t.0.to_vec()
}

/// The addresses in the FADT: FIRMWARE_CTRL, DSDT, X_DSDT.
pub(super) const FADT_POINTERS: [(usize, u8); 3] = [(36, 4), (40, 4), (140, 8)];

/// The fixed description table, revision 3 (ACPI 2.0). Offsets are those of the specification, header included.
pub(super) fn fadt(pm: &PowerManagement, facs: u32, dsdt: u32) -> Vec<u8> {
    let mut t = Fadt(Table::new());
    let (event, control, timer) = (pm.base, pm.base + 4, pm.base + 8);
    let (command, enable, disable) = pm.command;
    t.dword(36, facs);
    t.dword(40, dsdt);
    t.word(46, pm.sci.into());
    t.dword(48, command.into());
    t.put(52, &[enable, disable]);
    t.dword(56, event.into());
    t.dword(64, control.into());
    t.dword(76, timer.into());
    t.dword(80, pm.gpe0.into());
    t.put(88, &[4, 2, 0, 4, pm.gpe0_len]);
    t.word(96, NO_C2);
    t.word(98, NO_C3);
    t.put(108, &[CENTURY]);
    t.word(109, LEGACY_DEVICES | HAS_8042);
    t.dword(112, FADT_FLAGS);
    t.address(116, pm.reset.0, 1);
    t.put(128, &[pm.reset.1]);
    t.put(140, &u64::from(dsdt).to_le_bytes());
    t.address(148, event, 4);
    t.address(172, control, 2);
    t.address(208, timer, 4);
    t.address(220, pm.gpe0, pm.gpe0_len);
    table(b"FACP", 3, &t.0.0)
}

/// Body of the FADT, addressed with the header's offsets.
struct Fadt(Table<{ 244 - HEADER }>);

impl Fadt {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0.put(offset - HEADER, bytes);
    }
    fn word(&mut self, offset: usize, v: u16) {
        self.put(offset, &v.to_le_bytes());
    }
    fn dword(&mut self, offset: usize, v: u32) {
        self.put(offset, &v.to_le_bytes());
    }
    /// A generic address structure for `len` bytes of ports.
    fn address(&mut self, offset: usize, port: u16, len: u8) {
        const SYSTEM_IO: u8 = 1;
        self.put(offset, &[SYSTEM_IO, len * 8, 0, 0]);
        self.put(offset + 4, &u64::from(port).to_le_bytes());
    }
}

/// The event timers at `base` (IA-PC HPET 1.0a, 3.2.4).
pub(super) fn hpet(base: u32) -> Vec<u8> {
    let mut t = Table::<{ 56 - HEADER }>::new();
    t.dword(0, BLOCK_ID);
    t.qword(8, base.into());
    table(b"HPET", 1, &t.0)
}

/// The entry of a processor's local APIC, or of the place for one.
pub(super) fn local_apic(uid: u32, p: Processor) -> Vec<u8> {
    let enabled = u32::from(p.present);
    match u8::try_from(p.apic_id) {
        Ok(id) if id != u8::MAX => [&[0, 8, uid as u8, id][..], &enabled.to_le_bytes()].concat(),
        _ => [&[9, 16, 0, 0][..], &[p.apic_id, enabled, uid].map(u32::to_le_bytes).concat()].concat(),
    }
}

/// The interrupt controllers.
pub(super) fn madt(p: &Platform) -> Vec<u8> {
    /// There is a pair of 8259A too.
    const PCAT_COMPAT: u32 = 1;
    /// Active high, level-triggered.
    const LEVEL_HIGH: u16 = 1 | 3 << 2;
    const ALL_PROCESSORS: u8 = 0xff;
    const ALL_X2APIC: u32 = u32::MAX;
    let mut b = [LAPIC_BASE.to_le_bytes(), PCAT_COMPAT.to_le_bytes()].concat();
    b.extend((0..).zip(&p.processors).flat_map(|(uid, p)| local_apic(uid, *p)));
    b.extend([1, 12, 0, 0]);
    b.extend([p.ioapic, 0].map(u32::to_le_bytes).concat());
    let mut redirect = |irq: u8, flags: u16| {
        b.extend([2, 10, 0, irq]);
        b.extend(u32::from(gsi(irq)).to_le_bytes());
        b.extend(flags.to_le_bytes());
    };
    redirect(0, 0);
    LEVEL_IRQS.into_iter().for_each(|irq| redirect(irq, LEVEL_HIGH));
    // NMI is on LINT1 of every processor.
    if p.processors.iter().any(|p| p.apic_id >= 0xff) {
        b.extend([10, 12, 0, 0]);
        b.extend(ALL_X2APIC.to_le_bytes());
        b.extend([1, 0, 0, 0]);
    }
    b.extend([4, 6, ALL_PROCESSORS, 0, 0, 1]);
    table(b"APIC", 3, &b)
}
