//! TLS (1.3 and 1.2) in front of HTTP, with a certificate of the operator's, or of an authority that
//! is asked for it.
//!
//! No session is ever resumed, and no early data is accepted: a resumption would need a secret that
//! outlives its connection. A page has one connection, and no process could resume a session of an
//! earlier one anyway.

mod challenges;
mod counts;
mod files;
#[cfg(test)]
mod tests;
mod validity;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) use challenges::{Challenges, Proof};
pub(super) use counts::{Cause, TlsCounts};
pub use files::{Pair, TlsError};
pub(super) use validity::{Validity, validity};

/// The names of HTTP's versions in the handshake (RFC 7301 §6, RFC 9113 §3.1).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// The server's side of TLS. The certificate may be replaced at any time: handshakes that begin
/// afterwards use the new one, and established connections are not changed.
#[derive(Debug)]
pub struct Tls {
    /// The operator's files; `None` where certificates are put here by [`Tls::put`].
    pair: Option<Pair>,
    current: Arc<Current>,
    serving: Arc<ServerConfig>,
    /// For clients that are refused in a few bytes of HTTP/1.1.
    refusing: Arc<ServerConfig>,
    /// For an authority that looks at proofs.
    proving: Arc<ServerConfig>,
    challenges: Arc<Challenges>,
    /// One handshake is worked on at a time; see [`Tls::shake`].
    turn: Semaphore,
    counts: TlsCounts,
}

/// An accepted connection.
pub(super) struct Accepted<S> {
    pub stream: TlsStream<S>,
    /// Whether both sides agreed on HTTP/2.
    pub is_http2: bool,
}

/// Why a connection has no TLS.
pub(super) enum NotTls {
    /// The client sends HTTP without it, and nothing has been read yet.
    PlainHttp(TcpStream),
    /// It was an authority, which has now seen a proof, and nothing is said to it.
    Proven,
    /// The handshake failed, and the client was told so.
    Failed(io::Error),
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used.
    pub fn read(pair: Pair) -> Result<Self, TlsError> {
        let certified = pair.read(&aws_lc_rs::default_provider())?;
        Self::new(Some(pair), Some(certified))
    }

    /// Without a certificate until one is put here: handshakes fail until then, but those of an
    /// authority that looks at a proof.
    ///
    /// # Errors
    /// [`TlsError::Library`].
    pub fn without_certificate() -> Result<Self, TlsError> {
        Self::new(None, None)
    }

    fn new(pair: Option<Pair>, certified: Option<CertifiedKey>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(RwLock::new(certified.map(Arc::new))));
        let challenges = Arc::new(Challenges::default());
        let config = |protocols: &[&[u8]]| config(&provider, current.clone(), protocols);
        Ok(Self {
            pair,
            serving: Arc::new(config(&[HTTP_2, HTTP_1])?),
            refusing: Arc::new(config(&[HTTP_1])?),
            proving: Arc::new(self::config(
                &provider,
                challenges.clone(),
                &[challenges::PROTOCOL],
            )?),
            challenges,
            current,
            turn: Semaphore::new(1),
            counts: TlsCounts::default(),
        })
    }

    /// Reads both files again, if there are any. Returns whether the certificate changed; after an
    /// error the old one stays.
    ///
    /// # Errors
    /// Those of [`Tls::read`].
    pub fn read_again(&self) -> Result<bool, TlsError> {
        let Some(pair) = &self.pair else {
            return Ok(false);
        };
        Ok(self.put(pair.read(self.serving.crypto_provider())?))
    }

    /// Has handshakes that begin from now on use this certificate. Returns whether it is another
    /// one.
    pub(super) fn put(&self, certified: CertifiedKey) -> bool {
        let mut current = self.current.write();
        let changed = current
            .as_ref()
            .is_none_or(|old| old.cert != certified.cert);
        *current = Some(Arc::new(certified));
        changed
    }

    /// The files that are read again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.pair.iter();
        pair.flat_map(|pair| [&*pair.certificate, &*pair.key])
    }

    /// When the certificate's time is over.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let certified = self.current.read().clone()?;
        Some(validity(certified.cert.first()?)?.until)
    }

    /// Proofs for an authority.
    pub(super) fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    pub(super) fn counts(&self) -> &TlsCounts {
        &self.counts
    }

    /// Accepts a client. The caller limits the time.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<Accepted<TcpStream>, NotTls> {
        let mut first = [0];
        // A record begins with its type, which is no letter (RFC 8446 §5.1); a request without TLS
        // begins with its method, in capital letters.
        match stream.peek(&mut first).await {
            Ok(_) if first[0].is_ascii_uppercase() => return Err(NotTls::PlainHttp(stream)),
            Ok(_) => {}
            Err(error) => return Err(NotTls::Failed(error)),
        }
        let shaken = self.shake(stream, &self.serving).await;
        let mut stream = shaken.map_err(NotTls::Failed)?;
        if stream.get_ref().1.alpn_protocol() == Some(challenges::PROTOCOL) {
            // An error means that the other side has closed first.
            let _ = stream.shutdown().await;
            return Err(NotTls::Proven);
        }
        self.counts.complete(stream.get_ref().1.protocol_version());
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        Ok(Accepted { stream, is_http2 })
    }

    /// Accepts a client that is only told something, by HTTP/1.1.
    pub(super) async fn accept_to_refuse(
        &self,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.shake(stream, &self.refusing).await
    }

    /// The handshake. Only the task that has the turn does its arithmetic, and between two turns
    /// all other tasks run: after a restart all pages connect at once, and neither requests nor the
    /// watchdog may wait until the last of them is accepted.
    async fn shake<S>(&self, stream: S, config: &Arc<ServerConfig>) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Waiting for a client's data takes no turn.
        let hello = LazyConfigAcceptor::new(Default::default(), stream).await?;
        let accept = {
            // It is never closed.
            let _turn = self.turn.acquire().await;
            let is_proof = challenges::asks_for_proof(&hello.client_hello());
            let config = if is_proof { &self.proving } else { config };
            let accept = hello.into_stream(config.clone());
            tokio::task::yield_now().await;
            accept
        };
        accept.await
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A certificate and its key, in the form in which handshakes use them.
///
/// # Errors
/// [`TlsError::Issued`] where they cannot be used, or do not belong together.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
    rekindle_secrets::stack::wipe();
    certified.map_err(TlsError::Issued)
}

/// The certificate for handshakes that begin now.
#[derive(Debug)]
struct Current(RwLock<Option<Arc<CertifiedKey>>>);

impl Current {
    fn read(&self) -> RwLockReadGuard<'_, Option<Arc<CertifiedKey>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Arc<CertifiedKey>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // One server, one certificate, whatever name is requested: the client judges.
        self.read().clone()
    }
}
