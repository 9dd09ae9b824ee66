//! SSE floating point, one lane at a time: MXCSR, the NaN rules, denormals-are-zeros, and every operation that can raise an exception
//! (SDM vol. 1, 4.8, 10.2.3, 11.5).
//!
//! The host's own arithmetic (which is IEEE 754 binary32 and binary64, to nearest) computes whatever it gives exactly as the guest would
//! see it *and* raises nothing that is not yet noted: ordinary operands and results while MXCSR rounds to nearest and either PE is
//! already set and masked, or the result is seen to be exact. All the rest goes through [`soft`], which is exact in every mode.

use super::soft::flag::*;
use super::soft::{self, Class, Control, Format, Number, Op, Rounding};
use gearbox_core::x86::state::rflags;
use std::cmp::Ordering;

/// MXCSR: denormals are zeros.
const DAZ: u32 = 1 << 6;
/// MXCSR: masks, at this shift from their flags.
pub(crate) const MASK_SHIFT: u32 = 7;
/// MXCSR: rounding control.
const RC_SHIFT: u32 = 13;
/// MXCSR: flush to zero.
const FTZ: u32 = 1 << 15;

/// MXCSR for the time of one instruction, and what the instruction has raised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    csr: u32,
    /// Exceptions that the present stage has raised, see [`soft::flag`].
    pub(crate) flags: u32,
    /// Exceptions of stages that have completed.
    pub(crate) earlier: u32,
    host: Host,
}

/// What the host's arithmetic may be used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    /// Exact results: MXCSR rounds to nearest.
    exact: bool,
    /// Inexact ones too: PE is set and masked.
    inexact: bool,
    /// What an invalid operation gives: IE is set and masked.
    invalid: bool,
}

impl Host {
    #[inline(always)]
    fn new(csr: u32) -> Self {
        let noted = |flag: u32| csr & (flag | flag << MASK_SHIFT) == flag | flag << MASK_SHIFT;
        let exact = csr & 3 << RC_SHIFT == 0;
        Self { exact, inexact: exact && noted(PE), invalid: noted(IE) }
    }
}

impl Env {
    /// For an instruction that starts with this MXCSR.
    #[inline(always)]
    pub(crate) fn new(csr: u32) -> Self {
        Self { csr, flags: 0, earlier: 0, host: Host::new(csr) }
    }
    /// The same without the host's arithmetic.
    #[cfg(test)]
    pub(crate) fn portable(csr: u32) -> Self {
        Self { host: Host { exact: false, inexact: false, invalid: false }, ..Self::new(csr) }
    }
    /// Exceptions that are not masked.
    #[inline(always)]
    pub(crate) fn unmasked(&self) -> u32 {
        !(self.csr >> MASK_SHIFT) & ALL
    }
    /// Has an unmasked exception been raised?
    pub(crate) fn faulted(&self) -> bool {
        self.flags & self.unmasked() != 0
    }
    /// Ends a stage of an instruction that has several. True if an unmasked exception keeps the next from happening.
    pub(crate) fn ends_here(&mut self) -> bool {
        if self.faulted() {
            return true;
        }
        self.earlier |= std::mem::take(&mut self.flags);
        false
    }
    /// Rounding control.
    #[inline(always)]
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding::from_bits(self.csr >> RC_SHIFT)
    }
    fn control(&self) -> Control {
        Control { rounding: self.rounding(), unmasked: self.unmasked(), flush: self.csr & FTZ != 0 }
    }
    /// Takes an operand apart, denormals as zeros where MXCSR says so.
    #[inline]
    pub(super) fn unpack<T: Lane>(&self, v: T) -> Number {
        let n = Number::unpack(v.wide(), T::FORMAT);
        if n.class == Class::Denormal && self.csr & DAZ != 0 { Number::zero(n.sign) } else { n }
    }
    /// Notes the flags of a result and encodes it.
    fn encode<T: Lane>(&mut self, (value, flags): soft::Outcome) -> T {
        self.flags |= flags;
        T::narrow(value.map_or(T::FORMAT.default_nan(), |r| r.pack(T::FORMAT)))
    }
    /// The result if an operand is a NaN: the first that is, made quiet.
    fn nan<T: Lane>(&mut self, operands: &[(T, Number)]) -> Option<T> {
        if operands.iter().any(|(_, n)| n.class == Class::SignallingNan) {
            self.flags |= IE;
        }
        operands.iter().find(|(_, n)| n.is_nan()).map(|(v, _)| v.quiet())
    }
}

