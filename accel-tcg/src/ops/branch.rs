//! Near control transfers. (Far ones, interrupts and system calls: `sys`.)

use super::integer::condition;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::int::Int;
use crate::sys::Vendor;
use gearbox_core::x86::state::Seg;
use gearbox_core::x86::state::gpr::RCX;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    let near = matches!(i.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    Some(match (i.flow_control(), i.mnemonic()) {
        (FlowControl::ConditionalBranch, m) if near => match m {
            Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => loop_,
            Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => jcxz,
            _ => jcc,
        },
        (_, Mnemonic::Jmp) if near => |c, i| branch(c, i),
        (_, Mnemonic::Call) if near => call,
        (_, Mnemonic::Jmp) if i.is_jmp_near_indirect() => jmp_indirect,
        (_, Mnemonic::Call) if i.is_call_near_indirect() => call_indirect,
        (_, Mnemonic::Ret) => ret,
        _ => return None,
    })
}

/// Cuts an instruction pointer to an operand size in bytes.
fn cut(rip: u64, bytes: usize) -> u64 {
    match bytes {
        2 => rip & 0xffff,
        4 => rip & 0xffff_ffff,
        _ => rip,
    }
}
/// Operand size of a direct branch in bytes.
fn branch_size(i: &Instruction) -> usize {
    match i.op0_kind() {
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        _ => 8,
    }
}
/// Target of a direct branch.
fn target(c: &Cpu, i: &Instruction) -> u64 {
    cut(c.rip.wrapping_add(i.near_branch_target().wrapping_sub(i.next_ip())), branch_size(i))
}
/// Goes to `rip` after the checks that a near transfer makes: CS limit or canonical form.
pub(crate) fn go(c: &mut Cpu, rip: u64) -> Exec {
    let ok = if c.code64() { c.canonical(rip) } else { rip <= c.segment(Seg::Cs).limit.into() };
    if !ok {
        return Err(Fault::GP0);
    }
    c.rip = rip;
    Ok(())
}
fn branch(c: &mut Cpu, i: &Instruction) -> Exec {
    let t = target(c, i);
    go(c, t)
}
fn jcc(c: &mut Cpu, i: &Instruction) -> Exec {
    if c.lazy.cond(condition(i)) { branch(c, i) } else { Ok(()) }
}
/// Address size of LOOP and JCXZ in bytes: which of CX, ECX and RCX counts.
fn counter_size(i: &Instruction) -> usize {
    use iced_x86::Code::*;
    match i.code() {
        Loopne_rel8_16_CX | Loopne_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX | Loop_rel8_16_CX
        | Loop_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => 2,
        Loopne_rel8_64_RCX | Loopne_rel8_16_RCX | Loope_rel8_64_RCX | Loope_rel8_16_RCX | Loop_rel8_64_RCX
        | Loop_rel8_16_RCX | Jrcxz_rel8_64 | Jrcxz_rel8_16 => 8,
        _ => 4,
    }
}
fn loop_(c: &mut Cpu, i: &Instruction) -> Exec {
    let size = counter_size(i);
    let n = cut(c.gpr(RCX).wrapping_sub(1), size);
    let zf = c.lazy.zf();
    // On AMD's processors a repeat prefix decides what ZF has to be, and not the opcode.
    let amd = c.vendor() == Vendor::Amd;
    let wanted = match i.mnemonic() {
        Mnemonic::Loop => None,
        _ if amd && i.has_rep_prefix() => Some(true),
        _ if amd && i.has_repne_prefix() => Some(false),
        m => Some(m == Mnemonic::Loope),
    };
    let taken = n != 0 && wanted.is_none_or(|w| w == zf);
    if taken {
        branch(c, i)?;
    }
    match size {
        2 => c.set_gpr_low(RCX, n as u16),
        4 => c.set_gpr_low(RCX, n as u32),
        _ => c.set_gpr(RCX, n),
    }
    Ok(())
}
fn jcxz(c: &mut Cpu, i: &Instruction) -> Exec {
    if cut(c.gpr(RCX), counter_size(i)) == 0 { branch(c, i) } else { Ok(()) }
}
/// Pushes the return address and goes to `to`.
fn call_to(c: &mut Cpu, size: usize, to: u64) -> Exec {
    let back = c.rip;
    c.check_push(size as u64)?;
    go(c, to)?;
    c.push_sized(size, back)
}
fn call(c: &mut Cpu, i: &Instruction) -> Exec {
    let t = target(c, i);
    call_to(c, branch_size(i), t)
}
/// Target and operand size of an indirect branch.
fn indirect(c: &mut Cpu, i: &Instruction) -> Exec<(u64, usize)> {
    let size = super::operand::size(i, 0);
    Ok((super::operand::sized!(size, T => c.read_op::<T>(i, 0)?.zx()), size))
}
fn jmp_indirect(c: &mut Cpu, i: &Instruction) -> Exec {
    let (t, _) = indirect(c, i)?;
    go(c, t)
}
fn call_indirect(c: &mut Cpu, i: &Instruction) -> Exec {
    let (t, size) = indirect(c, i)?;
    call_to(c, size, t)
}
fn ret(c: &mut Cpu, i: &Instruction) -> Exec {
    use iced_x86::Code::*;
    let size = match i.code() {
        Retnw | Retnw_imm16 => 2,
        Retnd | Retnd_imm16 => 4,
        _ => 8,
    };
    let extra = if i.op_count() == 1 { i.immediate16() } else { 0 };
    let t = c.peek_sized(size, 0)?;
    go(c, t)?;
    c.drop_stack(size as u64 + u64::from(extra));
    Ok(())
}
