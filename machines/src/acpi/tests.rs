use super::*;
use crate::boot::image::Bytes;
use crate::devices::floppy::DriveKind;
use gearbox_core::pci::{BusId, Devfn};

fn processors(list: impl IntoIterator<Item = (u32, bool)>) -> Vec<Processor> {
    list.into_iter().map(|(apic_id, present)| Processor { apic_id, present }).collect()
}
fn bus(number: u8, slots: u32, bridges: Vec<(Devfn, HotplugBus)>) -> HotplugBus {
    HotplugBus { bus: BusId(number), slots, bridges }
}
fn platform() -> Platform {
    let far = bus(2, 1 << 3, Vec::new());
    let behind = bus(1, 1 << 7, vec![(Devfn::new(8, 1), far)]);
    Platform {
        numa: None,
        processors: processors([(0, true), (1, true), (2, true), (3, false)]),
        hotplug: Some(Hotplug {
            pci: 0xae00,
            pci_root: bus(0, !0b100011, vec![(Devfn::new(5, 0), behind)]),
            cpus: 0xaf00,
        }),
        ioapic: 0xfec0_0000,
        pci_memory: (0xc000_0000, 0xfebf_ffff),
        pm: Some(PowerManagement {
            base: 0x600,
            gpe0: 0xafe0,
            gpe0_len: 4,
            sci: 9,
            command: (0xb2, 0xf1, 0xf0),
            reset: (0xcf9, 0x0f),
            s5: 0,
        }),
        serials: vec![(0x3f8, 4), (0x2f8, 3)],
        parallels: Vec::new(),
        pvpanic: Some(0x505),
        generation: Some(uuid::Uuid::from_u128(7)),
        floppies: [Some(DriveKind::K288), None],
        mouse: true,
        hpet: Some(0xfed0_0000),
        more: Vec::new(),
        pci_interrupts: vec![PciInterrupt { slot: 3, pin: 0, irq: 11 }],
    }
}
fn tables() -> Tables {
    build(&platform(), 0xf_0000, 0x10_0000).unwrap()
}
fn sum(b: &[u8]) -> u8 {
    b.iter().fold(0, |s: u8, v| s.wrapping_add(*v))
}
/// What lies from `addr` on.
fn at(t: &Tables, addr: u64) -> &[u8] {
    let blob = t.blobs.iter().find(|b| (b.addr..b.end()).contains(&addr)).unwrap();
    &blob.bytes[(addr - blob.addr) as usize..]
}
/// The table at `addr`.
fn table_at(t: &Tables, addr: u64) -> &[u8] {
    let rest = at(t, addr);
    &rest[..Bytes(rest).dword(4).unwrap() as usize]
}
/// The table with that signature.
fn find<'a>(t: &'a Tables, signature: &[u8; 4]) -> &'a [u8] {
    let tables = t.blobs.iter().find(|b| b.name == TABLES).unwrap();
    let offset = tables.bytes.chunks(ALIGN).position(|c| c.starts_with(signature)).unwrap() * ALIGN;
    table_at(t, tables.addr + offset as u64)
}

#[test]
fn the_root_leads_to_every_table_and_all_sums_are_zero() {
    let t = tables();
    let rsdp = at(&t, t.rsdp);
    assert_eq!(t.rsdp % 16, 0);
    assert_eq!((&rsdp[..8], rsdp.len(), sum(&rsdp[..20]), sum(rsdp)), (&b"RSD PTR "[..], 36, 0, 0));
    let xsdt = table_at(&t, Bytes(rsdp).qword(24).unwrap());
    let rsdt = table_at(&t, Bytes(rsdp).dword(16).unwrap().into());
    assert_eq!((&xsdt[..4], &rsdt[..4]), (&b"XSDT"[..], &b"RSDT"[..]));
    let mut seen = Vec::new();
    for (n, entry) in xsdt[36..].chunks(8).enumerate() {
        let addr = u64::from_le_bytes(entry.try_into().unwrap());
        assert_eq!(Bytes(rsdt).dword(36 + 4 * n as u64), Some(addr as u32));
        seen.push(at(&t, addr)[..4].to_vec());
    }
    let expected = [b"FACP", b"APIC", b"SSDT", b"HPET"].map(|s| s.to_vec());
    assert_eq!(seen, expected);
    for signature in [b"DSDT", b"FACP", b"APIC", b"SSDT", b"HPET", b"RSDT", b"XSDT"] {
        assert_eq!(sum(find(&t, signature)), 0, "{signature:?}");
    }
}

