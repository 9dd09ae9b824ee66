//! What all devices have, tried on disks.

use super::driver::{MODERN, MSIX, Mode, PORTS};
use super::{Disk, MODES, disk, disk_as, pattern};
use crate::devices::virtio::{Generic, NonTransitional, Transitional, VirtioPci};
use gearbox_core::pci::{command, reg};

const INDIRECT: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;

/// A read of sector 0, and what the driver is told by it.
fn read_one(disk: &mut Disk) {
    let d = &mut disk.d;
    let (header, data, status) = (d.memory(16), d.memory(512), d.memory(1));
    d.b.write(header, &[0; 16]);
    d.b.writeb(status, 0xff);
    assert_eq!(d.request(0, &[(header, 16, false), (data, 512, true), (status, 1, true)]), 513);
    assert_eq!((d.b.readb(status), d.read(data, 512)), (0, pattern(512)));
    disk.blocks.drain();
}

/// As QEMU 7.2 has it.
#[test]
fn configuration_space_is_qemus() {
    let expect = [
        (0x00, 0x1001_1af4u32),
        (0x08, 0x0100_0000),
        (0x2c, 0x0002_1af4),
        (0x34, 0x98),
        (0x3c, 0x100),
        (0x40, 0x0110_0009),
        (0x44, 4),
        (0x4c, 0x1000),
        (0x50, 0x0310_4009),
        (0x54, 4),
        (0x58, 0x1000),
        (0x5c, 0x1000),
        (0x60, 0x0410_5009),
        (0x64, 4),
        (0x68, 0x2000),
        (0x6c, 0x1000),
        (0x70, 0x0214_6009),
        (0x74, 4),
        (0x78, 0x3000),
        (0x7c, 0x1000),
        (0x80, 4),
        (0x84, 0x0514_7009),
        (0x98, 0x0001_8411),
        (0x9c, 1),
        (0xa0, 0x801),
    ];
    let mut disk = disk(Mode::Legacy, &pattern(16 << 20));
    disk.d.set_config(reg::COMMAND, 2, 0);
    for bar in [0x10, 0x14, 0x20] {
        disk.d.set_config(bar, 4, 0);
    }
    for register in (0..=0xfc).step_by(4).filter(|r| ![4, 0x10, 0x14, 0x20].contains(r)) {
        let value = expect.iter().find(|(r, _)| *r == register).map_or(0, |(_, v)| *v);
        assert_eq!(disk.d.config(register, 4), value, "{register:#x}");
    }
    for (register, value) in [(0x10, 0xffff_ff81), (0x14, 0xffff_f000), (0x20, 0xffff_c00c), (0x98, 0xc001_8411)] {
        disk.d.set_config(register, 4, u32::MAX);
        assert_eq!(disk.d.config(register, 4), value, "{register:#x}");
    }
    let modern = disk_as::<NonTransitional>(Mode::Modern, &[0; 512], |o| o, |_| {});
    assert_eq!([0, 8, 0x10, 0x2c].map(|r| modern.d.config(r, 4)), [0x1042_1af4, 0x0100_0001, 0, 0x1100_1af4]);
    let both = disk_as::<Transitional>(Mode::Modern, &[0; 512], |o| o, |_| {});
    assert_eq!([0, 8, 0x2c].map(|r| both.d.config(r, 4)), [0x1001_1af4, 0x0100_0000, 0x0002_1af4]);
}

#[test]
fn the_registers_of_either_kind_begin_as_qemus() {
    let disk = disk(Mode::Legacy, &pattern(16 << 20));
    let ports = [0, 4, 8, 12, 16, 20, 32].map(|at| disk.d.b.inl(PORTS + at));
    assert_eq!(ports, [0x7900_6e54, 0, 0, 0x100, u32::MAX, 0x8000, 0xfe]);
    let common = [0, 4, 8, 12, 16, 20, 24, 28, 32].map(|at| disk.d.b.readl(MODERN + at));
    assert_eq!(common, [0, 0x3000_6e54, 0, 0, 0xffff, 0, 0x100, 0, 0]);
    let all = [disk.d.b.readb(MODERN + 0x2038), disk.d.b.readb(MODERN + 0x2039), disk.d.b.readb(MODERN + 0x2800)];
    assert_eq!((disk.d.b.readw(MODERN + 0x12), all), (1, [1, 0xff, 0xff]));
    assert_eq!((disk.d.b.readl(MODERN + 0x3000), disk.d.b.readl(MODERN + 0x38)), (0, 0));
    assert_eq!([0, 12, 16, 28, 0x800].map(|at| disk.d.b.readl(MSIX + at)), [0, 1, 0, 1, 0]);
}

