//! Virtqueues that a driver has filled with anything: descriptors that loop, that lie outside memory, that are far too long.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2, sections 2.7 and 4.1.

use super::Target;
use super::board::{RAM, Script};
use crate::random::Random;

/// The target.
pub struct Virtqueue;

const STEPS: usize = 80;
/// Where the registers of both kinds are mapped, and the vectors.
const LEGACY: u64 = 0xc000;
const MODERN: u64 = 0xe000_0000;
const MSIX: u64 = 0xfeb0_0000;
/// Where queues are, page by page.
const QUEUES: u64 = 0x1_0000;
/// Entries of a queue that is as it should be.
const SIZE: u64 = 16;
/// Where a driver of legacy registers has the rings of a queue.
const LEGACY_SIZES: [u64; 3] = [64, 128, 256];

/// A device with queues.
struct Kind {
    /// As `-device` takes it.
    device: &'static str,
    queues: u64,
    /// What it needs beside the disk: words of the command line.
    more: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { device: "virtio-blk-pci,drive=d", queues: 1, more: &[] },
    Kind { device: "virtio-blk-pci,drive=d,num-queues=4", queues: 4, more: &[] },
    Kind { device: "virtio-rng-pci", queues: 1, more: &[] },
    Kind { device: "virtio-balloon-pci", queues: 3, more: &[] },
    Kind {
        device: "virtio-serial-pci,max_ports=2",
        queues: 6,
        more: &["-chardev", "null,id=c", "-device", "virtconsole,chardev=c", "-device", "virtserialport"],
    },
];

/// An address that is in memory, mostly.
/// A step has a device write, if it reads from a disk, where the queues are: while it takes requests from them. What it finds is then a matter of time.
pub(super) fn may_overwrite_queues(step: &str) -> bool {
    let value =
        step.strip_prefix("writeq ").and_then(|s| s.split_once(" 0x")).map(|(_, value)| u64::from_str_radix(value, 16));
    value.is_some_and(|v| v.is_ok_and(|v| v < QUEUES + 0x4000))
}

fn address(r: &mut Random) -> u64 {
    match r.below(10) {
        0 => r.interesting(),
        1 => RAM - r.below(0x20),
        2 => QUEUES + r.below(0x4000),
        3 => MODERN + r.below(0x4000),
        _ => r.below(RAM),
    }
}

fn length(r: &mut Random) -> u64 {
    match r.below(8) {
        0 => r.interesting() & 0xffff_ffff,
        1 => 0,
        2 => r.below(64),
        _ => *r.pick(&[1, 16, 512, 4096, 0x1_0000, 20]),
    }
}

/// A descriptor.
fn describe(s: &mut Script, r: &mut Random, table: u64, n: u64, size: u64) {
    let at = table + 16 * n;
    let address = address(r);
    s.store('q', at, address);
    s.store('l', at + 8, length(r));
    let flags = if r.one_in(20) { r.below(0x1_0000) } else { *r.pick(&[0, 1, 1, 2, 3, 3, 4]) };
    s.store('w', at + 12, flags);
    s.store('w', at + 14, if r.one_in(10) { r.below(0x1_0000) } else { r.below(size) });
}

/// A chain like a request to a disk, from descriptor `first` on: a header, data, and a byte for the status.
fn request(s: &mut Script, r: &mut Random, table: u64, first: u64) {
    let header = r.below(RAM / 16) * 16;
    s.store('l', header, *r.pick(&[0, 0, 1, 1, 4, 8, 11, 13, 99]));
    s.store('q', header + 8, if r.one_in(8) { r.interesting() } else { r.below(2000) });
    let write = 2 * r.below(2);
    let data = *r.pick(&[512, 4096, 16, 20, 0x1_0000, 32]);
    for (n, (at, length, flags)) in
        [(header, 16, 1), (address(r), data, 1 | write), (address(r), 1, 2)].into_iter().enumerate()
    {
        let n = first + n as u64;
        let at_descriptor = table + 16 * (n % SIZE);
        s.store('q', at_descriptor, at);
        s.store('l', at_descriptor + 8, length);
        s.store('l', at_descriptor + 12, ((n + 1) % SIZE) << 16 | flags);
    }
}

/// The parts of a queue.
struct Rings {
    descriptors: u64,
    available: u64,
    used: u64,
    size: u64,
}

impl Rings {
    fn of(queue: u64, legacy: Option<u64>) -> Self {
        let at = QUEUES + queue * 0x4000;
        match legacy {
            None => Self { descriptors: at, available: at + 0x1000, used: at + 0x2000, size: SIZE },
            Some(size) => {
                let available = at + 16 * size;
                Self { descriptors: at, available, used: (available + 6 + 2 * size).next_multiple_of(4096), size }
            }
        }
    }
    /// Chains, and the index by which they are made available.
    fn fill(&self, s: &mut Script, r: &mut Random, added: &mut u64) {
        let first = r.below(SIZE);
        if !r.one_in(3) {
            request(s, r, self.descriptors, first);
        }
        for _ in 0..r.below(4) {
            let n = r.below(SIZE);
            describe(s, r, self.descriptors, n, self.size.min(SIZE));
        }
        for _ in 0..r.below(4) {
            let head = match r.below(10) {
                0 => r.below(0x1_0000),
                1..4 => r.below(SIZE),
                _ => first,
            };
            s.store('w', self.available + 4 + 2 * (*added % self.size), head);
            *added += 1;
        }
        let index = if r.one_in(16) { r.interesting() } else { *added };
        s.store('w', self.available, r.below(2));
        s.store('w', self.available + 2, index & 0xffff);
        if r.one_in(4) {
            // From where on the driver wants to hear, and what the device has written there.
            s.store('w', self.available + 4 + 2 * self.size, r.interesting() & 0xffff);
            s.store('w', self.used + 2, r.interesting() & 0xffff);
        }
    }
}

