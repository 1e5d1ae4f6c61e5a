//! The DTLS client of a browser (its server, where another server wants to be the client), and the
//! SRTP contexts that its handshake gives.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};
use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

/// SRTP contexts of one handshake, both with rollover counters at zero.
pub struct Keys {
    /// From the client.
    pub sending: Context,
    /// From the server.
    pub receiving: Context,
}

/// How a client runs its handshakes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Offers DTLS 1.2 alone, in place of 1.3 and 1.2.
    pub only_12: bool,
    /// Longest datagram in bytes: decides into how many a ClientHello is cut.
    pub mtu: usize,
    /// First retransmission timeout; it doubles. ClientHellos are repeated exactly then, as
    /// browsers do it.
    pub rto: Duration,
}

impl Options {
    /// The library tests all its cryptography whenever a configuration is made, which takes as long
    /// as some handshakes: those without a seed are made once.
    fn config(self, seed: Option<u64>) -> Arc<dimpl::Config> {
        type Made = HashMap<(usize, Duration), Arc<dimpl::Config>>;
        static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
        let make = |builder: dimpl::ConfigBuilder| {
            let builder = builder
                .mtu(self.mtu)
                .flight_start_rto(self.rto)
                .flight_retries(8);
            Arc::new(builder.build().expect("a good configuration"))
        };
        if let Some(seed) = seed {
            return make(dimpl::Config::builder().dangerously_set_rng_seed(seed));
        }
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        let one = made.entry((self.mtu, self.rto));
        one.or_insert_with(|| make(dimpl::Config::builder()))
            .clone()
    }
}

/// The server's certificate is not the one that its answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCertificate;

/// One DTLS association.
pub struct Association {
    dtls: Dtls,
    /// When [`Association::drive`] wants to be called.
    pub next: Instant,
    keys: Option<(Vec<u8>, SrtpProfile)>,
    /// The exporter's output, as somebody has it who reads this browser's memory.
    pub exported: Option<(Vec<u8>, SrtpProfile)>,
    server_certificate: Option<Vec<u8>>,
    /// It has failed: nothing more comes of it.
    pub failed: bool,
    /// It is the DTLS client.
    active: bool,
    /// The server has answered the ClientHello.
    answered: bool,
    /// While it has not: when the ClientHello is repeated next, and how long after the last time
    /// that is.
    repeats: Option<(Instant, Duration)>,
    /// When the library wants to be called next, by its own clock, and how far that clock is ahead.
    library_next: Instant,
    ahead: Duration,
    outgoing: Vec<Bytes>,
}

/// What identifies a browser.
pub struct Certificate {
    /// The certificate, in DER.
    pub der: Vec<u8>,
    /// Its private key, as PKCS #8 in DER.
    pub key: Vec<u8>,
}

impl Certificate {
    /// A new one, signed by itself.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        Self {
            der: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }

    /// The certificate's fingerprint.
    pub fn sha256(&self) -> Vec<u8> {
        sha256(&self.der)
    }

    fn for_dtls(&self) -> DtlsCertificate {
        DtlsCertificate {
            certificate: self.der.clone(),
            private_key: self.key.clone(),
        }
    }
}

/// A SHA-256 digest.
pub fn sha256(data: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data)
        .as_ref()
        .to_vec()
}

impl Association {
    /// Starts a handshake; the ClientHello is the first thing to send. With a seed its random
    /// numbers are the same in every run.
    ///
    /// # Panics
    /// Where the library refuses the configuration: never for an MTU of at least 256 bytes.
    pub fn new(
        certificate: &Certificate,
        options: Options,
        seed: Option<u64>,
        now: Instant,
    ) -> Self {
        let config = options.config(seed);
        let own = certificate.for_dtls();
        let mut dtls = if options.only_12 {
            Dtls::new_12(config, own, now)
        } else {
            Dtls::new_auto(config, own, now)
        };
        dtls.set_active(true);
        let mut association = Self::begun(dtls, true, now);
        association.repeats = Some((now + options.rto, options.rto));
        association.next = now + options.rto;
        association
    }

    /// Waits for the other side's ClientHello.
    ///
    /// # Panics
    /// As [`Association::new`].
    pub fn passive(certificate: &Certificate, options: Options, now: Instant) -> Self {
        Self::begun(
            Dtls::new_auto(options.config(None), certificate.for_dtls(), now),
            false,
            now,
        )
    }

    fn begun(dtls: Dtls, active: bool, now: Instant) -> Self {
        let mut association = Self {
            dtls,
            active,
            next: now,
            keys: None,
            exported: None,
            server_certificate: None,
            failed: false,
            answered: false,
            repeats: None,
            library_next: now,
            ahead: Duration::ZERO,
            outgoing: Vec::new(),
        };
        association.drive(now, None);
        association
    }

    /// Takes a datagram, if there is one, and the time.
    pub fn drive(&mut self, now: Instant, datagram: Option<&[u8]>) {
        if self.failed {
            return;
        }
        // A record of the association before (close_notify, answered) is not for this one. Browsers
        // drop it; the library would fail.
        if let Some(data) = datagram
            && !self.answered
        {
            self.answered = data.first() == Some(&22) && data.get(3..5) == Some(&[0, 0]);
            if !self.answered {
                return;
            }
        }
        // The library draws its timeouts, up to a quarter shorter or longer; browsers do not. Until
        // there is an answer its clock stands, and goes on to the end of its timeout when a
        // repetition is due. The answer itself comes before the time: by then there is no timeout.
        let answer = datagram.filter(|_| self.repeats.take_if(|_| self.answered).is_some());
        let rest = datagram.filter(|_| answer.is_none());
        if let Some((at, pause)) = &mut self.repeats {
            if now < *at {
                return;
            }
            *pause *= 2;
            *at += *pause;
            self.ahead = self
                .ahead
                .max(self.library_next.saturating_duration_since(now));
        }
        let result = answer
            .map_or(Ok(()), |data| self.dtls.handle_packet(data))
            .and_then(|()| self.dtls.handle_timeout(now + self.ahead))
            .and_then(|()| rest.map_or(Ok(()), |data| self.dtls.handle_packet(data)));
        if result.is_err() {
            self.failed = true;
            return;
        }
        let mut buffer = vec![0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.outgoing.push(Bytes::copy_from_slice(packet)),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => self.server_certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some((material.to_vec(), profile));
                    self.exported = self.keys.clone();
                }
                Output::Timeout(next) => {
                    self.library_next = next;
                    self.next = self.repeats.map_or(next - self.ahead, |(at, _)| at);
                    return;
                }
                _ => {}
            }
        }
    }

    /// close_notify, as browsers send it on an association that they leave.
    pub fn close(&mut self, now: Instant) {
        if !self.failed && self.dtls.close().is_ok() {
            self.drive(now, None);
        }
    }

    /// Datagrams to send.
    pub fn outgoing(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.outgoing)
    }

    /// The keys, once. `fingerprint` is the SHA-256 that the server's certificate must have.
    pub fn keys(&mut self, fingerprint: &[u8]) -> Option<Result<Keys, WrongCertificate>> {
        let (material, profile) = self.keys.take()?;
        if self.server_certificate.as_deref().map(sha256).as_deref() != Some(fingerprint) {
            self.failed = true;
            return Some(Err(WrongCertificate));
        }
        let (profile, key, salt) = match profile {
            SrtpProfile::AEAD_AES_256_GCM => (ProtectionProfile::AeadAes256Gcm, 32, 12),
            SrtpProfile::AEAD_AES_128_GCM => (ProtectionProfile::AeadAes128Gcm, 16, 12),
            _ => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
        };
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
