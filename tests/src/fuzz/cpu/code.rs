//! Random programs: instructions of every shape, real sequences with a few bits turned, and plain noise.

use super::value;
use crate::random::Random;

/// Sequences as systems have them. What follows one may be its operand.
const SEQUENCES: &[&[u8]] = &[
    // String instructions, with and without a count.
    &[0xf3, 0xa4],
    &[0xf3, 0x48, 0xab],
    &[0xf2, 0xae],
    &[0xf3, 0x6c],
    &[0xf3, 0x6f],
    // A counted loop, and one for ever.
    &[0xb1, 0x20, 0x90, 0xe2, 0xfd],
    &[0xeb, 0xfe],
    // Code that writes over itself: the next instruction, and one in the next page.
    &[0xc6, 0x05, 0x00, 0x00, 0x00, 0x00, 0xf4],
    &[0x88, 0x05, 0xf9, 0xff, 0xff, 0xff],
    &[0xe8, 0x00, 0x00, 0x00, 0x00, 0x5b, 0x80, 0x43, 0x06, 0x01],
    // Locked and wide exchanges.
    &[0xf0, 0x0f, 0xc7, 0x0e],
    &[0xf0, 0x48, 0x0f, 0xc7, 0x0e],
    &[0xf0, 0x0f, 0xb1, 0x0f],
    // Frames, calls and returns.
    &[0x9c, 0x0e, 0xe8, 0x01, 0x00, 0x00, 0x00, 0xcf],
    &[0x9c, 0x58, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x50, 0x9d],
    &[0xc8, 0x40, 0x00, 0x1f],
    &[0x9a, 0x00, 0x00, 0x01, 0x00, 0x58, 0x00],
    &[0xea, 0x00, 0x00, 0x00, 0x00, 0x38, 0x00],
    &[0xff, 0x2d],
    &[0xcd, 0x21],
    &[0xcd, 0x80],
    // Mode changes.
    &[0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf8, 0x1f, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x20, 0xc0, 0x34, 0x01, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
    &[0x0f, 0x20, 0xe0, 0x35, 0x80, 0x00, 0x00, 0x00, 0x0f, 0x22, 0xe0],
    &[0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0f, 0xba, 0xf8, 0x08, 0x0f, 0x30],
    &[0x0f, 0x01, 0x38],
    &[0x66, 0x0f, 0x38, 0x82, 0x06],
    // Segment registers, with the shadow after SS.
    &[0x8e, 0xd0, 0x8b, 0xe0],
    &[0x17, 0x9d],
    // Debug registers, then a store that they watch.
    &[0x0f, 0x23, 0xc0, 0x0f, 0x23, 0xf9, 0x89, 0x00],
    // System calls.
    &[0x0f, 0x05],
    &[0x0f, 0x07],
    &[0x48, 0x0f, 0x07],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0x01, 0xf8],
    // System management and protection keys.
    &[0x0f, 0xaa],
    &[0xe6, 0xb2],
    &[0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef],
    // The local APIC: an interrupt to itself, an SMI, the timer.
    &[0xc7, 0x05, 0x00, 0x03, 0xe0, 0xfe, 0x40, 0x40, 0x04, 0x00],
    &[0xc7, 0x04, 0x25, 0x00, 0x03, 0xe0, 0xfe, 0x00, 0x42, 0x08, 0x00],
    &[0xc7, 0x04, 0x25, 0x80, 0x03, 0xe0, 0xfe, 0x10, 0x00, 0x00, 0x00],
    // The memory map changes under the next instruction.
    &[0xe6, 0x07],
    &[0xe7, 0x17],
    // Halts.
    &[0xfb, 0xf4],
    &[0xf4],
    &[0x0f, 0x01, 0xc8, 0x0f, 0x01, 0xc9],
    // State images.
    &[0x0f, 0xae, 0x06],
    &[0x0f, 0xae, 0x0e],
    &[0x0f, 0xae, 0x26],
    &[0x0f, 0xc7, 0x26],
    &[0xdd, 0x36],
    &[0xdd, 0x26],
];

