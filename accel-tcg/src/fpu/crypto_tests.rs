//! Known answers for what the host at hand may lack: VAES, VPCLMULQDQ, GFNI.

use super::aes::*;
use super::gf::*;
use super::testing::Machine;
use super::vec::Vec128;

/// FIPS 197, appendix C.1.
const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const PLAIN: u128 = 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100;
const CIPHER: [u8; 16] =
    [0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30, 0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a];

/// The round keys of AES-128, by AESKEYGENASSIST.
fn round_keys() -> [Vec128; 11] {
    let mut keys = [Vec128(KEY); 11];
    for (n, constant) in [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36].into_iter().enumerate() {
        let last = keys[n];
        let mut word = aeskeygenassist(last, last, constant).u32s()[3];
        keys[n + 1] = Vec128::from_u32s(last.u32s().map(|w| {
            word ^= w;
            word
        }));
    }
    keys
}

#[test]
fn aes_128_of_fips_197() {
    let keys = round_keys();
    let start = Vec128::from_u128(PLAIN ^ keys[0].u128());
    let encrypted = aesenclast(keys[1..10].iter().fold(start, |s, &k| aesenc(s, k)), keys[10]);
    assert_eq!(encrypted, Vec128(CIPHER));
    let start = Vec128::from_u128(encrypted.u128() ^ keys[10].u128());
    let middle = keys[1..10].iter().rev().fold(start, |s, &k| aesdec(s, aesimc(k, k)));
    assert_eq!(aesdeclast(middle, keys[0]).u128(), PLAIN);
}

/// Executes an instruction on ymm1 (both halves different) and ymm2 into ymm0, and gives what it should be: `f` of each half.
fn on_ymm(bytes: &[u8], f: impl Fn(Vec128, Vec128) -> Vec128) {
    let mut m = Machine::new();
    let value = |n: u128| Vec128::from_u128(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let ([a, b], [c, d]) = ([value(3), value(5)], [value(7), value(11)]);
    (m.cpu.fpu.xmm[1], m.cpu.fpu.ymm_hi[1], m.cpu.fpu.xmm[2], m.cpu.fpu.ymm_hi[2]) = (a, b, c, d);
    m.execute(bytes).unwrap();
    assert_eq!((m.cpu.fpu.xmm[0], m.cpu.fpu.ymm_hi[0]), (f(a, c), f(b, d)), "{bytes:02x?}");
}

#[test]
fn vaes_vpclmulqdq_and_vex_gfni_work_on_both_halves() {
    on_ymm(&[0xc4, 0xe2, 0x75, 0xdc, 0xc2], aesenc);
    on_ymm(&[0xc4, 0xe2, 0x75, 0xdd, 0xc2], aesenclast);
    on_ymm(&[0xc4, 0xe2, 0x75, 0xde, 0xc2], aesdec);
    on_ymm(&[0xc4, 0xe2, 0x75, 0xdf, 0xc2], aesdeclast);
    for imm in [0, 1, 0x10, 0x11] {
        on_ymm(&[0xc4, 0xe3, 0x75, 0x44, 0xc2, imm], |a, b| pclmulqdq(a, b, imm));
    }
    on_ymm(&[0xc4, 0xe2, 0x75, 0xcf, 0xc2], gf2p8mulb);
    on_ymm(&[0xc4, 0xe3, 0xf5, 0xce, 0xc2, 0x5a], |a, b| gf2p8affineqb(a, b, 0x5a));
    on_ymm(&[0xc4, 0xe3, 0xf5, 0xcf, 0xc2, 0x5a], |a, b| gf2p8affineinvqb(a, b, 0x5a));
}

#[test]
fn carry_less_products() {
    let of = |a: u64, b: u64| pclmulqdq(Vec128::from_low64(a), Vec128::from_low64(b), 0).u128();
    // (x + 1)² = x² + 1, and the product of two full polynomials.
    assert_eq!(of(3, 3), 5);
    assert_eq!(of(u64::MAX, u64::MAX), 0x5555_5555_5555_5555_5555_5555_5555_5555);
    assert_eq!(of(1 << 63, 1 << 63), 1 << 126);
}

#[test]
fn gfni_knows_the_field_and_the_s_box_of_aes() {
    let splat = |b: u8| Vec128([b; 16]);
    let matrix = |m: u64| Vec128::from_u64s([m, m]);
    // FIPS 197, 4.2 and 4.2.1.
    assert_eq!(gf2p8mulb(splat(0x57), splat(0x83)), splat(0xc1));
    assert_eq!(gf2p8mulb(splat(0x57), splat(0x13)), splat(0xfe));
    // The identity: bit i of the result is bit i of the source, from row 7 - i.
    const IDENTITY: u64 = 0x0102_0408_1020_4080;
    // The matrix of FIPS 197, 5.1.1, its first row in the highest byte.
    const SUB_BYTES: u64 = 0xf1e3_c78f_1f3e_7cf8;
    for x in 0..=255 {
        assert_eq!(gf2p8affineqb(splat(x), matrix(IDENTITY), 0), splat(x));
        // All columns equal: ShiftRows changes nothing.
        let s_box = aesenclast(splat(x), Vec128::default());
        assert_eq!(gf2p8affineinvqb(splat(x), matrix(SUB_BYTES), 0x63), s_box, "{x:#x}");
        let inverse = gf2p8affineinvqb(splat(x), matrix(IDENTITY), 0);
        assert_eq!(gf2p8mulb(splat(x), inverse), splat(u8::from(x != 0)));
    }
}