#[test]
fn a_device_serves_somebody() {
    let only = |legacy: bool, modern: bool| {
        disk_as::<Generic>(
            Mode::Modern,
            &[0; 512],
            |o| o,
            |spec: &mut VirtioPci<_, _>| {
                spec.disable_legacy = if legacy { super::super::pci::OnOffAuto::On } else { Default::default() };
                spec.disable_modern = modern;
            },
        )
    };
    assert_eq!(only(true, false).d.config(0, 4), 0x1042_1af4);
    let legacy = only(false, true);
    assert_eq!([0, 0x34, 0x20].map(|r| legacy.d.config(r, 4)), [0x1001_1af4, 0x98, 0]);
    assert!(std::panic::catch_unwind(|| only(true, true)).is_err(), "neither");
}

#[test]
fn pin_interrupts_tell_of_what_is_done() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(0, 1, 8);
        assert!(!disk.d.intx());
        read_one(&mut disk);
        assert!(disk.d.intx(), "{mode:?}");
        assert_eq!((disk.d.isr(), disk.d.intx(), disk.d.isr()), (1, false, 0));
        // VRING_AVAIL_F_NO_INTERRUPT
        let flags = disk.d.rings[0].available;
        disk.d.b.writew(flags, 1);
        read_one(&mut disk);
        assert_eq!((disk.d.intx(), disk.d.isr()), (false, 0));
    }
}

#[test]
fn messages_in_place_of_pin_interrupts() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(0, 1, 8);
        disk.d.enable_msix(2);
        assert_eq!(disk.d.set_queue_vector(0, 7), 0xffff, "there is no such vector");
        read_one(&mut disk);
        assert_eq!(disk.d.b.messages(), []);
        assert_eq!(disk.d.set_queue_vector(0, 1), 1);
        read_one(&mut disk);
        assert_eq!((disk.d.b.messages(), disk.d.intx()), (vec![(0xfee0_0000, 0x41)], false));
        // Masked: it comes later.
        disk.d.b.writel(MSIX + 28, 1);
        read_one(&mut disk);
        assert_eq!((disk.d.b.messages(), disk.d.b.readl(MSIX + 0x800)), (vec![], 2));
        disk.d.b.writel(MSIX + 28, 0);
        assert_eq!((disk.d.b.messages(), disk.d.b.readl(MSIX + 0x800)), (vec![(0xfee0_0000, 0x41)], 0));
        // To memory, as a write like others.
        disk.d.b.writel(MSIX + 16, 0x800);
        read_one(&mut disk);
        assert_eq!((disk.d.b.messages(), disk.d.b.readl(0x800)), (vec![], 0x41));
        if mode == Mode::Legacy {
            assert_eq!((disk.d.b.inl(PORTS + 0x18), disk.d.b.inw(PORTS + 0x14)), (8, 0xffff), "registers have moved");
        }
        disk.d.set_status(0);
        assert_eq!(disk.d.status(), 0);
        disk.d.b.reset();
        assert_eq!((disk.d.config(0x9a, 2), disk.d.config(reg::COMMAND, 2)), (1, 0));
    }
}

#[test]
fn the_event_index_says_when_to_tell() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(EVENT_IDX, 1, 8);
        let used_event = disk.d.rings[0].available + 4 + 2 * u64::from(disk.d.rings[0].size);
        let avail_event = disk.d.rings[0].used + 4 + 8 * u64::from(disk.d.rings[0].size);
        disk.d.b.writew(used_event, 1);
        read_one(&mut disk);
        assert_eq!((disk.d.isr(), disk.d.b.readw(avail_event)), (0, 1), "{mode:?}");
        read_one(&mut disk);
        assert_eq!((disk.d.isr(), disk.d.b.readw(avail_event)), (1, 2));
        read_one(&mut disk);
        assert_eq!(disk.d.isr(), 0);
    }
}

