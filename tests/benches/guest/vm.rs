//! An interpreter of a small bytecode, as scripting languages have.

use core::hint::black_box;

/// An instruction on registers.
#[derive(Clone, Copy)]
enum Op {
    /// `r[.0] = .1`
    Set(u8, u32),
    /// `r[.0] = r[.1]`
    Move(u8, u8),
    /// `r[.0] += r[.1]`
    Add(u8, u8),
    /// `r[.0] += .1`
    AddImmediate(u8, u32),
    /// `r[.0] *= r[.1]`
    Mul(u8, u8),
    /// `r[.0] ^= r[.1]`
    Xor(u8, u8),
    /// `r[.0] >>= .1`
    Shift(u8, u8),
    /// `memory[r[.0]] = r[.1]`
    Store(u8, u8),
    /// `r[.0] = memory[r[.1]]`
    Load(u8, u8),
    /// Goes to `.1` if `r[.0]` is odd.
    IfOdd(u8, u16),
    /// Goes to `.2` if `r[.0] != r[.1]`.
    IfDiffer(u8, u8, u16),
    /// Goes there.
    Jump(u16),
    /// Ends.
    Halt,
}

/// Lengths of the Collatz sequences of 1 to 100, mixed into a checksum through memory.
const PROGRAM: &[Op] = &[
    Op::Set(0, 1),          // 0: the number to begin with
    Op::Move(1, 0),         // 1: the present one
    Op::Set(2, 0),          // 2: the length
    Op::Set(3, 1),          // 3: one
    Op::IfDiffer(1, 3, 6),  // 4
    Op::Jump(14),           // 5
    Op::IfOdd(1, 9),        // 6
    Op::Shift(1, 1),        // 7
    Op::Jump(12),           // 8
    Op::Set(4, 3),          // 9
    Op::Mul(1, 4),          // 10
    Op::AddImmediate(1, 1), // 11
    Op::AddImmediate(2, 1), // 12
    Op::Jump(4),            // 13
    Op::Store(0, 2),        // 14
    Op::Load(5, 0),         // 15
    Op::Add(6, 5),          // 16
    Op::Xor(6, 0),          // 17
    Op::AddImmediate(0, 1), // 18
    Op::Set(7, 100),        // 19
    Op::IfDiffer(0, 7, 1),  // 20
    Op::Halt,               // 21
];

/// Runs the program once.
fn run(program: &[Op]) -> u32 {
    let (mut r, mut memory, mut at) = ([0u32; 8], [0u32; 256], 0usize);
    loop {
        let op = program[at];
        at += 1;
        match op {
            Op::Set(a, v) => r[a as usize & 7] = v,
            Op::Move(a, b) => r[a as usize & 7] = r[b as usize & 7],
            Op::Add(a, b) => r[a as usize & 7] = r[a as usize & 7].wrapping_add(r[b as usize & 7]),
            Op::AddImmediate(a, v) => r[a as usize & 7] = r[a as usize & 7].wrapping_add(v),
            Op::Mul(a, b) => r[a as usize & 7] = r[a as usize & 7].wrapping_mul(r[b as usize & 7]),
            Op::Xor(a, b) => r[a as usize & 7] ^= r[b as usize & 7],
            Op::Shift(a, n) => r[a as usize & 7] >>= n & 31,
            Op::Store(a, b) => memory[r[a as usize & 7] as usize & 255] = r[b as usize & 7],
            Op::Load(a, b) => r[a as usize & 7] = memory[r[b as usize & 7] as usize & 255],
            Op::IfOdd(a, to) if r[a as usize & 7] & 1 != 0 => at = to as usize,
            Op::IfDiffer(a, b, to) if r[a as usize & 7] != r[b as usize & 7] => at = to as usize,
            Op::IfOdd(..) | Op::IfDiffer(..) => {}
            Op::Jump(to) => at = to as usize,
            Op::Halt => return r[6],
        }
    }
}

/// Runs it over and over.
pub fn bytecode(rounds: u64) -> u64 {
    (0..rounds).fold(0, |sum, _| sum.wrapping_mul(31).wrapping_add(run(black_box(PROGRAM)).into()))
}
