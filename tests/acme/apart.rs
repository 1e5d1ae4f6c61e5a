//! A network and files of a test's own, where ports have their true numbers.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::running::until;

/// Set in the process that has a network of its own.
const INSIDE: &str = "TEST_INSIDE";
const PROGRAMS: [&str; 4] = ["pebble", "pebble-challtestsrv", "unshare", "ip"];

/// Runs a test, by its name, in a network and with mounts of its own.
pub fn apart(name: &str, test: impl FnOnce(&Path)) {
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
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program, which is ready once something listens at this port.
pub fn start(command: &mut Command, port: &str) -> Running {
    let running = Running(command.stdout(Stdio::null()).spawn().expect("it starts"));
    until("it listens", || TcpStream::connect(port).is_ok());
    running
}
