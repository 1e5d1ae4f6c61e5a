//! The admin listener: what it has, who may ask, and that its description is true.

mod live;
mod running;
mod secure;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use live::{Live, broadcast, renew, run_until, run_until_more_video};
use rekindle::ids::Role;
use running::{
    PATIENCE, PUBLISH, Server, WATCH, assert_problem, header, json, refused, rekindle, text,
};
use secure::Certificate;
use serde_json::Value;
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

fn start(more: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[&["--admin", "127.0.0.1:0"], more].concat());
    (folder, server)
}

fn address(server: &Server) -> SocketAddr {
    let admin = server.ready["admin"].as_str().expect("announced");
    admin.parse().expect("an address")
}

/// Asks the admin listener.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{}{path}", address(server)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    agent
        .run(request.body(()).expect("a request"))
        .expect("an answer")
}

fn get(server: &Server, path: &str) -> Value {
    let mut answer = ask(server, "GET", path, &[]);
    assert_eq!(answer.status(), 200, "{path}: {}", text(&mut answer));
    json(&mut answer)
}

/// The peers of a channel: role, handle, whether connected.
fn peers(server: &Server, channel: &str) -> Vec<(String, String, bool)> {
    let body = get(server, &format!("/api/channels/{channel}"));
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let peers = body["peers"].as_array().expect("a list").iter();
    peers
        .map(|peer| {
            (
                text(&peer["role"]),
                text(&peer["peer"]),
                peer["connected"] == true,
            )
        })
        .collect()
}

fn records(folder: &Path) -> usize {
    let peers = fs::read_dir(folder.join("rekindle-state/peers"));
    peers.expect("a folder").count()
}

#[test]
fn metrics_are_with_the_admin_listener_alone_where_there_is_one() {
    let (_folder, server) = start(&[]);
    let mut metrics = ask(&server, "GET", "/metrics", &[]);
    assert_eq!(metrics.status(), 200);
    assert!(text(&mut metrics).contains("\nrekindle_boot 1\n"));
    assert_problem(server.get("/metrics"), 404, "not-found");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).status(), 200);
        assert_eq!(ask(&server, "GET", path, &[]).status(), 200);
    }
    // Nothing that is for everybody is here.
    for path in ["/", "/rekindle.js", "/channel/main"] {
        assert_problem(ask(&server, "GET", path, &[]), 404, "not-found");
    }
    assert_problem(ask(&server, "POST", "/whip/main", &[]), 404, "not-found");
    for path in ["/api/channels", "/api/openapi.json"] {
        assert_problem(server.get(path), 404, "not-found");
    }
}

#[test]
fn channels_are_told_with_their_peers_and_a_peer_is_let_go() {
    let (folder, server) = start(&[]);
    assert_eq!(
        get(&server, "/api/channels"),
        serde_json::json!({ "channels": [] })
    );
    let (mut publisher, mut viewer) = broadcast(&server, "live/one", 1100);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 5);

    let channels = get(&server, "/api/channels");
    let [channel] = channels["channels"].as_array().expect("a list").as_slice() else {
        panic!("{channels}");
    };
    assert_eq!(
        (&channel["name"], &channel["live"]),
        (&"live/one".into(), &true.into())
    );
    assert_eq!(channel["viewers"], 1);
    let passed = |name: &str| channel["media"][name].as_u64().expect("a count");
    assert!(passed("received") > 5 && passed("sent") > 5, "{channel}");
    assert!(passed("sent_bytes") > passed("sent"), "{channel}");
    let stats = get(&server, "/api/stats");
    assert_eq!((&stats["live"], &stats["viewers"]), (&1.into(), &1.into()));
    assert_eq!(stats["more_channels"], 0);
    assert_eq!(stats["channels"][0]["name"], "live/one");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = channel["live_since"].as_u64().expect("a time");
    assert!(now.expect("after 1970").as_secs() - since < 60, "{since}");

    let all = peers(&server, "live%2Fone");
    let roles: Vec<_> = all
        .iter()
        .map(|(role, _, up)| (role.as_str(), *up))
        .collect();
    assert_eq!(roles, [("publisher", true), ("viewer", true)]);
    // A handle opens nothing, and is no part of what does.
    let handle = &all[1].1;
    assert!(!viewer.session.contains(handle.as_str()));
    assert_problem(
        server.delete(&format!("/session/{handle}")),
        404,
        "no-session",
    );

    let mut events = server.events(&format!("{}/events", viewer.session));
    assert_eq!(records(folder.path()), 2);
    let answer = ask(&server, "DELETE", &format!("/api/peers/{handle}"), &[]);
    assert_eq!(answer.status(), 204);
    assert_eq!(records(folder.path()), 1, "its record is gone by then");
    let told: Vec<String> = std::iter::from_fn(|| events.next())
        .map(|event| event.0)
        .collect();
    assert_eq!(told.last().map(String::as_str), Some("gone"));
    assert_eq!(peers(&server, "live%2Fone").len(), 1);
    for gone in [handle.as_str(), "0123456789abcdef", "x", "-1"] {
        assert_problem(
            ask(&server, "DELETE", &format!("/api/peers/{gone}"), &[]),
            404,
            "no-peer",
        );
    }
}

