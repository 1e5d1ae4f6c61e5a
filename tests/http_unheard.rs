//! A server that answers a POST and then hears nothing says so: in the log, to the page, in the
//! metrics. And at its start, where the addresses that it gives out cannot be reached.

mod live;
mod running;
mod support;

use std::time::{Duration, Instant};

use live::{Live, run_for, run_until_connected};
use rekindle::ids::Role;
use running::{PUBLISH, Server, rekindle, text};

/// Part of the line in the log.
const MISSED: &str = "no ICE check has come from a new peer";
/// The server says so after 8 s, and looks once a second.
const LATE: Duration = Duration::from_millis(9500);

fn unheard_total(server: &Server) -> String {
    let metrics = text(&mut server.get("/metrics"));
    let line = metrics
        .lines()
        .find(|line| line.starts_with("rekindle_peers_unheard_total "));
    line.expect("a metric").to_owned()
}

#[test]
fn a_peer_that_is_never_heard_is_told_so_once_and_one_that_is_heard_is_not() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let mut heard = Live::join(&server, Role::Publisher, "heard", 930);
    run_until_connected(&mut [&mut heard]);
    let begin = Instant::now();
    let session = server.join("/whip/unheard", PUBLISH);
    let mut events = server.events(&format!("{session}/events"));
    let (name, hello) = events.next().expect("an event");
    assert_eq!((name.as_str(), &hello["unheard"]), ("hello", &false.into()));
    run_for(&mut [&mut heard], LATE);

    let (name, data) = events.next().expect("an event");
    assert_eq!(name, "unheard");
    assert_eq!(
        data,
        serde_json::json!({ "unheard": true, "after_ms": 8000 })
    );
    assert!(begin.elapsed() >= Duration::from_secs(8));
    let (_, hello) = server
        .events(&format!("{session}/events"))
        .next()
        .expect("an event");
    assert_eq!(hello["unheard"], true);
    let (_, hello) = server
        .events(&format!("{}/events", heard.session))
        .next()
        .expect("an event");
    assert_eq!(hello["unheard"], false);
    assert_eq!(unheard_total(&server), "rekindle_peers_unheard_total 1");

    run_for(&mut [&mut heard], Duration::from_secs(2));
    let port = server.media().port().to_string();
    let (_, log) = server.terminate();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(MISSED)).collect();
    let [warning] = warnings[..] else {
        panic!("{log}")
    };
    for part in ["WARN", "UDP port", &port, "firewall", "--advertise"] {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
    let ufrag = session
        .trim_start_matches("/session/")
        .split('-')
        .next()
        .expect("a fragment");
    assert!(!log.contains(ufrag) && !log.contains("127.0.0.1"), "{log}");
}

#[test]
fn who_is_awaited_after_a_restart_is_not_said_to_be_unheard() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let session = server.join(
        "/whip/main",
        &PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1),
    );
    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    std::thread::sleep(LATE);
    let (_, hello) = server
        .events(&format!("{session}/events"))
        .next()
        .expect("still awaited");
    assert_eq!(hello["unheard"], false);
    assert_eq!(unheard_total(&server), "rekindle_peers_unheard_total 0");
    assert!(!server.log().contains(MISSED), "{}", server.log());
}

#[test]
fn a_server_for_others_warns_at_its_start_where_the_address_it_gives_out_is_this_machine() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let log = |options: &[&str]| {
        let mut command = rekindle(folder.path());
        let server = Server::try_start_as(command.args(options)).expect("it starts");
        server.terminate().1
    };
    let any = ["--http", "0.0.0.0:0", "--open", "--udp", "0.0.0.0:0"];
    let warned = log(&[&any[..], &["--advertise", "localhost"]].concat());
    let line = warned
        .lines()
        .find(|line| line.contains("WARN") && line.contains("loopback"));
    assert!(
        line.is_some_and(|line| line.contains("--advertise")),
        "{warned}"
    );
    for fine in [
        [&any[..], &["--advertise", "203.0.113.7"]].concat(),
        vec!["--http", "0", "--udp", "127.0.0.1:0"],
    ] {
        let log = log(&fine);
        assert!(!log.contains("--advertise"), "{fine:?}: {log}");
    }
}
