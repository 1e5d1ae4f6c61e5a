//! A service that is asked who may publish and watch.

use std::fs;
use std::time::Duration;

use rekindle::ids::Role;
use serde_json::{Value, json};

use super::live::{Live, offered, path, run_until};
use super::running::{
    PUBLISH, Server, WATCH, agent, assert_problem, header, json as body, output, rekindle, said,
};
use super::secure::Certificate;
use super::service::{Asked, Reply, Service};
use super::{NOBODY_PUBLISHES, look, status};

/// Yes to who shows "good", no to all others.
fn by_token(asked: &Asked) -> Reply {
    Reply::status(match asked.json()["token"] == "good" {
        true => 204,
        false => 403,
    })
}

#[test]
fn the_service_decides_what_no_token_decides_and_is_told_no_more_than_it_needs() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let service = Service::start(by_token);
    let url = service.url("/may?secret=path");
    let known = "0123456789-publish-token";
    fs::write(folder.join("publish"), known).expect("written");
    let options = ["--auth-url", &url, "--publish-token-file", "publish"];
    let server = Server::start(folder, &options);
    let port = service.address.port();
    let log = server.log();
    assert!(
        log.contains(&format!("TCP connections to no port but {port} (")),
        "{log}"
    );

    assert_eq!(status(&server, "/whep/news", Some("bad")), 401);
    assert_eq!(status(&server, "/whep/news", None), 401);
    assert_eq!(
        status(&server, "/whep/news", Some("good")),
        NOBODY_PUBLISHES
    );
    let asked = service.asked();
    let questions: Vec<_> = asked.iter().map(Asked::json).collect();
    let question = |token| json!({ "use": "watch", "channel": "news", "token": token });
    assert_eq!(
        questions,
        [
            question(Some("bad")),
            question(None),
            question(Some("good"))
        ]
    );
    assert_eq!(asked[0].method, "POST");
    assert_eq!(asked[0].uri, "/may?secret=path");
    let mut names: Vec<_> = asked[0].headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "content-length",
        "content-type",
        "host",
        "user-agent",
    ];
    assert_eq!(names, expected);

    // A token that the server knows.
    let answer = server.offer_as("/whip/news", PUBLISH, known);
    assert_eq!(answer.status(), 201);
    let publisher = header(&answer, "location").to_owned();
    assert_eq!(service.asked().len(), 3);
    let answer = server.offer_as("/whep/news", WATCH, "good");
    assert_eq!(answer.status(), 201);
    let viewer = header(&answer, "location").to_owned();
    assert_eq!(service.asked().len(), 4);

    // The page looks again and again, and the service is asked once.
    for _ in 0..3 {
        let (code, said) = look(&server, "news", "good");
        assert_eq!((code, &said["viewers"]), (200, &json!(0)));
    }
    let asked = service.asked().len();
    assert!(asked <= 5, "{asked}");
    assert_eq!(look(&server, "news", known).0, 200);
    assert_eq!(service.asked().len(), asked);
    assert_eq!(look(&server, "news", "bad").0, 401);

    // A restart asks nobody, and nobody needs the service to be there.
    drop(service);
    let server = server.kill_and_start_again_as(rekindle(folder).args(options));
    for session in [&publisher, &viewer] {
        let mut events = server.events(&format!("{session}/events"));
        assert_eq!(events.next().expect("an event").0, "hello");
    }
    assert_eq!(status(&server, "/whip/other", Some(known)), 201);
    assert_eq!(status(&server, "/whep/news", Some("good")), 503);
    let service = Service::at(([127, 0, 0, 1], port).into(), None, by_token);
    assert_eq!(status(&server, "/whep/news", Some("good")), 201);
    assert_eq!(service.asked().len(), 1);
    assert!(
        server
            .log()
            .contains("answers again who may publish and watch")
    );
    assert_eq!(server.delete_as(&viewer, "bad").status(), 401);
    assert_eq!(server.delete_as(&viewer, "good").status(), 200);
    let log = server.log();
    assert!(
        !log.contains("secret=path") && !log.contains("good"),
        "{log}"
    );
}

