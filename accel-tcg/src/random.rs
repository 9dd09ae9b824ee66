//! Random numbers for tests: the same ones every time.

/// xorshift64*.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `n`, which is below 2^31.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A significand of `bits` bits with interesting patterns.
    pub(crate) fn fraction(&mut self, bits: u32) -> u64 {
        let all = u64::MAX >> (64 - bits);
        let v = match self.below(8) {
            0 => 0,
            1 => all,
            2 => 1,
            3 => 1 << self.below(bits.into()),
            4 => all << self.below(bits.into()),
            5 => self.next() << self.below(bits.into()),
            _ => self.next(),
        };
        v & all
    }
    /// An exponent field of `bits` bits: the ends, around the bias, anything.
    pub(crate) fn exponent(&mut self, bits: u32) -> u64 {
        let max = (1 << bits) - 1;
        match self.below(10) {
            0 => 0,
            1 => max,
            2 => 1 + self.below(3),
            3 => max - 1 - self.below(3),
            4..8 => (max / 2 + self.below(80)).wrapping_sub(40) & max,
            _ => self.below(max),
        }
    }
    /// A single-precision number.
    pub(crate) fn single(&mut self) -> u32 {
        (self.below(2) << 31 | self.exponent(8) << 23 | self.fraction(23)) as u32
    }
    /// A double-precision number.
    pub(crate) fn double(&mut self) -> u64 {
        self.below(2) << 63 | self.exponent(11) << 52 | self.fraction(52)
    }
    /// A double-extended-precision number, one in twelve with an integer bit that does not fit its exponent.
    pub(crate) fn extended(&mut self) -> u128 {
        let exponent = self.exponent(15);
        let integer = if self.one_in(12) { exponent == 0 } else { exponent != 0 };
        let sig = self.fraction(63) | u64::from(integer) << 63;
        u128::from(self.below(2) << 15 | exponent) << 64 | u128::from(sig)
    }
}
