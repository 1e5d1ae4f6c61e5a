//! The handshake that the server begins itself, as the DTLS client of a peer whose offer says
//! `a=setup:passive` (RFC 8842 §5.3).
//!
//! Such a peer cannot begin a new handshake after a restart, so this is done at the start of its
//! session only. Everything before its Finished is plaintext, so that anybody who can send with its
//! address can spoil an attempt; the peer's next check begins another one.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_ids::TransportAddress;

use super::Transmit;
use super::failures::Failures;
use super::flight::{Fault, PATIENCE};
use super::handshake::{Begun, Done, HANDSHAKE_TIMEOUT, Handshake, LINGER};
use super::load::Admitted;
use super::records::{Record, client_hello, records};

/// Repetitions of a ClientHello that nothing has answered: its address may be that of somebody who
/// is not concerned.
const UNHEARD_REPEATS: u32 = 2;
/// After this time without an answer it is given up; the next check begins another one.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(2);

struct Attempt {
    started: Instant,
    /// Set once complete.
    drop_at: Option<Instant>,
    /// Whether something has been received.
    heard: bool,
    /// How often the ClientHello has been repeated before that.
    repeated: u32,
    admitted: Option<Admitted>,
    handshake: Box<dyn Handshake>,
}

/// See the module. One for each address.
#[derive(Default)]
pub(crate) struct Active {
    attempt: Option<Attempt>,
    /// Since when attempts fail.
    failed: Option<Instant>,
    /// Failed attempts that have not been reported yet.
    failures: Failures,
}

impl Active {
    /// Whether one is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.drop_at.is_none())
    }

    /// Whether nothing is under way, kept for repetitions or remembered.
    pub(super) fn is_idle(&self) -> bool {
        let Self {
            attempt,
            failed,
            failures,
        } = self;
        attempt.is_none() && failed.is_none() && *failures == Failures::default()
    }

    /// Begins a handshake.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        from: TransportAddress,
        (handshake, admitted): Begun,
        out: &mut Vec<Transmit>,
    ) {
        self.attempt = Some(Attempt {
            started: now,
            drop_at: None,
            heard: false,
            repeated: 0,
            admitted: Some(admitted),
            handshake,
        });
        // The library sends its ClientHello when it is told the time.
        self.drive(now, from, None, out);
    }

    /// Whether a datagram may be an answer to it. Plaintext alerts may be anybody's, and are not
    /// accepted (RFC 6347 §4.1.2.7).
    pub(crate) fn takes(&mut self, now: Instant, datagram: &[u8]) -> bool {
        if self.attempt.is_none() || client_hello(datagram).is_some() {
            return false;
        }
        let mut any = false;
        for (_, record) in records(datagram) {
            match record {
                Record::FatalAlert => {
                    self.failed.get_or_insert(now);
                    return false;
                }
                Record::Worthless => return false,
                Record::Protected | Record::Certificate(_) | Record::Plain => any = true,
            }
        }
        any
    }

    /// Hands in a datagram, or only the time.
    pub(crate) fn drive(
        &mut self,
        now: Instant,
        from: TransportAddress,
        datagram: Option<&[u8]>,
        out: &mut Vec<Transmit>,
    ) -> Option<Done> {
        let attempt = self.attempt.as_mut()?;
        if attempt.ends() <= now {
            if attempt.drop_at.is_none() {
                self.failures.timeout += 1;
                if attempt.heard {
                    self.failed.get_or_insert(now);
                }
            }
            self.attempt = None;
            return None;
        }
        let mut packets: Vec<Bytes> = Vec::new();
        let result = attempt.handshake.drive(now, datagram, &mut packets);
        attempt.heard |= datagram.is_some();
        if !attempt.heard && now > attempt.started && !packets.is_empty() {
            attempt.repeated += 1;
        }
        out.extend(packets.into_iter().map(|data| Transmit { to: from, data }));
        match result {
            Ok(None) => None,
            Ok(Some(completed)) => {
                attempt.drop_at = Some(now + LINGER);
                attempt.admitted = None;
                self.failed = None;
                self.failures = Failures::default();
                Some(Done {
                    completed,
                    from,
                    at: now,
                    took: now.saturating_duration_since(attempt.started),
                })
            }
            Err(error) => {
                tracing::debug!(%error, "a DTLS handshake as the client was dropped");
                if attempt.drop_at.is_none() {
                    self.failures.error += 1;
                    self.failed.get_or_insert(now);
                }
                self.attempt = None;
                None
            }
        }
    }

    /// Returns how many failed since the last call.
    pub(crate) fn take_failures(&mut self) -> Failures {
        std::mem::take(&mut self.failures)
    }

    /// When [`Active::drive`] is to be called with the time.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref()?;
        let may_repeat = attempt.heard || attempt.repeated < UNHEARD_REPEATS;
        let next = may_repeat.then(|| attempt.handshake.next_timeout());
        Some(next.map_or(attempt.ends(), |next| next.min(attempt.ends())))
    }

    /// Why no attempt can be completed here, if that is certain by now.
    pub(crate) fn fault(&self, now: Instant) -> Option<Fault> {
        let since = self.failed?;
        (now.saturating_duration_since(since) >= PATIENCE).then_some(Fault::Passive)
    }
}

impl Attempt {
    /// When it is given up or dropped in any case.
    fn ends(&self) -> Instant {
        match self.drop_at {
            Some(at) => at,
            None if !self.heard => self.started + UNHEARD_TIMEOUT,
            None => self.started + HANDSHAKE_TIMEOUT,
        }
    }
}
