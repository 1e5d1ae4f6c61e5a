use std::sync::LazyLock;

use crate::vault::{self, IceCredentials, IcePassword};

use super::super::events::Kind;
use super::*;

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| Certificates::new(&vault::fuzzing::identity(), []));

fn greeting() -> Greeting<'static> {
    Greeting {
        boot: 1,
        process: "0123456789abcdef",
        mode: Mode::Rehandshake,
        certificates: &CERTIFICATES,
    }
}

fn record(role: Role, ufrag: &str) -> Arc<PeerRecord> {
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

fn place(sessions: &Sessions) -> Place {
    sessions.place(IpAddr::from([192, 0, 2, 1])).expect("no limit")
}

fn kinds(receiver: &mut mpsc::Receiver<Frame>) -> Vec<Kind> {
    std::iter::from_fn(|| receiver.try_recv().ok())
        .map(|frame| frame.kind)
        .collect()
}

/// A session of a viewer, and its first stream past the greeting.
fn viewer(sessions: &Sessions) -> (Ufrag, mpsc::Receiver<Frame>) {
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    sessions.start(record, place(sessions));
    let mut stream = sessions.open_stream(&ufrag, &greeting()).expect("a stream");
    assert_eq!(kinds(&mut stream), [Kind::Hello, Kind::Inactive]);
    (ufrag, stream)
}

#[test]
fn a_stream_hears_what_becomes_of_its_session_and_then_ends() {
    let sessions = Sessions::new(0);
    let (ufrag, mut stream) = viewer(&sessions);
    sessions.connected(&ufrag, false, Duration::from_millis(9));
    sessions.source("c", true, vec![]);
    sessions.source("another", true, vec![]);
    assert_eq!(kinds(&mut stream), [Kind::Connected, Kind::Source, Kind::Active]);
    sessions.remove(&ufrag, Departure::Silent);
    assert_eq!(kinds(&mut stream), [Kind::Gone]);
    assert!(stream.is_closed());
    assert!(sessions.open_stream(&ufrag, &greeting()).is_none());
}

#[test]
fn connected_viewers_are_counted_once_and_publishers_are_not() {
    let sessions = Sessions::new(0);
    let (ufrag, _stream) = viewer(&sessions);
    let publisher = record(Role::Publisher, "Publisher0000001");
    sessions.resume(publisher.clone());
    assert_eq!(sessions.channel("c"), (false, 0));
    assert_eq!(
        sessions.counts(),
        Counts {
            awaited: 1,
            joining: 1,
            channels: 1,
            ..Counts::default()
        }
    );
    sessions.connected(&ufrag, false, Duration::ZERO);
    sessions.connected(&ufrag, false, Duration::ZERO);
    sessions.connected(&publisher.ice.ufrag, true, Duration::ZERO);
    sessions.source("c", true, vec![]);
    assert_eq!(sessions.channel("c"), (true, 1));
    assert_eq!(
        sessions.counts(),
        Counts {
            connected: 2,
            channels: 1,
            live: 1,
            ..Counts::default()
        }
    );
    sessions.remove(&ufrag, Departure::Left);
    assert_eq!(sessions.channel("c"), (true, 0));
    sessions.remove(&publisher.ice.ufrag, Departure::Left);
    assert_eq!(sessions.counts(), Counts::default());
}

#[test]
fn a_stream_that_nobody_reads_is_ended_and_disturbs_no_other() {
    let sessions = Sessions::new(0);
    let (ufrag, _asleep) = viewer(&sessions);
    let mut awake = sessions.open_stream(&ufrag, &greeting()).expect("a stream");
    let mut heard = 0;
    for _ in 0..BACKLOG {
        sessions.connected(&ufrag, false, Duration::ZERO);
        heard += kinds(&mut awake)
            .iter()
            .filter(|kind| **kind == Kind::Connected)
            .count();
    }
    assert_eq!(heard, BACKLOG);
    sessions.connected(&ufrag, false, Duration::ZERO);
    assert_eq!(sessions.lock().sessions[&ufrag].streams.len(), 1);
}

#[test]
fn one_stream_too_many_ends_the_oldest() {
    let sessions = Sessions::new(0);
    let (ufrag, oldest) = viewer(&sessions);
    let others: Vec<_> = (0..MAX_STREAMS)
        .map(|_| sessions.open_stream(&ufrag, &greeting()).expect("a stream"))
        .collect();
    assert!(oldest.is_closed());
    assert!(others.iter().all(|stream| !stream.is_closed()));
}

#[test]
fn a_stopping_server_ends_all_streams_and_opens_none() {
    let sessions = Sessions::new(0);
    let (ufrag, stream) = viewer(&sessions);
    sessions.close();
    assert!(stream.is_closed());
    assert!(sessions.open_stream(&ufrag, &greeting()).is_none());
}

#[test]
fn a_server_is_ready_from_the_last_record_to_its_stop() {
    let sessions = Sessions::new(0);
    sessions.expect(1);
    assert!(!sessions.is_ready());
    sessions.resume(record(Role::Publisher, "Publisher0000001"));
    assert!(!sessions.is_ready(), "there may be more");
    sessions.set_loaded();
    assert!(sessions.is_ready());
    sessions.close();
    assert!(!sessions.is_ready());
}

#[tokio::test]
async fn a_session_whose_record_is_still_to_be_read_is_waited_for() {
    let sessions = Sessions::new(0);
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    let mut asked = false;
    let found = sessions.find(&ufrag, || asked = true);
    let (found, ()) = tokio::join!(found, async { sessions.resume(record) });
    assert!(found.is_some() && asked);
}

#[tokio::test]
async fn a_session_that_no_record_has_is_unknown_once_all_are_read() {
    let sessions = Sessions::new(0);
    let ufrag = Ufrag::new("Viewer0000000002").expect("a fragment");
    let (found, ()) = tokio::join!(sessions.find(&ufrag, || ()), async { sessions.set_loaded() });
    assert_eq!(found, None);
    let found = sessions.find(&ufrag, || unreachable!("nothing is left to read")).await;
    assert_eq!(found, None);
}

#[test]
fn an_address_has_so_many_sessions_at_once_and_those_of_the_last_boot_count() {
    let sessions = Sessions::new(2);
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
    sessions.start(record(Role::Viewer, "Viewer0000000002"), place);
    assert!(sessions.place(client).is_none());
    assert!(sessions.place(other).is_some());
    // Who comes back is never turned away.
    sessions.resume(with_address("Viewer0000000003"));
    assert_eq!(sessions.counts().awaited, 2);
    for ufrag in ["Viewer0000000001", "Viewer0000000003"] {
        sessions.remove(&Ufrag::new(ufrag).expect("a fragment"), Departure::Left);
    }
    assert!(sessions.place(client).is_some());
}
