//! The elementary functions behind the x87's transcendental instructions, to more than a hundred bits, for hosts without an x87.

use super::soft::Exact;
use super::wide::Wide;

/// π.
pub(super) const PI: Wide = Wide::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
/// ln 2.
const LN_2: Wide = Wide::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
/// 2 / ln 2.
const TWO_LOG2_E: Wide = Wide::new(1, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89);

// ---- trigonometry

/// sin and cos of an angle within ±π/4, or both with a sign and exchanged.
pub(super) struct Angle {
    sin: Wide,
    cos: Wide,
}

/// π/2 as the processor reduces angles by it, in units of 2⁻⁶⁵: the 66 bits of SDM vol. 1, 8.3.8.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;

impl Angle {
    /// Of a finite number below 2⁶³ in magnitude whose significand has 64 bits.
    pub(super) fn of(x: Exact) -> Self {
        let (quadrant, r) = reduce(x);
        let (sin, cos) = (sine(r), cosine(r));
        let (sin, cos) = match quadrant {
            0 => (sin, cos),
            1 => (cos, -sin),
            2 => (-sin, -cos),
            _ => (-cos, sin),
        };
        Self { sin: if x.sign { -sin } else { sin }, cos }
    }
    pub(super) fn sin(&self) -> Wide {
        self.sin
    }
    pub(super) fn cos(&self) -> Wide {
        self.cos
    }
    pub(super) fn tan(&self) -> Wide {
        self.sin / self.cos
    }
}

/// The magnitude of `x` modulo π/2: how often that is in it (modulo 4), and the rest, within ±π/4.
fn reduce(x: Exact) -> (u32, Wide) {
    if x.exp < -1 {
        return (0, Wide(Some(Exact { sign: false, ..x })));
    }
    // The significand modulo π/2, doubled as often as the exponent says.
    let (mut rest, mut quadrant) = (x.sig >> 64, 0);
    for _ in 0..x.exp + 2 {
        (rest, quadrant) = (2 * rest, 2 * quadrant);
        if rest >= HALF_PI {
            (rest, quadrant) = (rest - HALF_PI, quadrant + 1);
        }
        quadrant &= 3;
    }
    let (sign, rest) = if 2 * rest > HALF_PI {
        quadrant = (quadrant + 1) & 3;
        (true, HALF_PI - rest)
    } else {
        (false, rest)
    };
    let shift = rest.leading_zeros();
    if shift == 128 {
        return (quadrant, Wide::ZERO);
    }
    (quadrant, Wide(Some(Exact { sign, exp: 127 - shift as i32 - 65, sig: rest << shift })))
}

/// 1 - z/((`from`)(`from` + 1)) · (1 - z/((`from` + 2)(`from` + 3)) · (…)): the series of the sine and the cosine.
fn alternating(z: Wide, from: i64) -> Wide {
    (0..20).rev().map(|n| from + 2 * n).fold(Wide::ONE, |s, k| Wide::ONE - z * s / Wide::integer(k * (k + 1)))
}
fn sine(r: Wide) -> Wide {
    r * alternating(r * r, 2)
}
fn cosine(r: Wide) -> Wide {
    alternating(r * r, 1)
}

