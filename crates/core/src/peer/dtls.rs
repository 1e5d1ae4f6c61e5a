//! DTLS (RFC 9147, RFC 6347) of DTLS-SRTP (RFC 5764): a transient handshake that ends in session
//! keys. The server is the DTLS server, but for peers that want to be that themselves.
//!
//! The library stands behind [`Handshake`], so that another one can take its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use dimpl::{DtlsCertificate, Output, SrtpProfile};
use rekindle_ids::Role;
use rekindle_sdp::Setup;
use zeroize::Zeroizing;

use super::cookie::COOKIE_LEN;
use super::handshakes::{Begin, Begun};
use super::srtp::{Profile, SessionKeys};
use super::verified;

/// First retransmission timeout of a flight. RFC 9147 §5.8.2 allows less than its default of 1 s
/// where the application knows better: browsers repeat their own flights after 50 ms.
const FLIGHT_RTO: Duration = Duration::from_millis(200);
/// Retransmissions of one flight. A ClientHello that comes again counts too, and Firefox sends it
/// seven times in 3 s.
const FLIGHT_RETRIES: usize = 8;
/// A handshake that takes longer is given up; the browser's page starts another one much sooner.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the DTLS side cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DtlsError {
    /// The library refuses its configuration.
    #[error("the DTLS library refuses its configuration: {0}")]
    Config(dimpl::Error),
    /// A handshake failed for good; it says nothing about the peer's live keys.
    #[error("the DTLS handshake failed: {0}")]
    Handshake(dimpl::Error),
    /// The handshake ended without SRTP keys that fit.
    #[error("the DTLS handshake gave no usable SRTP keys")]
    NoKeys,
}

/// What a completed handshake yields.
pub(crate) struct Completed {
    /// The peer's leaf certificate, DER. Nothing has been compared with a fingerprint yet.
    pub certificate: Vec<u8>,
    /// Fresh keys.
    pub keys: SessionKeys,
}

/// One DTLS handshake without I/O.
pub(crate) trait Handshake: Send {
    /// Takes a datagram, if there is one, and the time; appends datagrams to send to `out`. Yields
    /// the keys once. After an error the handshake is dead and must be dropped.
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError>;

    /// When to call `drive` without a datagram.
    fn next_timeout(&self) -> Instant;
}

/// How many handshakes are under way, of all peers together. Each takes memory (13 KB of Rust's
/// heap) until it is over, and time of the thread that also forwards media.
pub(super) struct Load {
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Load {
    /// A place that nobody else wants.
    #[cfg(test)]
    pub fn for_tests() -> Admitted {
        let load = Arc::new(Self {
            under_way: 0.into(),
            most: usize::MAX.into(),
        });
        load.admit(Role::Viewer).expect("room")
    }

    /// Lets one more begin, if there is room. Publishers have room of their own, as much again: all
    /// their viewers wait for them.
    fn admit(self: &Arc<Self>, role: Role) -> Option<Admitted> {
        let most = self.most.load(Ordering::Relaxed);
        let room = match role {
            Role::Viewer => most,
            Role::Publisher => most.saturating_mul(2),
        };
        if self.under_way.load(Ordering::Relaxed) >= room {
            return None;
        }
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Admitted(self.clone()))
    }
}

/// A place among the handshakes that are under way, free again when dropped.
pub(crate) struct Admitted(Arc<Load>);

