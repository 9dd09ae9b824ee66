//! Kernels to boot: ELF files and bzImages, sound ones with a few fields changed, with initial RAM disks and command lines of any length.

use super::Target;
use super::board::{Parts, Script};
use crate::random::Random;

/// The target.
pub struct Kernel;

/// How a file is made.
struct Kind {
    make: fn(&mut Random) -> Vec<u8>,
    /// Offset and size of its fields.
    fields: &'static [(usize, usize)],
}

const KINDS: &[Kind] = &[
    Kind { make: elf64, fields: ELF64 },
    Kind { make: elf32, fields: ELF32 },
    Kind { make: multiboot, fields: MULTIBOOT },
    Kind { make: bzimage, fields: SETUP_HEADER },
];

/// Fields of the header, of a program header behind it, and of a note (System V ABI, chapters 4 and 5).
const ELF64: &[(usize, usize)] = &[
    (4, 1),
    (16, 2),
    (18, 2),
    (24, 8),
    (32, 8),
    (54, 2),
    (56, 2),
    (64, 4),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 8),
    (104, 8),
    (120, 4),
    (128, 8),
    (152, 8),
    (0x200, 4),
    (0x204, 4),
    (0x208, 4),
    (0x210, 8),
];
const ELF32: &[(usize, usize)] = &[
    (4, 1),
    (16, 2),
    (18, 2),
    (24, 4),
    (28, 4),
    (42, 2),
    (44, 2),
    (52, 4),
    (56, 4),
    (60, 4),
    (64, 4),
    (68, 4),
    (72, 4),
    (84, 4),
    (88, 4),
    (100, 4),
];
/// The Multiboot header (Multiboot Specification 0.6.96, 3.1).
const MULTIBOOT: &[(usize, usize)] = &[(0x44, 4), (0x48, 4), (0x4c, 4), (0x50, 4), (0x54, 4), (0x58, 4), (0x5c, 4)];
/// The setup header (Linux, Documentation/arch/x86/boot.rst).
const SETUP_HEADER: &[(usize, usize)] = &[
    (0x1f1, 1),
    (0x1f4, 4),
    (0x1fe, 2),
    (0x202, 4),
    (0x206, 2),
    (0x211, 1),
    (0x214, 4),
    (0x218, 4),
    (0x21c, 4),
    (0x22c, 4),
    (0x230, 4),
    (0x234, 1),
    (0x236, 2),
    (0x238, 4),
    (0x248, 4),
    (0x24c, 4),
    (0x250, 8),
    (0x258, 8),
    (0x260, 4),
    (0x264, 4),
];

fn put(bytes: &mut [u8], at: usize, length: usize, value: u64) {
    if let Some(field) = bytes.get_mut(at..at + length) {
        field.copy_from_slice(&value.to_le_bytes()[..length]);
    }
}

