//! Where a datagram comes from or goes to.

use std::fmt;
use std::net::SocketAddr;

/// The protocol that carries a peer's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Each datagram as it is.
    Udp,
    /// One after another on a connection that the peer has opened, each with its length before it
    /// (RFC 4571 §2).
    Tcp,
}

/// An IP address, a port, and the protocol that they belong to (RFC 8445 §4). The same address and
/// port by UDP and by TCP are two transport addresses, and may be those of two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportAddress {
    /// The IP address and port.
    pub socket: SocketAddr,
    /// The protocol.
    pub transport: Transport,
}

impl TransportAddress {
    /// An address of UDP.
    pub fn udp(socket: impl Into<SocketAddr>) -> Self {
        Self {
            socket: socket.into(),
            transport: Transport::Udp,
        }
    }

    /// The peer's end of a TCP connection.
    pub fn tcp(socket: impl Into<SocketAddr>) -> Self {
        Self {
            socket: socket.into(),
            transport: Transport::Tcp,
        }
    }

    /// The address of UDP; `None` of TCP.
    pub fn as_udp(&self) -> Option<SocketAddr> {
        (self.transport == Transport::Udp).then_some(self.socket)
    }

    /// Whether datagrams go over a connection.
    pub fn is_tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }
}

/// An address of UDP.
impl From<SocketAddr> for TransportAddress {
    fn from(socket: SocketAddr) -> Self {
        Self::udp(socket)
    }
}

impl fmt::Display for TransportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        };
        write!(f, "{} ({transport})", self.socket)
    }
}
