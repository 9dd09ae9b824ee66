//! Executors of the SSE floating-point instructions.

use super::access::{is_mem, is_mmx, is_xmm, mmx, vreg};
use super::packed::{punpckhqdq, punpcklqdq};
use super::shape::{Legacy, Shape, halves, rm, shaped, shaped_128};
use super::soft::Rounding;
use super::soft::flag::BEFORE;
use super::sse::{self, Env, Lane};
use super::sse_packed::*;
use super::vec::{Vec128, Vec256};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::ops::operand;
use gearbox_core::x86::state::cr4;
use iced_x86::{Instruction, Mnemonic};

/// The executor of an SSE floating-point instruction.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    // Whole registers, or as many bytes of memory.
    macro_rules! full {
        ($f:path) => {
            shaped!(i, S => |c, i| on_full::<S>(c, i, $f))
        };
    }
    // A register, or a narrower memory operand.
    macro_rules! low {
        ($f:path, $bytes:literal) => {
            shaped_128!(i, S => |c, i| on_low::<S>(c, i, $bytes, $f))
        };
    }
    // The source has eight bytes for each half of the result; or the result for each half of the source.
    macro_rules! widen {
        ($f:path) => {
            shaped!(i, S => |c, i| on_widened::<S>(c, i, $f))
        };
    }
    macro_rules! narrow {
        ($f:path) => {
            shaped!(i, S => |c, i| on_narrowed::<S>(c, i, $f))
        };
    }
    // With an immediate, of which some bits may be reserved.
    macro_rules! full_imm {
        ($f:path $(, $mask:ident)?) => {
            shaped!(i, S => |c, i| on_full::<S>(c, i, |e, a, b| $f(e, a, b, i.immediate8() $(& $mask::<S>())?)))
        };
    }
    macro_rules! low_imm {
        ($f:path, $bytes:literal $(, $mask:ident)?) => {
            shaped_128!(i, S => |c, i| {
                on_low::<S>(c, i, $bytes, |e, a, b| $f(e, a, b, i.immediate8() $(& $mask::<S>())?))
            })
        };
    }
    macro_rules! dot {
        ($f:path) => {
            shaped!(i, S => |c, i| {
                c.need::<S>()?;
                let b = c.source::<S>(i)?;
                let imm = i.immediate8();
                apply::<S>(c, i, |e, a| $f(e, &a[..S::HALVES], &b[..S::HALVES], imm))
            })
        };
    }
    macro_rules! compare {
        ($t:ty, $signals:literal) => {
            shaped_128!(i, S => |c, i| compare::<S, $t>(c, i, $signals))
        };
    }
    // To a general register: `$t` from memory, and the rounding.
    macro_rules! integer {
        ($t:ty, $rounding:expr) => {
            if i.op0_register().size() == 8 {
                shaped_128!(i, S => |c, i| to_gpr::<S, $t>(c, i, 64, $rounding))
            } else {
                shaped_128!(i, S => |c, i| to_gpr::<S, $t>(c, i, 32, $rounding))
            }
        };
    }
    // From a general register or memory.
    macro_rules! from_integer {
        ($with:ident) => {
            shaped_128!(i, S => if operand::size(i, rm::<S>(i)) == 8 {
                |c, i| from_gpr::<S, u64>(c, i, |e, a, v| a.$with(sse::from_integer(e, v)))
            } else {
                |c, i| from_gpr::<S, u32>(c, i, |e, a, v| a.$with(sse::from_integer(e, v)))
            })
        };
    }
    let scalar_compare = i.mnemonic() == Cmpsd || i.mnemonic() == Movsd;
    if scalar_compare && !is_xmm(i, 0) {
        return None;
    }
    Some(match i.mnemonic() {
        Addps | Vaddps => full!(addps),
        Addpd | Vaddpd => full!(addpd),
        Addss | Vaddss => low!(addss, 4),
        Addsd | Vaddsd => low!(addsd, 8),
        Subps | Vsubps => full!(subps),
        Subpd | Vsubpd => full!(subpd),
        Subss | Vsubss => low!(subss, 4),
        Subsd | Vsubsd => low!(subsd, 8),
        Mulps | Vmulps => full!(mulps),
        Mulpd | Vmulpd => full!(mulpd),
        Mulss | Vmulss => low!(mulss, 4),
        Mulsd | Vmulsd => low!(mulsd, 8),
        Divps | Vdivps => full!(divps),
        Divpd | Vdivpd => full!(divpd),
        Divss | Vdivss => low!(divss, 4),
        Divsd | Vdivsd => low!(divsd, 8),
        Minps | Vminps => full!(minps),
        Minpd | Vminpd => full!(minpd),
        Minss | Vminss => low!(minss, 4),
        Minsd | Vminsd => low!(minsd, 8),
        Maxps | Vmaxps => full!(maxps),
        Maxpd | Vmaxpd => full!(maxpd),
        Maxss | Vmaxss => low!(maxss, 4),
        Maxsd | Vmaxsd => low!(maxsd, 8),
        Sqrtps | Vsqrtps => full!(sqrtps),
        Sqrtpd | Vsqrtpd => full!(sqrtpd),
        Sqrtss | Vsqrtss => low!(sqrtss, 4),
        Sqrtsd | Vsqrtsd => low!(sqrtsd, 8),
        Rcpps | Vrcpps => full!(rcpps),
        Rcpss | Vrcpss => low!(rcpss, 4),
        Rsqrtps | Vrsqrtps => full!(rsqrtps),
        Rsqrtss | Vrsqrtss => low!(rsqrtss, 4),
        Haddps | Vhaddps => full!(haddps),
        Haddpd | Vhaddpd => full!(haddpd),
        Hsubps | Vhsubps => full!(hsubps),
        Hsubpd | Vhsubpd => full!(hsubpd),
        Addsubps | Vaddsubps => full!(addsubps),
        Addsubpd | Vaddsubpd => full!(addsubpd),
        Cmpps | Vcmpps => full_imm!(cmpps, predicate_bits),
        Cmppd | Vcmppd => full_imm!(cmppd, predicate_bits),
        Cmpss | Vcmpss => low_imm!(cmpss, 4, predicate_bits),
        Cmpsd | Vcmpsd => low_imm!(cmpsd, 8, predicate_bits),
        Roundps | Vroundps => full_imm!(roundps),
        Roundpd | Vroundpd => full_imm!(roundpd),
        Roundss | Vroundss => low_imm!(roundss, 4),
        Roundsd | Vroundsd => low_imm!(roundsd, 8),
        Dpps | Vdpps => dot!(dpps),
        Dppd | Vdppd => dot!(dppd),
        Cvtps2pd | Vcvtps2pd => widen!(cvtps2pd),
        Cvtpd2ps | Vcvtpd2ps => narrow!(cvtpd2ps),
        Cvtss2sd | Vcvtss2sd => low!(cvtss2sd, 4),
        Cvtsd2ss | Vcvtsd2ss => low!(cvtsd2ss, 8),
        Cvtdq2ps | Vcvtdq2ps => full!(cvtdq2ps),
        Cvtdq2pd | Vcvtdq2pd => widen!(cvtdq2pd),
        Cvtps2dq | Vcvtps2dq => full!(cvtps2dq),
        Cvttps2dq | Vcvttps2dq => full!(cvttps2dq),
        Cvtpd2dq | Vcvtpd2dq => narrow!(cvtpd2dq),
        Cvttpd2dq | Vcvttpd2dq => narrow!(cvttpd2dq),
        Comiss | Vcomiss => compare!(u32, true),
        Comisd | Vcomisd => compare!(u64, true),
        Ucomiss | Vucomiss => compare!(u32, false),
        Ucomisd | Vucomisd => compare!(u64, false),
        Cvtsi2ss | Vcvtsi2ss => from_integer!(with_low32),
        Cvtsi2sd | Vcvtsi2sd => from_integer!(with_low64),
        Cvtss2si | Vcvtss2si => integer!(u32, Env::rounding),
        Cvtsd2si | Vcvtsd2si => integer!(u64, Env::rounding),
        Cvttss2si | Vcvttss2si => integer!(u32, |_| Rounding::Zero),
        Cvttsd2si | Vcvttsd2si => integer!(u64, |_| Rounding::Zero),
        Cvtpi2ps => |c, i| from_mmx(c, i, cvtpi2ps),
        Cvtpi2pd => |c, i| from_mmx(c, i, cvtdq2pd),
        Cvtps2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_bytes(i, 1, 8), cvtps2pi),
        Cvttps2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_bytes(i, 1, 8), cvttps2pi),
        Cvtpd2pi => |c, i| to_mmx(c, i, |c, i| Ok(c.source::<Legacy>(i)?[0]), cvtpd2dq),
        Cvttpd2pi => |c, i| to_mmx(c, i, |c, i| Ok(c.source::<Legacy>(i)?[0]), cvttpd2dq),
        _ => return None,
    })
}

