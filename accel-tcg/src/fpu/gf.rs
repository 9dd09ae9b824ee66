//! Polynomials over GF(2): PCLMULQDQ, and the field GF(2⁸) of AES and GFNI (SDM vol. 2; FIPS 197, section 4).

use super::vec::Vec128;
use std::array::from_fn;

/// The product of two bytes modulo x⁸ + x⁴ + x³ + x + 1.
pub(super) const fn product(a: u8, b: u8) -> u8 {
    let (mut p, mut x, mut n) = (0, a, 0);
    while n < 8 {
        if b >> n & 1 != 0 {
            p ^= x;
        }
        x = x << 1 ^ if x & 0x80 != 0 { 0x1b } else { 0 };
        n += 1;
    }
    p
}

/// Multiplicative inverses; that of zero is zero.
pub(super) const INVERSE: [u8; 256] = {
    let mut t = [0; 256];
    let mut i = 1;
    while i < 256 {
        // a²⁵⁴ = a² · a⁴ · … · a¹²⁸
        let (mut power, mut r, mut n) = (i as u8, 1, 0);
        while n < 7 {
            power = product(power, power);
            r = product(r, power);
            n += 1;
        }
        t[i] = r;
        i += 1;
    }
    t
};

/// GF2P8MULB.
pub(super) fn gf2p8mulb(a: Vec128, b: Vec128) -> Vec128 {
    Vec128::from_u8s(from_fn(|i| product(a.u8s()[i], b.u8s()[i])))
}

/// A byte times an 8 × 8 bit matrix, whose rows are the bytes of `matrix` from the highest on.
fn transform(matrix: u64, x: u8) -> u8 {
    let row = |i: usize| matrix.to_le_bytes()[7 - i];
    (0..8).fold(0, |r, i| r | ((row(i) & x).count_ones() as u8 & 1) << i)
}
/// GF2P8AFFINEQB: each byte of `a` times the matrix in the quadword of `b`, plus a constant.
pub(super) fn gf2p8affineqb(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    Vec128::from_u8s(from_fn(|i| transform(b.u64s()[i / 8], a.u8s()[i]) ^ imm))
}
/// GF2P8AFFINEINVQB: the same of the inverses.
pub(super) fn gf2p8affineinvqb(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    gf2p8affineqb(Vec128(a.u8s().map(|x| INVERSE[usize::from(x)])), b, imm)
}

/// PCLMULQDQ: the carry-less product of a quadword of each operand; bits 0 and 4 of `imm` choose which.
pub(super) fn pclmulqdq(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let (x, y) = (a.u64s()[usize::from(imm & 1)], b.u64s()[usize::from(imm >> 4 & 1)]);
    Vec128::from_u128((0..64).filter(|n| y >> n & 1 != 0).fold(0, |p, n| p ^ u128::from(x) << n))
}
