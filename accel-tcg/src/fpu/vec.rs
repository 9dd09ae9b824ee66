//! A 128-bit vector register as lanes.

use std::array::from_fn;

/// The value of an XMM register (or, in its low half, of an MMX register): sixteen bytes, lane 0 first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct Vec128(pub(crate) [u8; 16]);

/// The value of a YMM register: its low half, then its high half.
pub(crate) type Vec256 = [Vec128; 2];

/// The conversions from and to lanes of one width.
macro_rules! lanes {
    ($($t:ty, $n:literal, $get:ident, $from:ident);*) => { $(
        #[doc = concat!("The ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub(crate) fn $get(self) -> [$t; $n] {
            const W: usize = 16 / $n;
            from_fn(|i| {
                let mut b = [0; W];
                b.copy_from_slice(&self.0[i * W..i * W + W]);
                <$t>::from_le_bytes(b)
            })
        }
        #[doc = concat!("From ", stringify!($n), " lanes of type `", stringify!($t), "`.")]
        #[inline(always)]
        pub(crate) fn $from(l: [$t; $n]) -> Self {
            const W: usize = 16 / $n;
            let mut b = [0; 16];
            for i in 0..$n {
                b[i * W..i * W + W].copy_from_slice(&l[i].to_le_bytes());
            }
            Self(b)
        }
    )* };
}

impl Vec128 {
    lanes! {
        i8, 16, i8s, from_i8s; u16, 8, u16s, from_u16s; i16, 8, i16s, from_i16s;
        u32, 4, u32s, from_u32s; i32, 4, i32s, from_i32s; u64, 2, u64s, from_u64s; i64, 2, i64s, from_i64s
    }

    /// The sixteen bytes.
    #[inline(always)]
    pub(crate) fn u8s(self) -> [u8; 16] {
        self.0
    }
    /// From sixteen bytes.
    #[inline(always)]
    pub(crate) fn from_u8s(l: [u8; 16]) -> Self {
        Self(l)
    }
    /// As one number.
    #[inline(always)]
    pub(crate) fn u128(self) -> u128 {
        u128::from_le_bytes(self.0)
    }
    /// From one number.
    #[inline(always)]
    pub(crate) fn from_u128(v: u128) -> Self {
        Self(v.to_le_bytes())
    }
    /// Bits 31..0.
    #[inline(always)]
    pub(crate) fn low32(self) -> u32 {
        self.u32s()[0]
    }
    /// Bits 63..0.
    #[inline(always)]
    pub(crate) fn low64(self) -> u64 {
        self.u64s()[0]
    }
    /// Bits 127..64.
    #[inline(always)]
    pub(crate) fn high64(self) -> u64 {
        self.u64s()[1]
    }
    /// `v` in the low half, zero above.
    #[inline(always)]
    pub(crate) fn from_low64(v: u64) -> Self {
        Self::from_u64s([v, 0])
    }
    /// `v` in the low quarter, zero above.
    #[inline(always)]
    pub(crate) fn from_low32(v: u32) -> Self {
        Self::from_u32s([v, 0, 0, 0])
    }
    /// The same register with `v` in bits 31..0.
    #[inline(always)]
    pub(crate) fn with_low32(self, v: u32) -> Self {
        let mut l = self.u32s();
        l[0] = v;
        Self::from_u32s(l)
    }
    /// The same register with `v` in bits 63..0.
    #[inline(always)]
    pub(crate) fn with_low64(self, v: u64) -> Self {
        Self::from_u64s([v, self.high64()])
    }
}

// SAFETY: sixteen bytes, without padding, all of them free.
unsafe impl crate::int::Plain for Vec128 {
    #[inline(always)]
    fn le(self) -> Self {
        self
    }
}
// SAFETY: two of them, one after the other.
unsafe impl crate::int::Plain for Vec256 {
    #[inline(always)]
    fn le(self) -> Self {
        self
    }
}
