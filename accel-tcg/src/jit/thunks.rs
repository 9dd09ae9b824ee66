//! The ways from translated code to the interpreter and back, which all blocks share.
//!
//! In translated code, RDI is the CPU. RAX, RCX and RDX are free; what else it uses of the registers that a callee may change, it keeps guest registers in.
//! Nothing is on the stack, so that a handler is jumped to as by another handler.

use super::asm::{Alu, Asm, R8, R9, R10, R11, RAX, RCX, RDI, RDX, RSI, Reg, Shift, at, cc};
use super::pending::{Pending, resolve};
use crate::block::{Block, Cache, JUMPS, JumpEntry};
use crate::cpu::{Cpu, slot};
use crate::mem::tlb::{ENTRIES, OFFSET, TlbEntry};
use crate::ops::hot::{slow, slow_end};
use std::mem::offset_of;

/// Byte offsets in [`Cpu`].
pub(super) const RIP: usize = slot::RIP * 8;
/// Of kind and carry, which are stored and compared as one.
pub(super) const KIND: usize = offset_of!(Cpu, pending) + offset_of!(Pending, kind);
pub(super) const CARRY: usize = offset_of!(Cpu, pending) + offset_of!(Pending, carry);
pub(super) const A: usize = offset_of!(Cpu, pending) + offset_of!(Pending, a);
pub(super) const B: usize = offset_of!(Cpu, pending) + offset_of!(Pending, b);
const BLOCK: usize = offset_of!(Cpu, block);
pub(super) const BUDGET: usize = offset_of!(Cpu, budget);

/// Addresses of the shared pieces of code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thunks {
    /// RAX is the executing block, and ESI the offset of an op in it: its instruction is executed the slow way, and the interpreter goes on.
    pub slow: usize,
    /// The same for the last op of a block.
    pub slow_end: usize,
    /// The same, by the op's handler.
    pub handler: usize,
    /// RAX is a block that is not translated, or is dead; RIP's slot is at its beginning.
    pub interpret: usize,
    /// To the run loop, at the block at whose beginning RIP's slot is: the budget does not cover it, or it is dead.
    pub out: usize,
    /// To be called: resolves pending flags, and changes nothing else but RAX, RCX and RDX.
    pub resolve: usize,
    /// To be called: calls the function in RAX with the CPU, and changes nothing else but RAX, RCX and RDX.
    pub helper: usize,
    /// To be called. RAX is a linear address: RCX becomes the block there, and RDX where it is entered. RDX is 0 if that is not known. Changes R8.
    pub lookup: usize,
}

impl Thunks {
    pub(super) fn emit(a: &mut Asm) -> Self {
        let out = out(a);
        let mut by = |target: Option<usize>| {
            let here = a.here();
            a.store(8, at(RDI, BLOCK), RAX);
            a.alu(Alu::Add, 8, RSI, at(RAX, offset_of!(Block, start)));
            flags_known(a);
            match target {
                Some(f) => {
                    a.constant(RAX, f as u64);
                    a.jmp_by(RAX);
                }
                None => a.jmp_by(at(RSI, 0)),
            }
            here
        };
        Self {
            slow: by(Some(slow as *const () as usize)),
            slow_end: by(Some(slow_end as *const () as usize)),
            handler: by(None),
            interpret: interpret(a, out),
            out,
            resolve: beside(a, Some(resolve as *const () as usize)),
            helper: beside(a, None),
            lookup: lookup(a),
        }
    }
}

