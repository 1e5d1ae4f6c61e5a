//! What `/metrics` says of restarts: who came back and when, who did not and why, and which
//! handshakes failed.

mod live;
mod running;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use live::{Live, broadcast, offered, path, renew, run_for, run_until, run_until_connected};
use rekindle::ids::Role;
use running::{PATIENCE, PUBLISH, Server, rekindle, text};

/// The value of a line of `/metrics`.
#[track_caller]
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix("rekindle_")?
            .strip_prefix(name)?
            .strip_prefix(' ')
    });
    let line = line.unwrap_or_else(|| panic!("{name} is not in {metrics}"));
    line.parse().expect("a number")
}

/// `/metrics`, once a line has this value.
#[track_caller]
fn wait_for(server: &Server, name: &str, expected: f64) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = text(&mut server.get("/metrics"));
        if value(&metrics, name) == expected {
            return metrics;
        }
        assert!(
            Instant::now() < deadline,
            "{name} is not {expected} in {metrics}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// No browser was lost, for any reason.
#[track_caller]
fn nobody_is_lost(metrics: &str) {
    let lost: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("rekindle_peers_lost_total{"))
        .collect();
    assert_eq!(lost.len(), 6, "{lost:?}");
    assert!(lost.iter().all(|line| line.ends_with(" 0")), "{lost:?}");
}

#[test]
fn browsers_that_come_back_after_a_kill_are_counted_with_the_time_that_it_took() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let (mut publisher, mut viewer) = broadcast(&server, "main", 900);
    let metrics = wait_for(&server, "handshakes_total", 2.0);
    assert_eq!(value(&metrics, "peers_resumed_total"), 0.0);
    assert_eq!(value(&metrics, "resume_last_seconds"), 0.0);
    nobody_is_lost(&metrics);

    let server = server.kill_and_start_again_as(&mut rekindle(folder.path()));
    let begin = Instant::now();
    renew(&mut [&mut publisher, &mut viewer]);
    let metrics = wait_for(&server, "peers_resumed_total", 2.0);
    nobody_is_lost(&metrics);
    assert_eq!(value(&metrics, "handshakes_total"), 2.0);
    assert_eq!(value(&metrics, "resume_seconds_count"), 2.0);
    assert_eq!(value(&metrics, "resume_seconds_bucket{le=\"+Inf\"}"), 2.0);
    // The process was started before it had announced itself, so at most by the slack more than was
    // measured here.
    let most = begin.elapsed().as_secs_f64() + 5.0;
    let (sum, last) = (
        value(&metrics, "resume_seconds_sum"),
        value(&metrics, "resume_last_seconds"),
    );
    assert!(0.0 < last && last <= sum && last < most, "{last} of {sum}");
    assert!(
        value(&metrics, "resume_seconds_bucket{le=\"30\"}") == 2.0,
        "{metrics}"
    );
    let ready = value(&metrics, "ready_seconds");
    assert!(0.0 < ready && ready < most, "{ready}");

    // One that renews its keys again is not back once more.
    renew(&mut [&mut viewer]);
    let metrics = wait_for(&server, "handshakes_total", 3.0);
    assert_eq!(value(&metrics, "peers_resumed_total"), 2.0);
}

#[test]
fn browsers_that_do_not_come_back_after_a_kill_are_counted_by_reason() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let mut plain = offered(Role::Publisher, 910);
    plain.sdp = plain.sdp.replace("a=tool:rekindle\r\n", "");
    let answer = server.offer(&path(Role::Publisher, "plain"), &plain.sdp);
    let mut plain = Live::answered(&server, Role::Publisher, plain, answer);
    let mut page = Live::join(&server, Role::Publisher, "page", 911);
    run_until_connected(&mut [&mut plain, &mut page]);
    // One that stays away, and one that says goodbye.
    server.join(
        "/whip/away",
        &PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1),
    );
    let leaves = server.join(
        "/whip/leaves",
        &PUBLISH.replacen("m=", "a=tool:rekindle\r\nm=", 1),
    );
    let torn = folder.path().join("rekindle-state/peers/Vtorn000000.age");
    fs::write(torn, "torn").expect("written");

    let mut command = rekindle(folder.path());
    let server = server.kill_and_start_again_as(command.args(["--resume-window", "2"]));
    assert_eq!(server.delete(&leaves).status(), 200);
    page.client.renew(Instant::now());
    // The plain one checks as ever, and does not know that it should run a handshake.
    run_for(&mut [&mut plain, &mut page], Duration::from_secs(4));
    let metrics = wait_for(&server, "peers_lost_total{reason=\"silent\"}", 1.0);
    for (name, expected) in [
        ("peers_lost_total{reason=\"no-rehandshake\"}", 1.0),
        ("peers_lost_total{reason=\"unreadable\"}", 1.0),
        ("peers_lost_total{reason=\"replaced\"}", 0.0),
        ("peers_resumed_total", 1.0),
        ("peers{state=\"awaited\"}", 0.0),
        ("sessions_ended_total{reason=\"left\"}", 1.0),
        ("sessions_ended_total{reason=\"silent\"}", 1.0),
        ("sessions_ended_total{reason=\"no-rehandshake\"}", 1.0),
    ] {
        assert_eq!(value(&metrics, name), expected, "{name} in {metrics}");
    }
}

#[test]
fn handshakes_that_fail_are_counted_by_cause() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let mut stranger = Live::join(&server, Role::Publisher, "main", 920);
    stranger.client.session.certificate = support::Certificate::new();
    let failed = "handshakes_failed_total{cause=\"certificate\"}";
    run_until(&mut [&mut stranger], "its handshake fails", |_| {
        value(&text(&mut server.get("/metrics")), failed) >= 1.0
    });
    let metrics = wait_for(
        &server,
        "sessions_ended_total{reason=\"no-handshake\"}",
        1.0,
    );
    assert!(value(&metrics, failed) >= 1.0, "{metrics}");
    assert_eq!(value(&metrics, "handshakes_total"), 0.0);
    assert_eq!(value(&metrics, "peers_lost_total{reason=\"silent\"}"), 0.0);
}

#[test]
fn each_metric_is_described_once_and_each_line_can_be_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    server.join("/whip/live/one", PUBLISH);
    let metrics = text(&mut server.get("/metrics"));
    let mut described = Vec::new();
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            if words.next() == Some("TYPE") {
                let (name, kind) = (words.next().expect("a name"), words.next().expect("a kind"));
                assert!(
                    !described.iter().any(|(known, _)| *known == name),
                    "{name} twice"
                );
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                described.push((name, kind));
            }
            continue;
        }
        let (name, number) = line.rsplit_once(' ').expect("a value");
        assert!(number.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().expect("a name");
        let (last, kind) = described.last().expect("described before");
        let of_histogram = ["_bucket", "_sum", "_count"].map(|part| format!("{last}{part}"));
        let own = if *kind == "histogram" {
            of_histogram.contains(&name.to_owned())
        } else {
            name == *last
        };
        assert!(own, "{line} below {last}");
    }
    assert!(described.len() >= 18, "{described:?}");
    // README.md lists them all.
    let readme =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("readable");
    for (name, _) in described {
        assert!(
            readme.contains(&format!("`{name}`")),
            "{name} is not in README.md"
        );
    }
}
