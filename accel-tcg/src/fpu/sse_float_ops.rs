//! Executors of the SSE floating-point instructions.

use super::access::{is_mem, is_mmx, is_xmm, mmx, xmm};
use super::soft::Rounding;
use super::soft::flag::BEFORE;
use super::sse::{self, Env, Lane};
use super::sse_packed::*;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::flags::LazyFlags;
use crate::int::{Int, Plain};
use gearbox_core::x86::state::cr4;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The executor of an SSE floating-point instruction.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    // Whole registers, or 16 bytes of memory.
    macro_rules! full {
        ($f:path) => {
            |c, i| on_full(c, i, $f)
        };
    }
    // A register, or a narrower memory operand.
    macro_rules! low {
        ($f:path, $t:ty) => {
            |c, i| on_low::<$t>(c, i, $f)
        };
    }
    // With an immediate, of which some bits may be reserved.
    macro_rules! full_imm {
        ($f:path $(, $mask:literal)?) => {
            |c, i| on_full(c, i, |e, a, b| $f(e, a, b, i.immediate8() $(& $mask)?))
        };
    }
    macro_rules! low_imm {
        ($f:path, $t:ty $(, $mask:literal)?) => {
            |c, i| on_low::<$t>(c, i, |e, a, b| $f(e, a, b, i.immediate8() $(& $mask)?))
        };
    }
    // To a general register: `$t` from memory, and the rounding.
    macro_rules! integer {
        ($t:ty, $rounding:expr) => {
            if i.op0_register().size() == 8 {
                |c, i| to_gpr::<$t>(c, i, 64, $rounding)
            } else {
                |c, i| to_gpr::<$t>(c, i, 32, $rounding)
            }
        };
    }
    // From a general register or memory.
    macro_rules! from_integer {
        ($name:ident, $with:ident) => {
            if i.op1_kind() == OpKind::Register && i.op1_register().size() == 8 || i.memory_size().size() == 8 {
                |c, i| from_gpr::<u64>(c, i, |e, a, v| a.$with(sse::from_integer(e, v)))
            } else {
                |c, i| from_gpr::<u32>(c, i, |e, a, v| a.$with(sse::from_integer(e, v)))
            }
        };
    }
    let scalar_compare = i.mnemonic() == Cmpsd || i.mnemonic() == Movsd;
    if scalar_compare && !is_xmm(i, 0) {
        return None;
    }
    Some(match i.mnemonic() {
        Addps => full!(addps),
        Addpd => full!(addpd),
        Addss => low!(addss, u32),
        Addsd => low!(addsd, u64),
        Subps => full!(subps),
        Subpd => full!(subpd),
        Subss => low!(subss, u32),
        Subsd => low!(subsd, u64),
        Mulps => full!(mulps),
        Mulpd => full!(mulpd),
        Mulss => low!(mulss, u32),
        Mulsd => low!(mulsd, u64),
        Divps => full!(divps),
        Divpd => full!(divpd),
        Divss => low!(divss, u32),
        Divsd => low!(divsd, u64),
        Minps => full!(minps),
        Minpd => full!(minpd),
        Minss => low!(minss, u32),
        Minsd => low!(minsd, u64),
        Maxps => full!(maxps),
        Maxpd => full!(maxpd),
        Maxss => low!(maxss, u32),
        Maxsd => low!(maxsd, u64),
        Sqrtps => full!(sqrtps),
        Sqrtpd => full!(sqrtpd),
        Sqrtss => low!(sqrtss, u32),
        Sqrtsd => low!(sqrtsd, u64),
        Rcpps => full!(rcpps),
        Rcpss => low!(rcpss, u32),
        Rsqrtps => full!(rsqrtps),
        Rsqrtss => low!(rsqrtss, u32),
        Haddps => full!(haddps),
        Haddpd => full!(haddpd),
        Hsubps => full!(hsubps),
        Hsubpd => full!(hsubpd),
        Addsubps => full!(addsubps),
        Addsubpd => full!(addsubpd),
        Cmpps => full_imm!(cmpps, 7),
        Cmppd => full_imm!(cmppd, 7),
        Cmpss => low_imm!(cmpss, u32, 7),
        Cmpsd => low_imm!(cmpsd, u64, 7),
        Roundps => full_imm!(roundps),
        Roundpd => full_imm!(roundpd),
        Roundss => low_imm!(roundss, u32),
        Roundsd => low_imm!(roundsd, u64),
        Dpps => full_imm!(dpps),
        Dppd => full_imm!(dppd),
        Cvtps2pd => low!(cvtps2pd, u64),
        Cvtpd2ps => full!(cvtpd2ps),
        Cvtss2sd => low!(cvtss2sd, u32),
        Cvtsd2ss => low!(cvtsd2ss, u64),
        Cvtdq2ps => full!(cvtdq2ps),
        Cvtdq2pd => low!(cvtdq2pd, u64),
        Cvtps2dq => full!(cvtps2dq),
        Cvttps2dq => full!(cvttps2dq),
        Cvtpd2dq => full!(cvtpd2dq),
        Cvttpd2dq => full!(cvttpd2dq),
        Comiss => |c, i| compare::<u32>(c, i, true),
        Comisd => |c, i| compare::<u64>(c, i, true),
        Ucomiss => |c, i| compare::<u32>(c, i, false),
        Ucomisd => |c, i| compare::<u64>(c, i, false),
        Cvtsi2ss => from_integer!(cvtsi2ss, with_low32),
        Cvtsi2sd => from_integer!(cvtsi2sd, with_low64),
        Cvtss2si => integer!(u32, Env::rounding),
        Cvtsd2si => integer!(u64, Env::rounding),
        Cvttss2si => integer!(u32, |_| Rounding::Zero),
        Cvttsd2si => integer!(u64, |_| Rounding::Zero),
        Cvtpi2ps => |c, i| from_mmx(c, i, cvtpi2ps),
        Cvtpi2pd => |c, i| from_mmx(c, i, cvtdq2pd),
        Cvtps2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_narrow::<u64>(i, 1), cvtps2pi),
        Cvttps2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_narrow::<u64>(i, 1), cvttps2pi),
        Cvtpd2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_m128::<true>(i, 1), cvtpd2dq),
        Cvttpd2pi => |c, i| to_mmx(c, i, |c, i| c.xmm_or_m128::<true>(i, 1), cvttpd2dq),
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

