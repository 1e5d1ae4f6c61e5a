//! The thread that pulls channels from other nodes, as a viewer of theirs. It has a native client
//! for each channel; its packets go to the media loop, and the loop's requests go upstream through
//! it.
//!
//! Each client has a port of its own, since a DTLS association is identified by its addresses. No
//! port can be bound after the sandbox is set up, so all of them are bound before, and their number
//! limits the channels that can be pulled at once. A build without the feature `etcd` has `absent`
//! instead of the thread: no node shares its vault there.

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

/// Binds as many ports as channels can be pulled from other nodes at once, at the address where
/// media is received.
///
/// # Errors
/// The system's error.
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

/// Reports about a channel that is pulled from another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// That node does not know the peer, or has not answered for some seconds.
    Stuck(Ufrag),
    /// Nothing has arrived for a moment.
    Silent(Ufrag),
}

/// Why a channel cannot be pulled from another node.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The limit of pulled channels is reached.
    #[error("this node pulls as many channels as --pull allows")]
    Full,
    /// None of its addresses can be reached from the media port's address.
    #[error("the other node receives media at no address that this one's media port reaches")]
    Unreachable,
    /// Offer and answer do not match.
    #[error("the offer to the other node and its answer do not match: {0}")]
    Answer(String),
}
