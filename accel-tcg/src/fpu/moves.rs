//! Executors that move data between vector registers, general registers and memory.

use super::access::{is_mem, is_mmx, is_xmm, mmx, vreg};
use super::packed;
use super::shape::{Shape, rm, shaped, shaped_128};
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::{Int, Plain};
use crate::mem::Access;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// The executor of a move.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    let to_mem = is_mem(i, 0);
    let from_mem = is_mem(i, 1);
    // Whole registers.
    macro_rules! whole {
        ($f:ident $(, $arg:literal)?) => {
            shaped!(i, S => |c, i| $f::<S>(c, i $(, $arg)?))
        };
    }
    // Parts of 128-bit registers.
    macro_rules! part {
        ($f:ident, $e:expr) => {
            shaped_128!(i, S => |c, i| $f::<S, _>(c, i, $e))
        };
    }
    macro_rules! mask {
        ($f:path, $bits:literal) => {
            shaped!(i, S => |c, i| mask_to_gpr::<S>(c, i, $f, $bits))
        };
    }
    macro_rules! lane {
        ($t:ty, $get:ident, $from:ident) => {
            shaped_128!(i, S => |c, i| insert::<S, $t, _>(c, i, Vec128::$get, Vec128::$from))
        };
    }
    Some(match i.mnemonic() {
        Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Vmovaps | Vmovapd | Vmovdqa | Vmovntps | Vmovntpd
        | Vmovntdq
            if to_mem =>
        {
            whole!(store_whole, true)
        }
        Movaps | Movapd | Movdqa | Movntdqa | Vmovaps | Vmovapd | Vmovdqa | Vmovntdqa => whole!(load_whole, true),
        Movups | Movupd | Movdqu | Vmovups | Vmovupd | Vmovdqu if to_mem => whole!(store_whole, false),
        Movups | Movupd | Movdqu | Lddqu | Vmovups | Vmovupd | Vmovdqu | Vlddqu => whole!(load_whole, false),
        Movss | Vmovss if to_mem => part!(store, Vec128::low32),
        Movss | Vmovss if from_mem => part!(load_with, |_, v: u32| Vec128::from_low32(v)),
        Movss | Vmovss => part!(merge, |a: Vec128, b: Vec128| a.with_low32(b.low32())),
        // The string instruction of the same name has no vector register.
        Movsd | Vmovsd if to_mem && is_xmm(i, 1) => part!(store, Vec128::low64),
        Movsd | Vmovsd if from_mem && is_xmm(i, 0) => part!(load_with, |_, v: u64| Vec128::from_low64(v)),
        Movsd | Vmovsd if is_xmm(i, 0) && is_xmm(i, 1) => part!(merge, |a: Vec128, b: Vec128| a.with_low64(b.low64())),
        Movlps | Movlpd | Vmovlps | Vmovlpd if to_mem => part!(store, Vec128::low64),
        Movlps | Movlpd | Vmovlps | Vmovlpd => part!(load_with, Vec128::with_low64),
        Movhps | Movhpd | Vmovhps | Vmovhpd if to_mem => part!(store, Vec128::high64),
        Movhps | Movhpd | Vmovhps | Vmovhpd => {
            part!(load_with, |old: Vec128, v: u64| Vec128::from_u64s([old.low64(), v]))
        }
        Movhlps | Vmovhlps => part!(merge, |a: Vec128, b: Vec128| a.with_low64(b.high64())),
        Movlhps | Vmovlhps => part!(merge, |a: Vec128, b: Vec128| Vec128::from_u64s([a.low64(), b.low64()])),
        Movd | Movq if is_mmx(i, 0) || is_mmx(i, 1) => return mmx_move(i),
        Movd | Movq | Vmovd | Vmovq => return quad_move(i),
        Movq2dq => |c, i| {
            c.need_sse()?;
            c.need_no_pending()?;
            let v = c.fpu.mmx(mmx(i, 1));
            c.fpu.enter_mmx();
            c.fpu.xmm[vreg(i, 0)] = v;
            Ok(())
        },
        Movdq2q => |c, i| {
            c.need_sse()?;
            c.need_no_pending()?;
            c.fpu.enter_mmx();
            let v = c.fpu.xmm[vreg(i, 1)];
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
        Maskmovdqu | Vmaskmovdqu => shaped_128!(i, S => |c, i| {
            c.need::<S>()?;
            let (v, m) = (c.fpu.xmm[vreg(i, 1)], c.fpu.xmm[vreg(i, 2)]);
            masked_store(c, i, v, m, 16)
        }),
        Pmovmskb if is_mmx(i, 1) => |c, i| {
            c.need_mmx()?;
            let m = packed::pmovmskb(c.fpu.mmx(mmx(i, 1)));
            c.fpu.enter_mmx();
            c.set_reg(i.op0_register(), m.into());
            Ok(())
        },
        Pmovmskb | Vpmovmskb => mask!(packed::pmovmskb, 16),
        Movmskps | Vmovmskps => mask!(packed::movmskps, 4),
        Movmskpd | Vmovmskpd => mask!(packed::movmskpd, 2),
        Pextrb | Vpextrb => part!(extract, |v: Vec128, n: usize| v.u8s()[n & 15]),
        Pextrw if is_mmx(i, 1) => |c, i| {
            c.need_mmx()?;
            let v = c.fpu.mmx(mmx(i, 1)).u16s()[usize::from(i.immediate8() & 3)];
            c.fpu.enter_mmx();
            c.set_reg(i.op0_register(), v.into());
            Ok(())
        },
        Pextrw | Vpextrw => part!(extract, |v: Vec128, n: usize| v.u16s()[n & 7]),
        Pextrd | Extractps | Vpextrd | Vextractps => part!(extract, |v: Vec128, n: usize| v.u32s()[n & 3]),
        Pextrq | Vpextrq => part!(extract, |v: Vec128, n: usize| v.u64s()[n & 1]),
        Pinsrw if is_mmx(i, 0) => |c, i| {
            c.need_mmx()?;
            let v = c.read_op::<u16>(i, 1)?;
            let mut l = c.fpu.mmx(mmx(i, 0)).u16s();
            l[usize::from(i.immediate8() & 3)] = v;
            c.fpu.enter_mmx();
            c.fpu.set_mmx(mmx(i, 0), Vec128::from_u16s(l));
            Ok(())
        },
        Pinsrb | Vpinsrb => lane!(u8, u8s, from_u8s),
        Pinsrw | Vpinsrw => lane!(u16, u16s, from_u16s),
        Pinsrd | Vpinsrd => lane!(u32, u32s, from_u32s),
        Pinsrq | Vpinsrq => lane!(u64, u64s, from_u64s),
        Insertps | Vinsertps => shaped_128!(i, S => |c, i| {
            c.need::<S>()?;
            let imm = i.immediate8();
            let n = rm::<S>(i);
            let lane = match i.op_kind(n) {
                OpKind::Register => c.fpu.xmm[vreg(i, n)].u32s()[usize::from(imm >> 6)],
                _ => c.read_mem(i)?,
            };
            let [a, _] = c.first::<S>(i);
            c.put_low::<S>(i, packed::insertps(a, lane, imm));
            Ok(())
        }),
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
    let wide = matches!(i.mnemonic(), Mnemonic::Movq | Mnemonic::Vmovq);
    macro_rules! part {
        ($f:ident, $e:expr) => {
            shaped_128!(i, S => |c, i| $f::<S, _>(c, i, $e))
        };
    }
    Some(match (is_xmm(i, 0), is_mem(i, 0), wide) {
        (true, _, true) if is_xmm(i, 1) => part!(merge, |_, b: Vec128| Vec128::from_low64(b.low64())),
        (true, _, true) => part!(load_op, |v: u64| Vec128::from_low64(v)),
        (true, _, false) => part!(load_op, |v: u32| Vec128::from_low32(v)),
        (false, true, true) => part!(store, Vec128::low64),
        (false, true, false) => part!(store, Vec128::low32),
        (false, false, _) => shaped_128!(i, S => |c, i| {
            c.need::<S>()?;
            c.set_reg(i.op0_register(), c.fpu.xmm[vreg(i, 1)].low64());
            Ok(())
        }),
    })
}

/// Loads a whole register.
#[inline(always)]
fn load_whole<S: Shape>(c: &mut Cpu, i: &Instruction, aligned: bool) -> Exec {
    c.need::<S>()?;
    let v = c.whole::<S>(i, 1, aligned)?;
    c.put::<S>(i, v);
    Ok(())
}
/// Stores a whole register.
#[inline(always)]
fn store_whole<S: Shape>(c: &mut Cpu, i: &Instruction, aligned: bool) -> Exec {
    c.need::<S>()?;
    let v = c.vector::<S>(vreg(i, 1));
    let lin = if aligned {
        c.aligned_operand(i, S::LEN, Access::Write)?
    } else {
        c.operand_linear(i, S::LEN, Access::Write)?
    };
    if S::HALVES == 2 { c.store(lin, v, c.privilege()) } else { c.store(lin, v[0], c.privilege()) }
}
/// Loads `T` from memory into a register, given the first source.
#[inline(always)]
fn load_with<S: Shape, T: Plain>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, T) -> Vec128) -> Exec {
    c.need::<S>()?;
    let v = c.read_mem(i)?;
    let [a, _] = c.first::<S>(i);
    c.put_low::<S>(i, f(a, v));
    Ok(())
}
/// Loads `T` from memory or a general register.
#[inline(always)]
fn load_op<S: Shape, T: Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(T) -> Vec128) -> Exec {
    c.need::<S>()?;
    let v = f(c.read_op(i, 1)?);
    c.put_low::<S>(i, v);
    Ok(())
}
/// Combines two registers.
#[inline(always)]
fn merge<S: Shape, F: Fn(Vec128, Vec128) -> Vec128>(c: &mut Cpu, i: &Instruction, f: F) -> Exec {
    c.need::<S>()?;
    let ([a, _], b) = (c.first::<S>(i), c.fpu.xmm[vreg(i, rm::<S>(i))]);
    c.put_low::<S>(i, f(a, b));
    Ok(())
}
/// Stores part of a register.
#[inline(always)]
fn store<S: Shape, T: Plain>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128) -> T) -> Exec {
    c.need::<S>()?;
    c.write_mem(i, f(c.fpu.xmm[vreg(i, 1)]))
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
fn mmx_store<T: Int>(c: &mut Cpu, i: &Instruction) -> Exec {
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
    // AMD's processors look at all of the operand, whatever the mask.
    if c.vendor() == crate::sys::Vendor::Amd {
        let lin = c.linear(seg, start & cut, len, Access::Write)?;
        c.check_alignment(lin, 8, p)?;
        c.check_write(lin, len, p)?;
    }
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
/// A bit for each lane, of which a half has `bits`.
#[inline(always)]
fn mask_to_gpr<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128) -> u32, bits: u32) -> Exec {
    c.need::<S>()?;
    let v = c.vector::<S>(vreg(i, 1));
    let m = if S::HALVES == 2 { f(v[0]) | f(v[1]) << bits } else { f(v[0]) };
    c.set_reg(i.op0_register(), m.into());
    Ok(())
}
/// PEXTRx: a lane to memory, or zero-extended to a general register.
#[inline(always)]
fn extract<S: Shape, T: Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, usize) -> T) -> Exec {
    c.need::<S>()?;
    let v = f(c.fpu.xmm[vreg(i, 1)], i.immediate8().into());
    if is_mem(i, 0) {
        return c.write_mem(i, v);
    }
    c.set_reg(i.op0_register(), v.zx());
    Ok(())
}
/// PINSRx: a lane from memory or the low bits of a general register.
#[inline(always)]
fn insert<S: Shape, T: Int, L: AsMut<[T]>>(
    c: &mut Cpu,
    i: &Instruction,
    get: impl Fn(Vec128) -> L,
    from: impl Fn(L) -> Vec128,
) -> Exec {
    c.need::<S>()?;
    let v = c.read_op::<T>(i, rm::<S>(i))?;
    let [a, _] = c.first::<S>(i);
    let mut lanes = get(a);
    let l = lanes.as_mut();
    l[usize::from(i.immediate8()) & (l.len() - 1)] = v;
    c.put_low::<S>(i, from(lanes));
    Ok(())
}
