//! `GET /api/stats`: all that the operators' page draws, at one moment.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::super::app::App;
use super::super::events::reason;
use super::super::problem::Problem;
use super::super::sessions::{DEPARTURES, Tally};
use super::super::status::{Peers, no_store};
use super::api::{self, ChannelBody};
use crate::broadcast::{ChannelSnapshot, Snapshot};

/// Most channels in the answer: the page asks for it every second.
const MAX_CHANNELS: usize = 200;

/// The answer. Counters begin at zero in each process.
#[derive(Serialize)]
struct StatsBody {
    version: &'static str,
    /// Which life of the server this is.
    boot: u64,
    /// Differs in every process.
    process: String,
    mode: &'static str,
    /// When the process started, in ms since 1970, and for how long it has run, in ms.
    started_ms: u64,
    uptime_ms: u64,
    peers: Peers,
    /// Of all channels: how many are live, and how many viewers they have together.
    live: usize,
    viewers: usize,
    /// Those that most watch, by name; and how many others there are.
    channels: Vec<ChannelBody>,
    more_channels: usize,
    media: Media,
    resume: Resume,
}

/// Counts of media; see docs/metrics.md, which has them under longer names.
#[derive(Serialize)]
struct Media {
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    retransmitted: u64,
    /// Left out since sending fell behind, and datagrams that the kernel did not take.
    overrun: u64,
    dropped: u64,
    /// Asked for again by viewers, and of publishers.
    nacks_received: u64,
    nacks_sent: u64,
    /// Blocks of viewers' receiver reports, and the sum of the fractions that they report as lost.
    loss_reports: u64,
    loss_sum: f64,
}

/// How browsers of the last boot came back. Times are in ms since the start of the process.
#[derive(Serialize)]
struct Resume {
    /// When all records were read and newcomers let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_ms: Option<u64>,
    back: u64,
    /// Those who did not come back, by reason.
    lost: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p90_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ms: Option<u32>,
    /// Times, and how many were back by then, at most a hundred.
    curve: Vec<(u32, usize)>,
}

impl Media {
    fn new(counts: &Snapshot, dropped: u64) -> Self {
        Self {
            received: counts.packets_in,
            received_bytes: counts.bytes_in,
            sent: counts.packets_out,
            sent_bytes: counts.bytes_out,
            retransmitted: counts.retransmitted,
            overrun: counts.overrun,
            dropped,
            nacks_received: counts.nacked,
            nacks_sent: counts.nacks,
            loss_reports: counts.loss.count,
            loss_sum: counts.loss.ratios(),
        }
    }
}

impl From<&Tally> for Resume {
    fn from(tally: &Tally) -> Self {
        let comeback = tally.comeback();
        let by_reason = DEPARTURES.map(reason).into_iter().zip(tally.lost);
        let unreadable = ("unreadable", tally.unreadable);
        Self {
            ready_ms: tally
                .ready
                .map(|ready| u64::try_from(ready.as_millis()).unwrap_or(u64::MAX)),
            back: comeback.back(),
            lost: by_reason
                .chain([unreadable])
                .filter(|(_, count)| *count > 0)
                .collect(),
            median_ms: comeback.percentile(50),
            p90_ms: comeback.percentile(90),
            last_ms: comeback.percentile(100),
            curve: comeback.curve(),
        }
    }
}

/// Takes out all but the channels that are live and most watch. Returns how many those were.
fn keep_busiest(channels: &mut Vec<ChannelSnapshot>) -> usize {
    let more = channels.len().saturating_sub(MAX_CHANNELS);
    if more > 0 {
        channels.sort_by_key(|one| (Reverse(one.live), Reverse(one.viewers)));
        channels.truncate(MAX_CHANNELS);
        channels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }
    more
}

pub(super) async fn stats(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    // Not only once all records are read: what comes back before is what one wants to see.
    let mut snapshot = app.health.snapshot(&app.net, &app.sessions).await?;
    let live = snapshot.channels.iter().filter(|one| one.live).count();
    let viewers = snapshot.channels.iter().map(|one| one.viewers).sum();
    let more_channels = keep_busiest(&mut snapshot.channels);
    let uptime = app.started.elapsed();
    let started = SystemTime::now().checked_sub(uptime);
    let since = started.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(no_store(Json(StatsBody {
        version: env!("CARGO_PKG_VERSION"),
        boot: app.boot,
        process: app.process.clone(),
        mode: app.mode.name(),
        started_ms: since.map_or(0, ms),
        uptime_ms: ms(uptime),
        peers: Peers::from(&snapshot),
        media: Media::new(&snapshot, app.net.dropped()),
        resume: Resume::from(&app.sessions.tally()),
        live,
        viewers,
        channels: api::bodies(&app, snapshot.channels),
        more_channels,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_channels_that_are_left_out_are_those_that_fewest_watch() {
        let channel = |number: usize| ChannelSnapshot {
            name: format!("c{number:03}"),
            live: number.is_multiple_of(2),
            viewers: number,
            ..ChannelSnapshot::default()
        };
        let mut all: Vec<_> = (0..450).map(channel).collect();
        assert_eq!(keep_busiest(&mut all), 250);
        let kept: Vec<_> = all.iter().map(|one| one.viewers).collect();
        let live: Vec<_> = (50..450).step_by(2).collect();
        assert_eq!(kept, live);
        assert_eq!(keep_busiest(&mut all), 0);
        assert_eq!(all.len(), 200);
    }
}
