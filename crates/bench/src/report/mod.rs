//! The result of a run.

pub(super) mod escape;
pub(super) mod heat;
pub(super) mod html;
mod svg;
mod sweep_page;
pub(super) mod table;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::browser::BrowserResult;
use super::disk::Written;
use super::error::BenchError;
use super::machine::Machine;
use super::media::CameraSettings;
use super::scenario::{Arm, Scenario};
use super::stats::{Summary, as_ms, ms};
use super::sweep::result::SweepResult;
use super::turn::{Kill, Turn};
use super::vault::VaultResult;
use super::{Browser, DtlsVersions, Settings};

/// A run's result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub machine: Machine,
    /// Seconds since 1970.
    pub made_at: u64,
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    pub conditions: RunConditions,
    pub handshakes: Vec<HandshakeCost>,
    pub scenarios: Vec<ScenarioResult>,
    pub browsers: Vec<BrowserResult>,
    pub sweep: Option<SweepResult>,
    pub vault: Option<VaultResult>,
    pub notes: Vec<String>,
}

impl Report {
    /// For a run that has not measured anything yet, and ends now.
    pub(super) fn new(
        settings: &Settings,
        machine: Machine,
        notes: Vec<String>,
        began: Instant,
    ) -> Self {
        Self {
            machine,
            made_at: since_1970(),
            took: began.elapsed(),
            conditions: RunConditions::of(settings),
            handshakes: Vec::new(),
            scenarios: Vec::new(),
            browsers: Vec::new(),
            sweep: None,
            vault: None,
            notes,
        }
    }
}

/// The conditions of all measurements of a run.
#[derive(Debug, Serialize)]
pub(super) struct RunConditions {
    /// How to run it again.
    pub command: String,
    pub seed: u64,
    /// `None` in a sweep, where each row says it.
    pub client: Option<Browser>,
    pub dtls: Vec<DtlsVersions>,
    #[serde(rename = "retry_ms", serialize_with = "as_ms")]
    pub retry: Duration,
    #[serde(rename = "steady_ms", serialize_with = "as_ms")]
    pub steady: Duration,
    pub against: Option<String>,
}

impl RunConditions {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            command: command(std::env::args()),
            seed: settings.seed,
            client: match settings.sweep {
                Some(_) => None,
                None => Some(settings.client.unwrap_or_default()),
            },
            dtls: settings.dtls.clone(),
            retry: settings.retry,
            steady: settings.steady,
            against: settings.against.clone(),
        }
    }
}

/// Seconds since 1970.
pub(super) fn since_1970() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// The command line, without options that concern only this run.
pub(super) fn command(arguments: impl Iterator<Item = String>) -> String {
    let mut text = String::from("rekindle-bench");
    let mut skips = false;
    for argument in arguments.skip(1) {
        let (name, has_value) = argument
            .split_once('=')
            .map_or((argument.as_str(), false), |(name, _)| (name, true));
        let private = matches!(
            name,
            "--token" | "--json" | "--html" | "--folder" | "--server" | "--server-pid"
        );
        if !skips && !private {
            text.push(' ');
            text += &argument;
        }
        skips = private && !has_value;
    }
    text
}

/// What one handshake costs the server.
#[derive(Debug, Serialize)]
pub(super) struct HandshakeCost {
    pub variant: Option<Variant>,
    pub handshakes: usize,
    /// CPU time of the server, all in.
    #[serde(rename = "server_cpu_ms", serialize_with = "as_ms")]
    pub cpu: Duration,
    /// Until the next one began.
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
}

impl HandshakeCost {
    fn title(&self) -> String {
        match &self.variant {
            None => "One handshake".to_owned(),
            Some(variant) => format!("One handshake ({})", variant.name),
        }
    }
}

/// One of several servers or kinds of clients that take turns.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Variant {
    #[serde(skip)]
    pub place: usize,
    pub name: String,
}

/// The result of one scenario.
#[derive(Debug, Serialize)]
pub(super) struct ScenarioResult {
    #[serde(flatten)]
    pub scenario: Scenario,
    #[serde(flatten)]
    pub camera: CameraSettings,
    pub arms: Vec<ArmResult>,
}

