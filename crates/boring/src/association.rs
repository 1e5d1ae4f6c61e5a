//! One handshake.

use std::time::{Duration, Instant};

use boring::ssl::{ErrorCode, Ssl, SslStream, SslVersion};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::pipe::Pipe;
use crate::{Context, Error, Groups, clock};

/// RFC 5764 §4.2.
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";
/// Time until the next call where no timer runs.
const IDLE: Duration = Duration::from_secs(3600);

/// The role in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Begins it.
    Client,
    /// Answers it.
    Server,
}

/// An SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srtp {
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1_80,
}

impl Srtp {
    /// Two master keys and two master salts, in bytes.
    fn material_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 2 * (32 + 12),
            Self::AeadAes128Gcm => 2 * (16 + 12),
            Self::Aes128CmSha1_80 => 2 * (16 + 14),
        }
    }
}

/// The version that was negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 6347.
    Dtls12,
    /// RFC 9147.
    Dtls13,
}

/// The group of the key exchange (RFC 8446 §4.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// X25519 and ML-KEM-768 together (draft-ietf-tls-ecdhe-mlkem).
    X25519MlKem768,
    /// RFC 7748.
    X25519,
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
}

/// The result of a completed handshake.
pub struct Completed {
    /// The other side's certificate, DER; the other side has proved to have its key, and nothing
    /// else.
    pub certificate: Vec<u8>,
    /// The exporter's output (RFC 5764 §4.2): the client's key, the server's, the client's salt,
    /// the server's.
    pub material: Zeroizing<Vec<u8>>,
    /// The SRTP profile that it is for.
    pub srtp: Srtp,
    /// The version.
    pub version: Version,
    /// The key exchange.
    pub group: Group,
}

/// One handshake without I/O.
pub struct Association {
    stream: SslStream<Pipe>,
    side: Side,
    start: Instant,
    /// How far its clock is ahead, so that a flight is repeated early.
    ahead: Duration,
    next: Instant,
    is_complete: bool,
    groups: Groups,
}

impl Association {
    /// A new one. A client's ClientHello is available after the first call of
    /// [`Association::drive`].
    ///
    /// # Errors
    /// [`Error::Settings`] where BoringSSL has no memory for it.
    pub fn new(context: &Context, side: Side, now: Instant) -> Result<Self, Error> {
        let mut ssl = Ssl::new(&context.ssl)?;
        ssl.set_mtu(context.mtu)?;
        clock::set_first_timeout(&mut ssl, context.first_timeout);
        Ok(Self {
            stream: SslStream::new(ssl, Pipe::default())?,
            side,
            start: now,
            ahead: Duration::ZERO,
            next: now,
            is_complete: false,
            groups: context.groups,
        })
    }

    /// The same, with DTLS 1.2 only.
    ///
    /// # Errors
    /// As [`Association::new`].
    pub fn new_12(context: &Context, side: Side, now: Instant) -> Result<Self, Error> {
        let mut association = Self::new(context, side, now)?;
        let ssl = association.stream.ssl_mut();
        ssl.set_max_proto_version(Some(SslVersion::DTLS1_2))?;
        Ok(association)
    }

    /// Takes a datagram, if there is one, and the time; appends datagrams to send to `out`. Returns
    /// what was agreed on once. It must be called further for as long as the other side may not
    /// have received the last flight.
    ///
    /// # Errors
    /// All of them are fatal. Nothing is sent then: an alert would be unprotected, and the sender
    /// of the wrong message may not be the other side.
    pub fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, Error> {
        let time = now.saturating_duration_since(self.start) + self.ahead;
        clock::at(time, || {
            let result = self.work(datagram);
            self.next = now + clock::timeout(self.stream.ssl()).unwrap_or(IDLE);
            let outgoing = self.stream.get_mut().take();
            if result.is_ok() {
                out.extend(outgoing);
            }
            result
        })
    }

