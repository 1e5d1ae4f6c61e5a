//! `rekindle supervise`: holds both ports for as long as it lives, and starts the server again
//! whenever it ends. While no server runs, connections and datagrams wait in the kernel, and the
//! next server answers them: no client is refused.
//!
//! It speaks systemd's protocol to the server (sd_listen_fds(3), sd_notify(3)), so the server needs
//! to know nothing of a supervisor. It reads nothing from the ports, opens neither key file nor
//! vault, and reads only short messages of its own child.

mod attend;
mod child;
mod notices;
mod pace;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::EXIT_DRAINED;
use crate::server::Ports;
use crate::service::{self, Notifier};

use attend::{Attended, End};
use child::{Program, Server};
use notices::Notices;
use pace::Pace;

pub use child::step;

/// The exit code of a server whose configuration must change before another start can succeed.
const CONFIGURATION: u8 = 2;

/// Why supervising ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuperviseError {
    /// The server's program cannot be started.
    #[error("cannot start {}: {source}; is the file still there, and may it be \
             run?", path.display())]
    Program {
        /// The program.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a request.
    #[error("the system does not give what the supervisor needs ({what}): {source}")]
    System {
        /// What was requested.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// What is supervised, and how.
#[derive(Debug)]
pub struct Options {
    /// The server's program.
    pub program: PathBuf,
    /// Its arguments: `serve` and options.
    pub arguments: Vec<OsString>,
    /// A ready server that has not reported for this time that it is alive is ended; `None` for
    /// never.
    pub watchdog: Option<Duration>,
    /// Both ports.
    pub ports: Ports,
    /// This process's own service manager, if it has one.
    pub notifier: Notifier,
    /// What `rekindle demo` does differently; `None` for `rekindle supervise`.
    pub demo: Option<Demo>,
}

/// A supervisor of a demonstration: it kills the server when the server asks for it, and SIGHUP,
/// which a closed terminal sends, stops it.
#[derive(Debug)]
pub struct Demo {
    /// What is printed on standard output once the first server is up.
    pub greeting: String,
}

/// Runs until it is asked to stop (SIGTERM, SIGINT), or the server's first start ends because of
/// its configuration, or a server was drained. Returns the exit code of the last server. SIGHUP
/// stops the server and starts the program that is at the same path by then; SIGUSR1 is sent on to
/// the server as SIGHUP. To be called by the main thread.
///
/// # Errors
/// [`SuperviseError`] where the first server cannot even be started.
pub fn run(options: Options) -> Result<u8, SuperviseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| SuperviseError::System {
            what: "a runtime",
            source,
        })?;
    runtime.block_on(async {
        let mut supervisor = Supervisor::new(options).map_err(|source| SuperviseError::System {
            what: "signals and sockets",
            source,
        })?;
        supervisor.run().await
    })
}

struct Supervisor {
    program: Program,
    ports: Ports,
    notices: Notices,
    /// The supervisor's own manager.
    notifier: Notifier,
    signals: Signals,
    pace: Pace,
    /// Whether any server has been ready.
    was_ready: bool,
    demo: Option<Demo>,
    /// Whether the supervisor's manager was told that a new server takes over, and waits for it to
    /// be ready.
    reloading: bool,
    beat: Beat,
}

/// The signals that this process handles.
struct Signals {
    child: Signal,
    hangup: Maybe,
    reload: Signal,
    stop: StopSignals,
}

struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Maybe,
}

/// A signal that has this meaning in one of the two commands only.
struct Maybe(Option<Signal>);

impl Maybe {
    /// Completes when the signal arrives; never where it means something else.
    async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

impl Signals {
    /// `hangup_stops`: SIGHUP stops the supervisor, and does not replace the program.
    fn new(hangup_stops: bool) -> io::Result<Self> {
        let hangup = |wanted: bool| {
            let signal = wanted.then(|| signal(SignalKind::hangup()));
            signal.transpose().map(Maybe)
        };
        Ok(Self {
            child: signal(SignalKind::child())?,
            hangup: hangup(!hangup_stops)?,
            reload: signal(SignalKind::user_defined1())?,
            stop: StopSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: hangup(hangup_stops)?,
            },
        })
    }
}