#[test]
fn features_are_negotiated() {
    let mut disk = disk_as::<NonTransitional>(Mode::Modern, &[0; 512], |o| o, |_| {});
    let d = &mut disk.d;
    let try_features = |d: &mut super::Driver, features: u64| {
        d.set_status(0);
        d.set_status(3);
        for n in 0..2 {
            d.b.writel(MODERN + 8, n);
            d.b.writel(MODERN + 12, (features >> (32 * n)) as u32);
        }
        d.set_status(11);
        d.status() & 8 != 0
    };
    assert!(!try_features(d, 0), "version 1 is needed");
    assert!(!try_features(d, 1 << 32 | 1 << 50), "not offered");
    assert!(try_features(d, 1 << 32 | INDIRECT));
    d.b.writel(MODERN + 12, 0);
    assert_eq!(d.b.readl(MODERN + 12), 1, "too late");
    d.set_status(0);
    let mut old = super::disk(Mode::Legacy, &[0; 512]);
    old.d.b.outl(PORTS + 4, u32::MAX);
    assert_eq!(old.d.b.inl(PORTS + 4), 0, "nobody looked");
    old.d.b.outl(PORTS + 4, 0x1200_0200);
    assert_eq!(old.d.b.inl(PORTS + 4), 0x1000_0200);
}

#[test]
fn the_window_in_configuration_space() {
    let mut disk = disk(Mode::Modern, &pattern(4096));
    let load = |disk: &mut Disk, at: u32, size: u8| {
        disk.d.set_config(0x88, 1, 4);
        disk.d.set_config(0x8c, 4, at);
        disk.d.set_config(0x90, 4, size.into());
        disk.d.config(0x94, size)
    };
    assert_eq!((load(&mut disk, 0x2000, 4), load(&mut disk, 0x18, 2), load(&mut disk, 4, 4)), (8, 0x100, 0x3000_6e54));
    disk.d.set_config(0x8c, 4, 0);
    disk.d.set_config(0x94, 4, 1);
    assert_eq!((load(&mut disk, 4, 4), disk.d.b.readl(MODERN)), (1, 1));
    // What changes is seen.
    assert_eq!(load(&mut disk, 0x14, 1), 0);
    disk.d.set_status(1);
    assert_eq!(disk.d.config(0x94, 1), 1);
    disk.d.start(0, 1, 8);
    read_one(&mut disk);
    assert_eq!((load(&mut disk, 0x1000, 1), disk.d.intx(), load(&mut disk, 0x1000, 1)), (1, false, 0));
    for (bar, at, size) in [(4, 0x3ffe, 4), (4, u32::MAX, 1), (0, 0, 4), (4, 0, 3), (4, 0, u32::MAX)] {
        disk.d.set_config(0x88, 1, bar);
        disk.d.set_config(0x8c, 4, at);
        disk.d.set_config(0x90, 4, size);
        disk.d.set_config(0x94, 4, u32::MAX);
        assert_eq!(disk.d.status(), 15);
    }
}

#[test]
fn bus_mastering_is_needed() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(0, 1, 8);
        disk.d.set_config(reg::COMMAND, 2, (command::IO | command::MEMORY).into());
        let (header, status) = (disk.d.memory(16), disk.d.memory(1));
        let head = disk.d.chain(0, &[(header, 16, false), (status, 1, true)]);
        disk.d.offer(0, head);
        disk.d.notify(0);
        disk.blocks.drain();
        assert_eq!(disk.d.used(0), []);
        disk.d.set_config(reg::COMMAND, 2, 7);
        disk.d.notify(0);
        assert_eq!(disk.d.wait(0, 1).len(), 1);
    }
    // Old drivers forget it.
    let mut disk = disk(Mode::Legacy, &[0; 512]);
    disk.d.set_config(reg::COMMAND, 2, 3);
    disk.d.set_status(3);
    assert_eq!(disk.d.config(reg::COMMAND, 2), 7);
}

#[test]
fn queues_are_given_back_at_reset() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        for _ in 0..3 {
            disk.d.start(0, 1, 16);
            read_one(&mut disk);
        }
        disk.d.set_status(0);
        match mode {
            Mode::Legacy => assert_eq!((disk.d.b.inl(PORTS + 8), disk.d.b.inw(PORTS + 12)), (0, 256)),
            Mode::Modern => {
                assert_eq!((disk.d.b.readw(MODERN + 0x1c), disk.d.b.readw(MODERN + 0x18)), (0, 256));
                // Sizes that cannot be are refused.
                for size in [0, 3, 512] {
                    disk.d.b.writew(MODERN + 0x18, size);
                    assert_eq!(disk.d.b.readw(MODERN + 0x18), 256);
                }
            }
        }
    }
    // A queue without an address resets the device.
    let mut disk = disk(Mode::Legacy, &pattern(4096));
    disk.d.start(0, 1, 8);
    disk.d.b.outl(PORTS + 8, 0);
    assert_eq!(disk.d.status(), 0);
}