    /// When [`Association::drive`] is to be called without a datagram.
    pub fn next_timeout(&self) -> Instant {
        self.next
    }

    /// Its role.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Whether DTLS 1.2 was agreed on, in which later flights have plaintext too.
    pub fn speaks_12(&self) -> bool {
        self.stream.ssl().version2() == Some(SslVersion::DTLS1_2)
    }

    /// Repeats the last flight in the next call of [`Association::drive`]: the other side has shown
    /// that it did not get it.
    pub fn repeat(&mut self, now: Instant) {
        self.ahead += self.next.saturating_duration_since(now);
        self.next = now;
    }

    fn work(&mut self, datagram: Option<&[u8]>) -> Result<Option<Completed>, Error> {
        if !clock::handle_timeout(self.stream.ssl_mut()) {
            return Err(Error::Incomplete);
        }
        if let Some(datagram) = datagram {
            self.stream.get_mut().put(datagram);
        }
        if self.is_complete {
            self.read();
            return Ok(None);
        }
        let result = match self.side {
            Side::Client => self.stream.connect(),
            Side::Server => self.stream.accept(),
        };
        match result {
            Ok(()) => {
                self.is_complete = true;
                // Reads what is left of the datagram.
                self.read();
                self.completed().map(Some)
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(None),
            Err(error) if self.is_refusal(&error) => Err(Error::NoSharedGroup(error)),
            Err(error) => Err(Error::Handshake(error)),
        }
    }

    /// Once complete: acknowledges, or repeats the last flight where the other side repeats its
    /// own. Other messages have no meaning here.
    fn read(&mut self) {
        let mut buffer = [0; 2048];
        loop {
            let read = self.stream.ssl_read(&mut buffer);
            if read.is_err() && !self.stream.get_ref().is_full() {
                return;
            }
            if read.is_err_and(|error| error.code() != ErrorCode::WANT_READ) {
                return;
            }
        }
    }

    fn is_refusal(&self, error: &boring::ssl::Error) -> bool {
        const REASONS: [u32; 2] = [
            boring_sys::SSL_R_NO_SHARED_GROUP as u32,
            boring_sys::SSL_R_UNSUPPORTED_PROTOCOL as u32,
        ];
        let stack = error.ssl_error().map(|stack| stack.errors());
        self.groups == Groups::PostQuantum
            && stack.is_some_and(|errors| {
                let reasons = errors.iter().map(|error| error.reason_code() as u32);
                reasons.into_iter().any(|reason| REASONS.contains(&reason))
            })
    }

    fn completed(&self) -> Result<Completed, Error> {
        let ssl = self.stream.ssl();
        let certificate = ssl.peer_certificate().ok_or(Error::Incomplete)?;
        let profile = ssl.selected_srtp_profile().map(|profile| profile.id());
        let srtp = match profile.map(|id| id.as_raw()) {
            Some(8) => Srtp::AeadAes256Gcm,
            Some(7) => Srtp::AeadAes128Gcm,
            Some(1) => Srtp::Aes128CmSha1_80,
            _ => return Err(Error::Incomplete),
        };
        let version = match ssl.version2() {
            Some(SslVersion::DTLS1_3) => Version::Dtls13,
            _ => Version::Dtls12,
        };
        let group = match ssl.curve().map(i32::from) {
            Some(boring_sys::SSL_GROUP_X25519_MLKEM768) => Group::X25519MlKem768,
            Some(boring_sys::SSL_GROUP_X25519) => Group::X25519,
            Some(boring_sys::SSL_GROUP_SECP384R1) => Group::P384,
            Some(boring_sys::SSL_GROUP_SECP256R1) => Group::P256,
            _ => return Err(Error::Incomplete),
        };
        let mut material = Zeroizing::new(vec![0; srtp.material_len()]);
        ssl.export_keying_material(&mut material, EXPORTER, None)?;
        Ok(Completed {
            certificate: certificate.to_der()?,
            material,
            srtp,
            version,
            group,
        })
    }
}
