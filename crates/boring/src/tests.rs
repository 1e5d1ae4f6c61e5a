//! Both sides of handshakes in memory, on a clock of the tests.

use std::time::{Duration, Instant};

use boring::asn1::Asn1Time;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::{X509, X509NameBuilder};
use bytes::Bytes;

use crate::{Association, Completed, Context, Error, Group, Groups, Side, Srtp, Version};

const FIRST_TIMEOUT: Duration = Duration::from_millis(200);

/// A certificate (DER) that this key (PKCS#8 DER) signs itself.
fn certificate(key: &PKey<Private>) -> (Vec<u8>, Vec<u8>) {
    let mut builder = X509::builder().unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "WebRTC").unwrap();
    let name = name.build();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(key).unwrap();
    let days = |days| Asn1Time::days_from_now(days).unwrap();
    builder.set_not_before(&days(0)).unwrap();
    builder.set_not_after(&days(30)).unwrap();
    builder.sign(key, MessageDigest::sha256()).unwrap();
    let der = builder.build().to_der().unwrap();
    (der, key.private_key_to_der_pkcs8().unwrap())
}

fn curve(curve: Nid) -> (Vec<u8>, Vec<u8>) {
    let group = EcGroup::from_curve_name(curve).unwrap();
    let key = EcKey::generate(&group).unwrap();
    certificate(&PKey::from_ec_key(key).unwrap())
}

fn p256() -> (Vec<u8>, Vec<u8>) {
    curve(Nid::X9_62_PRIME256V1)
}

fn rsa() -> (Vec<u8>, Vec<u8>) {
    certificate(&PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap())
}

fn context((certificate, key): &(Vec<u8>, Vec<u8>), groups: Groups) -> Context {
    Context::new(certificate, key, FIRST_TIMEOUT, groups).unwrap()
}

/// A client, a server, and what each has got out of the handshake.
struct Two {
    now: Instant,
    sides: [Association; 2],
    done: [Option<Completed>; 2],
    /// Datagrams sent, by sender.
    sent: [Vec<Bytes>; 2],
    error: Option<Error>,
}

impl Two {
    fn new(client: &Context, server: &Context, only_12: bool) -> Self {
        let now = Instant::now();
        let client = if only_12 {
            Association::new_12(client, Side::Client, now).unwrap()
        } else {
            Association::new(client, Side::Client, now).unwrap()
        };
        let server = Association::new(server, Side::Server, now).unwrap();
        Self {
            now,
            sides: [client, server],
            done: [None, None],
            sent: [Vec::new(), Vec::new()],
            error: None,
        }
    }

    fn drive(&mut self, side: usize, datagram: Option<&[u8]>) -> Vec<Bytes> {
        let mut out = Vec::new();
        match self.sides[side].drive(self.now, datagram, &mut out) {
            Ok(None) => {}
            Ok(Some(done)) => self.done[side] = Some(done),
            Err(error) => self.error = Some(error),
        }
        self.sent[side].extend(out.iter().cloned());
        out
    }

    /// Carries datagrams, of which `lose` takes some away, until both are done or 20 s are over.
    fn run(&mut self, mut lose: impl FnMut(usize, usize) -> bool) {
        let until = self.now + Duration::from_secs(20);
        let mut count = [0; 2];
        let mut way: Vec<(usize, Bytes)> = Vec::new();
        while self.error.is_none() && self.done.iter().any(Option::is_none) && self.now < until {
            for side in 0..2 {
                if self.sides[side].next_timeout() <= self.now {
                    let out = self.drive(side, None);
                    way.extend(out.into_iter().map(|data| (side, data)));
                }
            }
            while !way.is_empty() && self.error.is_none() {
                let (from, data) = way.remove(0);
                count[from] += 1;
                if !lose(from, count[from]) {
                    let out = self.drive(1 - from, Some(&data));
                    way.extend(out.into_iter().map(|data| (1 - from, data)));
                }
            }
            self.now += Duration::from_millis(5);
        }
    }

    fn agreed(&self) -> (Version, Group, Srtp) {
        let [Some(client), Some(server)] = &self.done else {
            panic!("not complete: {:?}", self.error);
        };
        assert_eq!(client.material, server.material);
        let of = |done: &Completed| (done.version, done.group, done.srtp);
        assert_eq!(of(client), of(server));
        of(server)
    }
}

