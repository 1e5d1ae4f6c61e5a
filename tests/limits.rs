//! At a limit, newcomers get a clear 503, and those who are here do not notice.

mod live;
mod running;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use live::{
    Live, broadcast, offered, path, renew, run_until, run_until_connected, run_until_more_video,
};
use rekindle::ids::Role;
use running::{PATIENCE, Server, assert_problem, header, rekindle};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Tries to join; it must be refused so, and told when to try again.
#[track_caller]
fn refused(server: &Server, role: Role, channel: &str, name: &str) {
    let answer = server.offer(&path(role, channel), &offered(role, 1).sdp);
    assert!(!header(&answer, "retry-after").is_empty());
    assert_problem(answer, 503, name);
}

/// How long the viewer's longest wait for a packet of video was since the start.
fn largest_gap(viewer: &Live, since: Instant) -> Duration {
    let stream = viewer
        .client
        .receiver()
        .stream(rekindle::sdp::Kind::Video)
        .expect("video");
    let mut times: Vec<Instant> = stream
        .got
        .values()
        .map(|got| got.at)
        .filter(|at| *at >= since)
        .collect();
    times.sort_unstable();
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(Duration::MAX)
}

#[test]
fn an_address_with_as_many_sessions_as_it_may_have_gets_a_503_and_its_sessions_go_on() {
    let folder = folder();
    let options = ["--max-sessions-per-address", "3", "--join-rate", "0"];
    let server = Server::start(folder.path(), &options);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 200);
    let mut second = Live::join(&server, Role::Viewer, "news", 202);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut second]);

    let since = Instant::now();
    for _ in 0..20 {
        refused(&server, Role::Viewer, "news", "too-many-sessions");
        run_until_more_video(&mut [&mut publisher, &mut viewer, &mut second], 2);
    }
    refused(&server, Role::Publisher, "other", "too-many-sessions");
    assert!(largest_gap(&viewer, since) < Duration::from_secs(1));

    // Those who come back after a restart count, and are never turned away.
    let server = server.kill_and_start_again_as(rekindle(folder.path()).args(options));
    renew(&mut [&mut publisher, &mut viewer, &mut second]);
    refused(&server, Role::Viewer, "news", "too-many-sessions");
    assert_eq!(server.delete(&second.session).status(), 200);
    let mut third = Live::join(&server, Role::Viewer, "news", 203);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut third]);
    run_until_more_video(&mut [&mut publisher, &mut viewer, &mut third], 10);
}

#[test]
fn a_full_server_says_so_and_its_peers_go_on() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--max-peers", "2", "--join-rate", "0"]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 210);
    for _ in 0..20 {
        refused(&server, Role::Viewer, "news", "full");
        refused(&server, Role::Publisher, "other", "full");
        run_until_more_video(&mut [&mut publisher, &mut viewer], 2);
    }
    assert_eq!(
        records(folder.path()),
        2,
        "nothing is kept of who was turned away"
    );
}

fn records(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("rekindle-state/peers"))
        .expect("a folder")
        .count()
}

#[test]
fn an_address_with_too_many_connections_is_told_so_and_what_is_open_goes_on() {
    let folder = folder();
    // Room for twice as many connections, and 64 more.
    let server = Server::start(folder.path(), &["--max-sessions-per-address", "2"]);
    let (mut publisher, mut viewer) = broadcast(&server, "news", 220);
    let mut events = server.events(&format!("{}/events", viewer.session));
    assert_eq!(events.next().expect("an event").0, "hello");

    let mut open = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let said = loop {
        assert!(open.len() < 100 && Instant::now() < deadline, "no limit");
        let mut stream = TcpStream::connect(server.http()).expect("connected");
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("set");
        let mut said = Vec::new();
        // One that is served says nothing until it is asked.
        if stream.read_to_end(&mut said).is_ok() {
            break String::from_utf8(said).expect("text");
        }
        open.push(stream);
    };
    assert!(open.len() > 60, "{}", open.len());
    assert!(
        said.starts_with("HTTP/1.1 503 ") && said.contains("retry-after: 10"),
        "{said}"
    );
    assert!(
        said.contains("urn:rekindle:problem:too-many-connections"),
        "{said}"
    );
    run_until_more_video(&mut [&mut publisher, &mut viewer], 30);

    // What is open is served, events still come, and with room again all is as before.
    let last = open.last_mut().expect("many");
    last.set_read_timeout(Some(PATIENCE)).expect("set");
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    last.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(open);
    let mut none: [&mut Live; 0] = [];
    run_until(&mut none, "there is room again", |_| {
        server
            .raw("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    });
    assert_eq!(server.delete(&viewer.session).status(), 200);
    let rest: Vec<String> = std::iter::from_fn(|| events.next())
        .map(|(name, _)| name)
        .collect();
    assert_eq!(rest.last().map(String::as_str), Some("gone"), "{rest:?}");
}
