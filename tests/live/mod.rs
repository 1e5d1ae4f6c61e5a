//! Browsers of `tests/support` on real sockets, against a real server.
#![allow(dead_code)] // Not every test file needs all of it.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rekindle::ids::Role;
use rekindle::sdp::{Kind, negotiated};
use rekindle_client::answer::Answer;
use rekindle_client::offer::{OfferOptions, Offered};
use ureq::Body;
use ureq::http::Response;

use crate::running::{PATIENCE, Server, header, text};
use crate::support::Random;
use crate::support::client::{Client, Side};
use crate::support::receiver::Receiver;
use crate::support::sender::Sender;

/// A browser on a socket of its own.
pub struct Live {
    pub client: Client,
    pub answer: String,
    /// The path of its session.
    pub session: String,
    /// The other hash of the server's certificate, for the page.
    pub fingerprint: String,
    /// Datagrams that came from elsewhere than the server.
    pub from_others: usize,
    /// Somebody who gets a copy of all that it sends.
    pub copies_to: Option<SocketAddr>,
    socket: UdpSocket,
    media: SocketAddr,
    /// All datagrams, as somebody on the way sees them: from, to, content.
    pub tape: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

/// What a browser would post.
pub fn offered(role: Role, seed: u64) -> Offered {
    Offered::new(role, OfferOptions::new(role), &mut Random::new(seed))
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("set");
    socket
}

pub fn path(role: Role, channel: &str) -> String {
    match role {
        Role::Publisher => format!("/whip/{channel}"),
        Role::Viewer => format!("/whep/{channel}"),
    }
}

impl Live {
    pub fn join(server: &Server, role: Role, channel: &str, seed: u64) -> Self {
        let offered = offered(role, seed);
        let answer = server.offer(&path(role, channel), &offered.sdp);
        Self::answered(server, role, offered, answer)
    }

    /// A browser whose offer was answered so.
    pub fn answered(
        server: &Server,
        role: Role,
        offered: Offered,
        mut response: Response<Body>,
    ) -> Self {
        let answer = text(&mut response);
        assert_eq!(response.status(), 201, "{answer}");
        // All that follows is drawn from what the seed has given already.
        let mut random = Random::new(offered.ssrcs.0.into());
        let agreed = negotiated(role, &offered.sdp, &answer).expect("the answer fits");
        let read = Answer::read(role, &offered.sdp, &answer).expect("a usable answer");
        let now = Instant::now();
        let side = match role {
            Role::Publisher => Side::Publisher(Box::new(Sender::new(
                &agreed,
                offered.ssrcs,
                None,
                random.fork(),
                now,
            ))),
            Role::Viewer => Side::Viewer(Box::new(Receiver::new(&agreed))),
        };
        let socket = socket();
        let address = socket.local_addr().expect("an address");
        let (media, session) = (server.media(), offered.agreed(&read));
        Self {
            client: Client::new(role, address, media, session, side, random, now),
            session: header(&response, "location").to_owned(),
            fingerprint: header(&response, "rekindle-fingerprint").to_owned(),
            answer,
            from_others: 0,
            copies_to: None,
            socket,
            media,
            tape: Vec::new(),
        }
    }

    /// SHA-256 of the certificate that it knows the server by.
    pub fn server_certificate(&self) -> &[u8] {
        &self.client.session.fingerprint
    }

    /// Whether the server has said something of a handshake; what came before that is taken. An
    /// alert (RFC 6347 §4.1) is the end of the one before.
    pub fn is_answered(&mut self) -> bool {
        let mut first = [0];
        loop {
            match self.socket.peek_from(&mut first) {
                Ok((_, from)) if from == self.media && matches!(first[0], 20 | 22..=63) => {
                    return true;
                }
                Ok(_) => drop(self.take_one()),
                Err(_) => return false,
            }
        }
    }

    /// Video packets that came, each once.
    pub fn video(&self) -> usize {
        self.client
            .receiver()
            .stream(Kind::Video)
            .map_or(0, |stream| stream.got.len())
    }

    /// The network leads its packets to another server.
    pub fn lead_to(&mut self, media: SocketAddr) {
        self.media = media;
    }

    /// As Firefox does when it renews, and every browser when its network changes.
    pub fn move_to_another_port(&mut self) {
        self.socket = socket();
        self.client.move_to(
            self.socket.local_addr().expect("an address"),
            Instant::now(),
        );
    }

    fn step(&mut self) {
        self.take_in();
        self.send_out();
    }

    /// Takes what has come.
    pub fn take_in(&mut self) {
        while self.take_one() {}
        let now = Instant::now();
        if self.client.next_timeout().is_some_and(|at| at <= now) {
            self.client.handle_timeout(now);
        }
    }

    /// Takes a datagram; whether there may be more.
    fn take_one(&mut self) -> bool {
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) if from == self.media => {
                self.tape
                    .push((from, self.client.address, buffer[..length].to_vec()));
                self.client
                    .handle(Instant::now(), self.client.address, &buffer[..length]);
            }
            Ok(_) => self.from_others += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // A server that is gone: the kernel says so for the datagram before.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => panic!("{error}"),
        }
        true
    }

    /// Sends what it has to say.
    pub fn send_out(&mut self) {
        for datagram in self.client.outgoing() {
            // As above.
            let _ = self.socket.send_to(&datagram, self.media);
            if let Some(copies_to) = self.copies_to {
                let _ = self.socket.send_to(&datagram, copies_to);
            }
            self.tape
                .push((self.client.address, self.media, datagram.to_vec()));
        }
    }
}

/// Lets browsers run until this holds.
#[track_caller]
pub fn run_until(
    browsers: &mut [&mut Live],
    what: &str,
    mut holds: impl FnMut(&[&mut Live]) -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(browsers) {
        assert!(Instant::now() < deadline, "not in time: {what}");
        browsers.iter_mut().for_each(|browser| browser.step());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lets browsers run for so long.
pub fn run_for(browsers: &mut [&mut Live], time: Duration) {
    let end = Instant::now() + time;
    run_until(browsers, "time passes", |_| Instant::now() >= end);
}

#[track_caller]
pub fn run_until_connected(browsers: &mut [&mut Live]) {
    run_until(browsers, "all are connected", |all| {
        all.iter().all(|one| one.client.is_connected())
    });
}

/// Every viewer among them gets so much video more.
#[track_caller]
pub fn run_until_more_video(browsers: &mut [&mut Live], packets: usize) {
    let viewers = |all: &[&mut Live]| -> Vec<usize> {
        let viewers = all.iter().filter(|one| one.client.role == Role::Viewer);
        viewers.map(|one| one.video()).collect()
    };
    let before = viewers(browsers);
    run_until(browsers, "video comes", |all| {
        viewers(all)
            .iter()
            .zip(&before)
            .all(|(now, before)| now - before >= packets)
    });
}

/// The server was killed and is back: every page runs a new handshake.
#[track_caller]
pub fn renew(browsers: &mut [&mut Live]) {
    browsers
        .iter_mut()
        .for_each(|one| one.client.renew(Instant::now()));
    run_until_connected(browsers);
}

/// A publisher and a viewer, with media flowing.
pub fn broadcast(server: &Server, channel: &str, seed: u64) -> (Live, Live) {
    let mut publisher = Live::join(server, Role::Publisher, channel, seed);
    run_until_connected(&mut [&mut publisher]);
    let mut viewer = Live::join(server, Role::Viewer, channel, seed + 1);
    run_until_connected(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 10);
    (publisher, viewer)
}