impl StopSignals {
    /// Completes when this process is asked to stop.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = self.hangup.recv() => {}
        }
    }
}

impl Supervisor {
    fn new(options: Options) -> io::Result<Self> {
        Ok(Self {
            program: Program {
                path: options.program,
                arguments: options.arguments,
                watchdog: options.watchdog,
                demo: options.demo.is_some(),
            },
            ports: options.ports,
            notices: Notices::open()?,
            notifier: options.notifier,
            signals: Signals::new(options.demo.is_some())?,
            pace: Pace::default(),
            was_ready: false,
            demo: options.demo,
            reloading: false,
            beat: Beat(service::watchdog().map(|wait| tokio::time::interval(wait / 2))),
        })
    }

    async fn run(&mut self) -> Result<u8, SuperviseError> {
        let address = self.notices.address();
        loop {
            let ended = match self.program.start(&self.ports, &address) {
                Ok(server) => self.attend(server).await?,
                Err(source) if self.was_ready => {
                    tracing::error!("cannot start {}: {source}", self.program.path.display());
                    Attended {
                        end: End::NotStarted,
                        was_ready: false,
                    }
                }
                Err(source) => {
                    let path = self.program.path.clone();
                    return Err(SuperviseError::Program { path, source });
                }
            };
            let how = match ended.end {
                End::Asked(status) => return Ok(child::code(status)),
                End::Handover => continue,
                End::NotStarted => "it could not be started".to_owned(),
                End::ByItself(status) => {
                    if !self.was_ready && status.code() == Some(CONFIGURATION.into()) {
                        tracing::error!(
                            "the server's configuration does not let it start; its own message is \
                             above"
                        );
                        return Ok(CONFIGURATION);
                    }
                    if status.code() == Some(EXIT_DRAINED.into()) {
                        tracing::info!("the server was drained, so the supervisor ends too");
                        return Ok(EXIT_DRAINED);
                    }
                    child::words(status)
                }
            };
            let pause = self.pace.ended(Instant::now(), ended.was_ready);
            if pause.is_zero() {
                tracing::warn!(
                    "the server has ended ({how}); it is started again at once, and its ports stay \
                     open"
                );
                continue;
            }
            tracing::error!(
                "the server has ended ({how}), not for the first time; it is started again in {} \
                 ms, and its ports stay open",
                pause.as_millis()
            );
            self.notifier
                .status(&format!("the server goes on ending ({how})"));
            if self.waits(pause).await == Stopped::Yes {
                return Ok(0);
            }
        }
    }

    /// Waits before the next start; SIGHUP ends the wait.
    async fn waits(&mut self, pause: Duration) -> Stopped {
        let pause = tokio::time::sleep(pause);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return Stopped::No,
                () = self.signals.hangup.recv() => return Stopped::No,
                () = self.signals.stop.next() => {
                    self.notifier.stopping();
                    return Stopped::Yes;
                }
                () = self.beat.next() => self.notifier.alive(),
            }
        }
    }

    /// The server is ready.
    fn is_up(&mut self, server: &Server, reloaded: bool, status: &str) {
        tracing::info!(
            pid = server.pid(),
            "the server is up after {} ms",
            server.started.elapsed().as_millis()
        );
        if reloaded || !self.was_ready {
            self.notifier.ready(status);
        } else {
            self.notifier.status(status);
        }
        if let Some(demo) = self.demo.as_ref().filter(|_| !self.was_ready) {
            let mut out = io::stdout().lock();
            // Nobody needs to read it: a closed pipe is no reason to stop.
            let _ = out
                .write_all(demo.greeting.as_bytes())
                .and_then(|()| out.flush());
        }
        self.was_ready = true;
    }
}

/// Whether the supervisor was asked to stop.
#[derive(PartialEq, Eq)]
enum Stopped {
    Yes,
    No,
}

/// How often the supervisor's own manager wants a sign of life. The server's life is the
/// supervisor's responsibility.
struct Beat(Option<tokio::time::Interval>);

impl Beat {
    async fn next(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }
}