impl ScenarioResult {
    /// In words.
    pub(super) fn title(&self) -> String {
        format!(
            "{}, {:.1} Mbit/s in {} frames per second",
            self.scenario.title(),
            f64::from(self.camera.video_bitrate) / 1e6,
            self.camera.fps
        )
    }

    pub(super) fn arm(&self, arm: Arm) -> Option<&ArmResult> {
        let mut found = self.arms.iter().filter(|result| result.arm == arm);
        // Of several there is none that stands for all.
        found.next().filter(|_| found.next().is_none())
    }
}

/// A step on the way back, in milliseconds since the kill.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    pub name: &'static str,
    #[serde(flatten)]
    pub at: Summary,
}

/// The result of one arm of a scenario.
#[derive(Debug, Serialize)]
pub(super) struct ArmResult {
    pub arm: Arm,
    pub variant: Option<Variant>,
    pub turns: usize,
    pub kills: usize,
    /// Time without media of a viewer, in milliseconds.
    pub gap_ms: Option<Summary>,
    /// Every one of them, sorted.
    pub gaps_ms: Vec<f64>,
    /// From the kill until the last viewer had media again.
    pub all_back_ms: Option<Summary>,
    /// Viewers that got no more media.
    pub viewers_lost: usize,
    /// New sessions that were made.
    pub sessions_made: u64,
    /// Video packets that a viewer never got.
    pub video_packets_lost: Option<Summary>,
    /// The same for audio, which is not retransmitted.
    pub audio_packets_lost: Option<Summary>,
    pub packets_repeated: u64,
    pub undecryptable: u64,
    pub replayed: u64,
    pub dropped_by_clients: u64,
    pub phases: Vec<Phase>,
    pub server: ServerUse,
    pub complaints: Vec<String>,
}

/// What the server used and wrote.
#[derive(Debug, Serialize)]
pub(super) struct ServerUse {
    /// CPU time from the start of the process until the last viewer had media again.
    pub restart_cpu_ms: Option<Summary>,
    /// Written from the kill until all had settled.
    pub restart_written: Option<Written>,
    /// How long the broadcast ran undisturbed.
    #[serde(rename = "steady_ms", serialize_with = "as_ms")]
    pub steady: Duration,
    /// Share of one core meanwhile.
    pub steady_cores: f64,
    pub steady_written: Option<Written>,
    pub resident_mib: f64,
    pub threads: usize,
}

/// Names of the server's steps, in order.
const STEPS: [(&str, &str); 11] = [
    ("spawn", "process started"),
    ("run", "program runs"),
    ("bound", "sockets bound"),
    ("vault", "vault read"),
    ("serving", "media loop runs"),
    ("stun", "first STUN answered"),
    ("hello.publisher", "publisher's ClientHello seen"),
    ("handshake.publisher", "publisher's handshake complete"),
    ("hello.viewer", "viewer's ClientHello seen"),
    ("handshake.viewer", "viewer's handshake complete"),
    ("media", "first media out"),
];

impl ArmResult {
    /// Its name among those of its scenario.
    pub(super) fn name(&self) -> String {
        match &self.variant {
            None => self.arm.name().to_owned(),
            Some(variant) if self.arm == Arm::Rehandshake => variant.name.clone(),
            Some(variant) => format!("{}, {}", self.arm.name(), variant.name),
        }
    }

