use super::super::cookie::{COOKIE_LEN, Cookies};
use super::super::handshake::{Completed, HANDSHAKE_TIMEOUT, Handshake};
use super::super::load::Load;
use super::super::srtp::{Profile, SessionKeys};
use super::under_way::OVERTAKEN_TIMEOUT;
use super::*;
use crate::peer::{Agreed, Version};

/// Completes when it is told to, by its number, which its last flight has too.
struct Puppet(Instant, usize);

impl Handshake for Puppet {
    fn drive(
        &mut self,
        now: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError> {
        self.0 = now + Duration::from_secs(1);
        if datagram == Some(&finished(self.1)) {
            out.push(last_flight(self.1).into());
        }
        let keys = || SessionKeys::new(Profile::AeadAes128Gcm, &[0; 56]).expect("keys");
        Ok((datagram == Some(&finished(self.1))).then(|| Completed {
            certificate: Vec::new(),
            keys: keys(),
            agreed: Agreed {
                version: Version::Dtls12,
                group: None,
                profile: Profile::AeadAes128Gcm,
            },
        }))
    }

    fn next_timeout(&self) -> Instant {
        self.0
    }
}

struct World {
    now: Instant,
    cookies: Cookies,
    handshakes: Handshakes,
    begun: Vec<Begin>,
}

fn here() -> TransportAddress {
    TransportAddress::udp(([192, 0, 2, 1], 1))
}

/// The first fragment of a ClientHello, with no session id.
fn hello(random: u8, cookie: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 25];
    datagram[0] = 22;
    datagram[13] = 1;
    datagram.extend([0xfe, 0xfd]);
    datagram.extend([random; 32]);
    datagram.extend([0, cookie.len() as u8]);
    datagram.extend(cookie);
    datagram
}

/// A protected record, which the puppet of this number takes for the end of its handshake.
fn finished(number: usize) -> [u8; 2] {
    [0x2f, number as u8]
}

/// A ChangeCipherSpec that shows whose it is.
fn last_flight(number: usize) -> Vec<u8> {
    vec![20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1, number as u8]
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            cookies: Cookies::new(&[5; 32], now),
            handshakes: Handshakes::default(),
            begun: Vec::new(),
        }
    }

    /// Hands in a datagram. Whether a handshake was completed, and what was sent.
    fn take(&mut self, datagram: &[u8]) -> (bool, Vec<Transmit>) {
        let (now, cookies, begun) = (self.now, &self.cookies, &mut self.begun);
        let mut out = Vec::new();
        let passed = self
            .handshakes
            .screen(now, here(), datagram, cookies, |_| true, &mut out);
        let mut done = false;
        for datagram in passed {
            let shown = cookies.shown(now, here(), &datagram);
            let start = |begin| {
                begun.push(begin);
                Some((
                    Box::new(Puppet(now, begun.len())) as Box<dyn Handshake>,
                    Load::for_tests(),
                ))
            };
            let handshakes = &mut self.handshakes;
            done |= handshakes
                .handle(
                    now,
                    here(),
                    &datagram.into_owned().into(),
                    shown,
                    start,
                    &mut out,
                )
                .is_some();
        }
        (done, out)
    }

    fn cookie(&mut self, random: u8) -> Vec<u8> {
        let (_, out) = self.take(&hello(random, &[]));
        assert_eq!(out.len(), 1, "asked for a cookie");
        out[0].data[out[0].data.len() - COOKIE_LEN..].to_vec()
    }
}

#[test]
fn an_older_attempt_cannot_begin_anew_once_a_newer_one_has_completed() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.take(&hello(2, &[]));
    assert!(world.take(&finished(2)).0);
    world.take(&hello(1, &[]));
    assert!(!world.take(&finished(1)).0);
    assert_eq!(world.begun.len(), 2, "said again, since no answer came");
    world.now += STALE;
    world.take(&hello(1, &[]));
    assert_eq!(world.begun.len(), 3, "forgotten in the end");
}

#[test]
fn only_the_newest_completed_attempt_repeats_its_last_flight() {
    let mut world = World::new();
    for number in 1..=3 {
        world.take(&hello(number as u8, &[]));
        let (done, out) = world.take(&finished(number));
        assert!(done);
        assert_eq!(out[0].data, last_flight(number));
        world.now += Duration::from_millis(100);
    }
    // The record of a ClientKeyExchange.
    let mut theirs = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 100, 16];
    theirs.resize(113, 0);
    let mut out = Vec::new();
    let (now, start) = (world.now, |_| unreachable!("no ClientHello"));
    let done = world
        .handshakes
        .handle(now, here(), &theirs.into(), Begin::Direct, start, &mut out);
    assert!(done.is_none());
    let said: Vec<_> = out.iter().map(|transmit| transmit.data.to_vec()).collect();
    assert_eq!(said, [last_flight(3)]);
}

