//! `rekindle-bench resume --sweep`: the same clients go through kill after kill, with another down
//! time at each, so that times at which attempts collide show as points that stand out from their
//! neighbours.
//!
//! - What is tried: `grid`. The clients: `native`, `real`.
//! - The result: `progress` during the run, `result` at the end.

mod grid;
mod native;
mod progress;
mod real;
pub(super) mod result;

use std::collections::BTreeSet;

pub(crate) use grid::Grid;
use rekindle_client::random::Random;

use super::error::BenchError;
use super::scenario::Arm;
use super::stop::Stop;
use super::{Browser, Settings, Sweep};
use grid::shuffle;
use progress::Progress;
use result::{Reading, Row, SweepResult};

/// Round trips in milliseconds, where none are given.
const RTTS_MS: [u64; 4] = [0, 20, 50, 100];
/// Estimated duration of a kill in addition to the down time, in milliseconds.
const NATIVE_MS: u64 = 1000;
const REAL_MS: u64 = 3000;
/// How often a point beyond the limit is measured again.
const AGAIN: usize = 2;

/// A server and its viewers, each in a row of its own.
trait Broadcast {
    /// The largest gap between media while nothing happens, of each client in milliseconds; `None`
    /// where the run was asked to end.
    fn calm(&mut self, stop: &Stop) -> Result<Option<Vec<f64>>, BenchError>;

    /// Kills the server, starts it again `down` milliseconds after the kill, and says what each
    /// client saw; `None` where the run was asked to end before that was known.
    fn kill(&mut self, down: u64, stop: &Stop) -> Result<Option<Vec<Reading>>, BenchError>;

    /// What a real browser calls itself.
    fn version(&self) -> Option<String>;
}

/// A round-trip time, and the clients that go through all down times together.
struct Strip {
    rtt: u64,
    clients: Vec<Browser>,
    arms: Vec<Arm>,
}

/// The result.
pub(super) struct Swept {
    pub result: SweepResult,
    /// The error that ended it, if any.
    pub error: Option<BenchError>,
}

/// Runs the sweep that the settings ask for.
pub(super) fn measure(settings: &Settings, arms: &[Arm], stop: &Stop) -> Swept {
    let real = !settings.browsers.is_empty();
    let grid = match settings.sweep {
        Some(Sweep::Over(grid)) => grid,
        _ if real => Grid::BROWSERS,
        _ => Grid::NATIVE,
    };
    let mut random = Random::new(settings.seed);
    let strips = strips(settings, arms, &mut random);
    let per_strip = grid.downs().len();
    let each_ms = if real { REAL_MS } else { NATIVE_MS };
    let kills: usize = strips
        .iter()
        .map(|strip| strip.arms.len() * per_strip)
        .sum();
    let down_ms: u64 = grid.downs().iter().sum();
    let broadcasts: usize = strips.iter().map(|strip| strip.arms.len()).sum();
    let ms = down_ms * broadcasts as u64 + each_ms * kills as u64;
    let planned = strips
        .iter()
        .map(|s| s.arms.len() * s.clients.len() * per_strip)
        .sum();
    let mut run = Run {
        settings,
        stop,
        random,
        progress: Progress::new((kills as u64, ms)),
        each_ms,
        rows: Vec::new(),
        kills: 0,
    };
    let mut error = None;
    for strip in &strips {
        match run.strip(strip, &grid) {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => {
                error = Some(why);
                break;
            }
        }
    }
    run.progress.finish();
    let mut rows = run.rows;
    rows.sort_by_key(|row| (row.arm, row.client != Browser::Chromium, row.rtt_ms));
    let cut_short = stop.is_asked() || error.is_some();
    Swept {
        result: SweepResult::of(grid, settings.seed, rows, planned, run.kills, cut_short),
        error,
    }
}

/// Native clients of both manners share a server and its kills, and the arms take turns at each
/// down time. Real browsers need the machine for themselves.
fn strips(settings: &Settings, arms: &[Arm], random: &mut Random) -> Vec<Strip> {
    let given = settings.axes.rtt.clone();
    let rtts: BTreeSet<u64> = given
        .unwrap_or_else(|| RTTS_MS.to_vec())
        .into_iter()
        .collect();
    let mut strips = Vec::new();
    for rtt in rtts {
        if settings.browsers.is_empty() {
            let both = || vec![Browser::Chromium, Browser::Firefox];
            strips.push(Strip {
                rtt,
                clients: settings.client.map_or_else(both, |client| vec![client]),
                arms: arms.to_vec(),
            });
            continue;
        }
        for client in &settings.browsers {
            strips.extend(arms.iter().map(|arm| Strip {
                rtt,
                clients: vec![*client],
                arms: vec![*arm],
            }));
        }
    }
    shuffle(random, &mut strips);
    strips
}

struct Run<'a> {
    settings: &'a Settings,
    stop: &'a Stop,
    random: Random,
    progress: Progress,
    each_ms: u64,
    rows: Vec<Row>,
    kills: u64,
}

