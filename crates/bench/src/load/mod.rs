//! `rekindle-bench load`: what forwarding media costs a server.
//!
//! A publisher and many viewers join by WHIP and WHEP, with ICE, DTLS and SRTP of their own;
//! viewers authenticate every packet. The result: packets delivered and lost, how long they took,
//! and the server's CPU time for each.
//!
//! - The clients: `watcher` (a viewer), `group` (a thread of them), `join` (their HTTP).
//! - What is measured: `turn`, `process` (the server's CPU time and memory), `histogram`.
//! - Which cores they run on: `affinity`. What is run: `args`, `arm`. The result: `report`.

mod affinity;
mod args;
mod arm;
mod group;
mod histogram;
mod join;
mod process;
mod report;
mod turn;
mod watcher;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rekindle_client::manner::Manner;

use super::error::BenchError;
use super::machine::Machine;
use super::media::{CameraSettings, Packets};
use super::program::Program;
use super::report::write;
use super::run::progress;
use super::stop::Stop;

use affinity::Cores;
pub(super) use args::LoadArgs;
use arm::{Arm, Subject};
use report::{Report, Scenario};
use turn::Turn;

/// The settings of a run.
#[derive(Debug, Clone)]
pub(super) struct LoadSettings {
    pub subject: Subject,
    /// Numbers of viewers, each measured by itself.
    pub viewers: Vec<usize>,
    pub camera: CameraSettings,
    pub packets: Packets,
    /// How long a turn is measured.
    pub time: Duration,
    /// Turns of each server.
    pub turns: u32,
    /// Datagrams lost on the way to the viewers, in percent.
    pub loss: f64,
    /// Datagrams lost on the way from the publisher, in percent.
    pub publisher_loss: f64,
    pub manner: Manner,
    pub cores: Cores,
    pub seed: u64,
    /// Where the servers' folders are made; otherwise in the system's folder for temporary files.
    pub folder: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
}

/// Runs the benchmark, prints its table, and writes what was asked for.
///
/// # Errors
/// [`BenchError`], with the cause. A lost packet is a result, not an error.
pub(super) fn run(settings: &LoadSettings) -> Result<(), BenchError> {
    Stop::listen(false).map_err(BenchError::system("cannot listen to signals"))?;
    let report = measure(settings)?;
    print!("{}", report::table::write(&report));
    if let Some(path) = &settings.json {
        write(path, &report::json(&report))?;
    }
    if let Some(path) = &settings.html {
        write(path, &report::page::write(&report))?;
    }
    Ok(())
}

fn measure(settings: &LoadSettings) -> Result<Report, BenchError> {
    let began = Instant::now();
    let mut notes = Vec::new();
    let (arms, program) = arm::arms(&settings.subject, &mut notes)?;
    let machine = Machine::here(program.as_ref());
    if machine.profile == "debug" {
        notes.push(
            "This is a debug build: its figures say little. Build with --release.".to_owned(),
        );
    }
    if settings.cores == Cores::default() {
        notes.push(format!(
            "Server and clients share {} cores; --server-cores and --client-cores part them.",
            machine.cores
        ));
    }
    // The cores are tried before anything is measured.
    affinity::on(&settings.cores.clients, || ())
        .and_then(|()| affinity::on(&settings.cores.server, || ()))
        .map_err(BenchError::system(
            "the cores that were asked for are not to be had",
        ))?;
    let most = settings.viewers.iter().max().copied().unwrap_or_default();
    // A viewer is a socket, and its server may take one more for it.
    rekindle::server::raise_open_files((4 * most + 256) as u64);

    let turns = u64::from(settings.turns) * (settings.viewers.len() * arms.len()) as u64;
    let progress = progress(turns, "turns");
    let mut scenarios = Vec::new();
    for viewers in &settings.viewers {
        let mut by_arm: Vec<(&Arm, Vec<Turn>)> = arms.iter().map(|arm| (arm, Vec::new())).collect();
        for n in 0..settings.turns {
            for (arm, turns) in &mut by_arm {
                progress.set_message(format!("{viewers} viewers, {}", arm.name));
                let seed = settings.seed.wrapping_mul(1000).wrapping_add(u64::from(n));
                turns.push(arm.turn(settings, *viewers, seed)?);
                progress.inc(1);
            }
        }
        scenarios.push(Scenario::of(*viewers, &by_arm));
    }
    progress.finish_and_clear();
    Ok(Report::new(settings, machine, notes, began, scenarios))
}
