//! Operations that AVX and AVX2 add: permutations, some of which cross the middle of a YMM register, and shifts by a count for each lane
//! (SDM vol. 2, VPERMxx, VBROADCASTx, VPSLLVx and their kin).

use super::vec::{Vec128, Vec256};
use std::array::from_fn;

/// The eight doublewords of a YMM register.
fn u32s(v: Vec256) -> [u32; 8] {
    let [low, high] = v.map(Vec128::u32s);
    from_fn(|i| if i < 4 { low[i] } else { high[i - 4] })
}
/// The four quadwords of a YMM register.
fn u64s(v: Vec256) -> [u64; 4] {
    let [low, high] = v.map(Vec128::u64s);
    [low[0], low[1], high[0], high[1]]
}

/// VPERMD, VPERMPS: doublewords of `b` chosen by those of `a`.
pub(super) fn vpermd(a: Vec256, b: Vec256, _imm: u8) -> Vec256 {
    let (x, y) = (u32s(a), u32s(b));
    from_fn(|h| Vec128::from_u32s(from_fn(|i| y[(x[4 * h + i] & 7) as usize])))
}
/// VPERMQ, VPERMPD: quadwords chosen by the immediate.
pub(super) fn vpermq(_a: Vec256, b: Vec256, imm: u8) -> Vec256 {
    let y = u64s(b);
    from_fn(|h| Vec128::from_u64s(from_fn(|i| y[usize::from(imm >> (4 * h + 2 * i) & 3)])))
}
/// VPERM2F128, VPERM2I128: each half one of the four of both operands, or zero.
pub(super) fn vperm2x128(a: Vec256, b: Vec256, imm: u8) -> Vec256 {
    let all = [a[0], a[1], b[0], b[1]];
    from_fn(|h| {
        let field = imm >> (4 * h);
        if field & 8 != 0 { Vec128::default() } else { all[usize::from(field & 3)] }
    })
}

/// VPERMILPS with its control in a register: doublewords of `a` chosen by `b`.
pub(super) fn vpermilps(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    Vec128::from_u32s(from_fn(|i| x[(y[i] & 3) as usize]))
}
/// VPERMILPD with its control in a register: quadwords of `a` chosen by bit 1 of those of `b`.
pub(super) fn vpermilpd(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u64s(), b.u64s());
    Vec128::from_u64s(from_fn(|i| x[(y[i] >> 1 & 1) as usize]))
}
/// VPERMILPD with its control in an immediate, of which each half has two bits.
pub(super) fn vpermilpd_imm(_a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    super::packed::shufpd(b, b, imm)
}

/// The low `bytes` bytes of `v` in every lane of that size.
pub(super) fn broadcast(v: Vec128, bytes: usize) -> Vec128 {
    let b = v.u8s();
    Vec128::from_u8s(from_fn(|i| b[i % bytes]))
}

/// Defines shifts of each lane by the count in the same lane of the second operand, which may be any number.
macro_rules! variable_shifts {
    ($($name:ident, $get:ident -> $from:ident, $bits:literal, |$a:ident, $n:ident| $e:expr, $over:expr;)*) => { $(
        pub(super) fn $name(a: Vec128, b: Vec128) -> Vec128 {
            let (x, y) = (a.$get(), b.$get());
            Vec128::$from(from_fn(|i| {
                let ($a, $n) = (x[i], y[i]);
                if (0..$bits).contains(&$n) { $e } else { $over }
            }))
        }
    )* };
}

variable_shifts! {
    vpsllvd, u32s -> from_u32s, 32, |a, n| a << n, 0;
    vpsllvq, u64s -> from_u64s, 64, |a, n| a << n, 0;
    vpsrlvd, u32s -> from_u32s, 32, |a, n| a >> n, 0;
    vpsrlvq, u64s -> from_u64s, 64, |a, n| a >> n, 0;
    vpsravd, i32s -> from_i32s, 32, |a, n| a >> n, a >> 31;
}
