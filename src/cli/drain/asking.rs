//! One request to the admin listener, whose answer lasts until all is done.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, Response, StatusCode, header};
use bytes::BytesMut;
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{DrainError, Way};
use crate::causes;
use crate::cli::address::Host;

/// A server that says nothing for so long hangs. It says something every second; while it begins it
/// may still be reading the records of the last boot.
const SILENCE: Duration = Duration::from_secs(30);
/// The server closes the connection when it ends, soon after it has said that all is done.
const END: Duration = Duration::from_secs(5);
/// Most bytes of a line, and of a refusal.
const MAX_TEXT: usize = 64 * 1024;
/// The problem that a server names who is asked without TLS where it speaks HTTPS.
const PLAIN_HTTP: &str = "urn:rekindle:problem:plain-http";

/// What the server says of how far it is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
struct Progress {
    peers: usize,
    left: usize,
    without_page: usize,
    waiting: bool,
    done: bool,
}

/// What the server says where it refuses (RFC 9457 §3.1).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    r#type: String,
    title: String,
    detail: String,
}

/// Has the server give its peers away, and waits for its end. Each line that `say` is given is
/// news.
pub(super) fn drain(
    way: &Way,
    token: Option<&SecretString>,
    rate: Option<NonZeroU32>,
    say: &mut dyn FnMut(String),
) -> Result<(), DrainError> {
    let nobody = |cause| DrainError::Nobody {
        place: way.to_string(),
        cause,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(nobody)?;
    runtime.block_on(async {
        match way {
            Way::Plain(at) => {
                let stream = connect(at).await.map_err(nobody)?;
                ask(stream, way, token, rate, say).await
            }
            Way::Secure { host, port, config } => {
                let (stream, name) = match host {
                    Host::Ip(ip) => (
                        connect(SocketAddr::new(*ip, *port)).await,
                        Ok(ServerName::from(*ip)),
                    ),
                    Host::Name(name) => (
                        connect((name.as_str(), *port)).await,
                        ServerName::try_from(name.clone()),
                    ),
                };
                let stream = stream.map_err(nobody)?;
                let untrusted = |cause: String| DrainError::Untrusted {
                    place: way.to_string(),
                    cause,
                };
                let name = name.map_err(|error| untrusted(error.to_string()))?;
                let shaken = TlsConnector::from(config.clone()).connect(name, stream);
                let shaken = timeout(END, shaken).await;
                let stream = shaken
                    .unwrap_or_else(|late| Err(late.into()))
                    .map_err(|error| untrusted(causes::told(&error)))?;
                ask(stream, way, token, rate, say).await
            }
        }
    })
}

/// A connection to the first of these addresses that takes one.
async fn connect(to: impl ToSocketAddrs) -> Result<TcpStream, io::Error> {
    let connected = timeout(END, TcpStream::connect(to)).await;
    connected.unwrap_or_else(|late| Err(late.into()))
}

/// Asks on this connection, and follows the answer until the server has ended.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    way: &Way,
    token: Option<&SecretString>,
    rate: Option<NonZeroU32>,
    say: &mut dyn FnMut(String),
) -> Result<(), DrainError> {
    let strange = |cause: hyper::Error| DrainError::Strange {
        place: way.to_string(),
        cause: cause.to_string(),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(strange)?;
    let connection = tokio::spawn(connection);
    let asked = sender.send_request(request(way, token, rate)?);
    let answer = timeout(SILENCE, asked).await;
    let answer = answer
        .map_err(|_| DrainError::Silent(SILENCE))?
        .map_err(strange)?;
    if answer.status() != StatusCode::ACCEPTED {
        return Err(refused(answer, way).await);
    }
    let last = follow(answer.into_body(), rate, say).await?;
    // Whatever comes of the connection, the server is at its end.
    let _ = timeout(END, connection).await;
    match last.left {
        0 => Ok(()),
        left => Err(DrainError::Left { left }),
    }
}

fn request(
    way: &Way,
    token: Option<&SecretString>,
    rate: Option<NonZeroU32>,
) -> Result<Request<Body>, DrainError> {
    let path = match rate {
        Some(rate) => format!("/api/drain?rate={rate}"),
        None => "/api/drain".to_owned(),
    };
    let place = way.to_string();
    let mut request = Request::post(path)
        .header(
            header::HOST,
            place.strip_prefix("https://").unwrap_or(&place),
        )
        .header(header::ACCEPT, "application/x-ndjson");
    if let Some(token) = token {
        request = request.header(
            header::AUTHORIZATION,
            format!("Bearer {}", token.expose_secret()),
        );
    }
    // A token that no header can have is none of the server's either.
    request.body(Body::empty()).map_err(|_| DrainError::Token)
}

/// Why the server does not do it.
async fn refused(answer: Response<Incoming>, way: &Way) -> DrainError {
    let status = answer.status();
    match status {
        StatusCode::UNAUTHORIZED => return DrainError::Token,
        StatusCode::CONFLICT => return DrainError::Alone,
        _ => {}
    }
    let mut lines = Lines::new(answer.into_body());
    let text = timeout(SILENCE, lines.whole()).await.unwrap_or_default();
    let said: Refusal = serde_json::from_slice(&text).unwrap_or_default();
    if said.r#type == PLAIN_HTTP {
        let place = way.to_string();
        return DrainError::Secure { place };
    }
    DrainError::Refused {
        status: status.as_u16(),
        title: said.title,
        detail: said.detail,
    }
}

