//! Lazy arithmetic flags.
//!
//! An operation leaves its result, sign-extended to 64 bits, and an auxiliary word; a flag is computed when somebody asks. The auxiliary
//! word is normalised, so that reading needs neither the operation nor its operand size:
//!
//! | bits | meaning |
//! |---|---|
//! | 63 | CF |
//! | 62 | carry into the sign bit: OF = bit 63 ^ bit 62 |
//! | 8..16 | parity correction: PF is the parity of the result's low byte ^ these bits |
//! | 3 | AF |
//! | 0 | sign correction: SF = result's bit 63 ^ this bit |

use crate::int::Int;
use gearbox_core::x86::state::rflags;

/// CF, PF, AF, ZF, SF, OF.
pub(crate) const ARITH: u64 = rflags::CF | rflags::PF | rflags::AF | rflags::ZF | rflags::SF | rflags::OF;

const CARRY: u64 = 1 << 63;
const CARRY_IN: u64 = 1 << 62;
const AUX: u64 = 1 << 3;

/// The six arithmetic flags.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LazyFlags {
    /// Result, sign-extended.
    pub result: u64,
    /// Auxiliary word, see the module.
    pub aux: u64,
}

impl LazyFlags {
    /// Of a logical operation: CF = OF = AF = 0.
    #[inline(always)]
    pub(crate) fn logic<T: Int>(r: T) -> Self {
        Self { result: r.sx(), aux: 0 }
    }
    /// From a vector of carries out of each bit (borrows, for a subtraction).
    #[inline(always)]
    fn carries<T: Int>(r: T, cv: u64) -> Self {
        Self { result: r.sx(), aux: (cv << (64 - T::BITS)) & (CARRY | CARRY_IN) | cv & AUX }
    }
    /// Of `r = a + b` (+ carry).
    #[inline(always)]
    pub(crate) fn add<T: Int>(a: T, b: T, r: T) -> Self {
        let (a, b, s) = (a.zx(), b.zx(), r.zx());
        Self::carries(r, (a & b) | ((a | b) & !s))
    }
    /// Of `r = a - b` (- borrow).
    #[inline(always)]
    pub(crate) fn sub<T: Int>(a: T, b: T, r: T) -> Self {
        let (a, b, s) = (a.zx(), b.zx(), r.zx());
        Self::carries(r, (!a & b) | ((!a | b) & s))
    }
    /// A result with CF and OF given, AF = 0: shifts and multiplications.
    #[inline(always)]
    pub(crate) fn shift<T: Int>(r: T, cf: bool, of: bool) -> Self {
        Self { result: r.sx(), aux: u64::from(cf) << 63 | u64::from(cf ^ of) << 62 }
    }
    /// The same with CF replaced: INC, DEC, CLC and the bit tests.
    #[inline(always)]
    pub(crate) fn with_cf(self, cf: bool) -> Self {
        self.with_cf_of(cf, self.of())
    }
    /// The same with CF and OF replaced: rotations.
    #[inline(always)]
    pub(crate) fn with_cf_of(self, cf: bool, of: bool) -> Self {
        let aux = self.aux & !(CARRY | CARRY_IN) | u64::from(cf) << 63 | u64::from(cf ^ of) << 62;
        Self { aux, ..self }
    }
    /// From RFLAGS bits.
    pub(crate) fn from_bits(f: u64) -> Self {
        let (zf, sf, pf) = (f & rflags::ZF != 0, f & rflags::SF != 0, f & rflags::PF != 0);
        let result = u64::from(!zf);
        let parity = result & 0xff ^ u64::from(!pf);
        let (cf, of) = (f & rflags::CF, f >> 11 & 1);
        let af = u64::from(f & rflags::AF != 0) << 3;
        Self { result, aux: cf << 63 | (cf ^ of) << 62 | parity << 8 | af | u64::from(sf) }
    }
    /// As RFLAGS bits.
    pub(crate) fn bits(self) -> u64 {
        u64::from(self.cf())
            | u64::from(self.pf()) << 2
            | u64::from(self.af()) << 4
            | u64::from(self.zf()) << 6
            | u64::from(self.sf()) << 7
            | u64::from(self.of()) << 11
    }
    /// Carry.
    #[inline(always)]
    pub(crate) fn cf(self) -> bool {
        (self.aux as i64) < 0
    }
    /// Parity.
    #[inline(always)]
    pub(crate) fn pf(self) -> bool {
        ((self.result ^ self.aux >> 8) as u8).count_ones() & 1 == 0
    }
    /// Auxiliary carry.
    #[inline(always)]
    pub(crate) fn af(self) -> bool {
        self.aux & AUX != 0
    }
    /// Zero.
    #[inline(always)]
    pub(crate) fn zf(self) -> bool {
        self.result == 0
    }
    /// Sign.
    #[inline(always)]
    pub(crate) fn sf(self) -> bool {
        ((self.result ^ self.aux << 63) as i64) < 0
    }
    /// Overflow.
    #[inline(always)]
    pub(crate) fn of(self) -> bool {
        ((self.aux ^ self.aux << 1) as i64) < 0
    }
    /// Condition `cc` as encoded in the low four bits of Jcc, SETcc and CMOVcc.
    #[inline(always)]
    pub(crate) fn cond(self, cc: u8) -> bool {
        let v = match cc >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        v ^ (cc & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_round_trips() {
        for f in (0..1 << 12).map(|f| f & ARITH) {
            assert_eq!(LazyFlags::from_bits(f).bits(), f, "{f:#x}");
        }
    }

    #[test]
    fn byte_arithmetic_has_the_flags_of_the_manual() {
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let r = a.wrapping_add(b);
                let f = LazyFlags::add(a, b, r);
                assert_eq!(f.cf(), a.checked_add(b).is_none());
                assert_eq!(f.of(), (a as i8).checked_add(b as i8).is_none());
                assert_eq!(f.af(), (a & 15) + (b & 15) > 15);
                assert_eq!((f.zf(), f.sf(), f.pf()), (r == 0, r >> 7 != 0, r.count_ones() % 2 == 0));
                let r = a.wrapping_sub(b);
                let f = LazyFlags::sub(a, b, r);
                assert_eq!(f.cf(), a < b);
                assert_eq!(f.of(), (a as i8).checked_sub(b as i8).is_none());
                assert_eq!(f.af(), a & 15 < b & 15);
            }
        }
    }
}
