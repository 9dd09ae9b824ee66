//! The x87's arithmetic, comparisons and data transfers on the register stack (SDM vol. 1, 8.3).
//!
//! Each method is one instruction in full: stack faults, exceptions, condition codes, pops.

use super::Fpu;
use super::f80::F80;
use super::quick;
use super::soft::flag::*;
use super::soft::{self, Class, Exact, Format, Number, Op, Outcome, Rounded};
use super::stack::{C0, C1, C2, C3};
use gearbox_core::x86::state::rflags;
use std::cmp::Ordering;

/// How far the exponent of a result is brought back when overflow or underflow is unmasked (SDM vol. 1, 8.5.4 and 8.5.5).
const BIAS_ADJUST: i32 = 24576;

/// Brings the exponent of an overflow or underflow, if that is unmasked, back into range.
#[inline]
pub(super) fn adjust(r: Rounded, unmasked: u32) -> Rounded {
    let e = Format::EXTENDED;
    if r.flags & unmasked & (OE | UE) == 0 {
        return r;
    }
    let exp = r.exp + if r.flags & OE != 0 { -BIAS_ADJUST } else { BIAS_ADJUST };
    match exp {
        _ if exp > e.emax => Rounded { flags: r.flags | PE, up: true, ..Rounded::infinity(r.sign, e) },
        _ if exp < e.emin => Rounded { flags: r.flags | PE, up: false, ..Rounded::zero(r.sign, e) },
        _ => Rounded { exp, ..r },
    }
}

/// An operand as the unit has fetched it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    value: F80,
    /// It was denormal in its own format in memory.
    denormal: bool,
}

impl Operand {
    /// A register.
    #[inline(always)]
    pub(crate) fn new(value: F80) -> Self {
        Self { value, denormal: false }
    }
    /// A binary32 or binary64 in memory.
    #[inline(always)]
    pub(super) fn ieee(bits: u64, f: Format) -> Self {
        if f == Format::DOUBLE
            && let Some(value) = F80::from_ordinary_double(bits)
        {
            return Self::new(value);
        }
        let (value, denormal) = F80::from_ieee(bits, f);
        Self { value, denormal }
    }
    /// An integer in memory.
    #[inline(always)]
    pub(super) fn int(v: i64) -> Self {
        Self::new(F80::from_int(v))
    }
    /// Taken apart.
    #[inline]
    fn number(self) -> Number {
        let n = self.value.unpack();
        if self.denormal { Number { class: Class::Denormal, ..n } } else { n }
    }
}

/// Which way round an operation with two operands goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Destination op source.
    Forward,
    /// Source op destination (FSUBR, FDIVR).
    Reverse,
}

/// How a comparison treats quiet NaNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nans {
    /// As invalid (FCOM, FCOMI, FTST, FICOM).
    Ordered,
    /// Without an exception (FUCOM, FUCOMI).
    Unordered,
}

/// The NaN of an operation with these operands, if one of them is a NaN or unsupported.
pub(super) fn nan_result(a: Operand, b: Operand) -> Option<(F80, u32)> {
    let (x, y) = (a.number(), b.number());
    if x.class == Class::Unsupported || y.class == Class::Unsupported {
        Some((F80::INDEFINITE, IE))
    } else if x.is_nan() || y.is_nan() {
        Some(F80::propagate(a.value, b.value))
    } else {
        None
    }
}

/// The condition codes of unordered operands.
const UNORDERED: u16 = C3 | C2 | C0;

/// The condition codes of a comparison.
#[inline(always)]
fn condition(o: Ordering) -> u16 {
    match o {
        Ordering::Less => C0,
        Ordering::Equal => C3,
        Ordering::Greater => 0,
    }
}

/// C3, C2 and C0 as ZF, PF and CF.
#[inline(always)]
fn condition_flags(c: u16) -> u64 {
    let bit = |condition: u16, flag: u64| if c & condition != 0 { flag } else { 0 };
    bit(C3, rflags::ZF) | bit(C2, rflags::PF) | bit(C0, rflags::CF)
}

