//! A token bucket: how much work one peer may cause.

use std::time::{Duration, Instant};

/// The tokens left, and when they were last refilled.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: u64,
    refilled: Instant,
}

impl Budget {
    /// A budget that starts with `tokens`.
    pub(super) fn new(now: Instant, tokens: u64) -> Self {
        Self {
            tokens,
            refilled: now,
        }
    }

    /// Takes `amount` tokens, if there are as many; `rate` tokens return each second, up to
    /// `burst`.
    pub(super) fn take(&mut self, now: Instant, amount: u64, rate: u64, burst: u64) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled).as_micros();
        let refill = elapsed * u128::from(rate) / 1_000_000;
        if let Ok(refill @ 1..) = u64::try_from(refill) {
            self.tokens = self.tokens.saturating_add(refill).min(burst);
            // The remainder that is not worth a whole token is kept for the next call.
            self.refilled += Duration::from_micros(refill.saturating_mul(1_000_000) / rate);
        }
        match self.tokens.checked_sub(amount) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_at_once_and_the_rate_afterwards() {
        let t = Instant::now();
        let mut budget = Budget::new(t, 10);
        let granted = (0..10_000u64)
            .filter(|ms| budget.take(t + Duration::from_millis(*ms), 1, 3, 10))
            .count();
        assert_eq!(granted, 10 + 29);
        assert!(
            !budget.take(t + Duration::from_secs(100), 11, 3, 10),
            "never more than the burst"
        );
    }
}
