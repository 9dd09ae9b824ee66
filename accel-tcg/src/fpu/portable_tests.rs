//! The portable floating point against the host's ("oracle 4"): the same operations by [`soft`] alone and with the host's arithmetic, and
//! the transcendental functions by their series and by the host's x87.

use super::f80::F80;
use super::host::{self, Evaluated};
use super::soft::flag::*;
use super::soft::{self, Control, Format, Op, Rounding};
use super::sse::{self, Env, Fused, Lane};
use super::stack::C2;
use super::transcendental::Function;
use super::{elementary, portable, quick};
use crate::random::Random;
use std::cmp::Ordering;

const FUNCTIONS: [Function; 8] = [
    Function::Exp2MinusOne,
    Function::YLog2,
    Function::YLog2Plus1,
    Function::Tangent,
    Function::Arctangent,
    Function::Sine,
    Function::Cosine,
    Function::SineCosine,
];

/// Units in the last place between two values; `None` if they are not of a kind.
fn distance(a: F80, b: F80) -> Option<u64> {
    if a == b {
        return Some(0);
    }
    let finite = |v: F80| v.exponent() != 0x7fff;
    let place = |v: F80| u128::from(v.exponent()) << 63 | u128::from(v.sig & u64::MAX >> 1);
    (finite(a) && finite(b) && a.sign() == b.sign()).then(|| place(a).abs_diff(place(b)).min(u64::MAX.into()) as u64)
}

/// Operands that the functions are defined for, or any.
fn operand(f: Function, r: &mut Random) -> F80 {
    let v = F80::from_bits(r.extended());
    let within = |low: u16, high: u16, r: &mut Random| {
        F80::new(v.se & 0x8000 | (low + r.below(u64::from(high - low)) as u16), v.sig | 1 << 63)
    };
    match f {
        _ if r.one_in(4) => v,
        // Up to 1, up to 1 - √½, up to 2⁶³.
        Function::Exp2MinusOne => within(0x3f00, 0x3fff, r),
        Function::YLog2Plus1 => within(0x3f00, 0x3ffd, r),
        Function::YLog2 => F80::new(within(0x3ff8, 0x4008, r).se & 0x7fff, v.sig | 1 << 63),
        Function::Arctangent => within(0x3fe0, 0x4020, r),
        _ => within(0x3f00, 0x403d, r),
    }
}

#[test]
fn transcendental_functions_are_those_of_the_host() {
    let mut r = Random(1);
    for f in FUNCTIONS {
        for _ in 0..5000 {
            let (a, b) = (operand(f, &mut r), F80::from_bits(r.extended()));
            let fcw = 0x33f | (r.below(4) as u16) << 10;
            let (h, p) = (host::evaluate(f, a, b, fcw), portable::evaluate(f, a, b, fcw));
            let told = |e: Evaluated| (e.status & (ALL as u16 | C2), e.pushed);
            let results = if h.pushed == 1 { 2 } else { 1 };
            let near = (0..results).all(|n| distance(h.st[n], p.st[n]).is_some_and(|d| d <= 1));
            assert!(told(h) == told(p) && near, "{f:?} of {a:x?} and {b:x?}, FCW {fcw:x}: host {h:x?}, here {p:x?}");
        }
    }
}

#[test]
fn arc_tangents_of_sixteenths_are_what_they_are_called() {
    // atan((k + 1)/16) - atan(k/16) = atan(16/(256 + k(k + 1))), and the last is π/4.
    elementary::check_arctangents();
}

