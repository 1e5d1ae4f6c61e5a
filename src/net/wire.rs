//! Sending bursts: the datagrams of one viewer in as few system calls as possible (GSO).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_udp::{Transmit, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::socket::{MAX_SEGMENTED, set_source, socket_address};
use super::tcp::Outgoing;
use crate::broadcast::{Burst, Outlet};
use crate::ids::TransportAddress;

/// Where the kernel has no room, sending waits for it, at most this long between two calls of
/// [`Wire::begin`]. Further datagrams are lost, as on any congested path, and are requested again.
const PATIENCE: Duration = Duration::from_millis(5);

/// The sending side of the media port, for one thread.
pub(super) struct Wire {
    io: UdpSocket,
    state: Arc<UdpSocketState>,
    /// Where the port is bound to all addresses: the local address from which each peer is sent to.
    sources: Option<HashMap<SocketAddr, IpAddr>>,
    /// The port is for IPv4 as well as for IPv6.
    both_families: bool,
    dropped: Arc<AtomicU64>,
    /// To peers that are connected over TCP.
    tcp: Option<Outgoing>,
    patience: Duration,
}

impl Wire {
    pub(super) fn new(
        io: UdpSocket,
        state: Arc<UdpSocketState>,
        (sources, both_families): (Option<HashMap<SocketAddr, IpAddr>>, bool),
        dropped: Arc<AtomicU64>,
        tcp: Option<Outgoing>,
    ) -> Self {
        Self {
            io,
            state,
            sources,
            both_families,
            dropped,
            tcp,
            patience: PATIENCE,
        }
    }

    /// Sends to this peer from this local address from now on.
    pub(super) fn set_source(&mut self, peer: SocketAddr, local: IpAddr) {
        if let Some(sources) = &mut self.sources {
            set_source(sources, peer, local);
        }
    }

    /// Begins a round of sending.
    pub(super) fn begin(&mut self) {
        self.patience = PATIENCE;
    }

    fn transmit(&mut self, transmit: &Transmit<'_>, datagrams: usize) {
        loop {
            match self.state.try_send((&self.io).into(), transmit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.wait() => {}
                Ok(()) => return,
                Err(_) => {
                    self.dropped.fetch_add(datagrams as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Waits for room. Returns whether there may be some.
    fn wait(&mut self) -> bool {
        if self.patience.is_zero() {
            return false;
        }
        let start = Instant::now();
        let mut fds = [PollFd::new(&self.io, PollFlags::OUT)];
        let timeout = Timespec::try_from(self.patience).ok();
        let there = poll(&mut fds, timeout.as_ref()).is_ok_and(|count| count > 0);
        self.patience = self.patience.saturating_sub(start.elapsed());
        there
    }
}

impl Outlet for Wire {
    fn send(&mut self, to: TransportAddress, burst: &Burst) {
        let Some(to) = to.as_udp() else {
            if let Some(tcp) = &self.tcp {
                tcp.burst(to, burst);
            }
            return;
        };
        let src_ip = self.sources.as_ref().and_then(|s| s.get(&to).copied());
        let most = self.state.max_gso_segments();
        let mut ends = burst.ends();
        let mut start = 0;
        while let Some(first) = ends.first() {
            let size = first - start;
            let starts = std::iter::once(&start).chain(ends);
            let run = run(
                ends.iter().zip(starts).map(|(end, start)| end - start),
                most,
            );
            let end = ends[run - 1];
            let transmit = Transmit {
                destination: socket_address(to, self.both_families),
                ecn: None,
                contents: &burst.bytes()[start..end],
                segment_size: (run > 1).then_some(size),
                src_ip,
            };
            self.transmit(&transmit, run);
            (start, ends) = (end, &ends[run..]);
        }
    }
}

/// How many datagrams of these sizes can be sent in one system call: all have the size of the first
/// one, except the last, which may be shorter. `most`: the kernel's limit.
pub(super) fn run(sizes: impl IntoIterator<Item = usize>, most: usize) -> usize {
    let mut sizes = sizes.into_iter();
    let Some(size) = sizes.next() else {
        return 0;
    };
    let fits = most.min(MAX_SEGMENTED / size.max(1)).max(1);
    let mut run = 1;
    for next in sizes.take(fits - 1) {
        if next > size {
            break;
        }
        run += 1;
        if next < size {
            break;
        }
    }
    run
}

#[cfg(test)]
mod tests;
