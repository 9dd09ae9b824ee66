//! Media of any size and content in the drives of the board, and what a guest could ask of those: commands with parameters that are right, nearly right or
//! nothing of the kind, with and without DMA.

use super::Target;
use super::board::{RAM, Script};
use crate::random::Random;

/// Floppies: 82078.
pub struct Floppy;
/// CD-ROMs: ATAPI.
pub struct Iso;
/// Disks: ATA.
pub struct Disk;

const STEPS: usize = 60;
/// Where the bus master has its registers.
const BUS_MASTER: u64 = 0xc000;
/// Where it has its table, and where data go.
const TABLE: u64 = 0x1000;

/// Commands of the controller: code and how many parameters follow (82078 datasheet, table 5-1).
const FLOPPY_COMMANDS: &[(u8, u8)] = &[
    (0x02, 8),
    (0x03, 2),
    (0x04, 1),
    (0x05, 8),
    (0x06, 8),
    (0x07, 1),
    (0x08, 0),
    (0x09, 8),
    (0x0a, 1),
    (0x0c, 8),
    (0x0d, 5),
    (0x0e, 0),
    (0x0f, 2),
    (0x10, 0),
    (0x11, 8),
    (0x12, 1),
    (0x13, 3),
    (0x14, 0),
    (0x16, 8),
    (0x17, 2),
    (0x18, 0),
    (0x19, 8),
    (0x1d, 8),
    (0x2c, 0),
    (0x2e, 0),
    (0x33, 1),
    (0x4e, 16),
    (0x8e, 6),
    (0x8f, 2),
    (0xcd, 11),
    (0xcf, 2),
];

/// Sizes of floppies in KiB.
const FLOPPIES: &[u64] = &[160, 180, 320, 360, 720, 1200, 1440, 2880];

/// A size like one of a medium.
fn size(r: &mut Random, sound: &[u64]) -> u64 {
    match r.below(6) {
        0 => r.below(4096),
        1 => r.below(8 << 20),
        2 => r.pick(sound) * 1024 + r.below(1025) - 512,
        _ => r.pick(sound) * 1024,
    }
}

/// Sets a channel of the 8237s up.
fn isa_dma(s: &mut Script, r: &mut Random) {
    let at = r.below(0x1_0000);
    s.out('b', 0x0a, 6);
    s.out('b', 0x0c, 0);
    s.out('b', 0x0b, *r.pick(&[0x46, 0x4a, 0x46, 0x4a, 0x42, 0x56, 0x5a, 0x66, 0x6a, 0x86]));
    for byte in [at, at >> 8] {
        s.out('b', 0x04, byte & 0xff);
    }
    for _ in 0..2 {
        s.out('b', 0x05, r.below(256));
    }
    s.out('b', 0x81, r.below(256));
    s.out('b', 0x0a, *r.pick(&[2, 2, 2, 6]));
}

impl Target for Floppy {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        for name in ["a", "b"].into_iter().take(1 + r.index(2)) {
            let size = size(r, FLOPPIES);
            s.file(name, size, &r.number().to_le_bytes());
            s.word("-drive");
            let more = r.pick(&["", ",format=raw", ",format=raw", ",format=raw,readonly=on", ",format=qcow2"]);
            s.word(&format!("if=floppy,file=@{name}@{more}"));
        }
        // Out of reset, with the motors on; the interrupts of that are sensed; a recalibration.
        for (port, value) in [(0x3f2, 0x3c), (0x3f5, 8), (0x3f5, 7), (0x3f5, 0)] {
            s.out('b', port, value);
            s.step("clock_step 10000000");
            (0..2).for_each(|_| s.step("inb 0x3f5"));
        }
        for _ in 0..STEPS {
            match r.below(12) {
                0 if r.one_in(3) => s.out('b', 0x3f2, *r.pick(&[0x1c, 0x1d, 0x2d, 0x0c, 0x08, 0x14, 0])),
                1 => s.out('b', *r.pick(&[0x3f3, 0x3f4, 0x3f7]), r.below(256)),
                2 => s.pass(r),
                3 => isa_dma(&mut s, r),
                4 if r.one_in(10) => s.step("!reset"),
                _ => {
                    let &(code, parameters) = r.pick(FLOPPY_COMMANDS);
                    // Multiple tracks, MFM, skip.
                    let options =
                        if code < 0x20 && r.one_in(2) { r.below(8) << 5 } else { 0x40 & u64::from(code) << 5 };
                    if r.one_in(2) {
                        isa_dma(&mut s, r);
                    }
                    s.out('b', 0x3f5, u64::from(code) | options);
                    let given = if r.one_in(10) { r.below(18) as u8 } else { parameters };
                    for n in 0..given {
                        let sound =
                            [r.below(2) | r.below(2) << 2, r.below(40), r.below(2), 1 + r.below(9), 2, 9, 0x1b, 0xff];
                        let value = if r.one_in(16) { r.below(256) } else { sound[usize::from(n) % 8] };
                        s.out('b', 0x3f5, value);
                    }
                    s.step("!settle");
                    s.pass(r);
                    for _ in 0..r.below(12) {
                        let port = r.pick(&["0x3f4", "0x3f5", "0x3f5", "0x3f5"]);
                        s.step(format!("inb {port}"));
                    }
                    if r.one_in(4) {
                        (0..r.below(20)).for_each(|_| s.out('b', 0x3f5, r.below(256)));
                    }
                }
            }
        }
        s.0
    }
}

