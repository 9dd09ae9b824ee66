//! Exact binary floating-point arithmetic in integers, for every format and rounding mode of the x87 and SSE units (SDM vol. 1, chapter 4
//! and 8; IEEE 754).
//!
//! A value is taken apart into a [`Number`], an operation gives the exact (or, past 128 bits, sticky) [`Exact`] result, and
//! [`Exact::round`] brings it into a [`Format`] under a [`Control`]. What is special to a unit (NaN payloads, denormals as zeros,
//! stack faults) is not known here.

/// Exception flags, with the bit positions that MXCSR, the x87 status word and (as masks) the x87 control word share.
pub(crate) mod flag {
    /// Invalid operation.
    pub(crate) const IE: u32 = 1;
    /// Denormal operand.
    pub(crate) const DE: u32 = 2;
    /// Divide by zero.
    pub(crate) const ZE: u32 = 4;
    /// Overflow.
    pub(crate) const OE: u32 = 8;
    /// Underflow.
    pub(crate) const UE: u32 = 16;
    /// Precision (inexact result).
    pub(crate) const PE: u32 = 32;
    /// All of them.
    pub(crate) const ALL: u32 = 63;
    /// Those found before anything is computed, which suppress the others when unmasked (SDM vol. 1, 4.9.2).
    pub(crate) const BEFORE: u32 = IE | DE | ZE;
}
use flag::*;

/// A binary floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    /// Bits of significand, the integer bit included.
    pub precision: u32,
    /// Exponent of the smallest normal number.
    pub emin: i32,
    /// Exponent of the largest finite number; also the bias.
    pub emax: i32,
    /// Does the encoding omit the integer bit?
    implicit: bool,
}

impl Format {
    /// Binary16.
    pub(crate) const HALF: Self = Self::ieee(11, 15);
    /// Binary32.
    pub(crate) const SINGLE: Self = Self::ieee(24, 127);
    /// Binary64.
    pub(crate) const DOUBLE: Self = Self::ieee(53, 1023);
    /// The 80-bit format of the x87.
    pub(crate) const EXTENDED: Self = Self { implicit: false, ..Self::ieee(64, 16383) };

    const fn ieee(precision: u32, emax: i32) -> Self {
        Self { precision, emin: 1 - emax, emax, implicit: true }
    }
    /// The same exponent range with fewer bits of significand.
    pub(crate) const fn with_precision(self, precision: u32) -> Self {
        Self { precision, ..self }
    }
    /// Width of the fraction field.
    const fn fraction_bits(self) -> u32 {
        self.precision - 1
    }
    /// The exponent field of infinities and NaNs.
    const fn exponent_mask(self) -> u64 {
        2 * self.emax as u64 + 1
    }
    /// The quiet bit of an encoding with implicit integer bit.
    pub(crate) const fn quiet_bit(self) -> u64 {
        1 << (self.precision - 2)
    }
    /// The sign bit of an encoding with implicit integer bit.
    pub(crate) const fn sign_bit(self) -> u64 {
        (self.exponent_mask() + 1) << self.fraction_bits()
    }
    /// The default NaN ("QNaN floating-point indefinite") of an encoding with implicit integer bit.
    pub(crate) const fn default_nan(self) -> u64 {
        self.sign_bit() | self.exponent_mask() << self.fraction_bits() | self.quiet_bit()
    }
}

/// Rounding control, as encoded in MXCSR.RC and FCW.RC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// Toward minus infinity.
    Down,
    /// Toward plus infinity.
    Up,
    /// Toward zero.
    Zero,
}

impl Rounding {
    /// Decodes a 2-bit RC field.
    #[inline(always)]
    pub(crate) fn from_bits(rc: u32) -> Self {
        match rc & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }
}

/// How results are rounded and which exceptions are masked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    /// Rounding mode.
    pub rounding: Rounding,
    /// Exceptions that are *not* masked, see [`flag`].
    pub unmasked: u32,
    /// Results that underflow become zero (MXCSR.FTZ).
    pub flush: bool,
}

