//! Instructions that do not end a block.
//!
//! Nothing that the guest can see changes before the last point where an instruction may still go the slow way.

use super::asm::{Alu, RAX, RCX, RDI, RDX, Reg, Shift, at, cc};
use super::pending::Operation;
use super::thunks::KIND;
use super::translate::{REACHED, Second, Translator};
use crate::ops::hot::{ZERO, condition_of};
use crate::ops::integer::condition;
use crate::ops::operand::size;
use gearbox_core::x86::state::gpr::{RAX as AX, RBP as BP, RCX as CX, RDX as DX, RSP as SP};
use iced_x86::{Instruction, Mnemonic, OpKind};

pub(super) const fn offset(n: usize) -> u8 {
    n as u8 * 8
}

/// Kinds of an operand.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Reg,
    Mem,
    Imm,
}
pub(super) fn kind(i: &Instruction, n: u32) -> Kind {
    match i.op_kind(n) {
        OpKind::Register => Kind::Reg,
        OpKind::Memory => Kind::Mem,
        _ => Kind::Imm,
    }
}

/// What two-operand arithmetic does with its result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    /// Stores it.
    Store(Alu),
    /// CMP.
    Compare,
    /// TEST.
    Test,
}

impl Translator {
    /// Translates op `k`, which is `i`. False if its handler has to do it.
    pub(super) fn straight(&mut self, k: usize, i: &Instruction) -> bool {
        use Mnemonic::*;
        if i.has_lock_prefix() {
            return false;
        }
        match i.mnemonic() {
            Add => self.arithmetic(k, i, Arithmetic::Store(Alu::Add)),
            Or => self.arithmetic(k, i, Arithmetic::Store(Alu::Or)),
            And => self.arithmetic(k, i, Arithmetic::Store(Alu::And)),
            Sub => self.arithmetic(k, i, Arithmetic::Store(Alu::Sub)),
            Xor => self.arithmetic(k, i, Arithmetic::Store(Alu::Xor)),
            Cmp => self.arithmetic(k, i, Arithmetic::Compare),
            Test => self.arithmetic(k, i, Arithmetic::Test),
            Adc => return self.with_carry(k, i, Alu::Adc),
            Sbb => return self.with_carry(k, i, Alu::Sbb),
            Inc => return self.step(k, i, true),
            Dec => return self.step(k, i, false),
            Neg | Not if kind(i, 0) == Kind::Reg => self.unary(k, i),
            Shl | Sal => return self.shift(k, i, Shift::Shl, Some(Operation::Shl)),
            Shr => return self.shift(k, i, Shift::Shr, Some(Operation::Shr)),
            Sar => return self.shift(k, i, Shift::Sar, Some(Operation::Sar)),
            Rol => return self.shift(k, i, Shift::Rol, None),
            Ror => return self.shift(k, i, Shift::Ror, None),
            Mov if i.op0_register().is_segment_register() || i.op1_register().is_segment_register() => return false,
            Mov => self.mov(k, i),
            Movzx => self.extend(k, i, false),
            Movsx | Movsxd => self.extend(k, i, true),
            Lea => self.lea(k, i),
            Imul => return self.imul(k, i),
            Push => return self.push(k, i),
            Pop if kind(i, 0) == Kind::Reg => self.pop(k),
            Leave => self.leave_frame(k),
            Xchg => return self.exchange(k, i),
            Mul => return self.multiply(k, i),
            Bswap => {
                let (op, size) = (self.op(k), size(i, 0) as u8);
                let r = self.modify(op.dst, size, RAX);
                self.a.bswap(size, r);
                self.write(op.dst, size, r);
            }
            Cwde => self.sign_extend_accumulator(2, 4),
            Cdqe => self.sign_extend_accumulator(4, 8),
            Cdq => self.sign_to_dx(4),
            Cqo => self.sign_to_dx(8),
            _ if condition_of(i).is_some() && i.op_count() == 1 => return self.set(k, i),
            _ if condition_of(i).is_some() && i.op_count() == 2 && i.op0_register().is_gpr() => return self.cmov(k, i),
            _ => return false,
        }
        true
    }

