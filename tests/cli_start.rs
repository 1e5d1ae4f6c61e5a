//! What `rekindle` says and does when it starts, and when it must not.

mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use running::{Server, output, rekindle, said, tree};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Runs a start that must be refused: exit code 2, one line that says all of `parts`, and nothing
/// on disk touched.
#[track_caller]
fn refused(folder: &Path, options: &[&str], parts: &[&str]) {
    let ports = ["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"];
    running::refused(folder, &[&ports[..], options].concat(), parts);
}

fn keygen(folder: &Path, name: &str) {
    let output = output(rekindle(folder).args(["keygen", "-o", name]));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_first_start_makes_a_key_file_and_a_vault_and_says_so_and_the_next_is_boot_2() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ready["boot"], 1);
    assert_eq!(server.ready["made_key"], true);
    assert_eq!(server.ready["first_run"], true);
    let key = fs::metadata(folder.path().join("rekindle-key.txt")).expect("the key file");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    assert!(folder.path().join("rekindle-state/identity.age").exists());
    assert_eq!(server.terminate().0, Some(0));

    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.ready["boot"], 2);
    assert_eq!(server.ready["made_key"], false);
    assert_eq!(server.ready["first_run"], false);
}

#[test]
fn a_boot_counts_although_it_was_killed() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]);
    // A peer's record is only written after the boot's number.
    server.join("/whip/c", running::PUBLISH);
    server.kill();
    assert_eq!(Server::start(folder.path(), &[]).ready["boot"], 2);
}

#[test]
fn a_key_file_that_was_named_and_is_missing_is_not_made() {
    let folder = folder();
    refused(
        folder.path(),
        &["--key-file", "my-key.txt"],
        &["my-key.txt", "rekindle keygen"],
    );
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let folder = folder();
    keygen(folder.path(), "key");
    fs::set_permissions(folder.path().join("key"), fs::Permissions::from_mode(0o640)).expect("set");
    refused(
        folder.path(),
        &["--key-file", "key"],
        &["0640", "chmod 600"],
    );
}

#[test]
fn a_key_file_that_does_not_open_the_vault_is_refused() {
    let folder = folder();
    Server::start(folder.path(), &[]).terminate();
    keygen(folder.path(), "other");
    refused(
        folder.path(),
        &["--key-file", "other"],
        &["rekindle-state", "Nothing was changed"],
    );
}

#[test]
fn a_vault_whose_key_file_is_lost_gets_no_new_one() {
    let folder = folder();
    Server::start(folder.path(), &[]).terminate();
    fs::remove_file(folder.path().join("rekindle-key.txt")).expect("removed");
    refused(
        folder.path(),
        &[],
        &["rekindle-key.txt", "--key-file", "Nothing was changed"],
    );
}

#[test]
fn a_damaged_identity_stops_the_start() {
    let folder = folder();
    Server::start(folder.path(), &[]).terminate();
    let path = folder.path().join("rekindle-state/identity.age");
    let mut content = fs::read(&path).expect("readable");
    *content.last_mut().expect("a byte") ^= 1;
    fs::write(&path, content).expect("written");
    refused(folder.path(), &[], &["identity.age", "Nothing was changed"]);
}

#[test]
fn two_servers_never_share_a_vault() {
    let folder = folder();
    let _first = Server::start(folder.path(), &[]);
    refused(folder.path(), &[], &["rekindle-state", "another process"]);
}

#[test]
fn keygen_never_overwrites_a_key_file() {
    let folder = folder();
    keygen(folder.path(), "key");
    let before = tree(folder.path());
    let again = output(rekindle(folder.path()).args(["keygen", "-o", "key"]));
    assert_eq!(again.status.code(), Some(2));
    assert!(
        said(&again).contains("never overwritten"),
        "{}",
        said(&again)
    );
    assert!(tree(folder.path()) == before);
}

#[test]
fn a_port_that_is_taken_is_noticed_before_the_disk_is_touched() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let output = output(rekindle(folder.path()).args(["--http", &address, "--udp", "127.0.0.1:0"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains(&address) && said(&output).contains("--http"),
        "{}",
        said(&output)
    );
    assert!(tree(folder.path()).is_empty());
}

#[test]
fn a_port_of_media_over_tcp_that_is_taken_is_noticed_before_the_disk_is_touched() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let options = ["--http", "127.0.0.1:0", "--udp", &address, "--ice-tcp"];
    let output = output(rekindle(folder.path()).args(options));
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(
        said.contains(&format!("TCP {address}")) && said.contains("--ice-tcp"),
        "{said}"
    );
    assert!(tree(folder.path()).is_empty());
}

#[test]
fn ports_alone_and_names_are_taken_from_flag_environment_and_file() {
    let folder = folder();
    fs::write(
        folder.path().join("c.toml"),
        "http = 0\nudp = ':0'\nadvertise = 'localhost'\n",
    )
    .expect("written");
    let start = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = rekindle(folder.path());
        let server =
            Server::try_start_as(command.args(flags).envs(env.iter().copied())).expect("it starts");
        (
            server.http(),
            server.media(),
            server.ready["advertised"][0].clone(),
        )
    };
    for (flags, env) in [
        (
            &[
                "--http",
                "localhost:0",
                "--udp",
                "localhost:0",
                "--advertise",
                "localhost",
            ][..],
            &[][..],
        ),
        (&["--config", "c.toml"], &[]),
        (
            &["--udp", "0"],
            &[("REKINDLE_HTTP", ":0"), ("REKINDLE_ADVERTISE", "localhost")],
        ),
    ] {
        let (http, media, advertised) = start(flags, env);
        assert_eq!(http.ip().to_string(), "127.0.0.1", "{flags:?}");
        assert_eq!(
            advertised,
            format!("127.0.0.1:{}", media.port()),
            "{flags:?}"
        );
        assert!(
            flags.contains(&"localhost:0") || media.ip().is_unspecified(),
            "{media}"
        );
    }
}

