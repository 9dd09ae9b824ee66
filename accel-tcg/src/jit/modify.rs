//! Read-modify-writes of memory that are one instruction of the host too, with LOCK or without; XCHG has it always. What nobody may come between (SDM vol. 3,
//! 9.1) is the host's own where it is aligned, and else goes the slow way.

use super::asm::{Alu, RAX, RCX, RDI, RDX, Shift, at, cc};
use super::pending::Operation;
use super::straight::offset;
use super::thunks::{A, B, KIND};
use super::translate::{REACHED, Second, Translator};
use crate::ops::hot::shift_count;
use crate::ops::operand::{is_mem, size};
use gearbox_core::x86::state::gpr::RAX as AX;
use iced_x86::{Instruction, Mnemonic};

impl Translator {
    /// Translates op `k`, which is `i`, if it is one of these. Its operands are filled in.
    pub(super) fn modify_memory(&mut self, k: usize, i: &Instruction) -> bool {
        use Mnemonic::*;
        let locked = i.has_lock_prefix() || i.mnemonic() == Xchg;
        let known = match i.mnemonic() {
            Inc | Dec | Xadd | Cmpxchg | Xchg => true,
            // Without LOCK they are arithmetic as other.
            Add | Sub | And | Or | Xor => locked,
            Shl | Sal => return self.shift_memory(k, i, Shift::Shl, Operation::Shl),
            Shr => return self.shift_memory(k, i, Shift::Shr, Operation::Shr),
            Sar => return self.shift_memory(k, i, Shift::Sar, Operation::Sar),
            _ => false,
        };
        if !known || !is_mem(i, 0) {
            return false;
        }
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let live = !self.flags_dead(k);
        if matches!(i.mnemonic(), Inc | Dec) && live {
            self.keep_carry();
        }
        self.reach(k, size, true);
        if locked {
            self.aligned(k, size);
        }
        match i.mnemonic() {
            Add | Xadd => {
                let b = self.beside_memory(k, i, size);
                self.copy(size, b);
                self.lock(i);
                self.a.xadd(size, REACHED, RDX);
                self.pend(Operation::Add, size, RDX, b);
                self.flags_of(k, Operation::Add, size);
                if i.mnemonic() == Xadd {
                    self.write(op.src, size, RDX);
                }
            }
            Sub => {
                let b = self.beside_memory(k, i, size);
                self.copy(size, b);
                self.a.neg(size, RDX);
                self.lock(i);
                self.a.xadd(size, REACHED, RDX);
                self.pend(Operation::Sub, size, RDX, b);
                self.alu(Alu::Cmp, size, RDX, b);
                self.flags_of(k, Operation::Sub, size);
            }
            Inc | Dec => {
                let up = i.mnemonic() == Inc;
                self.copy(size, Second::Imm(if up { 1 } else { -1 }));
                self.lock(i);
                self.a.xadd(size, REACHED, RDX);
                if !live {
                    self.flags_lost();
                    return true;
                }
                let operation = if up { Operation::Inc } else { Operation::Dec };
                self.pend(operation, size, RDX, Second::Imm(0));
                if up {
                    self.a.inc(size, RDX)
                } else {
                    self.a.dec(size, RDX)
                }
                self.flags_of(k, operation, size);
            }
            Cmpxchg => self.compare_and_exchange(k, i, size),
            Xchg => {
                let r = self.read(op.src, size, RCX);
                self.a.mov(size, RDX, r);
                self.a.xchg(size, REACHED, RDX);
                self.write(op.src, size, RDX);
            }
            _ => {
                let alu = match i.mnemonic() {
                    And => Alu::And,
                    Or => Alu::Or,
                    _ => Alu::Xor,
                };
                let b = self.beside_memory(k, i, size);
                self.copy(size, b);
                self.lock(i);
                self.a.alu_to(alu, size, REACHED, RDX);
                // The result is not seen, its flags are.
                self.a.lahf();
                self.a.store(8, at(RDI, A), RAX);
                self.a.store_imm(4, at(RDI, KIND), Operation::Host.of_size(1).into());
                self.flags_of(k, Operation::Host, size);
            }
        }
        true
    }
    /// By a constant.
    fn shift_memory(&mut self, k: usize, i: &Instruction, shift: Shift, operation: Operation) -> bool {
        let (size, live) = (size(i, 0) as u8, !self.flags_dead(k));
        let n = shift_count(i);
        if !is_mem(i, 0) || n == 0 {
            return false;
        }
        self.reach(k, size, true);
        self.a.load(size, RDX, REACHED);
        if live {
            self.pend(operation, size, RDX, Second::Imm(n.into()));
        }
        self.a.shift(shift, size, RDX, n);
        self.after(k, operation, size, live);
        self.a.store(size, REACHED, RDX);
        true
    }
    /// An access that nobody may come between goes the slow way unless it is aligned. Its address is in RAX.
    pub(super) fn aligned(&mut self, k: usize, size: u8) {
        if size > 1 {
            self.a.test_imm(1, RAX, i32::from(size) - 1);
            self.slow_if(cc::NE, k);
        }
    }
    /// Gives the next instruction the LOCK that `i` has.
    pub(super) fn lock(&mut self, i: &Instruction) {
        if i.has_lock_prefix() {
            self.a.lock();
        }
    }
    /// Puts a second operand into RDX.
    fn copy(&mut self, size: u8, b: Second) {
        match b {
            Second::Reg(b) => self.a.mov(size, RDX, b),
            Second::Imm(b) => self.a.constant(RDX, b as i64 as u64),
        }
    }
    fn compare_and_exchange(&mut self, k: usize, i: &Instruction, size: u8) {
        let op = self.op(k);
        let new = self.read(op.src, size, RCX);
        // Where RAX has a home, it is right whether or not it changes.
        let home = self.registers.home(AX as u8).map(|_| self.read(offset(AX), 8, RCX));
        self.a.mov(8, RDX, RAX);
        self.a.load(size, RAX, at(RDI, AX * 8));
        self.a.store(8, at(RDI, A), RAX);
        self.lock(i);
        self.a.cmpxchg(size, at(RDX, 0), new);
        self.a.store(8, at(RDI, B), RAX);
        self.a.store_imm(4, at(RDI, KIND), Operation::Sub.of_size(size).into());
        let same = self.a.jcc(cc::E);
        match (home, size >= 4) {
            (Some(home), true) => {
                self.a.mov(size, home, RAX);
                self.a.store(8, at(RDI, AX * 8), home);
            }
            (_, true) => self.a.store(8, at(RDI, AX * 8), RAX),
            _ => {
                self.a.store(size, at(RDI, AX * 8), RAX);
                if let Some(home) = home {
                    self.a.load(8, home, at(RDI, AX * 8));
                }
            }
        }
        self.a.land(same);
        self.flags_of(k, Operation::Sub, size);
    }
}
