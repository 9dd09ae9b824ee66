//! The operand sizes of integer instructions, as a trait.

/// A value that lies in guest memory as little-endian bytes: any bit pattern is one.
///
/// # Safety
/// `Self` has no padding and no invalid bit patterns.
pub(crate) unsafe trait Plain: Copy + Default + 'static {
    /// Bytes.
    const SIZE: usize = size_of::<Self>();
    /// From or to the little-endian order.
    fn le(self) -> Self;
}

/// An integer operand: `u8`, `u16`, `u32` or `u64`.
pub(crate) trait Int: Plain + Eq + Ord + std::fmt::Debug {
    /// Bits.
    const BITS: u32;
    /// The low bits of `v`.
    fn cut(v: u64) -> Self;
    /// Zero-extended.
    fn zx(self) -> u64;
    /// Sign-extended.
    fn sx(self) -> u64;
    /// Bytes in reverse order.
    fn swap_bytes(self) -> Self;
    /// Rotated by `n` modulo its width.
    fn rotate_left(self, n: u32) -> Self;
    /// Rotated by `n` modulo its width.
    fn rotate_right(self, n: u32) -> Self;
    /// The sign bit.
    #[inline(always)]
    fn sign(self) -> bool {
        (self.sx() as i64) < 0
    }
}

macro_rules! int {
    ($($t:ty, $s:ty);*) => { $(
        // SAFETY: integers have neither padding nor invalid bit patterns.
        unsafe impl Plain for $t {
            #[inline(always)]
            fn le(self) -> Self {
                self.to_le()
            }
        }
        impl Int for $t {
            const BITS: u32 = <$t>::BITS;
            #[inline(always)]
            fn cut(v: u64) -> Self {
                v as $t
            }
            #[inline(always)]
            fn zx(self) -> u64 {
                self as u64
            }
            fn swap_bytes(self) -> Self {
                self.swap_bytes()
            }
            #[inline(always)]
            fn rotate_left(self, n: u32) -> Self {
                self.rotate_left(n)
            }
            #[inline(always)]
            fn rotate_right(self, n: u32) -> Self {
                self.rotate_right(n)
            }
            #[inline(always)]
            fn sx(self) -> u64 {
                self as $s as i64 as u64
            }
        }
    )* };
}
int!(u8, i8; u16, i16; u32, i32; u64, i64);

// SAFETY: as for the smaller integers.
unsafe impl Plain for u128 {
    #[inline(always)]
    fn le(self) -> Self {
        self.to_le()
    }
}