#[test]
fn an_address_that_cannot_be_read_is_refused_with_an_example_and_a_name_that_nobody_knows_by_name()
{
    let folder = folder();
    for (option, value, parts) in [
        ("--http", "localhost", &["--http", "localhost:8080"]),
        (
            "--http",
            "http://localhost:8080/",
            &["--http", "localhost:8080"],
        ),
        ("--udp", "127.0.0.1:65536", &["--udp", "0 to 65535"]),
        (
            "--advertise",
            "example.org:8189",
            &["--advertise", "media.example.org"],
        ),
    ] {
        let output = output(rekindle(folder.path()).args([option, value]));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        for part in parts {
            assert!(
                said(&output).contains(part),
                "{part} is not in {}",
                said(&output)
            );
        }
    }
    // RFC 6761 §6.4: no such name exists. A supervisor should try again: perhaps the resolver is
    // not up yet.
    let output = output(rekindle(folder.path()).args([
        "--http",
        "0",
        "--udp",
        "0",
        "--advertise",
        "media.invalid",
    ]));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("\"media.invalid\""),
        "{}",
        said(&output)
    );
    assert!(tree(folder.path()).is_empty());
}

#[test]
fn beyond_loopback_the_server_wants_a_publish_token() {
    let folder = folder();
    let output = output(rekindle(folder.path()).args(["serve", "--http", "0.0.0.0:0"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("--publish-token-file"),
        "{}",
        said(&output)
    );
    assert!(tree(folder.path()).is_empty());
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = folder();
    fs::write(
        folder.path().join("c.toml"),
        "state-dir = 'from-file'\nkey-file = 'key'\npublish-token-file = 'none'\n",
    )
    .expect("written");
    keygen(folder.path(), "key");
    let start = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = rekindle(folder.path());
        command.args(flags).envs(env.iter().copied());
        command
            .env("REKINDLE_CONFIG", "c.toml")
            .env("REKINDLE_PUBLISH_TOKEN", "from-the-environment");
        Server::start_as(&mut command).ready["state_dir"]
            .as_str()
            .expect("text")
            .to_owned()
    };
    assert_eq!(start(&[], &[]), "from-file");
    let env = [("REKINDLE_STATE_DIR", "from-env")];
    assert_eq!(start(&[], &env), "from-env");
    assert_eq!(start(&["--state-dir", "from-flag"], &env), "from-flag");
    assert_eq!(
        start(&["serve", "--state-dir", "from-flag"], &env),
        "from-flag"
    );
}

#[test]
fn an_unknown_key_in_the_configuration_file_is_named() {
    let folder = folder();
    fs::write(folder.path().join("c.toml"), "\nstate-dri = 'x'\n").expect("written");
    refused(
        folder.path(),
        &["--config", "c.toml"],
        &["c.toml", "line 2", "state-dri"],
    );
    refused(folder.path(), &["--config", "none.toml"], &["none.toml"]);
}

#[test]
fn a_log_at_info_names_no_token_no_address_and_no_peer() {
    let folder = folder();
    let token = "tell-no-one-0123456789";
    let server = Server::start(folder.path(), &["--watch-token", token]);
    let session = server.join("/whip/c", running::PUBLISH);
    let answer = server.post(
        "/whep/c",
        &[("authorization", "Bearer wrong-guess-0123")],
        b"",
    );
    assert_eq!(answer.status(), 401);
    assert_eq!(server.delete(&session).status(), 200);
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0));
    assert!(log.contains("a peer joins"), "{log}");
    assert!(
        log.contains("command line"),
        "a token that all can see is warned about: {log}"
    );
    let ufrag = session
        .trim_start_matches("/session/")
        .split('-')
        .next()
        .expect("a fragment");
    for secret in [
        token,
        "wrong-guess",
        ufrag,
        "127.0.0.1",
        "ice-pwd",
        "fingerprint",
    ] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[test]
fn a_log_that_no_terminal_shows_is_json_a_line() {
    let folder = folder();
    let log = |command: &mut std::process::Command| Server::start_as(command).terminate().1;
    let json = log(rekindle(folder.path()).env_remove("REKINDLE_LOG_FORMAT"));
    assert!(json.contains("stopping"), "{json}");
    for line in json.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("one object a line");
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
    }
    let text = log(rekindle(folder.path()).args(["--log-format", "text"]));
    assert!(!text.contains('{') && text.contains("stopping"), "{text}");
}

#[test]
fn people_are_told_where_everything_is() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let folder = folder();
    let mut child = rekindle(folder.path())
        .args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let block: Vec<String> = lines.map_while(Result::ok).take(9).collect();
    child.kill().expect("killed");
    child.wait().expect("ended");
    let block = block.join("\n");
    for part in [
        "http://127.0.0.1:",
        "udp 127.0.0.1:",
        "boot      1",
        "rekindle-state  (made",
        "rekindle-key.txt  (made",
    ] {
        assert!(block.contains(part), "{part} is not in {block}");
    }
}
