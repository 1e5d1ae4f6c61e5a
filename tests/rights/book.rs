//! What docs/tokens.md has its readers do, as it stands there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::chapters::block;
use super::live::{Live, broadcast, renew, run_until_connected, run_until_more_video};
use super::running::Server;
use super::service::{Reply, Service};
use super::steps::Recipe;
use super::{NOBODY_PUBLISHES, status};
use rekindle::ids::Role;

const DOCUMENT: &str = "docs/tokens.md";
const SECRET: &[u8] = b"a secret that has thirty-two bytes, or more";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

#[test]
fn tokens_are_made_and_a_server_takes_them() {
    let start = "$ rekindle token publish live/stage";
    let mut recipe = Recipe::new(DOCUMENT, start, &[(":8080", ":0")]);
    recipe.mkdir("tokens");
    let token = |recipe: &mut Recipe, start: &str| {
        let step = recipe.next(start);
        let token = recipe.output(&step);
        assert_eq!(token.trim().len(), step.prints[0].len(), "{token}");
        token.trim().to_owned()
    };
    let publish = token(&mut recipe, "rekindle token publish");
    let watch = token(&mut recipe, "rekindle token watch");
    let server = recipe.serve("rekindle serve --channel-tokens");
    recipe.ends();
    assert_eq!(status(&server, "/whip/live/stage", None), 401);
    assert_eq!(status(&server, "/whip/live/stage", Some(&watch)), 401);
    assert_eq!(status(&server, "/whip/live/other", Some(&publish)), 401);
    assert_eq!(status(&server, "/whip/live/stage", Some(&publish)), 201);
    assert_eq!(status(&server, "/whep/live/stage", Some(&watch)), 201);
    let other = status(&server, "/whep/live/other", Some(&watch));
    assert_eq!(other, NOBODY_PUBLISHES);
}

#[test]
fn lines_of_the_file_say_what_the_book_says() {
    let lines = block(DOCUMENT, "4f1a...c0 publish live/stage").text;
    let start = "$ rekindle token publish live/stage";
    let mut recipe = Recipe::new(DOCUMENT, start, &[(":8080", ":0")]);
    let lines = lines
        .replace("4f1a...c0", &sha256("the-stage"))
        .replace("9be2...17", &sha256("who-watches"));
    recipe.write("tokens/channels", &lines);
    recipe.next("rekindle token publish");
    recipe.next("rekindle token watch");
    let server = recipe.serve("rekindle serve --channel-tokens");
    for (path, token, expected) in [
        ("/whip/live/stage", Some("the-stage"), 201),
        ("/whip/live/stage", Some("who-watches"), 401),
        ("/whep/live/stage", Some("who-watches"), 201),
        ("/whep/live/stage", None, 401),
        ("/whep/live/open", None, NOBODY_PUBLISHES),
        ("/whip/live/open", None, 401),
    ] {
        assert_eq!(status(&server, path, token), expected, "{path}");
    }
}

