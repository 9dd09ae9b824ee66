//! Shortcuts for moves of vector registers.

use crate::block::{Handler, Op};
use crate::cpu::Mode;
use iced_x86::Instruction;

/// The handler of an instruction on vector registers.
pub(super) fn straight(_i: &Instruction, _op: &mut Op, _mode: Mode) -> Option<Handler> {
    None
}
