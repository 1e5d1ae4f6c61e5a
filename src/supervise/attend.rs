//! The life of one server, from its start to its end.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::Server;
use super::{SuperviseError, Supervisor};

/// A server that is not ready after this time is ended.
const START: Duration = Duration::from_secs(60);
/// A server that was asked to stop is ended after this time; it needs less than two seconds itself.
const STOP: Duration = Duration::from_secs(5);
/// A program that takes longer than this to print its version cannot be started.
const PROBE: Duration = Duration::from_secs(5);

/// How a server ended.
pub(super) struct Attended {
    pub end: End,
    /// Whether it was ready.
    pub was_ready: bool,
}

pub(super) enum End {
    /// It ended because the supervisor is to stop.
    Asked(ExitStatus),
    /// It ended for the next one to start.
    Handover,
    ByItself(ExitStatus),
    /// It could not be started.
    NotStarted,
}

/// What the server has been asked to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Handover,
    Stop,
}

impl Supervisor {
    /// Follows a server until it has ended.
    pub(super) async fn attend(&mut self, mut server: Server) -> Result<Attended, SuperviseError> {
        let lost = |source| SuperviseError::System {
            what: "news of the server",
            source,
        };
        let (mut asked, mut was_ready) = (Asked::Nothing, false);
        // The supervisor's own manager was told that a new program is being started.
        let mut reloading = std::mem::take(&mut self.reloading);
        let mut deadline = Some(Deadline::new(START, "it is not up after"));
        let mut probe: Option<(Child, Instant)> = None;
        loop {
            let due = deadline.as_ref().map(|deadline| deadline.at);
            let probed = probe.as_ref().map(|(_, started)| *started + PROBE);
            tokio::select! {
                notice = self.notices.next(server.pid()) => {
                    let notice = notice.map_err(lost)?;
                    if notice.kill && self.demo.is_some() {
                        server.signal(Signal::KILL);
                    }
                    let status = notice.status.as_deref().unwrap_or_default();
                    if notice.ready && !was_ready {
                        was_ready = true;
                        self.is_up(&server, std::mem::take(&mut reloading), status);
                    } else if !status.is_empty() {
                        self.notifier.status(status);
                    }
                    if asked == Asked::Nothing && (notice.ready || notice.alive) {
                        let why = "it has not said that it is alive for";
                        deadline = self.program.watchdog.map(|wait| Deadline::new(wait, why));
                    }
                }
                _ = self.signals.child.recv() => {
                    if let Some(status) = server.ended().map_err(lost)? {
                        // Its last message may have arrived together with its end.
                        while let Some(notice) = self.notices.waiting(server.pid()).map_err(lost)? {
                            was_ready |= notice.ready;
                        }
                        self.was_ready |= was_ready;
                        self.reloading = asked == Asked::Handover || reloading;
                        let end = match asked {
                            Asked::Stop => End::Asked(status),
                            Asked::Handover => End::Handover,
                            Asked::Nothing => End::ByItself(status),
                        };
                        return Ok(Attended { end, was_ready });
                    }
                    if let Some((child, _)) = &mut probe
                        && let Some(status) = child.try_wait().map_err(lost)?
                    {
                        probe = None;
                        if status.success() && asked == Asked::Nothing {
                            tracing::info!("the server hands its ports over to a new one");
                            self.notifier.reloading();
                            asked = Asked::Handover;
                            server.signal(Signal::TERM);
                            deadline = Some(Deadline::new(STOP, "it has not stopped after"));
                        } else if !status.success() {
                            tracing::error!(
                                "the program {} does not say its version ({}), so the server goes \
                                 on; put a working one there, and send SIGHUP again",
                                self.program.path.display(), super::child::words(status)
                            );
                        }
                    }
                }
                // The signal waits until the server is ready.
                () = self.signals.hangup.recv(),
                    if was_ready && asked == Asked::Nothing && probe.is_none() => match self.program.probe()
                {
                    Ok(child) => probe = Some((child, Instant::now())),
                    Err(error) => tracing::error!(
                        "the program {} cannot be started ({error}), so the server goes on; put a \
                         working one there, and send SIGHUP again",
                        self.program.path.display()
                    ),
                },
                // Before that it would end the server, which reads everything at its start anyway.
                _ = self.signals.reload.recv(), if was_ready => server.signal(Signal::HUP),
                () = self.signals.stop.next(), if asked != Asked::Stop => {
                    self.notifier.stopping();
                    asked = Asked::Stop;
                    server.signal(Signal::TERM);
                    deadline = Some(Deadline::new(STOP, "it has not stopped after"));
                }
                () = until(due) => {
                    if let Some(deadline) = deadline.take() {
                        let (why, wait) = (deadline.why, deadline.wait.as_millis());
                        tracing::error!("the server is ended, since {why} {wait} ms");
                        server.signal(Signal::KILL);
                    }
                }
                () = until(probed) => {
                    if let Some((child, _)) = &mut probe {
                        // Its end is reported by a signal, like any other.
                        let _ = child.kill();
                    }
                }
                () = self.beat.next() => self.notifier.alive(),
            }
        }
    }
}

/// When a server is ended, and why.
struct Deadline {
    at: Instant,
    wait: Duration,
    why: &'static str,
}

impl Deadline {
    fn new(wait: Duration, why: &'static str) -> Self {
        Self {
            at: Instant::now() + wait,
            wait,
            why,
        }
    }
}

/// Completes at this time; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