/// What kind of value a [`Number`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Zero,
    /// Finite, not zero, not denormal.
    Normal,
    /// Finite, not zero, below the format's normal numbers.
    Denormal,
    Infinite,
    QuietNan,
    SignallingNan,
    /// An 80-bit encoding that the x87 does not support: pseudo-NaN, pseudo-infinity or unnormal.
    Unsupported,
}

/// A value taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    pub class: Class,
    /// True for minus.
    pub sign: bool,
    /// Of a finite value: the exponent of bit 63 of `sig`.
    pub exp: i32,
    /// Of a finite value: the significand, bit 63 set.
    pub sig: u64,
}

impl Number {
    /// Takes an encoding with implicit integer bit apart.
    #[inline]
    pub(crate) fn unpack(bits: u64, f: Format) -> Self {
        let sign = bits & f.sign_bit() != 0;
        let fraction = (bits & ((1 << f.fraction_bits()) - 1)) << (64 - f.precision);
        let field = bits >> f.fraction_bits() & f.exponent_mask();
        if field == f.exponent_mask() {
            let class = match (fraction, bits & f.quiet_bit()) {
                (0, _) => Class::Infinite,
                (_, 0) => Class::SignallingNan,
                _ => Class::QuietNan,
            };
            Self { class, sign, exp: 0, sig: 0 }
        } else if field != 0 {
            Self { class: Class::Normal, sign, exp: field as i32 - f.emax, sig: 1 << 63 | fraction }
        } else {
            Self::denormal(sign, fraction, f)
        }
    }
    /// A number with exponent `f.emin` and a significand that may have any leading zeros.
    #[inline]
    pub(crate) fn denormal(sign: bool, sig: u64, f: Format) -> Self {
        let shift = sig.leading_zeros();
        if shift == 64 {
            Self::zero(sign)
        } else {
            Self { class: Class::Denormal, sign, exp: f.emin - shift as i32, sig: sig << shift }
        }
    }
    /// ±0.
    pub(crate) fn zero(sign: bool) -> Self {
        Self { class: Class::Zero, sign, exp: 0, sig: 0 }
    }
    /// An integer.
    #[inline]
    pub(crate) fn integer(v: i64) -> Self {
        let (sign, magnitude) = (v < 0, v.unsigned_abs());
        let shift = magnitude.leading_zeros();
        if shift == 64 {
            Self::zero(false)
        } else {
            Self { class: Class::Normal, sign, exp: 63 - shift as i32, sig: magnitude << shift }
        }
    }
    /// Any NaN.
    #[inline]
    pub(crate) fn is_nan(self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignallingNan)
    }
    /// Finite and not zero.
    #[inline]
    pub(crate) fn is_finite_nonzero(self) -> bool {
        matches!(self.class, Class::Normal | Class::Denormal)
    }
    /// With the opposite sign.
    #[inline]
    pub(crate) fn negate(self) -> Self {
        Self { sign: !self.sign, ..self }
    }
    /// As an exact result.
    #[inline]
    pub(crate) fn exact(self) -> Exact {
        Exact { sign: self.sign, exp: self.exp, sig: u128::from(self.sig) << 64 }
    }
    /// Compares magnitudes of finite, non-zero values.
    #[inline]
    fn magnitude_cmp(self, other: Self) -> std::cmp::Ordering {
        (self.exp, self.sig).cmp(&(other.exp, other.sig))
    }
    /// Compares two values that are not NaN.
    pub(crate) fn compare(self, other: Self) -> std::cmp::Ordering {
        use std::cmp::Ordering::*;
        let side = |n: Self| match (n.class, n.sign) {
            (Class::Zero, _) => 0,
            (_, false) => 1,
            (_, true) => -1,
        };
        match side(self).cmp(&side(other)) {
            Equal if side(self) == 0 => Equal,
            Equal => {
                let rank = |n: Self| u8::from(n.class == Class::Infinite);
                let magnitude = rank(self).cmp(&rank(other)).then(if self.class == Class::Infinite {
                    Equal
                } else {
                    self.magnitude_cmp(other)
                });
                if self.sign { magnitude.reverse() } else { magnitude }
            }
            different => different,
        }
    }
}

