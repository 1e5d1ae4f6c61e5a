//! Handshakes by `dimpl`. In builds with another library as well it has those of clients that have
//! shown a cookie, which needs no state before the cookie is there: see [`verified`].

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
use rekindle_ids::Role;

/// Retransmissions of one flight. A ClientHello that comes again counts too, and Firefox sends it
/// seven times in 3 s.
const FLIGHT_RETRIES: usize = 8;

/// What handshakes share.
pub(super) struct Settings {
    #[cfg(not(feature = "boring"))]
    config: Arc<dimpl::Config>,
    /// For clients that have shown a cookie.
    verified: Arc<dimpl::Config>,
}

impl Settings {
    pub(super) fn new() -> Result<Self, DtlsError> {
        let settings = || {
            dimpl::Config::builder()
                .require_client_certificate(true)
                .flight_start_rto(FLIGHT_RTO)
                .flight_retries(FLIGHT_RETRIES)
                .handshake_timeout(HANDSHAKE_TIMEOUT)
        };
        // ICE with MESSAGE-INTEGRITY has proved the address already; a cookie would cost a round
        // trip more.
        #[cfg(not(feature = "boring"))]
        let config = settings()
            .use_server_cookie(false)
            .build()
            .map_err(|error| DtlsError::Config(error.into()))?;
        let verified = settings()
            .use_server_cookie(true)
            .with_crypto_provider(verified::provider())
            .build()
            .map_err(|error| DtlsError::Config(error.into()))?;
        Ok(Self {
            #[cfg(not(feature = "boring"))]
            config: Arc::new(config),
            verified: Arc::new(verified),
        })
    }

    /// A handshake of a client that has shown this cookie.
    ///
    /// It gets DTLS 1.2: a cookie of DTLS 1.3 belongs to one ClientHello, so that answers to forged
    /// ones would spoil the browser's own.
    pub(super) fn verified(
        &self,
        certificate: DtlsCertificate,
        cookie: [u8; COOKIE_LEN],
        now: Instant,
    ) -> Option<Box<dyn Handshake>> {
        let mut dtls = dimpl::Dtls::new_12(self.verified.clone(), certificate, now);
        verified::expect_second_hello(&mut dtls, now).ok()?;
        Some(Box::new(Dimpl::new(
            dtls,
            Setup::Passive,
            Some(cookie),
            now,
        )))
    }

    /// A handshake that a peer of this role begins.
    ///
    /// Viewers get DTLS 1.2, where the server's order decides the SRTP profile: AES-256-GCM, which
    /// matters for what is encrypted once per viewer. It costs them nothing at a restart, since the
    /// server may send one round trip after the ClientHello in both versions. Publishers get DTLS
    /// 1.3 (1.2 where they cannot): they may send a round trip earlier.
    #[cfg(not(feature = "boring"))]
    pub(super) fn direct(
        &self,
        certificate: DtlsCertificate,
        role: Role,
        now: Instant,
    ) -> Box<dyn Handshake> {
        let config = self.config.clone();
        let dtls = match role {
            Role::Viewer => dimpl::Dtls::new_12(config, certificate, now),
            Role::Publisher => dimpl::Dtls::new_auto(config, certificate, now),
        };
        Box::new(Dimpl::new(dtls, Setup::Passive, None, now))
    }

    /// A handshake that the server begins.
    #[cfg(not(feature = "boring"))]
    pub(super) fn active(&self, certificate: DtlsCertificate, now: Instant) -> Box<dyn Handshake> {
        let mut dtls = dimpl::Dtls::new_12(self.config.clone(), certificate, now);
        dtls.set_active(true);
        Box::new(Dimpl::new(dtls, Setup::Active, None, now))
    }
}

struct Dimpl {
    dtls: dimpl::Dtls,
    setup: Setup,
    /// What the client has shown, where it was asked for it.
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
            // The library does not tell which one.
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
