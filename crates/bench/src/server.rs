//! The server under test, as a child process that is killed and started again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::children;
use super::error::BenchError;
use super::steps::{self, Steps};

/// A start that takes this long has failed.
const START_TIME: Duration = Duration::from_secs(20);
/// How many lines of a server's log are kept, for a report if it fails.
const KEPT_LINES: usize = 12;
/// The options of a server that are the same in all runs.
const OPTIONS: [&str; 10] = [
    "serve",
    "--announce=json",
    "--log-format=json",
    "--log=warn,rekindle::resume=trace",
    // All clients come from one address here.
    "--join-rate=0",
    "--max-sessions-per-address=0",
    "--state-dir=state",
    "--key-file=key.txt",
    "--advertise=127.0.0.1",
    "--resume-window=60s",
];

/// See the module.
pub(crate) struct Server {
    program: PathBuf,
    /// A folder of its own, removed at the end.
    folder: tempfile::TempDir,
    options: Vec<String>,
    addresses: Option<(SocketAddr, SocketAddr)>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    spawned: Instant,
    ready: mpsc::Receiver<Value>,
    log: mpsc::Receiver<Value>,
    steps: Steps,
    last_lines: Vec<String>,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    /// CPU time of all its threads that still run.
    pub cpu: Duration,
    /// Most memory that was resident, in bytes.
    pub resident: u64,
}

impl Server {
    /// A server that has not been started yet. `parent`: where its folder is made, if not in the
    /// system's folder for temporary files; `more`: options in addition to those of all runs.
    ///
    /// # Errors
    /// Where there is no room for its folder, or no key file can be made.
    pub(super) fn new(
        program: &Path,
        parent: Option<&Path>,
        more: &[String],
    ) -> Result<Self, BenchError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("rekindle-bench-");
        let folder = match parent {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        }
        .map_err(BenchError::system("cannot make a temporary folder"))?;
        rekindle::vault::KeyFile::generate(&folder.path().join("key.txt"))
            .map_err(|error| BenchError::Server(error.to_string()))?;
        children::keep_folder(folder.path());
        let options = OPTIONS
            .iter()
            .map(ToString::to_string)
            .chain(more.iter().cloned());
        Ok(Self {
            program: program.to_owned(),
            options: options.collect(),
            folder,
            addresses: None,
            running: None,
        })
    }

    /// The process that runs.
    pub(super) fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    /// Where HTTP listens.
    pub(super) fn http(&self) -> Option<SocketAddr> {
        self.addresses.map(|(http, _)| http)
    }

    /// Where media is received.
    pub(super) fn media(&self) -> Option<SocketAddr> {
        self.addresses.map(|(_, media)| media)
    }

    /// The key file.
    pub(super) fn key_file(&self) -> PathBuf {
        self.folder.path().join("key.txt")
    }

    /// The vault.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts a process; does not wait until it is ready. Returns when it was started.
    ///
    /// # Errors
    /// Where the program cannot be run.
    pub(super) fn spawn(&mut self) -> Result<Instant, BenchError> {
        let mut command = Command::new(&self.program);
        command.current_dir(self.folder.path()).args(&self.options);
        // What the environment would set is not part of the run.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REKINDLE_") {
                command.env_remove(name);
            }
        }
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (http, media) = self.addresses.unwrap_or((any, any));
        command.args([format!("--http={http}"), format!("--udp={media}")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let spawned = Instant::now();
        let mut child = children::spawn(&mut command, false)
            .map_err(BenchError::system("cannot start a server"))?;
        let (ready, readied) = mpsc::channel();
        let (log, logged) = mpsc::channel();
        if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
            std::thread::spawn(move || pass_on(out, &ready));
            std::thread::spawn(move || pass_on(err, &log));
        }
        self.running = Some(Running {
            child,
            spawned,
            ready: readied,
            log: logged,
            steps: Steps::new(),
            last_lines: Vec::new(),
        });
        Ok(spawned)
    }

    /// Waits until the started process is ready.
    ///
    /// # Errors
    /// Where it ends or hangs instead.
    pub(super) fn wait_until_up(&mut self) -> Result<(), BenchError> {
        let Some(running) = &mut self.running else {
            return Err(BenchError::Server("it was not started".to_owned()));
        };
        let Ok(ready) = running.ready.recv_timeout(START_TIME) else {
            running.read_log();
            return Err(BenchError::Server(running.last_lines.join(" / ")));
        };
        let address = |name: &str| ready[name].as_str().and_then(|text| text.parse().ok());
        self.addresses = address("http").zip(address("media"));
        Ok(())
    }

    /// Kills the process with SIGKILL, and waits until it has ended. Returns when it was killed.
    pub(super) fn kill(&mut self) -> Instant {
        let at = Instant::now();
        if let Some(mut running) = self.running.take() {
            children::kill(&mut running.child);
        }
        at
    }

    /// Removes all peers' records, like a server that keeps nothing. Only while no process runs.
    pub(super) fn forget_peers(&self) {
        let Ok(files) = fs::read_dir(self.state().join("peers")) else {
            return;
        };
        for file in files.flatten() {
            let _ = fs::remove_file(file.path());
        }
    }

    /// The steps that the process has reported so far.
    pub(super) fn steps(&mut self) -> Steps {
        let Some(running) = &mut self.running else {
            return Steps::new();
        };
        running.read_log();
        let mut reached = running.steps.clone();
        reached.insert("spawn".to_owned(), vec![steps::unix_us(running.spawned)]);
        reached
    }

    /// Warnings and errors that the process has logged.
    pub(super) fn complaints(&mut self) -> Vec<String> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        running.read_log();
        running.last_lines.clone()
    }

    /// What the process has used so far; zero where the system does not report it.
    pub(super) fn used(&self) -> Used {
        let Some(running) = &self.running else {
            return Used::default();
        };
        let folder = PathBuf::from(format!("/proc/{}", running.child.id()));
        let threads = fs::read_dir(folder.join("task"))
            .into_iter()
            .flatten()
            .flatten();
        let nanoseconds = threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
            .filter_map(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let cpu = Duration::from_nanos(nanoseconds.sum());
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let resident = status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmHWM:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .trim()
                    .parse::<u64>()
                    .ok()
            })
            .unwrap_or_default()
            * 1024;
        Used { cpu, resident }
    }

    /// How many threads the process runs.
    pub(super) fn threads(&self) -> usize {
        let Some(running) = &self.running else {
            return 0;
        };
        fs::read_dir(format!("/proc/{}/task", running.child.id())).map_or(0, Iterator::count)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        children::forget_folder(self.folder.path());
    }
}

impl Running {
    fn read_log(&mut self) {
        while let Ok(line) = self.log.try_recv() {
            if line["target"] == steps::TARGET {
                steps::read(&line, &mut self.steps);
            } else {
                let said = line["message"]
                    .as_str()
                    .map_or_else(|| line.to_string(), ToOwned::to_owned);
                self.last_lines.push(said);
                let surplus = self.last_lines.len().saturating_sub(KEPT_LINES);
                self.last_lines.drain(..surplus);
            }
        }
    }
}

/// Passes lines on; one that is no JSON as text.
fn pass_on(from: impl std::io::Read, to: &mpsc::Sender<Value>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
        if to.send(value).is_err() {
            return;
        }
    }
}
