//! When a certificate is asked for. Told the time, as all that decides.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::super::tls::Validity;

/// What came of attempts to obtain a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// How many in a row have not succeeded; one that a kill interrupts is among them.
    pub failures: u32,
    /// When the last one began, in seconds since 1970.
    pub last: u64,
}

impl Attempts {
    pub(super) fn begin(&mut self, now: SystemTime) {
        self.failures = self.failures.saturating_add(1);
        self.last = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    }

    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }
}

/// When a certificate is renewed: once a third of its time is left, which leaves weeks for attempts
/// where it is valid for 90 days, and two days where it is valid for six.
pub(super) fn renewal(validity: Validity) -> SystemTime {
    let whole = validity
        .until
        .duration_since(validity.from)
        .unwrap_or_default();
    validity.until - whole / 3
}

/// How long after so many failures in a row nothing is asked. Authorities allow few of them: Let's
/// Encrypt five an hour for a name.
pub(super) fn pause(failures: u32) -> Duration {
    let minutes = match failures {
        0 => 0,
        1 => 1,
        2 => 5,
        3 => 20,
        4 => 60,
        5 => 180,
        _ => 360,
    };
    Duration::from_secs(minutes * 60)
}

/// The earliest time of the next attempt.
pub(super) fn after_failures(attempts: &Attempts) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(attempts.last) + pause(attempts.failures)
}

/// The day, for the log.
pub(super) fn date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    crate::vault::rfc3339(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
        let from = UNIX_EPOCH + 20_000 * DAY;
        let days = |days| {
            renewal(Validity {
                from,
                until: from + days * DAY,
            })
        };
        assert_eq!(days(90), from + 60 * DAY);
        assert_eq!(days(6), from + 4 * DAY);
        // One that was never valid is renewed at once.
        assert_eq!(
            renewal(Validity {
                from,
                until: from - DAY
            }),
            from - DAY
        );
    }

    #[test]
    fn after_failures_an_authority_is_left_alone_for_longer_and_longer() {
        let now = UNIX_EPOCH + 20_000 * DAY;
        let mut attempts = Attempts::default();
        assert!(after_failures(&attempts) < now);
        let mut last = Duration::ZERO;
        let mut in_the_first_hour = 0;
        let mut at = now;
        for _ in 0..8 {
            attempts.begin(at);
            let next = after_failures(&attempts);
            let wait = next.duration_since(at).expect("later");
            assert!(wait >= last);
            in_the_first_hour += u32::from(at < now + Duration::from_secs(3600));
            (last, at) = (wait, next);
        }
        assert_eq!(last, Duration::from_secs(6 * 3600));
        assert!(in_the_first_hour <= 4);
        attempts.succeed();
        assert!(after_failures(&attempts) <= at);
    }
}
