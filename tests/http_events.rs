//! A session's event stream: what it says, and when it ends.

mod running;

use running::{PUBLISH, Server, WATCH, assert_problem, header, json};

fn start() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    (folder, server)
}

#[test]
fn a_stream_opens_with_how_things_are_and_ends_when_the_session_does() {
    let (_folder, server) = start();
    server.join("/whip/lobby", PUBLISH);
    let mut answer = server.offer("/whep/lobby", WATCH);
    let session = header(&answer, "location").to_owned();
    let fingerprint = header(&answer, "rekindle-fingerprint").to_owned();
    assert!(!running::text(&mut answer).is_empty());

    let mut events = server.events(&format!("{session}/events"));
    let (name, hello) = events.next().expect("an event");
    assert_eq!(name, "hello");
    assert_eq!(hello["boot"], 1);
    assert_eq!(hello["mode"], "rehandshake");
    assert_eq!(hello["role"], "viewer");
    assert_eq!(hello["fingerprint"], fingerprint);
    assert_eq!(hello["connected"], false);
    assert_eq!(hello["source"], false);

    assert_eq!(server.delete(&session).status(), 200);
    let (name, gone) = events.next().expect("an event");
    assert_eq!((name.as_str(), &gone["reason"]), ("gone", &"left".into()));
    assert!(events.next().is_none());
    assert_problem(server.get(&format!("{session}/events")), 404, "no-session");
}

#[test]
fn a_kill_ends_the_stream_and_the_next_boot_opens_it_again() {
    let (folder, server) = start();
    let session = server.join("/whip/lobby", PUBLISH);
    let path = format!("{session}/events");
    let mut events = server.events(&path);
    assert!(events.next().is_some());
    server.kill();
    assert!(events.next().is_none());

    let server = Server::start(folder.path(), &[]);
    let (name, hello) = server.events(&path).next().expect("an event");
    assert_eq!(name, "hello");
    assert_eq!(hello["boot"], 2);
    assert_eq!(hello["role"], "publisher");
    assert_eq!(hello["connected"], false);
}

#[test]
fn a_stop_ends_streams_at_once_and_keeps_sessions() {
    let (folder, server) = start();
    let session = server.join("/whip/lobby", PUBLISH);
    let path = format!("{session}/events");
    let mut events = server.events(&path);
    assert!(events.next().is_some());
    let (code, _log) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(events.next().is_none());

    let server = Server::start(folder.path(), &[]);
    assert!(server.events(&path).next().is_some());
}

#[test]
fn a_subscription_as_in_the_whep_drafts_carries_what_it_names() {
    let (_folder, server) = start();
    server.join("/whip/lobby", PUBLISH);
    let session = server.join("/whep/lobby", WATCH);
    let path = format!("{session}/events");
    let json_type = [("content-type", "application/json")];
    let answer = server.post(&path, &json_type, br#"["active","inactive","layers"]"#);
    assert_eq!(answer.status(), 201);
    let (name, _) = server
        .events(header(&answer, "location"))
        .next()
        .expect("an event");
    assert_eq!(name, "inactive");
    assert_problem(
        server.post(&path, &json_type, br#"["layers"]"#),
        400,
        "body",
    );
    assert_problem(server.post(&path, &json_type, b"active"), 400, "body");
    assert_problem(
        server.post(&path, &[("content-type", "text/plain")], b"[]"),
        415,
        "media-type",
    );
}

#[test]
fn an_awaited_session_is_counted_until_it_is_back() {
    let (folder, server) = start();
    server.join("/whip/lobby", PUBLISH);
    assert_eq!(json(&mut server.get("/healthz"))["peers"]["joining"], 1);
    server.kill();
    let server = Server::start(folder.path(), &[]);
    let health = (0..200)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            json(&mut server.get("/healthz"))
        })
        .find(|health| health["resuming"] == false)
        .expect("all records are read soon");
    assert_eq!(health["peers"]["awaited"], 1, "{health}");
    assert_eq!(health["boot"], 2);
}

