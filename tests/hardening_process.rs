//! The process as it serves: what the kernel says it can still do, and that it can still do its
//! work.

mod running;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_stun::attributes::{ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use running::{PUBLISH, Server, WATCH, rekindle, text};

const CAP_IPC_LOCK: u64 = 1 << 14;

/// The value of a line of `/proc/PID/status` or the like, without blanks around.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no line {name} in {text}"))
        .trim()
}

/// The states of all threads.
fn threads(pid: &str) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .expect("a process")
        // Some end while we look.
        .filter_map(|entry| fs::read_to_string(entry.expect("an entry").path().join("status")).ok())
        .collect()
}

fn pid(server: &Server) -> String {
    server.ready["pid"].to_string()
}

/// Sends a connectivity check as the peer that got this answer, and waits for the response.
fn check(socket: &UdpSocket, server: &Server, answer: &str) {
    let value = |name: &str| field(answer, name).to_owned();
    let mut request = Message::new();
    request.new_transaction_id().expect("random numbers");
    request.set_type(BINDING_REQUEST);
    request.write_header();
    request.add(
        ATTR_USERNAME,
        format!("{}:browser", value("a=ice-ufrag:")).as_bytes(),
    );
    request.add(ATTR_USE_CANDIDATE, &[]);
    MessageIntegrity::new_short_term_integrity_with_provider(value("a=ice-pwd:"), &AwsLcRsCrypto)
        .add_to(&mut request)
        .expect("a request");
    let to = server.ready["media"].as_str().expect("an address");
    socket.send_to(&request.raw, to).expect("sent");
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).expect("a response");
    let mut response = Message::new();
    response.unmarshal_binary(&buffer[..length]).expect("STUN");
    assert_eq!(response.typ, BINDING_SUCCESS);
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket
        .set_read_timeout(Some(running::PATIENCE))
        .expect("set");
    socket
}

#[test]
fn every_thread_is_shut_in_and_has_no_rights() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    server.join("/whip/channel", PUBLISH);
    // Those that do handshakes, of which there are none on one core.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let for_handshakes = |status: &&String| field(status, "Name:").starts_with("dtls-");
    // A thread has its name once it has run for the first time.
    running::until("one thread for each further core", || {
        let threads = threads(&pid(&server));
        threads.iter().filter(for_handshakes).count() == cores - 1
    });
    let threads = threads(&pid(&server));
    // HTTP and media besides.
    assert!(threads.len() > cores, "{}", threads.len());
    for status in threads {
        assert_eq!(field(&status, "NoNewPrivs:"), "1");
        assert_eq!(field(&status, "Seccomp:"), "2");
        let capabilities = u64::from_str_radix(field(&status, "CapEff:"), 16).expect("hexadecimal");
        assert_eq!(capabilities & !CAP_IPC_LOCK, 0);
        assert_eq!(field(&status, "CapPrm:"), field(&status, "CapEff:"));
    }
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = rekindle(folder.path())
        .args([
            "--announce",
            "none",
            "--http",
            "127.0.0.1:0",
            "--udp",
            "127.0.0.1:0",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = child.id().to_string();
    let deadline = std::time::Instant::now() + running::PATIENCE;
    // The vault is made after the process has closed itself.
    while !folder.path().join("rekindle-state/identity.age").exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "the server does not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
    let core: Vec<_> = field(&limits, "Max core file size")
        .split_whitespace()
        .collect();
    assert_eq!(core, ["0", "0", "bytes"]);
    // Not SIGSEGV: the handler that Rust installs for it lets one that was sent by `kill` pass
    // once.
    running::signal(&pid, "ABRT");
    let status = child.wait().expect("ended");
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
}

#[test]
fn other_processes_of_the_same_user_cannot_read_its_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let memory = format!("/proc/{}/mem", pid(&server));
    if rustix::process::geteuid().is_root() {
        // Root may read all memory; but of a process that is not dumpable, the file is root's,
        // whoever runs it: so look from outside.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let nobody = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "cat",
                &memory,
            ])
            .output();
        let Ok(nobody) = nobody else { return };
        assert!(!nobody.status.success());
    } else {
        assert_eq!(
            fs::File::open(&memory).expect_err("closed").kind(),
            std::io::ErrorKind::PermissionDenied
        );
    }
}

