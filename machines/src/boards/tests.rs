use super::*;
use gearbox_accel_qtest::{Bench, Messages};
use gearbox_core::board::{Board, ResetKind, SystemRequest};
use gearbox_core::clock::ManualClock;
use gearbox_core::machine::{BuildError, DeviceArg, KernelArgs, MachineConfig, MachineType, Wiring};
use gearbox_core::x86::state::X86State;
use std::sync::Arc;

fn machine(name: &str) -> &'static dyn MachineType {
    *machine_types().iter().find(|m| m.name() == name || m.alias() == Some(name)).unwrap()
}
fn try_build(name: &str, config: &MachineConfig) -> Result<(Bench, Wiring), BuildError> {
    let messages = Arc::new(Messages::new());
    let board = Board::new(Arc::new(ManualClock::new()), messages.clone());
    let wiring = gearbox_core::machine::build(machine(name), config, &board)?;
    board.with(|s| s.reset(ResetKind::Power));
    Ok((Bench::around(board, messages), wiring))
}
fn build(name: &str, config: &MachineConfig) -> (Bench, Wiring) {
    try_build(name, config).unwrap()
}
fn config(b: &mut Bench, slot: u32, function: u32, register: u32) -> u32 {
    b.outl(0xcf8, 1 << 31 | slot << 11 | function << 8 | register);
    b.inl(0xcfc)
}
fn cmos(b: &mut Bench, index: u8) -> u8 {
    b.outb(0x70, index);
    b.inb(0x71)
}

#[test]
fn names_aliases_and_the_default() {
    assert_eq!(machine("pc").name(), "pc-i440fx-7.2");
    assert_eq!(machine_types().iter().filter(|m| m.is_default()).count(), 1);
    assert_eq!(machine("none").max_cpus(), 1);
}

#[test]
fn none_has_ram_and_nothing_else() {
    let (mut b, _) = build("none", &MachineConfig::default());
    b.writel(0x1000, 7);
    assert_eq!((b.readl(0x1000), b.inb(0x71)), (7, 0xff));
    assert_eq!(b.with(|s| s.devices().count()), 0);
}

#[test]
fn the_functions_on_the_pci_bus() {
    let (mut b, _) = build("pc", &MachineConfig::default());
    let ids = [(0, 0), (1, 0), (1, 1), (1, 3), (2, 0)].map(|(slot, f)| config(&mut b, slot, f, 0));
    assert_eq!(ids, [0x1237_8086, 0x7000_8086, 0x7010_8086, 0x7113_8086, 0xffff_ffff]);
}

#[test]
fn cmos_as_qemu_fills_it() {
    use gearbox_core::x86::topology::Topology;
    let topology = Topology { sockets: 2, ..Topology::default() };
    let (mut b, _) = build("pc", &MachineConfig { ram_size: 512 << 20, topology, ..MachineConfig::default() });
    for (index, value) in [
        (0x0e, 0),
        (0x14, 6),
        (0x15, 0x80),
        (0x16, 2),
        (0x17, 0xff),
        (0x18, 0xff),
        (0x30, 0xff),
        (0x31, 0xff),
        (0x34, 0),
        (0x35, 0x1f),
        (0x38, 0x30),
        (0x3d, 0x12),
        (0x5b, 0),
        (0x5f, 1),
    ] {
        assert_eq!(cmos(&mut b, index), value, "{index:#x}");
    }
}

/// A file of the firmware configuration device.
fn fw_cfg_file(b: &mut Bench, name: &str) -> Vec<u8> {
    let read = |b: &mut Bench, key: u16, n: usize| {
        b.outw(0x510, key);
        (0..n).map(|_| b.inb(0x511)).collect::<Vec<_>>()
    };
    let count = u32::from_be_bytes(read(b, 0x19, 4).try_into().unwrap());
    let directory = read(b, 0x19, 4 + 64 * count as usize);
    let entry = directory[4..].chunks(64).find(|e| e[8..].starts_with(format!("{name}\0").as_bytes())).unwrap();
    let size = u32::from_be_bytes(entry[..4].try_into().unwrap());
    read(b, u16::from_be_bytes([entry[4], entry[5]]), size as usize)
}

