//! What only the instructions of an x86-64 host can tell: the x87's transcendental functions, whose last bits the architecture leaves to
//! the processor, and the SSE approximations. Other hosts have [`portable`](super::portable) and rounded results instead.

use super::f80::F80;
#[cfg(target_arch = "x86_64")]
use super::transcendental::Function;

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evaluated {
    /// Status word.
    pub status: u16,
    /// How far the stack has grown (or, negative, shrunk).
    pub pushed: i8,
    /// ST(0) and ST(1).
    pub st: [F80; 2],
}

/// Evaluates `f` with ST(0) = `a` and ST(1) = `b` under the control word `fcw`, which may unmask exceptions.
#[cfg(target_arch = "x86_64")]
pub(super) fn evaluate(f: Function, a: F80, b: F80, fcw: u16) -> Evaluated {
    // The layout of FNSAVE in 32-bit form.
    const STATUS: usize = 4;
    const REGISTERS: usize = 28;
    let mut saved = [0u8; 108];
    let mut own: u16 = 0;
    macro_rules! run {
        ($op:literal) => {
            // SAFETY: reads two ten-byte values and a word, writes the 108 bytes of FNSAVE and a word, all of them ours. The x87
            // stack is empty on entry by the ABI and after FNSAVE; the control word is put back; FNSAVE leaves no exception pending.
            unsafe {
                std::arch::asm!(
                    "fnstcw word ptr [{own}]",
                    "fninit",
                    "fld tbyte ptr [{b}]",
                    "fld tbyte ptr [{a}]",
                    "fldcw word ptr [{fcw}]",
                    $op,
                    "fnsave [{saved}]",
                    "fldcw word ptr [{own}]",
                    a = in(reg) &a, b = in(reg) &b, fcw = in(reg) &fcw, saved = in(reg) &mut saved, own = in(reg) &mut own,
                    out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                    out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                    options(nostack),
                )
            }
        };
    }
    match f {
        Function::Exp2MinusOne => run!("f2xm1"),
        Function::YLog2 => run!("fyl2x"),
        Function::YLog2Plus1 => run!("fyl2xp1"),
        Function::Tangent => run!("fptan"),
        Function::Arctangent => run!("fpatan"),
        Function::Sine => run!("fsin"),
        Function::Cosine => run!("fcos"),
        Function::SineCosine => run!("fsincos"),
    }
    let status = u16::from_le_bytes([saved[STATUS], saved[STATUS + 1]]);
    let register = |i: usize| {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&saved[REGISTERS + 10 * i..][..10]);
        F80::from_bytes(bytes)
    };
    // Two values were pushed before the operation.
    Evaluated { status, pushed: 6 - (status >> 11 & 7) as i8, st: [register(0), register(1)] }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use super::portable::evaluate;

/// RCPSS: about 1/x, as the host's processor gives it.
#[cfg(target_arch = "x86_64")]
pub(super) fn reciprocal(x: u32) -> u32 {
    use std::arch::x86_64::*;
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_cvtss_f32(_mm_rcp_ss(_mm_set_ss(f32::from_bits(x)))).to_bits() }
}

/// RSQRTSS: about 1/√x, as the host's processor gives it.
#[cfg(target_arch = "x86_64")]
pub(super) fn reciprocal_root(x: u32) -> u32 {
    use std::arch::x86_64::*;
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(f32::from_bits(x)))).to_bits() }
}

/// RCPSS within its error bound of 1.5 × 2⁻¹²: the quotient, rounded to binary32; tiny results are zero.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn reciprocal(x: u32) -> u32 {
    approximate(x, |v| 1.0 / v)
}

/// RSQRTSS within its error bound of 1.5 × 2⁻¹².
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn reciprocal_root(x: u32) -> u32 {
    approximate(x, |v| 1.0 / v.sqrt())
}

#[cfg(not(target_arch = "x86_64"))]
fn approximate(x: u32, f: impl Fn(f32) -> f32) -> u32 {
    let v = f32::from_bits(x);
    if v.is_nan() {
        return x | 0x40_0000;
    }
    let (zero, sign) = (0.0f32.copysign(v), x & 0x8000_0000);
    let r = f(if v.is_subnormal() { zero } else { v });
    match r {
        _ if r.is_nan() => 0xffc0_0000,
        _ if r.is_subnormal() => sign,
        _ => r.to_bits(),
    }
}
