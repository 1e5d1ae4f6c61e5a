//! The list of live channels: who is shown which, and that nobody is where the operator has not said so.

mod live;
mod running;
mod support;

use std::fs;
use std::time::{Duration, Instant};

use live::{Live, broadcast, offered, run_until, run_until_more_video};
use rekindle::ids::Role;
use running::{Server, agent, assert_problem, json, output, rekindle};
use serde_json::{Value, json};

/// The list, as it is shown to who has this token.
fn list(server: &Server, token: Option<&str>) -> Value {
    let mut request = agent().get(server.url("/channels"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().expect("an answer");
    assert_eq!(answer.status(), 200);
    json(&mut answer)["channels"].clone()
}

#[test]
fn nothing_is_listed_unless_the_operator_wants_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &[]);
    let (mut publisher, mut viewer) = broadcast(&server, "secret", 2100);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 5);
    let mut answer = server.get("/channels");
    assert_eq!(answer.status(), 204);
    assert_eq!(running::text(&mut answer), "");
}

#[test]
fn live_channels_are_listed_with_their_viewers_and_no_others() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let server = Server::start(folder.path(), &["--list-channels"]);
    assert_eq!(list(&server, None), json!([]));
    let (mut publisher, mut viewer) = broadcast(&server, "live/one", 2200);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 5);
    // One whose publisher has not connected is not live.
    server.join("/whip/joining", running::PUBLISH);
    let expected = json!([{ "name": "live/one", "viewers": 1 }]);
    assert_eq!(list(&server, None), expected);
    assert_problem(server.post("/channels", &[], b""), 405, "method");
}

#[test]
fn each_is_shown_what_its_token_may_watch() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let make = |uses: &str, channel: &str| {
        let arguments = ["token", uses, channel, "--channel-tokens", "tokens"];
        let made = output(rekindle(folder.path()).args(arguments));
        String::from_utf8(made.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let (one, publishes) = (make("watch", "one"), make("publish", "*"));
    let all = make("both", "*");
    let lines = fs::read_to_string(folder.path().join("tokens")).expect("readable");
    fs::write(
        folder.path().join("tokens"),
        format!("{lines}anybody watch open/*\n"),
    )
    .expect("written");
    let options = ["--channel-tokens", "tokens", "--list-channels"];
    let server = Server::start(folder.path(), &options);
    let mut publishers: Vec<_> = ["one", "two", "open/three"]
        .into_iter()
        .zip(2300..)
        .map(|(channel, seed)| {
            let offered = offered(Role::Publisher, seed);
            let path = live::path(Role::Publisher, channel);
            let answer = server.offer_as(&path, &offered.sdp, &publishes);
            Live::answered(&server, Role::Publisher, offered, answer)
        })
        .collect();
    let mut publishers: Vec<_> = publishers.iter_mut().collect();
    run_until(&mut publishers, "all are live", |_| {
        list(&server, Some(&all)).as_array().map(Vec::len) == Some(3)
    });
    let names = |token: Option<&str>| -> Vec<String> {
        let channels = list(&server, token);
        let all = channels.as_array().expect("a list").iter();
        all.map(|one| one["name"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(names(None), ["open/three"]);
    assert_eq!(names(Some("wrong")), ["open/three"]);
    assert_eq!(
        names(Some(&publishes)),
        ["open/three"],
        "who may publish need not be one who may watch"
    );
    assert_eq!(names(Some(&one)), ["one", "open/three"]);
    assert_eq!(names(Some(&all)), ["one", "open/three", "two"]);
}

#[test]
fn one_token_for_all_channels_is_needed_for_the_list_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("watch"), "a-watch-token").expect("written");
    let options = ["--watch-token-file", "watch", "--list-channels"];
    let server = Server::start(folder.path(), &options);
    assert_problem(server.get("/channels"), 401, "token");
    assert_eq!(list(&server, Some("a-watch-token")), json!([]));
}

#[test]
fn a_list_looks_at_a_token_once_and_not_for_each_channel() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("publish"), "a-publish-token").expect("written");
    // Keys that nobody has: whoever joins by a JWT waits for them for five seconds.
    let options = [
        "--publish-token-file",
        "publish",
        "--jwt-keys",
        "http://127.0.0.1:9/",
        "--list-channels",
    ];
    let server = Server::start(folder.path(), &options);
    let mut publishers: Vec<_> = (0..4)
        .map(|number| {
            let offered = offered(Role::Publisher, 2400 + number);
            let path = live::path(Role::Publisher, &format!("live/{number}"));
            let answer = server.offer_as(&path, &offered.sdp, "a-publish-token");
            Live::answered(&server, Role::Publisher, offered, answer)
        })
        .collect();
    let mut publishers: Vec<_> = publishers.iter_mut().collect();
    run_until(&mut publishers, "all are live", |_| {
        json(&mut server.get("/healthz"))["channels"]["live"] == 4
    });
    let start = Instant::now();
    // A head and claims of a JWT.
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.AAAA";
    assert_eq!(list(&server, Some(token)), json!([]));
    assert!(start.elapsed() < Duration::from_secs(10));
}
