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

/// The last flight of an attempt in DTLS 1.2 begins with the client's Certificate, in plaintext.
#[test]
fn plaintext_of_an_attempt_before_or_of_a_stranger_ends_no_handshake_in_1_3() {
    let own = certificate();
    let dtls = Dtls::new(&own.certificate, &own.private_key).expect("settings");
    // Type, version, epoch, sequence number and length; then a Certificate, message_seq 2.
    let mut late = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 2, 0, 19];
    late.extend([11, 0, 0, 7, 0, 2, 0, 0, 0, 0, 0, 7, 0, 0, 4, 0, 0, 1, 48]);
    let late = Bytes::from(late);
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