/// How an operation treats what the host's arithmetic may not decide.
pub(crate) trait Environment {
    /// What the host's arithmetic may be used for.
    fn host(&self) -> Host;
    /// Results that are not plain at first sight are worth a second.
    fn considers(&self) -> bool;
    /// The value that `f` computes exactly.
    fn exact<R>(&mut self, instead: R, f: impl FnOnce(&mut Env) -> R) -> R;
}

impl Environment for Env {
    #[inline(always)]
    fn host(&self) -> Host {
        self.host
    }
    #[inline(always)]
    fn considers(&self) -> bool {
        true
    }
    #[inline(always)]
    fn exact<R>(&mut self, _instead: R, f: impl FnOnce(&mut Env) -> R) -> R {
        f(self)
    }
}

/// Tries an operation by the host's arithmetic alone, with `CONSIDERS` also where that takes a longer look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<const CONSIDERS: bool> {
    host: Host,
    failed: bool,
}

impl<const CONSIDERS: bool> Attempt<CONSIDERS> {
    /// Under this MXCSR.
    #[inline(always)]
    pub(crate) fn new(csr: u32) -> Self {
        Self { host: Host::new(csr), failed: false }
    }
    /// Is it worth a try? Without `CONSIDERS` it is not where inexact results are not to be had.
    #[inline(always)]
    pub(crate) fn promises(&self) -> bool {
        CONSIDERS || self.host.inexact
    }
    /// `r`, the result of the operation, if it is one.
    #[inline(always)]
    pub(crate) fn result<R>(self, r: R) -> Option<R> {
        if self.failed { None } else { Some(r) }
    }
}

impl<const CONSIDERS: bool> Environment for Attempt<CONSIDERS> {
    #[inline(always)]
    fn host(&self) -> Host {
        self.host
    }
    #[inline(always)]
    fn considers(&self) -> bool {
        CONSIDERS
    }
    #[inline(always)]
    fn exact<R>(&mut self, instead: R, _: impl FnOnce(&mut Env) -> R) -> R {
        self.failed = true;
        instead
    }
}

/// The encoding of a binary32 or binary64 value.
pub(crate) trait Lane: Copy + Eq {
    /// Its format.
    const FORMAT: Format;
    /// Zero-extended.
    fn wide(self) -> u64;
    /// The low bits.
    fn narrow(v: u64) -> Self;
    /// The host's arithmetic, to nearest.
    fn host(op: Op, a: Self, b: Self) -> Self;
    /// The host's fused product and sum, to nearest.
    fn host_fused(a: Self, b: Self, c: Self) -> Self;
    /// Is `r = a op b`, all ordinary, seen to be exact? It may be so unseen.
    fn is_exact(op: Op, a: Self, b: Self, r: Self) -> bool;
    /// The host's square root.
    fn host_root(self) -> Self;
    /// The host's conversion of an integer.
    fn host_integer(v: i64) -> Self;
    /// The host's conversion to an integer, chopped and saturated.
    fn host_chop(self) -> i64;

    /// Made quiet.
    #[inline(always)]
    fn quiet(self) -> Self {
        Self::narrow(self.wide() | Self::FORMAT.quiet_bit())
    }
    /// ±0.
    fn is_zero(self) -> bool;
    /// Finite and normal.
    fn is_normal(self) -> bool;
    /// Finite, and so far above the smallest normal number that rounding cannot have brought it there.
    fn is_well_above_tiny(self) -> bool;
    /// Not zero, below the normal numbers.
    fn is_denormal(self) -> bool;
    /// Are both operands zero or well above the smallest normal number, and is `r` between that and half of the largest? Then no operation
    /// on them has raised anything but (perhaps) precision. By comparisons that the host has for several lanes at once.
    fn plain(a: Self, b: Self, r: Self) -> bool;
    /// Any NaN.
    fn is_nan(self) -> bool;
    /// ±∞.
    fn is_infinite(self) -> bool;
    /// A NaN that is not quiet.
    #[inline(always)]
    fn is_signalling(self) -> bool {
        self.is_nan() && self.wide() & Self::FORMAT.quiet_bit() == 0
    }
    /// Finite and normal or zero.
    #[inline(always)]
    fn is_ordinary(self) -> bool {
        self.is_normal() | self.is_zero()
    }
    /// The host's comparison.
    fn host_compare(self, other: Self) -> Option<Ordering>;
}

