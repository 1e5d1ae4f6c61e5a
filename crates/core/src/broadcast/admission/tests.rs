//! What waits for its record, whose turn it is, and what the log says of what is dropped.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rekindle_ids::{IceCredentials, IcePassword, Role, TransportAddress, Ufrag};
use rekindle_sdp as sdp;

use super::attempt::tests::{hello, numbered};
use super::waiting_room::MAX_WAITING;
use crate::broadcast::tests::browser::Browser;
use crate::broadcast::{Broadcast, Config, Departure, Event, Recorded, Routed};
use crate::fuzzing::world::DTLS;
use crate::peer::Transmit;

const MS: Duration = Duration::from_millis(1);

fn address(port: u16) -> TransportAddress {
    TransportAddress::udp(([192, 0, 2, 1], port))
}

/// A core that reads records, and the time.
fn after_a_start() -> (Broadcast, Instant) {
    let now = Instant::now();
    let mut core = Broadcast::new(Config::default(), DTLS.clone(), [7; 32], now);
    core.await_records();
    (core, now)
}

fn ice(role: Role, n: u16) -> IceCredentials {
    let letter = if role == Role::Publisher { 'P' } else { 'V' };
    IceCredentials {
        ufrag: Ufrag::new(format!("{letter}{n:015}")).expect("a fragment"),
        pwd: IcePassword::new("p".repeat(32)),
    }
}

/// What a record says.
struct Record {
    role: Role,
    channel: String,
    ice: IceCredentials,
    offer: String,
    answer: String,
}

impl Record {
    fn read(&self) -> Recorded<'_> {
        Recorded {
            role: self.role,
            channel: &self.channel,
            ice: &self.ice,
            offer: &self.offer,
            answer: &self.answer,
        }
    }
}

/// A record that names this port.
fn record(role: Role, n: u16, port: Option<u16>) -> Record {
    let ice = ice(role, n);
    let offer = match role {
        Role::Publisher => {
            include_str!("../../../../sdp/src/testdata/chromium-156-publish.sdp")
        }
        Role::Viewer => include_str!("../../../../sdp/src/testdata/chromium-156-watch.sdp"),
    };
    let local = sdp::Local {
        ice: &ice,
        fingerprint_sha256: &DTLS.sha256(),
        addresses: &[],
        tcp: false,
        session_id: 1,
    };
    Record {
        role,
        channel: format!("channel{n}"),
        answer: sdp::answer(role, offer, None, &local)
            .expect("an answer")
            .text,
        offer: port.map_or_else(
            || offer.to_owned(),
            |port| sdp::with_address(offer, address(port).socket),
        ),
        ice,
    }
}

fn check(role: Role, n: u16) -> Vec<u8> {
    let mut browser = Browser::new(role, n);
    browser.join.ice = ice(role, n);
    browser.stun()
}

fn handle(core: &mut Broadcast, now: Instant, port: u16, data: &[u8]) -> (Routed, Vec<Transmit>) {
    let mut out = Vec::new();
    let routed = core.handle(now, address(port), data, &mut out);
    (routed, out)
}

fn take(core: &mut Broadcast, now: Instant, record: &Record) -> Vec<Transmit> {
    let mut out = Vec::new();
    core.take_record(now, record.read(), &mut out);
    out
}

/// Ports in the order of their turns, with what waits of each.
fn turns(core: &mut Broadcast) -> Vec<(u16, Vec<Vec<u8>>)> {
    std::iter::from_fn(|| {
        let (from, parts) = core.admission.queue.next()?;
        Some((
            from.socket.port(),
            parts.map(|part| part.data.to_vec()).collect(),
        ))
    })
    .collect()
}