#[test]
fn firmware_finds_the_power_management_ports_where_it_has_put_them() {
    let (mut b, _) = build("pc", &MachineConfig::default());
    /// Where the FADT says that the event block, the control block and the timer are.
    fn ports(b: &mut Bench) -> [u32; 3] {
        let tables = fw_cfg_file(b, "etc/acpi/tables");
        let fadt = tables.chunks(64).position(|c| c.starts_with(b"FACP")).unwrap() * 64;
        [56, 64, 76].map(|at| u32::from_le_bytes(tables[fadt + at..][..4].try_into().unwrap()))
    }
    let put = |b: &mut Bench, base: u32| {
        config(b, 1, 3, 0x40);
        b.outl(0xcfc, base | 1);
    };
    put(&mut b, 0xb000);
    assert_eq!(ports(&mut b), [0xb000, 0xb004, 0xb008]);
    put(&mut b, 0x600);
    assert_eq!(ports(&mut b), [0xb000, 0xb004, 0xb008], "firmware has them already");
    b.reset();
    put(&mut b, 0x600);
    assert_eq!(ports(&mut b), [0x600, 0x604, 0x608]);
}

#[test]
fn ram_above_the_hole() {
    let (mut b, _) = build("pc", &MachineConfig { ram_size: 4 << 30, ..MachineConfig::default() });
    b.writel(0xbfff_fffc, 1);
    b.writel(0xc000_0000, 2);
    b.writel(0x1_3fff_fffc, 3);
    b.writel(0x1_4000_0000, 4);
    let got = [0xbfff_fffc, 0xc000_0000, 0x1_3fff_fffc, 0x1_4000_0000].map(|a| b.readl(a));
    assert_eq!(got, [1, u32::MAX, 3, u32::MAX]);
}

#[test]
fn the_timer_reaches_pic_and_ioapic() {
    let (mut b, w) = build("pc", &MachineConfig::default());
    for (port, v) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0xa1, 0xff)] {
        b.outb(port, v);
    }
    // Vector 0x40 on input 2, edge, to CPU 0.
    b.writel(0xfec0_0000, 0x14);
    b.writel(0xfec0_0010, 0x40);
    b.outb(0x43, 0x34);
    b.outb(0x40, 100);
    b.outb(0x40, 0);
    b.messages();
    b.clock_step_ns(1_000_000);
    assert!(b.level(w.intr.unwrap()));
    assert_eq!(b.ack_interrupt(), Some(0x20));
    let messages = b.messages();
    assert!(!messages.is_empty() && messages.iter().all(|m| *m == (0xfee0_0000, 0x40)), "{messages:x?}");
}

#[test]
fn a20_is_open_after_reset_and_shut_by_both_gates() {
    let (mut b, _) = build("pc", &MachineConfig::default());
    b.writeb(0x10_0000, 1);
    b.writeb(0, 2);
    assert_eq!(b.readb(0x10_0000), 1);
    b.outb(0x64, 0xdd);
    assert_eq!(b.readb(0x10_0000), 2);
    b.outb(0x92, 2);
    assert_eq!(b.readb(0x10_0000), 1);
    b.outb(0x92, 0);
    assert_eq!(b.readb(0x10_0000), 2);
    b.reset();
    assert_eq!(b.readb(0x10_0000), 1);
}

#[test]
fn devices_of_the_command_line_and_their_mistakes() {
    let device = |name: &str, properties: &[(&str, &str)]| DeviceArg {
        type_name: name.into(),
        properties: properties.iter().map(|(k, v)| (k.to_string(), (*v).into())).collect(),
    };
    let with = |devices| MachineConfig { devices, ..MachineConfig::default() };
    let (mut b, _) = build("pc", &with(vec![device("isa-debug-exit", &[("iobase", "0xf4"), ("iosize", "4")])]));
    b.outl(0xf4, 0x10);
    assert_eq!(b.requests(), [SystemRequest::Exit(0x21)]);
    let error = |c: &MachineConfig| try_build("pc", c).err().unwrap().to_string();
    assert!(error(&with(vec![device("isa-debug-exot", &[])])).contains("did you mean 'isa-debug-exit'?"));
    assert!(
        error(&with(vec![device("isa-debug-exit", &[("iobase", "0x70")])]))
            .contains("belong to mc146818rtc (/machine/unattached/")
    );
    assert!(error(&with(vec![device("isa-serial", &[("irq", "2")])])).contains("no interrupt 2"));
    let e = error(&MachineConfig { ram_size: 65 << 30, properties: vec![("x".into(), "y".into())], ..with(vec![]) });
    assert!(e.contains("64 GiB") && e.contains("no such property"), "{e}");
}

/// A multiboot kernel by addresses: load and entry at 2 MiB.
fn kernel() -> KernelArgs {
    let mut image: Vec<u8> =
        [0x1bad_b002u32, 0x1_0000, 0u32.wrapping_sub(0x1bad_b002 + 0x1_0000), 0x20_0000, 0x20_0000, 0, 0, 0x20_0020]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
    image.extend(*b"code");
    KernelArgs { image, path: "k".into(), ..KernelArgs::default() }
}