/// A result before rounding: finite, not zero, bit 127 of the significand has exponent `exp`; bit 0 is sticky.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub sign: bool,
    pub exp: i32,
    pub sig: u128,
}

/// A rounded result. The significand is left-aligned: bit 63 is the integer bit, clear for zeros and denormals (whose `exp` is
/// `emin`). Infinity is exponent `emax + 1` and a significand of just bit 63.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounded {
    pub sign: bool,
    pub exp: i32,
    pub sig: u64,
    /// Exceptions, see [`flag`].
    pub flags: u32,
    /// The magnitude was rounded up (the x87's C1).
    pub up: bool,
}

impl Rounded {
    /// An exact special value.
    fn special(sign: bool, exp: i32, sig: u64) -> Self {
        Self { sign, exp, sig, flags: 0, up: false }
    }
    /// ±0.
    #[inline]
    pub(crate) fn zero(sign: bool, f: Format) -> Self {
        Self::special(sign, f.emin, 0)
    }
    /// ±∞.
    #[inline]
    pub(crate) fn infinity(sign: bool, f: Format) -> Self {
        Self::special(sign, f.emax + 1, 1 << 63)
    }
    /// The encoding with implicit integer bit.
    #[inline]
    pub(crate) fn pack(self, f: Format) -> u64 {
        let field = if self.sig >> 63 != 0 { (self.exp + f.emax) as u64 } else { 0 };
        let fraction = self.sig << 1 >> (65 - f.precision);
        (if self.sign { f.sign_bit() } else { 0 }) | field << f.fraction_bits() | fraction
    }
}

/// Shifts right, keeping what falls off as a sticky bit.
#[inline(always)]
pub(super) fn shift_right_sticky(v: u128, n: u32) -> u128 {
    match n {
        0 => v,
        1..128 => v >> n | u128::from(v << (128 - n) != 0),
        _ => u128::from(v != 0),
    }
}

/// Keeps the upper `precision` bits of `sig`, rounded. Gives them left-aligned, and: carried out of the top, inexact, rounded up.
#[inline(always)]
pub(super) fn cut(sign: bool, sig: u128, precision: u32, rounding: Rounding) -> (u64, bool, bool, bool) {
    let drop = 64 - precision;
    let high = (sig >> 64) as u64;
    let kept = high >> drop << drop;
    // What is dropped, left-aligned; bit 0 sticky.
    let rest = if drop == 0 { sig as u64 } else { high << precision | u64::from(sig as u64 != 0) };
    let inexact = rest != 0;
    let up = match rounding {
        Rounding::Nearest => rest > 1 << 63 || rest == 1 << 63 && kept >> drop & 1 != 0,
        Rounding::Down => inexact && sign,
        Rounding::Up => inexact && !sign,
        Rounding::Zero => false,
    };
    let (rounded, carried) = if up { kept.overflowing_add(1 << drop) } else { (kept, false) };
    (rounded, carried, inexact, up)
}

impl Exact {
    /// Rounds to `f`, raising overflow, underflow (tininess is detected after rounding) and precision. With overflow or underflow
    /// unmasked the exponent is left out of range, as if it were unbounded (SDM vol. 1, 4.9.1.4 and 4.9.1.5).
    #[inline]
    pub(crate) fn round(self, f: Format, c: Control) -> Rounded {
        let (sig, carried, inexact, up) = cut(self.sign, self.sig, f.precision, c.rounding);
        let exp = self.exp + i32::from(carried);
        let sig = if carried { 1 << 63 } else { sig };
        let flags = if inexact { PE } else { 0 };
        let unbounded = Rounded { sign: self.sign, exp, sig, flags, up };
        if exp < f.emin {
            self.underflow(unbounded, f, c)
        } else if exp > f.emax {
            self.overflow(unbounded, f, c)
        } else {
            unbounded
        }
    }

