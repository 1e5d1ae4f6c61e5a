use std::collections::HashSet;
use std::time::SystemTime;

use mio::{Poll, Token};

use super::*;
use crate::ids::{IceCredentials, IcePassword, Role};
use crate::vault::KeyFile;

fn ufrag(role: Role, n: usize) -> Ufrag {
    let letter = if role == Role::Publisher { 'P' } else { 'V' };
    Ufrag::new(format!("{letter}{n:011}")).expect("a fragment")
}

fn record(role: Role, n: usize) -> PeerRecord {
    let ufrag = ufrag(role, n);
    PeerRecord {
        role,
        channel: "news".into(),
        offer: "v=0\r\na=ice-ufrag:browser0\r\n".into(),
        answer: format!(
            "v=0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
            ufrag.as_str(),
            "p".repeat(24)
        ),
        ice: IceCredentials {
            ufrag,
            pwd: IcePassword::new("p".repeat(24)),
        },
        joined_at: 1,
    }
}

const VIEWERS: usize = 90;
const PUBLISHERS: usize = 10;

/// A vault with many records, opened by the next boot.
fn source(folder: &std::path::Path) -> RecordSource {
    let open = || {
        let keys = KeyFile::load(&folder.join("key")).expect("the key file");
        Vault::open(&folder.join("state"), keys, SystemTime::now()).expect("a vault")
    };
    KeyFile::generate(&folder.join("key")).expect("a key file");
    let vault = open().vault;
    for (role, count) in [(Role::Viewer, VIEWERS), (Role::Publisher, PUBLISHERS)] {
        for n in 0..count {
            vault
                .save(&record(role, n), SystemTime::now())
                .expect("saved");
        }
    }
    drop(vault);
    RecordSource {
        reader: open().reader,
        vault: None,
    }
}

/// What the loop is told.
fn loaded(helpers: usize, demand: &[Ufrag]) -> Vec<Loaded> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = source(folder.path());
    let poll = Poll::new().expect("a poll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
    let (sender, receiver) = mpsc::channel();
    let (wanted, demanded) = mpsc::channel();
    for ufrag in demand {
        wanted.send(ufrag.clone()).expect("sent");
    }
    let to = Destination {
        loaded: sender,
        waker: Arc::new(waker),
        notices: async_mpsc::unbounded_channel().0,
    };
    load(source, demanded, helpers, &to);
    drop(to);
    receiver.into_iter().collect()
}

fn name(loaded: &Loaded) -> Option<Ufrag> {
    match loaded {
        Loaded::Record { record, .. } => Some(record.ice.ufrag.clone()),
        _ => None,
    }
}

#[test]
fn several_threads_read_each_record_once_and_the_end_is_told_last() {
    for helpers in [0, 1, 3, 50] {
        let loaded = loaded(helpers, &[]);
        let (first, last) = (loaded.first(), loaded.last());
        assert!(matches!(first, Some(Loaded::Begun(_))), "{helpers}");
        let end = Loaded::All {
            unread: 0,
            unusable: 0,
        };
        assert!(
            last.is_some_and(|last| std::mem::discriminant(last) == std::mem::discriminant(&end))
        );
        let names: Vec<Ufrag> = loaded.iter().filter_map(name).collect();
        let each: HashSet<&Ufrag> = names.iter().collect();
        assert_eq!(
            (names.len(), each.len()),
            (VIEWERS + PUBLISHERS, VIEWERS + PUBLISHERS)
        );
    }
}

#[test]
fn what_is_demanded_comes_first_then_publishers_but_for_what_other_threads_have_begun() {
    for helpers in [0, 3] {
        let demand = ufrag(Role::Viewer, VIEWERS - 1);
        let names: Vec<Ufrag> = loaded(helpers, std::slice::from_ref(&demand))
            .iter()
            .filter_map(name)
            .collect();
        let place = |ufrag: &Ufrag| names.iter().position(|name| name == ufrag);
        // A thread that is not given time in the middle of a record may be last with that one; no
        // other record can come before its turn.
        let late = |first: &[Ufrag]| {
            let is_late = |ufrag: &&Ufrag| place(ufrag).is_none_or(|at| at > first.len() + helpers);
            first.iter().filter(is_late).count()
        };
        let mut first = vec![demand];
        first.extend((0..PUBLISHERS).map(|n| ufrag(Role::Publisher, n)));
        assert!(late(&first) <= helpers, "{helpers}: {names:?}");
    }
}
