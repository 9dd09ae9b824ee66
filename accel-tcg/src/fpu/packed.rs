//! Packed integer operations (SDM vol. 2: MMX, SSE, SSE2, SSSE3, SSE4.1) as functions over whole registers.
//!
//! An MMX instruction computes on the low half of the same registers; what lies above is never looked at. The few operations that move
//! data across the middle of the register have a form of their own for MMX, with the suffix `_mmx`.

use super::vec::Vec128;
use std::array::from_fn;

/// Defines lane-wise operations of two operands.
macro_rules! lanewise {
    ($($name:ident, $get:ident -> $from:ident, |$a:ident, $b:ident| $e:expr;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            Vec128::$from(from_fn(|i| {
                let ($a, $b) = (x[i], y[i]);
                $e
            }))
        }
    )* };
}

lanewise! {
    paddb, u8s -> from_u8s, |a, b| a.wrapping_add(b);
    paddw, u16s -> from_u16s, |a, b| a.wrapping_add(b);
    paddd, u32s -> from_u32s, |a, b| a.wrapping_add(b);
    paddq, u64s -> from_u64s, |a, b| a.wrapping_add(b);
    psubb, u8s -> from_u8s, |a, b| a.wrapping_sub(b);
    psubw, u16s -> from_u16s, |a, b| a.wrapping_sub(b);
    psubd, u32s -> from_u32s, |a, b| a.wrapping_sub(b);
    psubq, u64s -> from_u64s, |a, b| a.wrapping_sub(b);
    paddsb, i8s -> from_i8s, |a, b| a.saturating_add(b);
    paddsw, i16s -> from_i16s, |a, b| a.saturating_add(b);
    paddusb, u8s -> from_u8s, |a, b| a.saturating_add(b);
    paddusw, u16s -> from_u16s, |a, b| a.saturating_add(b);
    psubsb, i8s -> from_i8s, |a, b| a.saturating_sub(b);
    psubsw, i16s -> from_i16s, |a, b| a.saturating_sub(b);
    psubusb, u8s -> from_u8s, |a, b| a.saturating_sub(b);
    psubusw, u16s -> from_u16s, |a, b| a.saturating_sub(b);
    pavgb, u8s -> from_u8s, |a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8;
    pavgw, u16s -> from_u16s, |a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16;
    pminub, u8s -> from_u8s, |a, b| a.min(b);
    pminuw, u16s -> from_u16s, |a, b| a.min(b);
    pminud, u32s -> from_u32s, |a, b| a.min(b);
    pminsb, i8s -> from_i8s, |a, b| a.min(b);
    pminsw, i16s -> from_i16s, |a, b| a.min(b);
    pminsd, i32s -> from_i32s, |a, b| a.min(b);
    pmaxub, u8s -> from_u8s, |a, b| a.max(b);
    pmaxuw, u16s -> from_u16s, |a, b| a.max(b);
    pmaxud, u32s -> from_u32s, |a, b| a.max(b);
    pmaxsb, i8s -> from_i8s, |a, b| a.max(b);
    pmaxsw, i16s -> from_i16s, |a, b| a.max(b);
    pmaxsd, i32s -> from_i32s, |a, b| a.max(b);
    pcmpeqb, u8s -> from_u8s, |a, b| u8::from(a == b).wrapping_neg();
    pcmpeqw, u16s -> from_u16s, |a, b| u16::from(a == b).wrapping_neg();
    pcmpeqd, u32s -> from_u32s, |a, b| u32::from(a == b).wrapping_neg();
    pcmpeqq, u64s -> from_u64s, |a, b| u64::from(a == b).wrapping_neg();
    pcmpgtb, i8s -> from_i8s, |a, b| -i8::from(a > b);
    pcmpgtw, i16s -> from_i16s, |a, b| -i16::from(a > b);
    pcmpgtd, i32s -> from_i32s, |a, b| -i32::from(a > b);
    pcmpgtq, i64s -> from_i64s, |a, b| -i64::from(a > b);
    pmullw, i16s -> from_i16s, |a, b| a.wrapping_mul(b);
    pmulhw, i16s -> from_i16s, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16;
    pmulhuw, u16s -> from_u16s, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16;
    pmulhrsw, i16s -> from_i16s, |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16;
    pmulld, u32s -> from_u32s, |a, b| a.wrapping_mul(b);
    pmuludq, u64s -> from_u64s, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff);
    pmuldq, i64s -> from_i64s, |a, b| i64::from(a as i32) * i64::from(b as i32);
    pand, u64s -> from_u64s, |a, b| a & b;
    pandn, u64s -> from_u64s, |a, b| !a & b;
    por, u64s -> from_u64s, |a, b| a | b;
    pxor, u64s -> from_u64s, |a, b| a ^ b;
    psignb, i8s -> from_i8s, |a, b| a.wrapping_mul(b.signum());
    psignw, i16s -> from_i16s, |a, b| a.wrapping_mul(b.signum());
    psignd, i32s -> from_i32s, |a, b| a.wrapping_mul(b.signum());
    pabsb, i8s -> from_i8s, |_a, b| b.wrapping_abs();
    pabsw, i16s -> from_i16s, |_a, b| b.wrapping_abs();
    pabsd, i32s -> from_i32s, |_a, b| b.wrapping_abs();
}

