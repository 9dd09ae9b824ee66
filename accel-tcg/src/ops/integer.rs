//! Moves, arithmetic and logic, conditional moves and sets, exchanges.

use super::arith::{self, Binary, Unary};
use super::operand::{is_mem, size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::mem::atomic::Atomic;
use gearbox_core::x86::state::{gpr, rflags};
use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    if i.condition_code() != ConditionCode::None && i.flow_control() == FlowControl::Next {
        match i.op_count() {
            1 => return Some(setcc),
            2 => return Some(cmovcc),
            _ => return None,
        }
    }
    Some(match i.mnemonic() {
        Mov if general(i) => mov,
        Movzx => movzx,
        Movsx | Movsxd => movsx,
        Movbe => movbe,
        Lea => lea,
        Add => binary::<arith::Add>,
        Or => binary::<arith::Or>,
        Adc => binary::<arith::Adc>,
        Sbb => binary::<arith::Sbb>,
        And => binary::<arith::And>,
        Sub => binary::<arith::Sub>,
        Xor => binary::<arith::Xor>,
        Cmp => binary::<arith::Cmp>,
        Test => binary::<arith::Test>,
        Inc => unary::<arith::Inc>,
        Dec => unary::<arith::Dec>,
        Neg => unary::<arith::Neg>,
        Not => unary::<arith::Not>,
        Adcx => |c, i| carry_add(c, i, rflags::CF),
        Adox => |c, i| carry_add(c, i, rflags::OF),
        Xchg => xchg,
        Xadd => xadd,
        Cmpxchg => cmpxchg,
        Cmpxchg8b => cmpxchg8b,
        Cmpxchg16b => cmpxchg16b,
        Cbw => |c, _| set(c, |c| c.set_gpr_low(gpr::RAX, c.gpr(gpr::RAX) as i8 as u16)),
        Cwde => |c, _| set(c, |c| c.set_gpr_low(gpr::RAX, c.gpr(gpr::RAX) as i16 as u32)),
        Cdqe => |c, _| set(c, |c| c.set_gpr(gpr::RAX, c.gpr(gpr::RAX) as i32 as u64)),
        Cwd => |c, _| set(c, |c| c.set_gpr_low(gpr::RDX, (c.gpr(gpr::RAX) as i16 >> 15) as u16)),
        Cdq => |c, _| set(c, |c| c.set_gpr_low(gpr::RDX, (c.gpr(gpr::RAX) as i32 >> 31) as u32)),
        Cqo => |c, _| set(c, |c| c.set_gpr(gpr::RDX, (c.gpr(gpr::RAX) as i64 >> 63) as u64)),
        Lahf => |c, _| {
            set(c, |c| {
                let f = c.lazy.bits() as u8 | 2;
                c.set_reg(Register::AH, f.into())
            })
        },
        Sahf => |c, _| {
            set(c, |c| {
                let keep = if c.lazy.of() { rflags::OF } else { 0 };
                c.lazy = LazyFlags::from_bits(c.gpr(gpr::RAX) >> 8 & 0xd5 | keep);
            })
        },
        Clc => |c, _| set(c, |c| c.lazy = c.lazy.with_cf(false)),
        Stc => |c, _| set(c, |c| c.lazy = c.lazy.with_cf(true)),
        Cmc => |c, _| set(c, |c| c.lazy = c.lazy.with_cf(!c.lazy.cf())),
        Cld => |c, _| set(c, |c| c.flags &= !rflags::DF),
        Std => |c, _| set(c, |c| c.flags |= rflags::DF),
        Salc => |c, _| {
            set(c, |c| {
                let v = if c.lazy.cf() { 0xff } else { 0u8 };
                c.set_gpr_low(gpr::RAX, v)
            })
        },
        _ => return None,
    })
}

