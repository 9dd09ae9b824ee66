//! SHA-NI: the rounds and message schedules of SHA-1 and SHA-256 (FIPS 180-4, section 6; SDM vol. 2). The first word of a register, in the
//! order of the standard, is its highest.

use super::vec::Vec128;
use std::array::from_fn;

/// The words from the highest on.
fn words(v: Vec128) -> [u32; 4] {
    let [a, b, c, d] = v.u32s();
    [d, c, b, a]
}
fn from_words([a, b, c, d]: [u32; 4]) -> Vec128 {
    Vec128::from_u32s([d, c, b, a])
}

/// SHA1RNDS4: four rounds with the function and constant that `imm` chooses. `b` holds the schedule, E added to its first word.
pub(super) fn sha1rnds4(a: Vec128, b: Vec128, imm: u8) -> Vec128 {
    const K: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
    let n = usize::from(imm & 3);
    let f = |b: u32, c: u32, d: u32| match n {
        0 => b & c ^ !b & d,
        2 => b & c ^ b & d ^ c & d,
        _ => b ^ c ^ d,
    };
    let ([mut a, mut b, mut c, mut d], w) = (words(a), words(b));
    let mut e = 0;
    for w in w {
        let t = f(b, c, d).wrapping_add(a.rotate_left(5)).wrapping_add(w).wrapping_add(e).wrapping_add(K[n]);
        (a, b, c, d, e) = (t, a, b.rotate_left(30), c, d);
    }
    from_words([a, b, c, d])
}
/// SHA1NEXTE: adds E after four rounds to the first word of the schedule.
pub(super) fn sha1nexte(a: Vec128, b: Vec128) -> Vec128 {
    let [w0, w1, w2, w3] = words(b);
    from_words([w0.wrapping_add(words(a)[0].rotate_left(30)), w1, w2, w3])
}
/// SHA1MSG1: the first half of four words of the schedule.
pub(super) fn sha1msg1(a: Vec128, b: Vec128) -> Vec128 {
    let ([w0, w1, w2, w3], [w4, w5, ..]) = (words(a), words(b));
    from_words([w2 ^ w0, w3 ^ w1, w4 ^ w2, w5 ^ w3])
}
/// SHA1MSG2: the second half.
pub(super) fn sha1msg2(a: Vec128, b: Vec128) -> Vec128 {
    let ([x0, x1, x2, x3], [_, w13, w14, w15]) = (words(a), words(b));
    let w16 = (x0 ^ w13).rotate_left(1);
    from_words([w16, (x1 ^ w14).rotate_left(1), (x2 ^ w15).rotate_left(1), (x3 ^ w16).rotate_left(1)])
}

/// SHA256RNDS2: two rounds. `a` holds C, D, G, H, `b` A, B, E, F; the low words of `wk` are the schedule with the constants added.
pub(super) fn sha256rnds2(a: Vec128, b: Vec128, wk: Vec128) -> Vec128 {
    let ([mut c, mut d, mut g, mut h], [mut a, mut b, mut e, mut f]) = (words(a), words(b));
    for w in &wk.u32s()[..2] {
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t1 = h.wrapping_add(sum1).wrapping_add(e & f ^ !e & g).wrapping_add(*w);
        let t2 = sum0.wrapping_add(a & b ^ a & c ^ b & c);
        (a, b, c, d, e, f, g, h) = (t1.wrapping_add(t2), a, b, c, d.wrapping_add(t1), e, f, g);
    }
    from_words([a, b, e, f])
}
/// SHA256MSG1: adds σ₀ of the next word to each of four.
pub(super) fn sha256msg1(a: Vec128, b: Vec128) -> Vec128 {
    let (w, next) = (a.u32s(), b.u32s()[0]);
    let sigma0 = |v: u32| v.rotate_right(7) ^ v.rotate_right(18) ^ v >> 3;
    Vec128::from_u32s(from_fn(|i| w[i].wrapping_add(sigma0(if i < 3 { w[i + 1] } else { next }))))
}
/// SHA256MSG2: adds σ₁ of the word two before to each of four, which gives the next words of the schedule.
pub(super) fn sha256msg2(a: Vec128, b: Vec128) -> Vec128 {
    let (x, y) = (a.u32s(), b.u32s());
    let sigma1 = |v: u32| v.rotate_right(17) ^ v.rotate_right(19) ^ v >> 10;
    let (w16, w17) = (x[0].wrapping_add(sigma1(y[2])), x[1].wrapping_add(sigma1(y[3])));
    Vec128::from_u32s([w16, w17, x[2].wrapping_add(sigma1(w16)), x[3].wrapping_add(sigma1(w17))])
}