/// PMADDWD: products of signed words, neighbours added.
#[inline(always)]
pub(crate) fn pmaddwd(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.i16s(), b.i16s());
    let p = |i: usize| i32::from(x[i]) * i32::from(y[i]);
    Vec128::from_i32s(from_fn(|i| p(2 * i).wrapping_add(p(2 * i + 1))))
}

/// PMADDUBSW: products of unsigned (first operand) and signed bytes, neighbours added with saturation.
#[inline(always)]
pub(crate) fn pmaddubsw(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u8s(), b.i8s());
    let p = |i: usize| i16::from(x[i]) * i16::from(y[i]);
    Vec128::from_i16s(from_fn(|i| p(2 * i).saturating_add(p(2 * i + 1))))
}

/// PSADBW: sum of absolute differences of each group of eight bytes.
#[inline(always)]
pub(crate) fn psadbw(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u8s(), b.u8s());
    let mut sums = [0; 2];
    for i in 0..16 {
        sums[i / 8] += u64::from(x[i].abs_diff(y[i]));
    }
    Vec128::from_u64s(sums)
}

// ---- shifts

/// Defines shifts of every lane by one count, which may be any 64-bit number.
macro_rules! shifts {
    ($($name:ident, $get:ident -> $from:ident, $bits:literal, |$x:ident, $n:ident| $e:expr, $over:expr;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, count: u64) -> Vec128 {
            let x = a.$get();
            if count < $bits {
                let $n = count as u32;
                Vec128::$from(from_fn(|i| { let $x = x[i]; $e }))
            } else {
                Vec128::$from(from_fn(|i| { let $x = x[i]; let _ = $x; $over }))
            }
        }
    )* };
}

shifts! {
    psllw, u16s -> from_u16s, 16, |x, n| x << n, 0;
    pslld, u32s -> from_u32s, 32, |x, n| x << n, 0;
    psllq, u64s -> from_u64s, 64, |x, n| x << n, 0;
    psrlw, u16s -> from_u16s, 16, |x, n| x >> n, 0;
    psrld, u32s -> from_u32s, 32, |x, n| x >> n, 0;
    psrlq, u64s -> from_u64s, 64, |x, n| x >> n, 0;
    psraw, i16s -> from_i16s, 16, |x, n| x >> n, x >> 15;
    psrad, i32s -> from_i32s, 32, |x, n| x >> n, x >> 31;
}

/// PSLLDQ: the whole register left by `count` bytes.
#[inline(always)]
pub(crate) fn pslldq(a: Vec128, count: u64) -> Vec128 {
    Vec128::from_u128(if count < 16 { a.u128() << (8 * count) } else { 0 })
}

/// PSRLDQ: the whole register right by `count` bytes.
#[inline(always)]
pub(crate) fn psrldq(a: Vec128, count: u64) -> Vec128 {
    Vec128::from_u128(if count < 16 { a.u128() >> (8 * count) } else { 0 })
}

// ---- widening and narrowing

