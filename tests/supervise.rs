//! `rekindle supervise`: the ports stay open while servers come and go.

mod load;
mod running;

use std::fs;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use load::Load;
use running::{PATIENCE, PUBLISH, Server, output, rekindle, said, signal};
use rustix::fs::inotify;

const RESTARTS: usize = 20;
/// What the supervisor logs of each server that is up.
const UP: &str = "the server is up";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// A supervisor with a server that is up.
fn supervise(folder: &Path, options: &[&str], serve: &[&str]) -> Server {
    supervise_as(&mut rekindle(folder), options, serve)
}

fn supervise_as(command: &mut Command, options: &[&str], serve: &[&str]) -> Server {
    command
        .arg("supervise")
        .args(options)
        .args(["--", "serve"])
        .args(serve);
    let server = Server::start_as(command);
    server.wait_for_log(UP, 1);
    server
}

/// The process of the server that was up last.
fn server_pid(supervisor: &Server) -> String {
    let log = supervisor.log();
    let line = log
        .lines()
        .rfind(|line| line.contains(UP))
        .expect("a server was up");
    let (_, pid) = line.rsplit_once("pid=").expect("its number");
    pid.trim().to_owned()
}

fn runs(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[track_caller]
fn soon(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn no_request_fails_while_a_server_hands_over_twenty_times() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    supervisor.join("/whip/c", PUBLISH);
    let load = Load::on(supervisor.http());
    for done in 1..=RESTARTS {
        sleep(Duration::from_millis(50));
        supervisor.signal("HUP");
        supervisor.wait_for_log(UP, done + 1);
    }
    let told = load.stop();
    println!("{told:?}");
    assert!(told.failed.is_empty() && told.refused == 0, "{told:?}");
    assert!(
        told.answered > RESTARTS && told.kept_answered > RESTARTS,
        "{told:?}"
    );
    let (code, log) = supervisor.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(" ERROR ") && !log.contains(" WARN "), "{log}");
}

#[test]
fn no_connection_is_refused_while_a_server_is_killed_twenty_times() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    let load = Load::on(supervisor.http());
    let mut kills = Vec::new();
    for done in 1..=RESTARTS {
        sleep(Duration::from_millis(50));
        let (server, from) = (server_pid(&supervisor), Instant::now());
        signal(&server, "9");
        soon("it is gone", || !runs(&server));
        kills.push((from, Instant::now()));
        supervisor.wait_for_log(UP, done + 1);
    }
    let told = load.stop();
    println!("{told:?}");
    assert_eq!(told.refused, 0, "{told:?}");
    assert!(told.answered > RESTARTS, "{told:?}");
    // A request that a server has taken dies with it; one that begins later does not.
    let under_way = |&(from, to): &(Instant, Instant)| {
        kills
            .iter()
            .any(|&(alive, gone)| from <= gone && alive <= to)
    };
    assert!(told.failed.iter().all(under_way), "{told:?}, {kills:?}");
    assert_eq!(supervisor.get("/healthz").status(), 200);
}

#[test]
fn a_connection_that_is_made_while_no_server_runs_is_answered_by_the_next() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    signal(server_pid(&supervisor), "STOP");
    let waiting: Vec<_> = (0..20)
        .map(|_| TcpStream::connect(supervisor.http()).expect("connected"))
        .collect();
    signal(server_pid(&supervisor), "9");
    for stream in waiting {
        assert!(load::ask(&stream, true).is_ok());
    }
}

#[test]
fn a_supervisor_that_is_killed_takes_its_server_with_it() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    let (http, server) = (supervisor.http(), server_pid(&supervisor));
    assert!(runs(&server));
    supervisor.kill();
    soon("the server outlives its supervisor", || !runs(&server));
    assert!(TcpStream::connect(http).is_err(), "the port is still held");
}

#[test]
fn a_server_that_hangs_is_ended_and_the_next_one_answers() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &["--watchdog", "1s"], &[]);
    // It is alive, and says so, for longer than that.
    sleep(Duration::from_millis(1500));
    let hung = server_pid(&supervisor);
    assert_eq!(
        supervisor
            .log()
            .lines()
            .filter(|line| line.contains(UP))
            .count(),
        1
    );
    signal(&hung, "STOP");
    supervisor.wait_for_log(UP, 2);
    assert!(
        supervisor
            .log()
            .contains("it has not said that it is alive for")
    );
    assert_eq!(supervisor.get("/healthz").status(), 200);
    assert!(!runs(&hung));
}

#[test]
fn a_configuration_that_forbids_the_first_start_ends_the_supervisor_with_the_same_status() {
    let folder = folder();
    let ports = ["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"];
    let wrong = ["supervise", "--", "serve", "--key-file", "none.txt"];
    let ended = output(rekindle(folder.path()).args([&wrong[..], &ports].concat()));
    assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
    assert!(said(&ended).contains("none.txt"), "{}", said(&ended));
    for (arguments, part) in [
        (
            &["supervise", "--", "keygen", "-o", "k"][..],
            "rekindle supervise -- serve",
        ),
        (
            &["supervise", "--", "serve", "--http", "nonsense:x"],
            "--http",
        ),
        (
            &["supervise", "--", "serve", "--config", "none.toml"],
            "none.toml",
        ),
    ] {
        let ended = output(rekindle(folder.path()).args(arguments));
        assert_eq!(ended.status.code(), Some(2), "{}", said(&ended));
        assert!(said(&ended).contains(part), "{}", said(&ended));
    }
}

