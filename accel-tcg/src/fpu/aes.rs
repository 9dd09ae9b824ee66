//! AES-NI: one round of the cipher (FIPS 197; SDM vol. 2, AESENC and its kin). Byte n of a register is row n mod 4 of column n / 4.

use super::gf::{INVERSE, product};
use super::vec::Vec128;
use std::array::from_fn;

/// SubBytes: an inverse, and an affine transformation of it.
const S_BOX: [u8; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let v = INVERSE[i];
        t[i] = v ^ v.rotate_left(1) ^ v.rotate_left(2) ^ v.rotate_left(3) ^ v.rotate_left(4) ^ 0x63;
        i += 1;
    }
    t
};
/// InvSubBytes.
const INVERSE_S_BOX: [u8; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[S_BOX[i] as usize] = i as u8;
        i += 1;
    }
    t
};

const fn multiples(by: u8) -> [u8; 256] {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = product(i as u8, by);
        i += 1;
    }
    t
}
/// The products that MixColumns and its inverse need.
const BY_2: [u8; 256] = multiples(2);
const BY_9: [u8; 256] = multiples(9);
const BY_11: [u8; 256] = multiples(11);
const BY_13: [u8; 256] = multiples(13);
const BY_14: [u8; 256] = multiples(14);

/// SubBytes and ShiftRows: row r goes left by r columns.
fn substitute(v: Vec128) -> [u8; 16] {
    let s = v.u8s();
    from_fn(|i| S_BOX[usize::from(s[(i + 4 * (i % 4)) % 16])])
}
/// InvShiftRows and InvSubBytes.
fn substitute_back(v: Vec128) -> [u8; 16] {
    let s = v.u8s();
    from_fn(|i| INVERSE_S_BOX[usize::from(s[(i + 12 * (i % 4)) % 16])])
}
fn mix_columns(s: [u8; 16]) -> Vec128 {
    Vec128(from_fn(|i| {
        let at = |n: usize| s[i / 4 * 4 + (i + n) % 4];
        let two = |v: u8| BY_2[usize::from(v)];
        two(at(0)) ^ two(at(1)) ^ at(1) ^ at(2) ^ at(3)
    }))
}
fn mix_columns_back(s: [u8; 16]) -> Vec128 {
    Vec128(from_fn(|i| {
        let at = |n: usize| usize::from(s[i / 4 * 4 + (i + n) % 4]);
        BY_14[at(0)] ^ BY_11[at(1)] ^ BY_13[at(2)] ^ BY_9[at(3)]
    }))
}
fn add_key(v: Vec128, key: Vec128) -> Vec128 {
    Vec128::from_u128(v.u128() ^ key.u128())
}

/// AESENC.
pub(super) fn aesenc(a: Vec128, key: Vec128) -> Vec128 {
    add_key(mix_columns(substitute(a)), key)
}
/// AESENCLAST.
pub(super) fn aesenclast(a: Vec128, key: Vec128) -> Vec128 {
    add_key(Vec128(substitute(a)), key)
}
/// AESDEC.
pub(super) fn aesdec(a: Vec128, key: Vec128) -> Vec128 {
    add_key(mix_columns_back(substitute_back(a)), key)
}
/// AESDECLAST.
pub(super) fn aesdeclast(a: Vec128, key: Vec128) -> Vec128 {
    add_key(Vec128(substitute_back(a)), key)
}
/// AESIMC.
pub(super) fn aesimc(_a: Vec128, b: Vec128) -> Vec128 {
    mix_columns_back(b.u8s())
}
/// AESKEYGENASSIST.
pub(super) fn aeskeygenassist(_a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    let x = b.u32s();
    let word = |v: u32| u32::from_le_bytes(v.to_le_bytes().map(|b| S_BOX[usize::from(b)]));
    let turned = |v: u32| v.rotate_right(8) ^ u32::from(imm);
    Vec128::from_u32s([word(x[1]), turned(word(x[1])), word(x[3]), turned(word(x[3]))])
}
