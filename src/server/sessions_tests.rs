use std::sync::LazyLock;

use crate::vault::{self, IceCredentials, IcePassword};

use super::super::events::Kind;
use super::*;

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| Certificates::new(&vault::fuzzing::identity(), []));

fn greeting() -> Greeting<'static> {
    Greeting {
        boot: 1,
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

fn kinds(receiver: &mut mpsc::Receiver<Frame>) -> Vec<Kind> {
    std::iter::from_fn(|| receiver.try_recv().ok())
        .map(|frame| frame.kind)
        .collect()
}

/// A session of a viewer, and its first stream past the greeting.
fn viewer(sessions: &Sessions) -> (Ufrag, mpsc::Receiver<Frame>) {
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    sessions.insert(record, false);
    let mut stream = sessions.open_stream(&ufrag, &greeting()).expect("a stream");
    assert_eq!(kinds(&mut stream), [Kind::Hello, Kind::Inactive]);
    (ufrag, stream)
}

#[test]
fn a_stream_hears_what_becomes_of_its_session_and_then_ends() {
    let sessions = Sessions::default();
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
    let sessions = Sessions::default();
    let (ufrag, _stream) = viewer(&sessions);
    let publisher = record(Role::Publisher, "Publisher0000001");
    sessions.insert(publisher.clone(), true);
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
    let sessions = Sessions::default();
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
    let sessions = Sessions::default();
    let (ufrag, oldest) = viewer(&sessions);
    let others: Vec<_> = (0..MAX_STREAMS)
        .map(|_| sessions.open_stream(&ufrag, &greeting()).expect("a stream"))
        .collect();
    assert!(oldest.is_closed());
    assert!(others.iter().all(|stream| !stream.is_closed()));
}

#[test]
fn a_stopping_server_ends_all_streams_and_opens_none() {
    let sessions = Sessions::default();
    let (ufrag, stream) = viewer(&sessions);
    sessions.close();
    assert!(stream.is_closed());
    assert!(sessions.open_stream(&ufrag, &greeting()).is_none());
}

#[tokio::test]
async fn a_session_whose_record_is_still_to_be_read_is_waited_for() {
    let sessions = Sessions::default();
    let record = record(Role::Viewer, "Viewer0000000001");
    let ufrag = record.ice.ufrag.clone();
    let mut asked = false;
    let found = sessions.find(&ufrag, || asked = true);
    let (found, ()) = tokio::join!(found, async { assert_eq!(sessions.insert(record, true), 1) });
    assert!(found.is_some() && asked);
}

#[tokio::test]
async fn a_session_that_no_record_has_is_unknown_once_all_are_read() {
    let sessions = Sessions::default();
    let ufrag = Ufrag::new("Viewer0000000002").expect("a fragment");
    let (found, ()) = tokio::join!(sessions.find(&ufrag, || ()), async { sessions.set_loaded() });
    assert_eq!(found, None);
    let found = sessions.find(&ufrag, || unreachable!("nothing is left to read")).await;
    assert_eq!(found, None);
}