    #[cold]
    fn underflow(self, unbounded: Rounded, f: Format, c: Control) -> Rounded {
        if c.unmasked & UE != 0 {
            return Rounded { flags: unbounded.flags | UE, ..unbounded };
        }
        if c.flush {
            return Rounded { flags: UE | PE, ..Rounded::zero(self.sign, f) };
        }
        let shifted = shift_right_sticky(self.sig, (f.emin - self.exp).unsigned_abs());
        let (sig, _, inexact, up) = cut(self.sign, shifted, f.precision, c.rounding);
        Rounded { sign: self.sign, exp: f.emin, sig, flags: if inexact { UE | PE } else { 0 }, up }
    }

    #[cold]
    fn overflow(self, unbounded: Rounded, f: Format, c: Control) -> Rounded {
        if c.unmasked & OE != 0 {
            return Rounded { flags: unbounded.flags | OE, ..unbounded };
        }
        let up = match c.rounding {
            Rounding::Nearest => true,
            Rounding::Down => self.sign,
            Rounding::Up => !self.sign,
            Rounding::Zero => false,
        };
        let limit = if up {
            Rounded::infinity(self.sign, f)
        } else {
            Rounded::special(self.sign, f.emax, u64::MAX << (64 - f.precision))
        };
        Rounded { flags: OE | PE, up, ..limit }
    }

    /// Brings bit 127 to be set; `None` for zero.
    #[inline]
    fn normalise(self) -> Option<Self> {
        let shift = self.sig.leading_zeros();
        (shift < 128).then(|| Self { exp: self.exp - shift as i32, sig: self.sig << shift, ..self })
    }
}

/// A two-operand operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
}

/// The sum of two finite values that are not zero; `None` if they cancel.
#[inline]
fn sum(a: Number, b: Number) -> Option<Exact> {
    let (a, b) = if a.magnitude_cmp(b).is_lt() { (b, a) } else { (a, b) };
    // One bit of headroom above.
    let (x, y) = (u128::from(a.sig) << 63, u128::from(b.sig) << 63);
    let y = shift_right_sticky(y, (a.exp - b.exp).unsigned_abs());
    let sig = if a.sign == b.sign { x + y } else { x - y };
    Exact { sign: a.sign, exp: a.exp + 1, sig }.normalise()
}

/// The product of two finite values that are not zero.
#[inline]
fn product(a: Number, b: Number) -> Exact {
    let p = u128::from(a.sig) * u128::from(b.sig);
    let (exp, sign) = (a.exp + b.exp, a.sign ^ b.sign);
    if p >> 127 != 0 { Exact { sign, exp: exp + 1, sig: p } } else { Exact { sign, exp, sig: p << 1 } }
}

/// The quotient of two finite values that are not zero, sticky after 66 bits.
#[inline]
fn quotient(a: Number, b: Number) -> Exact {
    // The dividend is scaled so that the quotient has just 64 bits.
    let below = a.sig < b.sig;
    let dividend = u128::from(a.sig) << if below { 64 } else { 63 };
    let divisor = u128::from(b.sig);
    let (q, r) = (dividend / divisor, dividend % divisor);
    // The rest, in halves of the last bit.
    let rest = match (2 * r).cmp(&divisor) {
        _ if r == 0 => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Equal => 1 << 63,
        std::cmp::Ordering::Greater => 1 << 63 | 1,
    };
    Exact { sign: a.sign ^ b.sign, exp: a.exp - b.exp - i32::from(below), sig: q << 64 | rest }
}