#[test]
fn a_channel_is_closed_and_handles_stay_the_same_over_a_restart() {
    let (folder, server) = start(&["--join-rate", "0"]);
    server.join("/whip/news", PUBLISH);
    for _ in 0..20 {
        server.join("/whep/news", WATCH);
    }
    server.join("/whip/other", PUBLISH);
    let before = peers(&server, "news");
    assert_eq!(before.len(), 21);

    let mut command = rekindle(folder.path());
    let server = server.kill_and_start_again_as(command.args(["--admin", "127.0.0.1:0"]));
    let handles = |peers: &[(String, String, bool)]| -> BTreeSet<String> {
        peers.iter().map(|(_, handle, _)| handle.clone()).collect()
    };
    let after = peers(&server, "news");
    assert_eq!(handles(&after), handles(&before));
    assert_eq!(after[0].0, "publisher");

    let mut answer = ask(&server, "POST", "/api/channels/news/close", &[]);
    assert_eq!(answer.status(), 200);
    assert_eq!(
        json(&mut answer),
        serde_json::json!({ "name": "news", "ended": 21 })
    );
    assert_eq!(records(folder.path()), 1);
    assert_problem(
        ask(&server, "GET", "/api/channels/news", &[]),
        404,
        "no-channel",
    );
    assert_problem(
        ask(&server, "POST", "/api/channels/news/close", &[]),
        404,
        "no-channel",
    );
    assert_eq!(peers(&server, "other").len(), 1, "nobody else is ended");
    assert_problem(
        ask(&server, "GET", "/api/channels/..%2Fx", &[]),
        400,
        "channel-name",
    );
    // Nobody is kept from joining again.
    server.join("/whip/news", PUBLISH);
}

#[test]
fn slashes_in_a_name_are_written_as_they_are_or_percent_encoded() {
    let (_folder, server) = start(&[]);
    for channel in ["live/one", "live/close"] {
        server.join(&format!("/whip/{channel}"), PUBLISH);
    }
    for path in ["live/one", "live%2Fone", "live/one/", "live%2fone%2F"] {
        let body = get(&server, &format!("/api/channels/{path}"));
        assert_eq!(body["channel"]["name"], "live/one", "{path}");
    }
    let close = |path: &str| ask(&server, "POST", &format!("/api/channels/{path}"), &[]);
    // Not what its last part is called, but what stands behind its name.
    let answer = close("live/one");
    assert_eq!(header(&answer, "allow"), "GET, HEAD");
    assert_problem(answer, 405, "method");
    assert_problem(close("live/close"), 404, "no-channel");
    assert_eq!(close("live/close/close").status(), 200);
    assert_eq!(close("live/one/close/").status(), 200);
    assert_eq!(
        get(&server, "/api/channels")["channels"],
        serde_json::json!([])
    );
}