#[test]
fn a_server_that_goes_on_ending_is_started_ever_more_slowly_and_its_port_stays_open() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    // Once it was up, the configuration may be mended at any time.
    fs::rename(
        folder.path().join("rekindle-key.txt"),
        folder.path().join("away"),
    )
    .expect("moved");
    signal(server_pid(&supervisor), "9");
    supervisor.wait_for_log("it is started again in 200 ms", 1);
    let waiting = TcpStream::connect(supervisor.http()).expect("the port is open");
    fs::rename(
        folder.path().join("away"),
        folder.path().join("rekindle-key.txt"),
    )
    .expect("moved back");
    assert!(load::ask(&waiting, true).is_ok());
}

#[test]
fn sigusr1_has_the_server_read_its_key_file_again() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &[], &[]);
    let before = server_pid(&supervisor);
    supervisor.signal("USR1");
    supervisor.wait_for_log("the key file was taken", 1);
    assert_eq!(server_pid(&supervisor), before);
    assert!(runs(&before));
}

#[test]
fn a_program_that_does_not_start_does_not_take_over_and_one_that_does_takes_over() {
    let folder = folder();
    let (program, other) = (folder.path().join("rekindle"), folder.path().join("new"));
    fs::copy(env!("CARGO_BIN_EXE_rekindle"), &program).expect("copied");
    let mut command = Command::new(&program);
    command
        .current_dir(folder.path())
        .env("REKINDLE_LOG_FORMAT", "text");
    let supervisor = supervise_as(&mut command, &[], &[]);
    let first = server_pid(&supervisor);
    let install = |content: &[u8]| {
        fs::write(&other, content).expect("written");
        fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("set");
        fs::rename(&other, &program).expect("moved");
        supervisor.signal("HUP");
    };
    install(b"#!/bin/sh\nexit 3\n");
    supervisor.wait_for_log("does not say its version", 1);
    install(b"no program at all");
    supervisor.wait_for_log("cannot be started", 1);
    assert!(runs(&first));
    assert_eq!(supervisor.get("/healthz").status(), 200);
    install(&fs::read(env!("CARGO_BIN_EXE_rekindle")).expect("read"));
    supervisor.wait_for_log(UP, 2);
    assert!(!runs(&first));
    assert_eq!(supervisor.get("/healthz").status(), 200);
}

/// The files that the supervisor must leave alone, watched.
fn watch(folder: &Path) -> OwnedFd {
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)
        .expect("inotify");
    for file in [
        "rekindle-key.txt",
        "token",
        "rekindle-state",
        "rekindle-state/identity.age",
    ] {
        inotify::add_watch(&watch, folder.join(file), inotify::WatchFlags::OPEN).expect("watched");
    }
    watch
}

fn openings(watch: &OwnedFd) -> usize {
    let mut space = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(watch, &mut space);
    let mut count = 0;
    while events.next().is_ok() {
        count += 1;
    }
    count
}

#[test]
fn the_supervisor_opens_neither_key_file_nor_token_file_nor_vault() {
    let folder = folder();
    fs::write(
        folder.path().join("token"),
        "0123456789abcdef0123456789abcdef",
    )
    .expect("written");
    Server::start(folder.path(), &["--publish-token-file", "token"]).terminate();
    // A program that takes the server's place and opens nothing, so whoever opens something is the
    // supervisor.
    let (program, other) = (folder.path().join("rekindle"), folder.path().join("other"));
    fs::copy(env!("CARGO_BIN_EXE_rekindle"), &program).expect("copied");
    fs::write(&other, "#!/bin/sh\nexit 1\n").expect("written");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).expect("set");
    let mut command = Command::new(&program);
    command
        .current_dir(folder.path())
        .env("REKINDLE_LOG_FORMAT", "text");
    // The first start needs the real one: what both open together is what the server opens.
    let watched = watch(folder.path());
    let supervisor = supervise_as(&mut command, &[], &["--publish-token-file", "token"]);
    assert!(openings(&watched) > 0, "the server opens them");
    fs::rename(&program, folder.path().join("kept")).expect("moved");
    fs::rename(&other, &program).expect("moved");
    let server = server_pid(&supervisor);
    signal(&server, "9");
    soon("it is gone", || !runs(&server));
    let watched = watch(folder.path());
    supervisor.wait_for_log("it is started again in 400 ms", 1);
    assert_eq!(openings(&watched), 0);
}

#[test]
fn datagrams_of_other_processes_do_not_make_a_server_look_alive() {
    let folder = folder();
    let supervisor = supervise(folder.path(), &["--watchdog", "1s"], &[]);
    let server = server_pid(&supervisor);
    let environment = fs::read_to_string(format!("/proc/{server}/environ"));
    // Only root may read it: the server's memory is closed to others.
    let Ok(environment) = environment else { return };
    let name = environment
        .split('\0')
        .find_map(|line| line.strip_prefix("NOTIFY_SOCKET=@"))
        .expect("a socket");
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(
            name,
        );
    let address = address.expect("an address");
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    signal(&server, "STOP");
    let deadline = Instant::now() + PATIENCE;
    while supervisor
        .log()
        .lines()
        .filter(|line| line.contains(UP))
        .count()
        < 2
    {
        assert!(Instant::now() < deadline, "a stranger keeps it alive");
        let _ = socket.send_to_addr(b"READY=1\nWATCHDOG=1\n", &address);
        sleep(Duration::from_millis(20));
    }
}
