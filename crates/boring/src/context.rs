//! The settings that handshakes share.

use std::time::Duration;

use boring::pkey::PKey;
use boring::ssl::{
    SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslSignatureAlgorithm, SslVerifyMode, SslVersion,
};
use boring::x509::X509;

use crate::{Error, clock};

/// The server's preference of SRTP profiles (RFC 5764 §4.1.2, RFC 7714 §14.2): the first one that
/// the client has is chosen, in DTLS 1.2 and 1.3 alike.
const PROFILES: &str = "SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
/// Longest datagram of a flight, in bytes: the value of browsers, which fits with the headers of
/// IPv6 and UDP into every path that media of 1,200 bytes uses.
const MTU: u32 = 1200;

/// Accepted signature algorithms of the other side, in order of preference: the library's defaults,
/// and P-521.
const SIGNATURES: [SslSignatureAlgorithm; 9] = [
    SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
    SslSignatureAlgorithm::RSA_PKCS1_SHA256,
    SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA384,
    SslSignatureAlgorithm::RSA_PKCS1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA512,
    SslSignatureAlgorithm::RSA_PKCS1_SHA512,
    SslSignatureAlgorithm::ECDSA_SECP521R1_SHA512,
];

/// The key exchanges that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// X25519MLKEM768 first, where the other side has it, and elliptic curves.
    Any,
    /// X25519MLKEM768 alone, which needs DTLS 1.3.
    PostQuantum,
    /// Elliptic curves alone.
    Classical,
}

impl Groups {
    fn names(self) -> &'static str {
        match self {
            Self::Any => "X25519MLKEM768:X25519:P-256:P-384",
            Self::PostQuantum => "X25519MLKEM768",
            Self::Classical => "X25519:P-256:P-384",
        }
    }
}

/// A certificate with its key, and settings.
#[derive(Clone)]
pub struct Context {
    pub(crate) ssl: SslContext,
    pub(crate) first_timeout: Duration,
    pub(crate) groups: Groups,
    pub(crate) mtu: u32,
}

impl Context {
    /// Handshakes with this certificate (DER) and its private key (PKCS#8 DER). A flight is
    /// repeated after `first_timeout`, and then after twice as long each time.
    ///
    /// The other side must show a certificate, of which only the key is used: DTLS-SRTP compares
    /// its fingerprint with the one from signalling (RFC 5763 §5).
    ///
    /// # Errors
    /// [`Error::Settings`] where BoringSSL refuses them.
    pub fn new(
        certificate: &[u8],
        private_key: &[u8],
        first_timeout: Duration,
        groups: Groups,
    ) -> Result<Self, Error> {
        let mut builder = SslContextBuilder::new(SslMethod::dtls())?;
        clock::install(&mut builder);
        let oldest = match groups {
            Groups::PostQuantum => SslVersion::DTLS1_3,
            Groups::Any | Groups::Classical => SslVersion::DTLS1_2,
        };
        builder.set_min_proto_version(Some(oldest))?;
        builder.set_max_proto_version(Some(SslVersion::DTLS1_3))?;
        builder.set_curves_list(groups.names())?;
        builder.set_tlsext_use_srtp(PROFILES)?;
        builder.set_verify_algorithm_prefs(&SIGNATURES)?;
        let certificate = X509::from_der(certificate)?;
        let private_key = PKey::private_key_from_pkcs8(private_key)?;
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&private_key)?;
        builder.check_private_key()?;
        let required = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        builder.set_custom_verify_callback(required, |_| Ok(()));
        // Nothing is resumed: every handshake makes fresh keys, and there is no ticket key.
        builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_QUERY_MTU);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        #[cfg(rekindle_canary)]
        builder.set_keylog_callback(|_, line| crate::canary::tell(line));
        Ok(Self {
            ssl: builder.build(),
            first_timeout,
            groups,
            mtu: MTU,
        })
    }

    /// The same with another first timeout of flights.
    #[must_use]
    pub fn with_first_timeout(self, first_timeout: Duration) -> Self {
        Self {
            first_timeout,
            ..self
        }
    }

    /// The same with datagrams of at most this many bytes.
    #[must_use]
    pub fn with_mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }
}
