//! Handshakes by BoringSSL.

use std::borrow::Cow;
use std::time::Instant;

use ::dimpl::DtlsCertificate;
use bytes::Bytes;
use rekindle_boring::{Association, Context, Error, Group as Agreement, Groups, Side, Srtp};
use rekindle_ids::Role;

use super::{Completed, DtlsError, FLIGHT_RTO, Handshake, Profile, SessionKeys, Setup};
use crate::peer::agreed::{Agreed, Group, Version};
use crate::peer::records::{Record, hello_sequence, is_client_hello, is_server_hello, records};

/// What handshakes under one certificate share.
pub(super) struct Library {
    context: Context,
    requires_post_quantum: bool,
}

impl Library {
    pub(super) fn new(certificate: &[u8], private_key: &[u8]) -> Result<Self, DtlsError> {
        Self::with(certificate, private_key, false)
    }

    /// X25519MLKEM768 alone.
    pub(super) fn post_quantum(certificate: &[u8], private_key: &[u8]) -> Result<Self, DtlsError> {
        Self::with(certificate, private_key, true)
    }

    /// The same for another certificate.
    pub(super) fn beside(&self, certificate: &[u8], private_key: &[u8]) -> Result<Self, DtlsError> {
        Self::with(certificate, private_key, self.requires_post_quantum)
    }

    pub(super) fn requires_post_quantum(&self) -> bool {
        self.requires_post_quantum
    }

    fn with(
        certificate: &[u8],
        private_key: &[u8],
        requires_post_quantum: bool,
    ) -> Result<Self, DtlsError> {
        let groups = match requires_post_quantum {
            true => Groups::PostQuantum,
            false => Groups::Any,
        };
        let context = Context::new(certificate, private_key, FLIGHT_RTO, groups)
            .map_err(|error| DtlsError::Config(error.into()))?;
        Ok(Self {
            context,
            requires_post_quantum,
        })
    }

    /// A handshake that a peer begins: DTLS 1.3 where it can, for publishers and viewers alike. The
    /// server's order of preference decides the SRTP profile in both versions, and X25519MLKEM768
    /// needs 1.3.
    pub(super) fn direct(
        &self,
        _: impl FnOnce() -> DtlsCertificate,
        _: Role,
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        self.begin(
            Association::new(&self.context, Side::Server, now),
            now,
            false,
        )
    }

    /// A handshake that the server begins.
    pub(super) fn active(
        &self,
        _: impl FnOnce() -> DtlsCertificate,
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        let only_12 = !self.requires_post_quantum;
        let association = match only_12 {
            true => Association::new_12(&self.context, Side::Client, now),
            false => Association::new(&self.context, Side::Client, now),
        };
        self.begin(association, now, only_12)
    }

    fn begin(
        &self,
        association: Result<Association, Error>,
        now: Instant,
        only_12: bool,
    ) -> Option<Box<dyn Handshake>> {
        let association = association
            .inspect_err(|error| tracing::warn!(%error, "no DTLS handshake can be begun"))
            .ok()?;
        Some(Box::new(Boring {
            association,
            hello: None,
            begun: now,
            spoke: false,
            only_12,
        }))
    }
}

struct Boring {
    association: Association,
    /// The message number of the latest ClientHello (1 after a HelloRetryRequest), and when its
    /// first fragment arrived.
    hello: Option<u16>,
    begun: Instant,
    spoke: bool,
    /// Whether it began as a client of DTLS 1.2.
    only_12: bool,
}

impl Boring {
    /// BoringSSL answers a repeated ClientHello only when its own timer expires. The client waits
    /// for the flight, so it is sent at once.
    fn repeat_for(&mut self, now: Instant, datagram: &[u8]) {
        let Some(sequence) = hello_sequence(datagram) else {
            return;
        };
        let again = self.hello.is_some_and(|known| sequence <= known);
        if again && self.spoke && now > self.begun {
            self.association.repeat(now);
        }
        if !again {
            self.begun = now;
        }
        self.hello = self.hello.max(Some(sequence));
    }
}

impl Boring {
    /// What may be handed in: in DTLS 1.3 no plaintext except ClientHellos, or, where this side is
    /// the client, the answers to one (RFC 9147 §5.7). BoringSSL ends a handshake over any other
    /// plaintext, and that may be the last flight of an earlier attempt with DTLS 1.2, or a
    /// stranger's. Nor does it need such plaintext before the version is agreed on.
    fn admit<'a>(&self, datagram: &'a [u8]) -> Cow<'a, [u8]> {
        let (is_hello, takes_plaintext): (fn(&[u8]) -> bool, _) = match self.association.side() {
            Side::Server => (is_client_hello, self.spoke && self.association.speaks_12()),
            Side::Client => (is_server_hello, self.only_12),
        };
        let fits = |record: &Record<'_>, bytes: &[u8]| {
            takes_plaintext || *record == Record::Protected || is_hello(bytes)
        };
        let mut ranges = records(datagram);
        if ranges.all(|(range, record)| fits(&record, &datagram[range])) {
            return Cow::Borrowed(datagram);
        }
        let fitting =
            records(datagram).filter(|(range, kind)| fits(kind, &datagram[range.clone()]));
        tracing::trace!("plaintext that does not belong to a DTLS 1.3 handshake is dropped");
        Cow::Owned(
            fitting
                .flat_map(|(range, _)| &datagram[range])
                .copied()
                .collect(),
        )
    }
}

impl Handshake for Boring {
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError> {
        if let Some(datagram) = datagram {
            self.repeat_for(now, datagram);
        }
        let datagram = datagram.map(|datagram| self.admit(datagram));
        let datagram = datagram.as_deref().filter(|rest| !rest.is_empty());
        let before = out.len();
        let completed =
            self.association
                .drive(now, datagram, out)
                .map_err(|error| match error {
                    Error::NoSharedGroup(_) => DtlsError::PeerNotPostQuantum,
                    error => DtlsError::Handshake(error.into()),
                })?;
        self.spoke |= out.len() > before;
        let Some(completed) = completed else {
            return Ok(None);
        };
        let profile = match completed.srtp {
            Srtp::AeadAes256Gcm => Profile::AeadAes256Gcm,
            Srtp::AeadAes128Gcm => Profile::AeadAes128Gcm,
            Srtp::Aes128CmSha1_80 => Profile::Aes128CmSha1_80,
        };
        let setup = match self.association.side() {
            Side::Server => Setup::Passive,
            Side::Client => Setup::Active,
        };
        let keys =
            SessionKeys::exported(profile, &completed.material, setup).ok_or(DtlsError::NoKeys)?;
        let agreed = Agreed {
            version: match completed.version {
                rekindle_boring::Version::Dtls12 => Version::Dtls12,
                rekindle_boring::Version::Dtls13 => Version::Dtls13,
            },
            group: Some(match completed.group {
                Agreement::X25519MlKem768 => Group::X25519MlKem768,
                Agreement::X25519 => Group::X25519,
                Agreement::P256 => Group::P256,
                Agreement::P384 => Group::P384,
            }),
            profile,
        };
        Ok(Some(Completed {
            certificate: completed.certificate,
            keys,
            agreed,
        }))
    }

    fn next_timeout(&self) -> Instant {
        self.association.next_timeout()
    }
}

#[cfg(test)]
mod tests;
