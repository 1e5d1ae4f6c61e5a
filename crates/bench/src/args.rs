//! What is on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::ceilings::{CeilingsArgs, CeilingsSettings};
use super::error::BenchError;
use super::load::{LoadArgs, LoadSettings};
use super::{Arm, Axes, Browser, DtlsVersions, Grid, Settings, Sweep, program};

/// Measures what a restart of a rekindle server costs those who watch, and what it costs the server
/// to forward media.
#[derive(Parser)]
#[command(name = "rekindle-bench", version)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Kill servers, start them again, and measure what viewers see
    Resume(Box<ResumeArgs>),
    /// Have many viewers watch, and measure what the server spends on each packet
    Load(Box<LoadArgs>),
    /// Measure what a packet costs at the least on this machine: encryption, and ways of sending
    Ceilings(CeilingsArgs),
}

/// What is to be run.
pub(super) enum Wanted {
    Resume(Box<Settings>),
    Load(Box<LoadSettings>),
    Ceilings(CeilingsSettings),
}

#[derive(Clone, Copy, ValueEnum)]
enum ArmName {
    Rehandshake,
    FullState,
    Reconnect,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClientName {
    Chromium,
    Firefox,
}

impl ClientName {
    fn browser(self) -> Browser {
        match self {
            Self::Chromium => Browser::Chromium,
            Self::Firefox => Browser::Firefox,
        }
    }
}

#[derive(Args)]
struct ResumeArgs {
    /// The server's program [default: `rekindle` beside this program]
    ///
    /// Several take turns with the native clients. The arm full-state needs one that was built
    /// with `--features full-state`.
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    server: Vec<PathBuf>,

    /// Numbers of viewers; with any of --viewers, --down, --rtt, --loss every combination of them
    /// is measured, else a default set
    #[arg(long, value_name = "N", value_delimiter = ',')]
    viewers: Option<Vec<usize>>,

    /// How long the server stays down, in milliseconds
    #[arg(long, value_name = "MS", value_delimiter = ',')]
    down: Option<Vec<u64>>,

    /// Round trips between clients and server, in milliseconds
    #[arg(long, value_name = "MS", value_delimiter = ',')]
    rtt: Option<Vec<u64>>,

    /// Datagrams lost on the way, in percent
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', value_parser = percent)]
    loss: Option<Vec<f64>>,

    /// Sweep over down times FROM..TO:STEP in milliseconds, at round trips of 0, 20, 50 and 100 ms
    /// unless --rtt says others
    ///
    /// Without a value: 0..1500:25, with real browsers (--browser) 0..1500:250. The same clients,
    /// in the manner of Chromium and of Firefox unless --client names one, go through a kill at
    /// each point; what is told is the gap minus the down time, as a heat map. Points that stand
    /// out are measured twice more at the end. The order is shuffled by --seed. Ctrl-C cuts it
    /// short, and what was measured is reported; a second Ctrl-C ends it at once.
    #[arg(
        long,
        value_name = "FROM..TO:STEP",
        num_args = 0..=1,
        conflicts_with_all = ["viewers", "down", "loss", "turns", "kills", "against", "vault"]
    )]
    sweep: Option<Option<Grid>>,

    /// Arms, in the order in which they take turns [default: all; of a sweep: rehandshake]
    #[arg(long, value_name = "ARM", value_delimiter = ',')]
    arms: Option<Vec<ArmName>>,

    /// Turns of each arm [default: by the number of viewers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,

    /// Kills in a turn [default: by the number of viewers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    kills: Option<u32>,

    /// How long each turn's broadcast is watched undisturbed, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    steady: u64,

    /// Whose way of renewing keys the clients imitate [default: chromium; of a sweep: both]
    #[arg(long, value_name = "BROWSER")]
    client: Option<ClientName>,

    /// What the native clients offer in their handshakes; several take turns
    ///
    /// X25519MLKEM768 is there where this program was built with `--features boring`.
    #[arg(
        long,
        value_name = "OFFER",
        value_delimiter = ',',
        default_value = "both"
    )]
    dtls: Vec<DtlsVersions>,

    /// Video frames per second [default: 30, fewer where the rate is low]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: Option<u32>,

    /// Video bits per second [default: 1500000, less for a crowd]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8000..=50_000_000))]
    bitrate: Option<u32>,

    /// Pause of a client whose new session was refused for now, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 250)]
    retry: u64,

    /// Seed of all that is random in the clients and on the way
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Folder in which the servers' folders are made [default: the system's place for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Run the reconnect arm against another server, given the URL of its WHEP or WHIP endpoint
    #[arg(long, value_name = "URL")]
    against: Option<String>,

    /// Bearer token for it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "REKINDLE_BENCH_TOKEN",
        hide_env_values = true,
        requires = "against"
    )]
    token: Option<String>,

    /// Real browsers that publish and watch, in place of the native clients; needs Node.js and the
    /// packages of tests/browser
    #[arg(long, value_name = "BROWSER", value_delimiter = ',',
          conflicts_with_all = ["against", "viewers"])]
    browser: Vec<ClientName>,

    /// Folder of the scripts that drive them
    #[arg(long, value_name = "DIR", default_value = "tests/browser")]
    browser_scripts: PathBuf,

    /// Measure the start of a server whose vault has so many peers; 0 for none [default: 10000 in
    /// the default set, else none]
    #[arg(long, value_name = "N")]
    vault: Option<usize>,

    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the result as one self-contained page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "give a number".to_owned())?;
    if (0.0..=50.0).contains(&value) {
        Ok(value)
    } else {
        Err("give a number from 0 to 50".to_owned())
    }
}

