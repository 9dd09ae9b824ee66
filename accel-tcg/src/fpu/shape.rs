//! The shapes of a vector instruction: its legacy form, VEX.128 and VEX.256 (SDM vol. 1, 14.1 and 14.3). One operation serves them all;
//! the shape says where its operands are, how many halves of a register it works on, and what becomes of the rest.
//!
//! | | first source | memory operand | bits above the result |
//! |---|---|---|---|
//! | legacy | the destination | aligned | stay |
//! | VEX.128, VEX.256 | an operand of its own | at any address | zeros |

use super::access::{is_mem, vreg};
use super::vec::{Vec128, Vec256};
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::state::{cr0, cr4};
use iced_x86::{EncodingKind, Instruction, OpKind, Register};

/// What a vector instruction looks like.
pub(super) trait Shape {
    /// It has a VEX prefix.
    const VEX: bool;
    /// Halves of a YMM register that it works on.
    const HALVES: usize;
    /// Bytes of a whole operand.
    const LEN: usize = 16 * Self::HALVES;
}

/// MMX's heirs: SSE to SSE4.2, AES and so on, without VEX.
pub(super) struct Legacy;
/// VEX with L = 0, or where L is ignored.
pub(super) struct Vex128;
/// VEX with L = 1.
pub(super) struct Vex256;

impl Shape for Legacy {
    const VEX: bool = false;
    const HALVES: usize = 1;
}
impl Shape for Vex128 {
    const VEX: bool = true;
    const HALVES: usize = 1;
}
impl Shape for Vex256 {
    const VEX: bool = true;
    const HALVES: usize = 2;
}

/// A shape as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Legacy,
    Vex128,
    Vex256,
}

impl Form {
    /// The shape of `i`: 256 bits wide if one of its operands is.
    pub(super) fn of(i: &Instruction) -> Self {
        let ymm = |n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_ymm();
        match i.encoding() {
            EncodingKind::VEX if (0..i.op_count()).any(ymm) || i.memory_size().size() == 32 => Self::Vex256,
            EncodingKind::VEX => Self::Vex128,
            _ => Self::Legacy,
        }
    }
}

/// Evaluates an expression with a type standing for the shape of an instruction.
macro_rules! shaped {
    ($i:expr, $S:ident => $e:expr) => {
        match $crate::fpu::shape::Form::of($i) {
            $crate::fpu::shape::Form::Legacy => {
                type $S = $crate::fpu::shape::Legacy;
                $e
            }
            $crate::fpu::shape::Form::Vex128 => {
                type $S = $crate::fpu::shape::Vex128;
                $e
            }
            $crate::fpu::shape::Form::Vex256 => {
                type $S = $crate::fpu::shape::Vex256;
                $e
            }
        }
    };
}
/// The same for an instruction that works on 128 bits or less in any form.
macro_rules! shaped_128 {
    ($i:expr, $S:ident => $e:expr) => {
        if $crate::fpu::shape::Form::of($i) == $crate::fpu::shape::Form::Legacy {
            type $S = $crate::fpu::shape::Legacy;
            $e
        } else {
            type $S = $crate::fpu::shape::Vex128;
            $e
        }
    };
}
/// The same for an instruction that there is with VEX only.
macro_rules! shaped_vex {
    ($i:expr, $S:ident => $e:expr) => {
        if $crate::fpu::shape::Form::of($i) == $crate::fpu::shape::Form::Vex256 {
            type $S = $crate::fpu::shape::Vex256;
            $e
        } else {
            type $S = $crate::fpu::shape::Vex128;
            $e
        }
    };
}
pub(super) use {shaped, shaped_128, shaped_vex};

/// Applies `f` to the halves that `S` has.
#[inline(always)]
pub(super) fn halves<S: Shape>(mut f: impl FnMut(usize) -> Vec128) -> Vec256 {
    [f(0), if S::HALVES == 2 { f(1) } else { Vec128::default() }]
}

/// Number of the operand that may be in memory, after the destination and (with VEX) perhaps a first source.
#[inline(always)]
pub(super) fn rm<S: Shape>(i: &Instruction) -> u32 {
    let third = S::VEX && (i.op2_register() != Register::None || i.op2_kind() == OpKind::Memory);
    1 + u32::from(third)
}
/// Number of the operand that is the first of two sources.
#[inline(always)]
pub(super) fn first<S: Shape>() -> u32 {
    u32::from(S::VEX)
}

