//! Certificates from an ACME authority: Pebble, with names from its own DNS server, in a network and
//! with files of their own, where the ports have their true numbers.

mod apart;
mod authority;
#[path = "../running/mod.rs"]
mod running;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use apart::apart;
use authority::{Authority, certificate, connect, healthy};
use running::{Server, refused, rekindle, until};

const HTTPS: &str = "127.0.0.1:443";

fn run_here(folder: &Path, arguments: &[&str]) {
    let output = running::output(rekindle(folder).args(arguments));
    assert!(output.status.success(), "{}", running::said(&output));
}

fn server(folder: &Path, authority: &Authority, names: &str) -> Server {
    let mut command = rekindle(folder);
    command
        .args(["--http", HTTPS, "--udp", "127.0.0.1:8189"])
        .args(["--admin", "127.0.0.1:8080", "--acme", names])
        .args(authority.options());
    Server::try_start_as(&mut command).unwrap_or_else(|said| panic!("{said}"))
}

const OBTAINED: &str = "the certificate was obtained";
const ASKED: &str = "a certificate is being obtained";

#[test]
fn a_certificate_is_obtained_by_the_https_port_alone_and_kept_over_kill_9() {
    apart(
        "a_certificate_is_obtained_by_the_https_port_alone_and_kept_over_kill_9",
        |folder| {
            let authority = Authority::new(folder, 90 * 86_400);
            let running = server(folder, &authority, "media.test,www.media.test");
            running.wait_for_log(OBTAINED, 1);
            assert_eq!(running.ready["page"], "https://media.test/");
            let log = running.log();
            assert!(
                log.contains("TCP connections to no port but 53, 14000 (Landlock)"),
                "{log}"
            );
            let client = authority.client();
            let first = connect(client.clone(), "media.test", HTTPS).expect("accepted");
            let own = certificate(&first);
            assert!(connect(client.clone(), "www.media.test", HTTPS).is_ok());
            assert!(connect(client.clone(), "other.test", HTTPS).is_err());
            let metrics = ureq::get("http://127.0.0.1:8080/metrics")
                .call()
                .expect("an answer");
            let metrics = metrics.into_body().read_to_string().expect("text");
            assert!(metrics.contains("rekindle_acme_orders_total{result=\"issued\"} 1\n"));
            let expiry = "\nrekindle_tls_certificate_expiry_timestamp_seconds ";
            let (_, expiry) = metrics.split_once(expiry).expect("a value");
            let expiry: u64 = expiry
                .lines()
                .next()
                .expect("a line")
                .parse()
                .expect("a number");
            let now = std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .expect("a time")
                .as_secs();
            assert!((now + 89 * 86_400..now + 91 * 86_400).contains(&expiry));

            // What is kept is for the key file alone.
            let kept = folder.join("rekindle-acme");
            let mode =
                |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
            assert_eq!((mode(&kept), mode(&kept.join("acme.age"))), (0o700, 0o600));
            let content = fs::read(kept.join("acme.age")).expect("a file");
            assert!(content.starts_with(b"age-encryption.org/v1\n"));
            assert!(!content.windows(11).any(|part| part == b"PRIVATE KEY"));
            // Nobody but an authority that asks for a proof gets one, and only while there is one.
            let mut asks = ClientConfig::clone(&client);
            asks.alpn_protocols = vec![b"acme-tls/1".to_vec()];
            assert!(connect(Arc::new(asks), "media.test", HTTPS).is_err());

            running.kill();
            let again = server(folder, &authority, "media.test,www.media.test");
            let talk = connect(client.clone(), "media.test", HTTPS).expect("accepted at once");
            assert_eq!(certificate(&talk), own);
            std::thread::sleep(Duration::from_millis(500));
            assert!(!again.log().contains(ASKED), "{}", again.log());
            again.kill();

            // Another name needs another certificate, and meanwhile the old one serves.
            let more = server(folder, &authority, "media.test,more.test");
            more.wait_for_log(OBTAINED, 1);
            assert!(connect(client, "more.test", HTTPS).is_ok());
            assert!(!more.log().contains("an account was made"));
            more.kill();

            // Under another key file, at the first start with both identities.
            let key = folder.join("rekindle-key.txt");
            let old = fs::read_to_string(&key).expect("a file");
            fs::remove_file(&key).expect("removed");
            run_here(folder, &["keygen", "-o", "rekindle-key.txt"]);
            let new = fs::read_to_string(&key).expect("a file");
            fs::write(&key, format!("{new}{old}")).expect("written");
            let before = fs::read(kept.join("acme.age")).expect("a file");
            let both = server(folder, &authority, "media.test,more.test");
            until("the file is written anew", || {
                fs::read(kept.join("acme.age")).is_ok_and(|now| now != before)
            });
            both.signal("HUP");
            both.wait_for_log("the vault is under its first identity", 1);
            both.kill();
            fs::write(&key, new).expect("written");
            let again = server(folder, &authority, "media.test,more.test");
            std::thread::sleep(Duration::from_millis(500));
            assert!(!again.log().contains(ASKED), "{}", again.log());
            again.kill();

            // A file that is not its own work costs a line, and what it holds is obtained again.
            let mut broken = content;
            broken.truncate(300);
            fs::write(kept.join("acme.age"), broken).expect("written");
            let again = server(folder, &authority, "media.test");
            again.wait_for_log("account and certificate are obtained anew", 1);
            again.wait_for_log(OBTAINED, 1);
        },
    );
}