#[test]
fn a_newer_attempt_goes_on_when_an_older_one_completes() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.take(&hello(2, &[]));
    assert!(world.take(&finished(1)).0);
    assert!(world.take(&finished(2)).0);
    assert_eq!(world.begun.len(), 2);
}

#[test]
fn under_a_flood_only_who_shows_a_cookie_is_answered() {
    let mut world = World::new();
    for random in 1..=100 {
        let (_, out) = world.take(&hello(random, &[]));
        let asked = usize::from(random > 2);
        assert_eq!(out.len(), asked);
        world.now += Duration::from_millis(2);
    }
    assert_eq!(world.begun, [Begin::Direct, Begin::Direct]);
    // The browser may take the answer to anybody's ClientHello for its own.
    let cookie = world.cookie(101);
    world.take(&hello(102, &cookie));
    assert_eq!(world.begun.len(), 3);
    let mut forged = cookie.clone();
    forged[0] ^= 1;
    world.take(&hello(103, &forged));
    assert_eq!(world.begun.len(), 3);
    assert!(world.take(&finished(3)).0);
}

#[test]
fn a_failure_counts_only_where_no_other_handshake_is_completed() {
    let mut world = World::new();
    let expire = |world: &mut World| {
        world.now += HANDSHAKE_TIMEOUT;
        let (now, mut out) = (world.now, Vec::new());
        assert!(
            world
                .handshakes
                .handle_timeout(now, here(), &mut out)
                .is_none()
        );
        world.handshakes.take_failures()
    };
    world.take(&hello(1, &[]));
    world.now += OVERTAKEN_TIMEOUT;
    world.take(&hello(2, &[]));
    assert_eq!(world.handshakes.list.len(), 1, "the older one is given up");
    assert_eq!(
        world.handshakes.take_failures(),
        Failures::default(),
        "the newer one is under way"
    );
    assert!(world.take(&finished(2)).0);
    assert_eq!(expire(&mut world), Failures::default());

    world.take(&hello(3, &[]));
    let timeout = Failures {
        timeout: 1,
        ..Failures::default()
    };
    assert_eq!(expire(&mut world), timeout);
    assert_eq!(
        world.handshakes.take_failures(),
        Failures::default(),
        "told once"
    );

    world.take(&hello(4, &[]));
    let certificate = Failures {
        certificate: 1,
        ..Failures::default()
    };
    assert_eq!(world.handshakes.give_up(Fault::NoCertificate), certificate);
    assert_eq!(world.handshakes.give_up(Fault::Passive).error, 1);
}

#[test]
fn one_in_which_the_browser_has_answered_is_not_pushed_out_by_new_ones() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.handshakes.list[0].answered = true;
    world.take(&hello(2, &[]));
    for random in 3..8 {
        let cookie = world.cookie(random);
        world.take(&hello(random, &cookie));
    }
    assert_eq!(world.begun.len(), 7);
    let there: Vec<u8> = world.handshakes.list.iter().map(|h| h.random[0]).collect();
    assert_eq!(there, [7, 6, 1]);
}

#[test]
fn where_others_send_hellos_too_a_flight_without_a_cookie_is_not_repeated_unasked() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    let end = world.now + HANDSHAKE_TIMEOUT;
    assert!(world.handshakes.next_timeout() < Some(end));
    world.take(&hello(2, &[]));
    world.take(&hello(3, &[]));
    let earliest = world.handshakes.next_timeout().unwrap();
    assert!(earliest >= world.now + OVERTAKEN_TIMEOUT);
}

/// The ClientHello that a HelloVerifyRequest asks for was asked for.
fn is_asked(out: &[Transmit]) -> bool {
    out.len() == 1 && out[0].data[13] == 3
}

#[test]
fn an_attempt_that_comes_again_after_the_next_one_is_asked_for_a_cookie_and_the_next_one_is_not() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.take(&hello(2, &[]));
    let (_, out) = world.take(&hello(1, &[]));
    assert!(is_asked(&out), "whose answer would spoil the next attempt");
    let cookie = out[0].data[out[0].data.len() - COOKIE_LEN..].to_vec();
    let (_, out) = world.take(&hello(2, &[]));
    assert_eq!(out, [], "it goes on");
    assert_eq!(world.begun, [Begin::Direct, Begin::Direct]);
    // Where the next one was a stranger's, the browser is in the first, and goes on with its
    // cookie.
    world.take(&hello(1, &cookie));
    assert_eq!(world.begun.len(), 3);
    assert!(world.take(&finished(3)).0);
}