#[test]
fn one_stream_tells_of_several_sessions_and_ends_with_the_last() {
    let (folder, server) = start();
    let publisher = server.join("/whip/lobby", PUBLISH);
    let answer = server.offer("/whep/lobby", WATCH);
    assert_eq!(header(&answer, "rekindle-events"), "/events");
    let viewer = header(&answer, "location").to_owned();
    let id = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let unknown = format!("{}x", id(&viewer));

    let both = |server: &Server| {
        let mut events = server.events_of(&[&publisher, &viewer, &unknown]);
        let mut first: Vec<_> = (0..3).filter_map(|_| events.next_of()).collect();
        first.sort_by(|a, b| {
            a.1.cmp(&b.1)
                .then(a.2["role"].to_string().cmp(&b.2["role"].to_string()))
        });
        let names: Vec<(&str, &str)> = first
            .iter()
            .map(|(session, name, _)| (&session[..], &name[..]))
            .collect();
        let (p, v) = (id(&publisher), id(&viewer));
        assert_eq!(
            names,
            [(&unknown[..], "gone"), (&p, "hello"), (&v, "hello")]
        );
        assert_eq!(first[0].2["reason"], "unknown-session");
        let roles = [&first[1].2["role"], &first[2].2["role"]];
        assert_eq!(roles, ["publisher", "viewer"]);
        events
    };
    let mut events = both(&server);
    server.kill();
    assert!(events.next_of().is_none());

    let server = Server::start(folder.path(), &[]);
    let mut events = both(&server);
    assert_eq!(server.delete(&publisher).status(), 200);
    let gone = events.next_of().map(|(session, name, _)| (session, name));
    assert_eq!(gone, Some((id(&publisher), "gone".to_owned())));
    assert_eq!(server.delete(&viewer).status(), 200);
    let gone = events.next_of().map(|(session, name, _)| (session, name));
    assert_eq!(gone, Some((id(&viewer), "gone".to_owned())));
    assert!(events.next_of().is_none());
}

#[test]
fn a_list_of_sessions_that_cannot_be_read_is_refused() {
    let (_folder, server) = start();
    let text = [("content-type", "text/plain; charset=utf-8")];
    assert_problem(server.post("/events", &text, b" \n\n"), 400, "body");
    assert_problem(server.post("/events", &text, b"\xff"), 400, "body");
    assert_problem(
        server.post("/events", &text, "x".repeat(200).as_bytes()),
        400,
        "body",
    );
    let many: String = (0..1025).map(|n| format!("{n}\n")).collect();
    assert_problem(server.post("/events", &text, many.as_bytes()), 400, "body");
    assert_problem(
        server.post("/events", &text, &[b'x'; 200_000]),
        413,
        "too-large",
    );
    assert_problem(
        server.post("/events", &[("content-type", "application/json")], b"[]"),
        415,
        "media-type",
    );
    assert_eq!(server.get("/events").status(), 405);
}

#[test]
fn a_greeting_says_where_media_goes_and_where_else_the_session_may_be_found() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let nodes = ["--other-node", "https://b.example/media,http://127.0.0.1:9"];
    let server = Server::start(folder.path(), &nodes);
    let session = server.join("/whip/lobby", PUBLISH);
    let (name, hello) = server
        .events(&format!("{session}/events"))
        .next()
        .expect("an event");
    assert_eq!(name, "hello");
    let others: Vec<&str> = hello["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["url"].as_str())
        .collect();
    assert_eq!(others, ["https://b.example/media", "http://127.0.0.1:9"]);
    let media = hello["media"][0].as_str().expect("an address");
    assert!(media.starts_with("127.0.0.1:"), "{media}");

    // The server's own page may ask them.
    let policy = server.get("/");
    let policy = header(&policy, "content-security-policy");
    let sources = "connect-src 'self' https://b.example http://127.0.0.1:9; media-src";
    assert!(policy.contains(sources), "{policy}");
}
