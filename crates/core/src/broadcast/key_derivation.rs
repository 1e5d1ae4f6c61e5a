//! Numbers that must be unpredictable or distinct, derived from the seed that the core is given.

use aws_lc_rs::hmac;

/// The source of such numbers. Equal inputs give equal numbers.
pub(super) struct KeyDerivation(hmac::Key);

impl KeyDerivation {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &seed))
    }

    /// A number for a purpose and what it is for.
    pub(super) fn number(&self, purpose: &str, about: &[&[u8]]) -> u32 {
        let bytes = self.tag(purpose, about).as_ref().first_chunk().copied();
        u32::from_be_bytes(bytes.unwrap_or_default())
    }

    /// A key for a purpose.
    pub(super) fn key(&self, purpose: &str) -> [u8; 32] {
        let tag = self.tag(purpose, &[]);
        tag.as_ref()
            .first_chunk()
            .copied()
            .expect("HMAC-SHA256 has 32 bytes")
    }

    fn tag(&self, purpose: &str, about: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [purpose.as_bytes()].iter().chain(about) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_by_seed_purpose_and_matter() {
        let (a, b) = (KeyDerivation::new([1; 32]), KeyDerivation::new([2; 32]));
        let numbers = [
            a.number("x", &[b"1"]),
            a.number("x", &[b"2"]),
            a.number("y", &[b"1"]),
            b.number("x", &[b"1"]),
            a.number("x1", &[]),
        ];
        for (i, one) in numbers.iter().enumerate() {
            assert!(!numbers[..i].contains(one));
        }
        assert_eq!(a.number("x", &[b"1"]), numbers[0]);
    }
}
