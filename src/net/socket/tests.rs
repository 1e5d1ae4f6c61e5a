use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::*;

/// What a socket hears next, and from whom.
fn next(socket: &mut Socket) -> (SocketAddr, Vec<u8>) {
    let mut heard = None;
    let start = Instant::now();
    while heard.is_none() && start.elapsed() < Duration::from_secs(10) {
        socket.receive(|from, data| {
            heard = Some((from, data.to_vec()));
            Answered::Yes
        });
    }
    heard.expect("a datagram")
}

#[test]
fn on_a_socket_for_both_families_a_peer_has_the_address_of_its_own_family() {
    let both = UdpSocket::bind("[::]:0").expect("bound");
    let port = both.local_addr().expect("bound").port();
    let mut both = Socket::new(both).expect("a socket");
    for at in ["127.0.0.1", "[::1]"] {
        let peer = UdpSocket::bind(format!("{at}:0")).expect("bound");
        let address = peer.local_addr().expect("bound");
        peer.send_to(b"check", format!("{at}:{port}"))
            .expect("sent");
        assert_eq!(next(&mut both), (address, b"check".to_vec()));

        // The answer reaches it, from where it has sent to.
        let data = bytes::Bytes::from_static(b"answer");
        both.send(&mut vec![Transmit {
            to: address.into(),
            data,
        }]);
        peer.set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        let mut buffer = [0; 16];
        let (length, from) = peer.recv_from(&mut buffer).expect("a datagram");
        assert_eq!(&buffer[..length], b"answer");
        assert_eq!(from.to_string(), format!("{at}:{port}"));
    }
}

#[test]
fn a_router_may_split_what_is_sent_over_ipv4() {
    for address in ["127.0.0.1:0", "[::]:0"] {
        let socket = UdpSocket::bind(address).expect("bound");
        let copy = socket.try_clone().expect("a copy");
        Socket::new(socket).expect("a socket");
        let option = rustix::net::sockopt::ip_mtu_discover(&copy).expect("an option");
        assert_eq!(option, Ipv4PathMtuDiscovery::INTERFACE, "{address}");
    }
}