#[test]
fn direct_boot_sets_the_board_up_after_every_reset() {
    let (mut b, w) = build("pc", &MachineConfig { kernel: Some(kernel()), ..MachineConfig::default() });
    let boot = w.boot.unwrap();
    for _ in 0..2 {
        let mut state = X86State::reset(true, 0x663);
        boot.enter(b.board(), &mut state).unwrap();
        assert_eq!((state.rip, state.cr0, state.msrs[&0x2ff]), (0x20_0020, 0x11, 0xc06));
        let mut code = [0; 4];
        b.read(0x20_0020, &mut code);
        assert_eq!(code, *b"code");
        assert_eq!(config(&mut b, 1, 0, 0x60), 0x0b0b_0a0a);
        assert_eq!(config(&mut b, 1, 3, 0x3c) & 0xff, 9);
        assert_eq!((b.inb(0x4d1), b.inl(0x600) & 0xfffe), (0x0c, 0));
        let rsdp: Vec<u64> =
            (0xf_0000..0x10_0000).step_by(16).filter(|&a| b.readq(a) == u64::from_le_bytes(*b"RSD PTR ")).collect();
        assert_eq!(rsdp.len(), 1);
        assert_eq!(b.readw(0x413), 639);
        b.writel(0x20_0020, 0);
        b.writel(rsdp[0], 0);
        b.reset();
        assert_eq!(b.inl(0x608), u32::MAX, "the ports are gone until the next boot");
    }
}

#[test]
fn isapc_is_the_isa_half() {
    let image: Vec<u8> = (0..128 << 10).map(|n| !(n >> 8) as u8).collect();
    let firmware = Some((image, "bios.bin".into()));
    let topology = gearbox_core::x86::topology::Topology::default();
    let (mut b, w) = build("isapc", &MachineConfig { firmware, vga: true, topology, ..MachineConfig::default() });
    assert_eq!((machine("isapc").max_cpus(), config(&mut b, 0, 0, 0)), (1, u32::MAX));
    // The timer reaches the 8259A, and there is no other controller.
    for (port, v) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x34), (0x40, 100)] {
        b.outb(port, v);
    }
    b.outb(0x40, 0);
    b.clock_step_ns(1_000_000);
    assert!(b.level(w.intr.unwrap()));
    assert_eq!((b.ack_interrupt(), b.readl(0xfec0_0000), b.messages().len()), (Some(0x20), u32::MAX, 0));
    // Both channels are there, and empty; so is the video memory.
    assert_eq!([0x1f7, 0x177, 0x3f6, 0x376].map(|port| b.inb(port)), [0; 4]);
    b.writel(0xe000_0000, 0x5a5a_5a5a);
    assert_eq!((b.readl(0xe000_0000), cmos(&mut b, 0x14)), (0x5a5a_5a5a, 6));
    // Firmware writes to its own image, which comes back with a reset; so it does to the space before it.
    assert_eq!((b.readw(0xf_fffe), b.readw(0xe_0100), b.readw(0xffff_fffe)), (0, 0xfefe, 0));
    b.writew(0xf_fffe, 0x1234);
    b.writew(0xc_0000, 0xaa55);
    assert_eq!((b.readw(0xffff_fffe), b.readw(0xc_0000)), (0x1234, 0xaa55));
    b.reset();
    assert_eq!((b.readw(0xf_fffe), b.readw(0xc_0000)), (0, 0xaa55));
    // A20 has both of its gates.
    b.writeb(0x10_0000, 1);
    b.writeb(0, 2);
    b.outb(0x64, 0xdd);
    assert_eq!(b.readb(0x10_0000), 2);
    b.outb(0x92, 2);
    assert_eq!(b.readb(0x10_0000), 1);
}

#[test]
fn isapc_has_no_place_for_pci() {
    let device = |name: &str| DeviceArg { type_name: name.into(), properties: Vec::new() };
    let error = |c: &MachineConfig| try_build("isapc", c).err().unwrap().to_string();
    for name in ["virtio-rng-pci", "VGA"] {
        let with = MachineConfig { devices: vec![device(name)], ..MachineConfig::default() };
        assert_eq!(error(&with), format!("-device {name}: No 'PCI' bus found for device '{name}'"));
    }
    let properties = vec![("hpet".into(), "off".into())];
    let with = MachineConfig { properties, acpi_tables: vec![vec![0; 36]], ..MachineConfig::default() };
    assert_eq!(
        error(&with),
        "-machine hpet=off: the machine has no such property; -acpitable : the machine has no ACPI"
    );
    // Another channel has another bus.
    let properties = [("iobase", "0x1e8"), ("iobase2", "0x3ee"), ("irq", "11")];
    let properties = properties.map(|(k, v)| (k.to_owned(), v.into())).to_vec();
    let ide = DeviceArg { type_name: "isa-ide".into(), properties };
    let (b, _) = build("isapc", &MachineConfig { devices: vec![ide], ..MachineConfig::default() });
    assert_eq!((b.inb(0x1ef), b.with(|s| s.buses().last().unwrap().name.clone())), (0, "ide.2".to_owned()));
}