macro_rules! lane {
    ($bits:ty, $float:ty, $format:expr) => {
        impl Lane for $bits {
            const FORMAT: Format = $format;
            #[inline(always)]
            fn wide(self) -> u64 {
                self.into()
            }
            #[inline(always)]
            fn narrow(v: u64) -> Self {
                v as $bits
            }
            #[inline(always)]
            fn host(op: Op, a: Self, b: Self) -> Self {
                let (a, b) = (<$float>::from_bits(a), <$float>::from_bits(b));
                match op {
                    Op::Add => a + b,
                    Op::Sub => a - b,
                    Op::Mul => a * b,
                    Op::Div => a / b,
                }
                .to_bits()
            }
            #[inline(always)]
            fn host_fused(a: Self, b: Self, c: Self) -> Self {
                <$float>::from_bits(a).mul_add(<$float>::from_bits(b), <$float>::from_bits(c)).to_bits()
            }
            #[inline(always)]
            fn is_exact(op: Op, a: Self, b: Self, r: Self) -> bool {
                let (x, y, s) = (<$float>::from_bits(a), <$float>::from_bits(b), <$float>::from_bits(r));
                // The rounding error of a sum is itself a number, and can be computed.
                let exact_sum = |x: $float, y: $float| {
                    let part = s - x;
                    (x - (s - part)) + (y - part) == 0.0
                };
                // Trailing zeros of the significands: those of the product are as many as both have.
                let spare = |v: $bits| (v | 1 << ($format.precision - 1)).trailing_zeros();
                match op {
                    Op::Add => exact_sum(x, y),
                    Op::Sub => exact_sum(x, -y),
                    Op::Mul => spare(a) + spare(b) >= $format.precision || x * y == 0.0,
                    Op::Div => false,
                }
            }
            #[inline(always)]
            fn is_zero(self) -> bool {
                self << 1 == 0
            }
            #[inline(always)]
            fn is_normal(self) -> bool {
                const ONE: $bits = 1 << ($format.precision - 1);
                const ALL: $bits = <$bits>::MAX >> 1 & !(ONE - 1);
                (self & ALL).wrapping_sub(ONE) < ALL - ONE
            }
            #[inline(always)]
            fn is_well_above_tiny(self) -> bool {
                const TWO: $bits = 2 << ($format.precision - 1);
                const ALL: $bits = <$bits>::MAX >> 1 & !(TWO / 2 - 1);
                (self & ALL).wrapping_sub(TWO) < ALL - TWO
            }
            #[inline(always)]
            fn is_denormal(self) -> bool {
                // Without the sign; zero wraps round to the largest.
                (self << 1).wrapping_sub(1) < (2 << ($format.precision - 1)) - 1
            }
            #[inline(always)]
            fn plain(a: Self, b: Self, r: Self) -> bool {
                // Comparisons with the limits themselves would be taken for tests of the number's class, and done bit by bit.
                const SMALL: $float = <$float>::MIN_POSITIVE * 2.0;
                const LARGE: $float = <$float>::MAX / 2.0;
                let [a, b, r] = [a, b, r].map(|v| <$float>::from_bits(v).abs());
                // Infinite and NaN operands give no such result.
                let whole = |v: $float| (v >= SMALL) | (v == 0.0);
                let (above, below) = (r >= SMALL, r <= LARGE);
                above & below & whole(a) & whole(b)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$float>::from_bits(self).is_nan()
            }
            #[inline(always)]
            fn is_infinite(self) -> bool {
                <$float>::from_bits(self).is_infinite()
            }
            #[inline(always)]
            fn host_compare(self, other: Self) -> Option<Ordering> {
                <$float>::from_bits(self).partial_cmp(&<$float>::from_bits(other))
            }
            #[inline(always)]
            fn host_root(self) -> Self {
                <$float>::from_bits(self).sqrt().to_bits()
            }
            #[inline(always)]
            fn host_integer(v: i64) -> Self {
                (v as $float).to_bits()
            }
            #[inline(always)]
            fn host_chop(self) -> i64 {
                <$float>::from_bits(self) as i64
            }
        }
    };
}
lane!(u32, f32, Format::SINGLE);
lane!(u64, f64, Format::DOUBLE);

// ---- arithmetic

