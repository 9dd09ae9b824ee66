//! Executors that move data between vector registers, general registers and memory.

use super::access::{is_mem, is_mmx, is_xmm, mmx, xmm};
use super::packed;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Plain;
use crate::mem::Access;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// The executor of a move.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    let (to_mem, from_mem) = (is_mem(i, 0), is_mem(i, 1));
    Some(match i.mnemonic() {
        Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Movntdqa if to_mem => store_aligned,
        Movaps | Movapd | Movdqa | Movntdqa => load::<true>,
        Movups | Movupd | Movdqu if to_mem => |c, i| store(c, i, |v| v),
        Movups | Movupd | Movdqu | Lddqu => load::<false>,
        Movss if to_mem => |c, i| store(c, i, Vec128::low32),
        Movss if from_mem => |c, i| load_with(c, i, |_, v: u32| Vec128::from_low32(v)),
        Movss => |c, i| merge(c, i, |a, b| a.with_low32(b.low32())),
        // The string instruction of the same name has no vector register.
        Movsd if to_mem && is_xmm(i, 1) => |c, i| store(c, i, Vec128::low64),
        Movsd if from_mem && is_xmm(i, 0) => |c, i| load_with(c, i, |_, v: u64| Vec128::from_low64(v)),
        Movsd if is_xmm(i, 0) && is_xmm(i, 1) => |c, i| merge(c, i, |a, b| a.with_low64(b.low64())),
        Movlps | Movlpd if to_mem => |c, i| store(c, i, Vec128::low64),
        Movlps | Movlpd => |c, i| load_with(c, i, Vec128::with_low64),
        Movhps | Movhpd if to_mem => |c, i| store(c, i, Vec128::high64),
        Movhps | Movhpd => |c, i| load_with(c, i, |old, v: u64| Vec128::from_u64s([old.low64(), v])),
        Movhlps => |c, i| merge(c, i, |a, b| a.with_low64(b.high64())),
        Movlhps => |c, i| merge(c, i, |a, b| Vec128::from_u64s([a.low64(), b.low64()])),
        Movd | Movq if is_mmx(i, 0) || is_mmx(i, 1) => return mmx_move(i),
        Movd | Movq => return quad_move(i),
        Movq2dq => |c, i| {
            c.need_sse()?;
            c.need_no_pending()?;
            let v = c.fpu.mmx(mmx(i, 1));
            c.fpu.enter_mmx();
            c.fpu.xmm[xmm(i, 0)] = v;
            Ok(())
        },
        Movdq2q => |c, i| {
            c.need_sse()?;
            c.need_no_pending()?;
            c.fpu.enter_mmx();
            let v = c.fpu.xmm[xmm(i, 1)];
            c.fpu.set_mmx(mmx(i, 0), v);
            Ok(())
        },
        Movntq => mmx_store::<u64>,
        Movnti if i.op1_register().size() == 8 => |c, i| c.write_mem(i, c.reg(i.op1_register())),
        Movnti => |c, i| c.write_mem(i, c.reg(i.op1_register()) as u32),
        Maskmovq => |c, i| {
            c.need_mmx()?;
            let (v, m) = (c.fpu.mmx(mmx(i, 1)), c.fpu.mmx(mmx(i, 2)));
            masked_store(c, i, v, m, 8)?;
            c.fpu.enter_mmx();
            Ok(())
        },
        Maskmovdqu => |c, i| {
            c.need_sse()?;
            let (v, m) = (c.fpu.xmm[xmm(i, 1)], c.fpu.xmm[xmm(i, 2)]);
            masked_store(c, i, v, m, 16)
        },
        Pmovmskb if is_mmx(i, 1) => |c, i| {
            c.need_mmx()?;
            let m = packed::pmovmskb(c.fpu.mmx(mmx(i, 1)));
            c.fpu.enter_mmx();
            c.set_reg(i.op0_register(), m.into());
            Ok(())
        },
        Pmovmskb => |c, i| mask_to_gpr(c, i, packed::pmovmskb),
        Movmskps => |c, i| mask_to_gpr(c, i, packed::movmskps),
        Movmskpd => |c, i| mask_to_gpr(c, i, packed::movmskpd),
        Pextrb => |c, i| extract(c, i, |v, n| v.u8s()[n & 15]),
        Pextrw if is_mmx(i, 1) => |c, i| {
            c.need_mmx()?;
            let v = c.fpu.mmx(mmx(i, 1)).u16s()[usize::from(i.immediate8() & 3)];
            c.fpu.enter_mmx();
            c.set_reg(i.op0_register(), v.into());
            Ok(())
        },
        Pextrw => |c, i| extract(c, i, |v, n| v.u16s()[n & 7]),
        Pextrd | Extractps => |c, i| extract(c, i, |v, n| v.u32s()[n & 3]),
        Pextrq => |c, i| extract(c, i, |v, n| v.u64s()[n & 1]),
        Pinsrb => |c, i| insert(c, i, |l: &mut [u8; 16], n, v: u8| l[n & 15] = v, Vec128::u8s, Vec128::from_u8s),
        Pinsrw if is_mmx(i, 0) => |c, i| {
            c.need_mmx()?;
            let v = c.read_op::<u16>(i, 1)?;
            let mut l = c.fpu.mmx(mmx(i, 0)).u16s();
            l[usize::from(i.immediate8() & 3)] = v;
            c.fpu.enter_mmx();
            c.fpu.set_mmx(mmx(i, 0), Vec128::from_u16s(l));
            Ok(())
        },
        Pinsrw => |c, i| insert(c, i, |l: &mut [u16; 8], n, v: u16| l[n & 7] = v, Vec128::u16s, Vec128::from_u16s),
        Pinsrd => |c, i| insert(c, i, |l: &mut [u32; 4], n, v: u32| l[n & 3] = v, Vec128::u32s, Vec128::from_u32s),
        Pinsrq => |c, i| insert(c, i, |l: &mut [u64; 2], n, v: u64| l[n & 1] = v, Vec128::u64s, Vec128::from_u64s),
        Insertps => |c, i| {
            c.need_sse()?;
            let imm = i.immediate8();
            let lane = match i.op1_kind() {
                OpKind::Register => c.fpu.xmm[xmm(i, 1)].u32s()[usize::from(imm >> 6)],
                _ => c.read_mem(i)?,
            };
            let d = xmm(i, 0);
            c.fpu.xmm[d] = packed::insertps(c.fpu.xmm[d], lane, imm);
            Ok(())
        },
        Emms => |c, _| {
            c.need_mmx()?;
            c.fpu.leave_mmx();
            Ok(())
        },
        _ => return None,
    })
}