/// Resolves pending flags. Everything but RSI and RDI may change.
fn flags_known(a: &mut Asm) {
    a.alu_imm(Alu::Cmp, 2, at(RDI, KIND), 0);
    let known = a.jcc(cc::E);
    // Three of them, for the alignment that a call needs.
    for r in [RDI, RSI, RAX] {
        a.push(r);
    }
    a.constant(RAX, resolve as *const () as u64);
    a.call_by(RAX);
    for r in [RAX, RSI, RDI] {
        a.pop(r);
    }
    a.land(known);
}
/// Calls a function, or the one in RAX, beside what is in registers.
fn beside(a: &mut Asm, function: Option<usize>) -> usize {
    const KEPT: [Reg; 6] = [RDI, RSI, R8, R9, R10, R11];
    let here = a.here();
    KEPT.into_iter().for_each(|r| a.push(r));
    if let Some(f) = function {
        a.constant(RAX, f as u64);
    }
    a.call_by(RAX);
    KEPT.into_iter().rev().for_each(|r| a.pop(r));
    a.ret();
    here
}
fn interpret(a: &mut Asm, out: usize) -> usize {
    let here = a.here();
    a.alu_imm(Alu::Cmp, 8, at(RAX, offset_of!(Block, host)), 0);
    a.jcc_to(cc::E, out);
    a.load(8, RCX, at(RDI, BUDGET));
    a.alu(Alu::Sub, 8, RCX, at(RAX, offset_of!(Block, count)));
    a.jcc_to(cc::S, out);
    a.store(8, at(RDI, BUDGET), RCX);
    a.store(8, at(RDI, BLOCK), RAX);
    a.load(8, RSI, at(RAX, offset_of!(Block, start)));
    flags_known(a);
    a.jmp_by(at(RSI, 0));
    here
}
fn out(a: &mut Asm) -> usize {
    let here = a.here();
    a.load(8, RAX, at(RDI, RIP));
    a.store(8, at(RDI, offset_of!(Cpu, rip)), RAX);
    flags_known(a);
    a.ret();
    here
}
/// RCX becomes the address of the TLB entry for the linear address in RAX, in the array that `array` of the CPU points to.
pub(super) fn tlb_entry(a: &mut Asm, array: usize) {
    const SCALE: u8 = size_of::<TlbEntry>().trailing_zeros() as u8;
    a.mov(8, RCX, RAX);
    a.shift(Shift::Shr, 8, RCX, 12 - SCALE);
    a.alu_imm(Alu::And, 4, RCX, ((ENTRIES - 1) << SCALE) as i32);
    a.alu(Alu::Add, 8, RCX, at(RDI, array));
}
/// As [`Cpu::jump`], but for blocks that cross into another page.
fn lookup(a: &mut Asm) -> usize {
    const SCALE: u8 = size_of::<JumpEntry>().trailing_zeros() as u8;
    let here = a.here();
    // As `jump_slot`.
    a.mov(8, RCX, RAX);
    a.mov(8, RDX, RAX);
    a.shift(Shift::Shr, 8, RCX, 12);
    a.shift(Shift::Ror, 2, RDX, 2);
    a.alu(Alu::Xor, 4, RCX, RDX);
    a.zero_extend(2, RCX, RCX);
    a.shift(Shift::Shl, 4, RCX, SCALE);
    a.alu(Alu::Add, 8, RCX, at(RDI, offset_of!(Cpu, cache) + offset_of!(Cache, jumps)));
    a.mov(8, RDX, RCX);
    let mut fails = Vec::new();
    let mut same = |a: &mut Asm, r: Reg, m| {
        a.alu(Alu::Cmp, 8, r, m);
        fails.push(a.jcc(cc::NE));
    };
    same(a, RAX, at(RDX, offset_of!(JumpEntry, linear)));
    tlb_entry(a, offset_of!(Cpu, tlb_exec));
    a.mov(8, R8, RAX);
    a.alu_imm(Alu::And, 8, R8, !(OFFSET as i32));
    same(a, R8, at(RCX, offset_of!(TlbEntry, tag)));
    a.load(1, R8, at(RDI, offset_of!(Cpu, mode)));
    a.shift(Shift::Shl, 8, R8, JumpEntry::MODE as u8);
    a.alu(Alu::Add, 8, R8, RAX);
    a.alu(Alu::Add, 8, R8, at(RCX, offset_of!(TlbEntry, addend)));
    same(a, R8, at(RDX, offset_of!(JumpEntry, key)));
    a.load(8, RCX, at(RDX, offset_of!(JumpEntry, block)));
    a.load(8, RDX, at(RDX, offset_of!(JumpEntry, native)));
    a.ret();
    fails.into_iter().for_each(|f| a.land(f));
    a.constant(RDX, 0);
    a.ret();
    here
}

// The slot is made of words of 16 bits.
const _: () = assert!(JUMPS == 1 << 16);
const _: () = assert!(size_of::<TlbEntry>().is_power_of_two() && size_of::<JumpEntry>().is_power_of_two());
