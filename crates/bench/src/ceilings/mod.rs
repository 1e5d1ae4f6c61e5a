//! `rekindle-bench ceilings`: the least that a packet costs on this machine, whatever program sends
//! it: AES-GCM in place with a key for each viewer, and the system call that sends it; and the
//! least that receiving one costs.
//!
//! One thread sends bursts to sockets on loopback, and the CPU time of this is measured. Between
//! bursts it empties the sockets, which is not measured, and counts the packets.

mod args;
mod receiving;
mod report;
mod sender;
mod stream;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::error::BenchError;
use super::machine::Machine;
use super::media::CameraSettings;
use super::report::{command, since_1970, write};
use super::run::progress;
use super::stats::Summary;
use super::stop::Stop;

pub(super) use args::CeilingsArgs;
use report::{Report, Row, Scenario};
use sender::Sender;

/// Packets of a burst to each viewer: the longest run of segments.
const BURST: usize = 16;

/// A stream is measured in parts of this length.
const STREAM_PART: Duration = Duration::from_millis(500);
/// The number of parts.
const STREAM_PARTS: usize = 10;

/// The settings of a run.
#[derive(Debug, Clone)]
pub(super) struct CeilingsSettings {
    /// Numbers of sockets that are sent to.
    pub viewers: Vec<usize>,
    /// Length of an RTP packet before encryption, in bytes.
    pub bytes: usize,
    /// Bursts of each way.
    pub bursts: usize,
    /// What makes the packets of a stream.
    pub camera: CameraSettings,
    pub json: Option<PathBuf>,
}

/// How many packets a system call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// None: nothing is sent.
    None,
    /// One datagram, or one run of segments, for one viewer.
    Single,
    /// Up to 64 of these for as many viewers.
    Many,
}

/// A way of sending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Whether every packet is encrypted.
    pub seals: bool,
    pub call: Call,
    /// Packets to one viewer in a run of segments (UDP_SEGMENT); 1 for none.
    pub segments: usize,
}

impl Way {
    /// All ways that are measured.
    fn all() -> Vec<Self> {
        let mut all = vec![Self {
            seals: true,
            call: Call::None,
            segments: 1,
        }];
        for call in [Call::Single, Call::Many] {
            for segments in [1, 4, 8, 16] {
                let way = |seals| Self {
                    seals,
                    call,
                    segments,
                };
                all.extend([way(true), way(false)]);
            }
        }
        all
    }

    /// Its description.
    pub(crate) fn name(self) -> String {
        let call = match (self.call, self.segments) {
            (Call::None, _) => return "AES-128-GCM in place".to_owned(),
            (Call::Single, 1) => "sendto",
            (Call::Single, _) => "sendmsg",
            (Call::Many, _) => "sendmmsg",
        };
        let segments = match self.segments {
            1 => String::new(),
            n => format!(", GSO of {n}"),
        };
        let sealed = if self.seals { "AES-128-GCM + " } else { "" };
        format!("{sealed}{call}{segments}")
    }
}

/// CPU time of this thread so far, to the nanosecond.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Runs the benchmark, prints its table, and writes what was asked for.
///
/// # Errors
/// [`BenchError`], with the cause.
pub(super) fn run(settings: &CeilingsSettings) -> Result<(), BenchError> {
    Stop::listen(false).map_err(BenchError::system("cannot listen to signals"))?;
    let began = Instant::now();
    let most = settings.viewers.iter().max().copied().unwrap_or_default();
    rekindle::server::raise_open_files((most + 256) as u64);
    let ways = Way::all();
    let bursts = settings.viewers.len() * settings.bursts;
    let progress = progress(bursts as u64, "rounds");
    let mut scenarios = Vec::new();
    for viewers in &settings.viewers {
        progress.set_message(format!("{viewers} viewers"));
        let cannot = BenchError::system("cannot send to sockets of this machine");
        let scenario = measure(settings, &ways, *viewers, || progress.inc(1));
        scenarios.push(scenario.map_err(cannot)?);
    }
    progress.finish_and_clear();
    let report = Report {
        machine: Machine::here(None),
        made_at: since_1970(),
        took: began.elapsed(),
        command: command(std::env::args()),
        bytes: settings.bytes,
        bursts: settings.bursts,
        scenarios,
    };
    print!("{}", report::table(&report));
    if let Some(path) = &settings.json {
        write(path, &report::json(&report))?;
    }
    Ok(())
}

/// All ways take turns, burst by burst.
fn measure(
    settings: &CeilingsSettings,
    ways: &[Way],
    viewers: usize,
    mut told: impl FnMut(),
) -> io::Result<Scenario> {
    let mut sender = Sender::new(viewers, settings.bytes)?;
    let mut costs = vec![Vec::new(); ways.len()];
    // The first burst of each warms up.
    for round in 0..=settings.bursts {
        for (place, way) in ways.iter().enumerate() {
            let began = spent();
            let packets = sender.burst(*way)?;
            let took = spent().saturating_sub(began);
            let came = sender.drain();
            if way.call != Call::None && came != packets {
                return Err(io::Error::other(format!(
                    "{came} of {packets} packets came"
                )));
            }
            if round > 0 {
                costs[place].push(took.as_secs_f64() * 1e6 / packets as f64);
            }
        }
        if round > 0 {
            told();
        }
    }
    let each = ways.iter().zip(costs);
    let rows = each.filter_map(|(way, costs)| {
        let all = Summary::of(costs)?;
        Some(Row {
            way: way.name(),
            seals: way.seals,
            segments: way.segments as f64,
            cpu_us_per_packet: all.median,
            least_us_per_packet: all.min,
        })
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.extend(measure_stream(settings.camera, &mut sender)?);
    drop(sender);
    rows.extend(receiving::measure(viewers)?);
    Ok(Scenario { viewers, rows })
}

/// The packets of a stream as they come: most ticks have fewer packets than a burst, and of
/// different lengths.
fn measure_stream(camera: CameraSettings, sender: &mut Sender) -> io::Result<Option<Row>> {
    let (mut all, mut calls) = (0, 0);
    let mut costs = Vec::new();
    let ticks = stream::ticks(camera, STREAM_PART);
    for _ in 0..STREAM_PARTS {
        let (mut took, mut packets) = (Duration::ZERO, 0);
        for tick in &ticks {
            let began = spent();
            let sent = sender.tick(tick)?;
            took += spent().saturating_sub(began);
            let came = sender.drain();
            if came != sent.0 {
                return Err(io::Error::other(format!(
                    "{came} of {} packets came",
                    sent.0
                )));
            }
            packets += sent.0;
            calls += sent.1;
        }
        all += packets;
        costs.push(took.as_secs_f64() * 1e6 / packets as f64);
    }
    let megabits = f64::from(camera.video_bitrate) / 1e6;
    Ok(Summary::of(costs).map(|costs| Row {
        way: format!(
            "AES-128-GCM + sendmsg, {megabits} Mbit/s, {:?}",
            stream::TICK
        ),
        seals: true,
        segments: all as f64 / calls as f64,
        cpu_us_per_packet: costs.median,
        least_us_per_packet: costs.min,
    }))
}
