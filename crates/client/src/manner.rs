//! The browser that a client behaves like: how it renews keys, and when it repeats datagrams.

use std::time::Duration;

/// Intervals between checks: until one was answered (RFC 8445 §14.3; in Firefox doubled after each,
/// as STUN retransmits, RFC 8489 §6.2.1), and then while media flows.
const CHECK_FAST: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(100)];
pub(crate) const CHECK_SLOW: Duration = Duration::from_millis(2500);
/// First retransmission of a ClientHello: exactly this in Firefox; in Chromium at least this, and
/// at least two round trips of ICE.
const FIRST_RTO: Duration = Duration::from_millis(50);
/// Timeouts are multiples of this, so that many clients have the same.
const RTO_STEP_MS: u128 = 10;
/// The value of browsers for DTLS.
const MTU: usize = 1200;
/// A browser, by its way of renewing keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Browser {
    /// It renews from its present port, with a ClientHello at once.
    #[default]
    Chromium,
    /// It renews from a new port, with a check first.
    Firefox,
}

impl Browser {
    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        }
    }
}

/// What a client offers in its handshakes, and with which library.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offer {
    /// DTLS 1.3 and 1.2 by dimpl, as browsers offer them, without a post-quantum key exchange.
    #[default]
    Both,
    /// DTLS 1.2 alone, by dimpl.
    Only12,
    /// DTLS 1.3 and 1.2 by BoringSSL, with these groups.
    #[cfg(feature = "boring")]
    BoringSsl(rekindle_boring::Groups),
}

impl Offer {
    /// DTLS 1.2 alone, or both versions.
    pub fn only_12(only: bool) -> Self {
        if only { Self::Only12 } else { Self::Both }
    }
}

/// The kind of client.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// How keys are renewed.
    pub browser: Browser,
    /// What its handshakes offer. BoringSSL is only for clients that begin them.
    pub offer: Offer,
    /// Longest datagram of a handshake, in bytes.
    pub mtu: usize,
    /// Whether handshakes use the client's random numbers. Each then tests the library's
    /// cryptography again, which takes as long as some handshakes.
    pub seeded: bool,
    /// What the exporter gave is kept beside the keys, for a test's thief. Not for clients at work.
    pub remembers_keys: bool,
}

impl Manner {
    /// The manner of this browser.
    pub fn of(browser: Browser) -> Self {
        Self {
            browser,
            offer: Offer::default(),
            mtu: MTU,
            seeded: false,
            remembers_keys: true,
        }
    }
}

/// When a ClientHello is first repeated.
pub(crate) fn first_rto(browser: Browser, rtt: Duration) -> Duration {
    match browser {
        Browser::Chromium => FIRST_RTO.max(rounded(2 * rtt)),
        Browser::Firefox => FIRST_RTO,
    }
}

/// The interval after an unanswered check; `before`: how many checks preceded it on this port.
pub(crate) fn check_pause(browser: Browser, before: u32) -> Duration {
    match browser {
        Browser::Chromium => CHECK_FAST[0],
        Browser::Firefox => (CHECK_FAST[1] * (1 << before.min(6))).min(CHECK_SLOW),
    }
}

/// The next step of timeouts.
fn rounded(timeout: Duration) -> Duration {
    let steps = timeout.as_millis().div_ceil(RTO_STEP_MS);
    Duration::from_millis(u64::try_from(steps * RTO_STEP_MS).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
