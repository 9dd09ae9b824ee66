//! x87, MMX, SSE and AVX: the register file and its instructions.
//!
//! | module | about |
//! |---|---|
//! | [`vec`] | a vector register as lanes |
//! | [`shape`] | one operation as a legacy instruction, VEX.128 and VEX.256 |
//! | [`packed`], [`permute`], [`strings`] | integer operations on vector registers |
//! | [`gf`], [`aes`], [`sha`] | AES-NI, PCLMULQDQ, GFNI, SHA-NI |
//! | [`half`], [`sse4a`] | F16C; AMD's SSE4A |
//! | [`soft`] | exact floating-point arithmetic for every format, rounding mode and exception |
//! | [`sse`], [`sse_packed`] | SSE floating point: MXCSR, NaN rules, and the host's arithmetic wherever it gives the same result and flags |
//! | [`f80`], [`stack`], [`x87`], [`transcendental`] | the x87's format, its register stack and status, its operations |
//! | [`quick`] | the frequent case of the x87's arithmetic |
//! | [`image`] | FXSAVE, XSAVE, FSAVE and FSTENV images |
//! | [`xsave`] | state components and the XSAVE family |
//! | [`host`] | what only an x86-64 host's own instructions can tell |
//! | `portable`, `elementary`, `wide` | the transcendental functions for other hosts |
//! | [`access`] | checks and operands of an instruction |
//! | [`moves`], [`packed_ops`], [`avx_ops`], [`masked_ops`], [`sse_float_ops`], [`fma_ops`], [`crypto_ops`], [`x87_ops`], [`state_ops`] | the executors |

mod access;
mod aes;
mod avx_ops;
mod crypto_ops;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod elementary;
pub(crate) mod f80;
mod fma_ops;
mod gf;
mod half;
mod host;
mod image;
mod masked_ops;
mod moves;
pub(crate) mod packed;
mod packed_ops;
mod permute;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
mod quick;
mod sha;
mod shape;
pub(crate) mod soft;
pub(crate) mod sse;
mod sse4a;
mod sse_float_ops;
pub(crate) mod sse_packed;
mod stack;
mod state_ops;
pub(crate) mod strings;
mod transcendental;
pub(crate) mod vec;
#[cfg(any(test, not(target_arch = "x86_64")))]
mod wide;
pub(crate) mod x87;
mod x87_ops;
pub(crate) mod xsave;

#[cfg(test)]
mod crypto_tests;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod oracle;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod oracle_native;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod portable_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::block::Executor;
use f80::F80;
use gearbox_core::x86::state::FpuState;
use iced_x86::{EncodingKind, Instruction};
use vec::Vec128;

/// What executes `i`, if it belongs to x87, MMX, SSE or AVX.
pub(crate) fn executor(i: &Instruction) -> Option<Executor> {
    // EVEX, MVEX and XOP share their mnemonics with VEX.
    if !matches!(i.encoding(), EncodingKind::Legacy | EncodingKind::VEX) {
        return None;
    }
    moves::executor(i)
        .or_else(|| packed_ops::executor(i))
        .or_else(|| avx_ops::executor(i))
        .or_else(|| masked_ops::executor(i))
        .or_else(|| sse_float_ops::executor(i))
        .or_else(|| fma_ops::executor(i))
        .or_else(|| half::executor(i))
        .or_else(|| crypto_ops::executor(i))
        .or_else(|| sse4a::executor(i))
        .or_else(|| x87_ops::executor(i))
        .or_else(|| state_ops::executor(i))
        .or_else(|| xsave::executor(i))
}

/// The registers of x87, MMX, SSE and the upper halves of AVX.
#[derive(Clone, Debug)]
pub(crate) struct Fpu {
    /// XMM0..15.
    pub(crate) xmm: [Vec128; 16],
    /// Upper halves of YMM0..15.
    pub(crate) ymm_hi: [Vec128; 16],
    /// SSE control and status.
    pub(crate) mxcsr: u32,
    /// x87 control word.
    pub(crate) fcw: u16,
    /// x87 status word, without TOP.
    fsw: u16,
    /// Which physical register is ST(0).
    top: u8,
    /// Which physical registers are not empty, a bit each.
    valid: u8,
    /// The physical registers R0..R7. MMX registers are their significands.
    regs: [F80; 8],
    /// Opcode of the last x87 instruction that raised an unmasked exception (11 bits).
    pub(crate) fop: u16,
    /// Offset of the last x87 instruction.
    pub(crate) fip: u64,
    /// Offset of the last x87 memory operand.
    pub(crate) fdp: u64,
}

impl Default for Fpu {
    /// The state after RESET.
    fn default() -> Self {
        Self::from_state(&FpuState::default())
    }
}

impl Fpu {
    /// From the neutral state.
    pub(crate) fn from_state(s: &FpuState) -> Self {
        let mut f = Self {
            xmm: s.xmm.map(Vec128::from_u128),
            ymm_hi: s.ymm_hi.map(Vec128::from_u128),
            mxcsr: s.mxcsr & image::MXCSR_MASK,
            fcw: 0,
            fsw: 0,
            top: 0,
            valid: s.ftw,
            regs: [F80::ZERO; 8],
            fop: s.fop & 0x7ff,
            fip: s.fip,
            fdp: s.fdp,
        };
        f.set_control(s.fcw);
        f.set_status(s.fsw);
        for (i, &v) in s.st.iter().enumerate() {
            *f.slot_mut(i as u8) = F80::from_bits(v);
        }
        f
    }

    /// As the neutral state.
    pub(crate) fn to_state(&self) -> FpuState {
        FpuState {
            fcw: self.fcw,
            fsw: self.status(),
            ftw: self.valid,
            fop: self.fop,
            fip: self.fip,
            fdp: self.fdp,
            st: std::array::from_fn(|i| self.slot(i as u8).bits()),
            mxcsr: self.mxcsr,
            xmm: self.xmm.map(Vec128::u128),
            ymm_hi: self.ymm_hi.map(Vec128::u128),
        }
    }

    /// The MMX register `n` (0..8).
    #[inline(always)]
    pub(crate) fn mmx(&self, n: usize) -> Vec128 {
        Vec128::from_low64(self.regs[n & 7].sig)
    }
    /// Writes the low half of `v` to the MMX register `n` (0..8).
    #[inline(always)]
    pub(crate) fn set_mmx(&mut self, n: usize, v: Vec128) {
        self.regs[n & 7] = F80::new(0xffff, v.low64());
    }
    /// What every MMX instruction does to the x87: all registers become valid and TOP 0 (SDM vol. 1, 9.5.1).
    #[inline(always)]
    pub(crate) fn enter_mmx(&mut self) {
        self.top = 0;
        self.valid = 0xff;
    }
    /// EMMS.
    pub(crate) fn leave_mmx(&mut self) {
        self.top = 0;
        self.valid = 0;
    }
    /// Is an unmasked x87 exception waiting for the next waiting instruction?
    #[inline(always)]
    pub(crate) fn exception_pending(&self) -> bool {
        self.fsw & stack::ES != 0
    }
}
