//! Which parts of a client's second flight are handed to a handshake.
//!
//! In DTLS 1.2 the client's Certificate and what follows it are plaintext, so that anybody who can
//! send with the browser's address can insert messages, and the library accepts the first one. But
//! the offer names the browser's certificate, and an attacker who only knows an address does not
//! know that certificate: nothing of this flight is accepted before it has arrived. Plaintext
//! alerts are never accepted (RFC 6347 §4.1.2.7, RFC 9147 §4.5.2). In DTLS 1.3 no plaintext follows
//! a ClientHello, and none is accepted.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::dtls::has_usable_key;
use super::records::{Fragment, Record, leaf, records};

/// Longest Certificate message in bytes: those of browsers have 300, with RSA and a chain some
/// thousand.
const MAX_MESSAGE: usize = 16 << 10;
/// Most datagrams that wait for the rest of a certificate.
const MAX_HELD: usize = 16;

/// A fault is certain after this time without anything that disproves it: what shows it is
/// plaintext, which anybody may have sent.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Why no handshake of a client can be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Its Certificate message is empty: by RFC 5246 §7.4.6 it has none of the kind that the server
    /// asks for.
    #[error(
        "it shows no certificate, as clients do whose own has a key of a kind that the DTLS library \
         cannot check (RSA in builds with dimpl); give it one with a P-256 key"
    )]
    NoCertificate,
    /// Another one than its offer names.
    #[error(
        "its certificate is not the one that its offer names; let it offer the fingerprint of the \
         certificate that it uses"
    )]
    Foreign,
    /// Its own one, which is unusable.
    #[error(
        "its certificate has a key of a kind that the DTLS library cannot check; give it one with \
         a P-256 key"
    )]
    Unsupported,
    /// Its ClientHello has no post-quantum key exchange, and the server requires one.
    #[error(
        "it offers no post-quantum key exchange (X25519MLKEM768 in DTLS 1.3), which this server \
         requires; let it use a current browser, or start the server without \
         --require-post-quantum"
    )]
    NotPostQuantum,
    /// It has ended the handshake itself, and begins no other.
    #[error(
        "it has ended its DTLS handshake with an alert, as browsers do whose certificate has a key \
         of a kind that the DTLS library cannot check (RSA in builds with dimpl); give it one with \
         a P-256 key"
    )]
    Alert,
    /// An encrypted message was wrong (DTLS 1.3, where the certificate is among them).
    #[error(
        "its DTLS handshake went wrong, as with a certificate whose key is of a kind that the DTLS \
         library cannot check; give it one with a P-256 key"
    )]
    Failed,
    /// It is the DTLS server (`a=setup:passive`), and its answers are alerts or unusable.
    #[error(
        "by its offer it is the DTLS server, and the handshake with it goes wrong, as with a \
         certificate whose key is of a kind that the DTLS library cannot check; give it one with a \
         P-256 key, or let it be the DTLS client"
    )]
    Passive,
}

/// See the module. One for each address.
#[derive(Default)]
pub(super) struct Flight {
    open: bool,
    /// What is wrong with the certificate that arrived, and since when.
    fault: Option<(Fault, Instant)>,
    /// A certificate that arrives in parts: its length, and how much of it has arrived.
    parts: Vec<u8>,
    there: usize,
    /// What arrived before the certificate was complete, in order.
    held: Vec<Bytes>,
}

impl Flight {
    /// A new handshake begins: its certificate is awaited again.
    pub(super) fn begin(&mut self) {
        // A client repeats a ClientHello that is refused, and each begins again.
        let fault = self
            .fault
            .filter(|(fault, _)| *fault == Fault::NotPostQuantum);
        *self = Self {
            fault,
            ..Self::default()
        };
    }

    /// Whether no fault is known.
    pub(super) fn is_faultless(&self) -> bool {
        self.fault.is_none()
    }

