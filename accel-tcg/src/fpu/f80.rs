//! The 80-bit format of the x87 registers, its conversions and its NaN rules (SDM vol. 1, 4.8.3, 8.2 and 8.3).

use super::soft::flag::*;
use super::soft::{Class, Control, Format, Number, Rounded, Rounding, to_integer};

/// A double extended-precision value, as any 80 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct F80 {
    /// Significand with its explicit integer bit. An MMX register lies here.
    pub sig: u64,
    /// Sign and biased exponent.
    pub se: u16,
}

/// The quiet bit of a NaN's significand.
const QUIET: u64 = 1 << 62;
/// The explicit integer bit.
const INTEGER: u64 = 1 << 63;
/// The largest magnitude that packed BCD holds, plus one.
const BCD_LIMIT: u128 = 1_000_000_000_000_000_000;

impl F80 {
    /// +0.
    pub(crate) const ZERO: Self = Self::new(0, 0);
    /// 1.
    pub(crate) const ONE: Self = Self::new(0x3fff, INTEGER);
    /// The default NaN, "QNaN floating-point indefinite".
    pub(crate) const INDEFINITE: Self = Self::new(0xffff, INTEGER | QUIET);

    /// From sign with exponent, and significand.
    pub(crate) const fn new(se: u16, sig: u64) -> Self {
        Self { sig, se }
    }
    /// From the low 80 bits.
    pub(crate) const fn from_bits(v: u128) -> Self {
        Self::new((v >> 64) as u16, v as u64)
    }
    /// As the low 80 bits.
    pub(crate) const fn bits(self) -> u128 {
        (self.se as u128) << 64 | self.sig as u128
    }
    /// The ten bytes in memory.
    pub(crate) fn from_bytes(b: [u8; 10]) -> Self {
        let mut wide = [0; 16];
        wide[..10].copy_from_slice(&b);
        Self::from_bits(u128::from_le_bytes(wide))
    }
    /// The ten bytes in memory.
    pub(crate) fn to_bytes(self) -> [u8; 10] {
        let mut b = [0; 10];
        b.copy_from_slice(&self.bits().to_le_bytes()[..10]);
        b
    }
    /// True for minus.
    #[inline(always)]
    pub(crate) fn sign(self) -> bool {
        self.se >> 15 != 0
    }
    /// The biased exponent.
    #[inline(always)]
    pub(crate) fn exponent(self) -> u16 {
        self.se & 0x7fff
    }
    /// Neither zero, denormal, infinite, NaN nor unsupported.
    #[inline(always)]
    pub(crate) fn is_normal(self) -> bool {
        self.exponent().wrapping_sub(1) < 0x7ffe && self.sig >> 63 != 0
    }

    /// Compares normal values.
    #[inline(always)]
    pub(crate) fn compare_normal(self, other: Self) -> std::cmp::Ordering {
        match (self.sign(), other.sign()) {
            (false, true) => std::cmp::Ordering::Greater,
            (true, false) => std::cmp::Ordering::Less,
            (negative, _) => {
                let magnitudes = (self.exponent(), self.sig).cmp(&(other.exponent(), other.sig));
                if negative { magnitudes.reverse() } else { magnitudes }
            }
        }
    }

    /// Takes the value apart.
    #[inline]
    pub(crate) fn unpack(self) -> Number {
        let (sign, integer) = (self.sign(), self.sig & INTEGER != 0);
        let special = |class| Number { class, sign, exp: 0, sig: self.sig };
        match self.exponent() {
            0 => Number::denormal(sign, self.sig, Format::EXTENDED),
            _ if !integer => special(Class::Unsupported),
            0x7fff if self.sig == INTEGER => special(Class::Infinite),
            0x7fff if self.sig & QUIET != 0 => special(Class::QuietNan),
            0x7fff => special(Class::SignallingNan),
            e => Number { class: Class::Normal, sign, exp: i32::from(e) - Format::EXTENDED.emax, sig: self.sig },
        }
    }
    /// The encoding of a rounded value.
    #[inline]
    pub(crate) fn pack(r: Rounded) -> Self {
        let field = if r.sig & INTEGER != 0 { (r.exp + Format::EXTENDED.emax) as u16 & 0x7fff } else { 0 };
        Self::new(u16::from(r.sign) << 15 | field, r.sig)
    }
    /// The encoding of a finite value that is exact in this format.
    fn exact(n: Number) -> Self {
        let field = if n.class == Class::Zero { 0 } else { (n.exp + Format::EXTENDED.emax) as u16 };
        Self::new(u16::from(n.sign) << 15 | field, n.sig)
    }
    /// A NaN made quiet.
    pub(crate) fn quiet(self) -> Self {
        Self::new(self.se, self.sig | QUIET)
    }

