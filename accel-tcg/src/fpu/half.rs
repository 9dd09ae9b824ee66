//! F16C: binary16 in memory, binary32 in registers (SDM vol. 1, 14.4).

use super::access::{is_mem, vreg};
use super::shape::{Shape, Vex128, halves, shaped_vex};
use super::soft::flag::*;
use super::soft::{self, Class, Control, Format, Number, Rounding};
use super::sse::Env;
use super::sse_float_ops::on_widened;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::mem::Access;
use iced_x86::{Instruction, Mnemonic};
use std::array::from_fn;

const HALF: Format = Format::HALF;
const SINGLE: Format = Format::SINGLE;

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    Some(match i.mnemonic() {
        Mnemonic::Vcvtph2ps => shaped_vex!(i, S => |c, i| on_widened::<S>(c, i, vcvtph2ps)),
        Mnemonic::Vcvtps2ph => shaped_vex!(i, S => vcvtps2ph::<S>),
        _ => return None,
    })
}

/// The four low halves.
fn vcvtph2ps(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    let x = b.u16s();
    Vec128::from_u32s(from_fn(|i| widen(env, x[i])))
}

/// To memory, or to the low half of a register.
fn vcvtps2ph<S: Shape>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    // MXCSR gets no flags from a store that faults.
    if is_mem(i, 0) {
        let len = S::LEN / 2;
        let (lin, p) = (c.operand_linear(i, len, Access::Write)?, c.privilege());
        c.check_alignment(lin, len, p)?;
        c.check_write(lin, len, p)?;
    }
    let (v, imm) = (c.vector::<S>(vreg(i, 1)), i.immediate8());
    let mut e = Env::new(c.fpu.mxcsr);
    let [low, high] = halves::<S>(|h| {
        let x = v[h].u32s();
        Vec128::from_u16s(from_fn(|n| if n < 4 { narrow(&mut e, x[n], imm) } else { 0 }))
    });
    c.settle(&e)?;
    match (is_mem(i, 0), S::HALVES) {
        (true, 1) => c.write_mem(i, low.low64()),
        (true, _) => c.write_mem(i, super::packed::punpcklqdq(low, high)),
        (false, _) => {
            c.put_low::<Vex128>(i, super::packed::punpcklqdq(low, high));
            Ok(())
        }
    }
}

/// The payload of a NaN in another format, left-aligned after the quiet bit that it gets.
fn nan(sign: bool, fraction: u64, f: Format) -> u64 {
    let sign = if sign { f.sign_bit() } else { 0 };
    sign | f.default_nan() & !f.sign_bit() | fraction << 1 >> (65 - f.precision)
}

/// Binary16 to binary32: exact. Denormals are neither zeros nor reported, whatever MXCSR says.
fn widen(env: &mut Env, a: u16) -> u32 {
    let n = Number::unpack(a.into(), HALF);
    if n.is_nan() {
        if n.class == Class::SignallingNan {
            env.flags |= IE;
        }
        return nan(n.sign, u64::from(a) << (64 - HALF.precision) & u64::MAX >> 1, SINGLE) as u32;
    }
    let exactly = Control { rounding: Rounding::Nearest, unmasked: 0, flush: false };
    soft::convert(n, SINGLE, exactly).pack(SINGLE) as u32
}

/// Binary32 to binary16, rounded as `imm` says: bits 1..0 the mode, bit 2 MXCSR's mode instead. Tiny results are never flushed.
fn narrow(env: &mut Env, a: u32, imm: u8) -> u16 {
    let n = env.unpack(a);
    if n.is_nan() {
        if n.class == Class::SignallingNan {
            env.flags |= IE;
        }
        return nan(n.sign, u64::from(a) << (64 - SINGLE.precision) & u64::MAX >> 1, HALF) as u16;
    }
    if n.class == Class::Denormal {
        env.flags |= DE;
        if env.unmasked() & DE != 0 {
            return 0;
        }
    }
    let rounding = if imm & 4 != 0 { env.rounding() } else { Rounding::from_bits(imm.into()) };
    let r = soft::convert(n, HALF, Control { rounding, unmasked: env.unmasked(), flush: false });
    env.flags |= r.flags;
    r.pack(HALF) as u16
}
