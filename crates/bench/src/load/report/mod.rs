//! The result of a run of `load`.

pub(super) mod page;
pub(super) mod table;

use std::time::{Duration, Instant};

use serde::Serialize;

use super::LoadSettings;
use super::affinity::Cores;
use super::arm::Arm;
use super::process::ThreadUse;
use super::turn::Turn;
use crate::machine::Machine;
use crate::media::CameraSettings;
use crate::report::{command, since_1970};
use crate::stats::{Summary, as_ms};

/// A run's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub machine: Machine,
    /// Seconds since 1970.
    pub made_at: u64,
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    pub conditions: Conditions,
    pub scenarios: Vec<Scenario>,
    pub notes: Vec<String>,
}

/// The conditions of all measurements of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    /// How to run it again.
    pub command: String,
    pub seed: u64,
    #[serde(flatten)]
    pub camera: CameraSettings,
    pub video: bool,
    #[serde(rename = "pace_ms", serialize_with = "as_ms")]
    pub pace: Duration,
    /// Whether frames are cut into packets of nearly the same length.
    pub even: bool,
    #[serde(rename = "measured_ms", serialize_with = "as_ms")]
    pub time: Duration,
    pub loss_percent: f64,
    pub publisher_loss_percent: f64,
    pub cores: Cores,
    /// Servers that already ran.
    pub against: Vec<String>,
}

/// The result for one number of viewers.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    pub viewers: usize,
    pub servers: Vec<ArmResult>,
}

/// The result of one server.
#[derive(Debug, Serialize)]
pub(crate) struct ArmResult {
    pub name: String,
    /// The median of each figure, over the turns.
    pub median: Figures,
    pub turns: Vec<Figures>,
    /// Threads of the server, of the last turn.
    pub threads: Vec<ThreadUse>,
    pub thread_count: usize,
}

/// The figures of a turn.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figures {
    /// Packets of the publisher in a second.
    pub published_per_second: f64,
    /// Delivered to all viewers together, in a second.
    pub packets_per_second: f64,
    pub loss_percent: f64,
    pub packets_repeated: f64,
    pub packets_asked_for: f64,
    /// Delay from the publisher's to a viewer's socket.
    pub delay_p50_us: f64,
    pub delay_p99_us: f64,
    pub delay_max_us: f64,
    /// The server's use; `None` where its process is not known.
    pub server: Option<ServerFigures>,
    pub joins_per_second: f64,
    /// Cores that the clients kept busy.
    pub clients_cores: f64,
    /// By how much the viewers' threads read their sockets late.
    pub clients_late_p99_us: f64,
    pub clients_late_max_us: f64,
    /// Datagrams for which the clients had no room.
    pub dropped_by_clients: f64,
    pub unsent_by_clients: f64,
    pub undecryptable: f64,
}

