//! JWTs, made and checked by PyJWT.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::running::{Server, header, output, refused, rekindle, said};
use super::service::{Reply, Service};
use super::{NOBODY_PUBLISHES, look, status};

const FILE: &str = "keys.json";
const OPTIONS: [&str; 2] = ["--jwt-keys", FILE];
/// No newcomer is refused for its rate.
const OFTEN: [&str; 2] = ["--join-rate", "0"];
const REQUIREMENTS: &str = "tests/rights/requirements.txt";

/// A Python that has PyJWT.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let candidates = [
        std::env::var_os("REKINDLE_PYTHON").map(PathBuf::from),
        Some(root.join("target/venv/bin/python")),
        Some("python3".into()),
    ];
    let has_both = |python: &PathBuf| {
        let import = ["-c", "import jwt, cryptography"];
        let tried = Command::new(python).args(import).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let found = candidates.into_iter().flatten().find(has_both);
    let is_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(found.is_some() || !is_ci, "CI needs {REQUIREMENTS}");
    if found.is_none() {
        println!("skipped: no Python with {REQUIREMENTS}");
    }
    found
});

/// What PyJWT says; `None` where it is not installed.
fn pyjwt(arguments: &[&str]) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rights/by_pyjwt.py");
    let python = PYTHON.as_ref()?;
    let done = output(
        Command::new(python)
            .args(["-W", "ignore"])
            .arg(script)
            .args(arguments),
    );
    assert!(done.status.success(), "{}", said(&done));
    Some(serde_json::from_slice(&done.stdout).expect("JSON"))
}

/// Its keys and tokens, made once.
fn made() -> Option<&'static Value> {
    static MADE: LazyLock<Option<Value>> = LazyLock::new(|| pyjwt(&["make"]));
    MADE.as_ref()
}

fn write(folder: &Path, keys: &Value) {
    let text = json!({ "keys": keys }).to_string();
    fs::write(folder.join(FILE), text).expect("written");
}

fn token<'a>(made: &'a Value, name: &str) -> &'a str {
    made[name].as_str().expect("a token")
}

#[test]
fn tokens_of_every_algorithm_are_good_for_their_channels_and_nothing_else_is() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, &made["keys"]);
    let mut server = Server::start(folder, &[OPTIONS, OFTEN].concat());
    let good: BTreeMap<String, String> =
        serde_json::from_value(made["good"].clone()).expect("tokens");
    assert_eq!(good.len(), 4);
    let after_nbf = token(made, "good with nbf");
    for (algorithm, token) in good
        .iter()
        .map(|(name, token)| (&**name, &**token))
        .chain([("nbf", after_nbf)])
    {
        for (path, expected) in [
            ("/whep/live/one", NOBODY_PUBLISHES),
            ("/whep/open", NOBODY_PUBLISHES),
            ("/whep/live/two", 401),
            ("/whep/open2", 401),
            ("/whip/open", 401),
            ("/whip/live", 401),
        ] {
            assert_eq!(
                status(&server, path, Some(token)),
                expected,
                "{algorithm}, {path}"
            );
        }
    }
    // What is not looked at may be as deep as a token is long.
    let deep = token(made, "deep");
    assert_eq!(status(&server, "/whep/open", Some(deep)), NOBODY_PUBLISHES);
    let bad: BTreeMap<String, String> =
        serde_json::from_value(made["bad"].clone()).expect("tokens");
    assert!(bad.len() > 30);
    for (what, token) in &bad {
        for path in ["/whep/live/one", "/whip/live/one"] {
            assert_eq!(status(&server, path, Some(token)), 401, "{what}, {path}");
        }
    }
    assert_eq!(status(&server, "/whep/live/one", None), 401);

    // Who shows one that has expired is told so, and may end what it has begun.
    let camera = &good["EdDSA"];
    let answer = server.offer_as("/whip/live/one", super::running::PUBLISH, camera);
    assert_eq!(answer.status(), 201);
    let session = header(&answer, "location").to_owned();
    let expired = token(made, "expired");
    let answer = server.offer_as("/whep/live/one", super::running::WATCH, expired);
    assert!(header(&answer, "www-authenticate").contains("expired"));
    assert_eq!(look(&server, "live/one", expired).0, 401);

    // After a kill the session is there, and the token as good as before.
    server = server.kill_and_start_again_as(rekindle(folder).args(OPTIONS));
    for what in ["not yet", "another secret", "no rights"] {
        assert_eq!(
            server.delete_as(&session, &bad[what]).status(),
            401,
            "{what}"
        );
    }
    assert_eq!(status(&server, "/whep/live/one", Some(camera)), 201);
    assert_eq!(server.delete_as(&session, expired).status(), 200);
    let log = server.log();
    for token in good.values().chain(bad.values()) {
        let signature = token.rsplit('.').next().expect("a part");
        assert!(signature.len() < 20 || !log.contains(signature), "{log}");
    }
}

