//! The server's handshakes against clients by BoringSSL, which can what dimpl cannot.

use std::time::Duration;

use rekindle_boring::Version as Spoken;

use super::super::Dtls;
use super::*;
use crate::peer::handshake::Begin;
use crate::peer::tests::certificate;
use rekindle_ids::Role;

/// A client with these groups, and the server's side of its handshake.
struct Two {
    now: Instant,
    client: Association,
    server: Box<dyn Handshake>,
    /// What the server has sent.
    flights: Vec<Vec<Bytes>>,
}

impl Two {
    fn new(dtls: &Dtls, groups: Groups) -> Self {
        let now = Instant::now();
        let own = certificate();
        let context = Context::new(&own.certificate, &own.private_key, FLIGHT_RTO, groups);
        let context = context.expect("settings");
        Self {
            now,
            client: Association::new(&context, Side::Client, now).expect("a client"),
            server: dtls
                .begin(Role::Viewer, Begin::Direct, now)
                .expect("room")
                .0,
            flights: Vec::new(),
        }
    }

    fn hello(&mut self) -> Vec<Bytes> {
        let mut hello = Vec::new();
        self.client
            .drive(self.now, None, &mut hello)
            .expect("a ClientHello");
        hello
    }

    /// Hands the client's datagrams to the server.
    fn give(&mut self, datagrams: &[Bytes]) -> Result<Option<Completed>, DtlsError> {
        let mut flight = Vec::new();
        let mut done = None;
        for datagram in datagrams {
            let result = self.server.drive(self.now, Some(datagram), &mut flight)?;
            done = done.or(result);
        }
        self.flights.push(flight);
        Ok(done)
    }

    fn shake(&mut self) -> Result<(Completed, Spoken), DtlsError> {
        let mut datagrams = self.hello();
        let mut version = None;
        for _ in 0..4 {
            let done = self.give(&datagrams)?;
            datagrams.clear();
            for answer in self.flights.last().into_iter().flatten() {
                let got = self.client.drive(self.now, Some(answer), &mut datagrams);
                version = version.or(got.expect("no error").map(|got| got.version));
            }
            if let Some(done) = done {
                return Ok((done, version.expect("the client is complete")));
            }
        }
        panic!("not complete")
    }
}

fn server() -> Dtls {
    let own = certificate();
    Dtls::new(&own.certificate, &own.private_key).expect("settings")
}

#[test]
fn viewers_too_get_x25519mlkem768_and_aes_256_gcm_in_dtls_1_3() {
    let (done, version) = Two::new(&server(), Groups::Any).shake().expect("keys");
    assert_eq!(version, Spoken::Dtls13);
    assert_eq!(
        done.agreed,
        Agreed {
            version: Version::Dtls13,
            group: Some(Group::X25519MlKem768),
            profile: Profile::AeadAes256Gcm,
        }
    );
}

#[test]
fn where_it_is_required_who_offers_no_post_quantum_key_exchange_is_refused() {
    let server = server()
        .requiring_post_quantum()
        .expect("this library has one");
    let (done, _) = Two::new(&server, Groups::Any).shake().expect("keys");
    assert!(done.agreed.is_post_quantum());
    let refused = Two::new(&server, Groups::Classical).shake();
    assert!(matches!(refused, Err(DtlsError::PeerNotPostQuantum)));
    let own = certificate();
    let beside = server
        .beside(&own.certificate, &own.private_key)
        .expect("settings");
    let refused = Two::new(&beside, Groups::Classical).shake();
    assert!(
        matches!(refused, Err(DtlsError::PeerNotPostQuantum)),
        "of earlier boots too"
    );
    let with_cookie = server.begin(Role::Viewer, Begin::Verified([0; 32]), Instant::now());
    assert!(with_cookie.is_none(), "a cookie is of DTLS 1.2");
}

#[test]
fn a_client_hello_that_comes_again_is_answered_at_once() {
    let mut two = Two::new(&server(), Groups::Any);
    let hello = two.hello();
    assert!(hello.len() > 1, "cut into pieces");
    two.give(&hello).expect("no error");
    two.now += Duration::from_millis(50);
    two.give(&hello).expect("no error");
    let lengths = |flight: &Vec<Bytes>| flight.iter().map(Bytes::len).collect::<Vec<_>>();
    assert!(!two.flights[0].is_empty());
    assert_eq!(lengths(&two.flights[0]), lengths(&two.flights[1]));
}

