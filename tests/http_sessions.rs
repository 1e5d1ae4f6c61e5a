//! WHIP and WHEP: how sessions start and end, and what is said to those that cannot.

mod running;

use std::path::Path;

use running::{PUBLISH, Server, WATCH, assert_problem, header, json, rekindle, text};

fn start(options: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), options);
    (folder, server)
}

/// How many peers the vault knows.
fn records(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("rekindle-state/peers"))
        .expect("a folder")
        .count()
}

#[test]
fn a_publisher_gets_an_answer_and_its_record_is_on_disk_by_then() {
    let (folder, server) = start(&[]);
    let mut answer = server.offer("/whip/lobby", PUBLISH);
    assert_eq!(answer.status(), 201);
    assert_eq!(records(folder.path()), 1);
    assert_eq!(header(&answer, "content-type"), "application/sdp");
    assert_eq!(header(&answer, "rekindle-boot"), "1");
    assert_eq!(header(&answer, "rekindle-mode"), "rehandshake");
    assert!(header(&answer, "etag").starts_with('"'));
    assert_eq!(header(&answer, "accept-patch"), "");
    let session = header(&answer, "location").to_owned();
    assert!(session.starts_with("/session/"), "{session}");
    let link = header(&answer, "link").to_owned();
    assert!(
        link.starts_with(&format!(
            "<{session}/events>; rel=\"urn:ietf:params:whep:ext:"
        )),
        "{link}"
    );
    let (hash, digits) = header(&answer, "rekindle-fingerprint")
        .split_once(' ')
        .expect("two words");
    assert_eq!((hash, digits.split(':').count()), ("sha-512", 64));
    let sdp = text(&mut answer);
    for line in [
        "a=ice-lite",
        "a=setup:passive",
        "a=group:BUNDLE",
        "a=fingerprint:sha-256",
        "a=candidate:",
    ] {
        assert!(sdp.contains(line), "{line} is not in {sdp}");
    }
}

#[test]
fn behind_a_proxy_that_takes_a_path_off_every_path_given_out_has_it() {
    let (_folder, server) = start(&["--base-path", "/media/"]);
    let answer = server.offer("/whip/lobby", PUBLISH);
    let location = header(&answer, "location").to_owned();
    assert!(location.starts_with("/media/session/"), "{location}");
    let link = header(&answer, "link");
    assert!(link.starts_with(&format!("<{location}/events>;")), "{link}");
    // What the proxy passes on.
    let session = location.strip_prefix("/media").expect("the base path");
    let events = server.post(
        &format!("{session}/events"),
        &[("content-type", "application/json")],
        b"[\"active\"]",
    );
    let events = header(&events, "location");
    assert_eq!(events, format!("{location}/events?events=active"));
    assert_eq!(server.delete(session).status(), 200);
}

#[test]
fn where_a_token_is_asked_for_a_session_is_not_ended_without_it() {
    let token = "0123456789-publish";
    let (folder, server) = start(&["--publish-token", token]);
    let answer = server.offer_as("/whip/lobby", PUBLISH, token);
    let session = header(&answer, "location").to_owned();
    // Whoever stole the vault and its key file knows this path.
    assert_problem(server.delete(&session), 401, "token");
    assert_eq!(records(folder.path()), 1);
    assert_eq!(server.delete_as(&session, token).status(), 200);
    assert_eq!(records(folder.path()), 0);
}

#[test]
fn a_session_that_was_deleted_is_gone_from_disk_when_the_answer_comes() {
    let (folder, server) = start(&[]);
    let publisher = server.join("/whip/lobby", PUBLISH);
    let viewer = server.join("/whep/lobby", WATCH);
    assert_eq!(records(folder.path()), 2);
    assert_eq!(server.delete(&viewer).status(), 200);
    assert_eq!(records(folder.path()), 1);
    assert_problem(server.delete(&viewer), 404, "no-session");
    assert_eq!(server.delete(&publisher).status(), 200);
    assert_eq!(records(folder.path()), 0);
    // The channel is free again.
    server.join("/whip/lobby", PUBLISH);
}

#[test]
fn a_session_outlives_the_process_and_can_be_deleted_in_the_next() {
    let (folder, server) = start(&[]);
    let publisher = server.join("/whip/lobby", PUBLISH);
    let viewer = server.join("/whep/lobby", WATCH);
    server.kill();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.delete(&viewer).status(), 200);
    assert_eq!(server.delete(&publisher).status(), 200);
    assert_eq!(records(folder.path()), 0);
    let health = json(&mut server.get("/healthz"));
    assert_eq!(health["peers"]["awaited"], 0, "{health}");
}