/// Did the host compute `r = a op b` as the guest would, with no exception but (perhaps) precision?
#[inline(always)]
fn trusted<T: Lane>(op: Op, a: T, b: T, r: T) -> bool {
    match op {
        // A sum of normal numbers is never inexact and tiny; but an exact tiny one may have to be flushed.
        Op::Add | Op::Sub => a.is_ordinary() & b.is_ordinary() & r.is_ordinary(),
        Op::Mul => a.is_ordinary() & b.is_ordinary() & (r.is_well_above_tiny() | a.is_zero() | b.is_zero()),
        Op::Div => a.is_ordinary() & b.is_normal() & (r.is_well_above_tiny() | a.is_zero()),
    }
}

/// The result where the host's, `r`, is not plain at first sight, if it raises nothing that is not noted.
#[inline(never)]
fn considered<T: Lane>(op: Op, a: T, b: T, r: T, host: Host) -> Option<T> {
    if trusted(op, a, b, r) {
        return (host.inexact || T::is_exact(op, a, b, r)).then_some(r);
    }
    if a.is_nan() || b.is_nan() {
        let quiet = !a.is_signalling() && !b.is_signalling();
        return (quiet || host.invalid).then(|| if a.is_nan() { a.quiet() } else { b.quiet() });
    }
    if (a.is_infinite() || b.is_infinite()) && !a.is_denormal() && !b.is_denormal() {
        return if r.is_nan() { host.invalid.then(|| T::narrow(T::FORMAT.default_nan())) } else { Some(r) };
    }
    None
}

/// ADD, SUB, MUL, DIV.
#[inline(always)]
pub(crate) fn arithmetic<T: Lane>(env: &mut impl Environment, op: Op, a: T, b: T) -> T {
    let host = env.host();
    let r = T::host(op, a, b);
    if host.inexact && T::plain(a, b, r) {
        return r;
    }
    if env.considers()
        && host.exact
        && let Some(r) = considered(op, a, b, r, host)
    {
        return r;
    }
    env.exact(a, |env| arithmetic_exact(env, op, a, b))
}

/// The same for all lanes of a register, if the host can do them all.
#[inline(always)]
pub(crate) fn arithmetic_lanes<T: Lane, const N: usize>(
    env: &mut impl Environment,
    op: Op,
    a: [T; N],
    b: [T; N],
) -> [T; N] {
    let host = env.host();
    let r = std::array::from_fn(|i| T::host(op, a[i], b[i]));
    let mut plain = host.inexact;
    for i in 0..N {
        plain &= T::plain(a[i], b[i], r[i]);
    }
    if plain {
        return r;
    }
    if env.considers() && host.exact {
        let (mut good, mut second) = (true, r);
        for i in 0..N {
            match considered(op, a[i], b[i], r[i], host) {
                Some(v) => second[i] = v,
                None => good = false,
            }
        }
        if good {
            return second;
        }
    }
    env.exact(a, |env| std::array::from_fn(|i| arithmetic_exact(env, op, a[i], b[i])))
}

#[cold]
#[inline(never)]
fn arithmetic_exact<T: Lane>(env: &mut Env, op: Op, a: T, b: T) -> T {
    let (x, y) = (env.unpack(a), env.unpack(b));
    match env.nan(&[(a, x), (b, y)]) {
        Some(nan) => nan,
        None => {
            let outcome = soft::arithmetic(op, x, y, T::FORMAT, env.control());
            env.encode(outcome)
        }
    }
}

/// What is negated before the sum of a fused operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fused {
    pub negate_product: bool,
    pub negate_addend: bool,
}

/// ±(`a` × `b`) ± `c` with one rounding.
#[inline(always)]
pub(crate) fn fused<T: Lane>(env: &mut Env, operands: [T; 3], signs: Fused) -> T {
    let [a, b, c] = operands;
    if env.host.inexact && a.is_ordinary() && b.is_ordinary() && c.is_ordinary() {
        let flip = |v: T, yes: bool| if yes { T::narrow(v.wide() ^ T::FORMAT.sign_bit()) } else { v };
        let r = T::host_fused(flip(a, signs.negate_product), b, flip(c, signs.negate_addend));
        if r.is_well_above_tiny() {
            return r;
        }
    }
    fused_exact(env, operands, signs)
}