/// Gives the device's registers their addresses.
fn map(s: &mut Script, r: &mut Random) {
    s.config(4, 0, 0x10, LEGACY | 1);
    s.config(4, 0, 0x14, MSIX);
    s.config(4, 0, 0x20, MODERN);
    s.config(4, 0, 0x24, 0);
    s.config(4, 0, 4, if r.one_in(10) { r.below(8) } else { 7 });
    if r.one_in(2) {
        for n in 0..4 {
            s.store('l', MSIX + 16 * n, 0xfee0_0000);
            s.store('l', MSIX + 16 * n + 8, 0x40 + n);
            s.store('l', MSIX + 16 * n + 12, r.below(2));
        }
        s.config(4, 0, 0x98, 0xc000_0011 << 16 | 0x11);
    }
}

fn set_up(s: &mut Script, r: &mut Random, queues: u64, legacy: Option<u64>) {
    // Those of the rings, or any.
    let wanted = if r.one_in(8) { r.number() } else { 1 << 32 | r.below(4) << 28 };
    match legacy {
        Some(_) => {
            [0, 1, 3].into_iter().for_each(|status| s.out('b', LEGACY as u16 + 0x12, status));
            s.out('l', LEGACY as u16 + 4, wanted & 0xffff_ffff);
        }
        None => {
            [0, 1, 3].into_iter().for_each(|status| s.store('b', MODERN + 0x14, status));
            for n in 0..2 {
                s.store('l', MODERN + 8, n);
                s.step(format!("readl {:#x}", MODERN + 4));
                s.store('l', MODERN + 12, wanted >> (32 * n) & 0xffff_ffff);
            }
            s.store('b', MODERN + 0x14, 11);
        }
    }
    for n in 0..queues {
        let rings = Rings::of(n, legacy);
        let mut place = |at: u64| if r.one_in(60) { r.interesting() } else { at };
        if legacy.is_some() {
            s.out('w', LEGACY as u16 + 14, n);
            s.out('l', LEGACY as u16 + 8, place(rings.descriptors) >> 12 & 0xffff_ffff);
            continue;
        }
        s.store('w', MODERN + 0x16, n);
        s.store('w', MODERN + 0x18, place(SIZE) & 0xffff);
        s.store('q', MODERN + 0x20, place(rings.descriptors));
        s.store('q', MODERN + 0x28, place(rings.available));
        s.store('q', MODERN + 0x30, place(rings.used));
        s.store('w', MODERN + 0x1a, place(n) & 0xffff);
        s.store('w', MODERN + 0x1c, 1);
    }
    match legacy {
        Some(_) => s.out('b', LEGACY as u16 + 0x12, 7),
        None => s.store('b', MODERN + 0x14, 15),
    }
}

impl Target for Virtqueue {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        s.file("disk", 1 << 20, &[]);
        s.word("-drive");
        s.word("if=none,id=d,file=@disk@,format=raw,discard=unmap");
        let &Kind { device, queues, more } = r.pick(KINDS);
        let legacy = r.one_in(2).then(|| *r.pick(&LEGACY_SIZES));
        s.word("-device");
        let kind = if legacy.is_some() { "disable-modern=on,disable-legacy=off" } else { "disable-legacy=off" };
        let size =
            legacy.filter(|_| device.contains("blk")).map(|size| format!(",queue-size={size}")).unwrap_or_default();
        s.word(&format!("{device},addr=4,{kind}{size}"));
        more.iter().for_each(|word| s.word(word));
        map(&mut s, r);
        set_up(&mut s, r, queues, legacy);
        let mut added = vec![0; queues as usize];
        for _ in 0..STEPS {
            let n = r.below(queues);
            match r.below(12) {
                0 if !r.one_in(8) => {
                    set_up(&mut s, r, queues, legacy);
                    added.fill(0);
                }
                0 => {
                    s.step("!reset");
                    map(&mut s, r);
                }
                1 => s.step("!settle"),
                2 => match legacy {
                    Some(_) => s.out(*r.pick(&['b', 'w', 'l']), (LEGACY + r.below(0x40)) as u16, r.interesting()),
                    None => s.store(*r.pick(&['b', 'w', 'l']), MODERN + r.below(0x4000), r.interesting()),
                },
                3 => match legacy {
                    Some(_) => s.step(format!("inl {:#x}", LEGACY + r.below(0x40))),
                    None => s.step(format!("readl {:#x}", MODERN + r.below(0x4000))),
                },
                _ => {
                    Rings::of(n, legacy).fill(&mut s, r, &mut added[n as usize]);
                    match legacy {
                        Some(_) => s.out('w', LEGACY as u16 + 16, n),
                        None => s.store('w', MODERN + 0x3000 + 4 * n, n),
                    }
                }
            }
        }
        s.step("!settle");
        s.0
    }
}
