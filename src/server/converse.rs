//! HTTP over any byte stream, with limits for slow clients and an end that loses no request.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::app::{ClientAddress, ReachedAddress};
use super::drain::Talk;

/// How long a client may take for a request's head. A connection that is idle between requests is
/// closed after it too.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Most concurrent requests of one HTTP/2 connection. The tabs of a browser share one connection,
/// and each may have an event stream; a browser at its limit waits. RFC 9113 §6.5.2 advises 100 or
/// more; each costs some 2.5 KB of memory until its answer is read.
const MAX_REQUESTS: u32 = 128;
/// Bytes of one request's body that a client may send before they are read: the initial window of
/// every HTTP/2 client (RFC 9113 §6.9.2).
const REQUEST_WINDOW: u32 = 65_535;
/// The same of all requests of an HTTP/2 connection.
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Bytes of one answer that are buffered until the client reads them.
const SEND_BUFFER: usize = 64 * 1024;
/// How often an HTTP/2 client is pinged, and how long it may take to answer. This detects a client
/// whose machine is gone where nothing else is sent to it.
const PING: Duration = Duration::from_secs(15);
/// How long a client may take to end an HTTP/2 connection (GOAWAY) that was idle for too long.
const END_TIME: Duration = Duration::from_secs(2);

/// The HTTP version that both sides agreed on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Http {
    One,
    Two,
}

fn builder(http: Http) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_REQUESTS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(REQUEST_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    match http {
        Http::One => builder.http1_only(),
        Http::Two => builder.http2_only(),
    }
}

/// Completes when the server stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    drop(stop.wait_for(|stop| *stop).await);
}

/// The addresses of both ends of a connection; where it has ended already, this one's is not known.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub client: IpAddr,
    pub reached: Option<IpAddr>,
}

impl Ends {
    /// Those of a connection inside this process.
    pub(super) const LOCAL: Self = Self {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        reached: None,
    };
}

/// Answers requests until either side ends the connection.
pub(super) async fn converse<S>(
    stream: S,
    http: Http,
    ends: Ends,
    router: Router,
    stop: &mut watch::Receiver<bool>,
    talk: Talk,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let (stopping, said) = (stop.clone(), talk.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        let known = request.extensions_mut();
        known.insert(ClientAddress(ends.client.to_canonical()));
        known.insert(ReachedAddress(ends.reached));
        name_host(&mut request);
        let asked = said.asked();
        let (stopping, answer) = (stopping.clone(), router.call(request));
        async move {
            let response: Response<Body> = answer.await?;
            Ok::<_, Infallible>(asked.answers(response, *stopping.borrow(), http == Http::Two))
        }
    });
    let builder = builder(http);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // How a connection ends is the client's business.
    tokio::select! {
        _ = &mut connection => return,
        () = talk.overdue(), if http == Http::Two => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(END_TIME, connection).await;
            return;
        }
        () = stopped(stop) => {}
    }
    // Requests that were already sent are answered.
    tokio::select! {
        _ = &mut connection => return,
        () = talk.patience() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = &mut connection => return,
        // The rest of an HTTP/1.1 answer may not be in the kernel's hands yet; where there is no
        // event stream, the connection ends by itself once it is.
        () = talk.answered(http == Http::Two) => {}
    }
    talk.rest();
    tokio::select! {
        _ = &mut connection => {}
        // An HTTP/2 client need not confirm the end.
        () = talk.over(), if http == Http::Two => {}
    }
}

/// HTTP/2 names the host in another place (RFC 9113 §8.3.1); handlers look only in one.
fn name_host(request: &mut Request<Body>) {
    if request.version() != Version::HTTP_2 {
        return;
    }
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        request.headers_mut().insert(header::HOST, host);
    }
}
