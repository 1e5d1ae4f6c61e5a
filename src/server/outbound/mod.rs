//! Requests of the server's own, over HTTP/1.1: to the places that operators name, and to no other.
//! No proxy is used, no redirect followed, and all that comes back is bounded.
//!
//! Names are looked up before the sandbox is there, which then allows neither a resolver's datagrams
//! nor its files: a name that has moved is known after the next start.

mod complaint;
mod trust;
mod url;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use tower_service::Service;

use crate::causes;

pub(super) use complaint::Complaint;
pub use trust::{Trust, TrustError};
pub use url::{OutboundUrl, OutboundUrlError};

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(20);
/// Most connections that are kept.
const MAX_IDLE: usize = 8;

/// A place that is asked or told.
#[derive(Clone)]
pub struct Endpoint {
    url: OutboundUrl,
    addresses: Addresses,
    client: Client<HttpsConnector<HttpConnector<Addresses>>, Body>,
}

/// What came back.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why nothing came back that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutboundError {
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error("the answer is longer than {0} bytes, or was cut off")]
    Body(usize),
    #[error("{0}")]
    Failed(String),
}

impl Endpoint {
    /// The place at this URL; over TLS, with a certificate that `trust` accepts.
    pub fn new(url: OutboundUrl, trust: &Trust) -> Self {
        let addresses = Addresses::default();
        let mut http = HttpConnector::new_with_resolver(addresses.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Self {
            url,
            addresses,
            client,
        }
    }

    /// Looks its name up, once and for all; to be called before the sandbox is there. Blocks.
    pub(super) fn look_up(&self) -> Result<(), io::Error> {
        let (host, port) = (self.url.host(), self.url.port());
        let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::other("the name has no address"));
        }
        // A second call changes nothing.
        let _ = self.addresses.0.set(found);
        Ok(())
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port()
    }

    /// Where it is, for the log: without path and query, which may be a secret.
    pub(super) fn origin(&self) -> &str {
        self.url.origin()
    }

    /// Gets what is there, of at most so many bytes.
    pub(super) async fn get(&self, limit: Duration, most: usize) -> Result<Answer, OutboundError> {
        self.send(Method::GET, &[], Bytes::new(), limit, most).await
    }

    /// Posts JSON. Of the answer's body so many bytes are kept at most, and a longer one is an
    /// error.
    pub(super) async fn post(
        &self,
        headers: &[(&'static str, HeaderValue)],
        body: Bytes,
        limit: Duration,
        most: usize,
    ) -> Result<Answer, OutboundError> {
        self.send(Method::POST, headers, body, limit, most).await
    }

    async fn send(
        &self,
        method: Method,
        headers: &[(&'static str, HeaderValue)],
        body: Bytes,
        limit: Duration,
        most: usize,
    ) -> Result<Answer, OutboundError> {
        let mut request = Request::builder()
            .method(&method)
            .uri(self.url.uri())
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("rekindle/", env!("CARGO_PKG_VERSION")),
            );
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| OutboundError::Failed(causes::told(&error)))?;
        let exchange = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| OutboundError::Failed(causes::told(&error)))?;
            let status = answer.status();
            let body = axum::body::to_bytes(Body::new(answer.into_body()), most).await;
            let body = body.map_err(|_| OutboundError::Body(most))?;
            Ok(Answer { status, body })
        };
        timeout(limit, exchange)
            .await
            .unwrap_or(Err(OutboundError::Slow(limit)))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.origin()).finish()
    }
}

/// The addresses that an endpoint's name had at the start.
#[derive(Clone, Default)]
struct Addresses(Arc<OnceLock<Vec<SocketAddr>>>);

impl Service<Name> for Addresses {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        let known = self.0.get().cloned().unwrap_or_default();
        ready(Ok(known.into_iter()))
    }
}

#[cfg(test)]
mod tests;