#[cold]
#[inline(never)]
fn fused_exact<T: Lane>(env: &mut Env, operands: [T; 3], signs: Fused) -> T {
    let [a, b, c] = operands;
    let (x, y, z) = (env.unpack(a), env.unpack(b), env.unpack(c));
    match env.nan(&[(a, x), (b, y), (c, z)]) {
        Some(nan) => nan,
        None => {
            let x = if signs.negate_product { x.negate() } else { x };
            let z = if signs.negate_addend { z.negate() } else { z };
            let outcome = soft::fused(x, y, z, T::FORMAT, env.control());
            env.encode(outcome)
        }
    }
}

/// SQRT.
#[inline(always)]
pub(crate) fn square_root<T: Lane>(env: &mut impl Environment, a: T) -> T {
    if env.host().inexact && a.is_ordinary() && a.wide() & T::FORMAT.sign_bit() == 0 {
        return a.host_root();
    }
    env.exact(a, |env| square_root_exact(env, a))
}

#[cold]
#[inline(never)]
fn square_root_exact<T: Lane>(env: &mut Env, a: T) -> T {
    let n = env.unpack(a);
    match env.nan(&[(a, n)]) {
        Some(nan) => nan,
        None => {
            let outcome = soft::square_root(n, T::FORMAT, env.control());
            env.encode(outcome)
        }
    }
}

// ---- comparison

/// Compares; `None` is unordered. A quiet NaN is invalid only if `signals`.
#[inline(always)]
pub(crate) fn compare<T: Lane>(env: &mut impl Environment, a: T, b: T, signals: bool) -> Option<Ordering> {
    match a.host_compare(b) {
        Some(order) if !a.is_denormal() && !b.is_denormal() => return Some(order),
        None if env.host().invalid || !(signals || a.is_signalling() || b.is_signalling()) => return None,
        _ => {}
    }
    env.exact(None, |env| compare_exact(env, a, b, signals))
}

#[inline(never)]
fn compare_exact<T: Lane>(env: &mut Env, a: T, b: T, signals: bool) -> Option<Ordering> {
    let (x, y) = (env.unpack(a), env.unpack(b));
    if x.is_nan() || y.is_nan() {
        if signals || x.class == Class::SignallingNan || y.class == Class::SignallingNan {
            env.flags |= IE;
        }
        return None;
    }
    if x.class == Class::Denormal || y.class == Class::Denormal {
        env.flags |= DE;
    }
    Some(x.compare(y))
}

/// ZF, PF and CF after COMIx; `None` is unordered.
#[inline(always)]
pub(crate) fn comparison_flags(order: Option<Ordering>) -> u64 {
    match order {
        None => rflags::ZF | rflags::PF | rflags::CF,
        Some(Ordering::Less) => rflags::CF,
        Some(Ordering::Equal) => rflags::ZF,
        Some(Ordering::Greater) => 0,
    }
}

/// The predicates of CMPcc (`imm` 0 to 7) and VCMPcc (0 to 31): for which of less (1), equal (2), greater (4) and unordered (8) it is
/// true. Bit 4 of `imm` only changes whether quiet NaNs signal.
const PREDICATES: [u8; 16] = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15];
/// Those of the first sixteen predicates for which a quiet NaN is invalid, a bit each.
const SIGNALLING: u16 = 0b0110_0110_0110_0110;

/// CMPcc: is predicate `imm` true of `a` and `b`?
#[inline(always)]
pub(crate) fn predicate<T: Lane>(env: &mut impl Environment, a: T, b: T, imm: u8) -> bool {
    let signals = (SIGNALLING >> (imm & 15) & 1 != 0) ^ (imm & 16 != 0);
    let outcome = match compare(env, a, b, signals) {
        Some(Ordering::Less) => 1,
        Some(Ordering::Equal) => 2,
        Some(Ordering::Greater) => 4,
        None => 8,
    };
    PREDICATES[usize::from(imm & 15)] & outcome != 0
}

/// MIN (`wanted` = less) and MAX (`wanted` = greater): the first operand just if it compares so, else the second.
#[inline(always)]
pub(crate) fn select<T: Lane>(env: &mut impl Environment, a: T, b: T, wanted: Ordering) -> T {
    if let Some(order) = a.host_compare(b)
        && !a.is_denormal()
        && !b.is_denormal()
    {
        return if order == wanted { a } else { b };
    }
    env.exact(a, |env| select_exact(env, a, b, wanted))
}