impl Fpu {
    /// Writes a result to ST(`dst`) and notes its exceptions; false if an unmasked one forbids the write.
    #[inline]
    pub(super) fn finish(&mut self, dst: u8, value: F80, flags: u32, up: bool) -> bool {
        if !self.may_proceed(flags) {
            return false;
        }
        self.set_st(dst, value);
        self.set_c1(up);
        self.raise(flags);
        true
    }
    /// The same for an arithmetic result.
    #[inline]
    pub(super) fn finish_outcome(&mut self, dst: u8, (result, flags): Outcome) -> bool {
        match result {
            None => self.finish(dst, F80::INDEFINITE, flags, false),
            Some(r) => {
                let r = adjust(r, self.unmasked());
                self.finish(dst, F80::pack(r), flags | r.flags, r.up)
            }
        }
    }
    /// The masked response to an empty operand: the default NaN in ST(`dst`). False if that is unmasked.
    #[cold]
    fn finish_underflow(&mut self, dst: u8) -> bool {
        let masked = self.underflow();
        if masked {
            self.set_st(dst, F80::INDEFINITE);
        }
        masked
    }

    // ---- arithmetic

    /// ST(`dst`) = ST(`dst`) op source (or the reverse), if that is easy: ordinary numbers, and every exception masked.
    #[inline(always)]
    pub(crate) fn quick_arithmetic(&mut self, op: Op, order: Order, dst: u8, source: Option<Operand>) -> Option<()> {
        let (d, s) = (self.st(dst)?, source?);
        let (a, b) = if order == Order::Forward { (d, s.value) } else { (s.value, d) };
        let q = match self.quick_precision() {
            _ if s.denormal => None,
            Some(64) => quick::arithmetic(op, a, b, 64),
            Some(53) => quick::arithmetic(op, a, b, 53),
            _ => None,
        }?;
        self.set_st(dst, q.value);
        self.note_rounding(q.inexact, q.up);
        Some(())
    }
    /// ST(`dst`) = ST(`dst`) op source (or the reverse). `None` is an empty register. Gives true when a pop may follow.
    pub(super) fn arithmetic(&mut self, op: Op, order: Order, dst: u8, source: Option<Operand>) -> bool {
        if self.quick_arithmetic(op, order, dst, source).is_some() {
            return true;
        }
        match (self.st(dst), source) {
            (Some(d), Some(s)) => self.arithmetic_exact(op, order, dst, Operand::new(d), s),
            _ => self.finish_underflow(dst),
        }
    }
    #[inline(never)]
    fn arithmetic_exact(&mut self, op: Op, order: Order, dst: u8, d: Operand, s: Operand) -> bool {
        if let Some((value, flags)) = nan_result(d, s) {
            return self.finish(dst, value, flags, false);
        }
        let (a, b) = if order == Order::Forward { (d, s) } else { (s, d) };
        let outcome = soft::arithmetic(op, a.number(), b.number(), self.precision(), self.control());
        self.finish_outcome(dst, outcome)
    }
    /// The operand ST(`i`).
    #[inline(always)]
    pub(crate) fn operand(&self, i: u8) -> Option<Operand> {
        self.st(i).map(Operand::new)
    }
    /// ST(0), unless it is empty (stack underflow), a NaN or unsupported, all of which are dealt with here.
    fn unary(&mut self) -> Option<(F80, Number)> {
        let Some(v) = self.st(0) else {
            self.finish_underflow(0);
            return None;
        };
        let o = Operand::new(v);
        match nan_result(o, o) {
            None => Some((v, o.number())),
            Some((value, flags)) => {
                self.finish(0, value, flags, false);
                None
            }
        }
    }
    /// FSQRT.
    pub(crate) fn square_root(&mut self) {
        if let Some((_, n)) = self.unary() {
            let outcome = soft::square_root(n, self.precision(), self.control());
            self.finish_outcome(0, outcome);
        }
    }
    /// FRNDINT.
    pub(super) fn round_to_int(&mut self) {
        let Some((v, n)) = self.unary() else { return };
        if !n.is_finite_nonzero() {
            self.finish(0, v, 0, false);
            return;
        }
        let denormal = if n.class == Class::Denormal { DE } else { 0 };
        let r = soft::round_to_integral(n, Format::EXTENDED, self.rounding());
        self.finish(0, F80::pack(r), r.flags | denormal, r.up);
    }
    /// FABS and FCHS: a new sign bit, and no exception but stack underflow.
    pub(crate) fn change_sign(&mut self, f: impl FnOnce(bool) -> bool) {
        match self.st(0) {
            None => {
                self.finish_underflow(0);
            }
            Some(v) => {
                let se = v.exponent() | u16::from(f(v.sign())) << 15;
                self.finish(0, F80::new(se, v.sig), 0, false);
            }
        }
    }
    /// FSCALE: ST(0) times two to the power of ST(1), chopped.
    pub(super) fn scale(&mut self) {
        use Class::*;
        let (Some(a), Some(b)) = (self.operand(0), self.operand(1)) else {
            self.finish_underflow(0);
            return;
        };
        if let Some((value, flags)) = nan_result(a, b) {
            self.finish(0, value, flags, false);
            return;
        }
        let (n, power) = (a.number(), b.number());
        let denormal = if n.class == Denormal || power.class == Denormal { DE } else { 0 };
        let sign = n.sign;
        let special = |r: Rounded| (Some(r), denormal);
        let outcome = match (n.class, power.class) {
            (Zero, Infinite) if !power.sign => (None, IE),
            (Infinite, Infinite) if power.sign => (None, IE),
            (_, Infinite) if power.sign => special(Rounded::zero(sign, Format::EXTENDED)),
            (_, Infinite) | (Infinite, _) => special(Rounded::infinity(sign, Format::EXTENDED)),
            (Zero, _) => special(Rounded::zero(sign, Format::EXTENDED)),
            _ => {
                // Past this the result is out of range in any case, whatever the exponent that it started from.
                const BEYOND: u128 = 0x1_0000;
                let (magnitude, ..) = soft::to_integer(power, soft::Rounding::Zero);
                let by = magnitude.min(BEYOND) as i32 * if power.sign { -1 } else { 1 };
                let r = Exact { exp: n.exp + by, ..n.exact() }.round(Format::EXTENDED, self.control());
                (Some(r), r.flags | denormal)
            }
        };
        self.finish_outcome(0, outcome);
    }
    /// FXTRACT: the exponent replaces ST(0), the significand is pushed.
    pub(super) fn extract(&mut self) {
        let Some(v) = self.st(0) else {
            if self.underflow() {
                self.set_st(0, F80::INDEFINITE);
                self.rotate(-1);
                self.set_st(0, F80::INDEFINITE);
            }
            return;
        };
        if !self.is_empty(7) {
            if self.overflow() {
                self.set_st(0, F80::INDEFINITE);
                self.rotate(-1);
                self.set_st(0, F80::INDEFINITE);
            }
            return;
        }
        let o = Operand::new(v);
        let n = o.number();
        let sign = u16::from(n.sign) << 15;
        let (exponent, significand, flags) = match n.class {
            Class::Zero => (F80::new(0xffff, 1 << 63), v, ZE),
            Class::Infinite => (F80::new(0x7fff, 1 << 63), v, 0),
            Class::Normal => (F80::from_int(n.exp.into()), F80::new(0x3fff | sign, n.sig), 0),
            Class::Denormal => (F80::from_int(n.exp.into()), F80::new(0x3fff | sign, n.sig), DE),
            Class::Unsupported => (F80::INDEFINITE, F80::INDEFINITE, IE),
            Class::QuietNan => (v, v, 0),
            Class::SignallingNan => (v.quiet(), v.quiet(), IE),
        };
        if self.finish(0, exponent, flags, false) {
            self.rotate(-1);
            self.set_st(0, significand);
        }
    }
    /// FPREM (quotient chopped) and FPREM1 (quotient to nearest): the remainder of ST(0) by ST(1), perhaps in part.
    pub(super) fn remainder(&mut self, nearest: bool) {
        use Class::*;
        self.clear_c2();
        let (Some(a), Some(b)) = (self.operand(0), self.operand(1)) else {
            self.finish_underflow(0);
            return;
        };
        if let Some((value, flags)) = nan_result(a, b) {
            self.finish(0, value, flags, false);
            return;
        }
        let (x, y) = (a.number(), b.number());
        let denormal = if x.class == Denormal || y.class == Denormal { DE } else { 0 };
        if x.class == Infinite || y.class == Zero {
            self.finish(0, F80::INDEFINITE, IE, false);
            return;
        }
        if !self.may_proceed(denormal) {
            return;
        }
        let (exact, quotient, partial) = if x.class == Zero || y.class == Infinite {
            (x.is_finite_nonzero().then(|| x.exact()), 0, false)
        } else {
            divide(x, y, nearest)
        };
        let result = match exact {
            Some(e) => e.round(Format::EXTENDED, self.control()),
            None => Rounded::zero(x.sign, Format::EXTENDED),
        };
        self.finish_outcome(0, (Some(result), result.flags | denormal));
        let bit = |n: u32, c: u16| if quotient >> n & 1 != 0 && !partial { c } else { 0 };
        self.set_conditions(bit(2, C0) | bit(1, C3) | bit(0, C1) | if partial { C2 } else { 0 });
    }