#[test]
fn a_flight_is_not_repeated_while_a_newer_attempt_waits_for_its_turn() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    let soon = world.now + Duration::from_secs(1);
    assert_eq!(
        world.handshakes.next_timeout(),
        Some(soon),
        "it is repeated"
    );
    let (now, cookies, next) = (world.now, &world.cookies, hello(2, &[]));
    let passed = world
        .handshakes
        .screen(now, here(), &next, cookies, |_| true, &mut Vec::new());
    assert_eq!(passed.len(), 1, "and waits");
    assert_eq!(
        world.handshakes.next_timeout(),
        Some(now + OVERTAKEN_TIMEOUT)
    );
}

#[test]
fn a_late_copy_of_a_clienthello_whose_client_has_gone_on_begins_nothing() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.take(&hello(2, &[]));
    let cookie = world.cookie(3);
    world.take(&hello(3, &cookie));
    assert_eq!(world.begun.len(), 3);
    assert_eq!(
        world.take(&hello(3, &[])),
        (false, vec![]),
        "it has shown a cookie"
    );
    assert!(world.take(&finished(3)).0);
    for hello in [hello(3, &[]), hello(3, &cookie), hello(2, &[])] {
        assert_eq!(world.take(&hello), (false, vec![]), "it has completed");
    }
    assert_eq!(world.begun.len(), 3);
}

#[test]
fn a_flight_is_not_repeated_unasked_once_another_attempt_was_asked_for_a_cookie() {
    let mut world = World::new();
    world.take(&hello(1, &[]));
    world.take(&hello(2, &[]));
    let cookie = world.cookie(3);
    world.take(&hello(3, &cookie));
    assert_eq!(
        world.handshakes.next_timeout(),
        Some(world.now + Duration::from_secs(1))
    );
    assert!(is_asked(&world.take(&hello(4, &[])).1));
    assert_eq!(
        world.handshakes.next_timeout(),
        Some(world.now + OVERTAKEN_TIMEOUT)
    );
    assert_eq!(world.take(&hello(4, &cookie)).1, []);
    assert_eq!(
        world.handshakes.next_timeout(),
        Some(world.now + Duration::from_secs(1)),
        "the newest one's"
    );
}

#[test]
fn where_no_cookie_is_given_each_client_hello_begins_within_the_same_budget() {
    let mut world = World::new();
    world.cookies = Cookies::new(&[5; 32], world.now).withheld();
    for random in 1..=200 {
        let (_, out) = world.take(&hello(random, &[]));
        assert!(out.is_empty(), "nobody is asked for a cookie");
    }
    let begun = world.begun.len();
    assert!((3..200).contains(&begun), "{begun}");
    assert!(world.begun.iter().all(|begin| *begin == Begin::Direct));
}

/// Answers the first fragment of each ClientHello, and keeps what is handed to it.
struct Asking(Instant, std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>);

impl Handshake for Asking {
    fn drive(
        &mut self,
        _: Instant,
        datagram: Option<&[u8]>,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Completed>, DtlsError> {
        let Some(datagram) = datagram else {
            return Ok(None);
        };
        if client_hello(datagram).is_some() {
            out.push(Bytes::from_static(b"answer"));
        }
        self.1.lock().expect("not poisoned").push(datagram.to_vec());
        Ok(None)
    }

    fn next_timeout(&self) -> Instant {
        self.0 + Duration::from_secs(1)
    }
}

/// A browser that has a group but sends no share of it is asked for another ClientHello, which with
/// X25519MLKEM768 has two datagrams.
#[test]
fn all_of_the_client_hello_that_a_server_asks_for_reaches_it() {
    let (now, cookies) = (Instant::now(), Cookies::new(&[5; 32], Instant::now()));
    let taken = std::sync::Arc::default();
    let mut handshakes = Handshakes::default();
    // Record number, message_seq and fragment_offset.
    let numbered = |record: u8, message: u8, offset: u8| {
        let mut datagram = hello(1, &[]);
        (datagram[10], datagram[18], datagram[21]) = (record, message, offset);
        datagram
    };
    let mut take = |datagram: Vec<u8>| {
        let mut out = Vec::new();
        let passed = handshakes.screen(now, here(), &datagram, &cookies, |_| true, &mut out);
        for datagram in passed {
            let handshake = Asking(now, std::sync::Arc::clone(&taken));
            let start = |_| Some((Box::new(handshake) as Box<dyn Handshake>, Load::for_tests()));
            let datagram = Bytes::from(datagram.into_owned());
            let shown = cookies.shown(now, here(), &datagram);
            handshakes.handle(now, here(), &datagram, shown, start, &mut out);
        }
        taken.lock().expect("not poisoned").len()
    };
    assert_eq!(take(numbered(0, 0, 0)), 1, "answered");
    assert_eq!(take(numbered(1, 0, 9)), 1, "the answer was to all of it");
    assert_eq!(
        take(numbered(7, 1, 9)),
        1,
        "nobody has begun it: a stranger's"
    );
    assert_eq!(take(numbered(2, 1, 0)), 2, "the one that was asked for");
    assert_eq!(take(numbered(3, 1, 9)), 3, "and the rest of it");
}
