//! A filter in the kernel that lets datagrams of this machine through, and no others.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::{SockFilter, SockRef};

use super::{BindError, bind};

/// Offsets from here on are in the IP header (linux/filter.h, `SKF_NET_OFF`).
const IP_HEADER: u32 = 0xfff0_0000;
/// The offsets of source and destination (RFC 791 §3.1).
const SOURCE: u32 = IP_HEADER + 12;
const DESTINATION: u32 = IP_HEADER + 16;
/// 127.0.0.0/8 (RFC 1122 §3.2.1.3).
const LOOPBACK: u32 = 127;

/// Instructions of classic BPF (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const COPY_TO_X: u16 = 0x07;
const JUMP_IF_VALUE: u16 = 0x15;
const JUMP_IF_X: u16 = 0x1d;
const RETURN: u16 = 0x06;

/// Binds a media port that hears only this machine, on a port that the system chooses: on all
/// addresses, since Firefox offers no loopback candidate and sends to the machine's own address.
/// Where the kernel has no such filter, on loopback, and then with the reason.
///
/// # Errors
/// [`BindError`] with the system's error.
pub fn bind_nearby() -> Result<(UdpSocket, Option<io::Error>), BindError> {
    let socket = bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
    match only_this_machine(&socket) {
        Ok(()) => Ok((socket, None)),
        Err(reason) => Ok((bind((Ipv4Addr::LOCALHOST, 0).into())?, Some(reason))),
    }
}

/// Has the kernel drop what does not come from this machine: where neither address is a loopback
/// address, which the kernel never takes from a network (RFC 1122 §3.2.1.3), and source and
/// destination differ. A datagram from elsewhere with this machine's own address as its source is
/// dropped by routing ("martian source"). For IPv4 sockets. It holds for all copies of the socket's
/// descriptor, for as long as the socket lives.
fn only_this_machine(socket: &UdpSocket) -> io::Result<()> {
    const ALL: u32 = u32::MAX;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, SOURCE),
        SockFilter::new(JUMP_IF_VALUE, 6, 0, LOOPBACK),
        SockFilter::new(LOAD_BYTE, 0, 0, DESTINATION),
        SockFilter::new(JUMP_IF_VALUE, 4, 0, LOOPBACK),
        SockFilter::new(LOAD_WORD, 0, 0, SOURCE),
        SockFilter::new(COPY_TO_X, 0, 0, 0),
        SockFilter::new(LOAD_WORD, 0, 0, DESTINATION),
        SockFilter::new(JUMP_IF_X, 0, 1, 0),
        // Both jumps above lead here.
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use super::*;

    /// Whether a datagram from one address to another one is let through.
    fn heard(at: &UdpSocket, from: IpAddr, to: IpAddr) -> bool {
        let port = at.local_addr().expect("bound").port();
        let sender = UdpSocket::bind((from, 0)).expect("bound");
        sender.send_to(b"x", (to, port)).expect("sent");
        let me = sender.local_addr().expect("bound");
        // What the kernel lets through on this machine is there when `send` returns.
        matches!(at.recv_from(&mut [0; 8]), Ok((1, source)) if source == me)
    }

    #[test]
    fn datagrams_of_this_machine_are_heard_on_loopback_and_on_its_own_address() {
        let (socket, without) = bind_nearby().expect("bound");
        assert!(without.is_none(), "{without:?}");
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert!(heard(&socket, loopback, loopback));
        // A machine without a network has loopback alone.
        let route = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("bound");
        if route.connect("203.0.113.1:9").is_ok() {
            let own = route
                .local_addr()
                .as_ref()
                .map(SocketAddr::ip)
                .expect("bound");
            assert!(heard(&socket, own, loopback));
            assert!(heard(&socket, own, own));
        }
    }
}