/// MOVD and MOVQ with an MMX register.
fn mmx_move(i: &Instruction) -> Option<Executor> {
    let wide = i.mnemonic() == Mnemonic::Movq;
    Some(match (is_mmx(i, 0), is_mem(i, 0), wide) {
        // MOVQ mm, mm/m64, or from a general register.
        (true, _, true) if is_mem(i, 1) || is_mmx(i, 1) => |c, i| mmx_load(c, i, |c, i| c.mmx_or_mem::<u64>(i, 1)),
        (true, _, true) => |c, i| mmx_load(c, i, |c, i| Ok(Vec128::from_low64(c.read_op::<u64>(i, 1)?))),
        (true, _, false) => |c, i| mmx_load(c, i, |c, i| Ok(Vec128::from_low32(c.read_op::<u32>(i, 1)?))),
        (false, true, true) => mmx_store::<u64>,
        (false, true, false) => mmx_store::<u32>,
        (false, false, _) => |c, i| {
            c.need_mmx()?;
            let v = c.fpu.mmx(mmx(i, 1)).low64();
            c.fpu.enter_mmx();
            c.set_reg(i.op0_register(), v);
            Ok(())
        },
    })
}
/// MOVD and MOVQ with an XMM register.
fn quad_move(i: &Instruction) -> Option<Executor> {
    let wide = i.mnemonic() == Mnemonic::Movq;
    Some(match (is_xmm(i, 0), is_mem(i, 0), wide) {
        (true, _, true) if is_xmm(i, 1) => |c, i| merge(c, i, |_, b| Vec128::from_low64(b.low64())),
        (true, _, true) => |c, i| load_op(c, i, |v: u64| Vec128::from_low64(v)),
        (true, _, false) => |c, i| load_op(c, i, |v: u32| Vec128::from_low32(v)),
        (false, true, true) => |c, i| store(c, i, Vec128::low64),
        (false, true, false) => |c, i| store(c, i, Vec128::low32),
        (false, false, _) => |c, i| {
            c.need_sse()?;
            c.set_reg(i.op0_register(), c.fpu.xmm[xmm(i, 1)].low64());
            Ok(())
        },
    })
}