#[test]
fn long_lists_come_in_parts_in_which_everybody_is_once_also_while_some_leave() {
    let (_folder, server) = start(&["--join-rate", "0"]);
    server.join("/whip/big", PUBLISH);
    let mut sessions: Vec<_> = (0..25).map(|_| server.join("/whep/big", WATCH)).collect();
    for channel in ["a/1", "a/2", "b"] {
        server.join(&format!("/whip/{channel}"), PUBLISH);
    }
    let text = |value: &Value| value.as_str().expect("text").to_owned();

    let all: BTreeSet<_> = peers(&server, "big").into_iter().collect();
    assert_eq!(all.len(), 26);
    let (mut seen, mut query, mut parts) = (Vec::new(), "limit=10".to_owned(), Vec::new());
    loop {
        let body = get(&server, &format!("/api/channels/big?{query}"));
        let part = body["peers"].as_array().expect("a list");
        parts.push(part.len());
        seen.extend(
            part.iter()
                .map(|peer| (text(&peer["role"]), text(&peer["peer"]))),
        );
        let Some(next) = body["next"].as_str() else {
            break;
        };
        query = format!("after={next}&limit=10");
        if sessions.len() == 25 {
            // The one that the next part begins after, too.
            let left = ask(&server, "DELETE", &format!("/api/peers/{next}"), &[]);
            assert_eq!(left.status(), 204);
            sessions.pop();
        }
    }
    assert_eq!((parts, &*seen[0].0), (vec![11, 10, 5], "publisher"));
    let seen: BTreeSet<_> = seen.into_iter().collect();
    let all: BTreeSet<_> = all
        .into_iter()
        .map(|(role, peer, _)| (role, peer))
        .collect();
    assert_eq!(seen, all);

    let (mut names, mut query) = (Vec::new(), "limit=1".to_owned());
    loop {
        let body = get(&server, &format!("/api/channels?{query}"));
        let part = body["channels"].as_array().expect("a list");
        names.extend(part.iter().map(|one| text(&one["name"])));
        let Some(next) = body["next"].as_str() else {
            break;
        };
        query = format!("limit=1&after={}", next.replace('/', "%2F"));
    }
    assert_eq!(names, ["a/1", "a/2", "b", "big"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_a_problem_that_says_why() {
    let (_folder, server) = start(&[]);
    server.join("/whip/main", PUBLISH);
    let ask = |method: &str, path: &str| ask(&server, method, path, &[]);
    assert_problem(ask("GET", "/api/channels/%FF"), 400, "path");
    assert_problem(ask("POST", "/api/channels/%FF/close"), 400, "path");
    assert_problem(ask("DELETE", "/api/peers/%FF"), 400, "path");
    for query in ["limit=0", "limit=1001", "limit=x", "page=2"] {
        assert_problem(ask("GET", &format!("/api/channels?{query}")), 400, "query");
        let path = format!("/api/channels/main?{query}");
        assert_problem(ask("GET", &path), 400, "query");
    }
    assert_problem(ask("POST", "/api/drain?rate=0"), 400, "query");
    for path in [
        "/api/channels",
        "/api/channels/main",
        "/api/stats",
        "/metrics",
    ] {
        let mut answer = ask("HEAD", path);
        assert_eq!(
            (answer.status().as_u16(), text(&mut answer)),
            (200, String::new())
        );
    }
    // And so it is where everybody asks.
    assert_problem(server.get("/channel/%FF"), 400, "path");
    assert_problem(server.get("/session/%FF/events"), 400, "path");
    assert_problem(server.delete("/session/%FF"), 400, "path");
    assert_problem(server.offer("/whip/%FF", PUBLISH), 400, "path");
    assert_problem(server.offer("/whep/%FF", WATCH), 400, "path");
}

#[test]
fn who_is_not_on_this_machine_is_not_listened_to_without_a_token_nor_is_a_web_page() {
    let (_folder, server) = start(&[]);
    server.join("/whip/news", PUBLISH);
    let close = "/api/channels/news/close";
    for headers in [
        &[("origin", "http://localhost:3000")][..],
        &[("origin", "null")],
        &[("host", "rebind.example:9189")],
        &[("x-forwarded-for", "192.0.2.1")],
        &[("forwarded", "for=192.0.2.1")],
        &[("via", "1.1 proxy")],
    ] {
        assert_problem(ask(&server, "POST", close, headers), 403, "foreign");
        assert_problem(ask(&server, "GET", "/metrics", headers), 403, "foreign");
    }
    assert_eq!(ask(&server, "POST", close, &[]).status(), 200);
    let mut answer = ask(&server, "PUT", close, &[]);
    assert_eq!(answer.status(), 405);
    assert!(
        !header(&answer, "allow").is_empty(),
        "{}",
        text(&mut answer)
    );

    let folder = tempfile::tempdir().expect("temporary folder");
    refused(
        folder.path(),
        &["--admin", "0.0.0.0:0"],
        &["--admin-token-file", "127.0.0.1"],
    );
    refused(
        folder.path(),
        &["--admin-token", "0123456789abcdef"],
        &["--admin"],
    );
}

#[test]
fn the_admin_token_is_asked_for_and_taken_anew_on_sighup() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("admin-token");
    fs::write(&file, "first-0123456789abcdef").expect("written");
    let options = [
        "--admin",
        "127.0.0.1:0",
        "--admin-token-file",
        "admin-token",
    ];
    let server = Server::start(folder.path(), &options);
    let shows = |token: &str| {
        let shown = format!("Bearer {token}");
        ask(
            &server,
            "GET",
            "/api/channels",
            &[("authorization", &shown)],
        )
        .status()
    };
    let answer = ask(&server, "GET", "/api/channels", &[]);
    assert!(header(&answer, "www-authenticate").starts_with("Bearer"));
    assert_problem(answer, 401, "token");
    assert_problem(ask(&server, "GET", "/metrics", &[]), 401, "token");
    assert_eq!(ask(&server, "GET", "/healthz", &[]).status(), 200);
    assert_eq!(shows("first-0123456789abcdef"), 200);
    assert_eq!(shows("second-0123456789abcdef"), 401);
    fs::write(&file, "second-0123456789abcdef").expect("written");
    server.signal("HUP");
    server.wait_for_log("the admin token was taken anew", 1);
    assert_eq!(shows("first-0123456789abcdef"), 401);
    assert_eq!(shows("second-0123456789abcdef"), 200);
    // It cannot be guessed without end; who shows the right one meanwhile waits as well.
    let guess = |_| shows("guess");
    let answers: Vec<_> = (0..400).map(guess).collect();
    assert!(answers[..100].iter().all(|status| *status == 401));
    // A moment later one of them is looked at again.
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert!(refused > 50, "{refused}");
}

#[test]
fn operators_elsewhere_are_answered_inside_tls_where_there_is_a_certificate() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let certificate = Certificate::new(folder.path());
    let token = ["--admin-token", "0123456789abcdef"];
    let options = [&certificate.options()[..], &token].concat();
    for (admin, inside_tls) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let server = Server::start(folder.path(), &[&options[..], &["--admin", admin]].concat());
        let at = SocketAddr::from(([127, 0, 0, 1], address(&server).port()));
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                       authorization: Bearer 0123456789abcdef\r\n\r\n";
        let mut answer = String::new();
        if inside_tls {
            let mut stream = certificate.http1(at);
            stream.write_all(request.as_bytes()).expect("sent");
            stream.read_to_string(&mut answer).expect("an answer");
        } else {
            let mut stream = std::net::TcpStream::connect(at).expect("connected");
            stream.write_all(request.as_bytes()).expect("sent");
            stream.read_to_string(&mut answer).expect("an answer");
        }
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn what_came_of_a_restart_is_told_by_one_line_of_the_log_and_by_the_statistics() {
    let (folder, server) = start(&[]);
    let (mut publisher, mut viewer) = broadcast(&server, "main", 1400);
    let stats = get(&server, "/api/stats");
    assert_eq!(
        (&stats["boot"], &stats["resume"]["back"]),
        (&1.into(), &0.into())
    );
    assert!(stats["media"]["sent_bytes"].as_u64() > Some(0), "{stats}");
    assert!(!server.log().contains("the restart is over"));
    // One that will not come back leaves.
    let leaves = Live::join(&server, Role::Viewer, "main", 1410);

    let mut command = rekindle(folder.path());
    let server = server.kill_and_start_again_as(command.args(["--admin", "127.0.0.1:0"]));
    renew(&mut [&mut publisher, &mut viewer]);
    // A browser may know that it has keys a moment before this is counted.
    let mut stats = Value::Null;
    let mut both = [&mut publisher, &mut viewer];
    run_until(&mut both, "both are counted", |_| {
        stats = get(&server, "/api/stats");
        stats["resume"]["back"] == 2
    });
    let resume = &stats["resume"];
    assert_eq!(
        (&stats["boot"], &resume["back"], &stats["peers"]["awaited"]),
        (&2.into(), &2.into(), &1.into())
    );
    let ms = |name: &str| resume[name].as_u64().expect("a time");
    assert!(ms("median_ms") <= ms("p90_ms") && ms("p90_ms") == ms("last_ms"));
    let last = serde_json::json!([ms("last_ms"), 2]);
    assert_eq!(
        resume["curve"].as_array().and_then(|all| all.last()),
        Some(&last)
    );
    assert!(
        !server.log().contains("the restart is over"),
        "one is awaited"
    );

    assert_eq!(server.delete(&leaves.session).status(), 200);
    server.wait_for_log("the restart is over", 1);
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("the restart is over"));
    let line = line.expect("the line");
    for part in [
        "boot=2",
        "back=2",
        "lost=0",
        "median_ms=",
        "p90_ms=",
        "last_ms=",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    server.terminate();
}

#[test]
fn the_operators_page_has_nothing_to_hide_and_is_only_here() {
    let (folder, server) = start(&[]);
    let policy = |answer: &Response<Body>| header(answer, "content-security-policy").to_owned();
    for (path, kind) in [
        ("/stats", "text/html; charset=utf-8"),
        ("/stats.css", "text/css; charset=utf-8"),
        ("/stats.js", "text/javascript; charset=utf-8"),
        ("/stats-draw.js", "text/javascript; charset=utf-8"),
        ("/stats-history.js", "text/javascript; charset=utf-8"),
    ] {
        assert_problem(server.get(path), 404, "not-found");
        let answer = ask(&server, "GET", path, &[]);
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "content-type")),
            (200, kind)
        );
        assert!(policy(&answer).contains("default-src 'none'"));
        let own = format!("http://{}", address(&server));
        assert_eq!(ask(&server, "GET", path, &[("origin", &own)]).status(), 200);
        assert_problem(
            ask(&server, "GET", path, &[("origin", "null")]),
            403,
            "foreign",
        );
        let strange = [("host", "rebind.example")];
        assert_problem(ask(&server, "GET", path, &strange), 403, "foreign");
    }
    assert_problem(server.get("/api/stats"), 404, "not-found");
    let own = format!("http://{}", address(&server));
    let asked = ask(&server, "GET", "/api/stats", &[("origin", &own)]);
    assert_problem(asked, 403, "foreign");
    server.kill();

    std::fs::write(folder.path().join("token"), "an-admin-token").expect("written");
    let server = Server::start(
        folder.path(),
        &["--admin", "127.0.0.1:0", "--admin-token-file", "token"],
    );
    assert_eq!(ask(&server, "GET", "/stats", &[]).status(), 200);
    assert_problem(ask(&server, "GET", "/api/stats", &[]), 401, "token");
    let right = [("authorization", "Bearer an-admin-token")];
    assert_eq!(ask(&server, "GET", "/api/stats", &right).status(), 200);
}

