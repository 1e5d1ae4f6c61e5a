//! DTLS (RFC 9147, RFC 6347) for DTLS-SRTP (RFC 5764): a transient handshake that ends in session
//! keys. The server is the DTLS server, except for peers that want to be the server themselves.
//!
//! The library is behind [`Handshake`](super::handshake::Handshake): `dimpl`, or BoringSSL in
//! builds with the feature `boring`. docs/dtls.md says which one suits whom.

#[cfg(feature = "boring")]
mod boring;
mod dimpl;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::dimpl::DtlsCertificate;
use aws_lc_rs::digest::{SHA256, digest};
use rekindle_ids::Role;
use rekindle_sdp::Setup;
use zeroize::Zeroizing;

use super::handshake::{Begin, Begun, Completed, DtlsError, HANDSHAKE_TIMEOUT, Handshake};
use super::load::Load;
use super::srtp::{Profile, SessionKeys};
use super::verified;

#[cfg(feature = "boring")]
use self::boring::Library;
#[cfg(not(feature = "boring"))]
use self::dimpl::Library;

/// First retransmission timeout of a flight. RFC 9147 §5.8.2 allows less than its default of 1 s
/// where the application knows better: browsers repeat their own flights after 50 ms.
const FLIGHT_RTO: Duration = Duration::from_millis(200);

/// The server's DTLS identity and settings, shared by all peers.
pub struct Dtls {
    library: Library,
    /// For clients that have shown a cookie, with either library.
    verified: Arc<dimpl::Verified>,
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
        Ok(Self {
            library: Library::new(certificate, private_key)?,
            verified: Arc::new(dimpl::Verified::new()?),
            load: Arc::default(),
            sha256: sha256(certificate),
            certificate: Zeroizing::new(certificate.to_vec()),
            private_key: Zeroizing::new(private_key.to_vec()),
        })
    }

    /// The same, only for peers with a key exchange that is safe against a quantum computer
    /// (X25519MLKEM768).
    ///
    /// # Errors
    /// [`DtlsError::NoPostQuantum`] in builds whose library has no such key exchange.
    pub fn requiring_post_quantum(self) -> Result<Self, DtlsError> {
        let library = Library::post_quantum(&self.certificate, &self.private_key)?;
        Ok(Self { library, ..self })
    }

    /// Another identity of the same server: handshakes of both count towards one limit.
    ///
    /// # Errors
    /// [`DtlsError::Config`] where the library refuses it.
    pub fn beside(&self, certificate: &[u8], private_key: &[u8]) -> Result<Self, DtlsError> {
        Ok(Self {
            library: self.library.beside(certificate, private_key)?,
            verified: self.verified.clone(),
            load: self.load.clone(),
            sha256: sha256(certificate),
            certificate: Zeroizing::new(certificate.to_vec()),
            private_key: Zeroizing::new(private_key.to_vec()),
        })
    }

    /// SHA-256 of the certificate.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// A handshake for a peer of this role, and its place among those under way; `None` where the
    /// limit is reached.
    ///
    /// Clients that have shown a cookie get DTLS 1.2, which has no post-quantum key exchange:
    /// where that is required, no client gets such a handshake.
    pub(crate) fn begin(&self, role: Role, begin: Begin, now: Instant) -> Option<Begun> {
        let admitted = self.load.admit(role)?;
        let handshake = match begin {
            Begin::Verified(_) if self.library.requires_post_quantum() => {
                tracing::debug!(
                    "no handshake is begun with who has shown a cookie: a post-quantum key \
                     exchange is required, and cookies are of DTLS 1.2"
                );
                return None;
            }
            Begin::Verified(cookie) => self.verified.begin(self.certificate(), cookie, now)?,
            Begin::Direct => self.library.direct(|| self.certificate(), role, now)?,
        };
        Some((handshake, admitted))
    }

    /// The same with a peer that is the DTLS server itself. Unless a post-quantum key exchange is
    /// required, it gets DTLS 1.2: clients that cannot be the DTLS client have no newer version
    /// either, and a ClientHello of DTLS 1.2 is smaller, in case it goes to a stranger.
    pub(crate) fn begin_active(&self, role: Role, now: Instant) -> Option<Begun> {
        let admitted = self.load.admit(role)?;
        let handshake = self.library.active(|| self.certificate(), now)?;
        Some((handshake, admitted))
    }

    fn certificate(&self) -> DtlsCertificate {
        DtlsCertificate {
            certificate: self.certificate.to_vec(),
            private_key: self.private_key.to_vec(),
        }
    }
}

fn sha256(certificate: &[u8]) -> [u8; 32] {
    *digest(&SHA256, certificate)
        .as_ref()
        .first_chunk()
        .expect("SHA-256 has 32 bytes")
}

/// Whether the DTLS library can check a signature made with this certificate's key (DER, RFC 5480
/// §2.1.1.1, RFC 3279 §2.3.1): P-256 and P-384; with BoringSSL P-521 and RSA as well.
pub(super) fn has_usable_key(certificate: &[u8]) -> bool {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    const RSA: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    ];
    let usable: &[&[u8]] = match cfg!(feature = "boring") {
        true => &[P256, P384, P521, RSA],
        false => &[P256, P384],
    };
    usable
        .iter()
        .any(|kind| certificate.windows(kind.len()).any(|part| part == *kind))
}

/// The server's identities: the one that new peers get, and those that peers of earlier boots use.
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
    /// The identity for new peers, and earlier ones, which were made with [`Dtls::beside`].
    pub fn new(current: Arc<Dtls>, earlier: Vec<Arc<Dtls>>) -> Self {
        Self { current, earlier }
    }

    /// Limits the handshakes of all peers together that may be under way at once.
    pub(crate) fn limit_handshakes(&self, most: usize) {
        self.current.load.limit(most);
    }

    /// Whether peers without a post-quantum key exchange are refused.
    pub(crate) fn require_post_quantum(&self) -> bool {
        self.current.library.requires_post_quantum()
    }

    /// The identity with this certificate, by its SHA-256.
    pub(crate) fn get(&self, certificate: &[u8; 32]) -> Option<&Arc<Dtls>> {
        std::iter::once(&self.current)
            .chain(&self.earlier)
            .find(|dtls| dtls.sha256 == *certificate)
    }

    /// Adds an identity that peers from records may use; new peers do not.
    ///
    /// # Errors
    /// [`DtlsError::Config`] where the library refuses it.
    pub(crate) fn learn(
        &mut self,
        certificate: &[u8],
        private_key: &[u8],
    ) -> Result<(), DtlsError> {
        let dtls = self.current.beside(certificate, private_key)?;
        if self.get(&dtls.sha256).is_none() {
            self.earlier.push(Arc::new(dtls));
        }
        Ok(())
    }

    /// Drops an earlier identity. The current one stays.
    pub(crate) fn forget(&mut self, certificate: &[u8; 32]) {
        self.earlier.retain(|dtls| dtls.sha256 != *certificate);
    }
}
