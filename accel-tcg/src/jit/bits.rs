//! Bit tests and scans, SETcc in memory and double shifts.

use super::asm::{Alu, BitTest, Place, RAX, RCX, RDI, RDX, Shift, at, cc, sum};
use super::pending::{CARRY_KNOWN, Operation};
use super::straight::{Kind, kind};
use super::thunks::CARRY;
use super::translate::{Flags, REACHED, Translator};
use crate::ops::hot::{condition_of, shift_count};
use crate::ops::integer::condition;
use crate::ops::operand::size;
use iced_x86::{Instruction, Mnemonic};

impl Translator {
    /// Translates op `k`, which is `i`, if it is one of these. Its operands are filled in.
    pub(super) fn bits(&mut self, k: usize, i: &Instruction) -> bool {
        use Mnemonic::*;
        match i.mnemonic() {
            Bt => self.bit_test(k, i, BitTest::Bt),
            Bts => self.bit_test(k, i, BitTest::Bts),
            Btr => self.bit_test(k, i, BitTest::Btr),
            Btc => self.bit_test(k, i, BitTest::Btc),
            Bsf => return self.scan(k, i, true),
            Bsr => return self.scan(k, i, false),
            Shld => return self.double_shift(k, i, true),
            Shrd => return self.double_shift(k, i, false),
            _ if condition_of(i).is_some() && i.op_count() == 1 => return self.set_memory(k, i),
            _ => return false,
        }
        true
    }
    /// CF is the bit; ZF stays, and of the other flags nothing is said: they stay too.
    fn bit_test(&mut self, k: usize, i: &Instruction, test: BitTest) {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let (live, changes) = (!self.flags_dead(k), test != BitTest::Bt);
        let (in_memory, locked) = (kind(i, 0) == Kind::Mem, i.has_lock_prefix());
        let by_register = kind(i, 1) == Kind::Reg;
        if in_memory {
            self.reach_bit(k, size, changes, by_register);
        }
        let word: Place = match (in_memory, locked) {
            (true, true) => {
                self.aligned(k, size);
                REACHED.into()
            }
            (true, false) => {
                self.a.load(size, RDX, REACHED);
                RDX.into()
            }
            _ if changes => self.modify(op.dst, size, RAX).into(),
            _ => self.read(op.dst, size, RAX).into(),
        };
        if by_register {
            let mut number = self.read(op.src, size, RCX);
            if locked {
                // Of memory, all of its bits would count.
                self.a.mov(4, RCX, number);
                self.a.alu_imm(Alu::And, 4, RCX, (size * 8 - 1).into());
                number = RCX;
            }
            self.lock(i);
            self.a.bit(test, size, word, number);
        } else {
            self.lock(i);
            self.a.bit_imm(test, size, word, op.imm as u8 & (size * 8 - 1));
        }
        match word {
            Place::Reg(r) if changes && in_memory => self.a.store(size, REACHED, r),
            Place::Reg(r) if changes => self.write(op.dst, size, r),
            _ => {}
        }
        if live {
            self.a.setcc(cc::B, RDX);
            self.a.lea(4, RDX, at(RDX, CARRY_KNOWN.into()));
            self.a.store(1, at(RDI, CARRY), RDX);
            self.flags_of(k, Operation::Bit, size);
        } else {
            self.flags_lost();
        }
    }
    /// Puts the host address of the word with the bit into RAX: one in a register may be any number of words away (SDM vol. 2, BT).
    fn reach_bit(&mut self, k: usize, size: u8, write: bool, by_register: bool) {
        let op = self.op(k);
        self.address(&op);
        if by_register {
            let n = self.read(op.src, size, RDX);
            if size == 8 {
                self.a.mov(8, RDX, n)
            } else {
                self.a.sign_extend(size, 8, RDX, n)
            }
            self.a.shift(Shift::Sar, 8, RDX, (size * 8).trailing_zeros() as u8);
            self.a.lea(self.width, RAX, sum(Some(RAX), Some((RDX, size.trailing_zeros() as u8)), 0));
        }
        self.check(k, size, write);
    }
    /// BSF and BSR, which leave the destination as it is where the source is zero. The flags are those of the source.
    fn scan(&mut self, k: usize, i: &Instruction, up: bool) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if size < 4 {
            return false;
        }
        let live = !self.flags_dead(k);
        let from = self.source(k, i, size);
        if live {
            self.pend_result(size, from);
        }
        let old = self.read(op.dst, 8, RAX);
        self.a.scan(up, size, RCX, from);
        self.a.cmov(cc::E, 8, RCX, old);
        self.after(k, Operation::Logic, size, live);
        self.host_flags_gone();
        self.write(op.dst, 8, RCX);
        true
    }
    /// SHLD and SHRD of a register by a constant, whose flags nothing sees.
    fn double_shift(&mut self, k: usize, i: &Instruction, left: bool) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let n = shift_count(i);
        if size < 4 || n == 0 || kind(i, 0) != Kind::Reg || !self.flags_dead(k) {
            return false;
        }
        let from = self.read(op.src, size, RDX);
        let r = self.modify(op.dst, size, RAX);
        self.a.double_shift(left, size, r, from, n);
        self.flags_lost();
        self.write(op.dst, size, r);
        true
    }
    /// SETcc in memory, on flags that outlive the check of its address.
    fn set_memory(&mut self, k: usize, i: &Instruction) -> bool {
        let again =
            matches!(self.flags, Flags::Of { operation: Operation::Add | Operation::Sub | Operation::Logic, .. });
        if kind(i, 0) != Kind::Mem || !again {
            return false;
        }
        self.reach(k, 1, true);
        self.a.mov(8, RCX, RAX);
        self.condition(k);
        self.a.setcc(condition(i), at(RCX, 0));
        true
    }
}
