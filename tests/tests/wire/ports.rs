//! Registers after power-on, by their ports and addresses.

use super::reading::Readings;
use gearbox::testing::{Cmos, FwCfg, Io};

/// Every byte port of the ISA bus and of the chipset, sixteen at a time: what is there at all.
pub fn survey(m: &mut dyn Io, r: &mut Readings) {
    for first in (0..0x1000u16).chain(0xae00..0xb100).step_by(16) {
        let bytes: Vec<u8> = (first..first + 16).map(|port| m.inb(port)).collect();
        r.bytes(format!("ports {first:04x}"), &bytes);
    }
}

/// The 8259A pair: requests, interrupts in service, masks, edge or level.
pub fn pic(m: &mut dyn Io, r: &mut Readings) {
    const READ_IRR: u8 = 0x0a;
    const READ_ISR: u8 = 0x0b;
    for (name, command, elcr) in [("master", 0x20, 0x4d0), ("slave", 0xa0, 0x4d1)] {
        m.outb(command, READ_IRR);
        r.number(format!("pic {name} IRR"), m.inb(command));
        m.outb(command, READ_ISR);
        r.number(format!("pic {name} ISR"), m.inb(command));
        r.number(format!("pic {name} IMR"), m.inb(command + 1));
        r.number(format!("pic {name} ELCR"), m.inb(elcr));
    }
}

/// The 8254: status and count of each counter, by the read-back command.
pub fn pit(m: &mut dyn Io, r: &mut Readings) {
    for counter in 0..3u8 {
        let port = 0x40 + u16::from(counter);
        m.outb(0x43, 0xc0 | 2 << counter);
        r.number(format!("pit {counter} status"), m.inb(port));
        r.number(format!("pit {counter} count low"), m.inb(port));
        r.number(format!("pit {counter} count high"), m.inb(port));
    }
    r.number("pit port 61h", m.inb(0x61));
}

/// The MC146818 with its CMOS RAM.
pub fn cmos(m: &mut dyn Io, r: &mut Readings) {
    let mut cmos = Cmos::of(m);
    (0..0x80).for_each(|index| r.number(format!("cmos {index:02x}"), cmos.byte(index)));
    r.number("cmos index port", m.inb(0x70));
}

/// The I/O APIC.
pub fn ioapic(m: &mut dyn Io, r: &mut Readings) {
    const SELECT: u64 = 0xfec0_0000;
    const WINDOW: u64 = SELECT + 0x10;
    for register in (0..3).chain(0x10..0x40) {
        m.writel(SELECT, register);
        r.number(format!("ioapic {register:02x}"), m.readl(WINDOW));
    }
}

/// The 8042: status, command byte, self-tests, output port.
pub fn i8042(m: &mut dyn Io, r: &mut Readings) {
    let mut ask = |command: u8| {
        m.outb(0x64, command);
        let status = m.inb(0x64);
        let data = m.inb(0x60);
        (status, data, m.inb(0x64))
    };
    for (name, command) in [
        ("command byte", 0x20),
        ("self-test", 0xaa),
        ("interface test", 0xab),
        ("output port", 0xd0),
        ("input port", 0xc0),
    ] {
        r.note(format!("i8042 {name}"), format!("{:02x?}", ask(command)));
    }
}

/// The 16550As.
pub fn uart(m: &mut dyn Io, r: &mut Readings) {
    for (name, base) in [("COM1", 0x3f8), ("COM2", 0x2f8), ("COM3", 0x3e8)] {
        (0..8).for_each(|register| r.number(format!("uart {name} {register}"), m.inb(base + register)));
        m.outb(base + 3, 0x80);
        r.number(format!("uart {name} divisor"), u16::from_le_bytes([m.inb(base), m.inb(base + 1)]));
        m.outb(base + 3, 0);
    }
}

/// Items of the firmware configuration device that are no files.
pub fn fw_cfg_items(m: &mut dyn Io, r: &mut Readings) {
    let mut items = FwCfg::of(m);
    for key in (0..0x19).chain(0x8000..0x8005) {
        r.bytes(format!("fw_cfg item {key:04x}"), &items.item(key, 24));
    }
}

/// The firmware configuration device: items and files.
pub fn fw_cfg(m: &mut dyn Io, r: &mut Readings) {
    fw_cfg_items(m, r);
    let mut items = FwCfg::of(m);
    for file in items.files() {
        let contents = items.item(file.key, file.size as usize);
        r.bytes(format!("fw_cfg file {}", file.name), &contents);
    }
    r.number("fw_cfg DMA signature high", m.inl(0x514));
    r.number("fw_cfg DMA signature low", m.inl(0x518));
}

/// RAM and reserved ranges as firmware is told of them: twenty bytes each, with start, length and kind.
pub fn memory_map(m: &mut dyn Io, r: &mut Readings) {
    let map = FwCfg::of(m).file("etc/e820").expect("a memory map");
    for entry in map.chunks_exact(20) {
        let (ends, kind) = entry.split_at(16);
        let [start, length] =
            [&ends[..8], &ends[8..]].map(|b| b.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte)));
        let name =
            if kind[0] == 1 { format!("e820 RAM at {start:#x}") } else { format!("e820 reserved at {start:#x}") };
        r.number(name, length);
    }
}

/// System control ports.
pub fn system(m: &mut dyn Io, r: &mut Readings) {
    for (name, port) in [("A (92h)", 0x92), ("B (61h)", 0x61), ("reset control (CF9h)", 0xcf9)] {
        r.number(format!("system {name}"), m.inb(port));
    }
    r.number("system configuration address", m.inl(0xcf8));
}
