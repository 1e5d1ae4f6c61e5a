//! The cost of receiving a datagram: with one socket that one thread reads, with one thread that
//! hands half of what it reads to another, and with two sockets on one port (SO_REUSEPORT), between
//! which the kernel distributes datagrams by their addresses.
//!
//! The kernel's way to the socket is the sender's here, on loopback, in all three.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::sockopt::ReusePort;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};

use super::report::Row;
use super::spent;
use crate::stats::Summary;

/// Length of what viewers send: a receiver report, or an ICE check.
const BYTES: usize = 100;
/// Size of a receive buffer; viewers' datagrams do not arrive in trains.
const ROOM: usize = 2048;
const KERNEL_BUFFER: usize = 4 << 20;
/// A receiver checks after this silence whether more is to come.
const LOOK: Duration = Duration::from_millis(5);

/// The ways of receiving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receivers {
    One,
    OneThatHandsOver,
    TwoSockets,
}

impl Receivers {
    const ALL: [Self; 3] = [Self::One, Self::OneThatHandsOver, Self::TwoSockets];

    fn name(self) -> &'static str {
        match self {
            Self::One => "one receives",
            Self::OneThatHandsOver => "one receives and hands half over",
            Self::TwoSockets => "two, SO_REUSEPORT",
        }
    }
}

/// How datagrams arrive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// The number of all datagrams.
    pub datagrams: usize,
    /// Pause between any two of them.
    pub pause: Duration,
}

/// Viewers' datagrams at the rate of ICE checks and reports, and a flood of them.
const TRAFFIC: [(&str, Traffic); 2] = [
    (
        "1,000 a second",
        Traffic {
            datagrams: 500,
            pause: Duration::from_millis(1),
        },
    ),
    (
        "a flood",
        Traffic {
            datagrams: 20_000,
            pause: Duration::ZERO,
        },
    ),
];
/// How often all ways take turns.
const TURNS: usize = 5;

/// The cost of receiving a datagram, for each way and each kind of traffic.
///
/// # Errors
/// The system's error.
pub(super) fn measure(viewers: usize) -> io::Result<Vec<Row>> {
    let local = Ipv4Addr::LOCALHOST;
    let viewers = (0..viewers).map(|_| UdpSocket::bind((local, 0)));
    let viewers: Vec<UdpSocket> = viewers.collect::<io::Result<_>>()?;
    let mut rows = Vec::new();
    for (pace, traffic) in TRAFFIC {
        let mut costs = Receivers::ALL.map(|_| Vec::new());
        for _ in 0..TURNS {
            for (receivers, costs) in Receivers::ALL.into_iter().zip(&mut costs) {
                let came = receive(receivers, traffic, &viewers)?;
                costs.push(came.cpu.as_secs_f64() * 1e6 / came.datagrams.max(1) as f64);
            }
        }
        rows.extend(
            Receivers::ALL
                .into_iter()
                .zip(costs)
                .filter_map(|(who, costs)| {
                    let costs = Summary::of(costs)?;
                    Some(Row {
                        way: format!("{}, {pace}", who.name()),
                        seals: false,
                        segments: 1.0,
                        cpu_us_per_packet: costs.median,
                        least_us_per_packet: costs.min,
                    })
                }),
        );
    }
    Ok(rows)
}

/// What the threads have received, and their CPU time for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Came {
    pub datagrams: usize,
    /// How many the thread received that received the fewest.
    pub fewest: usize,
    pub cpu: Duration,
}

/// Has the viewers send, and all receivers receive until they are done.
pub(super) fn receive(
    receivers: Receivers,
    traffic: Traffic,
    viewers: &[UdpSocket],
) -> io::Result<Came> {
    let first = bind_shared(0)?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    if receivers == Receivers::TwoSockets {
        sockets.push(bind_shared(port)?);
    }
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let over = AtomicBool::new(false);
    let over = &over;
    thread::scope(|scope| {
        let (hand, handed) = mpsc::channel::<Vec<u8>>();
        let mut threads = Vec::new();
        let mut hand = (receivers == Receivers::OneThatHandsOver).then_some(hand);
        if hand.is_some() {
            threads.push(scope.spawn(move || {
                // Each is looked at, as it would be there.
                let datagrams = handed.iter().filter(|data| data.len() == BYTES).count();
                Ok((datagrams, spent()))
            }));
        }
        for socket in sockets {
            let hand = hand.take();
            threads.push(scope.spawn(move || read(socket, hand, over)));
        }
        let sent = send(traffic, viewers, to);
        over.store(true, Ordering::Relaxed);
        let mut came = Came {
            fewest: usize::MAX,
            ..Came::default()
        };
        for thread in threads {
            let ended = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a panic")));
            let (datagrams, cpu) = ended?;
            came.datagrams += datagrams;
            came.fewest = came.fewest.min(datagrams);
            came.cpu += cpu;
        }
        sent.map(|()| came)
    })
}

/// A socket on a port that others may have too; 0 for any.
fn bind_shared(port: u16) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let io = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&io, ReusePort, &true)?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    bind(io.as_raw_fd(), &address)?;
    Ok(io.into())
}

fn send(traffic: Traffic, viewers: &[UdpSocket], to: SocketAddr) -> io::Result<()> {
    let data = [0x5a; BYTES];
    let mut due = Instant::now();
    for (_, viewer) in (0..traffic.datagrams).zip(viewers.iter().cycle()) {
        viewer.send_to(&data, to)?;
        due += traffic.pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Reads as the media loop does, until nothing more arrives. Returns how many datagrams this thread
/// has kept, and its CPU time.
fn read(
    io: UdpSocket,
    hand: Option<mpsc::Sender<Vec<u8>>>,
    over: &AtomicBool,
) -> io::Result<(usize, Duration)> {
    let state = UdpSocketState::new((&io).into())?;
    // Best effort: what does not fit is not counted.
    let _ = state.set_recv_buffer_size((&io).into(), KERNEL_BUFFER);
    let mut io = mio::net::UdpSocket::from_std(io);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut io, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(4);
    let mut buffers = vec![vec![0; ROOM]; BATCH_SIZE];
    let (mut kept, mut number) = (0, 0_usize);
    let began = spent();
    loop {
        poll.poll(&mut events, Some(LOOK))?;
        if events.is_empty() && over.load(Ordering::Relaxed) {
            return Ok((kept, spent().saturating_sub(began)));
        }
        loop {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices: Vec<_> = buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let Ok(count) = state.recv((&io).into(), &mut slices, &mut metas) else {
                break;
            };
            for (meta, buffer) in metas[..count].iter().zip(&buffers) {
                for data in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    number += 1;
                    match &hand {
                        // The other thread ends after this one.
                        Some(hand) if number.is_multiple_of(2) => drop(hand.send(data.to_vec())),
                        _ => kept += 1,
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datagram_is_received_by_one_of_those_who_are_to_receive_it() {
        let viewers = (0..64).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        let viewers: Vec<UdpSocket> = viewers.collect::<io::Result<_>>().expect("sockets");
        let traffic = Traffic {
            datagrams: 64,
            pause: Duration::from_micros(100),
        };
        for receivers in Receivers::ALL {
            let came = receive(receivers, traffic, &viewers).expect("received");
            assert_eq!(came.datagrams, 64, "{receivers:?}");
            assert!(
                came.fewest > 0,
                "each has its part: {receivers:?}, {came:?}"
            );
        }
    }
}
