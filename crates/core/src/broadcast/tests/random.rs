//! Numbers that look random and are the same in every run.

/// A linear congruential generator (Knuth's MMIX), of which the upper bits serve.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }

    pub fn byte(&mut self) -> u8 {
        self.next() as u8
    }
}