    // ---- comparisons

    /// Compares ST(0) with `source`, if both are normal numbers.
    #[inline(always)]
    fn quick_comparison(&mut self, source: Option<Operand>) -> Option<u16> {
        let (a, b) = (self.st(0)?, source?);
        if !a.is_normal() || !b.value.is_normal() || b.denormal {
            return None;
        }
        self.set_c1(false);
        Some(condition(a.compare_normal(b.value)))
    }
    /// FCOM and its kin, if that is easy.
    #[inline(always)]
    pub(crate) fn quick_compare(&mut self, source: Option<Operand>) -> Option<()> {
        let c = self.quick_comparison(source)?;
        self.set_conditions(c);
        Some(())
    }
    /// FCOMI and its kin, if that is easy: ZF, PF and CF.
    #[inline(always)]
    pub(crate) fn quick_compare_to_flags(&mut self, source: Option<Operand>) -> Option<u64> {
        self.quick_comparison(source).map(condition_flags)
    }
    /// Compares ST(0) with `source`. Gives C3, C2 and C0 as the comparison leaves them, or `None` when an unmasked exception leaves
    /// them alone.
    fn comparison(&mut self, source: Option<Operand>, nans: Nans) -> Option<u16> {
        self.quick_comparison(source).or_else(|| match (self.operand(0), source) {
            (Some(a), Some(b)) => self.comparison_exact(a, b, nans),
            _ => self.underflow().then_some(UNORDERED),
        })
    }
    #[inline(never)]
    fn comparison_exact(&mut self, a: Operand, b: Operand, nans: Nans) -> Option<u16> {
        let (x, y) = (a.number(), b.number());
        let any = |c| x.class == c || y.class == c;
        let (result, flags) = if any(Class::Unsupported) || any(Class::SignallingNan) {
            (UNORDERED, IE)
        } else if any(Class::QuietNan) {
            (UNORDERED, if nans == Nans::Ordered { IE } else { 0 })
        } else {
            (condition(x.compare(y)), if any(Class::Denormal) { DE } else { 0 })
        };
        self.set_c1(false);
        self.raise(flags);
        (flags & self.unmasked() == 0).then_some(result)
    }
    /// FCOM, FUCOM, FICOM, FTST. Gives true when a pop may follow.
    pub(super) fn compare(&mut self, source: Option<Operand>, nans: Nans) -> bool {
        let result = self.comparison(source, nans);
        if let Some(c) = result {
            self.set_conditions(c);
        }
        result.is_some()
    }
    /// FCOMI, FUCOMI: ZF, PF and CF as in RFLAGS, or `None` when they stay.
    pub(super) fn compare_to_flags(&mut self, source: Option<Operand>, nans: Nans) -> Option<u64> {
        self.comparison(source, nans).map(condition_flags)
    }
    /// FXAM.
    pub(super) fn examine(&mut self) {
        let v = self.slot(0);
        let class = match v.unpack().class {
            _ if self.is_empty(0) => C3 | C0,
            Class::Unsupported => 0,
            Class::QuietNan | Class::SignallingNan => C0,
            Class::Normal => C2,
            Class::Infinite => C2 | C0,
            Class::Zero => C3,
            Class::Denormal => C3 | C2,
        };
        self.set_conditions(class | if v.sign() { C1 } else { 0 });
    }