    /// The second operand of op `k`, which is `i`, from a register or memory: in its home, or in RDX.
    pub(super) fn source(&mut self, k: usize, i: &Instruction, size: u8) -> Reg {
        if kind(i, 1) == Kind::Mem {
            self.reach(k, size, false);
            self.a.load(size, RDX, REACHED);
            return RDX;
        }
        self.read(self.op(k).src, size, RDX)
    }
    /// The second operand where the first one is in memory: at most RCX is taken for it.
    pub(super) fn beside_memory(&mut self, k: usize, i: &Instruction, size: u8) -> Second {
        let op = self.op(k);
        match kind(i, 1) {
            Kind::Reg => Second::Reg(self.read(op.src, size, RCX)),
            _ => immediate(op.imm, size),
        }
    }
    fn arithmetic(&mut self, k: usize, i: &Instruction, what: Arithmetic) {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let live = !self.flags_dead(k);
        let (to, from) = (kind(i, 0), kind(i, 1));
        let stores = matches!(what, Arithmetic::Store(_));
        // Where the first operand is, and the second.
        let (a, b) = match (to, from) {
            (Kind::Mem, _) => {
                self.reach(k, size, stores);
                let b = self.beside_memory(k, i, size);
                self.a.load(size, RDX, REACHED);
                (RDX, b)
            }
            (_, from) => {
                let b = match from {
                    Kind::Imm => immediate(op.imm, size),
                    _ => Second::Reg(self.source(k, i, size)),
                };
                let a = if stores { self.modify(op.dst, size, RAX) } else { self.read(op.dst, size, RAX) };
                (a, b)
            }
        };
        match what {
            Arithmetic::Store(alu @ (Alu::Add | Alu::Sub)) => {
                let operation = if alu == Alu::Add { Operation::Add } else { Operation::Sub };
                if live {
                    self.pend(operation, size, a, b);
                }
                self.alu(alu, size, a, b);
                self.after(k, operation, size, live);
            }
            Arithmetic::Compare => {
                if live {
                    self.pend(Operation::Sub, size, a, b);
                }
                self.alu(Alu::Cmp, size, a, b);
                self.after(k, Operation::Sub, size, live);
            }
            Arithmetic::Store(alu) => {
                self.alu(alu, size, a, b);
                if live {
                    self.pend_result(size, a);
                }
                self.after(k, Operation::Logic, size, live);
            }
            Arithmetic::Test => {
                self.test(size, a, b, live);
                self.after(k, Operation::Logic, size, live);
            }
        }
        if stores {
            match to {
                Kind::Mem => {
                    self.a.store(size, REACHED, a);
                }
                _ => self.write(op.dst, size, a),
            }
        }
    }
    pub(super) fn alu(&mut self, alu: Alu, size: u8, a: Reg, b: Second) {
        match b {
            Second::Reg(b) => self.a.alu(alu, size, a, b),
            Second::Imm(b) => self.a.alu_imm(alu, size, a, b),
        }
    }
    fn test(&mut self, size: u8, a: Reg, b: Second, live: bool) {
        match b {
            Second::Reg(b) if a == b || !live => {
                self.a.test(size, a, b);
                if live {
                    self.pend_result(size, a);
                }
            }
            Second::Imm(b) if !live => self.a.test_imm(size, a, b),
            b => {
                // The result is needed. RCX is free, unless the second operand is in it: then the first is a copy of memory.
                let copy = if matches!(b, Second::Reg(RCX)) { a } else { RCX };
                if copy != a {
                    self.a.mov(8, copy, a);
                }
                self.alu(Alu::And, size, copy, b);
                self.pend_result(size, copy);
            }
        }
    }
    pub(super) fn after(&mut self, k: usize, operation: Operation, size: u8, live: bool) {
        if live { self.flags_of(k, operation, size) } else { self.flags_lost() }
    }
    /// ADC and SBB, where the carry is known and their own flags are not needed.
    fn with_carry(&mut self, k: usize, i: &Instruction, alu: Alu) -> bool {
        const CARRY: u8 = 2;
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if kind(i, 0) == Kind::Mem || !self.flags_dead(k) || !self.can_test(CARRY) {
            return false;
        }
        let b = match kind(i, 1) {
            Kind::Imm => immediate(op.imm, size),
            _ => Second::Reg(self.source(k, i, size)),
        };
        if !self.can_test(CARRY) {
            return false;
        }
        self.condition(k);
        let a = self.modify(op.dst, size, RAX);
        self.alu(alu, size, a, b);
        self.flags_lost();
        self.write(op.dst, size, a);
        true
    }
    /// INC and DEC of a register.
    fn step(&mut self, k: usize, i: &Instruction, up: bool) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if kind(i, 0) != Kind::Reg {
            return false;
        }
        let live = !self.flags_dead(k);
        let operation = if up { Operation::Inc } else { Operation::Dec };
        if live {
            self.keep_carry();
        }
        let r = self.modify(op.dst, size, RAX);
        if live {
            self.pend(operation, size, r, Second::Imm(0));
        }
        if up {
            self.a.inc(size, r)
        } else {
            self.a.dec(size, r)
        }
        self.after(k, operation, size, live);
        self.write(op.dst, size, r);
        true
    }
    /// Resolves pending flags, of which CF is to stay. Changes RAX, RCX and RDX.
    pub(super) fn keep_carry(&mut self) {
        self.a.alu_imm(Alu::Cmp, 2, at(RDI, KIND), 0);
        let known = self.a.jcc(cc::E);
        self.a.call_to(self.thunks.resolve);
        self.a.land(known);
        self.host_flags_gone();
    }
    /// NEG and NOT of a register.
    fn unary(&mut self, k: usize, i: &Instruction) {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let live = !self.flags_dead(k);
        let r = self.modify(op.dst, size, RAX);
        if i.mnemonic() == Mnemonic::Not {
            self.a.not(size, r);
        } else {
            if live {
                self.a.constant(RCX, 0);
                self.pend(Operation::Sub, size, RCX, Second::Reg(r));
            }
            self.a.neg(size, r);
            self.after(k, Operation::Sub, size, live);
        }
        self.write(op.dst, size, r);
    }
    /// `operation` is what its flags are of, if they are of nothing else.
    fn shift(&mut self, k: usize, i: &Instruction, shift: Shift, operation: Option<Operation>) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        let live = !self.flags_dead(k);
        if kind(i, 0) != Kind::Reg || (live && operation.is_none()) {
            return false;
        }
        if kind(i, 1) == Kind::Reg {
            if size < 4 {
                return false;
            }
            self.a.load(1, RCX, at(RDI, CX * 8));
            let r = self.modify(op.dst, size, RAX);
            if let (true, Some(operation)) = (live, operation) {
                // By nothing, it leaves the flags from before, which may be pending and stay so.
                self.a.alu_imm(Alu::And, 4, RCX, i32::from(size) * 8 - 1);
                let none = self.a.jcc(cc::E);
                self.pend(operation, size, r, Second::Reg(RCX));
                self.a.land(none);
            }
            self.a.shift_cl(shift, size, r);
            self.write(op.dst, size, r);
            self.flags_lost();
            return true;
        }
        let r = self.modify(op.dst, size, RAX);
        if let (true, Some(operation)) = (live, operation) {
            self.pend(operation, size, r, Second::Imm(op.aux.into()));
        }
        self.a.shift(shift, size, r, op.aux as u8);
        match operation {
            Some(operation) => self.after(k, operation, size, live),
            None => self.flags_lost(),
        }
        self.write(op.dst, size, r);
        true
    }
    fn mov(&mut self, k: usize, i: &Instruction) {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        match (kind(i, 0), kind(i, 1)) {
            (Kind::Mem, from) => {
                self.reach(k, size, true);
                if from == Kind::Reg {
                    let r = self.read(op.src, size, RDX);
                    self.a.store(size, REACHED, r);
                } else {
                    self.a.store_imm(size, REACHED, op.imm as i32);
                }
            }
            (_, Kind::Mem) => {
                self.reach(k, size, false);
                let to = self.target(op.dst, size, RDX);
                self.a.load(size, to, REACHED);
                self.write(op.dst, size, to);
            }
            (_, Kind::Reg) => {
                let mut r = self.read(op.src, size, RDX);
                if size == 4 {
                    // Even to itself: the upper half goes.
                    let to = self.target(op.dst, size, RDX);
                    self.a.mov(4, to, r);
                    r = to;
                }
                self.write(op.dst, size, r);
            }
            _ => {
                let to = self.target(op.dst, size, RDX);
                let v = if size == 8 { op.imm } else { op.imm & ((1 << (8 * size)) - 1) };
                self.a.constant(to, v);
                self.write(op.dst, size, to);
            }
        }
    }
    /// MOVZX, MOVSX and MOVSXD.
    fn extend(&mut self, k: usize, i: &Instruction, signed: bool) {
        let (op, from, to_size) = (self.op(k), size(i, 1) as u8, size(i, 0) as u8);
        let to = self.target(op.dst, to_size, RDX);
        if kind(i, 1) == Kind::Mem {
            self.reach(k, from, false);
            if signed { self.a.sign_extend(from, to_size, to, REACHED) } else { self.a.load(from, to, REACHED) }
        } else {
            let r = self.read(op.src, from, RDX);
            if signed { self.a.sign_extend(from, to_size, to, r) } else { self.a.zero_extend(from, to, r) }
        }
        self.write(op.dst, to_size, to);
    }
    fn lea(&mut self, k: usize, i: &Instruction) {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        self.address(&op);
        if size == 4 {
            self.a.mov(4, RAX, RAX);
        }
        self.write(op.dst, size, RAX);
    }
    /// With two or three operands.
    fn imul(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if i.op_count() < 2 || size < 4 {
            return false;
        }
        let live = !self.flags_dead(k);
        let from = self.source(k, i, size);
        let r = if i.op_count() == 3 {
            let factor = op.imm as i32;
            if live {
                self.pend(Operation::Imul, size, from, Second::Imm(factor));
            }
            let to = self.target(op.dst, size, RAX);
            self.a.imul_imm(size, to, from, factor);
            to
        } else {
            let to = self.modify(op.dst, size, RAX);
            if live {
                self.pend(Operation::Imul, size, to, Second::Reg(from));
            }
            self.a.imul(size, to, from);
            to
        };
        self.after(k, Operation::Imul, size, live);
        self.write(op.dst, size, r);
        true
    }
    /// MUL, whose flags nothing sees.
    fn multiply(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if size < 4 || !self.flags_dead(k) {
            return false;
        }
        let from = if kind(i, 0) == Kind::Mem {
            self.reach(k, size, false);
            self.a.load(size, RCX, REACHED);
            RCX
        } else {
            self.read(op.src, size, RCX)
        };
        let accumulator = self.read(offset(AX), size, RAX);
        self.a.mov(size, RAX, accumulator);
        self.a.mul(size, from);
        self.flags_lost();
        self.write(offset(AX), size, RAX);
        self.write(offset(DX), size, RDX);
        true
    }
    fn push(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, width) = (self.op(k), self.width);
        if kind(i, 0) == Kind::Mem {
            return false;
        }
        let sp = self.read(offset(SP), width, RAX);
        self.a.lea(width, RAX, at(sp, 0usize.wrapping_sub(width.into())));
        self.check(k, width, true);
        if kind(i, 0) == Kind::Reg {
            let r = self.read(op.src, width, RDX);
            self.a.store(width, REACHED, r);
        } else {
            self.a.store_imm(width, REACHED, op.imm as i32);
        }
        self.move_stack(-i32::from(width));
        true
    }
    fn move_stack(&mut self, by: i32) {
        let width = self.width;
        let sp = self.modify(offset(SP), width, RCX);
        self.a.lea(width, sp, at(sp, by as isize as usize));
        self.write(offset(SP), width, sp);
    }
    fn pop(&mut self, k: usize) {
        let (op, width) = (self.op(k), self.width);
        let sp = self.read(offset(SP), width, RAX);
        self.a.mov(width, RAX, sp);
        self.check(k, width, false);
        self.a.load(width, RDX, REACHED);
        self.move_stack(width.into());
        self.write(op.dst, width, RDX);
    }
    fn leave_frame(&mut self, k: usize) {
        let width = self.width;
        let bp = self.read(offset(BP), width, RAX);
        self.a.mov(width, RAX, bp);
        self.check(k, width, false);
        self.a.load(width, RDX, REACHED);
        let bp = self.read(offset(BP), width, RCX);
        self.a.lea(width, RCX, at(bp, width.into()));
        self.write(offset(SP), width, RCX);
        self.write(offset(BP), width, RDX);
    }
    /// XCHG of two registers.
    fn exchange(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, size) = (self.op(k), size(i, 0) as u8);
        if kind(i, 0) != Kind::Reg || kind(i, 1) != Kind::Reg || size < 4 {
            return false;
        }
        let a = self.read(op.dst, size, RAX);
        self.a.mov(size, RAX, a);
        let b = self.read(op.src, size, RDX);
        self.a.mov(size, RDX, b);
        self.write(op.dst, size, RDX);
        self.write(op.src, size, RAX);
        true
    }
    fn sign_extend_accumulator(&mut self, from: u8, to_size: u8) {
        let r = self.read(offset(AX), from, RDX);
        let to = self.target(offset(AX), to_size, RDX);
        self.a.sign_extend(from, to_size, to, r);
        self.write(offset(AX), to_size, to);
    }
    fn sign_to_dx(&mut self, size: u8) {
        let r = self.read(offset(AX), size, RAX);
        self.a.mov(size, RCX, r);
        self.a.shift(Shift::Sar, size, RCX, size * 8 - 1);
        self.host_flags_gone();
        self.write(offset(DX), size, RCX);
    }
    /// SETcc of a register.
    fn set(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, cc) = (self.op(k), condition(i));
        if kind(i, 0) != Kind::Reg || !self.can_test(cc) {
            return false;
        }
        self.condition(k);
        self.a.setcc(cc, RDX);
        self.write(op.dst, 1, RDX);
        true
    }
    fn cmov(&mut self, k: usize, i: &Instruction) -> bool {
        let (op, size, cc) = (self.op(k), size(i, 0) as u8, condition(i));
        if size < 4 || !self.can_test(cc) {
            return false;
        }
        let b = self.source(k, i, size);
        // The check of the address may have cost what the host's flags alone could tell.
        if !self.can_test(cc) {
            return false;
        }
        self.condition(k);
        let to = self.modify(op.dst, size, RAX);
        self.a.cmov(cc, size, to, b);
        self.write(op.dst, size, to);
        true
    }
}

/// An immediate operand, sign-extended from its size.
pub(super) fn immediate(v: u64, size: u8) -> Second {
    Second::Imm(match size {
        1 => (v as i8).into(),
        2 => (v as i16).into(),
        _ => v as i32,
    })
}

const _: () = assert!(ZERO == 128);
