//! SSE floating-point instructions on whole registers, made of the lanes of [`sse`].

use super::host;
use super::soft::{Op, Rounding};
use super::sse::{self, Env, Environment, Lane};
use super::vec::{Vec128, Vec256};
use std::array::from_fn;
use std::cmp::Ordering;

/// Lane-wise on four singles.
#[inline(always)]
fn ps<E: Environment>(env: &mut E, a: Vec128, b: Vec128, f: impl Fn(&mut E, u32, u32) -> u32) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    Vec128::from_u32s(from_fn(|i| f(env, x[i], y[i])))
}
/// Lane-wise on two doubles.
#[inline(always)]
fn pd<E: Environment>(env: &mut E, a: Vec128, b: Vec128, f: impl Fn(&mut E, u64, u64) -> u64) -> Vec128 {
    let (x, y) = (a.u64s(), b.u64s());
    Vec128::from_u64s(from_fn(|i| f(env, x[i], y[i])))
}
/// On the low single; the rest stays.
#[inline(always)]
fn ss<E: Environment>(env: &mut E, a: Vec128, b: Vec128, f: impl Fn(&mut E, u32, u32) -> u32) -> Vec128 {
    a.with_low32(f(env, a.low32(), b.low32()))
}
/// On the low double; the rest stays.
#[inline(always)]
fn sd<E: Environment>(env: &mut E, a: Vec128, b: Vec128, f: impl Fn(&mut E, u64, u64) -> u64) -> Vec128 {
    a.with_low64(f(env, a.low64(), b.low64()))
}

/// Defines the four shapes of ADD, SUB, MUL, DIV.
macro_rules! arithmetic {
    ($($ps:ident $pd:ident $ss:ident $sd:ident: $op:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $ps(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
            Vec128::from_u32s(sse::arithmetic_lanes(env, Op::$op, a.u32s(), b.u32s()))
        }
        #[inline(always)]
        pub(crate) fn $pd(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
            Vec128::from_u64s(sse::arithmetic_lanes(env, Op::$op, a.u64s(), b.u64s()))
        }
        #[inline(always)]
        pub(crate) fn $ss(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
            ss(env, a, b, |e, x, y| sse::arithmetic(e, Op::$op, x, y))
        }
        #[inline(always)]
        pub(crate) fn $sd(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
            sd(env, a, b, |e, x, y| sse::arithmetic(e, Op::$op, x, y))
        }
    )* };
}

arithmetic! {
    addps addpd addss addsd: Add;
    subps subpd subss subsd: Sub;
    mulps mulpd mulss mulsd: Mul;
    divps divpd divss divsd: Div;
}

/// Defines the four shapes of an operation. `$x` and `$y` are the lanes.
macro_rules! four {
    ($($ps:ident $pd:ident $ss:ident $sd:ident: |$e:ident, $x:ident, $y:ident| $body:expr;)*) => { $(
        four!(@one $ps, ps, |$e, $x, $y| $body);
        four!(@one $pd, pd, |$e, $x, $y| $body);
        four!(@one $ss, ss, |$e, $x, $y| $body);
        four!(@one $sd, sd, |$e, $x, $y| $body);
    )* };
    (@one $name:ident, $shape:ident, |$e:ident, $x:ident, $y:ident| $body:expr) => {
        #[inline(always)]
        pub(crate) fn $name(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
            $shape(env, a, b, |$e, $x, $y| $body)
        }
    };
}

four! {
    minps minpd minss minsd: |e, x, y| sse::select(e, x, y, Ordering::Less);
    maxps maxpd maxss maxsd: |e, x, y| sse::select(e, x, y, Ordering::Greater);
    sqrtps sqrtpd sqrtss sqrtsd: |e, _x, y| sse::square_root(e, y);
}

/// Defines the four shapes of an operation with an immediate.
macro_rules! four_imm {
    ($($ps:ident $pd:ident $ss:ident $sd:ident ($env:ty): |$e:ident, $x:ident, $y:ident, $imm:ident| $body:expr;)*) => { $(
        four_imm!(@one $ps, ps, $env, |$e, $x, $y, $imm| $body);
        four_imm!(@one $pd, pd, $env, |$e, $x, $y, $imm| $body);
        four_imm!(@one $ss, ss, $env, |$e, $x, $y, $imm| $body);
        four_imm!(@one $sd, sd, $env, |$e, $x, $y, $imm| $body);
    )* };
    (@one $name:ident, $shape:ident, $env:ty, |$e:ident, $x:ident, $y:ident, $imm:ident| $body:expr) => {
        #[inline(always)]
        pub(crate) fn $name(env: &mut $env, a: Vec128, b: Vec128, $imm: u8) -> Vec128 {
            $shape(env, a, b, |$e, $x, $y| $body)
        }
    };
}