/// The square root of a positive finite value, sticky after 65 bits.
fn root(a: Number) -> Exact {
    // An even exponent under a radicand of 127 or 128 bits gives a root of 64 bits.
    let odd = a.exp & 1;
    let radicand = u128::from(a.sig) << (63 + odd);
    let q = radicand.isqrt();
    let r = radicand - q * q;
    // (q + 1/2)² = q² + q + 1/4: the rest is above one half just if r > q, and never equal.
    let rest = match r {
        0 => 0,
        r if r > q => 1 << 63 | 1,
        _ => 1,
    };
    Exact { sign: false, exp: (a.exp - odd) / 2, sig: q << 64 | rest }
}

/// An arithmetic result: a rounded value, or `None` for the default NaN of an invalid operation; and the flags of both.
pub(crate) type Outcome = (Option<Rounded>, u32);

const INVALID: Outcome = (None, IE);

/// Computes `a op b`. Neither may be a NaN or unsupported.
#[inline]
pub(crate) fn arithmetic(op: Op, a: Number, b: Number, f: Format, c: Control) -> Outcome {
    use Class::*;
    let b = if op == Op::Sub { b.negate() } else { b };
    let denormal = if a.class == Denormal || b.class == Denormal { DE } else { 0 };
    if denormal & c.unmasked != 0 && !(op == Op::Div && b.class == Zero) {
        return (None, denormal);
    }
    let sign = a.sign ^ b.sign;
    let value = match (op, a.class, b.class) {
        (_, Normal | Denormal, Normal | Denormal) => {
            let exact = match op {
                Op::Add | Op::Sub => sum(a, b),
                Op::Mul => Some(product(a, b)),
                Op::Div => Some(quotient(a, b)),
            };
            exact.map_or_else(|| Rounded::zero(c.rounding == Rounding::Down, f), |e| e.round(f, c))
        }
        (Op::Add | Op::Sub, Infinite, Infinite) if sign => return INVALID,
        (Op::Add | Op::Sub, Infinite, _) => Rounded::infinity(a.sign, f),
        (Op::Add | Op::Sub, _, Infinite) => Rounded::infinity(b.sign, f),
        (Op::Add | Op::Sub, Zero, Zero) if sign => Rounded::zero(c.rounding == Rounding::Down, f),
        (Op::Add | Op::Sub, Zero, Zero) => Rounded::zero(a.sign, f),
        (Op::Add | Op::Sub, Zero, _) => b.exact().round(f, c),
        (Op::Add | Op::Sub, ..) => a.exact().round(f, c),
        (Op::Mul, Infinite, Zero) | (Op::Mul, Zero, Infinite) => return INVALID,
        (Op::Div, Infinite, Infinite) | (Op::Div, Zero, Zero) => return INVALID,
        (Op::Mul, Infinite, _) | (Op::Mul, _, Infinite) | (Op::Div, Infinite, _) => Rounded::infinity(sign, f),
        (Op::Mul, ..) | (Op::Div, Zero, _) | (Op::Div, _, Infinite) => Rounded::zero(sign, f),
        // The denormal operand of a division by zero is not reported.
        (Op::Div, ..) => return (Some(Rounded::infinity(sign, f)), ZE),
    };
    (Some(value), value.flags | denormal)
}

/// The sum of two exact values of at most 126 bits; `None` if they cancel.
pub(super) fn exact_sum(a: Exact, b: Exact) -> Option<Exact> {
    let (a, b) = if (a.exp, a.sig) < (b.exp, b.sig) { (b, a) } else { (a, b) };
    // One bit of headroom above.
    let (x, y) = (a.sig >> 1, shift_right_sticky(b.sig >> 1, (a.exp - b.exp).unsigned_abs()));
    let sig = if a.sign == b.sign { x + y } else { x - y };
    Exact { sign: a.sign, exp: a.exp + 1, sig }.normalise()
}

