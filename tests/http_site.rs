//! The page, health, and who is let in by origin and host.

mod running;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use running::{PUBLISH, Server, assert_problem, header, json, text};

fn start(options: &[&str]) -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), options);
    (folder, server)
}

/// A request as a browser or a proxy would write it; the status line and headers of the answer, in
/// small letters.
fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let answer = server.raw(&format!(
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
    ));
    answer
        .split("\r\n\r\n")
        .next()
        .expect("a head")
        .to_ascii_lowercase()
}

const LOCAL: (&str, &str) = ("Host", "localhost");

#[test]
fn the_page_comes_with_strict_headers_and_is_not_sent_twice() {
    let (_folder, server) = start(&[]);
    let mut page = server.get("/");
    assert_eq!(page.status(), 200);
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(header(&page, "referrer-policy"), "no-referrer");
    let tag = header(&page, "etag").to_owned();
    assert!(text(&mut page).contains("<!doctype html>"));
    let again = ask(&server, "GET", "/", &[LOCAL, ("If-None-Match", &tag)]);
    assert!(again.starts_with("http/1.1 304 "), "{again}");
    let head = ask(&server, "HEAD", "/index.html", &[LOCAL]);
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn the_page_can_come_from_a_folder_and_nothing_beside_it_can() {
    let site = tempfile::tempdir().expect("temporary folder");
    std::fs::write(site.path().join("index.html"), "mine").expect("written");
    let (folder, server) = start(&["--static-dir", site.path().to_str().expect("text")]);
    assert_eq!(text(&mut server.get("/")), "mine");
    assert!(folder.path().join("rekindle-key.txt").exists());
    for path in [
        "/../rekindle-key.txt",
        "/..%2frekindle-key.txt",
        "/%2e%2e/rekindle-key.txt",
        "//etc/passwd",
        "/..",
    ] {
        let answer = ask(&server, "GET", path, &[LOCAL]);
        assert!(answer.starts_with("http/1.1 404 "), "{path}: {answer}");
    }
}

#[test]
fn what_does_not_exist_is_a_readable_404() {
    let (_folder, server) = start(&[]);
    assert_problem(server.get("/nothing"), 404, "not-found");
    assert_problem(server.get("/session/x"), 405, "method");
    assert_problem(server.get("/session/x/events"), 404, "no-session");
}

#[test]
fn health_and_metrics_count() {
    let (_folder, server) = start(&[]);
    server.join("/whip/lobby", PUBLISH);
    let health = json(&mut server.get("/healthz"));
    assert_eq!(health["status"], "ok");
    assert_eq!(health["boot"], 1);
    assert_eq!(health["mode"], "rehandshake");
    assert_eq!(health["channels"]["total"], 1);
    let channel = json(&mut server.get("/channel/lobby"));
    assert_eq!(
        channel,
        serde_json::json!({ "live": false, "viewers": 0, "boot": 1 })
    );
    let metrics = text(&mut server.get("/metrics"));
    for line in [
        "rekindle_boot 1",
        "rekindle_peers{state=\"joining\"} 1",
        "rekindle_channel_live{channel=\"lobby\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in {metrics}"
        );
    }
}

#[test]
fn metrics_are_for_this_machine_or_for_who_may_publish() {
    let token = "0123456789-publish";
    let (_folder, server) = start(&["--publish-token", token]);
    let proxied = ("X-Forwarded-For", "192.0.2.1");
    assert!(ask(&server, "GET", "/metrics", &[LOCAL]).starts_with("http/1.1 200 "));
    assert!(ask(&server, "GET", "/metrics", &[LOCAL, proxied]).starts_with("http/1.1 401 "));
    let shown = format!("Bearer {token}");
    assert!(
        ask(
            &server,
            "GET",
            "/metrics",
            &[LOCAL, proxied, ("Authorization", &shown)]
        )
        .starts_with("http/1.1 200 ")
    );
}

#[test]
fn behind_a_proxy_nobody_is_taken_for_local() {
    // A proxy with its default settings may say nothing of whom it asks for.
    let (_folder, server) = start(&["--behind-proxy"]);
    assert!(ask(&server, "GET", "/metrics", &[LOCAL]).starts_with("http/1.1 404 "));
    let token = "0123456789-publish";
    let (_folder, server) = start(&["--behind-proxy", "--publish-token", token]);
    assert!(ask(&server, "GET", "/metrics", &[LOCAL]).starts_with("http/1.1 401 "));
    let shown = format!("Bearer {token}");
    assert!(
        ask(
            &server,
            "GET",
            "/metrics",
            &[LOCAL, ("Authorization", &shown)]
        )
        .starts_with("http/1.1 200 ")
    );
}