#[test]
fn audience_and_issuer_are_what_the_options_say() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    write(folder, &made["keys"]);
    let (ours, plain) = (token(made, "for us"), token(&made["good"], "HS256"));
    let may_watch = |options: &[&str], token| {
        let server = Server::start(folder, &[&OPTIONS[..], options].concat());
        status(&server, "/whep/open", Some(token)) == NOBODY_PUBLISHES
    };
    let both = ["--jwt-audience", "rekindle", "--jwt-issuer", "the-issuer"];
    assert!(may_watch(&both, ours));
    assert!(!may_watch(&both, plain));
    assert!(!may_watch(&["--jwt-audience", "rekindl"], ours));
    assert!(!may_watch(
        &["--jwt-audience", "rekindle", "--jwt-issuer", "x"],
        ours
    ));
    // RFC 7519 §4.1.3: a token for named services is for no other.
    assert!(!may_watch(&[], ours));
}

#[test]
fn on_sighup_the_keys_are_read_again_and_a_wrong_file_changes_nothing() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let keys = made["keys"].as_array().expect("keys");
    let good = &made["good"];
    write(folder, &json!([keys[0]]));
    let server = Server::start(folder, &OPTIONS);
    let may = |name| status(&server, "/whep/open", Some(token(good, name))) == NOBODY_PUBLISHES;
    assert!(may("HS256") && !may("EdDSA"));
    write(folder, &json!([keys[3]]));
    server.signal("HUP");
    server.wait_for_log("the JWT keys were taken anew", 1);
    assert!(!may("HS256") && may("EdDSA"));
    write(folder, &json!([keys[0], keys[0]]));
    server.signal("HUP");
    server.wait_for_log("the JWT keys were not taken, and the old ones stay", 1);
    assert!(server.log().contains("key 2 has the kid of an earlier one"));
    assert!(!may("HS256") && may("EdDSA"));
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_reason_and_without_its_secret() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC0";
    let hmac = |kid: &str| json!({ "kty": "oct", "kid": kid, "k": secret });
    let cases = [
        (json!({ "keys": secret }).to_string(), "no JWK Set"),
        (
            json!({ "keys": [{ "kty": "oct", "k": 7 }] }).to_string(),
            "no JWK Set",
        ),
        (json!([hmac("a")]).to_string(), "no JWK Set"),
        (format!("{{\"keys\": [{}", "[".repeat(50_000)), "no JWK Set"),
        (
            json!({ "keys": [] }).to_string(),
            "no key in it can be used",
        ),
        (
            json!({ "keys": [{ "kty": "oct", "k": "c2hvcnQ" }] }).to_string(),
            "32 bytes",
        ),
        (
            json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }] }).to_string(),
            "2048",
        ),
        (
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }] }).to_string(),
            "32 bytes",
        ),
        (
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB" }] })
                .to_string(),
            "P-256",
        ),
        (
            json!({ "keys": [hmac("a"), hmac("a")] }).to_string(),
            "key 2 has the kid",
        ),
        (
            json!({ "keys": [hmac("a"), { "kty": "oct", "k": secret }] }).to_string(),
            "key 2 has no kid",
        ),
        (
            json!({ "keys": vec![hmac("a"); 65] }).to_string(),
            "more than 64 keys",
        ),
        (" ".repeat(70_000), "64 KiB"),
    ];
    for (text, reason) in cases {
        fs::write(folder.join(FILE), text).expect("written");
        let arguments = ["serve", OPTIONS[0], OPTIONS[1]];
        refused(folder, &arguments, &["the JWT keys cannot be used", reason]);
        let said = said(&output(rekindle(folder).args(arguments)));
        assert!(!said.contains(&secret[..8]), "{said}");
    }
    refused(
        folder,
        &["serve", "--jwt-audience", "a"],
        &["--jwt-keys", "give both, or neither"],
    );
    let user = ["serve", "--jwt-keys", "https://user:secret@example.org/"];
    let said = said(&output(rekindle(folder).args(user)));
    assert!(said.contains("without a user or password"), "{said}");
}

