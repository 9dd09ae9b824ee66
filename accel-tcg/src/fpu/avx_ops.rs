//! Executors of what AVX and AVX2 have and SSE has not: broadcasts, permutations across the middle of a register, insertion and extraction
//! of halves, shifts by lane, VZEROUPPER and VZEROALL.

use super::access::{is_mem, vreg};
use super::packed::{blendps, pshufd};
use super::packed_ops::on_halves;
use super::permute::*;
use super::shape::{Shape, Vex128, Vex256, halves, rm, shaped_vex};
use super::vec::{Vec128, Vec256};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    // Half by half.
    macro_rules! op {
        ($f:path) => {
            shaped_vex!(i, S => |c, i| on_halves::<S>(c, i, |_, a, b| $f(a, b)))
        };
        // With as many bits of the immediate for the upper half as for the lower.
        ($f:path, bits $n:literal) => {
            shaped_vex!(i, S => |c, i| on_halves::<S>(c, i, |h, a, b| $f(a, b, i.immediate8() >> (h * $n))))
        };
    }
    // Across the halves.
    macro_rules! cross {
        ($f:path) => {
            |c, i| on_both(c, i, $f)
        };
    }
    macro_rules! broadcast {
        ($bytes:literal) => {
            shaped_vex!(i, S => |c, i| broadcasts::<S>(c, i, $bytes))
        };
    }
    let by_immediate = i.op_count() > 2 && i.op2_kind() == OpKind::Immediate8;
    Some(match i.mnemonic() {
        Vpbroadcastb => broadcast!(1),
        Vpbroadcastw => broadcast!(2),
        Vpbroadcastd | Vbroadcastss => broadcast!(4),
        Vpbroadcastq | Vbroadcastsd => broadcast!(8),
        Vbroadcastf128 | Vbroadcasti128 => broadcast!(16),
        Vpermilps if by_immediate => op!(pshufd, bits 0),
        Vpermilps => op!(vpermilps),
        Vpermilpd if by_immediate => op!(vpermilpd_imm, bits 2),
        Vpermilpd => op!(vpermilpd),
        Vpblendd => op!(blendps, bits 4),
        Vpermd | Vpermps => cross!(vpermd),
        Vpermq | Vpermpd => cross!(vpermq),
        Vperm2f128 | Vperm2i128 => cross!(vperm2x128),
        Vinsertf128 | Vinserti128 => insert_half,
        Vextractf128 | Vextracti128 => extract_half,
        Vpsllvd => op!(vpsllvd),
        Vpsllvq => op!(vpsllvq),
        Vpsrlvd => op!(vpsrlvd),
        Vpsrlvq => op!(vpsrlvq),
        Vpsravd => op!(vpsravd),
        Vzeroupper => |c, _| {
            c.need_avx()?;
            let n = c.vector_count();
            c.fpu.ymm_hi[..n].fill(Vec128::default());
            Ok(())
        },
        Vzeroall => |c, _| {
            c.need_avx()?;
            let n = c.vector_count();
            c.fpu.xmm[..n].fill(Vec128::default());
            c.fpu.ymm_hi[..n].fill(Vec128::default());
            Ok(())
        },
        _ => return None,
    })
}

#[inline(always)]
fn on_both(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec256, Vec256, u8) -> Vec256) -> Exec {
    c.need_avx()?;
    let b = c.source::<Vex256>(i)?;
    let a = c.first::<Vex256>(i);
    // Those without an immediate do not look at it.
    let imm = if i.op_kind(i.op_count() - 1) == OpKind::Immediate8 { i.immediate8() } else { 0 };
    c.put::<Vex256>(i, f(a, b, imm));
    Ok(())
}
#[inline(always)]
fn broadcasts<S: Shape>(c: &mut Cpu, i: &Instruction, bytes: usize) -> Exec {
    c.need::<S>()?;
    let v = broadcast(c.xmm_or_bytes(i, 1, bytes)?, bytes);
    c.put::<S>(i, halves::<S>(|_| v));
    Ok(())
}

fn insert_half(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    let b = c.xmm_or_bytes(i, rm::<Vex256>(i), 16)?;
    let mut v = c.first::<Vex256>(i);
    v[usize::from(i.immediate8() & 1)] = b;
    c.put::<Vex256>(i, v);
    Ok(())
}
fn extract_half(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    let v = c.vector::<Vex256>(vreg(i, 1))[usize::from(i.immediate8() & 1)];
    if is_mem(i, 0) {
        return c.write_mem(i, v);
    }
    c.put_low::<Vex128>(i, v);
    Ok(())
}