#[test]
fn of_two_attempts_that_came_before_the_record_only_the_later_one_gets_a_turn() {
    let (mut core, now) = after_a_start();
    for data in [hello(1), hello(2), numbered(2, 1)] {
        assert_eq!(
            handle(&mut core, now, 5000, &data),
            (Routed::UnknownAddress, vec![])
        );
    }
    let out = take(&mut core, now, &record(Role::Publisher, 1, Some(5000)));
    assert_eq!(out, [], "no handshake has begun");
    assert_eq!(
        core.next_timeout(),
        Some(now),
        "it wants to be called at once"
    );
    assert_eq!(turns(&mut core), [(5000, vec![hello(2)])]);
}

#[test]
fn where_it_is_not_known_which_attempt_the_browser_is_in_it_is_asked_for_a_cookie() {
    let (mut core, now) = after_a_start();
    for data in [hello(1), hello(2), numbered(1, 1)] {
        handle(&mut core, now, 5000, &data);
    }
    let out = take(&mut core, now, &record(Role::Publisher, 1, Some(5000)));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].data[13], 3, "a HelloVerifyRequest");
    assert_eq!(turns(&mut core), []);
    assert_eq!(handle(&mut core, now, 5000, &hello(2)).0, Routed::Answered);
    assert_eq!(turns(&mut core), [], "said again, it is asked again");
    assert_eq!(
        handle(&mut core, now + MS, 5000, &hello(3)).1,
        [],
        "a third attempt is in no doubt"
    );
    assert_eq!(turns(&mut core), [(5000, vec![hello(3)])]);
}

#[test]
fn an_attempt_that_was_over_before_the_record_came_does_not_come_back_after_it() {
    let (mut core, now) = after_a_start();
    for data in [hello(1), hello(2)] {
        handle(&mut core, now, 5000, &data);
    }
    take(&mut core, now, &record(Role::Viewer, 1, Some(5000)));
    let (routed, out) = handle(&mut core, now, 5000, &numbered(1, 1));
    assert_eq!((routed, out.len()), (Routed::Answered, 1));
    assert_eq!(out[0].data[13], 3, "it is asked for a cookie");
    assert_eq!(turns(&mut core), [(5000, vec![hello(2)])]);
}

#[test]
fn publishers_have_their_turn_first_whatever_waited_for_its_record_or_came_before() {
    let (mut core, now) = after_a_start();
    take(&mut core, now, &record(Role::Viewer, 1, Some(1)));
    handle(&mut core, now, 1, &hello(1));
    for port in 2..=5 {
        handle(&mut core, now, port, &hello(port as u8));
    }
    take(&mut core, now, &record(Role::Viewer, 2, Some(2)));
    take(&mut core, now, &record(Role::Publisher, 3, Some(3)));
    take(&mut core, now, &record(Role::Viewer, 4, Some(4)));
    take(&mut core, now, &record(Role::Publisher, 5, Some(5)));
    let ports: Vec<u16> = turns(&mut core).iter().map(|(port, _)| *port).collect();
    assert_eq!(ports, [3, 5, 1, 2, 4]);
}

#[test]
fn a_check_demands_its_record_once_and_is_answered_when_that_comes() {
    let (mut core, now) = after_a_start();
    for n in [1, 2] {
        for _ in 0..3 {
            let (routed, out) = handle(&mut core, now, n, &check(Role::Viewer, n));
            assert_eq!((routed, out), (Routed::UnknownUfrag, vec![]));
        }
        handle(&mut core, now, n, &hello(n as u8));
    }
    let demanded: Vec<Ufrag> = std::iter::from_fn(|| core.poll_demand()).collect();
    assert_eq!(demanded, [1, 2].map(|n| ice(Role::Viewer, n).ufrag));
    // Neither record names an address: the checks prove them.
    assert_eq!(
        take(&mut core, now, &record(Role::Viewer, 2, None)).len(),
        3
    );
    assert_eq!(
        turns(&mut core),
        [(2, vec![hello(2)])],
        "and nothing of the other one's"
    );
    assert_eq!(
        take(&mut core, now, &record(Role::Viewer, 1, None)).len(),
        3
    );
    assert_eq!(turns(&mut core), [(1, vec![hello(1)])]);
    assert_eq!(core.admission.room.as_ref().expect("being read").len(), 0);
}