/// Defines packs: the lanes of both operands, narrowed with saturation, the first operand's below.
macro_rules! packs {
    ($($name:ident, $mmx:ident, $get:ident -> $from:ident, $lanes:literal, $to:ty;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            Vec128::$from(from_fn(|i| {
                let v = if i < $lanes { x[i] } else { y[i - $lanes] };
                v.clamp(<$to>::MIN.into(), <$to>::MAX.into()) as $to
            }))
        }
        #[inline(always)]
        pub(crate) fn $mmx(a: Vec128, b: Vec128) -> Vec128 {
            $name(Vec128::from_u64s([a.low64(), b.low64()]), Vec128::default())
        }
    )* };
}

packs! {
    packsswb, packsswb_mmx, i16s -> from_i8s, 8, i8;
    packuswb, packuswb_mmx, i16s -> from_u8s, 8, u8;
    packssdw, packssdw_mmx, i32s -> from_i16s, 4, i16;
    packusdw, packusdw_mmx, i32s -> from_u16s, 4, u16;
}

/// Defines interleaving of the low or the high halves.
macro_rules! unpacks {
    ($($name:ident, $get:ident -> $from:ident $wide:ty, $start:literal;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            // Pairs of lanes as one of twice the width, which the compiler knows how to vectorise.
            Vec128::$from(from_fn(|i| {
                <$wide>::from(x[$start + i]) | <$wide>::from(y[$start + i]) << (<$wide>::BITS / 2)
            }))
        }
    )* };
}

unpacks! {
    punpcklbw, u8s -> from_u16s u16, 0;
    punpcklwd, u16s -> from_u32s u32, 0;
    punpckldq, u32s -> from_u64s u64, 0;
    punpckhbw, u8s -> from_u16s u16, 8;
    punpckhwd, u16s -> from_u32s u32, 4;
    punpckhdq, u32s -> from_u64s u64, 2;
}

/// PUNPCKLQDQ.
#[inline(always)]
pub(crate) fn punpcklqdq(a: Vec128, b: Vec128) -> Vec128 {
    Vec128::from_u64s([a.low64(), b.low64()])
}
/// PUNPCKHQDQ.
#[inline(always)]
pub(crate) fn punpckhqdq(a: Vec128, b: Vec128) -> Vec128 {
    Vec128::from_u64s([a.high64(), b.high64()])
}

/// The high half of a 64-bit interleave is the upper half of the low 128-bit one.
macro_rules! unpacks_mmx {
    ($($mmx:ident, $low:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $mmx(a: Vec128, b: Vec128) -> Vec128 {
            Vec128::from_low64($low(a, b).high64())
        }
    )* };
}

unpacks_mmx! {
    punpckhbw_mmx, punpcklbw;
    punpckhwd_mmx, punpcklwd;
    punpckhdq_mmx, punpckldq;
}

/// Defines PMOVSX and PMOVZX.
macro_rules! extends {
    ($($name:ident, $get:ident -> $from:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(_a: Vec128, b: Vec128) -> Vec128 {
            let x = b.$get();
            Vec128::$from(from_fn(|i| x[i].into()))
        }
    )* };
}

extends! {
    pmovsxbw, i8s -> from_i16s;
    pmovsxbd, i8s -> from_i32s;
    pmovsxbq, i8s -> from_i64s;
    pmovsxwd, i16s -> from_i32s;
    pmovsxwq, i16s -> from_i64s;
    pmovsxdq, i32s -> from_i64s;
    pmovzxbw, u8s -> from_u16s;
    pmovzxbd, u8s -> from_u32s;
    pmovzxbq, u8s -> from_u64s;
    pmovzxwd, u16s -> from_u32s;
    pmovzxwq, u16s -> from_u64s;
    pmovzxdq, u32s -> from_u64s;
}

// ---- horizontal