/// QEMU's firmware adds to what stands there, OVMF puts the sum in its place.
#[test]
fn sums_that_firmware_makes_go_where_there_is_zero() {
    let files: Vec<_> = script(&platform()).firmware_files().collect();
    let commands = &files.iter().find(|(name, _)| *name == "etc/table-loader").unwrap().1;
    let mut sums = 0;
    for c in commands.chunks(128).filter(|c| c[0] == 3) {
        let (_, bytes) = files.iter().find(|(name, _)| c[4..].starts_with(format!("{name}\0").as_bytes())).unwrap();
        assert_eq!(bytes[Bytes(c).dword(60).unwrap() as usize], 0);
        sums += 1;
    }
    // FADT, SSDT, RSDT and XSDT, and the two of the root pointer.
    assert_eq!(sums, 6);
}

#[test]
fn fadt_names_the_registers() {
    let t = tables();
    let f = Bytes(find(&t, b"FACP"));
    assert_eq!(f.0.len(), 244);
    let dwords = [48u64, 56, 64, 76, 80].map(|o| f.dword(o).unwrap());
    assert_eq!(dwords, [0xb2, 0x600, 0x604, 0x608, 0xafe0]);
    assert_eq!(f.slice(116, 13).unwrap(), [1, 8, 0, 0, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 0x0f]);
    assert_eq!(&at(&t, f.dword(36).unwrap().into())[..4], b"FACS");
    assert_eq!(&at(&t, f.qword(140).unwrap())[..4], b"DSDT");
}

#[test]
fn madt_lists_processors_and_redirections() {
    let mut p = platform();
    p.processors.extend(processors([(300, true)]));
    let m = fixed::madt(&p);
    let mut kinds = Vec::new();
    let mut enabled = Vec::new();
    let mut rest = &m[44..];
    while let [kind, len, ..] = rest {
        kinds.push(*kind);
        match kind {
            0 => enabled.push(rest[4]),
            9 => enabled.push(rest[8]),
            _ => {}
        }
        rest = &rest[usize::from(*len)..];
    }
    assert_eq!(kinds, [0, 0, 0, 0, 9, 1, 2, 2, 2, 2, 2, 10, 4]);
    assert_eq!(enabled, [1, 1, 1, 0, 1], "the fourth may come");
}

#[test]
fn mp_tables() {
    let t = tables();
    let pointer = at(&t, t.blobs.iter().find(|b| b.name == "MP floating pointer").unwrap().addr);
    assert_eq!((&pointer[..4], pointer.len(), sum(pointer)), (&b"_MP_"[..], 16, 0));
    let c = at(&t, Bytes(pointer).dword(4).unwrap().into());
    assert_eq!((&c[..4], sum(c), Bytes(c).word(4)), (&b"PCMP"[..], 0, Some(c.len() as u16)));
    let mut count = 0;
    let mut rest = &c[44..];
    while let Some(kind) = rest.first() {
        rest = &rest[if *kind == 0 { 20 } else { 8 }..];
        count += 1;
    }
    assert_eq!(Bytes(c).word(34), Some(count));
    assert!(c.windows(8).any(|w| w == [3, 0, 0x0d, 0, 0, 12, 0, 11]), "slot 3 INTA on input 11");
}

fn has(dsdt: &[u8], bytes: &[u8]) -> bool {
    dsdt.windows(bytes.len()).any(|w| w == bytes)
}

