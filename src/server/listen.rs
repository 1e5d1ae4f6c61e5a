//! Accepts connections, with limits on their number and on how slow a client may be.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::converse::{Ends, Http, converse, stopped};
use super::drain::{Drain, Talk};
use super::limit::{AddressQuota, QuotaPermit};
use super::problem::Problem;
use super::tls::{Accepted, Cause, NotTls, Tls};

/// Most connections that wait to be accepted: after a restart all pages connect at once.
const BACKLOG: i32 = 4096;
/// Bytes that the kernel buffers until a client reads them, its own bookkeeping included.
const SEND_BUFFER: usize = 256 << 10;
/// A connection is closed when its client has read nothing of the waiting data for this time, in ms
/// (RFC 5482; on Linux also where the client's receive window is closed).
const UNREAD_TIME_MS: u32 = 15_000;
/// How long a client may take for its TLS handshake: as long as for a request's head.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Most connections at once that are told that there are too many; further ones are closed without
/// a word.
pub(super) const REFUSALS: usize = 32;
/// How long a client may take to read this.
const REFUSAL_TIME: Duration = Duration::from_secs(2);
/// How long to wait when the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);

/// Binds the HTTP port.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // A restart must not wait until connections of the last boot time out.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    set_up(&socket)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Takes a listening socket, bound here or passed by a service manager, which may have configured
/// it differently. Needs a tokio runtime.
pub(super) fn adopt(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    set_up(&socket)?;
    // Calling it on a socket that already listens changes only the length of the queue.
    rustix::net::listen(&socket, BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

/// Options that connections inherit: a client that does not read holds little memory, and not for
/// long.
fn set_up(socket: impl AsFd) -> io::Result<()> {
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER)?;
    rustix::net::sockopt::set_tcp_user_timeout(&socket, UNREAD_TIME_MS)?;
    Ok(())
}

/// How many connections there may be at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In all.
    pub connections: usize,
    /// Of one address; 0 for no limit.
    pub per_address: usize,
}

/// What accepted connections are served with.
pub(super) struct Door {
    pub router: Router,
    /// Exists where HTTP is inside TLS.
    pub tls: Option<Arc<Tls>>,
}

/// The places that a connection holds while it lasts.
struct Held {
    _permit: OwnedSemaphorePermit,
    _place: QuotaPermit,
}

/// Accepts connections until `stop` becomes true. Then it lets requests under way finish, but not
/// event streams: those last until the end, so that pages hear of the stop as late as possible. A
/// connection that the process has not accepted yet stays in the socket's queue, for the next
/// process that listens there.
pub(super) async fn serve(
    listener: TcpListener,
    door: Door,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) -> Streams {
    let permits = Arc::new(Semaphore::new(
        limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let places = AddressQuota::new(limits.per_address);
    let drain = Drain::new();
    let door = Arc::new(door);
    while let Some((stream, client)) = next(&listener, &mut stop).await {
        match held(&permits, &places, client.ip()) {
            Some(held) => drop(tokio::spawn(connection(
                stream,
                client,
                door.clone(),
                stop.clone(),
                drain.talk(),
                held,
            ))),
            None => {
                if let Ok(permit) = refusals.clone().try_acquire_owned() {
                    tokio::spawn(refuse(stream, door.clone(), permit));
                }
            }
        }
    }
    drop(listener);
    // Connections that are not finished by then are closed.
    let _ = tokio::time::timeout(grace, drain.finished()).await;
    Streams { permits, limits }
}

/// Event streams that are still open after everything else is finished.
pub(super) struct Streams {
    permits: Arc<Semaphore>,
    limits: Limits,
}

impl Streams {
    /// Waits until they have ended, but no longer than `grace`.
    pub(super) async fn ended(self, grace: Duration) {
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(grace, self.permits.acquire_many(all)).await;
    }
}

/// Places for one more connection of this address, if there are any.
fn held(permits: &Arc<Semaphore>, places: &AddressQuota, client: IpAddr) -> Option<Held> {
    Some(Held {
        _place: places.take(client)?,
        _permit: permits.clone().try_acquire_owned().ok()?,
    })
}

/// Answers that there are too many connections, whatever the request is.
async fn refuse(stream: TcpStream, door: Arc<Door>, _permit: OwnedSemaphorePermit) {
    let Some(tls) = &door.tls else {
        return say(stream, &Problem::crowded()).await;
    };
    if let Ok(Ok(stream)) = tokio::time::timeout(REFUSAL_TIME, tls.accept_to_refuse(stream)).await {
        say(stream, &Problem::crowded()).await;
    }
}

/// Sends one response by HTTP/1.1 to a client that is not served.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, problem: &Problem) {
    let response = problem.as_bytes();
    let said = async {
        stream.write_all(&response).await?;
        stream.shutdown().await?;
        // Closing with the request unread would keep the client from reading the reason.
        let mut request = [0; 1024];
        while stream.read(&mut request).await? > 0 {}
        Ok::<(), io::Error>(())
    };
    // How the connection ends is the client's business.
    let _ = tokio::time::timeout(REFUSAL_TIME, said).await;
}

/// The next connection; `None` when the server stops.
async fn next(
    listener: &TcpListener,
    stop: &mut watch::Receiver<bool>,
) -> Option<(TcpStream, SocketAddr)> {
    let accept = async {
        loop {
            match listener.accept().await {
                Ok(accepted) => return Some(accepted),
                // A client that disconnected while it waited, or no descriptors left: neither may
                // end the server.
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        accepted = accept => accepted,
        () = stopped(stop) => None,
    }
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    door: Arc<Door>,
    mut stop: watch::Receiver<bool>,
    talk: Talk,
    _held: Held,
) {
    // Events are small and must not wait for each other. An error means that the client is already
    // gone.
    let _ = stream.set_nodelay(true);
    let ends = Ends {
        client: client.ip(),
        reached: stream.local_addr().ok().map(|address| address.ip()),
    };
    let router = door.router.clone();
    let Some(tls) = &door.tls else {
        return converse(stream, Http::One, ends, router, &mut stop, talk).await;
    };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)) => accepted,
        // No request has been sent yet that could be lost.
        () = async { stopped(&mut stop).await; talk.handshake_patience().await } => return,
    };
    match accepted {
        Ok(Ok(Accepted { stream, is_http2 })) => {
            talk.opened();
            let http = if is_http2 { Http::Two } else { Http::One };
            converse(stream, http, ends, router, &mut stop, talk).await;
        }
        Ok(Err(NotTls::PlainHttp(stream))) => {
            tls.counts().fail(Cause::PlainHttp);
            say(stream, &Problem::plain_http()).await;
        }
        Ok(Err(NotTls::Proven)) => tracing::debug!("an ACME authority has seen a proof"),
        Ok(Err(NotTls::Failed(error))) => {
            tls.counts().fail(Cause::Error);
            tracing::debug!(%error, "a TLS handshake has failed");
        }
        Err(_) => {
            tls.counts().fail(Cause::Timeout);
            tracing::debug!("a TLS handshake took too long");
        }
    }
}

/// Raises the limit of open files towards `wanted`, as far as the system allows: every event stream
/// is one. Returns the limit.
pub fn raise_open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let now = limit.current.unwrap_or(u64::MAX);
    let wanted = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if now >= wanted {
        return now;
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    ) {
        Ok(()) => wanted,
        Err(_) => now,
    }
}
