//! The one UDP socket: batched receive (GRO) and send (GSO), by `quinn-udp`.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};

use super::tcp::Outgoing;
use super::wire::{Wire, run};
use crate::peer::Transmit;

/// Longest datagram that is accepted: datagrams on an Ethernet are shorter, and DTLS and RTP stay
/// below it.
const MAX_DATAGRAM: usize = 2048;
/// Most bytes that the kernel returns in one receive buffer, however many datagrams it has joined
/// (GRO).
const MAX_RECEIVED: usize = 64 << 10;
/// Kernel buffers, in bytes: several frames for many viewers. The kernel may give less.
const KERNEL_BUFFER: usize = 4 << 20;
/// Most bytes in one segmented send (the kernel's limit is 64 KiB with headers).
pub(super) const MAX_SEGMENTED: usize = 60_000;
/// Local addresses are remembered for this many remote ones; beyond it the table is emptied.
const MAX_LOCAL: usize = 1 << 16;

/// See the module.
pub(super) struct Socket {
    io: UdpSocket,
    state: Arc<UdpSocketState>,
    local: SocketAddr,
    buffers: Vec<Vec<u8>>,
    metas: Vec<RecvMeta>,
    segments: Vec<u8>,
    /// Where the port is bound to all addresses: the local address that each peer sends to, so that
    /// answers leave from there.
    pub(super) sources: Option<HashMap<SocketAddr, IpAddr>>,
    /// Local addresses learnt since the last call of [`Socket::poll_source`].
    pub(super) new_sources: Vec<(SocketAddr, IpAddr)>,
    /// Datagrams that the kernel had no room for.
    dropped: Arc<AtomicU64>,
}