/// atan(k/16) for k = 1 to 16.
#[rustfmt::skip]
const ARCTANGENTS: [Wide; 16] = [
    Wide::new(-5, 0xffaa_ddb9_67ef_4e36_cb27_92dc_0e2e_0d51), Wide::new(-4, 0xfead_d4d5_617b_6e32_c897_989f_3e88_8ef8),
    Wide::new(-3, 0xbdcb_da5e_72d8_1134_7b0b_4f88_1c9c_7488), Wide::new(-3, 0xfadb_afc9_6406_eb15_6dc7_9ef5_f7a2_17e6),
    Wide::new(-2, 0x9b13_b9b8_3f5e_5e69_c5ab_b498_d27a_f328), Wide::new(-2, 0xb7b0_ca0f_26f7_8473_8aa3_2122_dcfe_4483),
    Wide::new(-2, 0xd327_761e_611f_e5b6_427c_95e9_001e_7136), Wide::new(-2, 0xed63_382b_0dda_7b45_6fe4_45ec_bc3a_8d03),
    Wide::new(-1, 0x832b_f4a6_d986_7e2a_4b6a_09cb_61a5_15c1), Wide::new(-1, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3748),
    Wide::new(-1, 0x9a2f_80e6_71bd_da20_4226_f8e2_204f_f3bd), Wide::new(-1, 0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9f),
    Wide::new(-1, 0xaeac_4c38_b4d8_c080_1472_5e2f_3e52_070a), Wide::new(-1, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d),
    Wide::new(-1, 0xc0ce_85b8_ac52_6640_89dd_62c4_6e92_fa25), Wide::new(-1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
];

/// 1 ± z/3 + z²/5 ± …, with z up to 1/32: atan(t)/t for z = -t², atanh(t)/t for z = t².
fn odd_reciprocals(z: Wide) -> Wide {
    (0..=27).rev().map(|n| Wide::ONE / Wide::integer(2 * n + 1)).fold(Wide::ZERO, |s, c| c + z * s)
}
/// The arc tangent of a number from 0 to 1.
fn arctangent(t: Wide) -> Wide {
    let k = t.scale(4).to_nearest();
    let near = Wide::integer(k).scale(-4);
    let d = (t - near) / (Wide::ONE + t * near);
    let rest = d * odd_reciprocals(-(d * d));
    match usize::try_from(k - 1) {
        Ok(n) => ARCTANGENTS[n.min(15)] + rest,
        Err(_) => rest,
    }
}
/// The angle of the point (`x`, `y`), neither zero.
pub(super) fn angle_of(y: Wide, x: Wide) -> Wide {
    let (ax, ay) = (x.abs(), y.abs());
    let steep = (ay - ax).0.is_some_and(|d| !d.sign);
    let a = if steep { PI.scale(-1) - arctangent(ax / ay) } else { arctangent(ay / ax) };
    let a = if x.is_negative() { PI - a } else { a };
    if y.is_negative() { -a } else { a }
}

// ---- exponentials and logarithms

/// 2^`x` - 1, for `x` within ±1.
pub(super) fn exp2_minus_1(x: Wide) -> Wide {
    let y = x * LN_2;
    y * (2..=34).rev().fold(Wide::ONE, |s, k| Wide::ONE + y * s / Wide::integer(k))
}
/// log₂ of a positive number.
pub(super) fn log2(x: Exact) -> Wide {
    // Between √½ and √2.
    const ROOT_2: u128 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9f;
    let above = x.sig > ROOT_2;
    let m = Wide::new(-i32::from(above), x.sig);
    let s = (m - Wide::ONE) / (m + Wide::ONE);
    Wide::integer(i64::from(x.exp) + i64::from(above)) + log2_of_ratio(s)
}
/// log₂(1 + `x`), for `x` above -1.
pub(super) fn log2_of_1_plus(x: Wide) -> Wide {
    if x.exponent() < -2 {
        return log2_of_ratio(x / (Wide::integer(2) + x));
    }
    (Wide::ONE + x).0.map_or(Wide::ZERO, log2)
}
/// log₂((1 + `s`) / (1 - `s`)), for `s` within ±0.18.
fn log2_of_ratio(s: Wide) -> Wide {
    s * odd_reciprocals(s * s) * TWO_LOG2_E
}

/// Holds [`ARCTANGENTS`] to the identity by which they follow from one another.
#[cfg(test)]
pub(super) fn check_arctangents() {
    let mut sum = Wide::ZERO;
    for (k, value) in (0..).zip(ARCTANGENTS) {
        let t = Wide::integer(16) / Wide::integer(256 + k * (k + 1));
        sum = sum + t * odd_reciprocals(-(t * t));
        assert!((sum - value).exponent() < -118, "atan({}/16)", k + 1);
    }
    assert!((sum - PI.scale(-2)).exponent() < -118);
}