/// Defines operations on neighbouring lanes: the first operand's pairs below the second's.
macro_rules! horizontal {
    ($($name:ident, $mmx:ident, $get:ident -> $from:ident, $half:literal, |$a:ident, $b:ident| $e:expr;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            Vec128::$from(from_fn(|i| {
                let (v, i) = if i < $half { (&x, i) } else { (&y, i - $half) };
                let ($a, $b) = (v[2 * i], v[2 * i + 1]);
                $e
            }))
        }
        #[inline(always)]
        pub(crate) fn $mmx(a: Vec128, b: Vec128) -> Vec128 {
            $name(Vec128::from_u64s([a.low64(), b.low64()]), Vec128::default())
        }
    )* };
}

horizontal! {
    phaddw, phaddw_mmx, i16s -> from_i16s, 4, |a, b| a.wrapping_add(b);
    phaddd, phaddd_mmx, i32s -> from_i32s, 2, |a, b| a.wrapping_add(b);
    phaddsw, phaddsw_mmx, i16s -> from_i16s, 4, |a, b| a.saturating_add(b);
    phsubw, phsubw_mmx, i16s -> from_i16s, 4, |a, b| a.wrapping_sub(b);
    phsubd, phsubd_mmx, i32s -> from_i32s, 2, |a, b| a.wrapping_sub(b);
    phsubsw, phsubsw_mmx, i16s -> from_i16s, 4, |a, b| a.saturating_sub(b);
}

/// PHMINPOSUW: the smallest word of `b` and the index of its first occurrence.
pub(crate) fn phminposuw(_a: Vec128, b: Vec128) -> Vec128 {
    let (index, min) = b.u16s().into_iter().enumerate().min_by_key(|&(i, v)| (v, i)).unwrap_or_default();
    Vec128::from_low32(u32::from(min) | (index as u32) << 16)
}

/// MPSADBW: eight sums of absolute differences of four bytes. Bit 2 of `imm` chooses where in `a` to start, bits 1..0 the group in `b`.
pub(crate) fn mpsadbw(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let (x, y) = (a.u8s(), b.u8s());
    let (from_a, from_b) = (usize::from(imm & 4), usize::from(imm & 3) * 4);
    Vec128::from_u16s(from_fn(|i| (0..4).map(|j| u16::from(x[from_a + i + j].abs_diff(y[from_b + j]))).sum()))
}

// ---- shuffles and blends

/// PSHUFB: bytes of `a` chosen by `b`; a choice with bit 7 set gives zero.
#[inline(always)]
pub(crate) fn pshufb(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u8s(), b.u8s());
    Vec128::from_u8s(from_fn(|i| if y[i] & 0x80 != 0 { 0 } else { x[usize::from(y[i] & 15)] }))
}

/// PSHUFB on an MMX register.
#[inline(always)]
pub(crate) fn pshufb_mmx(a: Vec128, b: Vec128) -> Vec128 {
    pshufb(a, pand(b, Vec128([0x87; 16])))
}

/// The 2-bit field `i` of a shuffle control.
#[inline(always)]
fn field(imm: u8, i: usize) -> usize {
    usize::from(imm >> (2 * (i & 3)) & 3)
}

/// PSHUFD.
#[inline(always)]
pub(crate) fn pshufd(_a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let x = b.u32s();
    Vec128::from_u32s(from_fn(|i| x[field(imm, i)]))
}

/// PSHUFLW; PSHUFW is its low half.
#[inline(always)]
pub(crate) fn pshuflw(_a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let x = b.u16s();
    Vec128::from_u16s(from_fn(|i| if i < 4 { x[field(imm, i)] } else { x[i] }))
}

/// PSHUFHW.
#[inline(always)]
pub(crate) fn pshufhw(_a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let x = b.u16s();
    Vec128::from_u16s(from_fn(|i| if i < 4 { x[i] } else { x[4 + field(imm, i)] }))
}

/// SHUFPS.
#[inline(always)]
pub(crate) fn shufps(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    Vec128::from_u32s(from_fn(|i| if i < 2 { x[field(imm, i)] } else { y[field(imm, i)] }))
}

/// SHUFPD.
#[inline(always)]
pub(crate) fn shufpd(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    Vec128::from_u64s([a.u64s()[usize::from(imm & 1)], b.u64s()[usize::from(imm >> 1 & 1)]])
}