impl Socket {
    /// Configures a bound socket, whoever has bound it.
    pub(super) fn new(io: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&io).into())?;
        // The library forbids fragmentation, for QUIC, which measures the path. Here the publisher
        // has chosen the size of a packet, and a router on the way to some viewer may have to split
        // it. Reports of routers are not heeded: anybody can send them.
        let _ = set_ip_mtu_discover(&io, Ipv4PathMtuDiscovery::INTERFACE);
        // Best effort: smaller buffers work, but drop datagrams earlier under load.
        let _ = state.set_send_buffer_size((&io).into(), KERNEL_BUFFER);
        let _ = state.set_recv_buffer_size((&io).into(), KERNEL_BUFFER);
        let local = io.local_addr()?;
        io.set_nonblocking(true)?;
        let length = (MAX_DATAGRAM * state.gro_segments()).min(MAX_RECEIVED);
        Ok(Self {
            io: UdpSocket::from_std(io),
            state: Arc::new(state),
            local,
            buffers: vec![vec![0; length]; BATCH_SIZE],
            metas: vec![RecvMeta::default(); BATCH_SIZE],
            segments: Vec::with_capacity(MAX_SEGMENTED),
            sources: local.ip().is_unspecified().then(HashMap::new),
            new_sources: Vec::new(),
            dropped: Arc::default(),
        })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn source(&mut self) -> &mut UdpSocket {
        &mut self.io
    }

    /// Another way to send from this port, for another thread; `tcp` has the connections, where
    /// there are some.
    ///
    /// # Errors
    /// Where the system has no descriptors left.
    pub(super) fn wire(&self, tcp: Option<Outgoing>) -> io::Result<Wire> {
        let io = self.io.as_fd().try_clone_to_owned()?.into();
        let sources = self.sources.clone();
        Ok(Wire::new(
            io,
            self.state.clone(),
            (sources, self.local.is_ipv6()),
            self.dropped.clone(),
            tcp,
        ))
    }

    /// Counts datagrams that could not be sent, over all wires of this port.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }

    /// The next local address that was learnt.
    pub(super) fn poll_source(&mut self) -> Option<(SocketAddr, IpAddr)> {
        self.new_sources.pop()
    }

    /// Passes one batch of datagrams to `take`. Returns false where there was none.
    pub(super) fn receive(&mut self, mut take: impl FnMut(SocketAddr, &[u8]) -> Answered) -> bool {
        let mut slices: Vec<IoSliceMut<'_>> = self
            .buffers
            .iter_mut()
            .map(|b| IoSliceMut::new(b))
            .collect();
        let count = loop {
            match self
                .state
                .recv((&self.io).into(), &mut slices, &mut self.metas)
            {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "receiving on the media port failed");
                    return false;
                }
            }
        };
        for (meta, buffer) in self.metas[..count].iter().zip(&self.buffers) {
            let stride = meta.stride.max(1);
            let from = peer_address(meta.addr);
            for datagram in buffer[..meta.len].chunks(stride) {
                let answered = take(from, datagram);
                let (Some(local), Some(sources)) = (meta.dst_ip, &mut self.sources) else {
                    continue;
                };
                let known = sources.get(&from);
                let is_news = match answered {
                    Answered::Yes => known != Some(&local),
                    Answered::FirstTime => known.is_none(),
                    Answered::No => false,
                };
                if is_news {
                    set_source(sources, from, local);
                    self.new_sources.push((from, local));
                }
            }
        }
        true
    }

    /// Sends all, which are for addresses of UDP, viewer by viewer, so that datagrams of equal size to one address go out in one
    /// system call. Order is kept within an address. Leaves `datagrams` empty.
    pub(super) fn send(&mut self, datagrams: &mut Vec<Transmit>) {
        if datagrams.len() > 1 {
            datagrams.sort_by_key(|d| d.to);
        }
        let most = self.state.max_gso_segments();
        let both_families = self.local.is_ipv6();
        let mut rest = &datagrams[..];
        while let Some(first) = rest.first() {
            let size = first.data.len();
            let same = rest.iter().take_while(|d| d.to == first.to);
            let (run, tail) = rest.split_at(run(same.map(|d| d.data.len()), most));
            rest = tail;
            let source = self
                .sources
                .as_ref()
                .and_then(|s| s.get(&first.to.socket).copied());
            let contents = if let [one] = run {
                &one.data[..]
            } else {
                self.segments.clear();
                run.iter()
                    .for_each(|d| self.segments.extend_from_slice(&d.data));
                &self.segments[..]
            };
            let transmit = quinn_udp::Transmit {
                destination: socket_address(first.to.socket, both_families),
                ecn: None,
                contents,
                segment_size: (run.len() > 1).then_some(size),
                src_ip: source,
            };
            if self.state.try_send((&self.io).into(), &transmit).is_err() {
                // No room: as on any congested path, lost packets are requested again.
                self.dropped.fetch_add(run.len() as u64, Ordering::Relaxed);
            }
        }
        datagrams.clear();
    }
}

/// A peer's address, as the server has it everywhere: a socket for both families shows IPv4
/// addresses as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), which must not get into STUN answers (RFC
/// 8489 §14.2) or records.
pub(super) fn peer_address(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => v6
            .ip()
            .to_ipv4_mapped()
            .map_or(address, |v4| SocketAddr::new(v4.into(), v6.port())),
        SocketAddr::V4(_) => address,
    }
}

/// The same address, as a socket of this kind takes it.
pub(super) fn socket_address(peer: SocketAddr, both_families: bool) -> SocketAddr {
    match peer {
        SocketAddr::V4(v4) if both_families => {
            SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
        }
        _ => peer,
    }
}

pub(super) fn set_source(
    sources: &mut HashMap<SocketAddr, IpAddr>,
    peer: SocketAddr,
    local: IpAddr,
) {
    if sources.len() >= MAX_LOCAL {
        sources.clear();
    }
    sources.insert(peer, local);
}

/// Whether a datagram is answered, and answers to its sender leave from the address that it was
/// sent to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is from a peer that has proved to be one.
    Yes,
    /// It may be forged: it counts only where nothing was known before.
    FirstTime,
    No,
}
/// Whether receiving can go on after an error: a peer's port is closed (ICMP), which does not concern
/// this socket, or a signal has arrived.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
