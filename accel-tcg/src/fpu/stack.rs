//! The x87 register stack, control and status words, and how exceptions are noted (SDM vol. 1, 8.1 and 8.4 to 8.6).

use super::Fpu;
use super::f80::F80;
use super::soft::flag::*;
use super::soft::{Control, Format, Rounding};

/// Status word: stack fault.
pub(super) const SF: u16 = 1 << 6;
/// Status word: an unmasked exception is pending.
pub(super) const ES: u16 = 1 << 7;
/// Status word: busy, today a copy of [`ES`].
const B: u16 = 1 << 15;
/// Status word: condition codes.
pub(super) const C0: u16 = 1 << 8;
pub(super) const C1: u16 = 1 << 9;
pub(super) const C2: u16 = 1 << 10;
pub(super) const C3: u16 = 1 << 14;
/// All of the condition codes.
pub(super) const CONDITIONS: u16 = C0 | C1 | C2 | C3;
/// Status word: TOP.
const TOP: u16 = 7 << 11;
/// Control word: bits that can be written. Bit 6 always reads as one.
const CONTROL_BITS: u16 = 0x1f3f;
const CONTROL_ONES: u16 = 0x40;

impl Fpu {
    // ---- control and status

    /// The status word, TOP included.
    pub(crate) fn status(&self) -> u16 {
        self.fsw | u16::from(self.top) << 11
    }
    /// Sets the status word and TOP; ES and B follow from the flags and masks.
    pub(crate) fn set_status(&mut self, v: u16) {
        self.fsw = v & !TOP;
        self.top = (v >> 11 & 7) as u8;
        self.update_summary();
    }
    /// Sets the control word; what it unmasks becomes pending.
    pub(crate) fn set_control(&mut self, v: u16) {
        self.fcw = v & CONTROL_BITS | CONTROL_ONES;
        self.update_summary();
    }
    fn update_summary(&mut self) {
        let pending = u32::from(self.fsw) & self.unmasked() != 0;
        self.fsw = self.fsw & !(ES | B) | if pending { ES | B } else { 0 };
    }
    /// FNINIT.
    pub(crate) fn init(&mut self) {
        (self.fsw, self.top, self.valid) = (0, 0, 0);
        (self.fop, self.fip, self.fdp) = (0, 0, 0);
        self.set_control(0x37f);
    }
    /// FNCLEX.
    pub(crate) fn clear_exceptions(&mut self) {
        self.fsw &= CONDITIONS;
    }

    /// Exceptions that the control word does not mask.
    #[inline(always)]
    pub(super) fn unmasked(&self) -> u32 {
        !u32::from(self.fcw) & ALL
    }
    /// Does the control word mask every exception? Then none is pending.
    #[inline(always)]
    pub(crate) fn all_masked(&self) -> bool {
        self.unmasked() == 0
    }
    /// Rounding control.
    #[inline(always)]
    pub(super) fn rounding(&self) -> Rounding {
        Rounding::from_bits(u32::from(self.fcw >> 10))
    }
    /// Rounding and masks.
    #[inline(always)]
    pub(super) fn control(&self) -> Control {
        Control { rounding: self.rounding(), unmasked: self.unmasked(), flush: false }
    }
    /// The format to which FADD, FSUB, FMUL, FDIV and FSQRT round (precision control).
    #[inline(always)]
    pub(super) fn precision(&self) -> Format {
        match self.fcw >> 8 & 3 {
            0 => Format::EXTENDED.with_precision(24),
            2 => Format::EXTENDED.with_precision(53),
            _ => Format::EXTENDED,
        }
    }

    /// The precision to which [`quick`](super::quick) arithmetic may round: to nearest, with every exception masked.
    #[inline(always)]
    pub(super) fn quick_precision(&self) -> Option<u32> {
        match self.fcw & 0xf3f {
            0x33f => Some(64),
            0x23f => Some(53),
            0x03f => Some(24),
            _ => None,
        }
    }
    /// Notes a rounded result where precision is masked.
    #[inline(always)]
    pub(crate) fn note_rounding(&mut self, inexact: bool, up: bool) {
        self.fsw = self.fsw & !C1 | if inexact { PE as u16 } else { 0 } | if up { C1 } else { 0 };
    }

