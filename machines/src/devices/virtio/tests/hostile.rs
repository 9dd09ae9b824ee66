//! Drivers that make mistakes, by accident or not.

use super::driver::{Driver, INDIRECT, MODERN, Mode, NEXT, PORTS, WRITE};
use super::{Disk, MODES, RAM, disk, disk_as, pattern};
use crate::devices::virtio::Generic;

const FEATURES: u64 = 0xff_ffff | 1 << 28 | 1 << 29;
const NEEDS_RESET: u8 = 0x40;

/// The device has given up, and works again after a reset.
fn gave_up(disk: &mut Disk, what: &str) {
    disk.blocks.drain();
    assert_eq!(disk.d.used(0), [], "{what}");
    if disk.d.mode == Mode::Modern {
        assert_eq!(disk.d.status() & NEEDS_RESET, NEEDS_RESET, "{what}");
        assert_eq!(disk.d.isr(), 3, "{what}");
    }
    // It does nothing more, whatever comes.
    let good = good_request(&mut disk.d);
    disk.d.offer(0, good);
    disk.d.notify(0);
    disk.blocks.drain();
    assert_eq!(disk.d.used(0), [], "{what}");
    works(disk, what);
}
fn good_request(d: &mut Driver) -> u16 {
    let (header, data) = (d.memory(16), d.memory(513));
    d.b.write(header, &[0; 16]);
    d.chain(0, &[(header, 16, false), (data, 513, true)])
}
fn works(disk: &mut Disk, what: &str) {
    disk.d.start(FEATURES, 1, 16);
    let good = good_request(&mut disk.d);
    disk.d.offer(0, good);
    disk.d.notify(0);
    assert_eq!(disk.d.wait(0, 1), [(good.into(), 513)], "{what}");
    disk.blocks.drain();
}

/// Tries what `lay_out` puts there, and says is to be made available.
fn mistake(what: &str, lay_out: impl Fn(&mut Driver) -> u16) {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(FEATURES, 1, 16);
        let head = lay_out(&mut disk.d);
        disk.d.offer(0, head);
        disk.d.notify(0);
        gave_up(&mut disk, what);
    }
}

#[test]
fn chains_that_make_no_sense() {
    mistake("no such descriptor", |_| 999);
    mistake("nothing to read", |d| d.chain(0, &[(0x30_0000, 513, true)]));
    mistake("nothing to write", |d| d.chain(0, &[(0x30_0000, 16, false)]));
    mistake("a short header", |d| d.chain(0, &[(0x30_0000, 15, false), (0x30_1000, 1, true)]));
    mistake("no bytes", |d| d.chain(0, &[(0x30_0000, 16, false), (0x30_1000, 0, true)]));
    mistake("write before read", |d| d.chain(0, &[(0x30_1000, 1, true), (0x30_0000, 16, false)]));
    for at in [RAM, RAM - 8, 1 << 40, u64::MAX - 3, MODERN] {
        mistake("no RAM to read", |d| d.chain(0, &[(at, 16, false), (0x30_1000, 1, true)]));
        mistake("no RAM to write", |d| d.chain(0, &[(0x30_0000, 16, false), (at, 513, true)]));
    }
    mistake("4 GiB", |d| d.chain(0, &[(0, u32::MAX, false), (0, u32::MAX, true)]));
    mistake("a loop", |d| {
        let table = d.rings[0].descriptors;
        d.describe(table, 0, 0x30_0000, 16, NEXT, 1);
        d.describe(table, 1, 0x30_1000, 16, NEXT, 0);
        0
    });
    mistake("one that follows itself", |d| {
        let table = d.rings[0].descriptors;
        d.describe(table, 3, 0x30_0000, 16, NEXT, 3);
        3
    });
    mistake("the next one is not there", |d| {
        let table = d.rings[0].descriptors;
        d.describe(table, 0, 0x30_0000, 16, NEXT, 0x7fff);
        0
    });
}

#[test]
fn indirect_tables_that_make_no_sense() {
    let table = |d: &Driver| d.rings[0].descriptors;
    for (at, len, what) in [
        (0x30_0000, 0, "no table"),
        (0x30_0000, 17, "a table of one and a bit"),
        (RAM, 32, "a table in no RAM"),
        (u64::MAX - 15, 32, "a table over the end"),
        (0x30_0000, 0x20_0000, "a table of too many"),
    ] {
        mistake(what, |d| {
            d.describe(table(d), 0, at, len, INDIRECT, 0);
            0
        });
    }
    mistake("a table in a table", |d| {
        d.describe(table(d), 0, 0x30_0000, 32, INDIRECT, 0);
        d.describe(0x30_0000, 0, 0x30_0000, 32, INDIRECT, 0);
        0
    });
    mistake("a loop in a table", |d| {
        d.describe(table(d), 0, 0x30_0000, 0xf_fff0, INDIRECT, 0);
        d.describe(0x30_0000, 0, 0x40_0000, 16, NEXT, 1);
        d.describe(0x30_0000, 1, 0x40_0000, 16, NEXT, 0);
        0
    });
    // And one that does.
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(FEATURES, 1, 16);
        let d = &mut disk.d;
        d.b.write(0x40_0000, &[0; 16]);
        d.describe(table(d), 5, 0x30_0000, 48, INDIRECT, 0);
        d.describe(0x30_0000, 0, 0x40_0000, 16, NEXT, 2);
        d.describe(0x30_0000, 2, 0x40_1000, 512, NEXT | WRITE, 1);
        d.describe(0x30_0000, 1, 0x40_2000, 1, WRITE, 0);
        d.offer(0, 5);
        d.notify(0);
        assert_eq!(d.wait(0, 1), [(5, 513)]);
        assert_eq!(d.read(0x40_1000, 512), pattern(512));
    }
}