    // ---- data transfer

    /// FLD m32fp and m64fp.
    #[inline]
    pub(super) fn load_ieee(&mut self, bits: u64, f: Format) {
        if f == Format::DOUBLE
            && let Some(v) = F80::from_ordinary_double(bits)
        {
            return self.push(v);
        }
        let o = Operand::ieee(bits, f);
        let flags = match o.number().class {
            Class::SignallingNan => IE,
            Class::Denormal => DE,
            _ => 0,
        };
        let value = if flags & IE != 0 { o.value.quiet() } else { o.value };
        // A push that has no room comes before anything about the value; a denormal is loaded even if that is unmasked.
        if flags != 0 && self.is_empty(7) {
            if !self.may_proceed(flags & IE) {
                return;
            }
            self.raise(flags);
        }
        self.push(value);
    }
    /// FLD ST(i).
    pub(crate) fn load_register(&mut self, i: u8) {
        match self.st(i) {
            Some(v) => self.push(v),
            None => {
                if self.underflow() {
                    self.rotate(-1);
                    self.set_st(0, F80::INDEFINITE);
                }
            }
        }
    }
    /// FXCH.
    pub(crate) fn exchange(&mut self, i: u8) {
        if self.is_empty(0) || self.is_empty(i) {
            if !self.underflow() {
                return;
            }
            for j in [0, i] {
                if self.is_empty(j) {
                    self.set_st(j, F80::INDEFINITE);
                }
            }
        } else {
            self.set_c1(false);
        }
        let (a, b) = (self.slot(0), self.slot(i));
        self.set_st(0, b);
        self.set_st(i, a);
    }
    /// FST and FSTP to a register. Gives true when a pop may follow.
    pub(crate) fn store_register(&mut self, i: u8) -> bool {
        match self.st(0) {
            Some(v) => self.finish(i, v, 0, false),
            None => self.finish_underflow(i),
        }
    }
    /// FCMOVcc.
    pub(super) fn move_if(&mut self, i: u8, condition: bool) {
        let (Some(_), Some(v)) = (self.st(0), self.st(i)) else {
            self.finish_underflow(0);
            return;
        };
        if condition {
            self.set_st(0, v);
        }
    }
    /// ST(0) as binary32, if it is an ordinary number of that format: the encoding, inexact, rounded up.
    #[inline(always)]
    pub(crate) fn quick_single(&self) -> Option<(u64, bool, bool)> {
        self.quick_precision()?;
        self.st(0)?.to_ordinary(Format::SINGLE)
    }
    /// ST(0) as binary64, if it is an ordinary number of that format.
    #[inline(always)]
    pub(crate) fn quick_double(&self) -> Option<(u64, bool, bool)> {
        self.quick_precision()?;
        self.st(0)?.to_ordinary(Format::DOUBLE)
    }
    /// ST(0) as an integer of `bits` bits, if it is an ordinary number that fits.
    #[inline(always)]
    pub(crate) fn quick_integer(&self, bits: i32) -> Option<(i64, bool, bool)> {
        self.quick_precision()?;
        self.st(0)?.to_ordinary_integer(bits)
    }
    /// What a store of ST(0) in the format `f` writes, for [`Fpu::commit_store`].
    #[inline]
    pub(super) fn stored_ieee(&self, f: Format) -> Store<u64> {
        match self.st(0) {
            None => Store::empty(f.default_nan()),
            Some(v) => {
                let (value, flags, up) = v.to_ieee(f, self.control());
                Store { value, flags, up, empty: false }
            }
        }
    }
    /// What FIST, FISTP or (chopped) FISTTP writes as an integer of `bits` bits.
    #[inline]
    pub(super) fn stored_int(&self, bits: u32, chopped: bool) -> Store<i64> {
        match self.st(0) {
            None => Store::empty(i64::MIN >> (64 - bits)),
            Some(v) => {
                let rounding = if chopped { soft::Rounding::Zero } else { self.rounding() };
                let (value, flags, up) = v.to_int(bits, rounding);
                Store { value, flags, up, empty: false }
            }
        }
    }
    /// What FBSTP writes.
    pub(super) fn stored_bcd(&self) -> Store<[u8; 10]> {
        let (value, flags, up) = self.st(0).unwrap_or(F80::INDEFINITE).to_bcd(self.rounding());
        Store { value, flags, up, empty: self.is_empty(0) }
    }
    /// What FSTP m80 writes.
    pub(super) fn stored_extended(&self) -> Store<F80> {
        match self.st(0) {
            None => Store::empty(F80::INDEFINITE),
            Some(value) => Store { value, flags: 0, up: false, empty: false },
        }
    }
    /// Does an unmasked exception keep this store from memory?
    #[inline]
    pub(super) fn suppresses<T>(&self, s: &Store<T>) -> bool {
        let flags = if s.empty { IE } else { s.flags };
        flags & (BEFORE | OE | UE) & self.unmasked() != 0
    }
    /// Notes what a store has raised, after it reached memory (or was suppressed). Gives true when a pop may follow.
    #[inline]
    pub(super) fn commit_store<T>(&mut self, s: &Store<T>) -> bool {
        if s.empty {
            return self.underflow();
        }
        let suppressed = self.suppresses(s);
        if self.may_proceed(s.flags) {
            self.set_c1(s.up && !suppressed);
            // What is not stored is not inexact either.
            self.raise(if suppressed { s.flags & !PE } else { s.flags });
        }
        !suppressed
    }
}

