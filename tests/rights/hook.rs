//! A service that is asked who may publish and watch.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::running::{
    PUBLISH, Server, WATCH, agent, assert_problem, header, output, rekindle, said,
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
