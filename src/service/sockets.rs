//! Sockets that were passed to this process: `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use listenfd::ListenFd;
use rustix::io::FdFlags;
use rustix::net::sockopt;

/// The name of the HTTP socket (`FileDescriptorName=http`).
pub(crate) const HTTP: &str = "http";
/// The name of the media socket (`FileDescriptorName=media`).
pub(crate) const MEDIA: &str = "media";
/// The name of the socket of media over TCP (`FileDescriptorName=ice-tcp`).
pub(crate) const ICE_TCP: &str = "ice-tcp";
/// The first passed descriptor (`SD_LISTEN_FDS_START`).
pub(crate) const FIRST: i32 = 3;
/// Most sockets that are accepted; three can be used.
const MOST: usize = 16;

/// Why the passed sockets cannot be used. Nothing has been opened or changed in this case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketsError {
    /// `LISTEN_FDS` is no number, or far too large.
    #[error(
        "LISTEN_FDS={0:?} is no number of sockets from 0 to {MOST}; start the server by its socket \
         units, or unset LISTEN_FDS"
    )]
    Count(String),
    /// `LISTEN_FDNAMES` has another number of names.
    #[error(
        "LISTEN_FDNAMES has {names} names for {sockets} sockets; leave it out, or give each socket \
         one"
    )]
    Names {
        /// How many names.
        names: usize,
        /// How many sockets.
        sockets: usize,
    },
    /// A passed socket is unusable.
    #[error(
        "the passed socket {number} ({name:?}) is {what}; pass one listening TCP socket \
         (FileDescriptorName=http) and one bound UDP \
         socket (FileDescriptorName=media), and one more of TCP for media, if any \
         (FileDescriptorName=ice-tcp), such as rekindle.socket and rekindle-media.socket have"
    )]
    Wrong {
        /// Its position, from 1.
        number: usize,
        /// Its name; empty where it has none.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Two of one kind.
    #[error(
        "two sockets were passed for {0}; pass one only: look at which socket units name this \
         service (Sockets=, Service=)"
    )]
    Twice(&'static str),
    /// The system does not allow its use.
    #[error(
        "the passed socket {number} cannot be used: {source}; see `systemctl status` of the socket \
         unit"
    )]
    System {
        /// Its position, from 1.
        number: usize,
        /// The system's error.
        source: io::Error,
    },
}

/// Sockets that another process has bound, and holds. The server binds the missing ones itself.
#[derive(Debug, Default)]
pub struct Passed {
    /// Listens for HTTP.
    pub http: Option<TcpListener>,
    /// Receives media.
    pub media: Option<UdpSocket>,
    /// Listens for media over TCP.
    pub ice_tcp: Option<TcpListener>,
}

impl Passed {
    /// Where the passed HTTP socket listens.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
    }

    /// Where the passed media socket receives.
    pub fn media_address(&self) -> Option<SocketAddr> {
        self.media
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
    }
}

/// Takes the sockets that were passed to this process, once. Empty where `LISTEN_PID` names another
/// process. No other program inherits them, and `LISTEN_FDS` and `LISTEN_PID` are removed from the
/// environment. To be called while there are no other threads.
///
/// # Errors
/// A [`SocketsError`] where one is unusable, or there are too many: a passed socket is meant to be
/// used.
pub fn take() -> Result<Passed, SocketsError> {
    let text = |name| std::env::var(name).unwrap_or_default();
    let (count, pid, names) = (
        text("LISTEN_FDS"),
        text("LISTEN_PID"),
        text("LISTEN_FDNAMES"),
    );
    if count.is_empty() || pid != std::process::id().to_string() {
        return Ok(Passed::default());
    }
    let sockets: usize = count
        .parse()
        .ok()
        .filter(|&n| n <= MOST)
        .ok_or(SocketsError::Count(count))?;
    let names: Vec<&str> = match names.as_str() {
        "" => vec![""; sockets],
        names => names.split(':').collect(),
    };
    if names.len() != sockets {
        return Err(SocketsError::Names {
            names: names.len(),
            sockets,
        });
    }
    let mut from = ListenFd::from_env();
    let mut passed = Passed::default();
    for (index, name) in names.into_iter().enumerate() {
        let number = index + 1;
        let wrong = |what| SocketsError::Wrong {
            number,
            name: name.to_owned(),
            what,
        };
        let system = |source| SocketsError::System { number, source };
        // Names that systemd makes up, from the unit's name or without one.
        let kind = match name {
            HTTP | MEDIA | ICE_TCP => name,
            _ => "",
        };
        if let Ok(Some(socket)) = from.take_tcp_listener(index) {
            if kind == MEDIA {
                return Err(wrong("a TCP socket under the media socket's name"));
            }
            if !sockopt::socket_acceptconn(&socket).map_err(|e| system(e.into()))? {
                return Err(wrong(
                    "a TCP socket that does not listen (Accept=yes passes those; it must be no)",
                ));
            }
            close_on_exec(&socket).map_err(system)?;
            let (place, what) = match kind {
                ICE_TCP => (&mut passed.ice_tcp, "media over TCP"),
                _ => (&mut passed.http, "HTTP"),
            };
            if place.replace(socket).is_some() {
                return Err(SocketsError::Twice(what));
            }
        } else if let Ok(Some(socket)) = from.take_udp_socket(index) {
            if kind == HTTP {
                return Err(wrong("a UDP socket under the HTTP socket's name"));
            }
            if kind == ICE_TCP {
                return Err(wrong(
                    "a UDP socket under the name of the one for media over TCP",
                ));
            }
            if socket.local_addr().map_err(system)?.port() == 0 {
                return Err(wrong("a UDP socket that is not bound"));
            }
            if socket.peer_addr().is_ok() {
                return Err(wrong("a UDP socket that is connected to one peer"));
            }
            close_on_exec(&socket).map_err(system)?;
            if passed.media.replace(socket).is_some() {
                return Err(SocketsError::Twice("media"));
            }
        } else {
            return Err(wrong("neither TCP nor UDP over IP"));
        }
    }
    Ok(passed)
}

/// The crate does so as well; a program that is started by mistake must not hold the ports.
fn close_on_exec(socket: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::fcntl_setfd(socket, FdFlags::CLOEXEC)?)
}
