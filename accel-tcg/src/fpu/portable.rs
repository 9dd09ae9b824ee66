//! The transcendental instructions where the host has none: results within one unit in the last place, special operands as in the tables of
//! SDM vol. 2 (F2XM1, FCOS, FPATAN, FPTAN, FSIN, FSINCOS, FYL2X, FYL2XP1).

use super::elementary::{Angle, PI, angle_of, exp2_minus_1, log2, log2_of_1_plus};
use super::f80::F80;
use super::host::Evaluated;
use super::soft::flag::*;
use super::soft::{Class, Control, Exact, Format, Number, Rounding};
use super::stack::{C1, C2};
use super::transcendental::Function;
use super::wide::Wide;
use super::x87::adjust;

/// A result, the exceptions with it, and whether its magnitude was rounded up.
#[derive(Clone, Copy, Debug)]
struct Answer {
    value: F80,
    flags: u32,
    up: bool,
}

impl Answer {
    /// A value that is exact.
    fn exactly(value: F80) -> Self {
        Self { value, flags: 0, up: false }
    }
    fn zero(sign: bool) -> Self {
        Self::exactly(F80::new(u16::from(sign) << 15, 0))
    }
    fn infinity(sign: bool) -> Self {
        Self::exactly(F80::new(u16::from(sign) << 15 | 0x7fff, 1 << 63))
    }
    /// An invalid operation.
    const INVALID: Self = Self { value: F80::INDEFINITE, flags: IE, up: false };

    fn with(self, flags: u32) -> Self {
        Self { flags: self.flags | flags, ..self }
    }
    /// A computed value, rounded. Zero comes from nothing but an exact result.
    fn round(v: Wide, c: Control) -> Self {
        let Some(e) = v.0 else { return Self::zero(false) };
        let r = adjust(e.round(Format::EXTENDED, c), c.unmasked);
        Self { value: F80::pack(r), flags: r.flags, up: r.up }
    }
    /// A value of an infinite series, which is never exact even if all the bits that were computed are zeros.
    fn series(v: Wide, c: Control) -> Self {
        Self::round(Wide(v.0.map(|e| Exact { sig: e.sig | 1, ..e })), c)
    }
}

/// A finite number that is not zero.
fn wide(n: Number) -> Wide {
    Wide(Some(n.exact()))
}

/// Evaluates `f` with ST(0) = `a` and ST(1) = `b` under the control word `fcw`.
pub(super) fn evaluate(f: Function, a: F80, b: F80, fcw: u16) -> Evaluated {
    let c =
        Control { rounding: Rounding::from_bits((fcw >> 10).into()), unmasked: u32::from(!fcw) & ALL, flush: false };
    let (x, y) = (a.unpack(), b.unpack());
    let binary = f.is_binary();
    let operands = if binary { vec![x, y] } else { vec![x] };
    let any = |class| operands.iter().any(|n| n.class == class);
    let one = |answer: Answer| finish(f, answer, None);
    if any(Class::Unsupported) {
        return both(f, Answer::INVALID);
    }
    if operands.iter().any(|n| n.is_nan()) {
        let (value, flags) = F80::propagate(a, if binary { b } else { a });
        return both(f, Answer { value, flags, up: false });
    }
    let denormal = if any(Class::Denormal) { DE } else { 0 };
    let answer = match f {
        Function::Sine | Function::Cosine | Function::SineCosine | Function::Tangent => {
            return trigonometric(f, a, x, c, denormal);
        }
        Function::Exp2MinusOne => exponential(a, x, c),
        Function::Arctangent => arctangent(y, x, c),
        Function::YLog2 => y_log2(y, x, c),
        Function::YLog2Plus1 => y_log2_plus_1(y, a, x, c),
    };
    // An invalid operation or a division by zero hides the denormal operand.
    one(if answer.flags & (IE | ZE) != 0 { answer } else { answer.with(denormal) })
}

/// The same answer in all of the results.
fn both(f: Function, answer: Answer) -> Evaluated {
    finish(f, answer, f.pushes().then_some(answer.value))
}
/// `first` in ST(0), or under `pushed`.
fn finish(f: Function, first: Answer, pushed: Option<F80>) -> Evaluated {
    let status = first.flags as u16 | if first.up { C1 } else { 0 };
    match pushed {
        Some(top) => Evaluated { status, pushed: 1, st: [top, first.value] },
        None => Evaluated { status, pushed: if f.is_binary() { -1 } else { 0 }, st: [first.value, F80::ZERO] },
    }
}