#[test]
fn rings_that_make_no_sense() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(FEATURES, 1, 16);
        let at = disk.d.rings[0].available + 2;
        let most = disk.d.rings[0].size;
        disk.d.b.writew(at, most + 1);
        disk.d.notify(0);
        gave_up(&mut disk, "more than there is room for");
        // Queues that are not there.
        for queue in [1, 1023] {
            disk.d.notify(queue);
        }
        works(&mut disk, "notifications of no queue");
        if mode == Mode::Modern {
            for (field, value) in [(0x20, RAM), (0x28, RAM - 8), (0x30, !0xf), (0x20, 8), (0x28, 0)] {
                disk.d.start(FEATURES, 0, 16);
                for f in [0x20, 0x28, 0x30] {
                    disk.d.b.writeq(MODERN + f, if f == field { value } else { 0x10_0000 + f * 0x1000 });
                }
                disk.d.b.writew(MODERN + 0x1c, 1);
                assert_eq!(disk.d.status() & NEEDS_RESET, NEEDS_RESET, "{field:#x} {value:#x}");
                assert_eq!(disk.d.b.readw(MODERN + 0x1c), 0);
            }
        } else {
            disk.d.start(FEATURES, 0, 0);
            disk.d.b.outl(PORTS + 8, u32::MAX);
            disk.d.notify(0);
        }
        works(&mut disk, "rings in no RAM");
    }
}

/// The same answer always: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// An address that is most often good.
    fn address(&mut self) -> u64 {
        match self.below(20) {
            0 => self.next(),
            1 => RAM - self.below(64),
            2 => MODERN + self.below(0x4000),
            _ => 0x30_0000 + self.below(0x1_0000),
        }
    }
    fn length(&mut self) -> u32 {
        match self.below(16) {
            0 => self.next() as u32,
            1 => 0,
            2 => 1,
            3 => 16,
            n => (n * 512) as u32 & 0xfff,
        }
    }
}

/// Rings of random descriptors, with tables, loops and registers written in between. The device survives, has no more requests than the queues have room
/// for, and works after a reset.
#[test]
fn rings_of_random_descriptors() {
    for (mode, seed) in MODES.into_iter().flat_map(|m| (1..5u64).map(move |seed| (m, seed))) {
        let mut r = Random(seed);
        let mut disk = disk_as::<Generic>(mode, &pattern(64 << 10), |o| o, |s| s.kind.num_queues = 2);
        for _ in 0..60 {
            disk.d.start(FEATURES, 2, 16);
            for _ in 0..12 {
                let queue = r.below(2) as usize;
                let ring = disk.d.rings[queue];
                for n in 0..8 {
                    let flags =
                        (r.below(4) | if r.one_in(6) { 4 } else { 0 } | if r.one_in(50) { r.next() } else { 0 }) as u16;
                    let next = if r.one_in(20) { r.next() as u16 } else { r.below(8) as u16 };
                    let (addr, len) = (r.address(), r.length());
                    disk.d.describe(ring.descriptors, n, addr, len, flags, next);
                    // Half of the places where tables and headers may be.
                    let table = 0x30_0000 + r.below(64) * 16;
                    let (addr, len, flags) = (r.address(), r.length(), r.below(8) as u16);
                    disk.d.describe(table, n, addr, len, flags, r.below(8) as u16);
                    disk.d.b.writel(0x30_0000 + r.below(0x1000) * 16, r.below(16) as u32);
                }
                for _ in 0..r.below(4) {
                    let head = if r.one_in(20) { r.next() as u16 } else { r.below(8) as u16 };
                    disk.d.offer(queue, head);
                }
                if r.one_in(20) {
                    disk.d.b.writew(ring.available + 2, r.next() as u16);
                }
                if r.one_in(10) {
                    match mode {
                        Mode::Legacy => disk.d.b.outb(PORTS + r.below(0x30) as u16, r.next() as u8),
                        Mode::Modern => disk.d.b.writel(MODERN + r.below(0x1000) * 4, r.next() as u32),
                    }
                }
                disk.d.notify(r.below(3) as usize);
                assert!(disk.backend.in_flight() <= 2 * 1024);
            }
            disk.blocks.drain();
        }
        works(&mut disk, "after all that");
    }
}
