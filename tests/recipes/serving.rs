//! How the book has servers started and asked.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::chapters::block;
use super::live::{Live, broadcast, renew, run_until_connected};
use super::running::{PUBLISH, Server, agent, header, rekindle, signal, text, until};
use super::secure::{self, Certificate};
use super::steps::{Recipe, have, shell};
use rekindle::ids::Role;

const TOKEN: &str = "5b9d3c7e1f204a68b7c6d5e4f3a29180";

/// Publishers need the token, and are told this address.
#[track_caller]
fn is_for_others(server: &Server, headers: &[(&str, &str)]) {
    assert_eq!(server.offer("/whip/main", PUBLISH).status(), 401);
    let shown = format!("Bearer {TOKEN}");
    let own = [
        ("content-type", "application/sdp"),
        ("authorization", &shown),
    ];
    let mut answer = server.post("/whip/main", &[&own, headers].concat(), PUBLISH.as_bytes());
    assert_eq!(answer.status(), 201);
    let (sdp, port) = (text(&mut answer), server.media().port());
    let candidate = format!(" udp 2130706431 203.0.113.7 {port} typ host");
    assert!(sdp.contains(&candidate), "{sdp}");
}

#[test]
fn a_server_for_others_has_a_key_file_and_a_token_and_says_where_it_is_reached() {
    let ports = [(":8080", ":0"), (":8189", ":0")];
    let mut recipe = Recipe::new("docs/running.md", "$ rekindle keygen", &ports);
    recipe.write("publish-token", TOKEN);
    recipe.run("rekindle keygen");
    let server = recipe.serve("REKINDLE_PUBLISH_TOKEN_FILE=");
    recipe.ends();
    is_for_others(&server, &[]);
    assert!(recipe.folder().join("state/identity.age").exists());
    assert_eq!(server.terminate().0, Some(0));
}

#[test]
fn behind_a_proxy_everybody_comes_from_loopback_and_needs_the_token() {
    let ports = [(":8080", ":0"), (":8189", ":0")];
    let start = "$ rekindle serve --http 127.0.0.1:0";
    let mut recipe = Recipe::new(
        "packaging/proxies/README.md",
        &start.replace(":0", ":8080"),
        &ports,
    );
    recipe.write("publish-token", TOKEN);
    let server = recipe.serve(&start[2..]);
    recipe.ends();
    is_for_others(&server, &[("x-forwarded-for", "198.51.100.7")]);
    assert_eq!(server.get("/metrics").status(), 401);
}

#[test]
fn media_over_tcp_has_a_candidate_at_the_same_number() {
    let ports = [(":8189", ":0")];
    let mut recipe = Recipe::new("docs/tcp.md", "$ rekindle serve", &ports);
    let server = recipe.serve("rekindle serve --udp 0.0.0.0:0 --ice-tcp");
    recipe.ends();
    let mut answer = server.offer("/whip/main", PUBLISH);
    let (sdp, port) = (text(&mut answer), server.media().port());
    let candidate = |line: &&str| line.contains(" tcp ") && line.contains("203.0.113.7");
    let candidate = sdp.lines().find(candidate).expect("a candidate");
    assert!(candidate.contains(&format!(" {port} typ host")), "{sdp}");
    TcpStream::connect(("127.0.0.1", port)).expect("it listens there");
}

#[test]
fn https_begins_with_two_files_and_takes_what_certbots_hook_hands_it() {
    let document = "docs/https.md";
    let mut recipe = Recipe::new(
        document,
        "$ rekindle serve --http 0.0.0.0:443 --tls-cert",
        &[(":443", ":0")],
    );
    recipe.write("publish-token", TOKEN);
    let mut certificate = Certificate::new(recipe.folder());
    let lineage = recipe.folder().join("live");
    fs::create_dir(&lineage).expect("made");
    let copy = |certificate: &Certificate| {
        for (from, to) in [
            (&certificate.cert, "fullchain.pem"),
            (&certificate.key, "privkey.pem"),
        ] {
            fs::copy(from, lineage.join(to)).expect("copied");
        }
    };
    copy(&certificate);
    for name in ["fullchain.pem", "privkey.pem"] {
        let content = fs::read_to_string(lineage.join(name)).expect("there");
        recipe.write(&format!("tls/{name}"), &content);
    }
    let server = recipe.serve("rekindle serve --http 0.0.0.0:0");
    recipe.ends();
    let healthy = |certificate: &Certificate| {
        let mut stream = certificate.http1(server.http());
        let asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let mut answer = String::new();
        // Who does not trust the server's certificate ends the handshake.
        stream.write_all(asked).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    };
    assert!(healthy(&certificate));

    certificate.renew(recipe.folder());
    copy(&certificate);
    assert!(!healthy(&certificate));
    // No user of this name is here, and other servers are.
    let others = [
        ("-o rekindle", "-o \"$(id -u)\""),
        ("pkill -HUP -x rekindle", "kill -HUP $SERVER"),
    ];
    let mut hook = recipe.also(document, "# cat /etc/letsencrypt", &others);
    let script = hook.printed("cat /etc/letsencrypt/renewal-hooks/deploy/rekindle");
    hook.ends();
    let file = recipe.write("hook", &script);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).expect("set");
    let done = Command::new(&file)
        .env("RENEWED_LINEAGE", &lineage)
        .env("SERVER", server.process().to_string())
        .status();
    assert!(done.expect("it runs").success());
    until("the new certificate", || healthy(&certificate));
    // What `secure` knows the server by.
    assert_eq!(secure::name().to_str(), "localhost");
}