impl BenchArgs {
    /// What is to be run.
    ///
    /// # Errors
    /// Where it cannot be told which server is meant.
    pub(super) fn wanted(self) -> Result<Wanted, BenchError> {
        Ok(match self.what {
            What::Resume(args) => Wanted::Resume(Box::new(args.settings()?)),
            What::Load(args) => Wanted::Load(Box::new(args.settings()?)),
            What::Ceilings(args) => Wanted::Ceilings(args.settings()),
        })
    }
}

impl ResumeArgs {
    fn settings(self) -> Result<Settings, BenchError> {
        let arm = |name: &ArmName| match name {
            ArmName::Rehandshake => Arm::Rehandshake,
            ArmName::FullState => Arm::FullState,
            ArmName::Reconnect => Arm::Reconnect,
        };
        let axes = Axes {
            viewers: self.viewers,
            down: self.down,
            rtt: self.rtt,
            loss: self.loss,
        };
        let sweep = self
            .sweep
            .map(|grid| grid.map_or(Sweep::Usual, Sweep::Over));
        let usual_vault = if sweep.is_none()
            && axes.is_default()
            && self.against.is_none()
            && self.browser.is_empty()
            && self.server.len() * self.dtls.len() <= 1
        {
            10_000
        } else {
            0
        };
        Ok(Settings {
            vault_peers: self.vault.unwrap_or(usual_vault),
            axes,
            servers: program::paths(self.server)?,
            arms: self.arms.map(|arms| arms.iter().map(arm).collect()),
            turns: self.turns,
            kills: self.kills,
            steady: Duration::from_secs(self.steady),
            client: self.client.map(ClientName::browser),
            sweep,
            dtls: self.dtls,
            fps: self.fps,
            bitrate: self.bitrate,
            retry: Duration::from_millis(self.retry),
            browsers: self.browser.iter().map(|name| name.browser()).collect(),
            browser_scripts: self.browser_scripts,
            seed: self.seed,
            folder: self.folder,
            against: self.against,
            token: self.token,
            json: self.json,
            html: self.html,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every command in a block of the book, as words.
    fn commands() -> Vec<String> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let mut found = Vec::new();
        for entry in fs::read_dir(docs).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|ending| ending == "md") {
                let text = fs::read_to_string(path).expect("text").replace("\\\n", " ");
                let lines = text.lines().filter_map(|line| line.strip_prefix("$ "));
                let lines = lines.filter(|line| line.starts_with("rekindle-bench "));
                found.extend(lines.map(str::to_owned));
            }
        }
        found
    }

    #[test]
    fn the_book_names_options_that_there_are() {
        let commands = commands();
        assert!(commands.len() > 8, "{commands:?}");
        for command in commands {
            let words = command.split("  #").next().unwrap_or_default();
            // What is left to the reader.
            let words = words.replace(" ... ", " ").replace("PID", "4711");
            // Values that builds without BoringSSL do not have.
            let words = match cfg!(feature = "boring") {
                true => words,
                false => words.replace("x25519,x25519mlkem768", "1.2"),
            };
            if let Err(error) = BenchArgs::try_parse_from(words.split_whitespace()) {
                panic!("{command}: {error}");
            }
        }
    }
}