#[test]
fn both_sides_agree_in_both_versions_and_on_the_group_that_they_share() {
    let (own, other) = (p256(), p256());
    let gcm = Srtp::AeadAes256Gcm;
    let cases = [
        (
            Groups::Any,
            Groups::Any,
            false,
            Version::Dtls13,
            Group::X25519MlKem768,
        ),
        (
            Groups::PostQuantum,
            Groups::Any,
            false,
            Version::Dtls13,
            Group::X25519MlKem768,
        ),
        (
            Groups::Any,
            Groups::Classical,
            false,
            Version::Dtls13,
            Group::X25519,
        ),
        (
            Groups::Any,
            Groups::Classical,
            true,
            Version::Dtls12,
            Group::X25519,
        ),
    ];
    for (server, client, only_12, version, group) in cases {
        let mut two = Two::new(&context(&other, client), &context(&own, server), only_12);
        two.run(|_, _| false);
        assert_eq!(two.agreed(), (version, group, gcm));
        let certificate = |side: usize| &two.done[side].as_ref().unwrap().certificate;
        assert_eq!((certificate(0), certificate(1)), (&own.0, &other.0));
    }
}

#[test]
fn clients_with_keys_of_other_kinds_are_served() {
    let own = context(&p256(), Groups::Any);
    for client in [rsa(), curve(Nid::SECP384R1), curve(Nid::SECP521R1)] {
        for only_12 in [true, false] {
            let mut two = Two::new(&context(&client, Groups::Any), &own, only_12);
            two.run(|_, _| false);
            two.agreed();
        }
    }
}

#[test]
fn a_client_without_the_group_that_is_required_is_refused_and_nothing_is_sent_to_it() {
    let server = context(&p256(), Groups::PostQuantum);
    for only_12 in [true, false] {
        let client = context(&p256(), Groups::Classical);
        let mut two = Two::new(&client, &server, only_12);
        two.run(|_, _| false);
        assert!(
            matches!(two.error, Some(Error::NoSharedGroup(_))),
            "{:?}",
            two.error
        );
        assert!(two.sent[1].is_empty());
    }
}

#[test]
fn every_datagram_may_be_lost_once() {
    let (own, other) = (p256(), p256());
    for groups in [Groups::Any, Groups::Classical] {
        for only_12 in [true, false] {
            for lost in (0..2).flat_map(|side| (1..6).map(move |n| (side, n))) {
                let (client, server) = (context(&other, groups), context(&own, groups));
                let mut two = Two::new(&client, &server, only_12);
                let start = two.now;
                two.run(|from, count| (from, count) == lost);
                two.agreed();
                assert!(two.now - start < Duration::from_secs(3), "{lost:?}");
            }
        }
    }
}

#[test]
fn flights_are_cut_into_datagrams_of_the_length_that_is_set() {
    let (own, other) = (p256(), p256());
    let mut two = Two::new(
        &context(&other, Groups::Any).with_mtu(400),
        &context(&own, Groups::Any).with_mtu(400),
        false,
    );
    two.run(|_, _| false);
    two.agreed();
    for sent in &two.sent {
        assert!(sent.iter().all(|datagram| datagram.len() <= 400));
        assert!(sent.len() >= 4);
    }
}

#[test]
fn time_passes_only_as_it_is_told() {
    let context = context(&p256(), Groups::Any);
    let now = Instant::now();
    let mut client = Association::new(&context, Side::Client, now).unwrap();
    let mut out = Vec::new();
    client.drive(now, None, &mut out).unwrap();
    let flight = out.len();
    let mut due = now;
    for timeout in [200, 400, 800] {
        due += Duration::from_millis(timeout);
        assert_eq!(client.next_timeout(), due);
        out.clear();
        client
            .drive(due - Duration::from_millis(20), None, &mut out)
            .unwrap();
        assert_eq!(out.len(), 0);
        client.drive(due, None, &mut out).unwrap();
        assert_eq!(out.len(), flight);
    }
    client.repeat(due);
    assert_eq!(client.next_timeout(), due);
    out.clear();
    client.drive(due, None, &mut out).unwrap();
    assert_eq!(out.len(), flight, "before its time, where it is asked for");
}

#[test]
fn junk_is_dropped() {
    let (own, other) = (p256(), p256());
    let mut two = Two::new(
        &context(&other, Groups::Any),
        &context(&own, Groups::Any),
        false,
    );
    for junk in [
        &[22][..],
        &[22; 13],
        &[0x2f; 40],
        &[0; 2000],
        &[23, 254, 253, 0, 0],
    ] {
        two.drive(1, Some(junk));
        assert!(two.error.is_none());
    }
    two.run(|_, _| false);
    two.agreed();
}
