//! Operands of integer instructions, by number.

use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Int;
use crate::mem::atomic::Atomic;
use iced_x86::{Instruction, OpKind};

/// Evaluates an expression with a type standing for the operand size in bytes.
macro_rules! sized {
    ($size:expr, $T:ident => $e:expr) => {
        match $size {
            1 => {
                type $T = u8;
                $e
            }
            2 => {
                type $T = u16;
                $e
            }
            4 => {
                type $T = u32;
                $e
            }
            _ => {
                type $T = u64;
                $e
            }
        }
    };
}
pub(crate) use sized;

/// Size of operand `n` in bytes: of the register or of memory; immediates have none.
pub(crate) fn size(i: &Instruction, n: u32) -> usize {
    match i.op_kind(n) {
        OpKind::Register => i.op_register(n).size(),
        _ => i.memory_size().size(),
    }
}

/// Is operand `n` in memory?
pub(crate) fn is_mem(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Memory
}

impl Cpu {
    /// Reads operand `n`.
    pub(crate) fn read_op<T: Int>(&mut self, i: &Instruction, n: u32) -> Exec<T> {
        match i.op_kind(n) {
            OpKind::Register => Ok(T::cut(self.reg(i.op_register(n)))),
            OpKind::Memory => self.read_mem(i),
            _ => Ok(T::cut(i.immediate(n))),
        }
    }
    /// Writes operand `n`, a register or memory.
    pub(crate) fn write_op<T: Int>(&mut self, i: &Instruction, n: u32, v: T) -> Exec {
        if is_mem(i, n) {
            return self.write_mem(i, v);
        }
        self.set_reg(i.op_register(n), v.zx());
        Ok(())
    }
    /// Replaces operand 0 by `f` of it. `f` gives the value to store and what comes out of the whole.
    pub(crate) fn modify_op<T: Int + Atomic, R>(&mut self, i: &Instruction, f: impl Fn(T) -> (T, R)) -> Exec<R> {
        if is_mem(i, 0) {
            return self.modify_mem(i, f);
        }
        let reg = i.op_register(0);
        let (v, r) = f(T::cut(self.reg(reg)));
        self.set_reg(reg, v.zx());
        Ok(r)
    }
}
