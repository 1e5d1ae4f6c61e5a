//! Handshakes by `dimpl`. In builds with another library it does those of clients that have shown a
//! cookie, which needs no state before the cookie is there: see [`verified`].

#[cfg(not(feature = "boring"))]
mod library;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dimpl::{DtlsCertificate, Output, SrtpProfile};

use super::{
    Completed, DtlsError, FLIGHT_RTO, HANDSHAKE_TIMEOUT, Handshake, Profile, SessionKeys, Setup,
    verified,
};
use crate::peer::agreed::{Agreed, Version};
use crate::peer::cookie::COOKIE_LEN;

#[cfg(not(feature = "boring"))]
pub(super) use self::library::Library;

/// Retransmissions of one flight. A repeated ClientHello counts too, and Firefox sends it seven
/// times in 3 s.
const FLIGHT_RETRIES: usize = 8;

/// The settings of all handshakes.
fn settings() -> dimpl::ConfigBuilder {
    dimpl::Config::builder()
        .require_client_certificate(true)
        .flight_start_rto(FLIGHT_RTO)
        .flight_retries(FLIGHT_RETRIES)
        .handshake_timeout(HANDSHAKE_TIMEOUT)
}

fn build(settings: dimpl::ConfigBuilder) -> Result<Arc<dimpl::Config>, DtlsError> {
    let config = settings.build();
    config
        .map(Arc::new)
        .map_err(|error| DtlsError::Config(error.into()))
}

/// For clients that have shown a cookie.
pub(super) struct Verified(Arc<dimpl::Config>);

impl Verified {
    pub(super) fn new() -> Result<Self, DtlsError> {
        let provider = verified::provider();
        build(
            settings()
                .use_server_cookie(true)
                .with_crypto_provider(provider),
        )
        .map(Self)
    }

    /// A handshake of a client that has shown this cookie.
    ///
    /// It gets DTLS 1.2: a cookie of DTLS 1.3 belongs to one ClientHello, so that answers to
    /// forged ones would spoil the browser's own.
    pub(super) fn begin(
        &self,
        certificate: DtlsCertificate,
        cookie: [u8; COOKIE_LEN],
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        let mut dtls = dimpl::Dtls::new_12(self.0.clone(), certificate, now);
        verified::expect_second_hello(&mut dtls, now).ok()?;
        Some(Box::new(Dimpl::new(
            dtls,
            Setup::Passive,
            Some(cookie),
            now,
        )))
    }
}

struct Dimpl {
    dtls: dimpl::Dtls,
    setup: Setup,
    /// What the client has shown, where it was asked for a cookie.
    cookie: Option<[u8; COOKIE_LEN]>,
    certificate: Option<Vec<u8>>,
    next: Instant,
    buffer: Vec<u8>,
}

impl Dimpl {
    fn new(
        dtls: dimpl::Dtls,
        setup: Setup,
        cookie: Option<[u8; COOKIE_LEN]>,
        now: Instant,
    ) -> Self {
        Self {
            dtls,
            setup,
            cookie,
            certificate: None,
            next: now,
            buffer: vec![0; 2048],
        }
    }
}

impl Handshake for Dimpl {
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError> {
        self.dtls
            .handle_timeout(now)
            .map_err(|error| DtlsError::Handshake(error.into()))?;
        if let Some(datagram) = datagram {
            let dtls = &mut self.dtls;
            let taken = verified::with_cookie(self.cookie, || dtls.handle_packet(datagram));
            taken.map_err(|error| DtlsError::Handshake(error.into()))?;
        }
        let mut keys = None;
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) => out.push(Bytes::copy_from_slice(packet)),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::PeerCert(der) => self.certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    keys = profile_of(profile)
                        .and_then(|p| SessionKeys::exported(p, &material, self.setup));
                    if keys.is_none() {
                        return Err(DtlsError::NoKeys);
                    }
                }
                Output::Timeout(next) => {
                    self.next = next;
                    break;
                }
                // Application data has no meaning here; close_notify belongs to an association that
                // is being left.
                _ => {}
            }
        }
        let Some(keys) = keys else { return Ok(None) };
        let certificate = self.certificate.take().ok_or(DtlsError::NoKeys)?;
        let version = match self.dtls.protocol_version() {
            Some(dimpl::ProtocolVersion::DTLS1_3) => Version::Dtls13,
            _ => Version::Dtls12,
        };
        let agreed = Agreed {
            version,
            // The library does not report it.
            group: None,
            profile: keys.profile(),
        };
        Ok(Some(Completed {
            certificate,
            keys,
            agreed,
        }))
    }

    fn next_timeout(&self) -> Instant {
        self.next
    }
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        _ => None,
    }
}