/// Loads sixteen bytes.
fn load<const ALIGNED: bool>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_sse()?;
    c.fpu.xmm[xmm(i, 0)] = c.xmm_or_m128::<ALIGNED>(i, 1)?;
    Ok(())
}
/// Loads `T` from memory into a register, given its old value.
#[inline(always)]
fn load_with<T: Plain>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, T) -> Vec128) -> Exec {
    c.need_sse()?;
    let v = c.read_mem(i)?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], v);
    Ok(())
}
/// Loads `T` from memory or a general register.
#[inline(always)]
fn load_op<T: crate::int::Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(T) -> Vec128) -> Exec {
    c.need_sse()?;
    c.fpu.xmm[xmm(i, 0)] = f(c.read_op(i, 1)?);
    Ok(())
}
/// Combines two registers.
#[inline(always)]
fn merge(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], c.fpu.xmm[xmm(i, 1)]);
    Ok(())
}
/// Stores part of a register; the destination may be another register (MOVUPS in its store form).
#[inline(always)]
fn store<T: Plain>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128) -> T) -> Exec {
    c.need_sse()?;
    c.write_mem(i, f(c.fpu.xmm[xmm(i, 1)]))
}
fn store_aligned(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_sse()?;
    let lin = c.aligned_operand(i, 16, Access::Write)?;
    c.store(lin, c.fpu.xmm[xmm(i, 1)], c.privilege())
}
#[inline(always)]
fn mmx_load(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Cpu, &Instruction) -> Exec<Vec128>) -> Exec {
    c.need_mmx()?;
    let v = f(c, i)?;
    c.fpu.enter_mmx();
    c.fpu.set_mmx(mmx(i, 0), v);
    Ok(())
}
/// Stores the low bits of an MMX register.
fn mmx_store<T: crate::int::Int>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_mmx()?;
    c.write_mem(i, T::cut(c.fpu.mmx(mmx(i, 1)).low64()))?;
    c.fpu.enter_mmx();
    Ok(())
}
/// Stores those of `len` bytes whose mask byte has bit 7 set, at `seg:[rDI]`.
fn masked_store(c: &mut Cpu, i: &Instruction, v: Vec128, mask: Vec128, len: usize) -> Exec {
    let (seg, p) = (c.operand_seg(i), c.privilege());
    let (register, cut) = match i.op0_kind() {
        OpKind::MemorySegDI => (Register::DI, 0xffff),
        OpKind::MemorySegEDI => (Register::EDI, 0xffff_ffff),
        _ => (Register::RDI, u64::MAX),
    };
    let start = c.reg(register);
    let address = |c: &Cpu, n: usize| c.linear(seg, start.wrapping_add(n as u64) & cut, 1, Access::Write);
    let chosen = |n: &usize| mask.i8s()[*n] < 0;
    // All or nothing: a byte that may not be written is found before the first is.
    for n in (0..len).filter(chosen) {
        let lin = address(c, n)?;
        c.check_write(lin, 1, p)?;
    }
    for n in (0..len).filter(chosen) {
        let lin = address(c, n)?;
        c.store(lin, v.u8s()[n], p)?;
    }
    Ok(())
}
#[inline(always)]
fn mask_to_gpr(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128) -> u32) -> Exec {
    c.need_sse()?;
    let m = f(c.fpu.xmm[xmm(i, 1)]);
    c.set_reg(i.op0_register(), m.into());
    Ok(())
}
/// PEXTRx: a lane to memory, or zero-extended to a general register.
#[inline(always)]
fn extract<T: crate::int::Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, usize) -> T) -> Exec {
    c.need_sse()?;
    let v = f(c.fpu.xmm[xmm(i, 1)], i.immediate8().into());
    if is_mem(i, 0) {
        return c.write_mem(i, v);
    }
    c.set_reg(i.op0_register(), v.zx());
    Ok(())
}
/// PINSRx: a lane from memory or the low bits of a general register.
#[inline(always)]
fn insert<T: crate::int::Int, L>(
    c: &mut Cpu,
    i: &Instruction,
    set: impl Fn(&mut L, usize, T),
    get: impl Fn(Vec128) -> L,
    put: impl Fn(L) -> Vec128,
) -> Exec {
    c.need_sse()?;
    let v = c.read_op::<T>(i, 1)?;
    let d = xmm(i, 0);
    let mut lanes = get(c.fpu.xmm[d]);
    set(&mut lanes, i.immediate8().into(), v);
    c.fpu.xmm[d] = put(lanes);
    Ok(())
}
