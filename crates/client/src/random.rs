//! Numbers that look random and are the same for the same seed (SplitMix64), or those of the
//! system.

/// See the module.
#[derive(Debug)]
pub struct Random(Option<u64>);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Some(seed))
    }

    /// The system's random numbers, which nobody can foretell: for clients at work, not of tests.
    pub fn of_system() -> Self {
        Self(None)
    }

    /// A generator of its own, for one purpose; of the system's numbers the same.
    pub fn fork(&mut self) -> Self {
        Self(self.0.is_some().then(|| self.draw()))
    }

    /// Any number.
    #[allow(
        clippy::disallowed_methods,
        reason = "who takes the system's numbers asks for that by name"
    )]
    pub fn draw(&mut self) -> u64 {
        let Some(state) = &mut self.0 else {
            let mut bytes = [0; 8];
            aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
            return u64::from_ne_bytes(bytes);
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