#[test]
fn a_check_that_comes_after_the_record_frees_what_waits_at_its_address() {
    let (mut core, now) = after_a_start();
    take(&mut core, now, &record(Role::Viewer, 1, Some(99)));
    assert_eq!(
        handle(&mut core, now, 1, &hello(1)).0,
        Routed::UnknownAddress
    );
    assert_eq!(turns(&mut core), []);
    assert_eq!(
        handle(&mut core, now, 1, &check(Role::Viewer, 1)).0,
        Routed::Checked
    );
    assert_eq!(turns(&mut core), [(1, vec![hello(1)])]);
}

#[test]
fn somebody_elses_check_from_a_browsers_address_does_not_lose_its_clienthello() {
    let (mut core, now) = after_a_start();
    handle(&mut core, now, 1, &hello(1));
    let mut forged = check(Role::Viewer, 2);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    handle(&mut core, now, 1, &forged);
    assert_eq!(take(&mut core, now, &record(Role::Viewer, 2, None)), []);
    assert_eq!(turns(&mut core), []);
    take(&mut core, now, &record(Role::Viewer, 1, Some(1)));
    assert_eq!(turns(&mut core), [(1, vec![hello(1)])]);
}

#[test]
fn a_clienthello_is_copied_once() {
    let (mut core, now) = after_a_start();
    handle(&mut core, now, 1, &hello(1));
    let room = core.admission.room.as_mut().expect("being read");
    let waiting = room.take(address(1)).expect("it waits");
    let kept = waiting
        .hello
        .into_datagrams()
        .next()
        .expect("a ClientHello");
    let at = kept.as_ptr();
    take(&mut core, now, &record(Role::Viewer, 1, Some(1)));
    let mut out = Vec::new();
    core.admit(now, address(1), super::Payload::Kept(kept), &mut out);
    let (_, mut parts) = core.admission.queue.next().expect("a turn");
    assert_eq!(parts.next().expect("a ClientHello").data.as_ptr(), at);
}

#[test]
fn a_record_that_cannot_be_read_or_is_of_no_use_holds_nothing_up() {
    let (mut core, now) = after_a_start();
    for n in [1, 2] {
        handle(&mut core, now, n, &check(Role::Viewer, n));
    }
    core.skip_record(&ice(Role::Viewer, 1).ufrag);
    let mut torn = record(Role::Viewer, 2, None);
    torn.answer.clear();
    assert_eq!(take(&mut core, now, &torn), []);
    let gone = Event::Gone {
        ufrag: ice(Role::Viewer, 2).ufrag,
        why: Departure::NoRehandshake,
    };
    assert_eq!(core.poll_event(), Some(gone));
    assert_eq!(core.admission.room.as_ref().expect("being read").len(), 0);
}

#[test]
fn once_all_records_were_read_nothing_waits_any_more() {
    let (mut core, now) = after_a_start();
    handle(&mut core, now, 1, &hello(1));
    handle(&mut core, now, 1, &check(Role::Viewer, 1));
    core.all_records_read();
    assert_eq!(core.poll_demand(), None);
    assert_eq!(
        handle(&mut core, now, 1, &check(Role::Viewer, 1)).0,
        Routed::UnknownUfrag
    );
    assert_eq!(core.poll_demand(), None);
    take(&mut core, now, &record(Role::Viewer, 1, Some(1)));
    assert_eq!(turns(&mut core), []);
}

/// Ports that somebody holds while no server runs are full of it.
#[test]
fn media_of_the_last_boot_takes_nobodys_place() {
    let (mut core, now) = after_a_start();
    for n in 0..2 * MAX_WAITING {
        handle(&mut core, now, n as u16, &[0x80; 40]);
    }
    assert_eq!(core.admission.room.as_ref().map(|room| room.len()), Some(0));
    handle(&mut core, now, 5000, &hello(1));
    take(&mut core, now, &record(Role::Publisher, 1, Some(5000)));
    assert_eq!(turns(&mut core), [(5000, vec![hello(1)])]);
}

