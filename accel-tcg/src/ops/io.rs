//! IN and OUT.

use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use gearbox_core::x86::state::gpr::RAX;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    Some(match i.mnemonic() {
        Mnemonic::In => in_,
        Mnemonic::Out => out,
        _ => return None,
    })
}

/// The port that operand `n` names: an immediate or DX.
fn port(c: &Cpu, i: &Instruction, n: u32) -> u16 {
    match i.op_kind(n) {
        OpKind::Register => c.reg(i.op_register(n)) as u16,
        _ => i.immediate8().into(),
    }
}
fn in_(c: &mut Cpu, i: &Instruction) -> Exec {
    let (port, size) = (port(c, i, 1), i.op0_register().size() as u8);
    crate::sys::check_io(c, port, size)?;
    let v = c.bus()?.pio_in(port, size);
    c.set_reg(i.op0_register(), v.into());
    c.board_touched();
    Ok(())
}
fn out(c: &mut Cpu, i: &Instruction) -> Exec {
    let (port, size) = (port(c, i, 0), i.op1_register().size() as u8);
    crate::sys::check_io(c, port, size)?;
    let v = c.gpr(RAX) as u32;
    let v = if size < 4 { v & ((1 << (8 * size)) - 1) } else { v };
    c.bus()?.pio_out(port, size, v);
    c.board_touched();
    Ok(())
}