/// PALIGNR: sixteen bytes out of `a:b`, from byte `imm` on.
#[inline(always)]
pub(crate) fn palignr(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    match u64::from(imm) {
        n @ 0..=16 => por(psrldq(b, n), pslldq(a, 16 - n)),
        n => psrldq(a, n - 16),
    }
}

/// PALIGNR on MMX registers: eight bytes out of `a:b`.
#[inline(always)]
pub(crate) fn palignr_mmx(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    Vec128::from_low64(psrldq(Vec128::from_u64s([b.low64(), a.low64()]), imm.into()).low64())
}

/// Defines blends with a lane mask in the immediate.
macro_rules! blends {
    ($($name:ident, $get:ident -> $from:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            Vec128::$from(from_fn(|i| if imm >> i & 1 != 0 { y[i] } else { x[i] }))
        }
    )* };
}

blends! {
    pblendw, u16s -> from_u16s;
    blendps, u32s -> from_u32s;
    blendpd, u64s -> from_u64s;
}

/// Defines blends by the sign bit of each lane of a mask register.
macro_rules! variable_blends {
    ($($name:ident, $get:ident -> $from:ident, $mask:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128, b: Vec128, mask: Vec128) -> Vec128 {
            let (x, y, m) = (a.$get(), b.$get(), mask.$mask());
            Vec128::$from(from_fn(|i| if m[i] < 0 { y[i] } else { x[i] }))
        }
    )* };
}

variable_blends! {
    pblendvb, u8s -> from_u8s, i8s;
    blendvps, u32s -> from_u32s, i32s;
    blendvpd, u64s -> from_u64s, i64s;
}

/// INSERTPS with `lane` already taken from the source: into lane `imm[5:4]`, then the lanes of `imm[3:0]` cleared.
pub(crate) fn insertps(a: Vec128, lane: u32, imm: u8) -> Vec128 {
    let mut x = a.u32s();
    x[usize::from(imm >> 4 & 3)] = lane;
    Vec128::from_u32s(from_fn(|i| if imm >> i & 1 != 0 { 0 } else { x[i] }))
}

/// MOVSLDUP.
#[inline(always)]
pub(crate) fn movsldup(_a: Vec128, b: Vec128) -> Vec128 {
    pshufd(b, b, 0b10_10_00_00)
}

/// MOVSHDUP.
#[inline(always)]
pub(crate) fn movshdup(_a: Vec128, b: Vec128) -> Vec128 {
    pshufd(b, b, 0b11_11_01_01)
}

/// MOVDDUP.
#[inline(always)]
pub(crate) fn movddup(_a: Vec128, b: Vec128) -> Vec128 {
    Vec128::from_u64s([b.low64(); 2])
}

// ---- to general registers

/// Defines gathering of the sign bits.
macro_rules! masks {
    ($($name:ident, $get:ident;)*) => { $(
        #[inline(always)]
        pub(crate) fn $name(a: Vec128) -> u32 {
            a.$get().into_iter().enumerate().fold(0, |m, (i, v)| m | u32::from(v < 0) << i)
        }
    )* };
}

masks! {
    movmskps, i32s;
    movmskpd, i64s;
}

/// Defines VTESTx: PTEST of the sign bits alone.
macro_rules! sign_tests {
    ($($name:ident, $signs:ident;)*) => { $(
        pub(crate) fn $name(a: Vec128, b: Vec128) -> (bool, bool) {
            let (x, y) = ($signs(a), $signs(b));
            (y & x == 0, y & !x == 0)
        }
    )* };
}

sign_tests! {
    vtestps, movmskps;
    vtestpd, movmskpd;
}

/// PMOVMSKB: the sign bits of sixteen bytes.
#[inline(always)]
pub(crate) fn pmovmskb(a: Vec128) -> u32 {
    // The product brings bit 7 of byte n to bit 56 + n; no two terms meet.
    let gather = |v: u64| (((v >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080)) >> 56) as u32;
    gather(a.low64()) | gather(a.high64()) << 8
}

/// ZF and CF of PTEST: `b & a` and `b & !a` are all zeros.
#[inline(always)]
pub(crate) fn ptest(a: Vec128, b: Vec128) -> (bool, bool) {
    (b.u128() & a.u128() == 0, b.u128() & !a.u128() == 0)
}