#[test]
fn a_certificate_is_renewed_in_time_while_connections_stand() {
    apart(
        "a_certificate_is_renewed_in_time_while_connections_stand",
        |folder| {
            let authority = Authority::new(folder, 9);
            let running = server(folder, &authority, "media.test");
            running.wait_for_log(OBTAINED, 1);
            let client = authority.client();
            let mut before = connect(client.clone(), "media.test", HTTPS).expect("accepted");
            healthy(&mut before);
            running.wait_for_log(OBTAINED, 2);
            let after = connect(client, "media.test", HTTPS).expect("accepted");
            assert_ne!(certificate(&before), certificate(&after));
            healthy(&mut before);
        },
    );
}

#[test]
fn an_authority_that_refuses_is_left_alone_until_its_time_or_sighup() {
    apart(
        "an_authority_that_refuses_is_left_alone_until_its_time_or_sighup",
        |folder| {
            let mut authority = Authority::new(folder, 90 * 86_400);
            authority.lead("media.test", "127.0.0.9");
            let first = server(folder, &authority, "media.test");
            first.wait_for_log(
                "no certificate was obtained from https://authority.test:14000",
                1,
            );
            let log = first.log();
            for part in [
                "it did not accept the proof for media.test",
                "It connects to port 443 of that name",
                "The next attempt is in 1 min, or at SIGHUP",
            ] {
                assert!(log.contains(part), "{part:?} is not in {log}");
            }
            // Until there is a certificate nobody gets one.
            assert!(connect(authority.client(), "media.test", HTTPS).is_err());
            first.kill();
            // Killed again and again, it asks no more often.
            let again = server(folder, &authority, "media.test");
            std::thread::sleep(Duration::from_secs(1));
            assert!(!again.log().contains(ASKED), "{}", again.log());
            // The operator has put it right, and the authority has forgotten everybody.
            authority.lead("media.test", "127.0.0.1");
            authority.begin_anew();
            again.signal("HUP");
            again.wait_for_log(OBTAINED, 1);
            let log = again.log();
            assert!(
                log.contains("the authority knows the account no more"),
                "{log}"
            );
            assert!(connect(authority.client(), "media.test", HTTPS).is_ok());
        },
    );
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let refused = |options: &[&str], parts: &[&str]| refused(folder.path(), options, parts);
    let acme = ["--acme", "media.example.org"];
    refused(
        &["--acme-dir", "acme"],
        &["--acme-dir is of no use without --acme"],
    );
    refused(
        &[&acme[..], &["--tls-cert", "a", "--tls-key", "b"]].concat(),
        &["give one of the two"],
    );
    let plain = [
        &acme[..],
        &["--acme-directory", "http://127.0.0.1:14000/dir"],
    ]
    .concat();
    refused(&plain, &["is a URL without TLS"]);
    let untrusted = [&acme[..], &["--acme-ca", "none.pem"]].concat();
    refused(&untrusted, &["none.pem cannot be read as certificates"]);
    fs::write(folder.path().join("account"), "kid-1").expect("written");
    let malformed = [&acme[..], &["--acme-eab-file", "account"]].concat();
    refused(&malformed, &["account", "is not what it should be"]);
    let shared = folder.path().join("shared");
    fs::create_dir(&shared).expect("a folder");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o777)).expect("set");
    let output = running::output(
        rekindle(folder.path())
            .args([
                "--http",
                "127.0.0.1:0",
                "--udp",
                "127.0.0.1:0",
                "--acme-dir",
                "shared",
            ])
            .args([
                "--acme",
                "media.example.org",
                "--acme-ca",
                "/etc/ssl/certs/ca-certificates.crt",
            ]),
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(
        running::said(&output).contains("can be written by others"),
        "{}",
        running::said(&output)
    );
}