#[test]
fn a_token_cannot_be_guessed_faster_where_nothing_is_joined() {
    let (publish, watch) = ("0123456789-publish", "0123456789-watch");
    let options = [
        "--behind-proxy",
        "--publish-token",
        publish,
        "--watch-token",
        watch,
        "--list-channels",
        "--join-rate",
        "1",
    ];
    for (path, right) in [
        ("/metrics", publish),
        ("/channel/lobby", watch),
        ("/channels", watch),
    ] {
        let (_folder, server) = start(&options);
        let code = |client: &str, token: &str| {
            let shown = format!("Bearer {token}");
            let headers = [
                LOCAL,
                ("X-Forwarded-For", client),
                ("Authorization", &shown),
            ];
            let answer = ask(&server, "GET", path, &headers);
            answer["http/1.1 ".len()..][..3].to_owned()
        };
        // Looking by right costs nothing, however often.
        for _ in 0..30 {
            assert_eq!(code("192.0.2.1", right), "200", "{path}");
        }
        let guesses: Vec<_> = (0..100)
            .map(|n| code("192.0.2.1", &format!("guess{n}")))
            .collect();
        assert_eq!(guesses[0], "401", "{path}");
        let tried = guesses.iter().filter(|code| *code == "401").count();
        assert!(tried < 50, "{path}: {tried}");
        assert_eq!(code("192.0.2.2", right), "200", "{path}");
    }
}

#[test]
fn a_server_without_a_token_answers_only_pages_of_this_machine() {
    let (_folder, server) = start(&[]);
    let preflight = [
        LOCAL,
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "POST"),
    ];
    let answer = ask(&server, "OPTIONS", "/whip/lobby", &preflight);
    assert!(
        answer.starts_with("http/1.1 403 ") && !answer.contains("access-control-allow-origin"),
        "{answer}"
    );
    // A name that a stranger makes point here.
    let rebound = ask(
        &server,
        "GET",
        "/channel/lobby",
        &[("Host", "rebind.example:8080")],
    );
    assert!(rebound.starts_with("http/1.1 403 "), "{rebound}");
    let local = ask(
        &server,
        "OPTIONS",
        "/whip/lobby",
        &[LOCAL, ("Origin", "http://localhost:3000")],
    );
    assert!(local.starts_with("http/1.1 204 "), "{local}");
    assert!(
        local.contains("access-control-allow-origin: http://localhost:3000\r\n"),
        "{local}"
    );
    assert!(local.contains("accept-post: application/sdp"), "{local}");
}

#[test]
fn a_server_with_a_token_may_be_used_from_any_page() {
    let (_folder, server) = start(&["--publish-token", "0123456789-publish"]);
    let page = [("Host", "media.example"), ("Origin", "https://example.com")];
    let answer = ask(&server, "OPTIONS", "/whep/lobby", &page);
    assert!(answer.starts_with("http/1.1 204 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: *\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-allow-headers: authorization, content-type"),
        "{answer}"
    );
    assert!(!answer.contains("allow-credentials"), "{answer}");
    let exposed = ask(&server, "POST", "/whep/lobby", &page);
    assert!(
        exposed.contains("access-control-expose-headers: location, etag, link"),
        "{exposed}"
    );
}

#[test]
fn a_page_of_another_origin_sees_that_patch_has_no_meaning_and_learns_it_at_the_endpoint() {
    let (_folder, server) = start(&["--publish-token", "0123456789-publish"]);
    let page = [("Host", "media.example"), ("Origin", "https://example.com")];
    let methods = |path: &str| {
        let answer = ask(&server, "OPTIONS", path, &page);
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix("access-control-allow-methods: "));
        line.expect("a list")
            .split(", ")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // What a preflight does not allow, a page sees as a failure of the network, without a status.
    assert!(methods("/session/x").contains(&"patch".to_owned()));
    let answer = ask(&server, "PATCH", "/session/x", &page);
    assert!(
        answer.starts_with("http/1.1 405 ") && answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    // Some clients send candidates later where they find it here.
    assert_eq!(methods("/whip/live/one"), ["post", "options"]);
    assert_eq!(methods("/whep/lobby"), ["post", "options"]);
}

#[test]
fn a_head_that_has_no_end_is_cut_off() {
    let (_folder, server) = start(&[]);
    let answer = server.raw(&format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}",
        "x".repeat(64 * 1024)
    ));
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}

#[test]
fn a_client_that_dawdles_is_cut_off() {
    let (_folder, server) = start(&[]);
    let half_a_head = "GET / HTTP/1.1\r\nHost: local";
    let half_a_body = "POST /whip/c HTTP/1.1\r\nHost: localhost\r\n\
                       Content-Type: application/sdp\r\nContent-Length: 5000\r\n\r\nv=0\r\n";
    let begin = Instant::now();
    let [head, body] = [half_a_head, half_a_body]
        .map(|half| {
            let mut stream = TcpStream::connect(server.http()).expect("connected");
            stream
                .set_read_timeout(Some(running::PATIENCE))
                .expect("set");
            stream.write_all(half.as_bytes()).expect("sent");
            stream
        })
        .map(|mut stream| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("closed in time");
            answer
        });
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "{:?}",
        begin.elapsed()
    );
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 408 "),
        "{head}"
    );
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
    assert_eq!(server.get("/healthz").status(), 200);
}