fn trigonometric(f: Function, a: F80, x: Number, c: Control, denormal: u32) -> Evaluated {
    let pair = |sin: Answer, cos: Answer| match f {
        Function::Sine => finish(f, sin, None),
        Function::Cosine => finish(f, cos, None),
        // C1 tells of the last result.
        _ => finish(f, Answer { flags: sin.flags | cos.flags, up: cos.up, ..sin }, Some(cos.value)),
    };
    match x.class {
        Class::Infinite => both(f, Answer::INVALID),
        Class::Zero if f == Function::Tangent => finish(f, Answer::exactly(a), Some(F80::ONE)),
        Class::Zero => pair(Answer::exactly(a), Answer::exactly(F80::ONE)),
        // Too large to be reduced: nothing is done.
        _ if x.exp >= 63 => Evaluated { status: C2, pushed: 0, st: [a, F80::ZERO] },
        _ => {
            let angle = Angle::of(x.exact());
            if f == Function::Tangent {
                // So near to zero the quotient of two series is no better than its operands.
                let tan = if x.exp < -60 { wide(x) } else { angle.tan() };
                return finish(f, Answer::series(tan, c).with(denormal), Some(F80::ONE));
            }
            pair(Answer::series(angle.sin(), c).with(denormal), Answer::series(angle.cos(), c).with(denormal))
        }
    }
}

fn exponential(a: F80, x: Number, c: Control) -> Answer {
    match (x.class, x.sign) {
        (Class::Zero, _) | (Class::Infinite, false) => Answer::exactly(a),
        (Class::Infinite, true) => Answer::exactly(F80::new(0xbfff, 1 << 63)),
        // Beyond ±1 the result is undefined: the operand stays. At the ends it is exact, but not called so.
        _ if x.exp > 0 || x.exp == 0 && x.sig > 1 << 63 => Answer::exactly(a).with(PE),
        (_, false) if x.exp == 0 => Answer::exactly(F80::ONE).with(PE),
        (_, true) if x.exp == 0 => Answer::round(-Wide::ONE.scale(-1), c).with(PE),
        _ => Answer::series(exp2_minus_1(wide(x)), c),
    }
}

fn arctangent(y: Number, x: Number, c: Control) -> Answer {
    use Class::*;
    let turn = |quarters: i64| {
        let v = PI * Wide::integer(quarters).scale(-2);
        Answer::series(if y.sign { -v } else { v }, c)
    };
    match (y.class, x.class) {
        (Infinite, Infinite) => turn(if x.sign { 3 } else { 1 }),
        (Infinite, _) => turn(2),
        (Zero, _) | (_, Infinite) if x.sign => turn(4),
        (Zero, _) | (_, Infinite) => Answer::zero(y.sign),
        (_, Zero) => turn(2),
        _ => Answer::series(angle_of(wide(y), wide(x)), c),
    }
}

/// `y` times a logarithm that is not finite or whose sign alone counts.
fn y_times(y: Number, log_is_negative: bool, log_is_zero: bool, log_is_infinite: bool) -> Option<Answer> {
    let sign = y.sign ^ log_is_negative;
    match y.class {
        Class::Infinite if log_is_zero => Some(Answer::INVALID),
        Class::Zero if log_is_infinite => Some(Answer::INVALID),
        Class::Infinite => Some(Answer::infinity(sign)),
        _ if log_is_infinite => Some(Answer::infinity(sign)),
        Class::Zero => Some(Answer::zero(sign)),
        _ if log_is_zero => Some(Answer::zero(sign)),
        _ => None,
    }
}

/// Even if the logarithm is an integer, the processor calls the result inexact.
fn inexact(answer: Answer) -> Answer {
    answer.with(PE | if answer.value.exponent() == 0 { UE } else { 0 })
}

fn y_log2(y: Number, x: Number, c: Control) -> Answer {
    match (x.class, x.sign) {
        (Class::Zero, _) => {
            let answer = y_times(y, true, false, true).unwrap_or(Answer::INVALID);
            // Only of a finite number is it a division by zero.
            if y.is_finite_nonzero() { answer.with(ZE) } else { answer }
        }
        (_, true) => Answer::INVALID,
        (Class::Infinite, _) => y_times(y, false, false, true).unwrap_or(Answer::INVALID),
        _ => {
            let one = x.exp == 0 && x.sig == 1 << 63;
            y_times(y, x.exp < 0, one, false).unwrap_or_else(|| inexact(Answer::round(wide(y) * log2(x.exact()), c)))
        }
    }
}

fn y_log2_plus_1(y: Number, a: F80, x: Number, c: Control) -> Answer {
    match (x.class, x.sign) {
        (Class::Zero, _) => y_times(y, x.sign, true, false).unwrap_or(Answer::INVALID),
        (Class::Infinite, false) => y_times(y, false, false, true).unwrap_or(Answer::INVALID),
        (Class::Infinite, true) => Answer::INVALID,
        // From -1 down there is no logarithm: undefined, the operand stays.
        (_, sign) => y_times(y, sign, false, false).unwrap_or_else(|| {
            if sign && x.exp >= 0 {
                return Answer::exactly(a).with(PE);
            }
            Answer::series(wide(y) * log2_of_1_plus(wide(x)), c)
        }),
    }
}
