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

/// A normal binary64 value, or zero.
#[inline(always)]
pub(super) fn from_double(bits: u64) -> Option<F80> {
    let (sign, field) = ((bits >> 48) as u16 & 0x8000, (bits >> 52) as u16 & 0x7ff);
    if field.wrapping_sub(1) < 0x7fe {
        Some(F80::new(sign | (field + (16383 - 1023)), 1 << 63 | bits << 11))
    } else {
        (bits << 1 == 0).then(|| F80::new(sign, 0))
    }
}

/// A normal value as a normal binary64 (or zero as zero), rounded to nearest; inexact; rounded up.
#[inline(always)]
pub(super) fn to_double(v: F80) -> Option<(u64, bool, bool)> {
    let sign = u64::from(v.se & 0x8000) << 48;
    if v.sig == 0 && v.exponent() == 0 {
        return Some((sign, false, false));
    }
    let (sig, carried, inexact, up) = cut(false, u128::from(v.sig) << 64, 53, Rounding::Nearest);
    let field = i32::from(v.exponent()) - (16383 - 1023) + i32::from(carried);
    let fraction = sig << 1 >> 12;
    (v.is_normal() && 0 < field && field < 0x7ff).then_some((sign | (field as u64) << 52 | fraction, inexact, up))
}