#[inline(always)]
fn on_xmm(c: &mut Cpu, i: &Instruction, b: Vec128, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    let d = xmm(i, 0);
    let mut e = Env::new(c.fpu.mxcsr);
    let r = f(&mut e, c.fpu.xmm[d], b);
    c.settle(&e)?;
    c.fpu.xmm[d] = r;
    Ok(())
}
#[inline(always)]
fn on_full(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_m128::<true>(i, 1)?;
    on_xmm(c, i, b, f)
}
#[inline(always)]
fn on_low<T: Plain + Into<u64>>(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_narrow::<T>(i, 1)?;
    on_xmm(c, i, b, f)
}

/// COMIx and UCOMIx.
#[inline(always)]
fn compare<T: Lane + Plain + Into<u64>>(c: &mut Cpu, i: &Instruction, signals: bool) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_narrow::<T>(i, 1)?;
    let a = c.fpu.xmm[xmm(i, 0)];
    let mut e = Env::new(c.fpu.mxcsr);
    let order = sse::compare(&mut e, T::narrow(a.low64()), T::narrow(b.low64()), signals);
    c.settle(&e)?;
    c.lazy = LazyFlags::from_bits(sse::comparison_flags(order));
    Ok(())
}

#[inline(always)]
fn to_gpr<T: Lane + Plain + Into<u64>>(
    c: &mut Cpu,
    i: &Instruction,
    bits: u32,
    rounding: impl Fn(&Env) -> Rounding,
) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_narrow::<T>(i, 1)?;
    let mut e = Env::new(c.fpu.mxcsr);
    let mode = rounding(&e);
    let v = sse::to_integer(&mut e, T::narrow(b.low64()), bits, mode);
    c.settle(&e)?;
    c.set_reg(i.op0_register(), v as u64);
    Ok(())
}
#[inline(always)]
fn from_gpr<T: Int>(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, i64) -> Vec128) -> Exec {
    c.need_sse()?;
    let v = c.read_op::<T>(i, 1)?.sx() as i64;
    let d = xmm(i, 0);
    let mut e = Env::new(c.fpu.mxcsr);
    let r = f(&mut e, c.fpu.xmm[d], v);
    c.settle(&e)?;
    c.fpu.xmm[d] = r;
    Ok(())
}

/// CVTPI2PS and CVTPI2PD: from an MMX register, which counts as an MMX instruction, or from memory, which does not.
#[inline(always)]
fn from_mmx(c: &mut Cpu, i: &Instruction, f: impl Fn(&mut Env, Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    if is_mem(i, 1) {
        let b = Vec128::from_low64(c.read_mem(i)?);
        return on_xmm(c, i, b, f);
    }
    c.need_no_pending()?;
    debug_assert!(is_mmx(i, 1));
    let b = c.fpu.mmx(mmx(i, 1));
    on_xmm(c, i, b, f)?;
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
