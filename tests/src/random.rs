//! Numbers that look random and come again with the same seed.

/// A generator (xorshift64*, G. Marsaglia 2003 and S. Vigna 2016). Good enough to find bugs, and the same on every host.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for a seed; neighbouring seeds give unlike sequences.
    pub fn new(seed: u64) -> Self {
        // One round of splitmix64, which also keeps the state from being 0.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(end)) >> 64) as u64
    }
    /// An index below `end`.
    pub fn index(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    /// One of these.
    ///
    /// # Panics
    /// There are none.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }
    /// A number as guests and tests like them: small, all ones, a power of two and its neighbours, or anything.
    pub fn interesting(&mut self) -> u64 {
        match self.below(5) {
            0 => self.below(17),
            1 => u64::MAX >> self.below(64),
            2 => (1u64 << self.below(64)).wrapping_add(self.below(3)).wrapping_sub(1),
            3 => self.number() >> self.below(64),
            _ => self.number(),
        }
    }
    /// Text of up to `most` characters, mostly plain.
    pub fn text(&mut self, most: usize) -> String {
        const STRANGE: [char; 8] = ['\0', '\n', '"', '\\', '\u{7f}', 'ä', '\u{ffff}', '🦀'];
        let length = self.index(most + 1);
        let mut one = || match self.one_in(6) {
            true => *self.pick(&STRANGE),
            false => char::from(b' ' + self.below(95) as u8),
        };
        (0..length).map(|_| one()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_within_their_bounds() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert!((0..100).all(|_| a.number() == b.number()));
        assert_ne!(Random::new(7).number(), Random::new(8).number());
        assert!((0..1000).all(|_| a.below(3) < 3));
        assert_eq!(a.below(0), 0);
        let mut seen = [false; 3];
        (0..100).for_each(|_| seen[a.index(3)] = true);
        assert_eq!(seen, [true; 3]);
    }
}
