//! The thread that takes channels from other nodes, as a viewer of theirs: it has a native client
//! for each, whose packets it gives to the media loop and which it gives what the loop wants to
//! tell upstream.
//!
//! Each client has a port of its own, since a DTLS association is known by its addresses alone.
//! After the sandbox is up no port can be bound, so that all of them are bound before, and as many
//! channels can be taken at once. A build without the feature `etcd` has [`absent`] in the place of
//! the thread: no node shares its vault there.

#[cfg(not(feature = "etcd"))]
mod absent;
#[cfg(feature = "etcd")]
mod clients;
#[cfg(feature = "etcd")]
mod puller;
#[cfg(feature = "etcd")]
mod ssrcs;
#[cfg(feature = "etcd")]
mod upkeep;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

#[cfg(not(feature = "etcd"))]
pub use absent::{Offer, Puller, Starting, Upstream};
#[cfg(feature = "etcd")]
pub use puller::{Offer, Puller, Starting, Upstream};

use crate::ids::Ufrag;

/// Kernel buffers, in bytes: some frames of a channel.
const KERNEL_BUFFER: usize = 1 << 20;

/// Binds as many ports as channels may be taken from other nodes at once, at the address where
/// media is received.
///
/// # Errors
/// What the system said.
pub fn bind(address: IpAddr, count: usize) -> io::Result<Vec<UdpSocket>> {
    let bind = |_| {
        let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
        socket.set_nonblocking(true)?;
        // Best effort, as for the media port.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, KERNEL_BUFFER);
        Ok(socket)
    };
    (0..count).map(bind).collect()
}

/// What becomes of a channel that is taken from another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// That node does not know the peer, or gives no answer for some seconds.
    Stuck(Ufrag),
    /// Nothing has come for a moment.
    Silent(Ufrag),
}

/// A channel cannot be taken from another node.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// As many are taken as there may be.
    #[error("this node takes as many channels from others as --pull lets it")]
    Full,
    /// None of its addresses can be reached from the media port's.
    #[error("the other node receives media at no address that this one's media port reaches")]
    Unreachable,
    /// Offer and answer do not fit.
    #[error("what the other node is asked for cannot be used: {0}")]
    Answer(String),
}
