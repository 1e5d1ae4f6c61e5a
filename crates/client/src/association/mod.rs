//! The DTLS client of a browser (or its DTLS server, where another server is the client), and the
//! SRTP contexts from its handshake.

#[cfg(feature = "boring")]
mod boringssl;
mod dimpl;

use std::time::{Duration, Instant};

use ::dimpl::SrtpProfile;
use bytes::Bytes;
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use zeroize::Zeroizing;

use crate::manner::Offer;

/// SRTP contexts of one handshake, both with rollover counters at zero.
pub struct Keys {
    /// For sending.
    pub sending: Context,
    /// For receiving.
    pub receiving: Context,
}

/// The settings of a client's handshakes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What it offers, and with which library.
    pub offer: Offer,
    /// Longest datagram in bytes: it determines into how many a ClientHello is split.
    pub mtu: usize,
    /// First retransmission timeout; it doubles. ClientHellos are repeated exactly at these times,
    /// as browsers do.
    pub rto: Duration,
}

/// The server's certificate is not the one in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCertificate;

/// A library during a handshake.
trait Library: Send {
    /// Takes a datagram, if there is one, and the time; adds the results.
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        yielded: &mut Yield,
    ) -> Result<(), Failed>;

    /// When [`Library::drive`] is to be called next.
    fn next(&self) -> Instant;

    /// Adds close_notify, if the library sends one.
    fn close(&mut self, now: Instant, yielded: &mut Yield) -> Result<(), Failed>;
}

/// The handshake is over for good.
struct Failed;

/// The results of a library.
#[derive(Default)]
struct Yield {
    outgoing: Vec<Bytes>,
    /// The exporter's output.
    keys: Option<(Vec<u8>, SrtpProfile)>,
    server_certificate: Option<Vec<u8>>,
}

/// One DTLS association.
pub struct Association {
    library: Box<dyn Library>,
    /// When [`Association::drive`] is to be called next.
    pub next: Instant,
    yielded: Yield,
    /// The exporter's output, as an attacker has it who reads this browser's memory; where it is
    /// remembered.
    pub exported: Option<(Vec<u8>, SrtpProfile)>,
    /// Whether the exporter's output is remembered.
    pub remembers: bool,
    /// Whether it has failed for good.
    pub failed: bool,
    /// It is the DTLS client.
    active: bool,
    /// Whether the other side has sent something that may belong to this handshake.
    answered: bool,
}

/// The identity of a browser.
pub struct Certificate {
    /// The certificate, in DER.
    pub der: Vec<u8>,
    /// Its private key, as PKCS #8 in DER.
    pub key: Vec<u8>,
    #[cfg(feature = "boring")]
    contexts: boringssl::Contexts,
}

impl Certificate {
    /// A new one, self-signed.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        Self {
            der: certificate.der().to_vec(),
            key: key.serialize_der(),
            #[cfg(feature = "boring")]
            contexts: boringssl::Contexts::default(),
        }
    }

    /// The certificate's fingerprint.
    pub fn sha256(&self) -> Vec<u8> {
        sha256(&self.der)
    }
}

/// A SHA-256 digest.
pub fn sha256(data: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data)
        .as_ref()
        .to_vec()
}

impl Association {
    /// Starts a handshake; the ClientHello is the first datagram to send. With a seed its random
    /// numbers are the same in every run, except BoringSSL's.
    ///
    /// # Panics
    /// Where the library refuses the configuration: never for an MTU of at least 256 bytes.
    pub fn new(
        certificate: &Certificate,
        options: Options,
        seed: Option<u64>,
        now: Instant,
    ) -> Self {
        let library: Box<dyn Library> = match options.offer {
            Offer::Both | Offer::Only12 => {
                Box::new(dimpl::Dimpl::active(certificate, options, seed, now))
            }
            #[cfg(feature = "boring")]
            Offer::BoringSsl(groups) => Box::new(boringssl::BoringSsl::active(
                certificate,
                options,
                groups,
                now,
            )),
        };
        Self::begun(library, true, now)
    }

    /// Waits for the other side's ClientHello.
    ///
    /// # Panics
    /// As [`Association::new`].
    pub fn passive(certificate: &Certificate, options: Options, now: Instant) -> Self {
        let library = dimpl::Dimpl::passive(certificate, options, now);
        Self::begun(Box::new(library), false, now)
    }

    fn begun(library: Box<dyn Library>, active: bool, now: Instant) -> Self {
        let mut association = Self {
            library,
            active,
            next: now,
            yielded: Yield::default(),
            exported: None,
            remembers: true,
            failed: false,
            answered: false,
        };
        association.drive(now, None);
        association
    }

    /// Takes a datagram, if there is one, and the time.
    pub fn drive(&mut self, now: Instant, datagram: Option<&[u8]>) {
        if self.failed {
            return;
        }
        // A record of the previous association (close_notify, answered) does not belong to this
        // one. Browsers drop it; the libraries would fail.
        if let Some(data) = datagram
            && !self.answered
        {
            self.answered = data.first() == Some(&22) && data.get(3..5) == Some(&[0, 0]);
            if !self.answered {
                return;
            }
        }
        self.failed = self
            .library
            .drive(now, datagram, &mut self.yielded)
            .is_err();
        if self.yielded.keys.is_some() && self.remembers {
            self.exported.clone_from(&self.yielded.keys);
        }
        self.next = self.library.next();
    }

    /// Sends close_notify, as browsers do on an association that they leave.
    pub fn close(&mut self, now: Instant) {
        if !self.failed {
            self.failed = self.library.close(now, &mut self.yielded).is_err();
        }
    }

    /// Datagrams to send.
    pub fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.yielded.outgoing)
    }

    /// The keys, once. `fingerprint` is the expected SHA-256 of the server's certificate.
    pub fn keys(&mut self, fingerprint: &[u8]) -> Option<Result<Keys, WrongCertificate>> {
        let (material, profile) = self.yielded.keys.take()?;
        let shown = self.yielded.server_certificate.as_deref();
        if shown.map(sha256).as_deref() != Some(fingerprint) {
            self.failed = true;
            return Some(Err(WrongCertificate));
        }
        let (profile, key, salt) = match profile {
            SrtpProfile::AEAD_AES_256_GCM => (ProtectionProfile::AeadAes256Gcm, 32, 12),
            SrtpProfile::AEAD_AES_128_GCM => (ProtectionProfile::AeadAes128Gcm, 16, 12),
            _ => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
        };
        let material = Zeroizing::new(material);
        // RFC 5764 §4.2: client key, server key, client salt, server salt.
        let salts = 2 * key;
        let context = |n: usize| {
            Context::new(
                &material[n * key..(n + 1) * key],
                &material[salts + n * salt..salts + (n + 1) * salt],
                profile,
                // As libsrtp in browsers.
                Some(srtp_replay_protection(1024)),
                Some(srtcp_replay_protection(1024)),
                &AwsLcRsCrypto,
            )
            .expect("lengths fit the profile")
        };
        Some(Ok(Keys {
            sending: context(usize::from(!self.active)),
            receiving: context(usize::from(self.active)),
        }))
    }
}

#[cfg(test)]
mod tests;
