//! A service that is told what happens.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::live::{broadcast, renew, run_until_more_video};
use super::running::{PUBLISH, Server, header, output, refused, rekindle, text, until};
use super::service::{Asked, Reply, Service};

/// Without what differs in every run.
fn essence(asked: &[Asked]) -> Vec<Value> {
    let strip = |mut event: Value| {
        for name in ["boot", "process", "time", "sequence", "peer"] {
            event.as_object_mut().expect("an object").remove(name);
        }
        event
    };
    asked.iter().map(|asked| strip(asked.json())).collect()
}

/// HMAC-SHA256, by Python.
fn hmac(secret: &str, body: &[u8]) -> String {
    let script = "import hmac,sys; print(hmac.new(sys.argv[1].encode(), sys.stdin.buffer.read(), \
                  'sha256').hexdigest())";
    let mut child = Command::new("python3")
        .args(["-c", script, secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(body).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[test]
fn what_happens_is_told_in_order_and_signed_and_a_restart_says_what_came_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let service = Service::start(|_| Reply::status(204));
    let (url, secret) = (
        service.url("/events?key=hidden"),
        "0123456789-events-secret",
    );
    fs::write(folder.join("secret"), secret).expect("written");
    let options = ["--events-url", &url, "--events-secret-file", "secret"];
    let server = Server::start(folder, &options);
    let (mut publisher, mut viewer) = broadcast(&server, "main", 900);
    service.wait_for(4);
    let member = |event, role| json!({ "event": event, "use": role, "channel": "main" });
    let source =
        |live, again| json!({ "event": "source", "channel": "main", "live": live, "again": again });
    let up = |sessions, channels: Value| json!({ "event": "up", "sessions": sessions, "channels": channels, "more_channels": 0 });
    let joined = essence(&service.asked());
    assert_eq!(joined[0], up(0, json!([])));
    assert_eq!(joined[1], member("join", "publish"));
    // Whichever comes first: the publisher's media, or the viewer.
    for event in [member("join", "watch"), source(true, false)] {
        assert!(joined[2..].contains(&event), "{joined:?}");
    }

    let server = server.kill_and_start_again_as(rekindle(folder).args(options));
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 5);
    service.wait_for(6);
    let here = json!([{ "channel": "main", "publisher": true, "viewers": 1, "live": false }]);
    let back = essence(&service.asked()[4..]);
    assert_eq!(back, [up(2, here), source(true, true)]);

    let answer = server.offer("/whip/other", PUBLISH);
    let session = header(&answer, "location").to_owned();
    assert_eq!(server.delete(&session).status(), 200);
    service.wait_for(8);
    let asked = service.asked();
    let last = essence(&asked[6..]);
    assert_eq!(
        last[0],
        json!({ "event": "join", "use": "publish", "channel": "other" })
    );
    assert_eq!(
        last[1],
        json!({ "event": "leave", "use": "publish", "channel": "other", "reason": "left" })
    );
    let peer = |at: usize| asked[at].json()["peer"].as_str().map(str::to_owned);
    assert!(peer(6).is_some_and(|peer| peer.len() == 16));
    assert_eq!(peer(6), peer(7));
    let sequence = |asked: &Asked| asked.json()["sequence"].as_u64().expect("a number");
    let sequences: Vec<_> = asked.iter().map(sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 1, 2, 3, 4]);
    let boots: Vec<_> = asked
        .iter()
        .map(|asked| asked.json()["boot"].clone())
        .collect();
    assert_eq!((&boots[0], &boots[4]), (&json!(1), &json!(2)));
    for asked in asked.iter().skip(3).take(2) {
        let signature = asked.headers["rekindle-signature"].to_str().expect("text");
        assert_eq!(signature, format!("sha256={}", hmac(secret, &asked.body)));
    }
    for asked in &asked {
        let body = String::from_utf8_lossy(&asked.body);
        assert!(!body.contains("127.0.0.1"), "{body}");
    }

    fs::write(folder.join("secret"), "another-events-secret").expect("written");
    server.signal("HUP");
    server.wait_for_log("the secret for events was taken anew", 1);
    server.join("/whip/third", PUBLISH);
    service.wait_for(9);
    let asked = service.asked().pop().expect("an event");
    let signature = asked.headers["rekindle-signature"].to_str().expect("text");
    assert_eq!(
        signature,
        format!("sha256={}", hmac("another-events-secret", &asked.body))
    );
    let log = server.log();
    assert!(!log.contains("hidden") && !log.contains(secret), "{log}");
}

#[test]
fn an_event_is_tried_again_and_one_that_cannot_be_told_is_counted_and_holds_nobody_up() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let times = Arc::new(AtomicUsize::new(0));
    // The first two answers are no good, and then four more for the second event.
    let service = Service::start(move |_| {
        Reply::status(match times.fetch_add(1, Ordering::SeqCst) {
            0 | 1 | 3 | 4 | 5 => 500,
            _ => 200,
        })
    });
    let server = Server::start(folder, &["--events-url", &service.url("/")]);
    let first = server.join("/whip/a", PUBLISH);
    server.join("/whip/b", PUBLISH);
    service.wait_for(7);
    let said: Vec<_> = service
        .asked()
        .iter()
        .map(|asked| {
            (
                asked.json()["sequence"].clone(),
                asked.json()["channel"].clone(),
            )
        })
        .collect();
    let (a, b) = (json!("a"), json!("b"));
    let up = (json!(1), Value::Null);
    let join = (json!(2), a);
    let expected = [
        up.clone(),
        up.clone(),
        up,
        join.clone(),
        join.clone(),
        join,
        (json!(3), b),
    ];
    assert_eq!(said, expected);
    let counted = || {
        let metrics = text(&mut server.get("/metrics"));
        ["delivered_total 2\n", "dropped_total 1\n"]
            .iter()
            .all(|line| metrics.contains(&format!("rekindle_events_{line}")))
    };
    until("both are counted", counted);
    let log = server.log();
    assert!(log.contains("an event was not told to --events-url and is lost: it answers 500"));
    assert!(
        log.contains("events are told to --events-url again"),
        "{log}"
    );
    // A service that is gone holds nobody up.
    drop(service);
    assert_eq!(server.delete(&first).status(), 200);

    refused(
        folder,
        &["serve", "--events-secret-file", "x"],
        &["--events-url", "give both, or neither"],
    );
    let nothing = [
        "serve",
        "--events-url",
        "http://127.0.0.1/",
        "--events-secret-file",
        "none",
    ];
    let said = super::running::said(&output(rekindle(folder).args(nothing)));
    assert!(
        said.contains("the secret for events cannot be used"),
        "{said}"
    );
}