/// Model-specific registers that do something.
const MSRS: &[u32] = &[
    0x10,
    0x1b,
    0x3b,
    0x8b,
    0x174,
    0x175,
    0x176,
    0x1a0,
    0x1d9,
    0x200,
    0x250,
    0x277,
    0x2ff,
    0x6e0,
    0x6e1,
    0x800,
    0x808,
    0x80b,
    0x830,
    0x838,
    0x83f,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0xc001_0010,
    0xc001_0111,
    0xc001_0015,
];

/// Bytes of a program.
const LENGTH: usize = 120;

/// A program for code of this width. Longer than [`LENGTH`] by at most one instruction.
pub(super) fn program(r: &mut Random, bits: u32) -> Vec<u8> {
    let mut code = Vec::new();
    let noisy = r.one_in(8);
    while code.len() < LENGTH {
        match r.below(10) {
            _ if noisy => code.push(r.number() as u8),
            0..3 => sequence(r, &mut code),
            3 => msr(r, &mut code),
            4 => load(r, bits, &mut code),
            _ => instruction(r, bits, &mut code),
        }
    }
    code
}

fn sequence(r: &mut Random, code: &mut Vec<u8>) {
    let from = code.len();
    let known: &[u8] = SEQUENCES[r.index(SEQUENCES.len())];
    code.extend_from_slice(known);
    if r.one_in(4) {
        let at = from + r.index(code.len() - from);
        code[at] ^= 1 << r.below(8);
    }
}

/// Reads or writes a model-specific register.
fn msr(r: &mut Random, code: &mut Vec<u8>) {
    code.push(0xb9);
    code.extend(r.pick(MSRS).to_le_bytes());
    if r.one_in(2) {
        code.push(0xb8);
        code.extend((value(r) as u32).to_le_bytes());
        code.extend([0x31, 0xd2]);
        code.extend([0x0f, 0x30]);
    } else {
        code.extend([0x0f, 0x32]);
    }
}

/// Loads a register with a value at which something changes.
fn load(r: &mut Random, bits: u32, code: &mut Vec<u8>) {
    let v = value(r);
    if bits == 64 && r.one_in(2) {
        code.extend([0x48, 0xb8 | r.below(8) as u8]);
        code.extend(v.to_le_bytes());
    } else {
        code.push(0xb8 | r.below(8) as u8);
        code.extend(&v.to_le_bytes()[..if bits == 16 { 2 } else { 4 }]);
    }
}

/// One instruction by the format of SDM vol. 2, 2.1: prefixes, opcode of some map, ModRM, SIB, displacement, immediate. Which of those
/// an opcode really has is left to the decoder.
fn instruction(r: &mut Random, bits: u32, code: &mut Vec<u8>) {
    const PREFIXES: [u8; 11] = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
    for _ in 0..[0, 0, 0, 1, 1, 2][r.index(6)] {
        code.push(*r.pick(&PREFIXES));
    }
    match r.below(12) {
        // VEX, with two and three bytes.
        0 => code.extend([0xc5, r.number() as u8, r.number() as u8]),
        1 => {
            code.extend([0xc4, (r.number() as u8 & 0xe0) | (1 + r.below(3) as u8), r.number() as u8, r.number() as u8])
        }
        map => {
            if bits == 64 && r.one_in(2) {
                code.push(0x40 | r.below(16) as u8);
            }
            match map {
                2..6 => code.push(0x0f),
                6 => code.extend([0x0f, 0x38]),
                7 => code.extend([0x0f, 0x3a]),
                _ => {}
            }
            code.push(r.number() as u8);
        }
    }
    // Registers and memory evenly; for memory also the forms with a displacement that leads somewhere.
    let modrm = if r.one_in(2) { 0xc0 | r.number() as u8 } else { r.number() as u8 & 0xbf };
    code.push(modrm);
    match r.below(4) {
        0 => code.extend((value(r) as u32).to_le_bytes()),
        1 => code.extend((value(r) as u16).to_le_bytes()),
        2 => code.push(r.number() as u8),
        _ => {}
    }
}