#[test]
fn a_service_that_says_neither_yes_nor_no_lets_nobody_in_and_costs_one_line() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let elsewhere = Service::start(|_| Reply::status(200));
    let service = Service::start(|_| Reply::status(500));
    let url = service.url("/");
    let server = Server::start(folder, &["--auth-url", &url, "--auth-timeout", "1s"]);
    for reply in [
        || Reply::status(500),
        // No redirect is followed, and none is a yes.
        || Reply::status(307),
        || Reply::status(404),
        || Reply::status(429),
        || Reply(200, vec![b'x'; 1 << 20], Duration::ZERO),
        || Reply(200, Vec::new(), Duration::from_secs(20)),
    ] as [fn() -> Reply; 6]
    {
        service.answer(move |_| reply());
        let answer = server.offer_as("/whip/a", PUBLISH, "any");
        assert_eq!(header(&answer, "retry-after"), "2");
        assert_problem(answer, 503, "undecided");
    }
    assert!(elsewhere.asked().is_empty());
    let log = server.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("--auth-url"))
        .collect();
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
    assert!(lines[0].contains("it answers 500"), "{lines:?}");
}

#[test]
fn a_crowd_is_asked_about_sixty_four_at_a_time() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let slow = || Reply(403, Vec::new(), Duration::from_millis(400));
    let service = Service::start(move |_| slow());
    let url = service.url("/");
    let options = [
        "--auth-url",
        &url,
        "--auth-timeout",
        "20s",
        "--join-rate",
        "0",
    ];
    let server = Server::start(folder, &options);
    let place = server.url("/whep/a");
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let request = agent().post(&place).header("authorization", "Bearer x");
                let answer = request.send(b"v=0").expect("an answer");
                assert_eq!(answer.status(), 401);
            });
        }
    });
    assert_eq!(service.asked().len(), 100);
    let most = service.most_at_once();
    assert!(most <= 64, "{most}");
}

/// A server that lists its channels and asks this service, and has a publisher for each of these
/// channels, all of them live.
fn listing(
    folder: &std::path::Path,
    service: &Service,
    channels: &[String],
) -> (Server, Vec<Live>) {
    let publish = "0123456789-publish-token";
    fs::write(folder.join("publish"), publish).expect("written");
    let url = service.url("/");
    let options = [
        "--auth-url",
        &url,
        "--auth-timeout",
        "5s",
        "--publish-token-file",
        "publish",
        "--list-channels",
        "--join-rate",
        "0",
    ];
    let server = Server::start(folder, &options);
    let join = |(channel, seed): (&String, u64)| {
        let offered = offered(Role::Publisher, seed);
        let answer = server.offer_as(&path(Role::Publisher, channel), &offered.sdp, publish);
        Live::answered(&server, Role::Publisher, offered, answer)
    };
    let mut publishers: Vec<_> = channels.iter().zip(2500..).map(join).collect();
    all_live(&server, &mut publishers);
    (server, publishers)
}

/// Lets publishers run until all their channels are live.
fn all_live(server: &Server, publishers: &mut [Live]) {
    let count = publishers.len();
    let mut all: Vec<_> = publishers.iter_mut().collect();
    run_until(&mut all, "all are live", |_| {
        body(&mut server.get("/healthz"))["channels"]["live"] == count
    });
}