/// `tests/acme` has an authority that gives certificates; no machine of the tests has a public name.
#[test]
fn a_server_that_gets_its_certificate_itself_starts_and_waits_for_no_authority() {
    let start = "$ rekindle serve --http 0.0.0.0:443 --acme";
    let mut recipe = Recipe::new("docs/https.md", start, &[(":443", ":0")]);
    recipe.write("publish-token", TOKEN);
    // Nobody is there.
    let nobody = ["--acme-directory", "https://127.0.0.1:1/directory"];
    let server = recipe.serve_with(&start[2..].replace(":443", ":0"), &nobody);
    recipe.ends();
    server.wait_for_log("no certificate was obtained from https://127.0.0.1:1", 1);
    assert!(recipe.folder().join("rekindle-acme").is_dir());
    assert_eq!(server.terminate().0, Some(0));
}

#[test]
fn operators_ask_the_admin_listener_as_the_book_does() {
    if !have("curl") {
        return;
    }
    let port = [("--admin 9189", "--admin 0")];
    let mut recipe = Recipe::new("docs/admin.md", "$ rekindle serve", &port);
    let server = recipe.serve("rekindle serve --admin 0");
    let admin = server.ready["admin"].as_str().expect("an address");
    recipe.replace("127.0.0.1:9189", admin);
    let (mut publisher, mut viewer) = broadcast(&server, "live/one", 3100);
    let mut another = Live::join(&server, Role::Viewer, "live/one", 3102);
    run_until_connected(&mut [&mut publisher, &mut viewer, &mut another]);

    let step = recipe.next("curl -s");
    // Times and counts differ: their names do not.
    let essence = |text: &str| {
        let mut channels: Value = serde_json::from_str(text).expect("JSON");
        let channel = &mut channels["channels"][0];
        let numbers = channel["media"].as_object_mut().expect("an object");
        assert!(numbers.values_mut().all(|number| number.take().is_number()));
        assert!(channel["live_since"].take().is_u64(), "{channel}");
        channels
    };
    let asked = recipe.output(&step);
    assert_eq!(essence(&asked), essence(&step.prints.concat()));

    let channel: Value = serde_json::from_str(&recipe.run("curl -s")).expect("JSON");
    let peers = channel["peers"].as_array().expect("a list");
    assert_eq!(peers.len(), 3);
    let viewer = peers.iter().find(|peer| peer["role"] == "viewer");
    let handle = viewer.expect("a viewer")["peer"].as_str().expect("text");
    recipe.replace("1f2e3d4c5b6a7988", handle);
    let others = recipe.run("curl -s");
    assert!(
        others.contains("\"peers\":") && !others.contains(handle),
        "{others}"
    );
    assert_eq!(recipe.run("curl -X DELETE"), "");
    let closed: Value = serde_json::from_str(&recipe.run("curl -X POST")).expect("JSON");
    assert_eq!(closed["ended"], 2);
    recipe.ends();
}

#[test]
fn the_line_about_a_restart_is_the_one_that_the_book_shows() {
    let block = block("docs/admin.md", "{\"timestamp\"");
    let shown: Value = serde_json::from_str(&block.text).expect("JSON");
    let folder = tempfile::tempdir().expect("temporary folder");
    let command = || {
        let mut command = rekindle(folder.path());
        command.env("REKINDLE_LOG_FORMAT", "json");
        command
    };
    let server = Server::start_as(&mut command());
    let (mut publisher, mut viewer) = broadcast(&server, "main", 3200);
    let server = server.kill_and_start_again_as(&mut command());
    renew(&mut [&mut publisher, &mut viewer]);
    server.wait_for_log("the restart is over", 1);
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("the restart is over"));
    let line: Value = serde_json::from_str(line.expect("a line")).expect("JSON");
    let names = |line: &Value| -> BTreeSet<String> {
        line.as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(names(&line), names(&shown));
    for name in ["level", "message", "target"] {
        assert_eq!(line[name], shown[name]);
    }
    assert_eq!((&line["boot"], &line["back"]), (&2.into(), &2.into()));
}

#[test]
fn the_demonstration_is_one_command() {
    let run = [("cargo run --release --", "rekindle")];
    let mut recipe = Recipe::new("README.md", "$ cargo run --release -- demo", &run);
    let step = recipe.next("rekindle demo");
    recipe.ends();
    let words: Vec<_> = step.command.split(' ').skip(1).collect();
    let mut child = rekindle(recipe.folder())
        .args(words)
        // Somebody may have the demonstration's own port.
        .args(["--http", "127.0.0.1:0"])
        .env("TMPDIR", recipe.folder())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
    said.read_line(&mut line).expect("a line");
    let url = line.trim_end().strip_prefix("rekindle demo: ");
    let mut page = agent().get(url.expect("its URL")).call().expect("a page");
    assert!(header(&page, "content-type").starts_with("text/html"));
    assert!(text(&mut page).contains("Kill the server"));
    signal(child.id(), "INT");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn prometheus_takes_the_configuration_of_the_book() {
    if !have("promtool") {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let folder = folder.path();
    let text = block("docs/metrics.md", "scrape_configs:").text;
    let (from, to) = ("/etc/prometheus/rekindle-admin-token", folder.join("token"));
    assert!(text.contains(from));
    fs::write(&to, TOKEN).expect("written");
    let text = text.replace(from, to.to_str().expect("text"));
    fs::write(folder.join("prometheus.yml"), text).expect("written");
    let done = shell(folder, "promtool check config prometheus.yml");
    assert!(done.status.success(), "{done:?}");
}