#[test]
fn nobody_ends_a_session_by_knowing_its_user_name_fragment() {
    let (folder, server) = start(&[]);
    let session = server.join("/whip/lobby", PUBLISH);
    let ufrag = session.split(['/', '-']).nth(2).expect("a fragment");
    let last = if session.ends_with('0') { '1' } else { '0' };
    let near = format!("{}{last}", &session[..session.len() - 1]);
    for guess in [
        format!("/session/{ufrag}"),
        format!("/session/{ufrag}-{}", "0".repeat(32)),
        near,
    ] {
        assert_problem(server.delete(&guess), 404, "no-session");
        assert_problem(server.get(&format!("{guess}/events")), 404, "no-session");
    }
    assert_eq!(records(folder.path()), 1);
}

#[test]
fn a_viewer_of_a_channel_that_nobody_publishes_on_may_try_again() {
    let (_folder, server) = start(&[]);
    let answer = server.offer("/whep/lobby", WATCH);
    assert_eq!(header(&answer, "retry-after"), "1");
    assert_problem(answer, 409, "no-publisher");
}

#[test]
fn a_channel_has_one_publisher() {
    let (folder, server) = start(&[]);
    server.join("/whip/lobby", PUBLISH);
    assert_problem(
        server.offer("/whip/lobby", PUBLISH),
        409,
        "publisher-present",
    );
    server.join("/whip/another", PUBLISH);
    assert_eq!(records(folder.path()), 2);
}

#[test]
fn where_the_operator_says_so_a_newcomer_replaces_a_publisher() {
    let (folder, server) = start(&["--publisher", "replace"]);
    let first = server.join("/whip/lobby", PUBLISH);
    let mut events = server.events(&format!("{first}/events"));
    assert_eq!(
        events.next().map(|(kind, _)| kind).as_deref(),
        Some("hello")
    );
    // For a moment the place is kept for the one who is about to come.
    let second = server.join("/whip/lobby", PUBLISH);
    let gone = std::iter::from_fn(|| events.next()).find(|(kind, _)| kind == "gone");
    assert_eq!(
        gone.map(|(_, data)| data["reason"].clone()),
        Some("replaced".into())
    );
    assert_problem(server.delete(&first), 404, "no-session");
    assert_eq!(server.delete(&second).status(), 200);
    assert_eq!(records(folder.path()), 0);
}

#[test]
fn a_full_server_turns_newcomers_away() {
    let (_folder, server) = start(&["--max-peers", "1"]);
    server.join("/whip/lobby", PUBLISH);
    let answer = server.offer("/whep/lobby", WATCH);
    assert_ne!(header(&answer, "retry-after"), "");
    assert_problem(answer, 503, "full");
}

#[test]
fn an_offer_that_cannot_be_taken_is_refused_with_a_reason() {
    let (folder, server) = start(&[]);
    assert_problem(server.offer("/whip/lobby", "hello"), 400, "offer");
    assert_problem(server.offer("/whip/lobby", ""), 400, "body");
    assert_problem(server.offer("/whip/lobby", WATCH), 400, "offer");
    let other_codecs = PUBLISH
        .replace("opus/48000/2", "speex/48000/2")
        .replace("PCMU/", "G728/")
        .replace("PCMA/", "G722/");
    assert_problem(server.offer("/whip/lobby", &other_codecs), 406, "codec");
    let sdp = [("content-type", "application/sdp")];
    assert_problem(
        server.post("/whip/lobby", &sdp, b"v=0\r\n\xff\r\n"),
        400,
        "body",
    );
    assert_problem(
        server.post("/whip/lobby", &sdp, &[b'x'; 64 * 1024 + 1]),
        413,
        "too-large",
    );
    for wrong in [
        vec![],
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/sdp2")],
    ] {
        assert_problem(
            server.post("/whip/lobby", &wrong, PUBLISH.as_bytes()),
            415,
            "media-type",
        );
    }
    let long = "x".repeat(65);
    for name in [
        "with%20space",
        "%2e%2e",
        "a/%2e%2e",
        "a%2f..%2fb",
        "%2Fa",
        "a//b",
        ".a",
        &long,
        "k%C3%A4se",
    ] {
        assert_problem(
            server.offer(&format!("/whip/{name}"), PUBLISH),
            400,
            "channel-name",
        );
    }
    assert_eq!(records(folder.path()), 0);
    let with_charset = [("content-type", "Application/SDP; charset=utf-8")];
    assert_eq!(
        server
            .post("/whip/lobby", &with_charset, PUBLISH.as_bytes())
            .status(),
        201
    );
}