impl Cpu {
    /// Notes in MXCSR what an instruction has raised, before its result is written: #XM (or #UD without CR4.OSXMMEXCPT) if that is
    /// unmasked.
    #[inline(always)]
    pub(crate) fn settle(&mut self, e: &Env) -> Exec {
        if e.flags | e.earlier == 0 { Ok(()) } else { self.settle_flags(e) }
    }
    fn settle_flags(&mut self, e: &Env) -> Exec {
        if !e.faulted() {
            self.fpu.mxcsr |= e.earlier | e.flags;
            return Ok(());
        }
        // One found before the computation hides those that the computation would have found.
        let early = e.flags & BEFORE & e.unmasked() != 0;
        self.fpu.mxcsr |= e.earlier | if early { e.flags & BEFORE } else { e.flags };
        Err(if self.cr4 & cr4::OSXMMEXCPT != 0 { Fault::plain(vector::XM) } else { Fault::UD })
    }
}

/// Bits of the immediate that choose the predicate of CMPcc.
const fn predicate_bits<S: Shape>() -> u8 {
    if S::VEX { 31 } else { 7 }
}

/// Writes what `f` makes of the first source, unless that raises an unmasked exception.
#[inline(always)]
pub(super) fn apply<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl FnOnce(&mut Env, Vec256) -> Vec256) -> Exec {
    let mut e = Env::new(c.fpu.mxcsr);
    let r = f(&mut e, c.first::<S>(i));
    c.settle(&e)?;
    c.put::<S>(i, r);
    Ok(())
}
#[inline(always)]
fn on_full<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<S>()?;
    let b = c.source::<S>(i)?;
    apply::<S>(c, i, |e, a| halves::<S>(|h| f(e, a[h], b[h])))
}
/// On the low lane of `bytes` bytes: the rest is the first source's.
#[inline(always)]
fn on_low<S: Shape>(
    c: &mut Cpu,
    i: &Instruction,
    bytes: usize,
    f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128,
) -> Exec {
    c.need::<S>()?;
    let b = c.xmm_or_bytes(i, rm::<S>(i), bytes)?;
    apply::<S>(c, i, |e, a| [f(e, a[0], b), Vec128::default()])
}
#[inline(always)]
pub(super) fn on_widened<S: Shape>(
    c: &mut Cpu,
    i: &Instruction,
    f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128,
) -> Exec {
    c.need::<S>()?;
    let b = c.xmm_or_bytes(i, 1, 8 * S::HALVES)?;
    apply::<S>(c, i, |e, a| halves::<S>(|h| f(e, a[h], if h == 0 { b } else { punpckhqdq(b, b) })))
}
#[inline(always)]
fn on_narrowed<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<S>()?;
    let b = c.source::<S>(i)?;
    apply::<S>(c, i, |e, a| {
        let [low, high] = halves::<S>(|h| f(e, a[h], b[h]));
        [punpcklqdq(low, high), Vec128::default()]
    })
}

