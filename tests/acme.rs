//! Certificates from an ACME authority: Pebble, with names from its own DNS server, in a network and
//! with files of their own, where the ports have their true numbers.

mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use running::{PATIENCE, Server, refused, rekindle, until};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const DIRECTORY: &str = "https://authority.test:14000/dir";
const HTTPS: &str = "127.0.0.1:443";
const ROOTS: &str = "127.0.0.1:15000";
const DNS_SETTINGS: &str = "127.0.0.1:8055";
/// Set in the process that has a network of its own.
const INSIDE: &str = "TEST_INSIDE";
const PROGRAMS: [&str; 4] = ["pebble", "pebble-challtestsrv", "unshare", "ip"];

/// Runs a test, by its name, in a network and with mounts of its own.
fn apart(name: &str, test: impl FnOnce(&Path)) {
    if std::env::var_os(INSIDE).is_some() {
        let folder = tempfile::tempdir().expect("temporary folder");
        run("ip", &["link", "set", "lo", "up"]);
        // Every name is the DNS server's.
        replace("/etc/resolv.conf", folder.path(), "nameserver 127.0.0.1\n");
        replace("/etc/hosts", folder.path(), "127.0.0.1 localhost\n");
        return test(folder.path());
    }
    let has = |program: &&str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        found.is_ok_and(|output| output.status.success())
    };
    if let Some(missing) = PROGRAMS.iter().find(|program| !has(program)) {
        assert!(
            std::env::var_os("CI").is_none(),
            "{missing} is not installed"
        );
        println!("skipped: {missing} is not installed");
        return;
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let this = std::env::current_exe().expect("a path");
    let ended = command
        .args(["--net", "--mount", "--propagation", "private"])
        .arg(this)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(ended.expect("unshare runs").success());
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(
        status.expect("it runs").success(),
        "{program} {arguments:?}"
    );
}

fn replace(file: &str, folder: &Path, content: &str) {
    let name = file.rsplit('/').next().expect("a name");
    let new = folder.join(name);
    fs::write(&new, content).expect("written");
    run("mount", &["--bind", new.to_str().expect("text"), file]);
}

/// A process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command, port: &str) -> Running {
    let running = Running(command.stdout(Stdio::null()).spawn().expect("it starts"));
    until("it listens", || TcpStream::connect(port).is_ok());
    running
}

/// An authority with its DNS server.
struct Authority {
    folder: PathBuf,
    pebble: Option<Running>,
    _dns: Running,
}

impl Authority {
    /// Its certificates are valid for so many seconds.
    fn new(folder: &Path, seconds: u32) -> Self {
        let folder = folder.join("authority");
        fs::create_dir(&folder).expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "who signs the authority's own");
        let ca = params.self_signed(&key).expect("signed");
        fs::write(folder.join("ca.pem"), ca.pem()).expect("written");
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["authority.test".into(), "127.0.0.1".into()]);
        let own = params
            .expect("names")
            .signed_by(&key, &issuer)
            .expect("signed");
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            fs::write(&path, content).expect("written");
            path
        };
        let config = serde_json::json!({ "pebble": {
            "listenAddress": "127.0.0.1:14000",
            "managementListenAddress": ROOTS,
            "certificate": write("own.pem", &own.pem()),
            "privateKey": write("own-key.pem", &key.serialize_pem()),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": seconds,
        }});
        write("config.json", &config.to_string());
        let dns = start(
            Command::new("pebble-challtestsrv")
                .args(["-dns01", "127.0.0.1:53", "-management", DNS_SETTINGS])
                .args([
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-defaultIPv6",
                    "",
                ])
                .stderr(Stdio::null()),
            DNS_SETTINGS,
        );
        let mut authority = Self {
            folder,
            pebble: None,
            _dns: dns,
        };
        authority.begin_anew();
        authority
    }

    /// It forgets its accounts, and has another root.
    fn begin_anew(&mut self) {
        drop(self.pebble.take());
        let mut command = Command::new("pebble");
        command
            .args(["-dnsserver", "127.0.0.1:53", "-config"])
            .arg(self.folder.join("config.json"))
            .env("PEBBLE_VA_NOSLEEP", "1");
        self.pebble = Some(start(&mut command, ROOTS));
    }

    fn ca(&self) -> String {
        self.folder
            .join("ca.pem")
            .to_str()
            .expect("text")
            .to_owned()
    }

    /// Has a name lead to this address.
    fn lead(&self, name: &str, address: &str) {
        let body = serde_json::json!({ "host": name, "addresses": [address] });
        for action in ["clear-a", "add-a"] {
            let url = format!("http://{DNS_SETTINGS}/{action}");
            let answer = ureq::post(url).send(body.to_string().as_bytes());
            assert_eq!(answer.expect("an answer").status(), 200);
        }
    }

    /// Who trusts what it signs.
    fn client(&self) -> Arc<ClientConfig> {
        let own = fs::read(self.folder.join("ca.pem")).expect("a file");
        let mut talk = connect(trusting(&own), "authority.test", ROOTS).expect("connected");
        let request = "GET /roots/0 HTTP/1.0\r\n\r\n";
        talk.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // Pebble closes without the end of TLS.
        let _ = talk.read_to_end(&mut answer);
        trusting(&answer)
    }
}

fn trusting(pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(pem).expect("a certificate");
    roots.add(root).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

type Talk = StreamOwned<ClientConnection, TcpStream>;

/// A connection to this name, or why its certificate is not accepted.
fn connect(config: Arc<ClientConfig>, name: &str, address: &str) -> Result<Talk, String> {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut talk = StreamOwned::new(
        ClientConnection::new(config, name).expect("a client"),
        stream,
    );
    while talk.conn.is_handshaking() {
        let step = talk.conn.complete_io(&mut talk.sock);
        step.map_err(|error| error.to_string())?;
    }
    Ok(talk)
}

fn certificate(talk: &Talk) -> CertificateDer<'static> {
    talk.conn.peer_certificates().expect("a certificate")[0]
        .clone()
        .into_owned()
}

/// Asks for the server's health over a connection that stays.
fn healthy(talk: &mut Talk) {
    let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    talk.write_all(request.as_bytes()).expect("sent");
    let mut answer = [0; 4096];
    let length = talk.read(&mut answer).expect("an answer");
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
}

fn server(folder: &Path, authority: &Authority, names: &str) -> Server {
    let mut command = rekindle(folder);
    command
        .args([
            "--http",
            HTTPS,
            "--udp",
            "127.0.0.1:8189",
            "--admin",
            "127.0.0.1:8080",
        ])
        .args([
            "--acme",
            names,
            "--acme-directory",
            DIRECTORY,
            "--acme-ca",
            &authority.ca(),
        ]);
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
            let authority = Authority::new(folder, 15);
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
