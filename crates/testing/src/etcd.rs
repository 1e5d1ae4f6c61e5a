//! Real etcd processes on the loopback, and `etcdctl` as a witness that shares no code with ours.

use std::io::{self, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// CI machines are slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name that stands for all members of a cluster.
const TOKEN: &str = "rekindle-test";

/// An etcd of one or more members. Its processes end with it.
pub struct Etcd {
    members: Vec<Member>,
    arguments: Vec<String>,
    scheme: &'static str,
    /// Additional arguments for `etcdctl`, such as certificates.
    pub control: Vec<String>,
    dir: tempfile::TempDir,
}

struct Member {
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Etcd {
    /// One member, ready. It has no other members to wait for, so that it elects itself at once.
    pub fn start() -> Self {
        Self::start_with(&["--heartbeat-interval=20", "--election-timeout=200"])
    }

    /// One member with more arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::cluster(1, arguments)
    }

    /// Several members with etcd's default settings, ready.
    pub fn start_members(count: usize) -> Self {
        Self::cluster(count, &[])
    }

    /// One member that speaks TLS: arguments that name its certificates, and those that `etcdctl`
    /// needs.
    pub fn start_tls(arguments: &[&str], control: &[&str]) -> Self {
        let mut etcd = Self::new(1, arguments);
        etcd.scheme = "https";
        etcd.control = control.iter().map(|&text| text.to_owned()).collect();
        etcd.start_all();
        etcd
    }

    fn cluster(count: usize, arguments: &[&str]) -> Self {
        let mut etcd = Self::new(count, arguments);
        etcd.start_all();
        etcd
    }

    fn new(count: usize, arguments: &[&str]) -> Self {
        // All at once, so that no port is used twice.
        let ports: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect();
        let port = |at: usize| ports[at].local_addr().expect("an address").port();
        let member = |at: usize| Member {
            client: port(2 * at),
            peer: port(2 * at + 1),
            process: None,
        };
        Self {
            members: (0..count).map(member).collect(),
            arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
            scheme: "http",
            control: Vec::new(),
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn start_all(&mut self) {
        for at in 0..self.members.len() {
            self.start_member(at);
        }
        for at in 0..self.members.len() {
            self.wait_ready(at);
        }
    }

    /// Starts a stopped member with its data.
    pub fn start_member(&mut self, at: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let all: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(at, member): (usize, _)| format!("m{at}={}", url(member.peer)))
            .collect();
        let member = &mut self.members[at];
        let client = format!("{}://127.0.0.1:{}", self.scheme, member.client);
        let log = std::fs::File::create(self.dir.path().join(format!("m{at}.log"))).expect("a log");
        let mut command = Command::new("etcd");
        command
            .args([
                &format!("--name=m{at}"),
                "--logger=zap",
                "--log-level=error",
            ])
            .arg(format!(
                "--data-dir={}",
                self.dir.path().join(format!("m{at}")).display()
            ))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={}", url(member.peer)))
            .arg(format!(
                "--initial-advertise-peer-urls={}",
                url(member.peer)
            ))
            .arg(format!("--initial-cluster={}", all.join(",")))
            .arg(format!("--initial-cluster-token={TOKEN}"))
            .args(&self.arguments)
            // etcd requires this on other platforms than x86-64.
            .env(
                "ETCD_UNSUPPORTED_ARCH",
                std::env::consts::ARCH.replace("aarch64", "arm64"),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        member.process = Some(command.spawn().unwrap_or_else(|error| {
            panic!("etcd does not start ({error}): install etcd-server and etcd-client")
        }));
    }

    /// Waits until a member answers.
    pub fn wait_ready(&mut self, at: usize) {
        let start = Instant::now();
        loop {
            if self.control_of(at, &["get", "ready"]).is_ok() {
                return;
            }
            let process = self.members[at].process.as_mut().expect("started");
            let ended = process.try_wait().expect("looked at");
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "etcd is not ready ({ended:?}): {}",
                std::fs::read_to_string(self.dir.path().join(format!("m{at}.log")))
                    .unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Members as `host:port`.
    pub fn hosts(&self) -> Vec<String> {
        let host = |member: &Member| format!("127.0.0.1:{}", member.client);
        self.members.iter().map(host).collect()
    }

    /// `etcd://.../prefix`.
    pub fn address(&self, prefix: &str) -> String {
        let scheme = self.scheme.replace("http", "etcd");
        format!("{scheme}://{}/{prefix}", self.hosts().join(","))
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, at: usize) {
        let mut process = self.members[at].process.take().expect("it runs");
        process.kill().expect("killed");
        process.wait().expect("ended");
    }

    /// Stops a member with SIGSTOP: its connections stay, and nothing is answered.
    pub fn pause(&self, at: usize) {
        let process = self.members[at].process.as_ref().expect("it runs");
        pause(process);
    }

    /// Continues a member with SIGCONT.
    pub fn resume(&self, at: usize) {
        let process = self.members[at].process.as_ref().expect("it runs");
        resume(process);
    }

    /// The present leader.
    pub fn leader(&self) -> usize {
        let start = Instant::now();
        loop {
            let leads = |at: &usize| {
                let status = self.control_of(*at, &["endpoint", "status", "-w", "fields"]);
                let status = String::from_utf8(status.unwrap_or_default()).expect("text");
                let field = |name: &str| {
                    let line = status.lines().find(|line| line.starts_with(name));
                    line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
                };
                let own = field("\"MemberID\"");
                own.is_some() && own == field("\"Leader\"")
            };
            if let Some(leader) = (0..self.members.len()).find(leads) {
                return leader;
            }
            assert!(start.elapsed() < PATIENCE, "no member leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs `etcdctl` against all members; returns its output.
    ///
    /// # Panics
    /// If it fails.
    pub fn control(&self, arguments: &[&str]) -> Vec<u8> {
        self.try_control(&self.hosts().join(","), arguments)
            .unwrap_or_else(|error| panic!("etcdctl {arguments:?}: {error}"))
    }

    fn control_of(&self, at: usize, arguments: &[&str]) -> io::Result<Vec<u8>> {
        self.try_control(&self.hosts()[at], arguments)
    }

    fn try_control(&self, hosts: &str, arguments: &[&str]) -> io::Result<Vec<u8>> {
        let output = Command::new("etcdctl")
            .arg(format!("--endpoints={hosts}"))
            .args(["--dial-timeout=5s", "--command-timeout=5s"])
            .args(&self.control)
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::null())
            .output()?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// A key's value, byte for byte.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        let mut value = self.control(&["get", key, "--print-value-only"]);
        // It prints a line break after each value.
        let there = value.pop().is_some();
        there.then_some(value)
    }

    /// Sets a key to a value, which may be any bytes.
    pub fn put(&self, key: &str, value: &[u8]) {
        let file = self.dir.path().join("value");
        std::fs::write(&file, value).expect("written");
        // Binary values are passed on standard input.
        let output = Command::new("sh")
            .arg("-c")
            .arg("exec etcdctl \"$@\" <\"$0\"")
            .arg(&file)
            .arg(format!("--endpoints={}", self.hosts().join(",")))
            .args(&self.control)
            .args(["put", key])
            .env("ETCDCTL_API", "3")
            .output()
            .expect("etcdctl runs");
        assert!(output.status.success(), "{output:?}");
    }

    /// All keys below a prefix.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let text = self.control(&["get", prefix, "--prefix", "--keys-only"]);
        let text = String::from_utf8(text).expect("names");
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// Every value that any key below a prefix has had, the oldest first: what etcd keeps until it
    /// is compacted.
    ///
    /// # Panics
    /// If `etcdctl` does not run.
    pub fn history(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        // All is there once this is.
        let end = format!("{prefix}end-of-history");
        self.put(&end, b"end");
        let mut watch = Command::new("etcdctl")
            .arg(format!("--endpoints={}", self.hosts().join(",")))
            .args(&self.control)
            .args(["watch", prefix, "--prefix", "--rev=1"])
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl runs");
        let mut out = watch.stdout.take().expect("a pipe");
        let (mut text, last) = (Vec::new(), format!("\nPUT\n{end}\n"));
        while text.windows(last.len()).rev().all(|w| w != last.as_bytes()) {
            let mut part = [0; 65_536];
            let length = out.read(&mut part).expect("read");
            assert!(length > 0, "etcdctl ends");
            text.extend_from_slice(&part[..length]);
        }
        let _ = watch.kill();
        let _ = watch.wait();
        // Each event begins with its kind and a key, which begins with the prefix.
        let starts: Vec<usize> = (0..text.len())
            .filter(|&at| at == 0 || text[at - 1] == b'\n')
            .filter(|&at| {
                let after = |kind: &str| text[at..].strip_prefix(kind.as_bytes());
                let key = after("PUT\n").or_else(|| after("DELETE\n"));
                key.is_some_and(|key| key.starts_with(prefix.as_bytes()))
            })
            .collect();
        let event = |bounds: &[usize]| {
            let event = text[bounds[0]..bounds[1]].strip_prefix(b"PUT\n")?;
            let length = event.iter().position(|&b| b == b'\n')?;
            let (key, value) = event.split_at(length);
            let value = value.strip_prefix(b"\n")?.strip_suffix(b"\n")?;
            Some((String::from_utf8(key.to_vec()).ok()?, value.to_vec()))
        };
        starts.windows(2).filter_map(event).collect()
    }

    /// A folder that is gone with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for process in self.members.iter_mut().filter_map(|m| m.process.as_mut()) {
            // It may have ended by itself, and nothing can be done about it here.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Sends SIGSTOP. When this returns, none of its threads runs any more.
///
/// # Panics
/// If they continue nevertheless.
pub fn pause(process: &Child) {
    signal(process, Signal::STOP);
    let start = Instant::now();
    while !is_stopped(process) {
        assert!(start.elapsed() < PATIENCE, "a stopped process runs");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether all threads are stopped, as Linux says it (proc(5), `/proc/PID/task/TID/stat`).
fn is_stopped(process: &Child) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).expect("it is there");
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // Its name, in parentheses, may contain any character.
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_none_or(|state| state.starts_with('T'))
    })
}

/// Sends SIGCONT.
pub fn resume(process: &Child) {
    signal(process, Signal::CONT);
}

fn signal(process: &Child, signal: Signal) {
    kill_process(Pid::from_child(process), signal).expect("a signal to a process of ours");
}