/// Every operation on lanes of `T`, by the host's arithmetic where it may be used and without.
fn compare_lanes<T: Lane + std::fmt::Debug>(draw: fn(&mut Random) -> T, seed: u64) {
    type Operation<T> = (&'static str, fn(&mut Env, [T; 3], u8) -> u64);
    let operations: [Operation<T>; 15] = [
        ("add", |e, v, _| sse::arithmetic(e, Op::Add, v[0], v[1]).wide()),
        ("sub", |e, v, _| sse::arithmetic(e, Op::Sub, v[0], v[1]).wide()),
        ("mul", |e, v, _| sse::arithmetic(e, Op::Mul, v[0], v[1]).wide()),
        ("div", |e, v, _| sse::arithmetic(e, Op::Div, v[0], v[1]).wide()),
        ("add lanes", |e, v, _| sse::arithmetic_lanes(e, Op::Add, [v[0], v[1]], [v[1], v[2]])[1].wide()),
        ("sqrt", |e, v, _| sse::square_root(e, v[0]).wide()),
        ("min", |e, v, _| sse::select(e, v[0], v[1], Ordering::Less).wide()),
        ("max", |e, v, _| sse::select(e, v[0], v[1], Ordering::Greater).wide()),
        ("compare", |e, v, imm| sse::predicate(e, v[0], v[1], imm).into()),
        ("round", |e, v, imm| sse::round(e, v[0], imm).wide()),
        ("to 32 bits", |e, v, _| sse::to_integer(e, v[0], 32, e.rounding()) as u64),
        ("chop to 64 bits", |e, v, _| sse::to_integer(e, v[0], 64, Rounding::Zero) as u64),
        ("from integer", |e, v, imm| sse::from_integer::<T>(e, v[0].wide() as i64 >> (imm & 63)).wide()),
        ("madd", |e, v, _| sse::fused(e, v, Fused { negate_product: false, negate_addend: false }).wide()),
        ("nmsub", |e, v, _| sse::fused(e, v, Fused { negate_product: true, negate_addend: true }).wide()),
    ];
    let mut r = Random(seed);
    for (name, f) in operations {
        for _ in 0..20_000 {
            let mut v = [draw(&mut r), draw(&mut r), draw(&mut r)];
            if r.one_in(4) {
                // Sums that cancel.
                v[1] = T::narrow(v[0].wide() ^ r.below(4));
            }
            // Mostly the state in which the host's arithmetic is used.
            let csr = if r.one_in(2) { r.pick(&[0x1fa0, 0x1fa1]) } else { r.next() as u32 & 0xffff };
            let imm = r.next() as u8;
            let (mut with, mut without) = (Env::new(csr), Env::portable(csr));
            let (a, b) = (f(&mut with, v, imm), f(&mut without, v, imm));
            // What is noted already need not be raised again.
            let noted = |e: &Env| e.flags | csr & ALL;
            // An unmasked exception leaves no result.
            let same = noted(&with) == noted(&without) && (a == b || without.faulted());
            assert!(same, "{name} of {v:x?}, MXCSR {csr:x}, {imm:x}: {a:x} {with:?}, portable {b:x} {without:?}");
        }
    }
}

#[test]
fn sse_arithmetic_is_that_of_the_host() {
    compare_lanes::<u32>(Random::single, 1);
    compare_lanes::<u64>(Random::double, 2);
    let mut r = Random(3);
    for _ in 0..20_000 {
        let csr = if r.one_in(2) { r.pick(&[0x1fa0, 0x1fa1]) } else { r.next() as u32 & 0xffff };
        let (single, double) = (r.single(), r.double());
        let (mut with, mut without) = (Env::new(csr), Env::portable(csr));
        let wide = [sse::widen(&mut with, single), sse::widen(&mut without, single)];
        let narrow = [sse::narrow(&mut with, double), sse::narrow(&mut without, double)];
        let same = wide[0] == wide[1] && narrow[0] == narrow[1] || without.faulted();
        let flags = [with, without].map(|e| e.flags | csr & ALL);
        assert!(
            same && flags[0] == flags[1],
            "{single:x}, {double:x}, MXCSR {csr:x}: {wide:x?} {narrow:x?} {flags:x?}"
        );
    }
}

/// The quick way of the x87's arithmetic, which does not need the host, against the exact one.
#[test]
fn quick_arithmetic_is_exact() {
    let mut r = Random(4);
    let mut taken = 0;
    for _ in 0..200_000 {
        let (a, b) = (F80::from_bits(r.extended()), F80::from_bits(r.extended()));
        let op = r.pick(&[Op::Add, Op::Sub, Op::Mul, Op::Div]);
        let precision = r.pick(&[24, 53, 64]);
        let Some(q) = quick::arithmetic(op, a, b, precision) else { continue };
        taken += 1;
        let c = Control { rounding: Rounding::Nearest, unmasked: 0, flush: false };
        let (exact, flags) =
            soft::arithmetic(op, a.unpack(), b.unpack(), Format::EXTENDED.with_precision(precision), c);
        let exact = exact.expect("a result of normal numbers");
        assert_eq!(
            (q.value, q.inexact, q.up),
            (F80::pack(exact), flags & PE != 0, exact.up),
            "{op:?} of {a:x?} and {b:x?} to {precision} bits"
        );
    }
    assert!(taken > 20_000, "{taken}");
}