    /// Whether the certificate that the offer names has arrived.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// The parts of this datagram that may be handed in now, and those that have waited for it.
    /// `is_expected` returns whether the offer names this certificate (DER).
    pub(super) fn admit<'a>(
        &mut self,
        now: Instant,
        datagram: &'a [u8],
        is_expected: impl Fn(&[u8]) -> bool,
    ) -> Vec<Cow<'a, [u8]>> {
        if !self.open {
            self.look(now, datagram, &is_expected);
        }
        let open = self.open;
        let allowed = |kind: &Record<'_>| match kind {
            Record::Protected => true,
            Record::Worthless | Record::FatalAlert => false,
            Record::Plain | Record::Certificate(_) => open,
        };
        let mut all = true;
        let mut taken = Vec::new();
        let mut certificate = false;
        let mut end = 0;
        for (range, kind) in records(datagram) {
            certificate |= matches!(kind, Record::Certificate(_));
            end = range.end;
            if allowed(&kind) {
                taken.extend_from_slice(&datagram[range]);
            } else {
                all = false;
            }
        }
        if !open && certificate && self.parts.len() > self.there && self.held.len() < MAX_HELD {
            self.held.push(Bytes::copy_from_slice(datagram));
            return Vec::new();
        }
        let mut admitted: Vec<Cow<'a, [u8]>> = Vec::new();
        if open {
            admitted.extend(self.held.drain(..).map(|held| Cow::Owned(held.to_vec())));
        }
        if all && end == datagram.len() && end > 0 {
            admitted.push(Cow::Borrowed(datagram));
        } else if !taken.is_empty() {
            admitted.push(Cow::Owned(taken));
        }
        admitted
    }

    /// The fault, if it is certain by now.
    pub(super) fn fault(&self, now: Instant) -> Option<Fault> {
        let (fault, since) = self.fault?;
        (now.saturating_duration_since(since) >= PATIENCE).then_some(fault)
    }

    /// A handshake was completed with a certificate that the offer does not name: this is certain
    /// at once.
    pub(super) fn is_foreign(&mut self, now: Instant) {
        self.fault = now
            .checked_sub(PATIENCE)
            .map(|since| (Fault::Foreign, since));
    }

    /// An encrypted message of a handshake was wrong.
    pub(super) fn failed(&mut self, now: Instant) {
        if !self.open {
            self.fault.get_or_insert((Fault::Failed, now));
        }
    }

    /// A ClientHello was refused for lack of a post-quantum key exchange.
    pub(super) fn is_not_post_quantum(&mut self, now: Instant) {
        self.fault.get_or_insert((Fault::NotPostQuantum, now));
    }

    /// Looks for the certificate.
    fn look(&mut self, now: Instant, datagram: &[u8], is_expected: &impl Fn(&[u8]) -> bool) {
        for (_, kind) in records(datagram) {
            let fragment = match kind {
                Record::Certificate(fragment) => fragment,
                Record::FatalAlert => {
                    self.fault.get_or_insert((Fault::Alert, now));
                    continue;
                }
                _ => continue,
            };
            let whole = fragment.offset == 0 && fragment.data.len() == fragment.total;
            let message = if whole {
                Some(fragment.data)
            } else {
                self.collect(fragment)
            };
            let Some(message) = message else { continue };
            let fault = match leaf(message) {
                None => Fault::NoCertificate,
                Some(certificate) if !is_expected(certificate) => Fault::Foreign,
                Some(certificate) if !has_usable_key(certificate) => Fault::Unsupported,
                Some(_) => {
                    self.open = true;
                    self.fault = None;
                    return;
                }
            };
            self.fault.get_or_insert((fault, now));
        }
    }

    /// Adds a part at its place. Returns the message once it is complete. Parts arrive in order
    /// except after loss, and then the flight is repeated.
    fn collect(&mut self, fragment: Fragment<'_>) -> Option<&[u8]> {
        let Fragment {
            total,
            offset,
            data,
        } = fragment;
        if total > MAX_MESSAGE {
            return None;
        }
        if offset == 0 || self.parts.len() != total {
            self.parts = vec![0; total];
            self.there = 0;
            self.held.clear();
        }
        if offset != self.there {
            return None;
        }
        self.parts
            .get_mut(offset..offset + data.len())?
            .copy_from_slice(data);
        self.there += data.len();
        (self.there == total).then_some(&self.parts[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the name of P-256 in it.
    const DER: &[u8] = b"the browser's certificate \x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0];
        record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        record.extend(body);
        record
    }

    /// A part of a Certificate message.
    fn certificate(der: &[u8], offset: usize, length: usize) -> Vec<u8> {
        let three = |n: usize| [0, (n >> 8) as u8, n as u8];
        let mut message = Vec::new();
        message.extend(three(der.len() + 3));
        message.extend(three(der.len()));
        message.extend(der);
        let end = (offset + length).min(message.len());
        let mut body = vec![11];
        body.extend(three(message.len()));
        body.extend([0, 1]);
        body.extend(three(offset));
        body.extend(three(end - offset));
        body.extend(&message[offset..end]);
        record(22, 0, &body)
    }

    fn admit(flight: &mut Flight, datagram: &[u8]) -> Vec<Vec<u8>> {
        let admitted = flight.admit(Instant::now(), datagram, |der| der == DER);
        admitted.into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn nothing_in_plaintext_is_taken_before_the_certificate_that_the_offer_names() {
        let mut flight = Flight::default();
        let key_exchange = record(22, 0, &[16, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 1, 9]);
        let spec = record(20, 0, &[1]);
        let forged = certificate(b"another certificate", 0, 100);
        for datagram in [&key_exchange, &spec, &forged] {
            assert!(admit(&mut flight, datagram).is_empty());
        }
        let genuine = [certificate(DER, 0, 100), key_exchange.clone(), spec.clone()].concat();
        assert_eq!(admit(&mut flight, &genuine), std::slice::from_ref(&genuine));
        assert_eq!(
            admit(&mut flight, &spec),
            std::slice::from_ref(&spec),
            "from then on"
        );
        flight.begin();
        assert!(admit(&mut flight, &spec).is_empty(), "a new handshake");
    }

    #[test]
    fn alerts_in_plaintext_are_never_taken_and_cost_the_rest_of_their_datagram_nothing() {
        let mut flight = Flight::default();
        let alert = record(21, 0, &[2, 40]);
        assert!(admit(&mut flight, &alert).is_empty());
        assert_eq!(admit(&mut flight, &certificate(DER, 0, 100)).len(), 1);
        assert!(admit(&mut flight, &alert).is_empty());
        let finished = record(22, 1, &[0; 40]);
        assert_eq!(
            admit(&mut flight, &[alert.clone(), finished.clone()].concat()),
            std::slice::from_ref(&finished)
        );
        let encrypted = record(21, 1, &[0; 18]);
        assert_eq!(
            admit(&mut flight, &encrypted),
            std::slice::from_ref(&encrypted)
        );
    }

    #[test]
    fn a_certificate_may_come_in_parts() {
        let mut flight = Flight::default();
        let parts = [
            certificate(DER, 0, 10),
            certificate(DER, 10, 10),
            certificate(DER, 20, 100),
        ];
        assert!(admit(&mut flight, &parts[0]).is_empty());
        assert!(admit(&mut flight, &parts[2]).is_empty(), "one is missing");
        // The flight comes again.
        assert!(admit(&mut flight, &parts[0]).is_empty());
        assert!(admit(&mut flight, &parts[1]).is_empty());
        assert_eq!(admit(&mut flight, &parts[2]), parts);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_known_after_a_while_unless_the_right_one_comes() {
        let rsa = b"of an RSA key";
        let cases = [
            (&b""[..], Fault::NoCertificate),
            (b"another certificate", Fault::Foreign),
            (rsa, Fault::Unsupported),
        ];
        for (der, fault) in cases {
            let now = Instant::now();
            let mut flight = Flight::default();
            let message = if der.is_empty() {
                record(22, 0, &[11, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0])
            } else {
                certificate(der, 0, 100)
            };
            let admitted = flight.admit(now, &message, |known| known == rsa || known == DER);
            assert!(admitted.is_empty());
            assert_eq!(flight.fault(now), None);
            assert_eq!(flight.fault(now + PATIENCE), Some(fault));
            flight.admit(now, &certificate(DER, 0, 100), |known| known == DER);
            assert_eq!(flight.fault(now + PATIENCE), None);
        }
    }

    #[test]
    fn what_is_no_record_is_dropped() {
        let mut flight = Flight::default();
        for junk in [&[22][..], &[22; 13], &[63; 0], &[20; 2000]] {
            assert!(admit(&mut flight, junk).is_empty());
        }
        assert!(admit(&mut flight, &certificate(DER, 3, 70_000)).is_empty());
    }
}