fn part(jwt: &str, at: usize) -> Value {
    let part = jwt.split('.').nth(at).expect("a part");
    let json = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

#[test]
fn a_jwt_is_made_and_a_server_takes_it() {
    let mut recipe = Recipe::new(DOCUMENT, "$ rekindle token publish 'live/*'", &[]);
    recipe.mkdir("tokens");
    let step = recipe.next("rekindle token publish");
    let made = recipe.output(&step).trim().to_owned();
    // The printed one has another key's name and another time.
    let mut heads = [&*made, &*step.prints[0]].map(|jwt| part(jwt, 0));
    for head in &mut heads {
        assert!(head["kid"].take().is_string());
    }
    assert_eq!(heads[0], heads[1]);
    let claims = part(&made, 1);
    let lifetime = claims["exp"].as_u64().zip(claims["iat"].as_u64());
    assert!(
        lifetime.is_some_and(|(end, start)| end - start == 3600),
        "{claims}"
    );
    let server = recipe.serve("rekindle serve --jwt-keys");
    recipe.ends();
    assert_eq!(status(&server, "/whip/live/one", Some(&made)), 201);
    assert_eq!(status(&server, "/whip/main", Some(&made)), 401);
}

/// A JWT with these claims, by this key.
fn signed(kid: &str, claims: &Value) -> String {
    let head = format!(r#"{{"alg":"HS256","typ":"JWT","kid":"{kid}"}}"#);
    let [head, claims] = [head, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{head}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn keys_and_claims_are_as_the_book_shows_them() {
    let keys = block(DOCUMENT, "{\"keys\"").text;
    let secret = "...32 bytes or more, in base64url...";
    assert!(keys.contains(secret));
    let keys = keys.replace(secret, &URL_SAFE_NO_PAD.encode(SECRET));
    let start = "$ rekindle token publish 'live/*'";
    let mut recipe = Recipe::new(DOCUMENT, start, &[]);
    recipe.write("tokens/jwt.json", &keys);
    recipe.next("rekindle token publish");
    let server = recipe.serve("rekindle serve --jwt-keys");
    // Both keys are known: the server would say which one it leaves out.
    assert!(!server.log().contains("left out"), "{}", server.log());

    let text = block(DOCUMENT, "{\"exp\"").text;
    let mut claims: Value = serde_json::from_str(&text).expect("JSON");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time");
    // The book's own time will have passed.
    claims["exp"] = (now + Duration::from_secs(60)).as_secs().into();
    let token = signed("staff", &claims);
    for (path, expected) in [
        ("/whip/live/stage", 201),
        ("/whip/live/other", 401),
        ("/whep/live/stage", 201),
        ("/whep/open", NOBODY_PUBLISHES),
        ("/whep/other", 401),
    ] {
        assert_eq!(status(&server, path, Some(&token)), expected, "{path}");
    }
}

#[test]
fn a_service_is_asked_what_the_book_shows() {
    let service = Service::start(|_| Reply::status(204));
    let url = service.url("/rekindle");
    let others = [("https://accounts.example.org/rekindle", &*url)];
    let mut recipe = Recipe::new(DOCUMENT, "$ rekindle serve --auth-url", &others);
    let server = recipe.serve("rekindle serve --auth-url");
    recipe.ends();
    let text = block(DOCUMENT, "{\"use\"").text;
    let mut question: Value = serde_json::from_str(&text).expect("JSON");
    question["token"] = "shown".into();
    let path = "/whep/live/stage";
    assert_eq!(status(&server, path, Some("shown")), NOBODY_PUBLISHES);
    assert_eq!(service.asked().last().expect("a question").json(), question);
}

#[test]
fn a_service_is_told_what_the_book_shows() {
    let service = Service::start(|_| Reply::status(204));
    let url = service.url("/rekindle-events");
    let others = [("https://accounts.example.org/rekindle-events", &*url)];
    let start = "$ rekindle serve --events-url";
    let mut recipe = Recipe::new(DOCUMENT, start, &others);
    recipe.write("tokens/events", "a-secret-of-the-test");
    let server = recipe.serve(&start[2..]);
    let (mut publisher, mut viewer) = broadcast(&server, "live/stage", 3300);
    let (http, media) = (server.http().to_string(), server.media().to_string());
    service.wait_for(4);
    server.kill();
    let before = service.asked().len();
    let mut recipe = recipe.also(DOCUMENT, start, &others);
    let ports = ["--http", &http, "--udp", &media];
    let server: Server = recipe.serve_with(&start[2..], &ports);
    renew(&mut [&mut publisher, &mut viewer]);
    run_until_more_video(&mut [&mut publisher, &mut viewer], 10);
    service.wait_for(before + 2);
    let mut another = Live::join(&server, Role::Viewer, "live/stage", 3302);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut another]);
    assert_eq!(server.delete(&another.session).status(), 200);
    service.wait_for(before + 4);

    let shown = block(DOCUMENT, "{\"sequence\"").text;
    let shown = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
    let shown: Vec<_> = shown.map(|event| event.expect("JSON")).collect();
    let told: Vec<_> = service.asked().split_off(before);
    for (event, asked) in shown.iter().zip(&told) {
        let signature = asked.headers["rekindle-signature"].to_str().expect("text");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a-secret-of-the-test");
        let expected = hex(hmac::sign(&key, &asked.body).as_ref());
        assert_eq!(signature, format!("sha256={expected}"));
        assert_eq!(essence(event), essence(&asked.json()));
    }
    assert_eq!((shown.len(), told.len()), (4, 4));
}

/// The names of an event's parts, and what is the same in every run.
fn essence(event: &Value) -> (BTreeSet<&String>, Vec<&Value>) {
    let parts = event.as_object().expect("an object");
    let same = [
        "event", "channel", "use", "reason", "live", "again", "sequence",
    ];
    (
        parts.keys().collect(),
        same.iter().map(|name| &event[*name]).collect(),
    )
}