impl Cpu {
    /// #UD or #NM where an instruction with VEX may not be executed (SDM vol. 2, 2.4, exception classes 1 to 13).
    #[inline(always)]
    pub(super) fn need_avx(&self) -> Exec {
        const ENABLED: u64 = 6;
        let known = self.cr4 & cr4::OSXSAVE != 0 && self.xcr0 & ENABLED == ENABLED && self.protected() && !self.v86();
        match () {
            () if !known => Err(Fault::UD),
            () if self.cr0 & cr0::TS != 0 => Err(Fault::NM),
            () => Ok(()),
        }
    }
    /// May an instruction of this shape be executed?
    #[inline(always)]
    pub(super) fn need<S: Shape>(&self) -> Exec {
        if S::VEX { self.need_avx() } else { self.need_sse() }
    }

    /// Register `n` as far as `S` works on it.
    #[inline(always)]
    pub(super) fn vector<S: Shape>(&self, n: usize) -> Vec256 {
        halves::<S>(|h| if h == 0 { self.fpu.xmm[n & 15] } else { self.fpu.ymm_hi[n & 15] })
    }
    /// Writes register `n`, and zeros above if `S` has VEX.
    #[inline(always)]
    pub(super) fn set_vector<S: Shape>(&mut self, n: usize, v: Vec256) {
        self.fpu.xmm[n & 15] = v[0];
        if S::VEX {
            self.fpu.ymm_hi[n & 15] = if S::HALVES == 2 { v[1] } else { Vec128::default() };
        }
    }
    /// Writes the destination, operand 0.
    #[inline(always)]
    pub(super) fn put<S: Shape>(&mut self, i: &Instruction, v: Vec256) {
        self.set_vector::<S>(vreg(i, 0), v);
    }
    /// Writes the destination, operand 0, of which only the low half can be other than zero.
    #[inline(always)]
    pub(super) fn put_low<S: Shape>(&mut self, i: &Instruction, v: Vec128) {
        self.put::<S>(i, [v, Vec128::default()]);
    }
    /// The first of two sources, a register.
    #[inline(always)]
    pub(super) fn first<S: Shape>(&self, i: &Instruction) -> Vec256 {
        self.vector::<S>(vreg(i, first::<S>()))
    }
    /// The linear address of a memory operand of `len` bytes that must be aligned to as many: #GP(0) if it is not.
    #[inline(always)]
    pub(super) fn aligned_operand(&mut self, i: &Instruction, len: usize, a: Access) -> Exec<u64> {
        let wrong = |at: u64| at & (len as u64 - 1) != 0;
        // That it is misaligned counts for more than that it is not canonical, or beyond a limit.
        let lin = self.operand_linear(i, len, a).map_err(|f| if wrong(self.ea(i)) { Fault::GP0 } else { f })?;
        if wrong(lin) { Err(Fault::GP0) } else { Ok(lin) }
    }
    /// Reads a whole register, or as many bytes of memory, which must be aligned just if `aligned`.
    #[inline(always)]
    pub(super) fn whole<S: Shape>(&mut self, i: &Instruction, n: u32, aligned: bool) -> Exec<Vec256> {
        if !is_mem(i, n) {
            return Ok(self.vector::<S>(vreg(i, n)));
        }
        let lin = if aligned {
            self.aligned_operand(i, S::LEN, Access::Read)?
        } else {
            self.operand_linear(i, S::LEN, Access::Read)?
        };
        if S::HALVES == 2 {
            self.load(lin, self.privilege())
        } else {
            Ok([self.load(lin, self.privilege())?, Vec128::default()])
        }
    }
    /// Reads the source that may be in memory, whole.
    #[inline(always)]
    pub(super) fn source<S: Shape>(&mut self, i: &Instruction) -> Exec<Vec256> {
        self.whole::<S>(i, rm::<S>(i), !S::VEX)
    }
    /// Reads an XMM register, or `len` bytes of memory, zero-extended.
    #[inline(always)]
    pub(super) fn xmm_or_bytes(&mut self, i: &Instruction, n: u32, len: usize) -> Exec<Vec128> {
        if !is_mem(i, n) {
            return Ok(self.fpu.xmm[vreg(i, n)]);
        }
        Ok(match len {
            1 => Vec128::from_low64(self.read_mem::<u8>(i)?.into()),
            2 => Vec128::from_low64(self.read_mem::<u16>(i)?.into()),
            4 => Vec128::from_low64(self.read_mem::<u32>(i)?.into()),
            8 => Vec128::from_low64(self.read_mem::<u64>(i)?),
            _ => self.read_mem(i)?,
        })
    }
}
