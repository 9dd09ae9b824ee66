//! The frequent case of x87 arithmetic: normal operands and a normal result, rounded to nearest with every exception masked. The same
//! results as [`soft`](super::soft), without taking the numbers apart and looking at what they might be.

use super::f80::F80;
use super::soft::{Format, Op, Rounding, cut, shift_right_sticky};
use std::cmp::Ordering;

/// A result, and whether it is inexact and was rounded up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quick {
    pub value: F80,
    pub inexact: bool,
    pub up: bool,
}

/// Rounds a normalised significand (bit 127 set) under the biased exponent `field`; `None` if the result might not be normal.
#[inline(always)]
fn round(sign: u16, field: i32, sig: u128, precision: u32) -> Option<Quick> {
    let (sig, carried, inexact, up) = cut(false, sig, precision, Rounding::Nearest);
    let (field, sig) = if carried { (field + 1, 1 << 63) } else { (field, sig) };
    let value = F80::new(sign | field as u16, sig);
    (0 < field && field < 0x7fff).then_some(Quick { value, inexact, up })
}

/// `a op b` rounded to `precision` bits.
#[inline(always)]
pub(super) fn arithmetic(op: Op, a: F80, b: F80, precision: u32) -> Option<Quick> {
    if !(a.is_normal() && b.is_normal()) {
        return None;
    }
    const BIAS: i32 = Format::EXTENDED.emax;
    let sign = (a.se ^ b.se) & 0x8000;
    let (x, y) = (i32::from(a.exponent()), i32::from(b.exponent()));
    match op {
        Op::Add => sum(a, b, precision),
        Op::Sub => sum(a, F80::new(b.se ^ 0x8000, b.sig), precision),
        Op::Mul => {
            let p = u128::from(a.sig) * u128::from(b.sig);
            let top = (p >> 127) as i32;
            round(sign, x + y - BIAS + top, p << (1 - top), precision)
        }
        Op::Div => {
            let below = a.sig < b.sig;
            let dividend = u128::from(a.sig) << (63 + u32::from(below));
            let (q, r) = (dividend / u128::from(b.sig), (dividend % u128::from(b.sig)) as u64);
            // Of the rest only counts how it compares with half of the last bit.
            let rest = match r.cmp(&(b.sig - r)) {
                _ if r == 0 => 0,
                Ordering::Less => 1,
                Ordering::Equal => 1 << 63,
                Ordering::Greater => 1 << 63 | 1,
            };
            round(sign, x - y + BIAS - i32::from(below), q << 64 | rest, precision)
        }
    }
}

#[inline(always)]
fn sum(a: F80, b: F80, precision: u32) -> Option<Quick> {
    let (a, b) = if (a.exponent(), a.sig) < (b.exponent(), b.sig) { (b, a) } else { (a, b) };
    let distance = u32::from(a.exponent() - b.exponent());
    let (x, y) = (u128::from(a.sig) << 63, shift_right_sticky(u128::from(b.sig) << 63, distance));
    let same = (a.se ^ b.se) & 0x8000 == 0;
    let s = if same { x + y } else { x - y };
    if s == 0 {
        return None;
    }
    let shift = s.leading_zeros();
    round(a.se & 0x8000, i32::from(a.exponent()) + 1 - shift as i32, s << shift, precision)
}

impl F80 {
    /// A normal binary64 value, or zero.
    #[inline(always)]
    pub(crate) fn from_ordinary_double(bits: u64) -> Option<Self> {
        let (sign, field) = ((bits >> 48) as u16 & 0x8000, (bits >> 52) as u16 & 0x7ff);
        if field.wrapping_sub(1) < 0x7fe {
            Some(Self::new(sign | (field + (16383 - 1023)), 1 << 63 | bits << 11))
        } else {
            (bits << 1 == 0).then(|| Self::new(sign, 0))
        }
    }
    /// A normal binary32 value, or zero.
    #[inline(always)]
    pub(crate) fn from_ordinary_single(bits: u32) -> Option<Self> {
        let (sign, field) = ((bits >> 16) as u16 & 0x8000, (bits >> 23) as u16 & 0xff);
        if field.wrapping_sub(1) < 0xfe {
            Some(Self::new(sign | (field + (16383 - 127)), 1 << 63 | u64::from(bits) << 40))
        } else {
            (bits << 1 == 0).then(|| Self::new(sign, 0))
        }
    }
    /// As a normal number (or zero) of the format `f`, rounded to nearest: the encoding, inexact, rounded up.
    #[inline(always)]
    pub(super) fn to_ordinary(self, f: Format) -> Option<(u64, bool, bool)> {
        let sign = if self.sign() { f.sign_bit() } else { 0 };
        if self.sig == 0 && self.exponent() == 0 {
            return Some((sign, false, false));
        }
        let (sig, carried, inexact, up) = cut(false, u128::from(self.sig) << 64, f.precision, Rounding::Nearest);
        let field = i32::from(self.exponent()) - (Format::EXTENDED.emax - f.emax) + i32::from(carried);
        let bits = sign | (field as u64) << (f.precision - 1) | sig << 1 >> (65 - f.precision);
        (self.is_normal() && 0 < field && field <= 2 * f.emax).then_some((bits, inexact, up))
    }
    /// As an integer below 2^(`bits` - 1) in magnitude, rounded to nearest: the value, inexact, rounded up.
    #[inline(always)]
    pub(super) fn to_ordinary_integer(self, bits: i32) -> Option<(i64, bool, bool)> {
        if self.sig == 0 && self.exponent() == 0 {
            return Some((0, false, false));
        }
        let exp = i32::from(self.exponent()) - Format::EXTENDED.emax;
        if !self.is_normal() || exp >= bits - 1 {
            return None;
        }
        // The significand in units of the integer, and what is below them, left-aligned.
        let (whole, rest) = match exp {
            0.. => (self.sig >> (63 - exp), self.sig << (exp + 1)),
            -1 => (0, self.sig),
            // Less than a half, as far as rounding is concerned.
            _ => (0, 1),
        };
        let up = rest > 1 << 63 || rest == 1 << 63 && whole & 1 != 0;
        let magnitude = whole as i64 + i64::from(up);
        let value = if self.sign() { -magnitude } else { magnitude };
        (magnitude >> (bits - 1) == 0).then_some((value, rest != 0, up))
    }
}