#[test]
fn keys_at_a_url_are_fetched_at_the_start_and_on_sighup_and_stay_in_force_while_it_is_away() {
    let Some(made) = made() else { return };
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let keys = made["keys"].clone();
    let set = |keys: &Value| json!({ "keys": keys }).to_string().into_bytes();
    let (first, all) = (set(&json!([keys[3]])), set(&keys));
    let service = Service::start(move |_| Reply(200, first.clone(), Default::default()));
    let url = service.url("/.well-known/jwks.json?a=secret-path");
    let server = Server::start(folder, &["--jwt-keys", &url]);
    let good = &made["good"];
    let may = |name| status(&server, "/whep/open", Some(token(good, name)));
    // The first one waits until they are there.
    assert_eq!(may("EdDSA"), NOBODY_PUBLISHES);
    assert_eq!(may("RS256"), 401);
    let asked = service.asked();
    assert_eq!(asked[0].method, "GET");
    assert_eq!(asked[0].uri, "/.well-known/jwks.json?a=secret-path");

    service.answer(move |_| Reply(200, all.clone(), Default::default()));
    server.signal("HUP");
    server.wait_for_log("the JWT keys were fetched", 2);
    assert_eq!(may("RS256"), NOBODY_PUBLISHES);
    // What anybody can get is no secret by which tokens are made.
    assert_eq!(may("HS256"), 401);

    // A server that is away, answers too much, sends elsewhere or says nonsense.
    let away = "the JWT keys were not fetched";
    for (times, reply) in [
        (1, || Reply::status(500)),
        (2, || Reply(200, vec![b' '; 100_000], Default::default())),
        (3, || Reply::status(302)),
        (4, || {
            Reply(200, b"{\"keys\": 7}".to_vec(), Default::default())
        }),
    ] as [(usize, fn() -> Reply); 4]
    {
        service.answer(move |_| reply());
        server.signal("HUP");
        server.wait_for_log(away, times);
        assert_eq!(may("RS256"), NOBODY_PUBLISHES);
    }
    drop(service);
    server.signal("HUP");
    server.wait_for_log(away, 5);
    assert_eq!(may("RS256"), NOBODY_PUBLISHES);
    let log = server.log();
    assert!(log.contains("those known so far stay in force"), "{log}");
    assert!(!log.contains("secret-path"), "{log}");

    // Without any key known, nobody is told that a token is wrong.
    let server = server.kill_and_start_again_as(rekindle(folder).args(["--jwt-keys", &url]));
    assert_eq!(status(&server, "/whep/open", Some("no-jwt")), 401);
    assert_eq!(
        status(&server, "/whep/open", Some(token(good, "RS256"))),
        503
    );
}

#[test]
fn a_token_that_rekindle_makes_is_good_here_and_for_pyjwt() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let make = |arguments: &[&str]| {
        let done = output(rekindle(folder).arg("token").args(arguments));
        assert!(done.status.success(), "{}", said(&done));
        String::from_utf8(done.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let named = ["--jwt-audience", "rekindle"];
    // A new file with a secret, and PyJWT's own Ed25519 key.
    let mut files = vec!["new.json"];
    if let Some(made) = made() {
        fs::write(
            folder.join("ed25519.json"),
            json!({ "keys": [made["ed25519"]] }).to_string(),
        )
        .expect("written");
        files.push("ed25519.json");
    }
    for (number, file) in files.into_iter().enumerate() {
        let channel = format!("live/{number}");
        let token = make(
            &[
                &["publish", "live/*", "--jwt-keys", file, "--for", "5m"],
                &named[..],
            ]
            .concat(),
        );
        let server = Server::start(folder, &[&["--jwt-keys", file], &named[..]].concat());
        assert_eq!(
            status(&server, &format!("/whep/{channel}"), Some(&token)),
            401
        );
        assert_eq!(
            status(&server, &format!("/whip/{channel}"), Some(&token)),
            201
        );
        // Who may publish sees how many watch.
        let (code, said) = look(&server, &channel, &token);
        assert_eq!((code, &said["viewers"]), (200, &json!(0)));
        assert_eq!(look(&server, "other", &token).0, 401);
        let path = folder.join(file);
        if let Some(claims) = pyjwt(&["check", path.to_str().expect("text"), &token]) {
            assert_eq!(claims["publish"], json!(["live/*"]));
            assert_eq!(claims["watch"], Value::Null);
            let lifetime = claims["exp"].as_u64().zip(claims["iat"].as_u64());
            assert_eq!(lifetime.map(|(exp, iat)| exp - iat), Some(300));
        }
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(folder.join("new.json"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    refused(
        folder,
        &["token", "publish", "a"],
        &["--jwt-keys", "--channel-tokens"],
    );
    refused(
        folder,
        &["token", "publish", "a//b", "--jwt-keys", "none.json"],
        &["a//b is no channel"],
    );
    refused(
        folder,
        &[
            "token",
            "watch",
            "a",
            "--jwt-keys",
            "new.json",
            "--kid",
            "x",
        ],
        &["no key that makes tokens"],
    );
}