/// A value on its way from ST(0) to memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Store<T> {
    /// What is written.
    pub value: T,
    flags: u32,
    up: bool,
    /// ST(0) was empty.
    empty: bool,
}

impl<T> Store<T> {
    fn empty(value: T) -> Self {
        Self { value, flags: 0, up: false, empty: true }
    }
}

/// One step of a remainder: what is left (`None` for zero), the quotient's low bits, and whether the reduction is incomplete.
fn divide(x: Number, y: Number, nearest: bool) -> (Option<Exact>, u32, bool) {
    let distance = x.exp - y.exp;
    // A distant operand is reduced by 32 to 63 bits at a time.
    let partial = distance >= 64;
    let shift = if partial { 32 | distance & 31 } else { distance };
    let divisor = u128::from(y.sig);
    if shift < -1 || shift == -1 && !nearest {
        return (Some(x.exact()), 0, false);
    }
    // In units of the divisor's last bit, doubled, so that a dividend one place below is still whole.
    let (dividend, divisor) =
        if shift == -1 { (u128::from(x.sig), divisor << 1) } else { (u128::from(x.sig) << shift, divisor) };
    let (mut q, mut r) = ((dividend / divisor) as u32, dividend % divisor);
    let mut sign = x.sign;
    if nearest && !partial && (r > divisor - r || r == divisor - r && q & 1 != 0) {
        r = divisor - r;
        q = q.wrapping_add(1);
        sign = !sign;
    }
    // Bit 63 of the divisor's significand has this exponent.
    let exp = if shift == -1 { x.exp } else { x.exp - shift };
    let lead = r.leading_zeros();
    let exact = (r != 0).then(|| Exact { sign, exp: exp + 64 - lead as i32, sig: r << lead });
    (exact, q, partial)
}