#[test]
fn isapc_boots_a_kernel_without_firmware() {
    let (b, w) = build("isapc", &MachineConfig { kernel: Some(kernel()), ..MachineConfig::default() });
    let mut state = X86State::reset(true, 0x400);
    w.boot.unwrap().enter(b.board(), &mut state).unwrap();
    assert_eq!((state.rip, b.readl(0x20_0020), b.readw(0x413)), (0x20_0020, u32::from_le_bytes(*b"code"), 639));
    assert!((0xf_0000..0x10_0000).step_by(16).all(|a| b.readq(a) != u64::from_le_bytes(*b"RSD PTR ")));
}

fn read(b: &mut Bench, bus: u32, slot: u32, register: u32) -> u32 {
    config(b, bus << 5 | slot, 0, register)
}

#[test]
fn direct_boot_sets_bridges_up() {
    let device = |name: &str, text: &str| DeviceArg {
        type_name: name.into(),
        properties: text.split(',').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), v.into())).collect(),
    };
    let devices = vec![
        device("pci-bridge", "id=b1,chassis_nr=1,addr=5"),
        device("pci-bridge", "id=b2,chassis_nr=2,bus=b1,addr=6"),
        device("pci-bridge", "id=b3,chassis_nr=3,addr=7"),
        device("pci-bridge", "id=b4,chassis_nr=4,addr=8,bus-reserve=0"),
        device("pci-serial", "bus=b2,addr=3"),
        device("pci-serial", "bus=b1,addr=8"),
        device("virtio-rng-pci", "bus=b2,addr=4"),
    ];
    let (mut b, w) = build("pc", &MachineConfig { kernel: Some(kernel()), devices, ..MachineConfig::default() });
    let boot = w.boot.unwrap();
    for _ in 0..2 {
        boot.enter(b.board(), &mut X86State::reset(true, 0x663)).unwrap();
        assert_eq!(
            [(0, 5), (1, 6), (0, 7), (0, 8)].map(|(bus, slot)| read(&mut b, bus, slot, 0x18)),
            [0x2_0100, 0x2_0201, 0x3_0300, 0x4_0400]
        );
        // Nothing is behind the last two: one has room for what comes, and one says that it needs none.
        let (ports, memory) = (read(&mut b, 0, 7, 0x1c) & 0xffff, read(&mut b, 0, 7, 0x20));
        assert_eq!((ports & 0xff, memory & 0xffff), (ports >> 8, memory >> 16));
        assert_eq!((read(&mut b, 0, 8, 0x1c) & 0xffff, read(&mut b, 0, 8, 0x20)), (0x00f0, 0x0000_fff0));
        for (bus, slot) in [(2, 3), (1, 8)] {
            let (port, line) = (read(&mut b, bus, slot, 0x10) & !1, read(&mut b, bus, slot, 0x3c) & 0xff);
            assert!((0x1000..0xa000).contains(&port) && [10, 11].contains(&line), "{port:#x} {line}");
            let scratch = port as u16 + 7;
            b.outb(scratch, 0x42);
            assert_eq!(b.inb(scratch), 0x42);
        }
    }
}

#[test]
fn parallel_ports_are_on_the_board() {
    use gearbox_core::backend::chardev::{Chardev, Null};
    let port = || Some(Chardev::named("lp", Arc::new(Null)));
    let with = |parallels| MachineConfig { parallels, ..MachineConfig::default() };
    for name in ["pc", "isapc"] {
        let (b, _) = build(name, &with(vec![port(), None, port()]));
        assert_eq!([0x379, 0x279, 0x3bd].map(|status| b.inb(status)), [0xd8, 0xff, 0xd8], "{name}");
        let (b, _) = build(name, &MachineConfig::default());
        assert_eq!(b.inb(0x379), 0xff, "{name}");
        let many = try_build(name, &with((0..4).map(|_| port()).collect())).err().expect("three at most");
        assert_eq!(many.to_string(), "-parallel 4: the machine has 3 parallel ports");
    }
    // Power management says that it is there, so that the tables of firmware do.
    let there = |parallels| config(&mut build("pc", &with(parallels)).0, 1, 3, 0x5c) & 0x8000_0000;
    assert_eq!((there(vec![port()]), there(vec![])), (0x8000_0000, 0));
}
