//! The commands: command line, environment, configuration file, and exit codes.

mod address;
mod announce;
mod args;
pub mod audit_report;
mod cluster;
mod demo;
mod drain;
mod error;
mod etcd;
mod file;
mod hooks;
mod https;
mod keygen;
mod log;
mod manual;
mod settings;
mod supervise;
mod token;
mod vault;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use args::ServeArgs;
use error::CliError;

use crate::hardening;
use crate::server::Ending;
use crate::service::{self, Notifier};

/// Exit code of a start that the configuration, the key file or the vault prevents.
const EXIT_CONFIGURATION: u8 = 2;
/// Exit code of every other failure.
const EXIT_FAILURE: u8 = 1;
/// Exit code of a server that was drained: no supervisor is to start it again by itself.
pub(crate) const EXIT_DRAINED: u8 = 3;

/// The program's version, its DTLS library, and whether this build has full-state mode:
/// `rekindle-bench` asks for it.
const VERSION: &str = match (cfg!(feature = "boring"), cfg!(feature = "full-state")) {
    (false, false) => concat!(env!("CARGO_PKG_VERSION"), " (DTLS: dimpl)"),
    (true, false) => concat!(env!("CARGO_PKG_VERSION"), " (DTLS: BoringSSL)"),
    (false, true) => concat!(
        env!("CARGO_PKG_VERSION"),
        " (DTLS: dimpl) with full-state mode"
    ),
    (true, true) => concat!(
        env!("CARGO_PKG_VERSION"),
        " (DTLS: BoringSSL) with full-state mode"
    ),
};

/// A WebRTC broadcast server that can be killed and started again while every browser keeps its
/// connection and its picture.
#[derive(Parser)]
#[command(name = "rekindle", version = VERSION, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (this is what `rekindle` alone does).
    Serve(Box<ServeArgs>),
    /// Hold the ports and keep a server running behind them: what arrives while it is being started
    /// again waits, and nobody is refused
    #[command(after_help = supervise::SIGNALS)]
    Supervise(supervise::SuperviseArgs),
    /// Show a restart: a server for this machine only, whose page has a button that kills it, and
    /// which is started again at once
    #[command(after_help = demo::AFTER)]
    Demo(demo::DemoArgs),
    /// Make a new key file; never overwrites one.
    Keygen(keygen::KeygenArgs),
    /// Make a token for a channel: it is printed, and its hash is put into the file of channel tokens
    Token(token::TokenArgs),
    /// Say what is persisted, byte by byte, and whether any of it should not be
    Audit(vault::AuditArgs),
    /// Put a state folder under another key file; a server that runs on it need not stop
    Rekey(vault::RekeyArgs),
    /// Write the files of a vault in etcd into a new folder, as they are
    Export(vault::ExportArgs),
    /// Give the peers of a server that runs to the other nodes of its cluster, and end it
    #[command(after_help = drain::EXIT_CODES)]
    Drain(drain::DrainArgs),
    /// Print what a shell needs to complete these commands and their options
    #[command(
        after_help = "bash: rekindle completions bash > ~/.local/share/bash-completion/completions/rekindle"
    )]
    Completions(manual::CompletionsArgs),
    /// Write manual pages, one for each command
    Man(manual::ManArgs),
}

/// Runs the program and returns its exit code: 0 when it was asked to stop, 3 when it was drained, 2
/// where configuration, key file or vault prevent a start, 1 otherwise. A usage error ends the
/// process with 2 as well.
pub fn main() -> ExitCode {
    // Only the server's program follows, which starts here once more.
    if let Some(code) = crate::supervise::step() {
        return code;
    }
    let hardened = hardening::early();
    let matches = Cli::command().get_matches();
    let result = match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(cli, &matches, &hardened),
        Err(error) => error.exit(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rekindle: {}", error.story());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(cli: Cli, matches: &ArgMatches, hardened: &hardening::Report) -> Result<ExitCode, CliError> {
    match cli.command {
        Some(Command::Audit(args)) => return Ok(args.run()),
        Some(Command::Rekey(args)) => return Ok(args.run()),
        Some(Command::Supervise(args)) => return args.run(hardened),
        Some(Command::Demo(args)) => return args.run(hardened),
        Some(Command::Drain(args)) => {
            let matches = matches.subcommand_matches("drain").unwrap_or(matches);
            return args.run(matches);
        }
        None => return serve(cli.serve, matches, hardened),
        Some(Command::Serve(args)) => {
            let matches = matches.subcommand_matches("serve").unwrap_or(matches);
            return serve(*args, matches, hardened);
        }
        Some(Command::Keygen(args)) => keygen::run(&args),
        Some(Command::Token(args)) => args.run(),
        Some(Command::Export(args)) => args.run(),
        Some(Command::Completions(args)) => args.run(Cli::command()),
        Some(Command::Man(args)) => args.run(Cli::command()),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn serve(
    args: ServeArgs,
    matches: &ArgMatches,
    hardened: &hardening::Report,
) -> Result<ExitCode, CliError> {
    #[cfg(rekindle_canary)]
    if rekindle_core::canary::start() {
        // The test reads this process's memory.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .expect("allowed");
    }
    #[cfg(rekindle_kill_points)]
    rekindle_full_state::kill_points::start();
    let passed = service::take()?;
    let mut settings = settings::Settings::resolve(args, matches, passed)?;
    log::start(&settings.log)?;
    settings.server.notifier = notifier();
    settings.server.demo = service::is_demo();
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(warning) = settings.server.mode.warning() {
        tracing::warn!("{warning}");
    }
    let announce = settings.announce;
    let ending = crate::server::run(settings.server, |ready| {
        hardened.log("process");
        announce::print(announce, ready);
    })?;
    Ok(match ending {
        Ending::Asked => ExitCode::SUCCESS,
        Ending::Drained => ExitCode::from(EXIT_DRAINED),
    })
}

/// The connection to the service manager, if there is one. The server works without it too.
fn notifier() -> Notifier {
    Notifier::from_environment().unwrap_or_else(|error| {
        tracing::warn!("{error}");
        Notifier::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_rekindle_alone_does() {
        let alone = Cli::try_parse_from(["rekindle", "--http", "127.0.0.1:9"]).expect("parses");
        assert!(alone.command.is_none());
        assert_eq!(
            alone.serve.http,
            Some("127.0.0.1:9".parse().expect("address"))
        );
        let named =
            Cli::try_parse_from(["rekindle", "serve", "--http", "127.0.0.1:9"]).expect("parses");
        assert!(matches!(named.command, Some(Command::Serve(args)) if args.http.is_some()));
    }

    #[test]
    fn serve_options_before_another_command_are_refused() {
        assert!(Cli::try_parse_from(["rekindle", "--open", "keygen", "-o", "f"]).is_err());
    }
}