/// Checks a value against the part of JSON Schema that the description uses.
#[track_caller]
fn conforms(all: &Value, schema: &Value, value: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = all.pointer(&reference[1..]).expect("there");
        return conforms(all, schema, value);
    }
    let is = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    assert!(is, "{value} is not {schema}");
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().expect("text");
        assert!(value.get(name).is_some(), "{name} is not in {value}");
    }
    if let (Some(properties), Some(members)) = (schema["properties"].as_object(), value.as_object())
    {
        for (name, member) in members {
            match properties.get(name) {
                Some(schema) => conforms(all, schema, member),
                // Health says more than it promises.
                None => assert!(properties.contains_key("status"), "{name} is not described"),
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(all, &schema["items"], item);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{value} is not among {words:?}");
    }
    if let Some(word) = schema.get("const") {
        assert_eq!(value, word);
    }
}

#[test]
fn what_the_description_says_is_so() {
    let (_folder, server) = start(&["--join-rate", "0"]);
    let all = get(&server, "/api/openapi.json");
    let mut operations = 0;
    for (path, item) in all["paths"].as_object().expect("paths") {
        for method in ["get", "post", "delete"] {
            let Some(operation) = item.get(method) else {
                continue;
            };
            operations += 1;
            // Something to look at, and to end.
            let mut publisher = Live::join(&server, Role::Publisher, "main", 1200 + operations);
            run_until(&mut [&mut publisher], "a peer is there", |_| {
                !peers(&server, "main").is_empty()
            });
            let peer = peers(&server, "main")[0].1.clone();
            let path = path.replace("{name}", "main").replace("{peer}", &peer);
            let mut answer = ask(&server, &method.to_uppercase(), &path, &[]);
            let status = answer.status().as_u16().to_string();
            let described = &operation["responses"][&status];
            assert!(described.is_object(), "{method} {path}: {status}");
            // A server that shares its vault with no other has nobody to give its peers to.
            let alone = path == "/api/drain" && status == "409";
            assert!(
                alone || status.starts_with('2'),
                "{method} {path}: {status}"
            );
            let kind = header(&answer, "content-type")
                .split(';')
                .next()
                .unwrap_or("")
                .to_owned();
            if let Some(content) = described["content"].as_object() {
                let content = &content
                    .get(&kind)
                    .unwrap_or_else(|| panic!("{path}: {kind}"));
                if kind == "application/json" {
                    conforms(&all, &content["schema"], &json(&mut answer));
                }
            }
            // A peer that is none, and a token that is none, are described too.
            let foreign = ask(
                &server,
                &method.to_uppercase(),
                &path,
                &[("origin", "null")],
            );
            assert!(operation["responses"]["403"].is_object());
            assert_problem(foreign, 403, "foreign");
            ask(&server, "POST", "/api/channels/main/close", &[]);
        }
    }
    assert_eq!(operations, 11);
}