/// Maps the bus master of the PIIX3.
fn map_bus_master(s: &mut Script) {
    s.config(1, 1, 0x20, BUS_MASTER | 1);
    s.config(1, 1, 4, 5);
}

/// Writes a table of regions and starts the bus master of a channel.
fn bus_master(s: &mut Script, r: &mut Random, channel: u64) {
    let regions = 1 + r.below(4);
    for n in 0..regions {
        let at = match r.below(8) {
            0 => r.interesting() & 0xffff_ffff,
            1 => RAM - r.below(0x1000),
            _ => r.below(RAM),
        };
        s.store('l', TABLE + 8 * n, at);
        let last = if n + 1 == regions && !r.one_in(16) { 1 << 31 } else { 0 };
        s.store('l', TABLE + 8 * n + 4, last | *r.pick(&[0, 0x800, 0x1000, 0x200, 3, 0xfffe]));
    }
    let base = (BUS_MASTER + 8 * channel) as u16;
    let table = if r.one_in(16) { r.interesting() } else { TABLE };
    s.out('l', base + 4, table & 0xffff_ffff);
    s.out('b', base + 2, 6);
    s.out('b', base, *r.pick(&[1, 9, 9, 1, 8, 0]));
}

/// First port and control port of a channel.
fn ports(channel: u64) -> (u16, u16) {
    if channel == 0 { (0x1f0, 0x3f6) } else { (0x170, 0x376) }
}

/// Moves some data through the data register.
fn data(s: &mut Script, r: &mut Random, base: u16) {
    let width = *r.pick(&['w', 'w', 'l', 'b']);
    let write = r.one_in(3);
    for _ in 0..r.below(40) {
        match write {
            true => s.out(width, base, r.number() & 0xffff),
            false => s.step(format!("in{width} {base:#x}")),
        }
    }
}

/// What both kinds of drive can be asked beside their commands.
fn between(s: &mut Script, r: &mut Random, channel: u64) {
    let (base, control) = ports(channel);
    match r.below(6) {
        0 => s.out('b', base + r.below(8) as u16, r.below(256)),
        1 => s.step(format!("inb {:#x}", base + r.below(8) as u16)),
        2 => s.out('b', control, *r.pick(&[0, 2, 4, 6, 0x80])),
        3 => s.step(format!("in{} {:#x}", r.pick(&['b', 'l']), BUS_MASTER + r.below(16))),
        4 => s.pass(r),
        _ if r.one_in(6) => {
            s.step("!reset");
            map_bus_master(s);
        }
        _ => s.step("!settle"),
    }
}