    /// Notes exceptions.
    #[inline(always)]
    pub(super) fn raise(&mut self, flags: u32) {
        self.fsw |= flags as u16;
        if flags & self.unmasked() != 0 {
            self.fsw |= ES | B;
        }
    }
    /// Sets C1 alone.
    #[inline(always)]
    pub(super) fn set_c1(&mut self, v: bool) {
        self.fsw = self.fsw & !C1 | if v { C1 } else { 0 };
    }
    /// Clears C2, "incomplete".
    #[inline(always)]
    pub(super) fn clear_c2(&mut self) {
        self.fsw &= !C2;
    }
    /// Replaces all condition codes.
    #[inline(always)]
    pub(super) fn set_conditions(&mut self, v: u16) {
        self.fsw = self.fsw & !CONDITIONS | v;
    }
    /// Notes `flags` before anything is written. False when one of those that suppress the operation is unmasked; only they are noted
    /// then, and C1 is clear.
    #[inline(always)]
    pub(super) fn may_proceed(&mut self, flags: u32) -> bool {
        if flags & BEFORE & self.unmasked() == 0 {
            return true;
        }
        self.set_c1(false);
        self.raise(flags & BEFORE);
        false
    }
    /// Stack underflow: an operand is empty. True when the masked response is wanted.
    #[cold]
    pub(super) fn underflow(&mut self) -> bool {
        self.stack_fault(false)
    }
    /// Stack overflow: a push onto a register that is not empty. True when the masked response is wanted.
    #[cold]
    pub(super) fn overflow(&mut self) -> bool {
        self.stack_fault(true)
    }
    fn stack_fault(&mut self, overflow: bool) -> bool {
        self.set_c1(overflow);
        self.fsw |= SF;
        self.raise(IE);
        self.unmasked() & IE == 0
    }

    // ---- registers

    /// The physical number of ST(`i`).
    #[inline(always)]
    fn physical(&self, i: u8) -> usize {
        usize::from(self.top.wrapping_add(i) & 7)
    }
    /// ST(`i`), even if empty.
    #[inline(always)]
    pub(super) fn slot(&self, i: u8) -> F80 {
        self.regs[self.physical(i)]
    }
    /// ST(`i`), even if empty, without marking it valid.
    #[inline(always)]
    pub(super) fn slot_mut(&mut self, i: u8) -> &mut F80 {
        let p = self.physical(i);
        &mut self.regs[p]
    }
    /// Is ST(`i`) empty?
    #[inline(always)]
    pub(super) fn is_empty(&self, i: u8) -> bool {
        self.valid >> self.physical(i) & 1 == 0
    }
    /// ST(`i`), unless it is empty.
    #[inline(always)]
    pub(super) fn st(&self, i: u8) -> Option<F80> {
        let p = self.physical(i);
        (self.valid >> p & 1 != 0).then(|| self.regs[p])
    }
    /// Writes ST(`i`) and marks it valid.
    #[inline(always)]
    pub(super) fn set_st(&mut self, i: u8, v: F80) {
        let p = self.physical(i);
        self.regs[p] = v;
        self.valid |= 1 << p;
    }
    /// Marks ST(`i`) empty.
    #[inline(always)]
    pub(super) fn free(&mut self, i: u8) {
        self.valid &= !(1 << self.physical(i));
    }
    /// Marks ST(0) empty and makes ST(1) the top.
    #[inline(always)]
    pub(crate) fn pop(&mut self) {
        self.free(0);
        self.rotate(1);
    }
    /// Pushes a value, with stack overflow when there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, v: F80) {
        if !self.is_empty(7) {
            if self.overflow() {
                self.rotate(-1);
                self.set_st(0, F80::INDEFINITE);
            }
            return;
        }
        self.set_c1(false);
        self.rotate(-1);
        self.set_st(0, v);
    }
    /// Adds to TOP.
    #[inline(always)]
    pub(super) fn rotate(&mut self, by: i8) {
        self.top = self.top.wrapping_add_signed(by) & 7;
    }

    /// The full tag word: two bits for each physical register.
    pub(super) fn full_tags(&self) -> u16 {
        (0..8).fold(0, |w, p| {
            let v = self.regs[p];
            let tag = match v.exponent() {
                _ if self.valid >> p & 1 == 0 => 3,
                0 if v.sig == 0 => 1,
                _ if v.is_normal() => 0,
                _ => 2,
            };
            w | tag << (2 * p)
        })
    }
    /// Takes over a full tag word; only "empty" matters.
    pub(super) fn set_full_tags(&mut self, w: u16) {
        self.valid = (0..8).fold(0, |v, p| v | u8::from(w >> (2 * p) & 3 != 3) << p);
    }
}
