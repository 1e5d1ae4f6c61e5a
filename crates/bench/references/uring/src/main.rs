//! What it costs to send packets by io_uring, beside `sendmsg` and `sendmmsg`, which
//! `rekindle-bench ceilings` has too. All ways take turns, burst by burst, and send what is the same
//! memory to the same sockets of this machine.
//!
//!     ceiling-uring [VIEWERS] [BURSTS]
//!
//! The server itself uses no io_uring: its sandbox does not let it (`docs/performance.md`). It is a
//! program outside of the project's workspace because entries of a ring are raw pointers, so that
//! this cannot be written without `unsafe`, which the project forbids itself.

mod ways;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use ways::{Sender, Way};

/// Length of a packet, in bytes: an RTP packet of 1,200 bytes and its authentication tag.
const PACKET: usize = 1216;
/// Packets of a burst to each viewer.
const BURST: usize = 16;
/// Room of a viewer's socket, in bytes.
const ROOM: libc::c_int = 1 << 20;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| {
        let given = arguments.next().map(|text| text.parse());
        given.unwrap_or(Ok(usual)).map_err(io::Error::other)
    };
    let (viewers, bursts) = (number(500)?, number(25)?);
    let sockets: Vec<UdpSocket> = (0..viewers).map(|_| viewer()).collect::<io::Result<_>>()?;
    let addresses = sockets.iter().map(UdpSocket::local_addr);
    let addresses: Vec<SocketAddr> = addresses.collect::<io::Result<_>>()?;
    println!(
        "{viewers} viewers, packets of {PACKET} bytes, medians of {bursts} bursts, CPU us a packet"
    );
    for segments in [1, 4, 8, 16] {
        let mut sender = Sender::new(&addresses, segments)?;
        let mut costs = vec![Vec::new(); Way::ALL.len()];
        // The first burst warms up.
        for round in 0..=bursts {
            for (way, costs) in Way::ALL.iter().zip(&mut costs) {
                let before = spent();
                for _ in 0..BURST / segments {
                    sender.send(*way)?;
                }
                let took = spent() - before;
                // What the kernel's thread goes on looking for is no other way's cost.
                std::thread::sleep(Duration::from_millis(4 * u64::from(ways::POLLS_MS)));
                let came: usize = sockets.iter().map(drain).sum();
                if came != viewers * BURST {
                    return Err(io::Error::other(format!("{way:?}: {came} packets came")));
                }
                if round > 0 {
                    costs.push(took.as_secs_f64() * 1e6 / came as f64);
                }
            }
        }
        for (way, costs) in Way::ALL.iter().zip(&mut costs) {
            costs.sort_by(f64::total_cmp);
            let (least, median) = (costs[0], costs[costs.len() / 2]);
            println!(
                "  GSO of {segments:>2}  {:<44} {median:.3} (least {least:.3})",
                way.name()
            );
        }
    }
    Ok(())
}

/// A viewer's socket, with room for a burst, which takes what the kernel has put together (GRO).
fn viewer() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    ways::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    ways::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, ROOM)
        .or_else(|_| ways::set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, ROOM))?;
    Ok(socket)
}

/// Takes what has come. Returns how many packets that are.
fn drain(socket: &UdpSocket) -> usize {
    let mut buffer = [0; PACKET * BURST];
    let came = std::iter::from_fn(|| socket.recv(&mut buffer).ok());
    came.map(|bytes| bytes / PACKET).sum()
}

/// CPU time of the process so far, threads of the kernel's that work for it among it.
fn spent() -> Duration {
    ways::cpu_time(libc::CLOCK_PROCESS_CPUTIME_ID)
}