    pub(super) fn of(arm: Arm, variant: Option<Variant>, turns: &[Turn]) -> Self {
        let kills: Vec<&Kill> = turns.iter().flat_map(|turn| &turn.kills).collect();
        let samples = || kills.iter().flat_map(|kill| &kill.samples);
        let mut gaps: Vec<f64> = samples().filter_map(|sample| sample.gap).map(ms).collect();
        gaps.sort_by(f64::total_cmp);
        let all_back = kills.iter().filter_map(|kill| {
            kill.samples
                .iter()
                .map(|s| s.first)
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .max()
        });
        let sum = |written: Vec<Option<Written>>| {
            let mut total = Written::default();
            written
                .into_iter()
                .for_each(|one| total += one.unwrap_or_default());
            total
        };
        let steady: Duration = turns.iter().map(|turn| turn.steady).sum();
        let steady_cpu: Duration = turns.iter().map(|turn| turn.steady_cpu).sum();
        let watched = turns.iter().all(|turn| turn.steady_written.is_some());
        let mut complaints: Vec<String> = kills
            .iter()
            .flat_map(|kill| kill.complaints.clone())
            .collect();
        complaints.sort_unstable();
        complaints.dedup();
        Self {
            arm,
            variant,
            turns: turns.len(),
            kills: kills.len(),
            gap_ms: Summary::of(gaps.iter().copied()),
            all_back_ms: Summary::of(all_back.map(ms)),
            viewers_lost: samples().filter(|sample| sample.gap.is_none()).count(),
            sessions_made: turns.iter().map(|turn| turn.troubles.rejoined).sum(),
            video_packets_lost: Summary::of(samples().map(|sample| sample.missing.1 as f64)),
            audio_packets_lost: Summary::of(samples().map(|sample| sample.missing.0 as f64)),
            packets_repeated: samples().map(|sample| sample.repeated).sum(),
            undecryptable: turns.iter().map(|turn| turn.troubles.undecryptable).sum(),
            replayed: turns.iter().map(|turn| turn.troubles.replayed).sum(),
            dropped_by_clients: turns.iter().map(|turn| turn.troubles.dropped).sum(),
            phases: phases(arm, &kills),
            server: ServerUse {
                restart_cpu_ms: Summary::of(kills.iter().map(|kill| ms(kill.used.cpu))),
                restart_written: watched
                    .then(|| sum(kills.iter().map(|kill| kill.written).collect())),
                steady,
                steady_cores: if steady.is_zero() {
                    0.0
                } else {
                    steady_cpu.div_duration_f64(steady)
                },
                steady_written: watched
                    .then(|| sum(turns.iter().map(|turn| turn.steady_written).collect())),
                resident_mib: turns
                    .iter()
                    .map(|turn| turn.resident)
                    .max()
                    .unwrap_or_default() as f64
                    / 1_048_576.0,
                threads: turns
                    .iter()
                    .map(|turn| turn.threads)
                    .max()
                    .unwrap_or_default(),
            },
            complaints,
            gaps_ms: gaps,
        }
    }
}

fn phases(arm: Arm, kills: &[&Kill]) -> Vec<Phase> {
    let mut phases = Vec::new();
    let mut add = |name: &'static str, times: Vec<f64>| {
        if let Some(at) = Summary::of(times) {
            phases.push(Phase { name, at });
        }
    };
    let step = |wanted: &str| {
        let steps = kills.iter().flat_map(|kill| &kill.steps);
        let times = steps
            .filter(|(step, _)| step == wanted)
            .flat_map(|(_, times)| times.iter().copied());
        times.collect::<Vec<f64>>()
    };
    let seen = |pick: fn(&super::clients::Sample) -> Option<Duration>| {
        let samples = kills.iter().flat_map(|kill| &kill.samples);
        samples.filter_map(pick).map(ms).collect::<Vec<f64>>()
    };
    for (step_name, name) in STEPS {
        if step_name == "hello.viewer" && arm != Arm::FullState {
            add("viewer sends ClientHello", seen(|sample| sample.hello));
        }
        if step_name == "media" && arm != Arm::FullState {
            add("viewer has keys", seen(|sample| sample.connected));
        }
        add(name, step(step_name));
    }
    add("first media authenticated", seen(|sample| sample.first));
    phases
}

/// Writes the result to a file.
///
/// # Errors
/// [`BenchError::Output`].
pub(super) fn write(path: &Path, text: &str) -> Result<(), BenchError> {
    fs::write(path, text).map_err(|source| BenchError::Output {
        path: path.to_owned(),
        source,
    })
}

/// The whole result as JSON.
pub(super) fn json(report: &Report) -> String {
    // All keys are text, so this cannot fail.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests;