impl Run<'_> {
    /// Goes through all down times at one round-trip time; false where the run was asked to end.
    fn strip(&mut self, strip: &Strip, grid: &Grid) -> Result<bool, BenchError> {
        let names: Vec<&str> = strip.clients.iter().map(|client| client.name()).collect();
        self.progress.doing(format!(
            "round trip {} ms, {}",
            strip.rtt,
            names.join(" and ")
        ));
        let mut broadcasts = Vec::new();
        for arm in &strip.arms {
            let Some(broadcast) = self.open(strip, *arm)? else {
                return Ok(false);
            };
            broadcasts.push(broadcast);
        }
        self.strip_with(strip, grid, broadcasts)
    }

    /// The same with a broadcast for each arm.
    fn strip_with(
        &mut self,
        strip: &Strip,
        grid: &Grid,
        mut broadcasts: Vec<Box<dyn Broadcast>>,
    ) -> Result<bool, BenchError> {
        let first_row = self.rows.len();
        for (arm, broadcast) in strip.arms.iter().zip(&broadcasts) {
            self.rows.extend(strip.clients.iter().map(|client| Row {
                arm: *arm,
                client: *client,
                version: broadcast.version(),
                rtt_ms: strip.rtt,
                calm_ms: 0.0,
                points: Vec::new(),
            }));
        }
        if !self.calm(strip, first_row, &mut broadcasts)? {
            return Ok(false);
        }
        let mut downs = grid.downs();
        shuffle(&mut self.random, &mut downs);
        for (turn, down) in downs.into_iter().enumerate() {
            for place in 0..broadcasts.len() {
                // None of the arms is always the first.
                let place = (place + turn) % broadcasts.len();
                if !self.point(strip, first_row, place, &mut broadcasts, down)? {
                    return Ok(false);
                }
            }
        }
        if !self.again(strip, first_row, &mut broadcasts)? {
            return Ok(false);
        }
        self.calm(strip, first_row, &mut broadcasts)
    }

    /// What passes between media without any kill: the most that was ever seen.
    fn calm(
        &mut self,
        strip: &Strip,
        first_row: usize,
        broadcasts: &mut [Box<dyn Broadcast>],
    ) -> Result<bool, BenchError> {
        for (place, broadcast) in broadcasts.iter_mut().enumerate() {
            let Some(calm) = broadcast.calm(self.stop)? else {
                return Ok(false);
            };
            let first = first_row + place * strip.clients.len();
            for (row, calm) in self.rows[first..].iter_mut().zip(calm) {
                row.calm_ms = row.calm_ms.max(calm);
            }
        }
        Ok(true)
    }

    /// Measures again what is beyond the limit.
    fn again(
        &mut self,
        strip: &Strip,
        first_row: usize,
        broadcasts: &mut [Box<dyn Broadcast>],
    ) -> Result<bool, BenchError> {
        let clients = strip.clients.len();
        for place in 0..broadcasts.len() {
            let rows = &self.rows[first_row + place * clients..][..clients];
            let beyond: BTreeSet<u64> = rows.iter().flat_map(Row::beyond).collect();
            let beyond: Vec<u64> = beyond.into_iter().collect();
            let ms = beyond.iter().map(|down| down + self.each_ms).sum::<u64>();
            self.progress
                .more((beyond.len() * AGAIN) as u64, ms * AGAIN as u64);
            for _ in 0..AGAIN {
                let mut downs = beyond.clone();
                shuffle(&mut self.random, &mut downs);
                for down in downs {
                    if !self.point(strip, first_row, place, broadcasts, down)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }

    /// One kill of one broadcast; false where the run was asked to end.
    fn point(
        &mut self,
        strip: &Strip,
        first_row: usize,
        place: usize,
        broadcasts: &mut [Box<dyn Broadcast>],
        down: u64,
    ) -> Result<bool, BenchError> {
        let Some(readings) = broadcasts[place].kill(down, self.stop)? else {
            return Ok(false);
        };
        self.kills += 1;
        self.progress.done(down + self.each_ms);
        let all_came = readings.iter().all(|reading| reading.gap_ms.is_some());
        let row = first_row + place * strip.clients.len();
        for (row, reading) in self.rows[row..].iter_mut().zip(readings) {
            row.take(down, reading);
        }
        if !all_came {
            // Clients that do not come back are no measure of what comes after.
            let Some(anew) = self.open(strip, strip.arms[place])? else {
                return Ok(false);
            };
            broadcasts[place] = anew;
        }
        Ok(!self.stop.is_asked())
    }

    fn open(&mut self, strip: &Strip, arm: Arm) -> Result<Option<Box<dyn Broadcast>>, BenchError> {
        if self.stop.is_asked() {
            return Ok(None);
        }
        let seed = self.random.draw();
        if self.settings.browsers.is_empty() {
            let native = native::Native::open(self.settings, strip, arm, seed)?;
            return Ok(Some(Box::new(native)));
        }
        let real = real::Real::open(
            self.settings,
            strip.clients[0],
            strip.rtt,
            arm,
            seed,
            self.stop,
        )?;
        Ok(real.map(|real| Box::new(real) as Box<dyn Broadcast>))
    }
}

#[cfg(test)]
mod tests;
