//! Arithmetic on 128-bit significands, for the series of [`elementary`](super::elementary): each operation errs by a unit or two in the last
//! of 128 bits, where an x87 result has 64.

use super::soft::{Exact, exact_sum};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A number that may be zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide(pub Option<Exact>);

impl Wide {
    pub(super) const ZERO: Self = Self(None);
    pub(super) const ONE: Self = Self::new(0, 1 << 127);

    /// `sig` × 2^(`exp` - 127), positive; bit 127 of `sig` is set.
    pub(super) const fn new(exp: i32, sig: u128) -> Self {
        Self(Some(Exact { sign: false, exp, sig }))
    }
    pub(super) fn integer(v: i64) -> Self {
        let (magnitude, shift) = (u128::from(v.unsigned_abs()), u128::from(v.unsigned_abs()).leading_zeros());
        if v == 0 {
            return Self::ZERO;
        }
        Self(Some(Exact { sign: v < 0, exp: 127 - shift as i32, sig: magnitude << shift }))
    }
    pub(super) fn is_negative(self) -> bool {
        self.0.is_some_and(|e| e.sign)
    }
    pub(super) fn abs(self) -> Self {
        Self(self.0.map(|e| Exact { sign: false, ..e }))
    }
    /// Times 2^`by`.
    pub(super) fn scale(self, by: i32) -> Self {
        Self(self.0.map(|e| Exact { exp: e.exp + by, ..e }))
    }
    /// The exponent of the highest bit; that of zero is below all others.
    pub(super) fn exponent(self) -> i32 {
        self.0.map_or(i32::MIN / 2, |e| e.exp)
    }
    /// Rounded to the nearest integer; meant for small numbers.
    pub(super) fn to_nearest(self) -> i64 {
        let Some(e) = self.0 else { return 0 };
        let magnitude = match e.exp {
            0..62 => ((e.sig >> (126 - e.exp)) as i64 + 1) >> 1,
            -1 => 1,
            _ => 0,
        };
        if e.sign { -magnitude } else { magnitude }
    }
}

impl Neg for Wide {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.map(|e| Exact { sign: !e.sign, ..e }))
    }
}
impl Add for Wide {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(exact_sum(a, b)),
            (a, b) => Self(a.or(b)),
        }
    }
}
impl Sub for Wide {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}
impl Mul for Wide {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let (Some(a), Some(b)) = (self.0, other.0) else { return Self::ZERO };
        let (high, low) = product(a.sig, b.sig);
        let (exp, sign) = (a.exp + b.exp, a.sign ^ b.sign);
        Self(Some(if high >> 127 != 0 {
            Exact { sign, exp: exp + 1, sig: high | u128::from(low != 0) }
        } else {
            Exact { sign, exp, sig: high << 1 | low >> 127 | u128::from(low << 1 != 0) }
        }))
    }
}
impl Div for Wide {
    type Output = Self;
    /// The divisor is never zero.
    fn div(self, other: Self) -> Self {
        let (Some(a), Some(b)) = (self.0, other.0) else { return Self::ZERO };
        let below = a.sig < b.sig;
        // The rest stays below the divisor; what it loses at the top by doubling is subtracted at once.
        let (mut quotient, mut rest) = (u128::from(!below), if below { a.sig } else { a.sig - b.sig });
        for _ in 0..127 + u32::from(below) {
            let carried = rest >> 127 != 0;
            rest <<= 1;
            let fits = carried || rest >= b.sig;
            if fits {
                rest = rest.wrapping_sub(b.sig);
            }
            quotient = quotient << 1 | u128::from(fits);
        }
        let sig = quotient | u128::from(rest != 0);
        Self(Some(Exact { sign: a.sign ^ b.sign, exp: a.exp - b.exp - i32::from(below), sig }))
    }
}

/// The product in two halves.
fn product(a: u128, b: u128) -> (u128, u128) {
    let split = |v: u128| (v >> 64, v & u128::from(u64::MAX));
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    let (low, cross1, cross2, high) = (al * bl, ah * bl, al * bh, ah * bh);
    let middle = (low >> 64) + split(cross1).1 + split(cross2).1;
    (high + (cross1 >> 64) + (cross2 >> 64) + (middle >> 64), middle << 64 | split(low).1)
}