#[test]
fn a_flood_while_records_are_read_has_a_bound_in_memory_and_in_demand() {
    let (mut core, now) = after_a_start();
    let flood = check(Role::Viewer, 0);
    let name = flood
        .windows(16)
        .position(|part| part == b"V000000000000000")
        .expect("a name");
    for n in 0..20_000_u32 {
        let mut check = flood.clone();
        check[name + 1..name + 16].copy_from_slice(format!("{n:015}").as_bytes());
        handle(&mut core, now, n as u16, &check);
        handle(&mut core, now, n as u16, &hello(n as u8));
        handle(&mut core, now, n as u16, &[0x80; 40]);
    }
    let room = core.admission.room.as_ref().expect("being read");
    assert_eq!(room.len(), MAX_WAITING);
    assert!(std::iter::from_fn(|| core.poll_demand()).count() <= MAX_WAITING);
    // Whose record comes is served all the same.
    take(&mut core, now, &record(Role::Publisher, 1, Some(60_001)));
    handle(&mut core, now, 60_001, &hello(1));
    assert_eq!(turns(&mut core), [(60_001, vec![hello(1)])]);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(data)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A reason, and what makes the core say it.
type Case = (&'static str, fn(&mut Broadcast, Instant));

/// What the log says of this at every level.
fn logged(work: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = log.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn what_is_dropped_leaves_one_line_with_its_reason_and_nobodys_address_or_name() {
    let cases: [Case; 10] = [
        ("no handshake is under way at its address", |core, now| {
            handle(core, now, 1, &[23; 60]);
        }),
        ("it waits already", |core, now| {
            handle(core, now, 1, &hello(1));
            handle(core, now, 1, &numbered(1, 1));
        }),
        ("its attempt was followed by another one", |core, now| {
            for data in [hello(1), hello(2), hello(1)] {
                handle(core, now, 1, &data);
            }
        }),
        ("all records have been read", |core, now| {
            handle(core, now, 1, &hello(1));
            core.all_records_read();
        }),
        ("no peer is at its address", |core, now| {
            core.all_records_read();
            handle(core, now, 1, &hello(1));
        }),
        ("it names no peer", |core, now| {
            core.all_records_read();
            handle(core, now, 1, &check(Role::Viewer, 1));
        }),
        ("its peer's record cannot be read", |core, now| {
            handle(core, now, 1, &check(Role::Viewer, 1));
            core.skip_record(&ice(Role::Viewer, 1).ufrag);
        }),
        ("its integrity is not its peer's", |core, now| {
            take(core, now, &record(Role::Viewer, 1, None));
            let mut forged = check(Role::Viewer, 1);
            let last = forged.len() - 1;
            forged[last] ^= 1;
            handle(core, now, 1, &forged);
        }),
        ("no check has come from its address lately", |core, now| {
            take(core, now, &record(Role::Viewer, 1, Some(1)));
            handle(core, now + 60_000 * MS, 1, &hello(1));
        }),
        ("has left before its turn came", |core, now| {
            take(core, now, &record(Role::Viewer, 1, Some(1)));
            handle(core, now, 1, &hello(1));
            core.leave(now, &ice(Role::Viewer, 1).ufrag);
            core.handle_timeout(now, &mut Vec::new());
        }),
    ];
    for (reason, work) in cases {
        let (mut core, now) = after_a_start();
        let log = logged(|| work(&mut core, now));
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(reason)).collect();
        assert_eq!(lines.len(), 1, "{reason}: {log}");
        assert!(
            lines[0].contains("TRACE") || lines[0].contains("DEBUG"),
            "{log}"
        );
        for private in ["192.0.2", "V0000000", ":1 "] {
            assert!(!log.contains(private), "{log}");
        }
    }
}
