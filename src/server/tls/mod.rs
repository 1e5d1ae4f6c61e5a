//! TLS (1.3 and 1.2) in front of HTTP, with the operator's certificate.
//!
//! No session is ever resumed, and no early data is accepted: a resumption would need a secret that
//! outlives its connection. A page has one connection, and no process could resume a session of an
//! earlier one anyway.

mod counts;
mod files;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) use counts::{Cause, TlsCounts};
pub use files::{Pair, TlsError};

/// The names of HTTP's versions in the handshake (RFC 7301 §6, RFC 9113 §3.1).
const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// The server's side of TLS. The certificate may be replaced at any time: handshakes that begin
/// afterwards use the new one, and established connections are not changed.
#[derive(Debug)]
pub struct Tls {
    pair: Pair,
    current: Arc<Current>,
    serving: Arc<ServerConfig>,
    /// For clients that are refused in a few bytes of HTTP/1.1.
    refusing: Arc<ServerConfig>,
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
    /// The handshake failed, and the client was told so.
    Failed(io::Error),
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] where they cannot be used.
    pub fn read(pair: Pair) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = Arc::new(Current(RwLock::new(Arc::new(pair.read(&provider)?))));
        let config = |protocols: &[&[u8]]| config(&provider, &current, protocols).map(Arc::new);
        let serving = config(&[HTTP_2, HTTP_1])?;
        let refusing = config(&[HTTP_1])?;
        Ok(Self {
            pair,
            current,
            serving,
            refusing,
            turn: Semaphore::new(1),
            counts: TlsCounts::default(),
        })
    }

    /// Reads both files again. Returns whether the certificate changed; after an error the old one
    /// stays.
    ///
    /// # Errors
    /// Those of [`Tls::read`].
    pub fn read_again(&self) -> Result<bool, TlsError> {
        let new = Arc::new(self.pair.read(self.serving.crypto_provider())?);
        let mut current = self
            .current
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = current.cert != new.cert;
        *current = new;
        Ok(changed)
    }

    /// The files that are read again.
    pub fn files(&self) -> [&Path; 2] {
        [&self.pair.certificate, &self.pair.key]
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
        let stream = self
            .shake(stream, &self.serving)
            .await
            .map_err(NotTls::Failed)?;
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
            let accept = hello.into_stream(config.clone());
            tokio::task::yield_now().await;
            accept
        };
        accept.await
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    current: &Arc<Current>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The certificate for handshakes that begin now.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // One server, one certificate, whatever name is requested: the client judges.
        Some(
            self.0
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}
