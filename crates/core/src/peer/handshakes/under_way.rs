//! One handshake that is under way, or complete and ready to repeat its last flight.

use std::time::{Duration, Instant};

use crate::peer::handshake::{HANDSHAKE_TIMEOUT, Handshake};
use crate::peer::load::Admitted;

/// How often the first flight is repeated without being asked for, until the browser has answered.
/// A browser that did not get it repeats its ClientHello, and is answered again; a stranger whose
/// address was forged is left alone.
const UNASKED_REPEATS: u32 = 2;
/// A handshake that a newer one has overtaken is given up after this: a genuine one needs only a
/// few round trips.
pub(super) const OVERTAKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for every handshake while the limit is reached: one that makes no progress must not
/// keep others out.
const CONTESTED_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct UnderWay {
    pub random: [u8; 32],
    pub started: Instant,
    /// Whether its client has shown that it receives at its address.
    pub verified: bool,
    /// Set once complete.
    pub drop_at: Option<Instant>,
    /// How often its ClientHello was repeated.
    pub heard: u32,
    /// Whether the server has answered.
    pub spoke: bool,
    /// Whether it has asked for another ClientHello (a HelloRetryRequest, RFC 9147 §5.2), and the
    /// first fragment of that one has arrived.
    pub retried: bool,
    /// Whether the browser has continued: its certificate arrived in plaintext (DTLS 1.2). In DTLS
    /// 1.3 this is visible only when the handshake is complete.
    pub answered: bool,
    /// How often a flight was repeated before that.
    pub repeated: u32,
    /// Its place among those under way; free again once it is complete.
    pub admitted: Option<Admitted>,
    /// Whether only its last flight is left of it (DTLS 1.2).
    pub is_last_flight: bool,
    pub handshake: Box<dyn Handshake>,
}

impl UnderWay {
    /// When it has something to do. Only the newest handshake repeats its flights without being
    /// asked: a browser that has begun another one would take an older one's ServerHello for its
    /// own, and fail. Where somebody sends ClientHellos in the browser's name (`pressed`), a
    /// handshake without a cookie is answered only when its client asks again.
    pub(super) fn next(&self, newest: Option<[u8; 32]>, pressed: bool) -> Instant {
        let end = self.ends(newest);
        let may_repeat =
            (self.verified || !pressed) && (self.answered || self.repeated < UNASKED_REPEATS);
        if self.drop_at.is_some() || Some(self.random) == newest && may_repeat {
            end.min(self.handshake.next_timeout())
        } else {
            end
        }
    }

    /// When it is given up or dropped in any case.
    pub(super) fn ends(&self, newest: Option<[u8; 32]>) -> Instant {
        let contested = self.admitted.as_ref().is_some_and(Admitted::is_contested);
        match self.drop_at {
            Some(at) => at,
            None if contested => self.started + CONTESTED_TIMEOUT,
            None if Some(self.random) != newest => self.started + OVERTAKEN_TIMEOUT,
            None => self.started + HANDSHAKE_TIMEOUT,
        }
    }
}
