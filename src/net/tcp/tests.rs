use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const FREE: Limits = Limits {
    connections: 100,
    per_address: 0,
};

/// The media loop's place.
struct Stage {
    tcp: Tcp,
    counts: Arc<Counts>,
    at: SocketAddr,
    _poll: mio::Poll,
}

impl Stage {
    fn new(limits: Limits) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        prepare(&listener).expect("prepared");
        let at = listener.local_addr().expect("an address");
        let poll = mio::Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), mio::Token(0)).expect("a waker");
        let counts = Arc::<Counts>::default();
        let tcp = Tcp::start(listener, limits, counts.clone(), Arc::new(waker)).expect("a thread");
        Self {
            tcp,
            counts,
            at,
            _poll: poll,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.at).expect("connected");
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        client
    }

    /// The next datagram.
    fn came(&self) -> (SocketAddr, Vec<u8>) {
        let mut came = None;
        until(|| {
            came = self.tcp.poll();
            came.is_some()
        });
        came.expect("it came")
    }

    /// A client from which a datagram has come.
    fn client(&self) -> TcpStream {
        let mut client = self.connect();
        client.write_all(b"\0\x05hello").expect("sent");
        let here = client.local_addr().expect("an address");
        assert_eq!(self.came(), (here, b"hello".to_vec()));
        client
    }

    fn send(&self, to: &TcpStream, datagram: &[u8]) {
        let to = TransportAddress::tcp(to.local_addr().expect("an address"));
        self.tcp.outgoing.send(to, [datagram]);
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }
}

fn until(mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn receive(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).expect("received");
    bytes
}

/// Whether the other end has closed it.
fn is_closed(client: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match client.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn what_the_kernel_keeps_of_a_connection_is_bounded_both_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    prepare(&listener).expect("prepared");
    let at = listener.local_addr().expect("an address");
    let _client = TcpStream::connect(at).expect("connected");
    let (stream, _) = listener.accept().expect("accepted");
    // Twice as much, with the kernel's own bookkeeping, and then it grows no more (socket(7)).
    let sizes = [
        sockopt::socket_send_buffer_size(&stream).expect("known"),
        sockopt::socket_recv_buffer_size(&stream).expect("known"),
    ];
    assert!(
        sizes[0] <= 2 * KERNEL_BUFFER && sizes[1] == 2 * KERNEL_INBOX,
        "{sizes:?}"
    );
}

#[test]
fn datagrams_pass_in_both_directions_and_only_those_for_connections_are_taken() {
    let stage = Stage::new(FREE);
    let mut client = stage.client();
    let here = client.local_addr().expect("an address");
    let transmit = |to: TransportAddress, data: &'static [u8]| Transmit {
        to,
        data: data.into(),
    };
    let by_udp = transmit(TransportAddress::udp(here), b"datagram");
    let mut out = vec![
        transmit(TransportAddress::tcp(here), b"answer"),
        by_udp.clone(),
    ];
    stage.tcp.send(&mut out);
    assert_eq!(out, [by_udp]);
    assert_eq!(receive(&mut client, 8), b"\0\x06answer");
    // Nothing at all, and what no frame takes.
    let to = TransportAddress::tcp(here);
    stage.tcp.outgoing.send(to, []);
    stage.tcp.outgoing.send(to, [&[0; 1 << 16][..]]);
    stage.send(&client, b"more");
    assert_eq!(receive(&mut client, 6), b"\0\x04more");
}

#[test]
fn who_sends_what_is_no_frame_is_let_go_and_nobody_else() {
    let stage = Stage::new(FREE);
    let mut other = stage.client();
    let mut client = stage.client();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    assert!(is_closed(&mut client));
    until(|| stage.connections() == 1);
    stage.send(&other, b"still here");
    assert_eq!(receive(&mut other, 12), b"\0\x0astill here");
}

#[test]
fn an_address_has_a_limited_number_of_connections() {
    let stage = Stage::new(Limits {
        connections: 100,
        per_address: 2,
    });
    let first = stage.client();
    let _second = stage.client();
    assert!(is_closed(&mut stage.connect()));
    drop(first);
    until(|| stage.connections() == 1);
    let _third = stage.client();
}

#[test]
fn where_there_are_too_many_the_oldest_without_a_check_makes_room() {
    let stage = Stage::new(Limits {
        connections: 2,
        per_address: 0,
    });
    let mut proven = stage.client();
    stage.tcp.keep(proven.local_addr().expect("an address"));
    let mut idle = stage.client();
    let newcomer = stage.client();
    assert!(is_closed(&mut idle));
    stage.tcp.keep(newcomer.local_addr().expect("an address"));
    stage.send(&proven, b"x");
    assert_eq!(receive(&mut proven, 3), b"\0\x01x");
    // The order to keep the newcomer was given before this.
    assert!(is_closed(&mut stage.connect()));
    assert_eq!(stage.connections(), 2);
}