/// A plaintext record with one message of a handshake: its type, message_seq and body.
fn record(kind: u8, message: u8, body: &[u8]) -> Bytes {
    let length = u8::try_from(body.len()).expect("a short one");
    let mut record = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, message, 0, 12 + length];
    record.extend([kind, 0, 0, length, 0, message, 0, 0, 0, 0, 0, length]);
    record.extend(body);
    record.into()
}

/// The last flight of an attempt in DTLS 1.2 begins with the client's Certificate, in plaintext.
#[test]
fn plaintext_of_an_attempt_before_or_of_a_stranger_ends_no_handshake_in_1_3() {
    let own = certificate();
    let dtls = Dtls::new(&own.certificate, &own.private_key).expect("settings");
    let late = record(11, 2, &[0, 0, 4, 0, 0, 1, 48]);
    for before_the_hello in [true, false] {
        let mut two = Two::new(&dtls, Groups::Any);
        let hello = two.hello();
        if before_the_hello {
            two.give(std::slice::from_ref(&late)).expect("dropped");
        }
        assert!(two.give(&hello).expect("answered").is_none());
        two.give(std::slice::from_ref(&late)).expect("dropped");
        two.give(&hello).expect("answered again");
        let mut last = Vec::new();
        for datagram in two.flights.concat() {
            two.client
                .drive(two.now, Some(&datagram), &mut last)
                .expect("the server's flight");
        }
        let done = two.give(&last).expect("taken");
        assert!(done.is_some(), "before the hello: {before_the_hello}");
    }
}

/// The server as the DTLS client of a peer that wants it so. What is sent in 1.2 after a ServerHello
/// is plaintext.
#[test]
fn plaintext_of_a_stranger_ends_no_handshake_in_1_3_in_which_the_server_is_the_client() {
    let own = certificate();
    let dtls = server().requiring_post_quantum().expect("it has one");
    let settings = Context::new(&own.certificate, &own.private_key, FLIGHT_RTO, Groups::Any);
    let settings = settings.expect("settings");
    let others = [
        record(11, 1, &[0, 0, 4, 0, 0, 1, 48]),
        record(12, 2, &[3, 0, 29, 1, 9]),
        record(14, 3, &[]),
        Bytes::from_static(&[20, 254, 253, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 1]),
    ];
    for before_the_answer in [true, false] {
        let now = Instant::now();
        let mut peer = Association::new(&settings, Side::Server, now).expect("a peer");
        let (mut ours, _) = dtls.begin_active(Role::Publisher, now).expect("room");
        let (mut sent, mut answers) = (Vec::new(), Vec::new());
        ours.drive(now, None, &mut sent).expect("a ClientHello");
        let disturb = |ours: &mut Box<dyn Handshake>| {
            for other in &others {
                let mut out = Vec::new();
                ours.drive(now, Some(other), &mut out).expect("dropped");
            }
        };
        if before_the_answer {
            disturb(&mut ours);
        }
        for datagram in sent.drain(..) {
            peer.drive(now, Some(&datagram), &mut answers)
                .expect("answered");
        }
        let mut done = None;
        for (place, datagram) in answers.drain(..).enumerate() {
            let result = ours.drive(now, Some(&datagram), &mut sent);
            done = done.or(result.expect("the peer's flight"));
            if place == 0 && !before_the_answer {
                assert!(done.is_none(), "the flight has several datagrams");
                disturb(&mut ours);
                let late = record(3, 0, &[254, 253, 4, 1, 2, 3, 4]);
                let hello = [datagram.clone(), late];
                for again in hello {
                    let result = ours.drive(now, Some(&again), &mut Vec::new());
                    assert!(result.expect("dropped").is_none());
                }
            }
        }
        let done = done.expect("complete");
        assert!(done.agreed.is_post_quantum());
        let mut other = None;
        for datagram in sent {
            let result = peer.drive(now, Some(&datagram), &mut Vec::new());
            other = other.or(result.expect("our last flight"));
        }
        assert!(other.is_some(), "before the answer: {before_the_answer}");
    }
}
