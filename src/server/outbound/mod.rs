//! Requests of the server's own, over HTTP/1.1: to the places that operators name, and to no other.
//! No proxy is used, no redirect followed, and all that comes back is bounded.

mod complaint;
mod names;
mod trust;
mod url;

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header, response};
use bytes::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::causes;

pub(super) use complaint::Complaint;
pub use names::Names;
pub use trust::{Trust, TrustError};
pub use url::{OutboundUrl, OutboundUrlError};

/// What the server calls itself.
pub(super) const USER_AGENT: &str = concat!("rekindle/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(20);
/// Most connections that are kept.
const MAX_IDLE: usize = 8;

/// Asks others by HTTP.
#[derive(Clone)]
pub(super) struct Asker {
    names: Names,
    client: Client<HttpsConnector<HttpConnector<Names>>, Body>,
}

/// A place that is asked or told.
#[derive(Clone)]
pub struct Endpoint {
    url: OutboundUrl,
    asker: Asker,
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

impl Asker {
    /// Over TLS, with certificates that `trust` accepts, where a URL says `https`.
    pub(super) fn new(trust: &Trust, names: &Names) -> Self {
        let mut http = HttpConnector::new_with_resolver(names.clone());
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(&trust.client()))
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
            names: names.clone(),
            client,
        }
    }

    /// The ports that connections are made to for this URL: its own, and that of name servers where
    /// its host must be looked up.
    pub(super) fn ports(&self, url: &OutboundUrl) -> impl Iterator<Item = u16> + use<> {
        let names = self.names.must_ask(url.host()).then_some(names::PORT);
        std::iter::once(url.port()).chain(names)
    }

    /// Head and body of the answer, which is to be there, whole, within this time. A body of more
    /// than `most` bytes is an error.
    pub(super) async fn ask(
        &self,
        request: Request<Body>,
        limit: Duration,
        most: usize,
    ) -> Result<(response::Parts, Bytes), OutboundError> {
        let exchange = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| OutboundError::Failed(causes::told(&error)))?;
            let (head, body) = answer.into_parts();
            let body = axum::body::to_bytes(Body::new(body), most).await;
            let body = body.map_err(|_| OutboundError::Body(most))?;
            Ok((head, body))
        };
        timeout(limit, exchange)
            .await
            .unwrap_or(Err(OutboundError::Slow(limit)))
    }
}

impl Endpoint {
    /// The place at this URL; over TLS, with a certificate that `trust` accepts.
    pub fn new(url: OutboundUrl, trust: &Trust, names: &Names) -> Self {
        Self {
            url,
            asker: Asker::new(trust, names),
        }
    }

    /// The ports that connections are made to for it.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.asker.ports(&self.url)
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
            .header(header::USER_AGENT, USER_AGENT);
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| OutboundError::Failed(causes::told(&error)))?;
        let (head, body) = self.asker.ask(request, limit, most).await?;
        Ok(Answer {
            status: head.status,
            body,
        })
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.origin()).finish()
    }
}

#[cfg(test)]
mod tests;
