//! A real server in a folder of its own, on ports that the system chose.
#![allow(dead_code)] // Not every test file needs all of it.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Nothing here takes long; what takes this long hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const PUBLISH: &str = include_str!("../../crates/sdp/src/testdata/chromium-156-publish.sdp");
pub const WATCH: &str = include_str!("../../crates/sdp/src/testdata/firefox-153-watch.sdp");

/// Waits until it is so.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program, in this folder, with nothing of ours in its environment.
pub fn rekindle(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekindle"));
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REKINDLE_") {
            command.env_remove(name);
        }
    }
    // What the tests look for in a log is written for people.
    command.env("REKINDLE_LOG_FORMAT", "text");
    command
}

/// Runs the program to its end.
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .expect("the program runs")
}

/// What the program said on standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends a process a signal by its name.
pub fn signal(process: impl Display, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success(), "{name} to {process}");
}

/// Runs the program to its end: exit code 2, one line that says all of `parts` (besides what it
/// logs meanwhile), and nothing on disk touched.
#[track_caller]
pub fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let before = tree(folder);
    let output = output(rekindle(folder).args(arguments));
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(
        said.lines().filter(|line| !line.contains(" INFO ")).count(),
        1,
        "{said}"
    );
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    assert!(tree(folder) == before, "the disk was touched");
}

/// Every file below a folder: path, and content with its mode.
pub fn tree(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    use std::os::unix::fs::PermissionsExt;
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            let content = if meta.is_file() {
                fs::read(&path).expect("readable")
            } else {
                Vec::new()
            };
            if meta.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, meta.permissions().mode(), content));
        }
    }
    found.sort();
    found
}

/// A server that runs. Killed when dropped; then the auditor and the independent decoder must agree
/// on what it has left, where they can both look: whatever a test did to a vault, they say the same
/// of it.
pub struct Server {
    child: Child,
    /// Where it runs.
    folder: PathBuf,
    /// Another process goes on with its vault at once.
    comes_back: bool,
    /// What it announced.
    pub ready: Value,
    log: mpsc::Receiver<String>,
    log_so_far: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a server in a folder, with these further options.
    pub fn start(folder: &Path, options: &[&str]) -> Self {
        Self::start_as(rekindle(folder).args(options))
    }

    /// Starts a server by a command to which ports and the announcement are added.
    pub fn start_as(command: &mut Command) -> Self {
        Self::announced(command.args(["--http", "127.0.0.1:0", "--udp", "127.0.0.1:0"]))
    }

    /// kill -9, and a new process by a command to which the same ports and the announcement are
    /// added.
    pub fn kill_and_start_again_as(mut self, command: &mut Command) -> Self {
        let (http, media) = (self.http().to_string(), self.media().to_string());
        self.comes_back = true;
        self.kill();
        Self::announced(command.args(["--http", &http, "--udp", &media]))
    }

    /// Starts a server by this command as it is. `Err` with what it said, if it ends before it has
    /// announced itself.
    pub fn try_start_as(command: &mut Command) -> Result<Self, String> {
        let mut child = command
            .args(["--announce", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let (sender, log) = mpsc::channel();
        let stderr = child.stderr.take().expect("a pipe");
        let log_so_far = Arc::new(Mutex::new(String::new()));
        let so_far = log_so_far.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut text = so_far.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
            let text = so_far
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let _ = sender.send(text);
        });
        let stdout = child.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let Ok(ready) = serde_json::from_str(&line) else {
            let _ = child.kill();
            let _ = child.wait();
            let said = log.recv_timeout(PATIENCE).unwrap_or_default();
            return Err(format!("announced {line:?}, and said: {said}"));
        };
        Ok(Self {
            child,
            folder: command.get_current_dir().unwrap_or(Path::new(".")).into(),
            comes_back: false,
            ready,
            log,
            log_so_far,
        })
    }

