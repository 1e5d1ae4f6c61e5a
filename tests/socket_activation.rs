//! Sockets that a service manager holds, and what it is told. The partner is systemd's own
//! `systemd-socket-activate`, where it is installed.

mod load;
mod running;
mod secure;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use running::{PATIENCE, PUBLISH, Server, output, rekindle, said, text, tree};

const ACTIVATE: &str = "systemd-socket-activate";

/// Whether systemd's program is there; says so if not. CI always has it.
fn have_systemd() -> bool {
    let found = Command::new(ACTIVATE).arg("--version").output().is_ok();
    assert!(
        found || std::env::var_os("CI").is_none_or(|v| v != "true"),
        "CI needs the Debian package systemd"
    );
    if !found {
        println!("skipped: {ACTIVATE} is not installed (Debian package: systemd)");
    }
    found
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("bound");
    socket.local_addr().expect("an address").port()
}

/// A connection to this address, as soon as somebody listens there.
fn connected(to: &str) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return stream,
            Err(_) => assert!(Instant::now() < deadline, "nobody listens"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// systemd's program with these options, that starts the server at the first datagram or
/// connection.
fn activate(folder: &Path, options: &[&str], serve: &[&str]) -> Command {
    let mut command = Command::new(ACTIVATE);
    command
        .current_dir(folder)
        .args(options)
        .arg(env!("CARGO_BIN_EXE_rekindle"))
        .arg("serve")
        .args(serve)
        .stdin(Stdio::null());
    command
}

#[test]
fn the_http_socket_that_systemd_passes_is_used_and_an_address_beside_it_is_not() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let port = free_port().to_string();
    let other = free_port().to_string();
    for name in [&["--fdname=http"][..], &[]] {
        let listen = format!("127.0.0.1:{port}");
        let options = [&["-l", listen.as_str()], name].concat();
        let mut command = activate(
            folder.path(),
            &options,
            &[
                "--http",
                &other,
                "--udp",
                "127.0.0.1:0",
                "--announce",
                "none",
            ],
        );
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let stream = connected(&listen);
        // The connection that had the server started is answered.
        assert!(load::ask(&stream, true).is_ok());
        assert!(TcpStream::connect(format!("127.0.0.1:{other}")).is_err());
        child.kill().expect("killed");
        let log = said(&child.wait_with_output().expect("ended"));
        assert!(
            log.contains("is not used") && log.contains(&listen),
            "{log}"
        );
    }
}

#[test]
fn https_is_spoken_on_the_socket_that_systemd_passes() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let certificate = secure::Certificate::new(folder.path());
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = [
        &certificate.options()[..],
        &["--udp", "127.0.0.1:0", "--announce", "none"],
    ]
    .concat();
    let mut command = activate(folder.path(), &["-l", &listen, "--fdname=http"], &serve);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    connected(&listen);
    let mut client = certificate.http1(listen.parse().expect("an address"));
    client
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn a_media_socket_that_systemd_passes_is_advertised() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let media = format!("127.0.0.1:{}", free_port());
    let options = ["-d", "-l", &media, "--fdname=media"];
    let mut command = activate(folder.path(), &options, &["--http", "127.0.0.1:0"]);
    // Its first datagram starts the server.
    let to = media.clone();
    std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        for _ in 0..200 {
            let _ = socket.send_to(b"x", &to);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let server = Server::try_start_as(&mut command).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(server.media().to_string(), media);
    assert_eq!(server.ready["advertised"][0], media);
    server.join("/whip/c", PUBLISH);
}

#[test]
fn a_passed_socket_of_media_over_tcp_is_used_where_it_has_the_media_ports_number() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let at = format!("127.0.0.1:{}", free_port());
    for (udp, works) in [(at.as_str(), true), ("127.0.0.1:0", false)] {
        let options = ["-l", &at, "--fdname=ice-tcp"];
        let serve = ["--http", "127.0.0.1:0", "--udp", udp];
        let mut command = activate(folder.path(), &options, &serve);
        // A connection starts the server.
        let to = at.clone();
        let knocks = std::thread::spawn(move || connected(&to));
        let started = Server::try_start_as(&mut command);
        let mut stream = knocks.join().expect("connected");
        match started {
            Ok(server) if works => {
                let answer = text(&mut server.offer("/whip/c", PUBLISH));
                let line = format!(" tcp 1520435199 127.0.0.1 {} ", server.media().port());
                assert!(answer.contains(&line), "{answer}");
                // Who sends what is no frame is let go.
                stream.write_all(b"\xff\xff").expect("sent");
                let mut rest = Vec::new();
                assert!(stream.read_to_end(&mut rest).is_ok_and(|count| count == 0));
            }
            Err(said) if !works => assert!(said.contains("both the same number"), "{said}"),
            Ok(_) => panic!("it started"),
            Err(said) => panic!("{said}"),
        }
    }
}

