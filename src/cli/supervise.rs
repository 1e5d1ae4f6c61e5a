//! `rekindle supervise`: holds the ports of a server and starts it again whenever it ends.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use crate::hardening;
use crate::server::Ports;
use crate::service;
use crate::supervise;

use super::args::{self, ServeArgs};
use super::error::CliError;
use super::settings::Outside;
use super::{Cli, Command, log, notifier};

/// How long a server may be silent by default.
pub(super) const WATCHDOG: Duration = Duration::from_secs(10);

/// The text after the options in `--help`.
pub(super) const SIGNALS: &str = "\
Signals:
  SIGHUP           The server finishes its requests, and the program that lies at the same path by \
  then takes over the ports
  SIGUSR1          The server reads its key file, token files and TLS files again (SIGHUP to a server without \
  a supervisor)
  SIGTERM, SIGINT  The server stops, and the supervisor ends with its exit status

A server that ends by itself is started again at once, ever more slowly where it goes on ending. \
An exit status 2 before the first one was up
(its configuration must change), and the exit status 3 of one that was drained, end the supervisor with the same.";

#[derive(clap::Args)]
pub(super) struct SuperviseArgs {
    /// End a server that has not said for so long that it is alive: seconds, or like 90s, 2m; 0 for
    /// never [default: 10s]
    #[arg(long, value_name = "TIME", env = "REKINDLE_WATCHDOG", value_parser = args::duration)]
    watchdog: Option<Duration>,

    /// The server's command: `serve` and its options
    #[arg(last = true, value_name = "SERVE")]
    server: Vec<OsString>,
}

impl SuperviseArgs {
    pub(super) fn run(self, hardened: &hardening::Report) -> Result<ExitCode, CliError> {
        let serve = self.serve()?;
        let passed = service::take()?;
        let outside = Outside::resolve(serve, &passed)?;
        log::start(&outside.log)?;
        for warning in &outside.warnings {
            tracing::warn!("{warning}");
        }
        hardened.log("supervisor");
        let ports = Ports::open(passed, outside.http, outside.udp, outside.ice_tcp)?;
        let options = supervise::Options {
            program: program().map_err(CliError::Program)?,
            arguments: self.server,
            watchdog: Some(self.watchdog.unwrap_or(WATCHDOG)).filter(|wait| !wait.is_zero()),
            ports,
            notifier: notifier(),
            demo: None,
        };
        Ok(ExitCode::from(supervise::run(options)?))
    }

    /// The server's options, parsed as the server itself will parse them.
    fn serve(&self) -> Result<ServeArgs, CliError> {
        let line = std::iter::once(OsString::from("rekindle")).chain(self.server.iter().cloned());
        let parsed = Cli::command()
            .try_get_matches_from(line)
            .and_then(|matches| Cli::from_arg_matches(&matches));
        match parsed {
            Ok(Cli {
                command: None,
                serve,
            }) => Ok(serve),
            Ok(Cli {
                command: Some(Command::Serve(serve)),
                ..
            }) => Ok(*serve),
            Ok(_) => Err(CliError::NotServe),
            Err(error) => error.exit(),
        }
    }
}

/// The path of this program, where a new version may replace it: as it was started, since that may
/// be a link which an upgrade changes.
pub(super) fn program() -> io::Result<PathBuf> {
    let file = std::env::current_exe()?;
    let named = std::env::args_os().next().map(PathBuf::from);
    let same = |path: &Path| Some(path.canonicalize().ok()? == file.canonicalize().ok()?);
    match named {
        Some(path) if path.components().count() > 1 && same(&path) == Some(true) => {
            std::path::absolute(path)
        }
        _ => Ok(file),
    }
}
