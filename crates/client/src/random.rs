//! Random numbers that the caller decides: those of a seed, the same in every run (SplitMix64), or
//! those of a source of the caller's.

/// See the module.
#[derive(Debug)]
pub struct Random(Source);

#[derive(Debug)]
enum Source {
    Seed(u64),
    Other(fn() -> u64),
}

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Source::Seed(seed))
    }

    /// The numbers of this source, such as unpredictable ones for a client that is no test's.
    pub fn from_source(draw: fn() -> u64) -> Self {
        Self(Source::Other(draw))
    }

    /// A generator of its own, for one purpose; of a source the same.
    pub fn fork(&mut self) -> Self {
        match self.0 {
            Source::Seed(_) => Self::new(self.draw()),
            Source::Other(draw) => Self::from_source(draw),
        }
    }

    /// Any number.
    #[allow(
        clippy::disallowed_methods,
        reason = "who takes the system's numbers asks for that by name"
    )]
    pub fn draw(&mut self) -> u64 {
        let state = match &mut self.0 {
            Source::Seed(state) => state,
            Source::Other(draw) => return draw(),
        };
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        ((self.draw() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }

    /// Letters and digits, as ICE credentials are made of.
    pub fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..length)
            .map(|_| char::from(LETTERS[self.below(62) as usize]))
            .collect()
    }

    /// Any bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.draw() as u8)
    }
}
