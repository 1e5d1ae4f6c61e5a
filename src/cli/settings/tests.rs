use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};

use super::*;

/// Resolves a command line, with a configuration file of this text. The environment's place between
/// the two is clap's doing and is tested on the real program.
fn resolve(flags: &[&str], config: &str) -> Result<Settings, CliError> {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(config.as_bytes()).expect("written");
    let path = file.path().to_str().expect("text").to_owned();
    let line = ["test", "--config", &path]
        .into_iter()
        .chain(flags.iter().copied());
    let matches = ServeArgs::augment_args(Command::new("test"))
        .try_get_matches_from(line)
        .expect("a command line");
    Settings::resolve(
        ServeArgs::from_arg_matches(&matches).expect("args"),
        &matches,
        Passed::default(),
    )
}

fn settings(flags: &[&str], config: &str) -> Settings {
    resolve(flags, config)
        .map_err(|error| error.to_string())
        .expect("settings")
}

fn refusal(flags: &[&str], config: &str) -> String {
    let error = resolve(flags, config).err().expect("refused");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn without_options_all_stays_on_this_machine() {
    let s = settings(&[], "");
    assert_eq!(s.server.http, DEFAULT_HTTP);
    assert_eq!(s.server.udp, DEFAULT_UDP);
    assert_eq!(s.server.key_file, Path::new(DEFAULT_KEY_FILE));
    assert!(
        s.server.may_make_key
            && s.server.rights.publish.is_none()
            && s.server.rights.watch.is_none()
            && !s.server.open
    );
    assert!(s.warnings.is_empty());
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let s = settings(
        &["--http", "127.0.0.1:1"],
        "http = \"127.0.0.1:2\"\nudp = \"127.0.0.1:3\"\nresume-window = 7",
    );
    assert_eq!(s.server.http.port(), 1);
    assert_eq!(s.server.udp.port(), 3);
    assert_eq!(s.server.core.resume_window, Duration::from_secs(7));
    assert_eq!(
        s.server.core.max_peers,
        broadcast::Config::default().max_peers
    );
    assert!(!settings(&["--open=false"], "open = true").server.open);
}

#[test]
fn a_port_alone_keeps_the_host_that_is_the_default() {
    for (flags, config) in [
        (&["--http", "8090", "--udp", ":8190"][..], ""),
        (&[][..], "http = 8090\nudp = \"8190\""),
    ] {
        let s = settings(flags, config);
        assert_eq!(s.server.http, SocketAddr::new(DEFAULT_HTTP.ip(), 8090));
        assert_eq!(s.server.udp, SocketAddr::new(DEFAULT_UDP.ip(), 8190));
    }
}

#[test]
fn names_are_looked_up_and_what_they_lead_to_is_judged() {
    let s = settings(
        &[
            "--http",
            "localhost:8090",
            "--advertise",
            "localhost,192.0.2.1",
        ],
        "",
    );
    assert!(s.server.http.ip().is_loopback(), "{}", s.server.http);
    assert_eq!(s.server.http.port(), 8090);
    let addresses =
        ["127.0.0.1", "192.0.2.1"].map(|text| text.parse::<IpAddr>().expect("an address"));
    assert_eq!(s.server.advertise, addresses);
    let nine = ["localhost"; 9].join(",");
    assert!(refusal(&["--advertise", &nine], "").contains("more than 8"));
}

#[test]
fn a_key_file_that_was_named_anywhere_is_never_made() {
    assert!(!settings(&["--key-file", "k"], "").server.may_make_key);
    assert!(!settings(&[], "key-file = \"k\"").server.may_make_key);
}

#[test]
fn beyond_loopback_somebody_must_guard_publishing() {
    for http in [
        "0.0.0.0:80",
        "[::]:80",
        "192.0.2.1:80",
        "[::ffff:192.0.2.1]:80",
    ] {
        let text = refusal(&["--http", http], "");
        assert!(
            text.contains("--publish-token-file") && text.contains("--open"),
            "{text}"
        );
        assert!(resolve(&["--http", http, "--open"], "").is_ok());
        assert!(resolve(&["--http", http], "publish-token = \"0123456789abcdef\"").is_ok());
    }
    for http in [
        "127.0.0.1:80",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert!(resolve(&["--http", http], "").is_ok(), "{http}");
    }
}

#[test]
fn a_token_comes_from_the_first_line_of_its_file() {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(b"0123456789abcdef\r\nnot this\n")
        .expect("written");
    let s = settings(
        &["--publish-token-file", file.path().to_str().expect("text")],
        "",
    );
    let token = s.server.rights.publish.expect("a token");
    assert!(token.matches("0123456789abcdef"));
    assert!(s.warnings.is_empty(), "{:?}", s.warnings);
}

#[test]
fn a_token_file_of_the_command_line_goes_before_a_token_in_the_configuration() {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    file.write_all(b"from-the-token-file").expect("written");
    let s = settings(
        &["--watch-token-file", file.path().to_str().expect("text")],
        "watch-token = \"from-the-config-file\"",
    );
    assert!(
        s.server
            .rights
            .watch
            .expect("a token")
            .matches("from-the-token-file")
    );
}

#[test]
fn a_token_given_twice_in_one_place_is_refused() {
    let text = refusal(
        &[
            "--publish-token",
            "0123456789abcdef",
            "--publish-token-file",
            "f",
        ],
        "",
    );
    assert!(text.contains("publish token"), "{text}");
    refusal(
        &[],
        "watch-token = \"0123456789abcdef\"\nwatch-token-file = \"f\"",
    );
}

#[test]
fn an_empty_token_is_no_token_that_lets_everybody_in() {
    refusal(&[], "publish-token = \"\"");
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    refusal(
        &["--publish-token-file", file.path().to_str().expect("text")],
        "",
    );
}

#[test]
fn a_token_that_others_may_see_or_guess_is_warned_about_without_saying_it() {
    let s = settings(&["--publish-token", "tell-no-one"], "");
    assert_eq!(s.warnings.len(), 2, "{:?}", s.warnings);
    assert!(s.warnings.iter().all(|w| !w.contains("tell-no-one")));
}

#[test]
fn an_address_that_no_browser_could_send_to_is_refused() {
    for address in ["0.0.0.0", "224.0.0.1", "2001:db8::1"] {
        assert!(refusal(&["--advertise", address], "").contains(address));
    }
    assert!(
        resolve(
            &["--advertise", "192.0.2.1,2001:db8::1", "--udp", "[::]:8189"],
            ""
        )
        .is_ok()
    );
    let link_local = refusal(&["--advertise", "fe80::1", "--udp", "[::]:8189"], "");
    assert!(link_local.contains("link-local"), "{link_local}");
}

#[test]
fn a_passed_socket_goes_before_an_option_and_one_that_says_otherwise_is_named() {
    let passed = || Passed {
        http: Some(std::net::TcpListener::bind("127.0.0.1:0").expect("bound")),
        media: None,
        ice_tcp: None,
    };
    let at = |passed: &Passed| passed.http_address().expect("an address");
    let outside = |given: &str, passed: &Passed| {
        let args = ServeArgs {
            http: Some(given.parse().expect("an address")),
            ..ServeArgs::default()
        };
        Outside::resolve(args, passed).expect("resolved")
    };
    let sockets = passed();
    let (address, port) = (at(&sockets), at(&sockets).port());
    for same in [
        format!("127.0.0.1:{port}"),
        port.to_string(),
        "0".to_owned(),
        format!("localhost:{port}"),
    ] {
        let outside = outside(&same, &sockets);
        assert_eq!(
            (outside.http, outside.warnings),
            (address, vec![]),
            "{same}"
        );
    }
    for other in ["127.0.0.1:1", "1", "127.0.0.2:0"] {
        let outside = outside(other, &sockets);
        assert_eq!(outside.http, address);
        assert!(
            outside
                .warnings
                .iter()
                .any(|line| line.contains(other) && line.contains("socket")),
            "{:?}",
            outside.warnings
        );
    }
    // Names that nobody knows are not looked up for a port that is passed.
    assert_eq!(outside("media.invalid:1", &sockets).http, address);
}

#[test]
fn a_post_quantum_key_exchange_can_be_required_of_a_build_that_has_one() {
    let (flag, file) = (
        &["--require-post-quantum"][..],
        "require-post-quantum = true",
    );
    assert!(!settings(&[], "").server.require_post_quantum);
    for (flags, config) in [(flag, ""), (&[], file)] {
        if cfg!(feature = "boring") {
            assert!(settings(flags, config).server.require_post_quantum);
        } else {
            let said = refusal(flags, config);
            assert!(said.contains("--features boring"), "{said}");
        }
    }
    assert!(
        !settings(&["--require-post-quantum=false"], file)
            .server
            .require_post_quantum
    );
}