/// The names of the channels that are listed for who shows this token.
fn listed(server: &Server, token: Option<&str>) -> Vec<String> {
    let mut request = agent().get(server.url("/channels"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().expect("an answer");
    assert_eq!(answer.status(), 200);
    let all = body(&mut answer)["channels"].clone();
    let name = |one: &Value| one["name"].as_str().expect("text").to_owned();
    all.as_array().expect("a list").iter().map(name).collect()
}

#[test]
fn the_list_of_channels_has_what_the_service_allows_and_it_is_asked_once_about_each() {
    let folder = tempfile::tempdir().expect("temporary folder");
    // Everybody may watch what is open, and who shows "good" what is for members.
    let service = Service::start(|asked| {
        let asked = asked.json();
        let channel = asked["channel"].as_str().expect("text");
        let member = asked["token"] == "good" && channel.starts_with("members");
        let may = asked["use"] == "watch" && (member || channel.starts_with("open"));
        Reply::status(if may { 200 } else { 403 })
    });
    let channels = ["members/one", "open/two", "staff"].map(str::to_owned);
    let (server, mut publishers) = listing(folder.path(), &service, &channels);
    assert_eq!(service.asked().len(), 0, "the publish token is known");
    for _ in 0..3 {
        assert_eq!(listed(&server, None), ["open/two"]);
        assert_eq!(listed(&server, Some("good")), ["members/one", "open/two"]);
        assert_eq!(listed(&server, Some("bad")), ["open/two"]);
    }
    let asked: Vec<_> = service.asked().iter().map(Asked::json).collect();
    assert_eq!(asked.len(), 9, "{asked:?}");
    let question = json!({ "use": "watch", "channel": "staff", "token": null });
    assert_eq!(asked[2], question);
    // A no that the list remembers keeps nobody from joining a moment later.
    service.answer(|_| Reply::status(200));
    assert_eq!(listed(&server, Some("bad")), ["open/two"]);
    assert_eq!(status(&server, "/whep/staff", Some("bad")), 201);
    all_live(&server, &mut publishers);
    assert_eq!(listed(&server, Some("bad")), ["open/two", "staff"]);
}

#[test]
fn a_look_at_the_list_asks_twenty_questions_at_the_most_and_does_not_wait_for_a_slow_service() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let service = Service::start(by_token);
    let channels: Vec<_> = (10..35).map(|number| format!("c{number}")).collect();
    let (server, mut publishers) = listing(folder.path(), &service, &channels);
    assert_eq!(listed(&server, Some("good")), channels[..20]);
    assert_eq!(service.asked().len(), 20);
    all_live(&server, &mut publishers);
    assert_eq!(listed(&server, Some("good")), channels);
    assert_eq!(service.asked().len(), 25);
    // One that is away or slow is asked once a look, and costs what is known nothing.
    for reply in [
        || Reply::status(500),
        || Reply(200, Vec::new(), Duration::from_secs(20)),
    ] as [fn() -> Reply; 2]
    {
        service.answer(move |_| reply());
        let before = service.asked().len();
        all_live(&server, &mut publishers);
        assert_eq!(listed(&server, Some("other")), [""; 0]);
        assert_eq!(service.asked().len(), before + 1);
        all_live(&server, &mut publishers);
        assert_eq!(listed(&server, Some("good")), channels);
    }
    assert!(server.log().contains("--auth-url"));
}

#[test]
fn a_service_over_https_must_have_a_certificate_that_the_operator_trusts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let certificate = Certificate::new(folder);
    let other = folder.join("other");
    let other = Certificate::new(&other);
    let here = ([127, 0, 0, 1], 0).into();
    let service = Service::at(here, Some(&certificate), by_token);
    let url = service.url("/");
    let mut answers = Vec::new();
    for authority in [&certificate, &other] {
        let authority = authority.cert.to_str().expect("text");
        let server = Server::start(folder, &["--auth-url", &url, "--hook-ca", authority]);
        answers.push(status(&server, "/whep/a", Some("good")));
    }
    assert_eq!(answers, [NOBODY_PUBLISHES, 503]);
    // By its name.
    let named = format!("https://localhost:{}/", service.address.port());
    let authority = certificate.cert.to_str().expect("text");
    let server = Server::start(folder, &["--auth-url", &named, "--hook-ca", authority]);
    assert_eq!(status(&server, "/whep/a", Some("good")), NOBODY_PUBLISHES);
    drop(server);
    // A name that nobody knows costs a line once it is asked. No part of a name is as long as this
    // one, so no name server is waited for.
    let nowhere = format!("http://{}.invalid", "x".repeat(64));
    let server = Server::start(folder, &["--auth-url", &nowhere]);
    assert_eq!(status(&server, "/whep/a", Some("good")), 503);
    server.wait_for_log(&format!("{nowhere} "), 1);
    drop(server);
    for (arguments, reason) in [
        (&["--hook-ca", "x"][..], "an https URL"),
        (&["--auth-url", &url, "--hook-ca", "none.pem"], "none.pem"),
        (
            &["--auth-url", "http://127.0.0.1/", "--auth-timeout", "0"],
            "--auth-timeout is 0",
        ),
        (&["--auth-timeout", "3s"], "--auth-url"),
        (&["--auth-url", "http://u:p@127.0.0.1/"], "without a user"),
    ] {
        let said = said(&output(rekindle(folder).arg("serve").args(arguments)));
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn who_only_looks_or_ends_makes_the_server_ask_no_more_often_than_who_joins() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let known = "0123456789-publish-token";
    fs::write(folder.join("publish"), known).expect("written");
    let service = Service::start(by_token);
    let url = service.url("/");
    let options = [
        "--auth-url",
        &url,
        "--publish-token-file",
        "publish",
        "--join-rate",
        "1",
    ];
    let server = Server::start(folder, &options);
    let answer = server.offer_as("/whip/a", PUBLISH, known);
    let session = header(&answer, "location").to_owned();
    let codes: Vec<_> = (0..100)
        .map(|n| look(&server, "a", &format!("guess{n}")).0)
        .collect();
    assert!(codes[0] == 401 && codes.contains(&429), "{codes:?}");
    for n in 0..100 {
        let code = server.delete_as(&session, &format!("guess{n}")).status();
        assert!(code == 401 || code == 429, "{code}");
    }
    // Ten at once, one a second, two uses each; without a limit these were 300.
    let asked = service.asked().len();
    assert!(asked < 100, "{asked}");
}

#[test]
fn a_token_of_the_servers_own_is_not_told_to_the_service() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let known = "0123456789-publish-token";
    fs::write(folder.join("publish"), known).expect("written");
    let arguments = ["token", "publish", "a", "--channel-tokens", "tokens"];
    let made = output(rekindle(folder).args(arguments)).stdout;
    let single = String::from_utf8(made).expect("text").trim().to_owned();
    let service = Service::start(|_| Reply::status(204));
    let url = service.url("/");
    let options = [
        "--auth-url",
        &url,
        "--publish-token-file",
        "publish",
        "--channel-tokens",
        "tokens",
    ];
    let server = Server::start(folder, &options);
    // What anybody may who shows none.
    for (path, token) in [
        ("/whep/a", known),
        ("/whep/a", &single),
        ("/whip/b", &single),
    ] {
        let code = status(&server, path, Some(token));
        assert!([201, NOBODY_PUBLISHES].contains(&code), "{code}");
    }
    assert_eq!(service.asked().len(), 3);
    for asked in service.asked() {
        assert_eq!(asked.json()["token"], json!(null));
    }
}

/// Many services close a connection that is idle for some seconds, and the next question may be on
/// its way by then.
#[test]
fn a_question_on_a_connection_that_the_service_is_just_closing_is_asked_again() {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                // One answer, and at the first byte of another question the end.
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                let _ = stream.peek(&mut buffer);
            });
        }
    });
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--auth-url", &url]);
    for _ in 0..5 {
        assert_eq!(status(&server, "/whep/a", Some("any")), NOBODY_PUBLISHES);
    }
}
