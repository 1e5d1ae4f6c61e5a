//! The handshake that the server begins itself, as the DTLS client of a peer whose offer says
//! `a=setup:passive` (RFC 8842 §5.3).
//!
//! Such a peer cannot begin anew after a restart, so this is the start of its session only. All
//! that it answers before its Finished is plaintext, and whoever can send with its address can
//! spoil an attempt; its next check begins another one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Transmit;
use super::failures::Failures;
use super::flight::{Fault, PATIENCE};
use super::handshake::{Begun, Done, HANDSHAKE_TIMEOUT, Handshake, LINGER};
use super::load::Admitted;
use super::records::{Record, client_hello, records};

/// A ClientHello that nothing has answered is repeated so often: its address may be that of
/// somebody who knows nothing of it.
const UNHEARD_REPEATS: u32 = 2;
/// It is given up after so long; the next check begins another one.
const UNHEARD_TIMEOUT: Duration = Duration::from_secs(2);

struct Attempt {
    started: Instant,
    /// Set once complete.
    drop_at: Option<Instant>,
    /// Something has come back.
    heard: bool,
    /// How often the ClientHello was repeated before that.
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
    /// Those that failed, until they are given away.
    failures: Failures,
}

impl Active {
    /// Whether one is under way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.attempt
            .as_ref()
            .is_some_and(|attempt| attempt.drop_at.is_none())
    }

    /// Begins one.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        from: SocketAddr,
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
        // The library says its ClientHello when it is told the time.
        self.drive(now, from, None, out);
    }

    /// Whether a datagram may be an answer to it. Alerts in plaintext are anybody's, and are not
    /// taken (RFC 6347 §4.1.2.7).
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

    /// Hands a datagram in, or the time.
    pub(crate) fn drive(
        &mut self,
        now: Instant,
        from: SocketAddr,
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

    /// Gives away how many failed.
    pub(crate) fn take_failures(&mut self) -> Failures {
        std::mem::take(&mut self.failures)
    }

    /// When to call [`Active::drive`] with the time.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let attempt = self.attempt.as_ref()?;
        let may_repeat = attempt.heard || attempt.repeated < UNHEARD_REPEATS;
        let next = may_repeat.then(|| attempt.handshake.next_timeout());
        Some(next.map_or(attempt.ends(), |next| next.min(attempt.ends())))
    }

    /// Why none can be completed here, if that is certain by now.
    pub(crate) fn fault(&self, now: Instant) -> Option<Fault> {
        let since = self.failed?;
        (now.saturating_duration_since(since) >= PATIENCE).then_some(Fault::Passive)
    }
}

impl Attempt {
    /// When it goes, whatever happens.
    fn ends(&self) -> Instant {
        match self.drop_at {
            Some(at) => at,
            None if !self.heard => self.started + UNHEARD_TIMEOUT,
            None => self.started + HANDSHAKE_TIMEOUT,
        }
    }
}
