//! Flags that translated code has not computed: what was done to which operands.
//!
//! Computing [`LazyFlags`] takes more instructions than the operation itself, and most flags are never looked at. So translated code stores the operands, and
//! whoever leaves translated code turns them into flags.

use crate::cpu::Cpu;
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::ops::arith::{self, Shift as _};
use crate::ops::operand::sized;
use gearbox_core::x86::state::rflags;

/// What the operands were of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    /// `a + b`.
    Add = 1,
    /// `a - b`.
    Sub,
    /// A logical operation whose result is `a`.
    Logic,
    /// `a << b`.
    Shl,
    /// `a >> b`.
    Shr,
    /// The same with signs.
    Sar,
    /// `a * b`, signed.
    Imul,
    /// `a + 1`; CF is that of [`Cpu::lazy`].
    Inc,
    /// `a - 1`; CF likewise.
    Dec,
    /// A logical operation, whose flags LAHF put into the second byte of `a`.
    Host,
    /// A bit test, of whose flags only CF is known: that is [`Pending::carry`], and no kind.
    Bit,
}

impl Operation {
    /// With the operand size, as it stands in [`Pending::kind`].
    pub(super) fn of_size(self, size: u8) -> u8 {
        (self as u8) << 4 | size
    }
}

/// Of [`Pending::carry`].
pub(super) const CARRY_KNOWN: u8 = 2;

/// The last operation whose flags are not in [`Cpu::lazy`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Pending {
    /// [`Operation::of_size`]; 0 if there is none: the flags are in [`Cpu::lazy`].
    pub(super) kind: u8,
    /// What CF is all the same, since a bit test after the operation: [`CARRY_KNOWN`] and CF. 0 without one.
    pub(super) carry: u8,
    /// Operands. Bits beyond the operand's size mean nothing.
    pub(super) a: u64,
    pub(super) b: u64,
}

/// Puts pending flags where everybody else looks for them.
///
/// # Safety
/// `c` is the CPU whose translated code calls.
pub(super) unsafe extern "C" fn resolve(c: *mut Cpu) {
    // SAFETY: the caller's.
    let c = unsafe { &mut *c };
    let Pending { kind, carry, a, b } = c.pending;
    (c.pending.kind, c.pending.carry) = (0, 0);
    if kind >> 4 == Operation::Host as u8 {
        const LOGICAL: u64 = rflags::SF | rflags::ZF | rflags::PF;
        c.lazy = LazyFlags::from_bits(a >> 8 & LOGICAL);
    } else if kind != 0 {
        c.lazy = sized!((kind & 15).into(), T => flags::<T>(kind >> 4, T::cut(a), T::cut(b), c.lazy));
    }
    if carry != 0 {
        c.lazy = c.lazy.with_cf(carry & 1 != 0);
    }
}

fn flags<T: Int>(operation: u8, a: T, b: T, before: LazyFlags) -> LazyFlags {
    use arith::{Binary, Unary};
    const ADD: u8 = Operation::Add as u8;
    const SUB: u8 = Operation::Sub as u8;
    const LOGIC: u8 = Operation::Logic as u8;
    const SHL: u8 = Operation::Shl as u8;
    const SHR: u8 = Operation::Shr as u8;
    const SAR: u8 = Operation::Sar as u8;
    const IMUL: u8 = Operation::Imul as u8;
    const INC: u8 = Operation::Inc as u8;
    const DEC: u8 = Operation::Dec as u8;
    match operation {
        ADD => arith::Add::apply(a, b, before).1,
        SUB => arith::Sub::apply(a, b, before).1,
        LOGIC => LazyFlags::logic(a),
        SHL => arith::Shl::apply(a, b.zx() as u32, before).1,
        SHR => arith::Shr::apply(a, b.zx() as u32, before).1,
        SAR => arith::Sar::apply(a, b.zx() as u32, before).1,
        IMUL => arith::multiply(a, b).1,
        INC => arith::Inc::apply(a, before).1,
        DEC => arith::Dec::apply(a, before).1,
        _ => before,
    }
}