/// Says each news, until all is done.
async fn follow(
    body: Incoming,
    rate: Option<NonZeroU32>,
    say: &mut dyn FnMut(String),
) -> Result<Progress, DrainError> {
    let mut lines = Lines::new(body);
    let mut last: Option<Progress> = None;
    loop {
        let line = timeout(SILENCE, lines.next()).await;
        let line = line.map_err(|_| DrainError::Silent(SILENCE))?;
        let now = line.and_then(|line| serde_json::from_slice::<Progress>(&line).ok());
        let Some(now) = now else {
            let last = last.unwrap_or_default();
            return Err(DrainError::Ended {
                left: last.left + last.without_page,
            });
        };
        if last != Some(now) {
            say(words(&now, last.is_none(), rate));
        }
        if now.done {
            return Ok(now);
        }
        last = Some(now);
    }
}

/// How far it is, for people.
fn words(now: &Progress, is_first: bool, rate: Option<NonZeroU32>) -> String {
    let Progress {
        peers,
        left,
        without_page,
        ..
    } = *now;
    if now.done {
        let gone = peers.saturating_sub(left + without_page);
        let rest = match without_page {
            0 => String::new(),
            _ => format!("; without a page, and let go to come anew: {without_page}"),
        };
        return format!("peers that went to other nodes: {gone} of {peers}{rest}. The server ends");
    }
    if now.waiting {
        return format!("no other node is alive; peers that wait until one is: {left}");
    }
    match (is_first, rate) {
        (true, Some(rate)) => format!("peers to give away: {left}, at most {rate} a second"),
        (true, None) => format!("peers to give away: {left}"),
        (false, _) => format!("peers still here: {left} of {peers}"),
    }
}

/// The lines of a body.
struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
}

impl Lines {
    fn new(body: Incoming) -> Self {
        Self {
            body: Body::new(body).into_data_stream(),
            buffer: BytesMut::new(),
        }
    }

    /// The next whole line. `None` at the end, or where one is too long.
    async fn next(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                return Some(self.buffer.split_to(end + 1));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// All that is left.
    async fn whole(&mut self) -> BytesMut {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Reads on. Whether there was something.
    async fn more(&mut self) -> bool {
        let Some(Ok(data)) = self.body.next().await else {
            return false;
        };
        self.buffer.extend_from_slice(&data);
        self.buffer.len() <= MAX_TEXT
    }
}