/// Are the operands general registers, memory and immediates only (no segment, control, debug registers)?
fn general(i: &Instruction) -> bool {
    (0..i.op_count()).all(|n| i.op_kind(n) != OpKind::Register || i.op_register(n).is_gpr())
}

/// An instruction that cannot fault.
fn set(c: &mut Cpu, f: impl FnOnce(&mut Cpu)) -> Exec {
    f(c);
    Ok(())
}

fn mov(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => { let v = c.read_op::<T>(i, 1)?; c.write_op(i, 0, v) })
}
fn movzx(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = sized!(size(i, 1), T => c.read_op::<T>(i, 1)?.zx());
    c.set_reg(i.op0_register(), v);
    Ok(())
}
fn movsx(c: &mut Cpu, i: &Instruction) -> Exec {
    // MOVSXD with a 16-bit operand size: AMD's processors read 32 bits all the same.
    if i.code() == iced_x86::Code::Movsxd_r16_rm16 && is_mem(i, 1) && c.vendor() == crate::sys::Vendor::Amd {
        let v = c.read_mem::<u32>(i)?;
        c.set_reg(i.op0_register(), v.into());
        return Ok(());
    }
    let v = sized!(size(i, 1), T => c.read_op::<T>(i, 1)?.sx());
    c.set_reg(i.op0_register(), v);
    Ok(())
}
fn movbe(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => { let v = c.read_op::<T>(i, 1)?; c.write_op(i, 0, v.swap_bytes()) })
}
fn lea(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = c.ea(i);
    c.set_reg(i.op0_register(), v);
    Ok(())
}
fn binary<O: Binary>(c: &mut Cpu, i: &Instruction) -> Exec {
    fn one<O: Binary, T: Int + Atomic>(c: &mut Cpu, i: &Instruction) -> Exec {
        // TEST has its memory operand first or second.
        let b = c.read_op::<T>(i, 1)?;
        c.lazy = if O::STORES {
            let flags = c.lazy;
            c.modify_op::<T, _>(i, |a| O::apply(a, b, flags))?
        } else {
            let a = c.read_op::<T>(i, 0)?;
            O::apply(a, b, c.lazy).1
        };
        Ok(())
    }
    sized!(size(i, 0), T => one::<O, T>(c, i))
}
fn unary<O: Unary>(c: &mut Cpu, i: &Instruction) -> Exec {
    let flags = c.lazy;
    c.lazy = sized!(size(i, 0), T => c.modify_op::<T, _>(i, |a| O::apply(a, flags))?);
    Ok(())
}
/// ADCX and ADOX: the carry comes from and goes to one flag, the others stay.
fn carry_add(c: &mut Cpu, i: &Instruction, flag: u64) -> Exec {
    let carry = u128::from(c.lazy.bits() & flag != 0);
    let bits = 8 * size(i, 0);
    let b = sized!(size(i, 0), T => c.read_op::<T>(i, 1)?.zx());
    let sum = u128::from(c.reg(i.op0_register())) + u128::from(b) + carry;
    c.set_reg(i.op0_register(), sum as u64);
    let out = if sum >> bits != 0 { flag } else { 0 };
    c.lazy = LazyFlags::from_bits(c.lazy.bits() & !flag | out);
    Ok(())
}
fn setcc(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = u8::from(c.lazy.cond(condition(i)));
    c.write_op(i, 0, v)
}
fn cmovcc(c: &mut Cpu, i: &Instruction) -> Exec {
    // The source is read even when the condition is false, and a 32-bit destination is zero-extended.
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?;
        let v = if c.lazy.cond(condition(i)) { v } else { c.read_op::<T>(i, 0)? };
        c.write_op(i, 0, v)
    })
}
/// The condition of a Jcc, SETcc or CMOVcc as its low four opcode bits.
pub(crate) fn condition(i: &Instruction) -> u8 {
    (i.condition_code() as u8).wrapping_sub(1) & 15
}
fn xchg(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        // The memory operand is the first in iced's form, but the encoding has no order.
        let (m, r) = if is_mem(i, 1) { (1, 0) } else { (0, 1) };
        let reg = c.read_op::<T>(i, r)?;
        if is_mem(i, m) {
            let v = c.modify_mem::<T, _>(i, |v| (reg, v))?;
            return c.write_op(i, r, v);
        }
        let v = c.read_op::<T>(i, m)?;
        c.write_op(i, m, reg)?;
        c.write_op(i, r, v)
    })
}
fn xadd(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let b = c.read_op::<T>(i, 1)?;
        if is_mem(i, 0) {
            let flags = c.lazy;
            let (a, f) = c.modify_mem::<T, _>(i, |a| {
                let (r, f) = arith::Add::apply(a, b, flags);
                (r, (a, f))
            })?;
            c.lazy = f;
            return c.write_op(i, 1, a);
        }
        let a = c.read_op::<T>(i, 0)?;
        let (r, f) = arith::Add::apply(a, b, c.lazy);
        c.lazy = f;
        // With one register twice the sum wins (SDM vol. 2, XADD: SRC is loaded first).
        c.write_op(i, 1, a)?;
        c.write_op(i, 0, r)
    })
}
fn cmpxchg(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let (acc, new) = (T::cut(c.gpr(gpr::RAX)), c.read_op::<T>(i, 1)?);
        // The destination is always written: the old value goes back when the comparison fails.
        let old = if is_mem(i, 0) {
            c.modify_mem::<T, _>(i, |old| (if old == acc { new } else { old }, old))?
        } else {
            let old = c.read_op::<T>(i, 0)?;
            if old == acc {
                c.write_op(i, 0, new)?;
            }
            old
        };
        c.lazy = arith::Cmp::apply(acc, old, c.lazy).1;
        if old != acc {
            c.set_gpr_low(gpr::RAX, old);
        }
        Ok(())
    })
}
fn set_zf(c: &mut Cpu, zf: bool) {
    let f = c.lazy.bits() & !rflags::ZF | if zf { rflags::ZF } else { 0 };
    c.lazy = LazyFlags::from_bits(f);
}
fn cmpxchg8b(c: &mut Cpu, i: &Instruction) -> Exec {
    let pair = |c: &Cpu, hi, lo| c.gpr(hi) << 32 | c.gpr(lo) & 0xffff_ffff;
    let (expected, new) = (pair(c, gpr::RDX, gpr::RAX), pair(c, gpr::RCX, gpr::RBX));
    let old = c.modify_mem::<u64, _>(i, |old| (if old == expected { new } else { old }, old))?;
    let same = old == expected;
    if !same {
        c.set_gpr_low(gpr::RAX, old as u32);
        c.set_gpr_low(gpr::RDX, (old >> 32) as u32);
    }
    set_zf(c, same);
    Ok(())
}
fn cmpxchg16b(c: &mut Cpu, i: &Instruction) -> Exec {
    let pair = |c: &Cpu, hi, lo| u128::from(c.gpr(hi)) << 64 | u128::from(c.gpr(lo));
    let (expected, new) = (pair(c, gpr::RDX, gpr::RAX), pair(c, gpr::RCX, gpr::RBX));
    // That it is misaligned counts for more than that it is not canonical, or beyond a limit.
    let lin = c.operand_linear(i, 16, crate::mem::Access::Write);
    let lin = lin.map_err(|f| if c.ea(i) & 15 != 0 { Fault::GP0 } else { f })?;
    if lin & 15 != 0 {
        return Err(Fault::GP0);
    }
    let old = c.modify_mem::<u128, _>(i, |old| (if old == expected { new } else { old }, old))?;
    let same = old == expected;
    if !same {
        c.set_gpr(gpr::RAX, old as u64);
        c.set_gpr(gpr::RDX, (old >> 64) as u64);
    }
    set_zf(c, same);
    Ok(())
}