impl Target for Iso {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        let size = size(r, &[2, 64, 700, 4096, 1 << 20, 16 << 20]);
        s.file("cd", size, &r.number().to_le_bytes());
        s.word("-drive");
        s.word(&format!(
            "if=ide,index=2,media=cdrom,file=@cd@{}",
            r.pick(&["", ",format=raw", ",format=raw", ",format=qcow2"])
        ));
        map_bus_master(&mut s);
        let (base, _) = ports(1);
        for _ in 0..STEPS {
            if r.one_in(3) {
                between(&mut s, r, 1);
                continue;
            }
            if r.one_in(2) {
                bus_master(&mut s, r, 1);
            }
            s.out('b', base + 6, 0xa0);
            s.out('b', base + 1, r.below(4));
            let limit = *r.pick(&[0, 1, 2, 8, 12, 2048, 0xfffe, 0xffff]);
            s.out('b', base + 4, limit & 0xff);
            s.out('b', base + 5, limit >> 8);
            s.out('b', base + 7, 0xa0);
            let code = match r.one_in(8) {
                true => r.below(256),
                // Those of MMC-6 and SPC-3.
                false => *r.pick(&[
                    0, 3, 0x12, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x28, 0xa8, 0xa8, 0x2b, 0x42, 0x43, 0x43, 0x46, 0x4a,
                    0x51, 0x52, 0x5a, 0x5a, 0xad, 0xbd, 0xbe, 0xbe,
                ]),
            };
            let mut packet = [0; 12];
            packet.iter_mut().for_each(|b| *b = if r.one_in(2) { 0 } else { r.interesting() as u8 });
            packet[0] = code as u8;
            if r.one_in(2) {
                // Sectors that there are, or the last ones and some more.
                let lba = r.below(size / 2048 + 2) as u32;
                packet[2..6].copy_from_slice(&lba.to_be_bytes());
                packet[6..].copy_from_slice(if code == 0xa8 { &[0, 0, 0, 2, 0, 0] } else { &[0, 0, 1, 0, 0, 0] });
            }
            for pair in packet.chunks(2) {
                s.out('w', base, u64::from(pair[1]) << 8 | u64::from(pair[0]));
            }
            s.step("!settle");
            data(&mut s, r, base);
        }
        s.0
    }
}

impl Target for Disk {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        let size = size(r, &[1, 504, 4096, 1 << 20, 129 << 20]);
        s.file("disk", size, &r.number().to_le_bytes());
        s.word("-drive");
        let more = r.pick(&["", ",format=raw", ",format=raw,discard=unmap", ",format=raw,snapshot=on"]);
        s.word(&format!("if=ide,file=@disk@{more}"));
        map_bus_master(&mut s);
        let (base, _) = ports(0);
        for _ in 0..STEPS {
            if r.one_in(3) {
                between(&mut s, r, 0);
                continue;
            }
            if r.one_in(2) {
                bus_master(&mut s, r, 0);
            }
            s.out('b', base + 6, *r.pick(&[0xe0, 0xe0, 0xe0, 0x40, 0x40, 0xa0, 0xb0, 0xef]));
            match r.one_in(4) {
                true => {
                    for n in 1..6 {
                        for _ in 0..1 + r.below(2) {
                            s.out('b', base + n, *r.pick(&[0, 0, 1, 2, 0x4f, 0xc2, 0xff, 0x80]));
                        }
                    }
                }
                // Sectors that there are, or the last ones and some more, by both kinds of address.
                false => {
                    let [lba, count] = [r.below(size / 512 + 2), *r.pick(&[1, 1, 2, 8, 0, 200])];
                    let at = |shift: u64| lba >> shift & 0xff;
                    for (n, high, low) in [(2, 0, count), (3, at(24), at(0)), (4, at(32), at(8)), (5, at(40), at(16))] {
                        s.out('b', base + n, high);
                        s.out('b', base + n, low);
                    }
                }
            }
            let code = match r.one_in(8) {
                true => r.below(256),
                // Those of ATA/ATAPI-6.
                false => *r.pick(&[
                    0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x42, 0x06, 0x10, 0x27, 0x70, 0x90,
                    0x91, 0xb0, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe5, 0xe7, 0xea, 0xec, 0xef, 0xf8, 0xf9,
                    0xa0, 0xa1, 0x87, 0xe0,
                ]),
            };
            s.out('b', base + 7, code);
            s.step("!settle");
            data(&mut s, r, base);
        }
        s.0
    }
}
