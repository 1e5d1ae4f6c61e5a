//! The server as a child process: with both ports as its descriptors 3 and 4, in systemd's way.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal};

use crate::server::Ports;
use crate::service::DEMO;
use crate::service::sockets::{FIRST, HTTP, ICE_TCP, MEDIA};

/// The argument that makes `rekindle` the step between fork and server; see [`step`].
const STEP: &str = "__supervised";

/// The step's exit code where the server's program cannot be started, as a shell's.
const NOT_STARTED: u8 = 127;

/// What is started.
#[derive(Debug)]
pub(super) struct Program {
    /// The path, resolved at each start: after an upgrade it is the new version.
    pub path: PathBuf,
    /// `serve` and its options.
    pub arguments: Vec<OsString>,
    /// How long the server may be silent.
    pub watchdog: Option<Duration>,
    /// Whether it is the server of a demonstration.
    pub demo: bool,
}

/// A server that was started.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub started: Instant,
}

impl Program {
    /// Starts the server. To be called by the main thread, which lives as long as the supervisor:
    /// the kernel ends the server with it.
    pub(super) fn start(&self, ports: &Ports, notify: &str) -> io::Result<Server> {
        let mut names = vec![HTTP, MEDIA];
        let mut sockets: Vec<OwnedFd> = vec![
            ports.http.try_clone()?.into(),
            ports.media.try_clone()?.into(),
        ];
        if let Some(ice_tcp) = &ports.ice_tcp {
            names.push(ICE_TCP);
            sockets.push(ice_tcp.try_clone()?.into());
        }
        let mut command = Command::new(&self.path);
        command
            .args([
                OsStr::new(STEP),
                OsStr::new(&std::process::id().to_string()),
            ])
            .arg(&self.path)
            .args(&self.arguments)
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", notify)
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID")
            .env_remove(DEMO);
        if self.demo {
            for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
                command.env_remove(name);
            }
            command.env(DEMO, "1");
        }
        match self.watchdog {
            Some(wait) => command.env("WATCHDOG_USEC", wait.as_micros().to_string()),
            None => command.env_remove("WATCHDOG_USEC"),
        };
        let mapping = |(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        };
        command
            .fd_mappings(sockets.into_iter().zip(FIRST..).map(mapping).collect())
            .map_err(io::Error::other)?;
        let started = Instant::now();
        Ok(Server {
            child: command.spawn()?,
            started,
        })
    }

    /// Starts the program only to see whether it can be started.
    pub(super) fn probe(&self) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.arg("--version").stdout(std::process::Stdio::null());
        command.spawn()
    }
}

impl Server {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        // A child that has not been waited for keeps its number, so that no other process can be
        // meant. One that has ended needs no signal.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Its exit status, if it has ended.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

/// Whether a variable of the environment is a setting of `serve`. A demonstration has its own, but
/// for the folder of a page that somebody works on.
fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("REKINDLE_") && name != "REKINDLE_STATIC_DIR"
}

/// An exit status as an exit code, as shells have it.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// An exit status in words.
pub(super) fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown cause".to_owned(),
    }
}

/// The step between fork and server, if this process is one: it asks the kernel to end it together
/// with its supervisor, sets `LISTEN_PID` to its own number, which is unknown before the fork, and
/// becomes the server. `None` if it is no such step.
pub fn step() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != *STEP {
        return None;
    }
    Some(match become_server(arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("rekindle: the supervised server cannot be started: {error}");
            ExitCode::from(NOT_STARTED)
        }
    })
}

fn become_server(
    mut arguments: impl Iterator<Item = OsString>,
) -> io::Result<std::convert::Infallible> {
    let missing = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "this command is for `rekindle supervise` only",
        )
    };
    let supervisor = arguments.next().ok_or_else(missing)?;
    let program = arguments.next().ok_or_else(missing)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the kernel was asked.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
    if supervisor.to_str() != parent.as_deref() {
        return Err(io::Error::other("its supervisor is gone"));
    }
    let me = std::process::id().to_string();
    let mut command = Command::new(&program);
    command.args(arguments).env("LISTEN_PID", &me);
    if std::env::var_os("WATCHDOG_USEC").is_some() {
        command.env("WATCHDOG_PID", &me);
    }
    Err(command.exec())
}
