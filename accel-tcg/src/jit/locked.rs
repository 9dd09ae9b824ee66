//! Read-modify-writes that nobody may come between (SDM vol. 3, 9.1): those with LOCK, and XCHG with memory. Aligned ones in RAM are the host's own; the rest
//! goes the slow way.

use super::asm::{Alu, RAX, RCX, RDI, RDX, at, cc};
use super::pending::Operation;
use super::straight::offset;
use super::thunks::{A, B, KIND};
use super::translate::{REACHED, Second, Translator};
use crate::ops::hot;
use crate::ops::operand::{is_mem, size};
use gearbox_core::x86::state::gpr::RAX as AX;
use iced_x86::{Instruction, Mnemonic};

impl Translator {
    /// Translates op `k`, which is `i`, if it is one of these.
    pub(super) fn locked(&mut self, k: usize, i: &Instruction) -> bool {
        use Mnemonic::*;
        let known = matches!(i.mnemonic(), Add | Sub | And | Or | Xor | Inc | Dec | Xadd | Cmpxchg);
        if !is_mem(i, 0) || !(known && i.has_lock_prefix() || i.mnemonic() == Xchg) {
            return false;
        }
        let mut op = self.op(k);
        if hot::operands(i, &mut op, self.mode).is_none() {
            return false;
        }
        self.ops[k] = op;
        let size = size(i, 0) as u8;
        if matches!(i.mnemonic(), Inc | Dec) {
            self.keep_carry();
        }
        self.reach(k, size, true);
        if size > 1 {
            self.a.test_imm(1, RAX, i32::from(size) - 1);
            self.slow_if(cc::NE, k);
        }
        match i.mnemonic() {
            Add | Xadd => {
                let b = self.beside_memory(k, i, size);
                self.copy(size, b);
                self.a.lock_xadd(size, REACHED, RDX);
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
                self.a.lock_xadd(size, REACHED, RDX);
                self.pend(Operation::Sub, size, RDX, b);
                self.alu(Alu::Cmp, size, RDX, b);
                self.flags_of(k, Operation::Sub, size);
            }
            Inc | Dec => {
                let up = i.mnemonic() == Inc;
                self.copy(size, Second::Imm(if up { 1 } else { -1 }));
                self.a.lock_xadd(size, REACHED, RDX);
                let operation = if up { Operation::Inc } else { Operation::Dec };
                self.pend(operation, size, RDX, Second::Imm(0));
                if up {
                    self.a.inc(size, RDX)
                } else {
                    self.a.dec(size, RDX)
                }
                self.flags_of(k, operation, size);
            }
            Cmpxchg => self.compare_and_exchange(k, size),
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
                self.a.lock_alu(alu, size, REACHED, RDX);
                // The result is not seen, its flags are.
                self.a.lahf();
                self.a.store(8, at(RDI, A), RAX);
                self.a.store_imm(1, at(RDI, KIND), Operation::Host.of_size(1).into());
                self.flags_of(k, Operation::Host, size);
            }
        }
        true
    }
    /// Puts a second operand into RDX.
    fn copy(&mut self, size: u8, b: Second) {
        match b {
            Second::Reg(b) => self.a.mov(size, RDX, b),
            Second::Imm(b) => self.a.constant(RDX, b as i64 as u64),
        }
    }
    fn compare_and_exchange(&mut self, k: usize, size: u8) {
        let op = self.op(k);
        let new = self.read(op.src, size, RCX);
        // Where RAX has a home, it is right whether or not it changes.
        let home = self.registers.home(AX as u8).map(|_| self.read(offset(AX), 8, RCX));
        self.a.mov(8, RDX, RAX);
        self.a.load(size, RAX, at(RDI, AX * 8));
        self.a.store(8, at(RDI, A), RAX);
        self.a.lock_cmpxchg(size, at(RDX, 0), new);
        self.a.store(8, at(RDI, B), RAX);
        self.a.store_imm(1, at(RDI, KIND), Operation::Sub.of_size(size).into());
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
