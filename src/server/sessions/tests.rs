use std::sync::LazyLock;
use std::time::SystemTime;

use crate::ids::{IceCredentials, IcePassword};
use crate::server::Mode;
use crate::server::certificates::Certificates;
use crate::vault::Identity;

use super::super::events::{BACKLOG, EventStream, Kinds};
use super::greeting::MAX_STREAMS;
use super::*;
use futures_util::FutureExt;
use futures_util::StreamExt;

/// As of an answer that names none.
const CERTIFICATE: [u8; 32] = [0; 32];
static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let identity = Identity::generate(SystemTime::now()).expect("a certificate");
    Certificates::new(&identity, [])
});

fn sessions(per_address: usize) -> Sessions {
    Sessions::new(per_address, Instant::now())
}

fn greeting() -> Greeting<'static> {
    Greeting {
        boot: 1,
        process: "0123456789abcdef",
        mode: Mode::Rehandshake,
        certificates: &CERTIFICATES,
        media: &[],
        nodes: &[],
    }
}

pub(in crate::server) fn record(role: Role, ufrag: &str) -> Arc<PeerRecord> {
    Arc::new(PeerRecord {
        role,
        channel: "c".to_owned(),
        ice: IceCredentials {
            ufrag: Ufrag::new(ufrag).expect("a fragment"),
            pwd: IcePassword::new("p".repeat(32)),
        },
        offer: "v=0\r\n".to_owned(),
        answer: "v=0\r\n".to_owned(),
        joined_at: 0,
    })
}

pub(in crate::server) fn place(sessions: &Sessions) -> QuotaPermit {
    sessions
        .place(IpAddr::from([192, 0, 2, 1]))
        .expect("no limit")
}

/// The stream of one client, and what it has read of it.
fn open(sessions: &Sessions, ufrag: &Ufrag) -> Option<EventStream> {
    let (tap, stream) = EventStream::new(1, Kinds::named(Kinds::NAMES.split(',')));
    sessions
        .open_stream(ufrag, &greeting(), tap)
        .then_some(stream)
}

/// The names of the events that are there, and whether the stream has ended behind them.
fn read(stream: &mut EventStream) -> (Vec<String>, bool) {
    let mut names = Vec::new();
    loop {
        match stream.next().now_or_never() {
            None => return (names, false),
            Some(None) => return (names, true),
            Some(Some(text)) => {
                let text = String::from_utf8(text.expect("infallible").to_vec()).expect("text");
                names.extend(
                    text.lines()
                        .find_map(|line| line.strip_prefix("event: "))
                        .map(str::to_owned),
                );
            }
        }
    }
}

/// A session of a viewer, and its first stream past the greeting.
fn viewer(sessions: &Sessions) -> (Ufrag, EventStream) {
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    sessions.start(record, CERTIFICATE, place(sessions));
    let mut stream = open(sessions, &ufrag).expect("a stream");
    assert_eq!(read(&mut stream).0, ["hello", "inactive"]);
    (ufrag, stream)
}

#[tokio::test]
async fn a_stream_hears_what_becomes_of_its_session_and_then_ends() {
    let sessions = sessions(0);
    let (ufrag, mut stream) = viewer(&sessions);
    sessions.connected(&ufrag, false, Duration::from_millis(9), None);
    sessions.source("c", true, vec![]);
    sessions.source("another", true, vec![]);
    assert_eq!(read(&mut stream).0, ["connected", "source", "active"]);
    sessions.remove(&ufrag, Departure::Silent);
    assert_eq!(read(&mut stream), (vec!["gone".to_owned()], true));
    assert!(open(&sessions, &ufrag).is_none());
}

#[tokio::test]
async fn open_streams_are_told_where_else_their_sessions_may_be() {
    let sessions = sessions(0);
    let (_, mut stream) = viewer(&sessions);
    sessions.nodes(&["https://b.example".parse().expect("a node")]);
    assert_eq!(read(&mut stream), (vec!["nodes".to_owned()], false));
}