/// All ones or all zeros.
#[inline(always)]
fn mask<T: Lane>(v: bool) -> T {
    T::narrow(u64::from(v).wrapping_neg())
}

four_imm! {
    cmpps cmppd cmpss cmpsd (impl Environment): |e, x, y, imm| mask(sse::predicate(e, x, y, imm));
    roundps roundpd roundss roundsd (Env): |e, _x, y, imm| sse::round(e, y, imm);
}

/// RCPPS.
pub(crate) fn rcpps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    ps(env, a, b, |_, _, y| host::reciprocal(y))
}
/// RCPSS.
pub(crate) fn rcpss(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    ss(env, a, b, |_, _, y| host::reciprocal(y))
}
/// RSQRTPS.
pub(crate) fn rsqrtps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    ps(env, a, b, |_, _, y| host::reciprocal_root(y))
}
/// RSQRTSS.
pub(crate) fn rsqrtss(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    ss(env, a, b, |_, _, y| host::reciprocal_root(y))
}

// ---- horizontal

/// Operates on neighbouring singles.
fn horizontal_ps(env: &mut Env, a: Vec128, b: Vec128, op: Op) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    let (even, odd) = ([x[0], x[2], y[0], y[2]], [x[1], x[3], y[1], y[3]]);
    Vec128::from_u32s(sse::arithmetic_lanes(env, op, even, odd))
}
/// Operates on neighbouring doubles.
fn horizontal_pd(env: &mut Env, a: Vec128, b: Vec128, op: Op) -> Vec128 {
    let (even, odd) = ([a.low64(), b.low64()], [a.high64(), b.high64()]);
    Vec128::from_u64s(sse::arithmetic_lanes(env, op, even, odd))
}
/// HADDPS.
pub(crate) fn haddps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    horizontal_ps(env, a, b, Op::Add)
}
/// HSUBPS.
pub(crate) fn hsubps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    horizontal_ps(env, a, b, Op::Sub)
}
/// HADDPD.
pub(crate) fn haddpd(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    horizontal_pd(env, a, b, Op::Add)
}
/// HSUBPD.
pub(crate) fn hsubpd(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    horizontal_pd(env, a, b, Op::Sub)
}

/// Subtracts in even lanes and adds in odd ones.
const ALTERNATE: [Op; 4] = [Op::Sub, Op::Add, Op::Sub, Op::Add];

/// ADDSUBPS.
pub(crate) fn addsubps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    Vec128::from_u32s(from_fn(|i| sse::arithmetic(env, ALTERNATE[i], x[i], y[i])))
}
/// ADDSUBPD.
pub(crate) fn addsubpd(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u64s(), b.u64s());
    Vec128::from_u64s(from_fn(|i| sse::arithmetic(env, ALTERNATE[i], x[i], y[i])))
}

/// The products of DPPS and DPPD: those that the upper half of `imm` wants; zeros elsewhere.
fn products<T: Lane, const N: usize>(env: &mut Env, x: [T; N], y: [T; N], imm: u8) -> [T; N] {
    from_fn(|i| if imm >> (4 + i) & 1 != 0 { sse::arithmetic(env, Op::Mul, x[i], y[i]) } else { T::narrow(0) })
}
fn add<T: Lane>(env: &mut Env, a: T, b: T) -> T {
    sse::arithmetic(env, Op::Add, a, b)
}

/// The two halves of a result from those of the operands, of which there may be one.
fn by_half<T: Default + Copy>(halves: usize, mut f: impl FnMut(usize) -> T) -> [T; 2] {
    [f(0), if halves == 2 { f(1) } else { T::default() }]
}

/// DPPS. Each step is done for the whole register, and may end the instruction.
pub(crate) fn dpps(env: &mut Env, a: &[Vec128], b: &[Vec128], imm: u8) -> Vec256 {
    let p = by_half(a.len(), |h| products(env, a[h].u32s(), b[h].u32s(), imm));
    if env.ends_here() {
        return Vec256::default();
    }
    let pairs = by_half(a.len(), |h| [add(env, p[h][0], p[h][1]), add(env, p[h][2], p[h][3])]);
    if env.ends_here() {
        return Vec256::default();
    }
    by_half(a.len(), |h| {
        let sum = add(env, pairs[h][0], pairs[h][1]);
        Vec128::from_u32s(from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0 }))
    })
}
/// DPPD.
pub(crate) fn dppd(env: &mut Env, a: &[Vec128], b: &[Vec128], imm: u8) -> Vec256 {
    let p = by_half(a.len(), |h| products(env, a[h].u64s(), b[h].u64s(), imm));
    if env.ends_here() {
        return Vec256::default();
    }
    by_half(a.len(), |h| {
        let sum = add(env, p[h][0], p[h][1]);
        Vec128::from_u64s(from_fn(|i| if imm >> i & 1 != 0 { sum } else { 0 }))
    })
}