#[test]
fn a_channel_is_named_by_what_encoders_write() {
    let (_folder, server) = start(&[]);
    let names = [
        ("live/one", "live%2Fone"),
        ("cam.1", "cam%2e1/"),
        ("main/", "main"),
        ("a/b/c.d/", "a/b/c.d"),
    ];
    for (publish, watch) in names {
        server.join(&format!("/whip/{publish}"), PUBLISH);
        assert_problem(
            server.offer(&format!("/whip/{watch}"), PUBLISH),
            409,
            "publisher-present",
        );
        let viewer = server.join(&format!("/whep/{watch}"), WATCH);
        assert_eq!(server.delete(&viewer).status(), 200);
        assert_eq!(server.get(&format!("/channel/{watch}")).status(), 200);
    }
    let metrics = text(&mut server.get("/metrics"));
    for name in ["live/one", "cam.1", "main", "a/b/c.d"] {
        let line = format!("rekindle_channel_live{{channel=\"{name}\"}} 0");
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
}

#[test]
fn a_body_that_hides_its_length_is_limited_too() {
    let (_folder, server) = start(&[]);
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let answer = server.raw(&format!(
        "POST /whip/lobby HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         {chunk}{chunk}{chunk}0\r\n\r\n"
    ));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn methods_without_a_meaning_are_refused_by_name() {
    let (_folder, server) = start(&[]);
    let session = server.join("/whip/lobby", PUBLISH);
    let answer = server.get("/whip/lobby");
    assert_eq!(header(&answer, "allow"), "POST, OPTIONS");
    assert_problem(answer, 405, "method");
    let patch = format!(
        "PATCH {session} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\
         \r\n"
    );
    let answer = server.raw(&patch);
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: DELETE, OPTIONS\r\n"),
        "{answer}"
    );
}

#[test]
fn tokens_are_asked_for_and_looked_at() {
    let publish = "0123456789-publish";
    let watch = "0123456789-watch";
    let (folder, server) = start(&["--publish-token", publish, "--watch-token", watch]);
    let sdp = ("content-type", "application/sdp");
    let bearer = |token: &str| format!("Bearer {token}");
    for wrong in [
        None,
        Some(bearer(watch)),
        Some(bearer("")),
        Some(bearer("0123456789-publis")),
    ] {
        let mut headers = vec![sdp];
        headers.extend(wrong.as_deref().map(|wrong| ("authorization", wrong)));
        let answer = server.post("/whip/lobby", &headers, PUBLISH.as_bytes());
        assert!(header(&answer, "www-authenticate").starts_with("Bearer realm=\"publish\""));
        assert_problem(answer, 401, "token");
    }
    assert_eq!(records(folder.path()), 0);
    assert_eq!(
        server.offer_as("/whip/lobby", PUBLISH, publish).status(),
        201
    );
    assert_problem(server.offer("/whep/lobby", WATCH), 401, "token");
    assert_problem(server.get("/channel/lobby"), 401, "token");
    assert_eq!(server.offer_as("/whep/lobby", WATCH, watch).status(), 201);
}

#[test]
fn one_address_cannot_start_sessions_without_end() {
    let (_folder, server) = start(&["--join-rate", "1"]);
    let limited = (0..40)
        .map(|_| server.offer("/whep/lobby", WATCH))
        .find(|answer| answer.status() == 429);
    let answer = limited.expect("limited at some point");
    assert_ne!(header(&answer, "retry-after"), "");
    assert_problem(answer, 429, "too-often");
}

#[test]
fn a_full_disk_keeps_newcomers_out_and_nobody_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // No file may grow beyond 2 KiB: the identity fits, and a peer's record does not.
    let mut command = std::process::Command::new("sh");
    let server = rekindle(folder.path());
    command.current_dir(folder.path());
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(server.get_program());
    let server = Server::start_as(&mut command);
    let answer = server.offer("/whip/lobby", PUBLISH);
    assert_ne!(header(&answer, "retry-after"), "");
    assert_problem(answer, 503, "disk-full");
    assert_eq!(server.get("/healthz").status(), 200);
    assert_eq!(records(folder.path()), 0);
}

/// Makes a file immutable, or mutable again; false where this system or user cannot.
fn immutable(path: &Path, on: bool) -> bool {
    let flag = if on { "+i" } else { "-i" };
    let done = std::process::Command::new("chattr")
        .arg(flag)
        .arg(path)
        .output();
    done.is_ok_and(|output| output.status.success())
}

#[test]
fn a_vault_that_cannot_be_written_turns_newcomers_away_for_now() {
    let (folder, server) = start(&[]);
    server.terminate();
    let identity = folder.path().join("rekindle-state/identity.age");
    if !immutable(&identity, true) {
        eprintln!("skipped: chattr +i needs root and a file system that knows it");
        return;
    }
    let server = Server::start(folder.path(), &[]);
    let answer = server.offer("/whip/lobby", PUBLISH);
    assert_eq!(header(&answer, "retry-after"), "10");
    assert_problem(answer, 503, "disk");
    assert!(immutable(&identity, false));
    // The place in the lobby is held for some seconds yet.
    server.join("/whip/hall", PUBLISH);
}

#[test]
fn a_disk_that_cannot_be_written_keeps_newcomers_out_and_nobody_else() {
    let (folder, server) = start(&[]);
    // Not even root can make a file in a folder that was removed.
    std::fs::remove_dir(folder.path().join("rekindle-state/peers")).expect("removed");
    let answer = server.offer("/whip/lobby", PUBLISH);
    assert_ne!(header(&answer, "retry-after"), "");
    assert_problem(answer, 503, "disk");
    server.wait_for_log("could not be saved", 1);
    assert_eq!(server.get("/healthz").status(), 200);
}