/// Computes `a × b + c` with one rounding, in a format of at most 63 bits of precision. None may be a NaN or unsupported.
pub(crate) fn fused(a: Number, b: Number, c: Number, f: Format, ctl: Control) -> Outcome {
    use Class::*;
    let any = |class| [a, b, c].iter().any(|n| n.class == class);
    let sign = a.sign ^ b.sign;
    let infinite = a.class == Infinite || b.class == Infinite;
    if infinite && (a.class == Zero || b.class == Zero || c.class == Infinite && c.sign != sign) {
        return INVALID;
    }
    let denormal = if any(Denormal) { DE } else { 0 };
    if denormal & ctl.unmasked != 0 {
        return (None, denormal);
    }
    let cancelled = Rounded::zero(ctl.rounding == Rounding::Down, f);
    let zero = a.class == Zero || b.class == Zero;
    let value = match (zero, c.class) {
        _ if infinite => Rounded::infinity(sign, f),
        (_, Infinite) => Rounded::infinity(c.sign, f),
        (true, Zero) if sign == c.sign => Rounded::zero(sign, f),
        (true, Zero) => cancelled,
        (true, _) => c.exact().round(f, ctl),
        (false, Zero) => product(a, b).round(f, ctl),
        (false, _) => exact_sum(product(a, b), c.exact()).map_or(cancelled, |e| e.round(f, ctl)),
    };
    (Some(value), value.flags | denormal)
}

/// The square root. `a` may not be a NaN or unsupported.
pub(crate) fn square_root(a: Number, f: Format, c: Control) -> Outcome {
    match (a.class, a.sign) {
        (Class::Zero, sign) => (Some(Rounded::zero(sign, f)), 0),
        (_, true) => INVALID,
        (Class::Infinite, _) => (Some(Rounded::infinity(false, f)), 0),
        (class, _) => {
            let denormal = if class == Class::Denormal { DE } else { 0 };
            let value = root(a).round(f, c);
            (Some(value), value.flags | denormal)
        }
    }
}

/// Rounds to another format (or to a narrower precision). `a` may not be a NaN or unsupported. DE is not raised.
#[inline]
pub(crate) fn convert(a: Number, f: Format, c: Control) -> Rounded {
    match a.class {
        Class::Zero => Rounded::zero(a.sign, f),
        Class::Infinite => Rounded::infinity(a.sign, f),
        _ => a.exact().round(f, c),
    }
}

/// Rounds to an integer: its magnitude (saturated at 2⁶⁴ and above), inexact, rounded up. `a` is zero or finite.
#[inline]
pub(crate) fn to_integer(a: Number, rounding: Rounding) -> (u128, bool, bool) {
    if a.class == Class::Zero {
        return (0, false, false);
    }
    if a.exp > 63 {
        return (1 << 64, false, false);
    }
    // Units in the upper half, fraction in the lower.
    let fixed = shift_right_sticky(u128::from(a.sig) << 64, (63 - a.exp).unsigned_abs());
    let (whole, carried, inexact, up) = cut(a.sign, fixed, 64, rounding);
    (if carried { 1 << 64 } else { whole.into() }, inexact, up)
}

/// Rounds to an integral value of the same format. `a` is zero or finite.
pub(crate) fn round_to_integral(a: Number, f: Format, rounding: Rounding) -> Rounded {
    if a.class == Class::Zero || a.exp >= 63 {
        return convert(a, f, Control { rounding, unmasked: 0, flush: false });
    }
    let (whole, inexact, up) = to_integer(a, rounding);
    let flags = if inexact { PE } else { 0 };
    let shift = whole.leading_zeros();
    if shift == 128 {
        return Rounded { flags, up, ..Rounded::zero(a.sign, f) };
    }
    Rounded { sign: a.sign, exp: 127 - shift as i32, sig: (whole << shift >> 64) as u64, flags, up }
}