#[test]
fn of_those_who_are_awaited_it_is_counted_who_is_back_when_and_who_is_lost_why() {
    let sessions = Sessions::new(0, Instant::now() - Duration::from_secs(3));
    let [back, silent, left, new] =
        ["Back", "Silent", "Left", "New"].map(|name| record(Role::Viewer, &format!("{name:0<16}")));
    for awaited in [&back, &silent, &left] {
        sessions.resume(awaited.clone());
    }
    sessions.set_loaded(2);
    sessions.start(new.clone(), CERTIFICATE, place(&sessions));
    for _ in 0..2 {
        sessions.connected(&back.ice.ufrag, true, Duration::ZERO, None);
        sessions.connected(&new.ice.ufrag, false, Duration::ZERO, None);
    }
    let tally = sessions.tally();
    assert_eq!(
        tally.resumed.count, 1,
        "each is back once, and who is new is not"
    );
    assert!(
        tally.resumed.last.as_secs() >= 3,
        "from the start of the process: {tally:?}"
    );
    assert!(
        tally.ready.is_some_and(|ready| ready.as_secs() >= 3),
        "{tally:?}"
    );
    assert_eq!(tally.unreadable, 2);

    // One that another node had, since long after the start.
    let adopted = record(Role::Viewer, &format!("{:0<16}", "Adopted"));
    sessions.resume(adopted.clone());
    sessions.connected(&adopted.ice.ufrag, true, Duration::ZERO, None);
    let tally = sessions.tally();
    assert_eq!(tally.resumed.count, 2);
    assert!(tally.resumed.last.as_secs() < 3, "since then: {tally:?}");
    assert_eq!(tally.comeback().back(), 1, "it is none of the restart's");

    sessions.remove(&silent.ice.ufrag, Departure::Silent);
    sessions.remove(&left.ice.ufrag, Departure::Left);
    sessions.remove(&back.ice.ufrag, Departure::Silent);
    sessions.remove(&new.ice.ufrag, Departure::NoHandshake);
    let tally = sessions.tally();
    assert_eq!(tally.ended, [1, 2, 0, 0, 1, 0]);
    let lost = [0, 1, 0, 0, 0, 0];
    assert_eq!(
        tally.lost, lost,
        "who was back, who is new and who has left is not lost"
    );
}