#[inline(never)]
fn select_exact<T: Lane>(env: &mut Env, a: T, b: T, wanted: Ordering) -> T {
    let first = compare_exact(env, a, b, true) == Some(wanted);
    let (chosen, n) = if first { (a, env.unpack(a)) } else { (b, env.unpack(b)) };
    // A denormal that is to be taken as zero is also written as zero.
    if n.class == Class::Zero { T::narrow(chosen.wide() & T::FORMAT.sign_bit()) } else { chosen }
}

// ---- conversion

/// Binary32 to binary64.
#[inline(always)]
pub(crate) fn widen(env: &mut impl Environment, a: u32) -> u64 {
    if a.is_ordinary() { f64::from(f32::from_bits(a)).to_bits() } else { env.exact(0, |env| convert(env, a)) }
}
/// Binary64 to binary32.
#[inline(always)]
pub(crate) fn narrow(env: &mut impl Environment, a: u64) -> u32 {
    let r = (f64::from_bits(a) as f32).to_bits();
    if env.host().inexact & a.is_ordinary() & (r.is_well_above_tiny() | a.is_zero()) {
        return r;
    }
    env.exact(0, |env| convert(env, a))
}

/// Between binary32 and binary64, either way.
#[inline(never)]
fn convert<S: Lane, D: Lane>(env: &mut Env, a: S) -> D {
    let n = env.unpack(a);
    if n.is_nan() {
        if n.class == Class::SignallingNan {
            env.flags |= IE;
        }
        let payload = a.wide() << (64 - S::FORMAT.precision) & (u64::MAX >> 1);
        let sign = if n.sign { D::FORMAT.sign_bit() } else { 0 };
        return D::narrow(
            sign | D::FORMAT.default_nan() & !D::FORMAT.sign_bit() | payload >> (64 - D::FORMAT.precision),
        );
    }
    if n.class == Class::Denormal {
        env.flags |= DE;
        if env.unmasked() & DE != 0 {
            return D::narrow(0);
        }
    }
    let r = soft::convert(n, D::FORMAT, env.control());
    env.encode((Some(r), r.flags))
}

/// From an integer.
#[inline(always)]
pub(crate) fn from_integer<T: Lane>(env: &mut impl Environment, v: i64) -> T {
    if env.host().inexact || v.unsigned_abs() < 1 << T::FORMAT.precision {
        return T::host_integer(v);
    }
    env.exact(T::narrow(0), |env| {
        let r = soft::convert(Number::integer(v), T::FORMAT, env.control());
        env.encode((Some(r), r.flags))
    })
}

/// To an integer of `bits` bits, rounded. What does not fit gives the most negative one, with IE.
#[inline(always)]
pub(crate) fn to_integer<T: Lane>(env: &mut impl Environment, a: T, bits: u32, rounding: Rounding) -> i64 {
    let host = env.host();
    if rounding == Rounding::Zero && a.is_ordinary() {
        let v = a.host_chop();
        // The host saturates; the extremes are left to the exact way.
        if (host.inexact || T::host_integer(v) == a) && v > i64::MIN >> (64 - bits) && v < i64::MAX >> (64 - bits) {
            return v;
        }
    }
    env.exact(0, |env| to_integer_exact(env, a, bits, rounding))
}

#[inline(never)]
fn to_integer_exact<T: Lane>(env: &mut Env, a: T, bits: u32, rounding: Rounding) -> i64 {
    let n = env.unpack(a);
    if n.is_finite_nonzero() || n.class == Class::Zero {
        let (magnitude, inexact, _) = soft::to_integer(n, rounding);
        let limit = 1 << (bits - 1);
        if magnitude < limit || magnitude == limit && n.sign {
            env.flags |= if inexact { PE } else { 0 };
            return (magnitude as i64).wrapping_mul(if n.sign { -1 } else { 1 });
        }
    }
    env.flags |= IE;
    i64::MIN >> (64 - bits)
}

/// ROUND: to an integral value as `imm` says: bits 1..0 the mode, bit 2 MXCSR's mode instead, bit 3 no precision exception.
#[inline]
pub(crate) fn round<T: Lane>(env: &mut Env, a: T, imm: u8) -> T {
    let n = env.unpack(a);
    if let Some(nan) = env.nan(&[(a, n)]) {
        return nan;
    }
    let rounding = if imm & 4 != 0 { env.rounding() } else { Rounding::from_bits(imm.into()) };
    if n.class == Class::Infinite {
        return a;
    }
    let r = soft::round_to_integral(n, T::FORMAT, rounding);
    env.encode((Some(r), if imm & 8 != 0 { 0 } else { r.flags }))
}