impl Admitted {
    /// Whether others are turned away for want of places.
    pub(crate) fn is_contested(&self) -> bool {
        self.0.under_way.load(Ordering::Relaxed) >= self.0.most.load(Ordering::Relaxed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server's DTLS identity and settings, shared by all peers.
pub struct Dtls {
    config: Arc<dimpl::Config>,
    /// For clients that have shown a cookie.
    verified: Arc<dimpl::Config>,
    load: Arc<Load>,
    /// SHA-256 of the certificate.
    sha256: [u8; 32],
    certificate: Zeroizing<Vec<u8>>,
    private_key: Zeroizing<Vec<u8>>,
}

impl Dtls {
    /// Settings for the certificate (DER) and its private key (PKCS#8 DER).
    ///
    /// # Errors
    /// [`DtlsError::Config`] where the library refuses them.
    pub fn new(certificate: &[u8], private_key: &[u8]) -> Result<Self, DtlsError> {
        let settings = || {
            dimpl::Config::builder()
                .require_client_certificate(true)
                .flight_start_rto(FLIGHT_RTO)
                .flight_retries(FLIGHT_RETRIES)
                .handshake_timeout(HANDSHAKE_TIMEOUT)
        };
        // ICE with MESSAGE-INTEGRITY has proved the address already; a cookie would cost a round
        // trip more.
        let config = settings()
            .use_server_cookie(false)
            .build()
            .map_err(DtlsError::Config)?;
        let verified = settings()
            .use_server_cookie(true)
            .with_crypto_provider(verified::provider())
            .build()
            .map_err(DtlsError::Config)?;
        let load = Load {
            under_way: AtomicUsize::new(0),
            // Until told otherwise.
            most: AtomicUsize::new(usize::MAX),
        };
        let configs = (Arc::new(config), Arc::new(verified));
        Ok(Self::with(
            configs,
            Arc::new(load),
            certificate,
            private_key,
        ))
    }

    /// Another identity of the same server: handshakes of both count together.
    pub fn beside(&self, certificate: &[u8], private_key: &[u8]) -> Self {
        let configs = (self.config.clone(), self.verified.clone());
        Self::with(configs, self.load.clone(), certificate, private_key)
    }

    fn with(
        (config, verified): (Arc<dimpl::Config>, Arc<dimpl::Config>),
        load: Arc<Load>,
        certificate: &[u8],
        private_key: &[u8],
    ) -> Self {
        Self {
            config,
            verified,
            load,
            sha256: *digest(&SHA256, certificate)
                .as_ref()
                .first_chunk()
                .expect("SHA-256 has 32 bytes"),
            certificate: Zeroizing::new(certificate.to_vec()),
            private_key: Zeroizing::new(private_key.to_vec()),
        }
    }

    /// SHA-256 of the certificate.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// A handshake for a peer of this role, and its place among those under way; `None` where as
    /// many are under way as there may be.
    ///
    /// Viewers get DTLS 1.2, where the server's order decides the SRTP profile: AES-256-GCM, which
    /// matters for what is encrypted once per viewer. It costs them nothing at a restart, since the
    /// server may send one round trip after the ClientHello in both versions. Publishers get DTLS
    /// 1.3 (1.2 where they cannot): they may send a round trip earlier.
    ///
    /// Who has shown a cookie gets DTLS 1.2: a cookie of DTLS 1.3 belongs to one ClientHello, so
    /// that answers to forged ones would spoil the browser's own.
    pub(crate) fn begin(&self, role: Role, begin: Begin, now: Instant) -> Option<Begun> {
        let admitted = self.load.admit(role)?;
        let (config, certificate) = (self.config.clone(), self.certificate());
        let (dtls, cookie) = match (begin, role) {
            (Begin::Verified(cookie), _) => {
                let mut dtls = dimpl::Dtls::new_12(self.verified.clone(), certificate, now);
                verified::expect_second_hello(&mut dtls, now).ok()?;
                (dtls, Some(cookie))
            }
            (Begin::Direct, Role::Viewer) => (dimpl::Dtls::new_12(config, certificate, now), None),
            (Begin::Direct, Role::Publisher) => {
                (dimpl::Dtls::new_auto(config, certificate, now), None)
            }
        };
        Some((
            Box::new(Dimpl::new(dtls, Setup::Passive, cookie, now)),
            admitted,
        ))
    }

    /// The same with a peer that is the DTLS server itself. It gets DTLS 1.2: whoever cannot be the
    /// client has nothing newer either, and a ClientHello of DTLS 1.2 is the smaller one, should it
    /// go to a stranger.
    pub(crate) fn begin_active(&self, role: Role, now: Instant) -> Option<Begun> {
        let admitted = self.load.admit(role)?;
        let mut dtls = dimpl::Dtls::new_12(self.config.clone(), self.certificate(), now);
        dtls.set_active(true);
        Some((
            Box::new(Dimpl::new(dtls, Setup::Active, None, now)),
            admitted,
        ))
    }

    fn certificate(&self) -> DtlsCertificate {
        DtlsCertificate {
            certificate: self.certificate.to_vec(),
            private_key: self.private_key.to_vec(),
        }
    }
}

/// The server's identities: the one that new peers get, and those that peers of earlier boots go
/// by.
#[derive(Clone)]
pub struct Identities {
    current: Arc<Dtls>,
    earlier: Vec<Arc<Dtls>>,
}

impl From<Arc<Dtls>> for Identities {
    fn from(current: Arc<Dtls>) -> Self {
        Self::new(current, Vec::new())
    }
}

impl Identities {
    /// One for new peers, and earlier ones, which were made with [`Dtls::beside`].
    pub fn new(current: Arc<Dtls>, earlier: Vec<Arc<Dtls>>) -> Self {
        Self { current, earlier }
    }

    /// Handshakes of all peers together that may be under way at once.
    pub(crate) fn limit_handshakes(&self, most: usize) {
        self.current.load.most.store(most, Ordering::Relaxed);
    }

    /// The one with this certificate, by its SHA-256.
    pub(crate) fn get(&self, certificate: &[u8; 32]) -> Option<&Arc<Dtls>> {
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .find(|dtls| dtls.sha256 == *certificate)
    }

    /// Drops an earlier one. The current one stays.
    pub(crate) fn forget(&mut self, certificate: &[u8; 32]) {
        self.earlier.retain(|dtls| dtls.sha256 != *certificate);
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
            .map_err(DtlsError::Handshake)?;
        if let Some(datagram) = datagram {
            let dtls = &mut self.dtls;
            let taken = verified::with_cookie(self.cookie, || dtls.handle_packet(datagram));
            taken.map_err(DtlsError::Handshake)?;
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
        Ok(Some(Completed { certificate, keys }))
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