// ---- conversion

/// CVTPS2PD: the two low singles.
#[inline(always)]
pub(crate) fn cvtps2pd(env: &mut impl Environment, _a: Vec128, b: Vec128) -> Vec128 {
    let x = b.u32s();
    Vec128::from_u64s(from_fn(|i| sse::widen(env, x[i])))
}
/// CVTPD2PS: into the two low singles, zeros above.
pub(crate) fn cvtpd2ps(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    let [x, y] = b.u64s().map(|v| sse::narrow(env, v));
    Vec128::from_u32s([x, y, 0, 0])
}
/// CVTSS2SD.
#[inline(always)]
pub(crate) fn cvtss2sd(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
    a.with_low64(sse::widen(env, b.low32()))
}
/// CVTSD2SS.
#[inline(always)]
pub(crate) fn cvtsd2ss(env: &mut impl Environment, a: Vec128, b: Vec128) -> Vec128 {
    a.with_low32(sse::narrow(env, b.low64()))
}
/// CVTDQ2PS.
#[inline(always)]
pub(crate) fn cvtdq2ps(env: &mut impl Environment, _a: Vec128, b: Vec128) -> Vec128 {
    Vec128::from_u32s(b.i32s().map(|v| sse::from_integer(env, v.into())))
}
/// CVTDQ2PD, CVTPI2PD: the two low integers.
#[inline(always)]
pub(crate) fn cvtdq2pd(env: &mut impl Environment, _a: Vec128, b: Vec128) -> Vec128 {
    let x = b.i32s();
    Vec128::from_u64s(from_fn(|i| sse::from_integer(env, x[i].into())))
}
/// CVTPI2PS: the two low integers into the low half; the rest stays.
pub(crate) fn cvtpi2ps(env: &mut Env, a: Vec128, b: Vec128) -> Vec128 {
    let (x, old) = (b.i32s(), a.u32s());
    Vec128::from_u32s(from_fn(|i| if i < 2 { sse::from_integer(env, x[i].into()) } else { old[i] }))
}
/// Singles to 32-bit integers.
fn ps_to_integers(env: &mut Env, b: Vec128, r: Rounding) -> Vec128 {
    Vec128::from_i32s(b.u32s().map(|v| sse::to_integer(env, v, 32, r) as i32))
}
/// Doubles to 32-bit integers in the low half, zeros above.
fn pd_to_integers(env: &mut Env, b: Vec128, r: Rounding) -> Vec128 {
    let [x, y] = b.u64s().map(|v| sse::to_integer(env, v, 32, r) as i32);
    Vec128::from_i32s([x, y, 0, 0])
}
/// CVTPS2DQ.
pub(crate) fn cvtps2dq(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    ps_to_integers(env, b, env.rounding())
}
/// CVTTPS2DQ.
pub(crate) fn cvttps2dq(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    ps_to_integers(env, b, Rounding::Zero)
}
/// CVTPD2DQ, CVTPD2PI.
pub(crate) fn cvtpd2dq(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    pd_to_integers(env, b, env.rounding())
}
/// CVTTPD2DQ, CVTTPD2PI.
pub(crate) fn cvttpd2dq(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    pd_to_integers(env, b, Rounding::Zero)
}
/// The two low singles to 32-bit integers, with zeros above.
fn low_ps_to_integers(env: &mut Env, b: Vec128, r: Rounding) -> Vec128 {
    let x = b.u32s();
    Vec128::from_i32s(from_fn(|i| if i < 2 { sse::to_integer(env, x[i], 32, r) as i32 } else { 0 }))
}
/// CVTPS2PI.
pub(crate) fn cvtps2pi(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    low_ps_to_integers(env, b, env.rounding())
}
/// CVTTPS2PI.
pub(crate) fn cvttps2pi(env: &mut Env, _a: Vec128, b: Vec128) -> Vec128 {
    low_ps_to_integers(env, b, Rounding::Zero)
}
