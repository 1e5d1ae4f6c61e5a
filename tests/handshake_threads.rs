//! A crowd's handshakes on a real server: threads of their own do them beside the media loop, one
//! for each further core, and those are as shut in as all others.

mod live;
mod running;
mod support;

use std::collections::BTreeMap;
use std::fs;

use live::{Live, broadcast, renew, run_until_connected};
use rekindle::ids::Role;
use running::{Server, rekindle};

const VIEWERS: usize = 24;

/// Time on a processor of each thread that does handshakes, in nanoseconds (proc(5), `schedstat`),
/// by its name.
fn times(server: &Server) -> BTreeMap<String, u64> {
    let folder = format!("/proc/{}/task", server.ready["pid"]);
    let thread = |entry: fs::DirEntry| -> Option<(String, u64)> {
        // Some end while we look.
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let times = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        let time = times.split_whitespace().next()?.parse().ok()?;
        Some((name.trim().to_owned(), time))
    };
    fs::read_dir(folder)
        .expect("a process")
        .filter_map(|entry| thread(entry.expect("an entry")))
        .filter(|(name, _)| name.starts_with("dtls-"))
        .collect()
}

fn total(times: &BTreeMap<String, u64>) -> u64 {
    times.values().sum()
}

#[test]
fn a_crowd_s_handshakes_are_done_by_more_threads_than_one() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let expected: Vec<String> = (0..cores - 1).map(|n| format!("dtls-{n}")).collect();
    running::until("one thread for each further core", || {
        // A thread has its name once it has run for the first time.
        times(&server).into_keys().eq(expected.iter().cloned())
    });

    let (mut publisher, mut viewer) = broadcast(&server, "news", 1);
    let mut viewers: Vec<Live> = (0..VIEWERS)
        .map(|n| Live::join(&server, Role::Viewer, "news", 100 + n as u64))
        .collect();
    let mut all: Vec<&mut Live> = viewers.iter_mut().collect();
    all.extend([&mut publisher, &mut viewer]);
    let before = times(&server);
    run_until_connected(&mut all);
    let joined = times(&server);

    // Killed, and back: all come at once.
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    let started = times(&server);
    all.iter_mut().for_each(|one| one.lead_to(server.media()));
    renew(&mut all);
    let renewed = times(&server);
    println!("{before:?}\n{joined:?}\n{started:?}\n{renewed:?}");
    if cores > 1 {
        // A thread with nothing to do has no time on a processor.
        assert!(total(&joined) > total(&before), "at the beginning");
        assert!(total(&renewed) > total(&started), "after a restart");
    }
}
