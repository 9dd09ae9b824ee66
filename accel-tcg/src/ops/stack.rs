//! Push, pop and stack frames. (POP to segment registers and the flags: `sys`.)

use super::operand::{is_mem, size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::state::Seg;
use gearbox_core::x86::state::gpr::{RBP, RSP};
use iced_x86::{Code, Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    let segment = i.op_count() > 0 && i.op_kind(0) == OpKind::Register && i.op0_register().is_segment_register();
    Some(match i.mnemonic() {
        Push if segment => push_segment,
        Push => push,
        Pop if !segment => pop,
        Pusha => |c, _| push_all(c, 2),
        Pushad => |c, _| push_all(c, 4),
        Popa => |c, _| pop_all(c, 2),
        Popad => |c, _| pop_all(c, 4),
        Enter => enter,
        Leave => leave,
        _ => return None,
    })
}

/// Operand size of a push or pop in bytes: by how far it moves the stack pointer.
fn width(i: &Instruction) -> usize {
    i.stack_pointer_increment().unsigned_abs() as usize
}

fn push(c: &mut Cpu, i: &Instruction) -> Exec {
    let w = width(i);
    let v = match i.op_kind(0) {
        OpKind::Register | OpKind::Memory => {
            sized!(size(i, 0), T => { use crate::int::Int; c.read_op::<T>(i, 0)?.zx() })
        }
        _ => i.immediate(0),
    };
    c.push_sized(w, v)
}
fn push_segment(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = c.segment(crate::mem::virt::seg_of(i.op0_register())).selector;
    match width(i) {
        // With a 32-bit operand size only the low word is written (SDM vol. 2, PUSH), but the whole slot must be writable.
        4 => {
            c.check_push(4)?;
            let sp = c.sp().wrapping_sub(4) & c.sp_mask();
            c.write_virt(Seg::Ss, sp, v)?;
            c.set_sp(sp);
            Ok(())
        }
        w => c.push_sized(w, v.into()),
    }
}
fn pop(c: &mut Cpu, i: &Instruction) -> Exec {
    let w = width(i);
    let v = c.peek_sized(w, 0)?;
    // POP to memory addressed by RSP uses the RSP after the increment; POP to RSP sets it last.
    let old = c.gpr(RSP);
    c.drop_stack(w as u64);
    if is_mem(i, 0) {
        let r = sized!(w, T => c.write_mem::<T>(i, crate::int::Int::cut(v)));
        if r.is_err() {
            c.set_gpr(RSP, old);
        }
        return r;
    }
    c.set_reg(i.op0_register(), v);
    Ok(())
}
/// PUSHA. As on AMD's processors, what was pushed before a fault stays in memory; the stack pointer goes back.
fn push_all(c: &mut Cpu, w: usize) -> Exec {
    let sp = c.gpr(RSP);
    for n in 0..8 {
        let v = if n == RSP { sp } else { c.gpr(n) };
        c.push_sized(w, v).inspect_err(|_| c.set_gpr(RSP, sp))?;
    }
    Ok(())
}
/// POPA. As on AMD's processors, what was popped before a fault stays popped, but for the stack pointer.
fn pop_all(c: &mut Cpu, w: usize) -> Exec {
    for (k, n) in (0..8).rev().enumerate() {
        let v = c.peek_sized(w, (k * w) as u64)?;
        match w {
            _ if n == RSP => {}
            2 => c.set_gpr_low(n, v as u16),
            _ => c.set_gpr_low(n, v as u32),
        }
    }
    c.drop_stack(8 * w as u64);
    Ok(())
}

fn enter(c: &mut Cpu, i: &Instruction) -> Exec {
    let w = match i.code() {
        Code::Enterw_imm16_imm8 => 2,
        Code::Enterd_imm16_imm8 => 4,
        _ => 8u64,
    };
    let (alloc, level) = (u64::from(i.immediate16()), u64::from(i.immediate8_2nd() & 31));
    let mask = c.sp_mask();
    let p = c.privilege();
    let mut sp = c.sp();
    let mut put = |c: &mut Cpu, v: u64| {
        sp = sp.wrapping_sub(w) & mask;
        let lin = c.linear(Seg::Ss, sp, w as usize, Access::Write)?;
        sized!(w, T => c.store::<T>(lin, crate::int::Int::cut(v), p))?;
        Ok::<_, Fault>(sp)
    };
    let frame = put(c, c.gpr(RBP))?;
    for k in 1..level {
        let at = c.gpr(RBP).wrapping_sub(k * w) & mask;
        let v = sized!(w, T => crate::int::Int::zx(c.read_virt::<T>(Seg::Ss, at)?));
        put(c, v)?;
    }
    let low = if level > 0 { put(c, frame)? } else { frame };
    let new = low.wrapping_sub(alloc) & mask;
    // What would be pushed next must be writable (SDM vol. 2, ENTER).
    let lin = c.linear(Seg::Ss, new, w as usize, Access::Write)?;
    c.check_alignment(lin, w as usize, p)?;
    c.check_write(lin, w as usize, p)?;
    match w {
        2 => c.set_gpr_low(RBP, frame as u16),
        4 => c.set_gpr_low(RBP, frame as u32),
        _ => c.set_gpr(RBP, frame),
    }
    c.set_sp(new);
    Ok(())
}
fn leave(c: &mut Cpu, i: &Instruction) -> Exec {
    let mask = c.sp_mask();
    let at = c.gpr(RBP) & mask;
    let w = match i.code() {
        Code::Leavew => 2,
        Code::Leaved => 4,
        _ => 8,
    };
    let v = sized!(w, T => crate::int::Int::zx(c.read_virt::<T>(Seg::Ss, at)?));
    c.set_sp(at.wrapping_add(w));
    match w {
        2 => c.set_gpr_low(RBP, v as u16),
        4 => c.set_gpr_low(RBP, v as u32),
        _ => c.set_gpr(RBP, v),
    }
    Ok(())
}