#[test]
fn a_shut_in_server_does_its_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("page");
    fs::create_dir(&page).expect("made");
    fs::write(page.join("index.html"), "<p>mine").expect("written");
    fs::write(folder.path().join("secret"), "secret").expect("written");
    std::os::unix::fs::symlink("../secret", page.join("secret.html")).expect("linked");
    let options = ["--static-dir", page.to_str().expect("text")];

    let server = Server::start(folder.path(), &options);
    assert_eq!(text(&mut server.get("/")), "<p>mine");
    assert_eq!(
        server.get("/secret.html").status(),
        404,
        "a link out of the folder leads nowhere"
    );
    let (socket, answer) = (socket(), text(&mut server.offer("/whip/channel", PUBLISH)));
    check(&socket, &server, &answer);
    let viewer = server.join("/whep/channel", WATCH);
    assert_eq!(server.delete(&viewer).status(), 200);
    for (path, mode, _) in running::tree(&folder.path().join("rekindle-state")) {
        assert_eq!(mode & 0o077, 0, "{} is open to others", path.display());
    }
    // A file that cannot be used is moved, a link is not followed: by a thread that reads while the
    // server serves.
    server.kill();
    let peers = folder.path().join("rekindle-state/peers");
    fs::write(peers.join("Vtorn000000.age"), "torn").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", peers.join("Vlink000000.age")).expect("linked");
    let server = Server::start(folder.path(), &options);
    check(&socket, &server, &answer);
    let aside = folder.path().join("rekindle-state/set-aside");
    let deadline = std::time::Instant::now() + running::PATIENCE;
    while fs::read_dir(&aside).map_or(0, Iterator::count) < 2 {
        assert!(
            std::time::Instant::now() < deadline,
            "nothing was set aside"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("seccomp") && log.contains("Landlock"), "{log}");
}

#[test]
fn a_log_at_info_has_nothing_that_leads_to_a_person() {
    let folder = tempfile::tempdir().expect("a folder");
    let (token, stranger) = ("correct-horse-battery", "wrong-horse-battery");
    let options = ["--publish-token", token, "--behind-proxy"];
    let server = Server::start(folder.path(), &options);
    let from = ("x-forwarded-for", "203.0.113.77");
    let sdp = ("content-type", "application/sdp");
    let bearer = |token: &str| format!("Bearer {token}");
    let refused = server.post(
        "/whip/a",
        &[from, sdp, ("authorization", &bearer(stranger))],
        PUBLISH.as_bytes(),
    );
    assert_eq!(refused.status(), 401);
    let bad = server.post(
        "/whip/a",
        &[from, sdp, ("authorization", &bearer(token))],
        b"v=0\r\nnonsense",
    );
    assert_eq!(bad.status(), 400);
    let mut joined = server.post(
        "/whip/a",
        &[from, sdp, ("authorization", &bearer(token))],
        PUBLISH.as_bytes(),
    );
    let session = running::header(&joined, "location").to_owned();
    let answer = text(&mut joined);
    // An address that changes is written to the record.
    let sockets = [socket(), socket()];
    for socket in &sockets {
        check(socket, &server, &answer);
    }
    sockets[0]
        .send_to(
            &[22; 64],
            server.ready["media"].as_str().expect("an address"),
        )
        .expect("sent");
    let (_, first) = server.terminate();
    let server = Server::start(folder.path(), &options);
    check(&sockets[1], &server, &answer);
    assert_eq!(server.delete_as(&session, token).status(), 200);
    let (_, second) = server.terminate();

    let log = first + &second;
    assert!(
        log.contains("a peer joins") && log.contains("a peer leaves"),
        "{log}"
    );
    let ports = sockets.map(|socket| socket.local_addr().expect("an address").port().to_string());
    let mut private = vec![
        token,
        stranger,
        "203.0.113.77",
        "127.0.0.1",
        "nonsense",
        "candidate",
        "a=",
        &session,
    ];
    private.extend(ports.iter().map(String::as_str));
    for (text, name) in [
        (answer.as_str(), "a=ice-ufrag:"),
        (&answer, "a=ice-pwd:"),
        (PUBLISH, "a=ice-ufrag:"),
        (PUBLISH, "a=ice-pwd:"),
    ] {
        private.push(field(text, name));
    }
    for word in private {
        assert!(!log.contains(word), "{word} is in the log: {log}");
    }
}

#[test]
fn without_the_sandbox_a_server_says_that_this_is_not_for_production() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["--no-sandbox"]);
    assert!(
        threads(&pid(&server))
            .iter()
            .all(|status| field(status, "Seccomp:") == "0")
    );
    // What does not depend on it stays.
    assert!(
        threads(&pid(&server))
            .iter()
            .all(|status| field(status, "NoNewPrivs:") == "1")
    );
    let (_, log) = server.terminate();
    assert!(log.contains("not for production"), "{log}");
}

/// Where the state folder is may be said in any way.
#[test]
fn a_state_folder_by_a_link_and_by_a_relative_path_works() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("elsewhere")).expect("made");
    fs::set_permissions(
        folder.path().join("elsewhere"),
        fs::Permissions::from_mode(0o700),
    )
    .expect("set");
    std::os::unix::fs::symlink("elsewhere", folder.path().join("link")).expect("linked");
    let server = Server::start(folder.path(), &["--state-dir", "./link"]);
    server.join("/whip/channel", PUBLISH);
    assert!(Path::new(&folder.path().join("elsewhere/identity.age")).exists());
    assert_eq!(server.terminate().0, Some(0));
}
