//! `rekindle-bench resume`: what a restart costs viewers. `rekindle-bench load`: what forwarding
//! media costs (see `load`). `rekindle-bench ceilings`: the least that it costs (see `ceilings`).
//!
//! Servers run as child processes, are killed with SIGKILL and started again. Clients of our own
//! join them by WHIP and WHEP, and determine from authentic packets what was lost and for how long.
//! All arms take turns in one run, so that disturbances of the machine affect all alike.
//!
//! - The clients, each of which is one of `rekindle_client`'s: `crowd` (all of them, with sockets),
//!   `media`, `clients` (what is asked of them), `http` (their HTTP), `path` (delay and loss).
//! - Real browsers: `browser`.
//! - The servers: `program`, `server`, `steps`, `disk`, `target`.
//! - The run: `args`, `scenario`, `variants`, `turn`, `vault`, `sweep`,
//!   `run`; how it ends: `stop`, `children`.
//! - The result: `stats`, `machine`, `report`.

#![forbid(unsafe_code)]
#![warn(unreachable_pub)]

mod args;
mod browser;
mod ceilings;
mod check;
mod children;
mod clients;
mod crowd;
mod disk;
mod error;
mod http;
mod load;
mod machine;
mod media;
mod path;
mod program;
mod report;
mod run;
mod scenario;
mod server;
mod stats;
mod steps;
mod stop;
mod sweep;
mod target;
mod turn;
mod variants;
mod vault;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use scenario::{Arm, Axes};
use sweep::Grid;

use media::CameraSettings;
use rekindle_client::manner::{Browser, Manner, Offer};

/// What the native clients offer in their handshakes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
pub(crate) enum DtlsVersions {
    /// DTLS 1.3 and 1.2 by dimpl, without a post-quantum key exchange
    #[default]
    #[serde(rename = "1.3, 1.2")]
    Both,
    /// DTLS 1.2 alone, by dimpl
    #[value(name = "1.2")]
    #[serde(rename = "1.2")]
    Only12,
    /// DTLS 1.3 and 1.2 by BoringSSL, X25519 first
    #[cfg(feature = "boring")]
    #[value(name = "x25519")]
    #[serde(rename = "1.3, 1.2 by BoringSSL with X25519")]
    X25519,
    /// DTLS 1.3 and 1.2 by BoringSSL, X25519MLKEM768 first
    #[cfg(feature = "boring")]
    #[value(name = "x25519mlkem768")]
    #[serde(rename = "1.3, 1.2 by BoringSSL with X25519MLKEM768")]
    X25519MlKem768,
}

impl DtlsVersions {
    /// In few words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Both => "1.3 and 1.2",
            Self::Only12 => "1.2",
            #[cfg(feature = "boring")]
            Self::X25519 => "X25519",
            #[cfg(feature = "boring")]
            Self::X25519MlKem768 => "X25519MLKEM768",
        }
    }

    fn offer(self) -> Offer {
        match self {
            Self::Both => Offer::Both,
            Self::Only12 => Offer::Only12,
            #[cfg(feature = "boring")]
            Self::X25519 => Offer::BoringSsl(rekindle_boring::Groups::Classical),
            #[cfg(feature = "boring")]
            Self::X25519MlKem768 => Offer::BoringSsl(rekindle_boring::Groups::Any),
        }
    }
}

/// A sweep over down times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Over the usual ones.
    Usual,
    /// Over these.
    Over(Grid),
}

/// The settings of a run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What is measured.
    pub axes: Axes,
    /// The server's programs, which take turns: at least one.
    pub servers: Vec<PathBuf>,
    /// The arms, in the order in which they take turns; `None` for the default.
    pub arms: Option<Vec<Arm>>,
    /// Turns of each arm; `None` for the default.
    pub turns: Option<u32>,
    /// Kills in a turn; `None` for the default.
    pub kills: Option<u32>,
    /// How long a broadcast runs undisturbed before the first kill of a turn.
    pub steady: Duration,
    /// How clients renew keys; by default as Chromium, in a sweep in both ways.
    pub client: Option<Browser>,
    /// What they offer in handshakes, in turns: at least one.
    pub dtls: Vec<DtlsVersions>,
    /// Video frames per second; `None` for the default.
    pub fps: Option<u32>,
    /// Video bits per second; `None` for the default.
    pub bitrate: Option<u32>,
    /// Pause of a client after a temporary refusal of its new session.
    pub retry: Duration,
    /// Seed of all randomness in the clients and on the path.
    pub seed: u64,
    /// Where the servers' folders are made; otherwise in the system's folder for temporary files.
    pub folder: Option<PathBuf>,
    /// Another server, as the URL of its WHEP or WHIP endpoint.
    pub against: Option<String>,
    /// Its bearer token.
    pub token: Option<String>,
    /// Real browsers that publish and watch, instead of the native clients.
    pub browsers: Vec<Browser>,
    /// The folder of their scripts.
    pub browser_scripts: PathBuf,
    /// Down times to sweep over, instead of all other measurements.
    pub sweep: Option<Sweep>,
    /// Peers in a vault whose start is measured; 0 for no such measurement.
    pub vault_peers: usize,
    /// Path of the result as JSON.
    pub json: Option<PathBuf>,
    /// Path of the result as a page.
    pub html: Option<PathBuf>,
}

impl Settings {
    /// The server's program, where there is only one or this is its turn.
    fn server(&self) -> &Path {
        &self.servers[0]
    }

    fn manner(&self) -> Manner {
        Manner {
            offer: self.dtls[0].offer(),
            ..Manner::of(self.client.unwrap_or_default())
        }
    }

    /// The arms that are measured, and whether they were requested by name.
    fn arms(&self) -> (Vec<Arm>, bool) {
        let usual = if self.sweep.is_some() {
            vec![Arm::Rehandshake]
        } else {
            Arm::ALL.to_vec()
        };
        (self.arms.clone().unwrap_or(usual), self.arms.is_some())
    }

    fn camera(&self, scenario: &scenario::Scenario) -> CameraSettings {
        scenario.camera(self.fps, self.bitrate)
    }
}

/// Exit code 0 when everything was measured, 1 where that was not possible, 2 after a usage error,
/// 130 when it was interrupted.
fn main() -> ExitCode {
    let args = args::BenchArgs::parse();
    let ran = args.wanted().and_then(|wanted| match wanted {
        args::Wanted::Resume(settings) => run::run(&settings),
        args::Wanted::Load(settings) => load::run(&settings),
        args::Wanted::Ceilings(settings) => ceilings::run(&settings),
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rekindle-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