#[tokio::test]
async fn who_is_not_heard_is_told_so_in_its_stream_and_in_those_that_it_opens() {
    let sessions = sessions(0);
    let (ufrag, mut stream) = viewer(&sessions);
    let says = |sessions: &Sessions| {
        let mut stream = open(sessions, &ufrag).expect("a stream");
        let hello = stream.next().now_or_never().flatten().expect("a greeting");
        String::from_utf8_lossy(&hello.expect("infallible")).contains("\"unheard\":true")
    };
    assert!(!says(&sessions));
    let number = sessions.unheard(&ufrag, true);
    assert!(number.is_some());
    assert!(says(&sessions));
    assert_eq!(sessions.unheard(&ufrag, false), number);
    assert!(!says(&sessions));
    assert_eq!(read(&mut stream).0, ["unheard", "unheard"]);
    assert_eq!(sessions.tally().unheard, 1);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_ended_and_disturbs_no_other() {
    let sessions = sessions(0);
    let (ufrag, _asleep) = viewer(&sessions);
    let mut awake = open(&sessions, &ufrag).expect("a stream");
    let mut heard = 0;
    for _ in 0..BACKLOG {
        sessions.connected(&ufrag, false, Duration::ZERO, None);
        heard += read(&mut awake)
            .0
            .iter()
            .filter(|name| *name == "connected")
            .count();
    }
    assert_eq!(heard, BACKLOG);
    sessions.connected(&ufrag, false, Duration::ZERO, None);
    assert_eq!(sessions.lock().sessions[&ufrag].streams.len(), 1);
}

#[tokio::test]
async fn one_stream_too_many_ends_the_oldest() {
    let sessions = sessions(0);
    let (ufrag, mut oldest) = viewer(&sessions);
    let mut others: Vec<_> = (0..MAX_STREAMS)
        .map(|_| open(&sessions, &ufrag).expect("a stream"))
        .collect();
    assert!(read(&mut oldest).1);
    assert!(others.iter_mut().all(|stream| !read(stream).1));
}

#[tokio::test]
async fn a_stopping_server_ends_all_streams_and_opens_none() {
    let sessions = sessions(0);
    let (ufrag, mut stream) = viewer(&sessions);
    sessions.close();
    assert!(read(&mut stream).1);
    assert!(open(&sessions, &ufrag).is_none());
}

/// The spreads in milliseconds that a stream tells of, those in greetings included.
fn spreads(stream: &mut EventStream) -> Vec<u64> {
    let mut all = Vec::new();
    while let Some(Some(text)) = stream.next().now_or_never() {
        let text = String::from_utf8(text.expect("infallible").to_vec()).expect("text");
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        let data: serde_json::Value = serde_json::from_str(data.expect("data")).expect("JSON");
        all.extend(data["spread_ms"].as_u64());
    }
    all
}

#[tokio::test]
async fn viewers_hear_how_far_apart_they_are_to_come_back_as_their_audience_grows_and_shrinks() {
    let sessions = sessions(0);
    let publisher = record(Role::Publisher, "Publisher0000001");
    sessions.start(publisher.clone(), CERTIFICATE, place(&sessions));
    let mut publishers = open(&sessions, &publisher.ice.ufrag).expect("a stream");
    let (first, mut early) = viewer(&sessions);
    let join = |number: usize| {
        let record = record(Role::Viewer, &format!("Viewer{number:010}"));
        sessions.start(record.clone(), CERTIFICATE, place(&sessions));
        record.ice.ufrag.clone()
    };
    (2..49).for_each(|number| drop(join(number)));
    assert!(spreads(&mut early).is_empty(), "they are few");
    let later: Vec<_> = (49..400).map(join).collect();
    assert_eq!(spreads(&mut early), [15, 30, 60, 120]);
    let mut late = open(&sessions, &later[0]).expect("a stream");
    assert_eq!(spreads(&mut late), [120]);
    for ufrag in &later {
        sessions.remove(ufrag, Departure::Left);
    }
    assert_eq!(spreads(&mut early), [60, 30, 15, 0]);
    let mut again = open(&sessions, &first).expect("a stream");
    assert_eq!(spreads(&mut again), [0]);
    let mut at_last = open(&sessions, &publisher.ice.ufrag).expect("a stream");
    assert_eq!(spreads(&mut publishers), [0], "a publisher never waits");
    assert_eq!(spreads(&mut at_last), [0]);
}

#[test]
fn a_server_is_ready_from_the_last_record_to_its_stop() {
    let sessions = sessions(0);
    sessions.expect(1);
    assert!(!sessions.is_ready());
    sessions.resume(record(Role::Publisher, "Publisher0000001"));
    assert!(!sessions.is_ready(), "there may be more");
    sessions.set_loaded(0);
    assert!(sessions.is_ready());
    sessions.close();
    assert!(!sessions.is_ready());
}

#[tokio::test]
async fn a_session_whose_record_is_still_to_be_read_is_waited_for() {
    let sessions = sessions(0);
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    let mut asked = false;
    let found = sessions.find(&ufrag, || asked = true);
    let (found, ()) = tokio::join!(found, async { sessions.resume(record) });
    assert!(found.is_some() && asked);
}

#[tokio::test]
async fn a_session_that_no_record_has_is_unknown_once_all_are_read() {
    let sessions = sessions(0);
    let ufrag = Ufrag::new("Viewer0000000002").expect("a fragment");
    let (found, ()) = tokio::join!(sessions.find(&ufrag, || ()), async {
        sessions.set_loaded(0)
    });
    assert_eq!(found, None);
    let found = sessions
        .find(&ufrag, || unreachable!("nothing is left to read"))
        .await;
    assert_eq!(found, None);
}

#[test]
fn an_address_has_so_many_sessions_at_once_and_those_of_the_last_boot_count() {
    let sessions = sessions(2);
    let client = IpAddr::from([192, 0, 2, 1]);
    let other = IpAddr::from([192, 0, 2, 2]);
    let with_address = |ufrag: &str| {
        let record = record(Role::Viewer, ufrag);
        let offer = sdp::with_address("v=0\r\nm=audio 9 x 0\r\n", SocketAddr::new(client, 4000));
        Arc::new(PeerRecord {
            offer,
            ..(*record).clone()
        })
    };
    let first = with_address("Viewer0000000001");
    sessions.resume(first.clone());
    let place = sessions.place(client).expect("one is free");
    sessions.start(record(Role::Viewer, "Viewer0000000002"), CERTIFICATE, place);
    assert!(sessions.place(client).is_none());
    assert!(sessions.place(other).is_some());
    // Who comes back is never turned away.
    sessions.resume(with_address("Viewer0000000003"));
    for ufrag in ["Viewer0000000001", "Viewer0000000003"] {
        sessions.remove(&Ufrag::new(ufrag).expect("a fragment"), Departure::Left);
    }
    assert!(sessions.place(client).is_some());
}

#[tokio::test]
async fn keys_that_are_lost_end_a_stream_of_the_sessions_own_and_are_told_of_in_one_that_is_shared()
{
    let sessions = sessions(0);
    let (ufrag, mut own) = viewer(&sessions);
    let (tap, mut shared) = EventStream::new(2, Kinds::SHARED);
    assert!(sessions.open_stream(&ufrag, &greeting(), tap.of("id")));
    sessions.connected(&ufrag, false, Duration::ZERO, None);
    sessions.disconnected(&ufrag);
    assert!(read(&mut own).1);
    let names = ["hello", "connected", "disconnected"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(read(&mut shared), (names, false));
    drop(tap);
    sessions.remove(&ufrag, Departure::Left);
    assert_eq!(read(&mut shared), (vec!["gone".to_owned()], true));
}

#[test]
fn a_peer_has_the_same_number_in_every_boot_and_another_than_others() {
    let of = |ufrag: &str, pwd: &str| {
        let mut record = (*record(Role::Viewer, ufrag)).clone();
        record.ice.pwd = IcePassword::new(pwd.repeat(32));
        Arc::new(record)
    };
    let [before, after] = [(); 2].map(|()| Sessions::new(0, Instant::now()));
    let started = before.start(of("Viewer0000000001", "a"), CERTIFICATE, place(&before));
    after.resume(of("Viewer0000000002", "b"));
    after.resume(of("Viewer0000000001", "a"));
    let end = |ufrag: &str| after.remove(&Ufrag::new(ufrag).expect("a fragment"), Departure::Left);
    assert_eq!(end("Viewer0000000001"), Some(started));
    assert!(end("Viewer0000000002").is_some_and(|other| other != started));
}