    /// From binary32 or binary64 (`f` says which): exact, signalling NaNs still signalling. Also: was it denormal?
    #[inline]
    pub(crate) fn from_ieee(bits: u64, f: Format) -> (Self, bool) {
        let n = Number::unpack(bits, f);
        let special = |sig| (Self::new(u16::from(n.sign) << 15 | 0x7fff, INTEGER | sig), false);
        match n.class {
            Class::Infinite => special(0),
            Class::QuietNan | Class::SignallingNan => special(bits << (64 - f.precision)),
            class => (Self::exact(n), class == Class::Denormal),
        }
    }
    /// To binary32 or binary64: the encoding, the flags, and whether the magnitude was rounded up. Out of range under an unmasked
    /// exception the encoding means nothing.
    #[inline]
    pub(crate) fn to_ieee(self, f: Format, c: Control) -> (u64, u32, bool) {
        let n = self.unpack();
        match n.class {
            Class::Unsupported => (f.default_nan(), IE, false),
            Class::QuietNan | Class::SignallingNan => {
                let sign = if n.sign { f.sign_bit() } else { 0 };
                let payload = (self.sig | QUIET) << 1 >> (65 - f.precision);
                let flags = if n.class == Class::SignallingNan { IE } else { 0 };
                (sign | f.default_nan() & !f.sign_bit() | payload, flags, false)
            }
            _ => {
                let r = super::soft::convert(n, f, c);
                (r.pack(f), r.flags, r.up)
            }
        }
    }

    /// From an integer: exact.
    #[inline]
    pub(crate) fn from_int(v: i64) -> Self {
        Self::exact(Number::integer(v))
    }
    /// To an integer of `bits` bits: the value, the flags, and whether the magnitude was rounded up. What does not fit becomes the
    /// most negative integer, with IE.
    #[inline]
    pub(crate) fn to_int(self, bits: u32, rounding: Rounding) -> (i64, u32, bool) {
        let indefinite = (i64::MIN >> (64 - bits), IE, false);
        let n = self.unpack();
        if !n.is_finite_nonzero() && n.class != Class::Zero {
            return indefinite;
        }
        let (magnitude, inexact, up) = to_integer(n, rounding);
        let limit = 1 << (bits - 1);
        if magnitude > limit || magnitude == limit && !n.sign {
            return indefinite;
        }
        let v = (magnitude as i64).wrapping_mul(if n.sign { -1 } else { 1 });
        (v, if inexact { PE } else { 0 }, up)
    }

    /// From packed BCD: 18 digits and a sign. Invalid digits are taken as binary, as the processor may.
    pub(crate) fn from_bcd(b: [u8; 10]) -> Self {
        let digits = b[..9].iter().rev().fold(0i64, |v, &d| v * 100 + i64::from(d >> 4) * 10 + i64::from(d & 15));
        let v = Self::from_int(digits);
        Self::new(v.se | u16::from(b[9] >> 7) << 15, v.sig)
    }
    /// To packed BCD: the bytes, the flags, and whether the magnitude was rounded up.
    pub(crate) fn to_bcd(self, rounding: Rounding) -> ([u8; 10], u32, bool) {
        let indefinite = ([0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff], IE, false);
        let n = self.unpack();
        if !n.is_finite_nonzero() && n.class != Class::Zero {
            return indefinite;
        }
        let (magnitude, inexact, up) = to_integer(n, rounding);
        if magnitude >= BCD_LIMIT {
            return indefinite;
        }
        let mut rest = magnitude as u64;
        let mut b = [0; 10];
        for d in &mut b[..9] {
            let two = (rest % 100) as u8;
            *d = (two / 10) << 4 | (two % 10);
            rest /= 100;
        }
        b[9] = u8::from(n.sign) << 7;
        (b, if inexact { PE } else { 0 }, up)
    }

    /// The NaN that an operation on these operands yields, of which at least one is a NaN; the flags with it.
    pub(crate) fn propagate(a: Self, b: Self) -> (Self, u32) {
        let (x, y) = (a.unpack(), b.unpack());
        let signalling = [x, y].iter().any(|n| n.class == Class::SignallingNan);
        let flags = if signalling { IE } else { 0 };
        let larger = || match (a.sig | QUIET).cmp(&(b.sig | QUIET)) {
            std::cmp::Ordering::Greater => a,
            std::cmp::Ordering::Less => b,
            std::cmp::Ordering::Equal if a.sign() => b,
            std::cmp::Ordering::Equal => a,
        };
        let chosen = match (x.class, y.class) {
            (Class::QuietNan, Class::SignallingNan) => a,
            (Class::SignallingNan, Class::QuietNan) => b,
            _ if !y.is_nan() => a,
            _ if !x.is_nan() => b,
            _ => larger(),
        };
        (chosen.quiet(), flags)
    }
}