fn with(size: usize, fields: &[(usize, usize, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fields.iter().for_each(|&(at, length, value)| put(&mut bytes, at, length, value));
    bytes
}

/// A program at 1 MiB, and a note with the entry of PVH.
fn elf64(_: &mut Random) -> Vec<u8> {
    let header = [(0, 4, 0x464c_457f), (4, 1, 2), (5, 1, 1), (6, 1, 1), (16, 2, 2), (18, 2, 62), (20, 4, 1)];
    let rest = [(24, 8, 0x10_0000), (32, 8, 64), (52, 2, 64), (54, 2, 56), (56, 2, 2)];
    let load = [
        (64, 4, 1),
        (68, 4, 7),
        (72, 8, 0x200),
        (80, 8, 0x10_0000),
        (88, 8, 0x10_0000),
        (96, 8, 0x100),
        (104, 8, 0x2000),
    ];
    let note = [(120, 4, 4), (128, 8, 0x200), (152, 8, 0x18), (160, 8, 0x18), (168, 8, 4)];
    let pvh = [(0x200, 4, 4), (0x204, 4, 8), (0x208, 4, 18), (0x20c, 4, 0x006e_6558), (0x210, 8, 0x10_0000)];
    with(0x400, &[&header[..], &rest, &load, &note, &pvh].concat())
}

/// A program at 1 MiB.
fn elf32(_: &mut Random) -> Vec<u8> {
    let header = [(0, 4, 0x464c_457f), (4, 1, 1), (5, 1, 1), (6, 1, 1), (16, 2, 2), (18, 2, 3), (20, 4, 1)];
    let rest = [(24, 4, 0x10_0000), (28, 4, 52), (40, 2, 52), (42, 2, 32), (44, 2, 2)];
    let load = [(52, 4, 1), (56, 4, 0x200), (60, 4, 0x10_0000), (64, 4, 0x10_0000), (68, 4, 0x100), (72, 4, 0x2000)];
    let note = [(84, 4, 4), (88, 4, 0x200), (100, 4, 0x14)];
    let pvh = [(0x200, 4, 4), (0x204, 4, 4), (0x208, 4, 18), (0x20c, 4, 0x006e_6558), (0x210, 4, 0x10_0000)];
    with(0x400, &[&header[..], &rest, &load, &note, &pvh].concat())
}

/// A flat file with a Multiboot header that says where it goes.
fn multiboot(r: &mut Random) -> Vec<u8> {
    let flags = 0x1_0000 | r.below(8);
    let sum = 0u32.wrapping_sub(0x1bad_b002).wrapping_sub(flags as u32);
    let addresses =
        [(0x4c, 4, 0x10_0040), (0x50, 4, 0x10_0000), (0x54, 4, 0x10_0300), (0x58, 4, 0x10_1000), (0x5c, 4, 0x10_0060)];
    with(0x300, &[&[(0x40, 4, 0x1bad_b002), (0x44, 4, flags), (0x48, 4, sum.into())][..], &addresses].concat())
}

/// Real-mode code of two sectors, and a little that is loaded at 1 MiB.
fn bzimage(r: &mut Random) -> Vec<u8> {
    let header = [
        (0x1f1, 1, 1),
        (0x1f4, 4, 0x20),
        (0x1fe, 2, 0xaa55),
        (0x200, 2, 0x6aeb),
        (0x202, 4, 0x5372_6448),
        (0x211, 1, 1),
    ];
    let version = *r.pick(&[0x0200, 0x0203, 0x0206, 0x020a, 0x020f]);
    let rest =
        [(0x206, 2, version), (0x214, 4, 0x10_0000), (0x22c, 4, 0x7fff_ffff), (0x230, 4, 0x20_0000), (0x234, 1, 1)];
    let more = [(0x236, 2, r.below(64)), (0x238, 4, 2047), (0x258, 8, 0x100_0000), (0x260, 4, 0x10_0000)];
    with(0x600, &[&header[..], &rest, &more].concat())
}

impl Target for Kernel {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let kind = r.pick(KINDS);
        let mut bytes = (kind.make)(r);
        for _ in 0..r.below(5) {
            let &(at, length) = r.pick(kind.fields);
            let value = match r.below(3) {
                // What adds up to the end of something.
                0 => 0u64.wrapping_sub(r.below(0x1000)),
                1 => r.below(0x1000),
                _ => r.interesting(),
            };
            match r.one_in(8) {
                true => put(&mut bytes, r.index(0x400), 1, value),
                false => put(&mut bytes, at, length, value),
            }
        }
        if r.one_in(8) {
            bytes.truncate(r.index(bytes.len()));
        }
        let mut s = Script::default();
        s.file("kernel", bytes.len() as u64, &bytes);
        s.word("-kernel");
        s.word("@kernel@");
        if r.one_in(2) {
            let size = match r.one_in(4) {
                // More than the memory of the machine is read before it is refused.
                true => r.below(64 << 20),
                false => r.below(0x3000),
            };
            s.file("initrd", size, &[]);
            s.word("-initrd");
            s.word("@initrd@");
        }
        if r.one_in(2) {
            s.word("-append");
            s.word(&"x".repeat(r.index(4000)));
        }
        s.0
    }
    /// A kernel that cannot be booted is refused with a reason.
    fn run(&self, mut steps: &[String]) {
        let parts = Parts::take(&mut steps);
        drop(parts.vm().accel("qtest").start());
    }
}