#[test]
fn who_does_not_read_loses_what_is_old_and_holds_nobody_up() {
    let stage = Stage::new(FREE);
    let mut slow = stage.client();
    let mut other = stage.client();
    let datagram = [7; 1200];
    // More than the kernel and the queue hold.
    for _ in 0..20_000 {
        stage.send(&slow, &datagram);
    }
    stage.send(&slow, b"newest");
    stage.send(&other, b"at once");
    assert_eq!(receive(&mut other, 9), b"\0\x07at once");
    let dropped = stage.counts.dropped.load(Ordering::Relaxed);
    assert!(dropped > 10_000, "{dropped}");
    // Each frame that arrives is whole, and the newest is the last.
    let mut frames = frames::Frames::default();
    let (mut read, mut last) = (0, Vec::new());
    let mut buffer = vec![0; 1 << 16];
    while last != b"newest" {
        let count = slow.read(&mut buffer).expect("received");
        frames
            .read(&buffer[..count], usize::MAX, |datagram| {
                read += 1;
                last = datagram.to_vec();
            })
            .expect("frames");
    }
    assert_eq!(read + dropped, 20_001);
}

#[test]
fn what_is_for_a_connection_that_is_gone_is_counted_as_lost() {
    let stage = Stage::new(FREE);
    let client = stage.client();
    let gone = TransportAddress::tcp(client.local_addr().expect("an address"));
    drop(client);
    until(|| stage.connections() == 0);
    stage.tcp.outgoing.send(gone, [&b"one"[..], b"two"]);
    until(|| stage.counts.dropped.load(Ordering::Relaxed) == 2);
}

#[test]
fn with_the_loop_its_connections_end() {
    let stage = Stage::new(FREE);
    let mut client = stage.client();
    let Stage { tcp, .. } = stage;
    drop(tcp);
    assert!(is_closed(&mut client));
}

#[test]
fn who_sends_without_end_takes_nobodys_turn() {
    let stage = Stage::new(FREE);
    let floods: Vec<_> = (0..2).map(|_| stage.client()).collect();
    let mut other = stage.client();
    for client in floods.iter().chain([&other]) {
        stage.tcp.keep(client.local_addr().expect("an address"));
    }
    let floods = floods.into_iter().map(|mut client| {
        std::thread::spawn(move || while client.write_all(&b"\0\x01x".repeat(5000)).is_ok() {})
    });
    let floods: Vec<_> = floods.collect();
    let from = other.local_addr().expect("an address");
    let mut came = Vec::new();
    for number in 0..500_u32 {
        other.write_all(b"\0\x04").expect("sent");
        other.write_all(&number.to_be_bytes()).expect("sent");
        // The media loop has other things to do too.
        for _ in 0..64 {
            came.extend(stage.tcp.poll().filter(|(peer, _)| *peer == from));
        }
    }
    until(|| {
        came.extend(stage.tcp.poll().filter(|(peer, _)| *peer == from));
        came.len() == 500
    });
    let numbers = came
        .iter()
        .map(|(_, data)| data[..].try_into().expect("four bytes"));
    assert!(numbers.map(u32::from_be_bytes).eq(0..500));
    drop(stage);
    floods
        .into_iter()
        .for_each(|one| one.join().expect("ended"));
}

#[test]
fn a_connection_that_no_peer_has_any_more_makes_room_as_a_new_one_does() {
    let stage = Stage::new(Limits {
        connections: 1,
        per_address: 0,
    });
    let mut first = stage.client();
    let at = first.local_addr().expect("an address");
    stage.tcp.keep(at);
    stage.send(&first, b"x");
    assert_eq!(receive(&mut first, 3), b"\0\x01x");
    assert!(is_closed(&mut stage.connect()));
    stage.tcp.release(at);
    stage.send(&first, b"y");
    assert_eq!(receive(&mut first, 3), b"\0\x01y");
    let _second = stage.client();
    assert!(is_closed(&mut first));
}

#[test]
fn what_waits_for_the_thread_is_bounded_too() {
    let stage = Stage::new(FREE);
    // A thread that does nothing.
    let (orders, ordered) = mpsc::channel();
    let outgoing = Outgoing {
        orders,
        counts: Arc::default(),
        ..stage.tcp.outgoing()
    };
    let to = TransportAddress::tcp(stage.at);
    let datagram = [7; 60_000];
    for _ in 0..3000 {
        outgoing.send(to, [&datagram[..]]);
    }
    let waiting = ordered.try_iter().count() as u64;
    let dropped = outgoing.counts.dropped.load(Ordering::Relaxed);
    assert_eq!(waiting + dropped, 3000);
    assert!(waiting * 60_000 <= 2 * OUTBOX as u64, "{waiting}");
}
