//! Executors of the integer instructions, and the choice of executor for any instruction.
//!
//! Everything here is the reference: complete, in every mode, through checked accesses. [`hot`] has shortcuts for what is frequent, which
//! fall back on these whenever anything is out of the ordinary.

pub(crate) mod arith;
mod bcd;
mod bits;
mod branch;
pub(crate) mod hot;
pub(crate) mod integer;
mod io;
mod misc;
mod muldiv;
pub(crate) mod operand;
mod shift;
mod stack;
mod string;

use crate::block::Executor;
use iced_x86::Instruction;

/// What executes `i`; `None` when nothing in this engine does.
pub(crate) fn executor(i: &Instruction) -> Option<Executor> {
    integer::executor(i)
        .or_else(|| shift::executor(i))
        .or_else(|| muldiv::executor(i))
        .or_else(|| bits::executor(i))
        .or_else(|| stack::executor(i))
        .or_else(|| branch::executor(i))
        .or_else(|| string::executor(i))
        .or_else(|| io::executor(i))
        .or_else(|| bcd::executor(i))
        .or_else(|| misc::executor(i))
        .or_else(|| crate::sys::executor(i))
        .or_else(|| crate::fpu::executor(i))
}
