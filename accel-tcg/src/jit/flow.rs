//! How a translated block ends.

use super::asm::{Alu, R8, R9, R10, R11, RAX, RCX, RDI, RDX, at, cc};
use super::thunks::RIP;
use super::translate::{Departure, REACHED, Translator};
use crate::block::Op;
use crate::ops::hot::{NEXT, TAKEN};
use crate::ops::integer::condition;
use gearbox_core::x86::state::gpr::RSP;
use iced_x86::{Code, Instruction, OpKind};

const SP: usize = RSP * 8;

impl Translator {
    /// Translates the last op, which is `i` if that is a branch, and else stands behind it. False if its handler has to do it.
    pub(super) fn end(&mut self, k: usize, i: &Instruction, branch: bool) -> bool {
        if !branch {
            self.leave(k, NEXT);
            return true;
        }
        if !self.lowered(k) {
            return false;
        }
        let in_memory = i.op_count() == 1 && i.op0_kind() == OpKind::Memory;
        if i.is_jcc_short_or_near() {
            return self.jcc(k, condition(i));
        }
        if i.is_jmp_short_or_near() {
            self.leave(k, TAKEN);
        } else if i.is_call_near() {
            self.call(k);
        } else if i.is_jmp_near_indirect() || i.is_call_near_indirect() {
            self.indirect(k, in_memory, i.is_call_near_indirect());
        } else if matches!(i.code(), Code::Retnq | Code::Retnq_imm16 | Code::Retnd | Code::Retnd_imm16) {
            self.ret(k);
        } else {
            return false;
        }
        true
    }
    fn jcc(&mut self, k: usize, cc: u8) -> bool {
        if !self.can_test(cc) {
            return false;
        }
        self.condition(k);
        let taken = self.a.jcc(cc);
        self.leave(k, NEXT);
        self.a.land(taken);
        self.leave(k, TAKEN);
        true
    }
    fn delta(op: &Op, way: usize) -> i32 {
        if way == TAKEN { op.disp } else { i32::from(op.off) + i32::from(op.len) }
    }
    /// Goes on to the block that is linked, or has the handler link it.
    fn leave(&mut self, k: usize, way: usize) {
        let delta = Self::delta(&self.op(k), way);
        if self.is_far(delta) {
            self.far(k, delta);
            return self.enter_found();
        }
        self.exit(k, way, delta);
    }
    fn exit(&mut self, k: usize, way: usize, delta: i32) {
        self.a.alu_imm(Alu::Add, self.width, at(RDI, RIP), delta);
        let jump = self.a.jmp();
        self.departures.push(Departure { jump, way, op: k, delta });
    }
    /// Goes on at the linear address in RAX, where [`Translator::find`] was.
    fn enter_found(&mut self) {
        self.a.store(8, at(RDI, RIP), RAX);
        self.a.mov(8, RAX, RCX);
        self.a.jmp_by(RDX);
    }
    /// Does the branch lead out of the page? Then the block there may become another one, and is looked for each time.
    fn is_far(&self, delta: i32) -> bool {
        self.start.wrapping_add(delta) & !0xfff != 0
    }
    /// Puts the linear address `delta` from here into RAX, and finds the block there.
    fn far(&mut self, k: usize, delta: i32) {
        self.a.load(8, RAX, at(RDI, RIP));
        self.a.alu_imm(Alu::Add, self.width, RAX, delta);
        self.find(k);
    }
    /// Puts the block at the linear address in RAX into RCX, and where it is entered into RDX.
    fn find(&mut self, k: usize) {
        self.a.call_to(self.thunks.lookup);
        self.a.test(8, RDX, RDX);
        self.handler_if(cc::E, k);
    }
    /// Pushes the address of the next instruction. Changes RAX, RCX, RDX and R10.
    fn push_return(&mut self, k: usize) {
        let width = self.width;
        self.a.load(width, RAX, at(RDI, SP));
        self.a.alu_imm(Alu::Sub, width, RAX, width.into());
        self.a.mov(8, R10, RAX);
        self.check(k, width, true);
        self.a.load(width, RDX, at(RDI, RIP));
        self.a.alu_imm(Alu::Add, width, RDX, Self::delta(&self.op(k), NEXT));
        self.a.store(width, REACHED, RDX);
        self.a.store(8, at(RDI, SP), R10);
    }
    fn call(&mut self, k: usize) {
        let delta = self.op(k).disp;
        if self.is_far(delta) {
            self.far(k, delta);
            return self.call_found(k);
        }
        self.a.constant(RCX, self.link(TAKEN));
        self.a.alu_imm(Alu::Cmp, 8, at(RCX, 0), 0);
        self.handler_if(cc::E, k);
        self.push_return(k);
        self.exit(k, TAKEN, delta);
    }
    /// CALL to the linear address in RAX, where [`Translator::find`] was.
    fn call_found(&mut self, k: usize) {
        for (to, from) in [(R8, RAX), (R9, RDX), (R11, RCX)] {
            self.a.mov(8, to, from);
        }
        self.push_return(k);
        self.a.store(8, at(RDI, RIP), R8);
        self.a.mov(8, RAX, R11);
        self.a.jmp_by(R9);
    }
    fn ret(&mut self, k: usize) {
        let width = self.width;
        self.a.load(width, RAX, at(RDI, SP));
        self.check(k, width, false);
        self.a.load(width, RAX, REACHED);
        self.find(k);
        let drop = i32::from(width) + self.op(k).imm as i32;
        self.a.load(width, R8, at(RDI, SP));
        self.a.alu_imm(Alu::Add, width, R8, drop);
        self.a.store(8, at(RDI, SP), R8);
        self.enter_found();
    }
    fn indirect(&mut self, k: usize, in_memory: bool, call: bool) {
        let width = self.width;
        if in_memory {
            self.reach(k, width, false);
            self.a.load(width, RAX, REACHED);
        } else {
            let from = self.read(self.op(k).src, width, RAX);
            self.a.mov(width, RAX, from);
        }
        self.find(k);
        if call {
            return self.call_found(k);
        }
        self.enter_found();
    }
}