#[test]
fn dsdt_describes_hot_plug() {
    let t = tables();
    let d = find(&t, b"DSDT");
    for part in ["PHPO", "SL02", "SL1F", "_EJ0", "_SUN", "_E01", "_E02", "CPHO", "C003", "_MAT"] {
        assert!(has(d, part.as_bytes()), "{part}");
    }
    for part in ["SL00", "SL01", "SL05", "C004"] {
        assert!(!has(d, part.as_bytes()), "{part}");
    }
    assert!(has(d, b"QEMU0001") && has(d, b"WRPT"));
    assert!(has(d, b"_SUN\x0a\x1f"), "slot 31");
    assert!(has(d, b"BR28\x08_ADR\x0c\0\0\x05\0") && has(d, b"BR41\x08_ADR\x0c\x01\0\x08\0"), "bridges");
    assert!(has(d, b"PHE0\x01\x0a\x07") && has(d, b"PHE0\x0a\x02\x0a\x03"), "slots behind them");
    assert!(has(d, b"\\\x2f\x04_SB_PCI0BR28PHCH") && has(d, b"\\\x2f\x05_SB_PCI0BR28BR41PHCH"));
    assert!(has(d, b"_MAT\x11\x0b\x0a\x08\0\x08\x03\x03\x01"), "enabled once it is there");

    let fixed = dsdt::dsdt(&Platform { hotplug: None, ..platform() });
    assert!(has(&fixed, b"C003") && !has(&fixed, b"_EJ0") && !has(&fixed, b"_E01"));
}

#[test]
fn dsdt_describes_floppy_drives() {
    let t = tables();
    let d = find(&t, b"DSDT");
    // As QEMU's tables tell of an empty drive.
    let information = b"_FDI\x12\x20\x10\x00\x0a\x05\x0a\x4f\x0a\x30\x01\x0a\xaf\x0a\x02\x0a\x25\x0a\x02\x0a\x12\x0a\x1b\x0a\xff\x0a\x6c\x0a\xf6\x0a\x0f\x0a\x08";
    assert!(has(d, b"FLPA") && !has(d, b"FLPB") && has(d, information));
    assert!(has(d, b"_FDE\x11\x17\x0a\x14\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0"));
}

#[test]
fn the_generation_id_is_where_the_table_says() {
    let t = tables();
    let ssdt = Bytes(find(&t, b"SSDT"));
    assert_eq!((ssdt.slice(16, 8).unwrap(), ssdt.slice(36, 6).unwrap()), (&b"VMGENID\0"[..], &b"\x08VGIA\x0c"[..]));
    let page = at(&t, ssdt.dword(42).unwrap().into());
    assert_eq!(page[40..56], uuid::Uuid::from_u128(7).to_bytes_le());
}

#[test]
fn room_is_checked_and_enough_for_many_processors() {
    let mut p = platform();
    p.processors = processors((0..255).map(|id| (id, id == 0)));
    let bridges = (1..=8).map(|n| (Devfn::new(n, 0), bus(n, u32::MAX, Vec::new()))).collect();
    p.hotplug.as_mut().unwrap().pci_root = bus(0, u32::MAX, bridges);
    build(&p, 0xf_0000, 0x10_0000).unwrap();
    assert!(build(&p, 0xf_f000, 0x10_0000).unwrap_err().contains("room up to 0x100000"));
}

/// Writes the tables to `$GEARBOX_ACPI_DUMP` for `iasl -d`; does nothing without it.
#[test]
fn dump() {
    let Some(dir) = std::env::var_os("GEARBOX_ACPI_DUMP") else { return };
    let t = tables();
    for signature in [b"DSDT", b"FACP", b"APIC", b"SSDT"] {
        let name = format!("{}.dat", String::from_utf8_lossy(signature));
        std::fs::write(std::path::Path::new(&dir).join(name), find(&t, signature)).unwrap();
    }
}