/// What the server used.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServerFigures {
    /// CPU time for each packet that was delivered.
    pub cpu_us_per_packet: f64,
    pub user_us_per_packet: f64,
    pub system_us_per_packet: f64,
    /// Cores that it kept busy.
    pub cores: f64,
    pub resident_mib: f64,
    /// Memory of each viewer.
    pub kib_per_viewer: f64,
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Figures {
    fn of(turn: &Turn) -> Self {
        let server = turn.server.as_ref().map(|server| {
            let packet = us(server.cpu.all) / turn.delivered.max(1) as f64;
            let user = server.cpu.user_share();
            let (before, after) = server.resident;
            ServerFigures {
                cpu_us_per_packet: packet,
                user_us_per_packet: packet * user,
                system_us_per_packet: packet * (1.0 - user),
                cores: server.cpu.all.div_duration_f64(turn.time),
                resident_mib: after as f64 / 1_048_576.0,
                kib_per_viewer: (after as f64 - before as f64) / 1024.0 / turn.viewers as f64,
            }
        });
        let expected = (turn.delivered + turn.lost).max(1);
        Self {
            published_per_second: turn.published as f64 / turn.time.as_secs_f64(),
            packets_per_second: turn.delivered as f64 / turn.time.as_secs_f64(),
            loss_percent: turn.lost as f64 / expected as f64 * 100.0,
            packets_repeated: turn.repeated as f64,
            packets_asked_for: turn.asked_for as f64,
            delay_p50_us: us(turn.delays.percentile(50.0)),
            delay_p99_us: us(turn.delays.percentile(99.0)),
            delay_max_us: us(turn.delays.max()),
            server,
            joins_per_second: turn.viewers as f64 / turn.joined_in.as_secs_f64(),
            clients_cores: turn.clients_cpu.all.div_duration_f64(turn.time),
            clients_late_p99_us: us(turn.lateness.percentile(99.0)),
            clients_late_max_us: us(turn.lateness.max()),
            dropped_by_clients: turn.dropped as f64,
            unsent_by_clients: turn.unsent as f64,
            undecryptable: turn.undecryptable as f64,
        }
    }

    /// The median of each figure.
    fn median(all: &[Self]) -> Self {
        let median = |pick: &dyn Fn(&Self) -> f64| {
            Summary::of(all.iter().map(pick)).map_or(f64::NAN, |summary| summary.median)
        };
        let known = all.iter().all(|one| one.server.is_some());
        let server = |pick: fn(&ServerFigures) -> f64| {
            median(&|one| one.server.as_ref().map_or(f64::NAN, pick))
        };
        Self {
            published_per_second: median(&|one| one.published_per_second),
            packets_per_second: median(&|one| one.packets_per_second),
            loss_percent: median(&|one| one.loss_percent),
            packets_repeated: median(&|one| one.packets_repeated),
            packets_asked_for: median(&|one| one.packets_asked_for),
            delay_p50_us: median(&|one| one.delay_p50_us),
            delay_p99_us: median(&|one| one.delay_p99_us),
            delay_max_us: median(&|one| one.delay_max_us),
            server: known.then(|| ServerFigures {
                cpu_us_per_packet: server(|one| one.cpu_us_per_packet),
                user_us_per_packet: server(|one| one.user_us_per_packet),
                system_us_per_packet: server(|one| one.system_us_per_packet),
                cores: server(|one| one.cores),
                resident_mib: server(|one| one.resident_mib),
                kib_per_viewer: server(|one| one.kib_per_viewer),
            }),
            joins_per_second: median(&|one| one.joins_per_second),
            clients_cores: median(&|one| one.clients_cores),
            clients_late_p99_us: median(&|one| one.clients_late_p99_us),
            clients_late_max_us: median(&|one| one.clients_late_max_us),
            dropped_by_clients: median(&|one| one.dropped_by_clients),
            unsent_by_clients: median(&|one| one.unsent_by_clients),
            undecryptable: median(&|one| one.undecryptable),
        }
    }
}

impl Scenario {
    pub(crate) fn of(viewers: usize, arms: &[(&Arm, Vec<Turn>)]) -> Self {
        let result = |(arm, turns): &(&Arm, Vec<Turn>)| {
            let figures: Vec<Figures> = turns.iter().map(Figures::of).collect();
            let last = turns.last().and_then(|turn| turn.server.as_ref());
            ArmResult {
                name: arm.name.clone(),
                median: Figures::median(&figures),
                turns: figures,
                threads: last.map(|one| one.threads.clone()).unwrap_or_default(),
                thread_count: last.map_or(0, |one| one.thread_count),
            }
        };
        Self {
            viewers,
            servers: arms.iter().map(result).collect(),
        }
    }

    /// In words.
    pub(crate) fn title(&self, conditions: &Conditions) -> String {
        if conditions.video {
            format!(
                "{} viewers, {:.1} Mbit/s in {} frames per second, and sound",
                self.viewers,
                f64::from(conditions.camera.video_bitrate) / 1e6,
                conditions.camera.fps
            )
        } else {
            format!("{} viewers, sound alone", self.viewers)
        }
    }

    /// CPU time for a packet, relative to the first server.
    pub(crate) fn ratio(&self, arm: &ArmResult) -> Option<f64> {
        let cost = |arm: &ArmResult| Some(arm.median.server.as_ref()?.cpu_us_per_packet);
        Some(cost(arm)? / cost(self.servers.first()?)?)
    }
}

impl Report {
    pub(crate) fn new(
        settings: &LoadSettings,
        machine: Machine,
        notes: Vec<String>,
        began: Instant,
        scenarios: Vec<Scenario>,
    ) -> Self {
        let others = settings.subject.others.iter();
        Self {
            machine,
            made_at: since_1970(),
            took: began.elapsed(),
            conditions: Conditions {
                command: command(std::env::args()),
                seed: settings.seed,
                camera: settings.camera,
                video: settings.packets.video,
                pace: settings.packets.pace,
                even: settings.packets.even,
                time: settings.time,
                loss_percent: settings.loss,
                publisher_loss_percent: settings.publisher_loss,
                cores: settings.cores.clone(),
                against: others.map(|other| other.url.clone()).collect(),
            },
            scenarios,
            notes,
        }
    }
}

/// The whole result as JSON.
pub(crate) fn json(report: &Report) -> String {
    // All keys are text, so this cannot fail.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