    #[track_caller]
    fn announced(command: &mut Command) -> Self {
        Self::try_start_as(command).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits until the process ends by itself. Returns its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn http(&self) -> SocketAddr {
        self.ready["http"]
            .as_str()
            .expect("text")
            .parse()
            .expect("an address")
    }

    pub fn media(&self) -> SocketAddr {
        self.ready["media"]
            .as_str()
            .expect("text")
            .parse()
            .expect("an address")
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log_so_far
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until so many lines of the log have this in them.
    #[track_caller]
    pub fn wait_for_log(&self, part: &str, lines: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self
            .log()
            .lines()
            .filter(|line| line.contains(part))
            .count()
            < lines
        {
            assert!(
                Instant::now() < deadline,
                "{part:?} is not in {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Asks the server to stop. Returns its exit code and its log.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (
                    status.code(),
                    self.log.recv_timeout(PATIENCE).expect("the log's end"),
                );
            }
            assert!(Instant::now() < deadline, "the server does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    pub fn get(&self, path: &str) -> Response<Body> {
        agent().get(self.url(path)).call().expect("an answer")
    }

    /// `None` where the server dies meanwhile.
    pub fn try_delete(&self, path: &str) -> Option<Response<Body>> {
        agent().delete(self.url(path)).call().ok()
    }

    /// `None` where the server dies meanwhile.
    pub fn try_offer(&self, path: &str, sdp: &str) -> Option<Response<Body>> {
        let request = agent()
            .post(self.url(path))
            .header("content-type", "application/sdp");
        request.send(sdp.as_bytes()).ok()
    }

    pub fn delete(&self, path: &str) -> Response<Body> {
        agent().delete(self.url(path)).call().expect("an answer")
    }

    /// The same with a token.
    pub fn delete_as(&self, path: &str, token: &str) -> Response<Body> {
        let request = agent().delete(self.url(path));
        let shown = format!("Bearer {token}");
        request
            .header("authorization", &shown)
            .call()
            .expect("an answer")
    }

    /// Posts an offer.
    pub fn offer(&self, path: &str, sdp: &str) -> Response<Body> {
        self.post(path, &[("content-type", "application/sdp")], sdp.as_bytes())
    }

    /// The same with a token.
    pub fn offer_as(&self, path: &str, sdp: &str, token: &str) -> Response<Body> {
        let shown = format!("Bearer {token}");
        let headers = [
            ("content-type", "application/sdp"),
            ("authorization", &shown),
        ];
        self.post(path, &headers, sdp.as_bytes())
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Body> {
        let mut request = agent().post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).expect("an answer")
    }

    /// Starts a session and returns its path.
    pub fn join(&self, path: &str, sdp: &str) -> String {
        let mut answer = self.offer(path, sdp);
        assert_eq!(answer.status(), 201, "{}", text(&mut answer));
        header(&answer, "location").to_owned()
    }

    /// Opens a session's event stream.
    pub fn events(&self, path: &str) -> Events {
        let answer = self.get(path);
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "content-type"), "text/event-stream");
        Events {
            lines: Box::new(BufReader::new(answer.into_body().into_reader())),
        }
    }

    /// Opens one event stream for several sessions, by their paths.
    pub fn events_of(&self, sessions: &[&str]) -> Events {
        let ids: Vec<&str> = sessions
            .iter()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        let answer = self.post(
            "/events",
            &[("content-type", "text/plain")],
            ids.join("\n").as_bytes(),
        );
        assert_eq!(answer.status(), 200);
        assert_eq!(header(&answer, "content-type"), "text/event-stream");
        Events {
            lines: Box::new(BufReader::new(answer.into_body().into_reader())),
        }
    }

    /// Sends bytes as they are and reads until the server closes. Empty where it closed without
    /// reading all, and the answer was lost.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.http()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        assert!(
            end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
            "the server hangs"
        );
        String::from_utf8(answer).expect("text")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !self.comes_back && !std::thread::panicking() {
            auditor_and_decoder_agree(&self.folder);
        }
    }
}

/// On the vault in this folder, by the names that the program gives: if there is one, the key file
/// opens it, and nobody is using it.
#[track_caller]
pub fn auditor_and_decoder_agree(folder: &Path) {
    const VAULT: [&str; 2] = ["rekindle-state", "rekindle-key.txt"];
    let [vault, key] = VAULT.map(|name| folder.join(name));
    if !vault.exists() || !key.exists() {
        return;
    }
    let audited =
        output(rekindle(folder).args(["audit", VAULT[0], "--key-file", VAULT[1], "--json"]));
    if audited.status.code() == Some(2) {
        return;
    }
    let report: Value = serde_json::from_slice(&audited.stdout).expect("JSON");
    if report["vault"]["lock"] != "held" {
        rekindle_testing::agreement::must_agree(
            &report,
            &key,
            &vault,
            cfg!(feature = "full-state"),
        );
    }
}

pub fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

pub fn header<'a>(answer: &'a Response<Body>, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

pub fn text(answer: &mut Response<Body>) -> String {
    answer.body_mut().read_to_string().expect("a body")
}

pub fn json(answer: &mut Response<Body>) -> Value {
    serde_json::from_str(&text(answer)).expect("JSON")
}

/// Checks that an answer is a readable problem with this status and name.
pub fn assert_problem(mut answer: Response<Body>, status: u16, name: &str) {
    assert_eq!(answer.status(), status);
    assert_eq!(header(&answer, "content-type"), "application/problem+json");
    let body = json(&mut answer);
    assert_eq!(
        body["type"],
        format!("urn:rekindle:problem:{name}"),
        "{body}"
    );
    assert_eq!(body["status"], status);
    assert!(
        body["title"]
            .as_str()
            .is_some_and(|title| !title.is_empty()),
        "{body}"
    );
    assert!(
        body["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty()),
        "{body}"
    );
}

/// A session's event stream.
pub struct Events {
    lines: Box<dyn BufRead + Send>,
}

impl Events {
    /// The same, and before it the session that it is of.
    pub fn next_of(&mut self) -> Option<(String, String, Value)> {
        let mut line = String::new();
        while !line.starts_with("session: ") {
            line.clear();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
        }
        let session = line["session: ".len()..].trim_end().to_owned();
        let (name, data) = self.next()?;
        Some((session, name, data))
    }

    /// The next event and its data; `None` once the stream has ended, however it did.
    pub fn next(&mut self) -> Option<(String, Value)> {
        let mut name = String::new();
        let mut data = Value::Null;
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap_or(0) == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data = serde_json::from_str(value).expect("JSON"),
                _ if line == "\n" && !name.is_empty() => return Some((name, data)),
                _ => {}
            }
        }
    }
}