#[test]
fn sockets_that_are_of_no_use_are_refused_by_what_they_are_and_nothing_is_touched() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let [one, other] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let path = folder.path().join("unix").display().to_string();
    let cases: &[(&[&str], &[&str])] = &[
        (&["-l", &one, "-l", &other], &["two sockets", "HTTP"]),
        (
            &["-l", &one, "--fdname=media"],
            &["TCP socket", "FileDescriptorName=http"],
        ),
        (
            &["-d", "-l", &one, "--fdname=http"],
            &["UDP socket", "FileDescriptorName=media"],
        ),
        (&["-l", &path], &["neither TCP nor UDP"]),
        (&["-a", "-l", &one], &["does not listen", "Accept"]),
    ];
    for (options, parts) in cases {
        let child = activate(folder.path(), options, &["--udp", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // Something comes, so that the server is started.
        let (datagrams, to, unix) = (
            options.contains(&"-d"),
            one.clone(),
            options.contains(&path.as_str()).then(|| path.clone()),
        );
        let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stop = over.clone();
        let pid = child.id().to_string();
        let comes = std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(3);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < deadline {
                match &unix {
                    Some(path) => drop(std::os::unix::net::UnixStream::connect(path)),
                    None if datagrams => {
                        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
                        let _ = socket.send_to(b"x", &to);
                    }
                    None => drop(TcpStream::connect(&to)),
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            // With -a systemd's program stays, and starts one server a connection.
            let _ = Command::new("kill")
                .arg(&pid)
                .stderr(Stdio::null())
                .status();
        });
        let ended = if options.contains(&"-a") {
            comes.join().expect("over");
            child.wait_with_output().expect("ended")
        } else {
            let ended = child.wait_with_output().expect("ended");
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            comes.join().expect("over");
            assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
            ended
        };
        for part in *parts {
            assert!(
                said(&ended).contains(part),
                "{part:?} is not in {}",
                said(&ended)
            );
        }
        let _ = fs::remove_file(&path);
        assert!(tree(folder.path()).is_empty());
    }
}

#[test]
fn sockets_for_another_process_are_left_alone_and_a_number_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut command = rekindle(folder.path());
    command.env("LISTEN_FDS", "2").env("LISTEN_PID", "1");
    let server = Server::start_as(&mut command);
    assert_eq!(server.get("/healthz").status(), 200);
    server.terminate();
    // A shell that becomes the server has its number.
    let script = "export LISTEN_PID=$$ LISTEN_FDS=many; exec \"$0\" serve";
    let mut command = Command::new("sh");
    command
        .current_dir(folder.path())
        .args(["-c", script, env!("CARGO_BIN_EXE_rekindle")]);
    let ended = output(&mut command);
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
    assert!(said(&ended).contains("LISTEN_FDS"), "{}", said(&ended));
}

#[test]
fn a_server_without_a_publish_token_does_not_take_a_socket_that_others_can_reach() {
    if !have_systemd() {
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let port = free_port();
    let listen = format!("0.0.0.0:{port}");
    let child = activate(folder.path(), &["-l", &listen], &["--udp", "127.0.0.1:0"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    connected(&format!("127.0.0.1:{port}"));
    let ended = child.wait_with_output().expect("ended");
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
    assert!(
        said(&ended).contains("--publish-token-file"),
        "{}",
        said(&ended)
    );
}

/// A manager that hears what it is told.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(folder: &Path) -> Self {
        let path = folder.join("notify").display().to_string();
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { socket, path }
    }

    #[track_caller]
    fn hears(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.socket.recv(&mut buffer).expect("it is told something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[track_caller]
    fn waits_for(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = self.hears();
            if told.contains(part) {
                return told;
            }
            assert!(Instant::now() < deadline, "{part}");
        }
    }
}

#[test]
fn the_manager_is_told_from_within_the_sandbox_that_the_server_is_up_reloads_lives_and_stops() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let manager = Manager::new(folder.path());
    let mut command = rekindle(folder.path());
    command
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "200000");
    let server = Server::start_as(&mut command);
    let ready = manager.hears();
    assert!(ready.starts_with("READY=1\nSTATUS=boot 1: "), "{ready}");
    for _ in 0..3 {
        manager.waits_for("WATCHDOG=1");
    }
    server.signal("HUP");
    assert!(manager.waits_for("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.waits_for("READY=1");
    let (code, log) = server.terminate();
    assert_eq!(code, Some(0), "{log}");
    manager.waits_for("STOPPING=1");
}

#[test]
fn a_supervisor_tells_its_own_manager_of_its_server() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let manager = Manager::new(folder.path());
    let mut command = rekindle(folder.path());
    command
        .env("NOTIFY_SOCKET", &manager.path)
        .args(["supervise", "--", "serve"]);
    let server = Server::start_as(&mut command);
    assert!(manager.hears().starts_with("READY=1\nSTATUS=boot 1: "));
    server.signal("HUP");
    manager.waits_for("RELOADING=1");
    assert!(manager.waits_for("READY=1").contains("STATUS=boot 2: "));
    let (code, _) = server.terminate();
    assert_eq!(code, Some(0));
    manager.waits_for("STOPPING=1");
}