/// COMIx and UCOMIx.
#[inline(always)]
fn compare<S: Shape, T: Lane>(c: &mut Cpu, i: &Instruction, signals: bool) -> Exec {
    c.need::<S>()?;
    let b = c.xmm_or_bytes(i, 1, size_of::<T>())?;
    let a = c.fpu.xmm[vreg(i, 0)];
    let mut e = Env::new(c.fpu.mxcsr);
    let order = sse::compare(&mut e, T::narrow(a.low64()), T::narrow(b.low64()), signals);
    c.settle(&e)?;
    c.lazy = LazyFlags::from_bits(sse::comparison_flags(order));
    Ok(())
}

#[inline(always)]
fn to_gpr<S: Shape, T: Lane>(c: &mut Cpu, i: &Instruction, bits: u32, rounding: impl Fn(&Env) -> Rounding) -> Exec {
    c.need::<S>()?;
    let b = c.xmm_or_bytes(i, 1, size_of::<T>())?;
    let mut e = Env::new(c.fpu.mxcsr);
    let mode = rounding(&e);
    let v = sse::to_integer(&mut e, T::narrow(b.low64()), bits, mode);
    c.settle(&e)?;
    c.set_reg(i.op0_register(), v as u64);
    Ok(())
}
#[inline(always)]
fn from_gpr<S: Shape, T: Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, i64) -> Vec128) -> Exec {
    c.need::<S>()?;
    let v = c.read_op::<T>(i, rm::<S>(i))?.sx() as i64;
    apply::<S>(c, i, |e, a| [f(e, a[0], v), Vec128::default()])
}

/// CVTPI2PS and CVTPI2PD: from an MMX register, which counts as an MMX instruction, or from memory, which does not.
#[inline(always)]
fn from_mmx(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    if is_mem(i, 1) {
        let b = Vec128::from_low64(c.read_mem(i)?);
        return apply::<Legacy>(c, i, |e, a| [f(e, a[0], b), a[1]]);
    }
    c.need_no_pending()?;
    debug_assert!(is_mmx(i, 1));
    let b = c.fpu.mmx(mmx(i, 1));
    apply::<Legacy>(c, i, |e, a| [f(e, a[0], b), a[1]])?;
    c.fpu.enter_mmx();
    Ok(())
}
/// CVTPS2PI and its kin: to an MMX register.
#[inline(always)]
fn to_mmx(
    c: &mut Cpu,
    i: &Instruction,
    source: impl Fn(&mut Cpu, &Instruction) -> Exec<Vec128>,
    f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128,
) -> Exec {
    c.need_sse()?;
    c.need_no_pending()?;
    let b = source(c, i)?;
    let mut e = Env::new(c.fpu.mxcsr);
    let r = f(&mut e, Vec128::default(), b);
    c.settle(&e)?;
    c.fpu.enter_mmx();
    c.fpu.set_mmx(mmx(i, 0), r);
    Ok(())
}
