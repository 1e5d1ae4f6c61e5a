//! What a sweep gave, and how that compares with the aim.

use serde::Serialize;

use super::grid::Grid;
use crate::Browser;
use crate::scenario::Arm;
use crate::stats::Summary;

/// The least number of points that are named, however good they are.
const NAMED: usize = 5;

/// What a restart may cost: so many milliseconds and so many round trips, besides what passes
/// between media without any kill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Aim {
    pub ms: f64,
    pub round_trips: f64,
}

/// For the median of a row, and for its worst point.
pub(crate) const MEDIAN: Aim = Aim {
    ms: 60.0,
    round_trips: 3.0,
};
pub(crate) const WORST: Aim = Aim {
    ms: 120.0,
    round_trips: 5.0,
};

impl Aim {
    fn limit(self, calm_ms: f64, rtt_ms: u64) -> f64 {
        calm_ms + self.ms + self.round_trips * rtt_ms as f64
    }
}

/// One kill, as one viewer saw it. All times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Reading {
    /// Which kill of its clients it was, from 1.
    pub kill: u32,
    /// From the kill to the start of the new process, as it came to be.
    pub down_measured_ms: Option<f64>,
    /// Without media; `None` where none came any more.
    pub gap_ms: Option<f64>,
    /// That minus the down time.
    pub over_ms: Option<f64>,
    /// New sessions that its clients made, since their connections could not be kept.
    pub new_sessions: u32,
    /// Since the kill: until the new process served, both clients had begun their last handshake,
    /// and had keys.
    pub serving_ms: Option<f64>,
    pub publisher_hello_ms: Option<f64>,
    pub publisher_keys_ms: Option<f64>,
    pub viewer_hello_ms: Option<f64>,
    pub viewer_keys_ms: Option<f64>,
}

/// All that was measured at one down time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Point {
    pub down_ms: u64,
    /// The first one, and those of the same down time at the end.
    pub readings: Vec<Reading>,
}

impl Point {
    /// Gap minus down time of every reading; infinite where no media came any more.
    fn overs(&self) -> impl Iterator<Item = f64> + Clone + '_ {
        self.readings
            .iter()
            .map(|reading| reading.over_ms.unwrap_or(f64::INFINITY))
    }

    /// The median of the readings.
    pub(crate) fn typical(&self) -> Option<f64> {
        Summary::of(self.overs()).map(|all| all.median)
    }

    /// How many readings are beyond a limit.
    pub(crate) fn beyond(&self, limit: f64) -> usize {
        self.overs().filter(|over| *over > limit).count()
    }

    /// Whether at least half of the readings are beyond it.
    fn is_beyond(&self, limit: f64) -> bool {
        let beyond = self.beyond(limit);
        beyond > 0 && 2 * beyond >= self.readings.len()
    }
}

/// One broadcast at one round trip, whose clients went through all down times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    pub arm: Arm,
    pub client: Browser,
    /// A real browser's words for itself; `None` for a native client in its manner.
    pub version: Option<String>,
    pub rtt_ms: u64,
    /// Largest gap between media of the same viewer without any kill.
    pub calm_ms: f64,
    /// The shortest down time first.
    pub points: Vec<Point>,
}

impl Row {
    /// In words. `arms`: there are several.
    pub(crate) fn title(&self, arms: bool) -> String {
        let arm = if arms {
            format!("{} ", self.arm.name())
        } else {
            String::new()
        };
        format!("{arm}{} {} ms", self.client.name(), self.rtt_ms)
    }

    pub(crate) fn limit(&self, aim: Aim) -> f64 {
        aim.limit(self.calm_ms, self.rtt_ms)
    }

    pub(crate) fn point(&self, down: u64) -> Option<&Point> {
        self.points.iter().find(|point| point.down_ms == down)
    }

    /// Adds a reading.
    pub(crate) fn take(&mut self, down: u64, reading: Reading) {
        match self
            .points
            .binary_search_by_key(&down, |point| point.down_ms)
        {
            Ok(at) => self.points[at].readings.push(reading),
            Err(at) => self.points.insert(
                at,
                Point {
                    down_ms: down,
                    readings: vec![reading],
                },
            ),
        }
    }

    /// Down times with a reading beyond the limit for the worst.
    pub(crate) fn beyond(&self) -> Vec<u64> {
        let limit = self.limit(WORST);
        let beyond = self.points.iter().filter(|point| point.beyond(limit) > 0);
        beyond.map(|point| point.down_ms).collect()
    }

    pub(crate) fn summary(&self) -> Option<RowSummary> {
        let first = self.points.iter().filter_map(|point| point.overs().next());
        let all = self.points.iter().flat_map(Point::overs);
        let limit = self.limit(WORST);
        let median_ms = Summary::of(first)?.median;
        let beyond = self
            .points
            .iter()
            .filter(|point| point.beyond(limit) > 0)
            .count();
        let repeated = self
            .points
            .iter()
            .filter(|point| point.is_beyond(limit))
            .count();
        Some(RowSummary {
            median_ms,
            median_limit_ms: self.limit(MEDIAN),
            median_met: median_ms <= self.limit(MEDIAN),
            worst_ms: all.fold(f64::NEG_INFINITY, f64::max),
            worst_typical_ms: self
                .points
                .iter()
                .filter_map(Point::typical)
                .fold(f64::NEG_INFINITY, f64::max),
            worst_limit_ms: limit,
            worst_met: repeated == 0,
            points_beyond: beyond,
            points_beyond_again: repeated,
            new_sessions: self
                .points
                .iter()
                .flat_map(|p| &p.readings)
                .map(|r| r.new_sessions)
                .sum(),
        })
    }
}

/// What is said of a row; times are gap minus down time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct RowSummary {
    /// Of the first reading of every point.
    pub median_ms: f64,
    pub median_limit_ms: f64,
    pub median_met: bool,
    /// Of all readings. JSON has `null` where no media came any more.
    pub worst_ms: f64,
    /// Of the medians of every point's readings.
    pub worst_typical_ms: f64,
    pub worst_limit_ms: f64,
    /// No point is beyond the limit in half of its readings.
    pub worst_met: bool,
    /// Points with a reading beyond the limit, and those with half of them.
    pub points_beyond: usize,
    pub points_beyond_again: usize,
    pub new_sessions: u32,
}

impl RowSummary {
    /// How it compares with the aim, in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.median_met, self.worst_met) {
            (true, true) if self.points_beyond == 0 => "met",
            (true, true) => "met but for hiccups",
            (true, false) => "missed by the worst",
            (false, true) => "missed by the median",
            (false, false) => "missed",
        }
    }
}

/// A point that is named.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Named {
    pub arm: Arm,
    pub client: Browser,
    pub rtt_ms: u64,
    pub down_ms: u64,
    /// Of the worst reading.
    pub gap_ms: Option<f64>,
    /// Of all readings, in their order.
    pub over_ms: Vec<Option<f64>>,
    pub limit_ms: f64,
    /// Readings beyond the limit.
    pub beyond: usize,
}

impl Named {
    /// Whether what was seen is there again: "3 of 3".
    pub(crate) fn repeated(&self) -> String {
        match (self.beyond, self.over_ms.len()) {
            (0, _) => "within".to_owned(),
            (_, 1) => "not measured again".to_owned(),
            (beyond, all) => format!("{beyond} of {all}"),
        }
    }
}

/// A whole sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SweepResult {
    #[serde(flatten)]
    pub grid: Grid,
    /// How long a viewer keeps media back.
    pub cushion_ms: u64,
    /// How the order of the points came about.
    pub order: String,
    pub aim_median: Aim,
    pub aim_worst: Aim,
    pub kills: u64,
    /// Somebody stopped it before its end.
    pub cut_short: bool,
    pub points_planned: usize,
    pub points_measured: usize,
    pub points_missing: usize,
    pub rows: Vec<RowResult>,
    /// The points that are beyond the limit or nearest to it, the worst first.
    pub worst: Vec<Named>,
}

/// A row with what is said of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RowResult {
    #[serde(flatten)]
    pub row: Row,
    pub summary: Option<RowSummary>,
}

impl SweepResult {
    /// `rows` in the order in which they are shown.
    pub(crate) fn of(
        grid: Grid,
        seed: u64,
        rows: Vec<Row>,
        planned: usize,
        kills: u64,
        cut_short: bool,
    ) -> Self {
        let measured = rows.iter().map(|row| row.points.len()).sum();
        Self {
            grid,
            cushion_ms: 0,
            order: format!("round trips, and down times at each of them, shuffled by seed {seed}"),
            aim_median: MEDIAN,
            aim_worst: WORST,
            kills,
            cut_short,
            points_planned: planned,
            points_measured: measured,
            points_missing: planned.saturating_sub(measured),
            worst: named(&rows),
            rows: rows
                .into_iter()
                .map(|row| RowResult {
                    summary: row.summary(),
                    row,
                })
                .collect(),
        }
    }

    /// More than one arm was measured.
    pub(crate) fn has_arms(&self) -> bool {
        self.rows
            .iter()
            .any(|one| one.row.arm != self.rows[0].row.arm)
    }
}

fn named(rows: &[Row]) -> Vec<Named> {
    let mut all: Vec<(bool, f64, Named)> = Vec::new();
    for row in rows {
        let limit = row.limit(WORST);
        for point in &row.points {
            let named = Named {
                arm: row.arm,
                client: row.client,
                rtt_ms: row.rtt_ms,
                down_ms: point.down_ms,
                gap_ms: point
                    .readings
                    .iter()
                    .max_by(|a, b| {
                        a.over_ms
                            .unwrap_or(f64::MAX)
                            .total_cmp(&b.over_ms.unwrap_or(f64::MAX))
                    })
                    .and_then(|reading| reading.gap_ms),
                over_ms: point
                    .readings
                    .iter()
                    .map(|reading| reading.over_ms)
                    .collect(),
                limit_ms: limit,
                beyond: point.beyond(limit),
            };
            all.push((
                point.is_beyond(limit),
                point.typical().unwrap_or_default() / limit,
                named,
            ));
        }
    }
    // What repeats itself before what does not.
    all.sort_by(|(a, x, one), (b, y, two)| {
        (b, two.beyond > 0)
            .cmp(&(a, one.beyond > 0))
            .then(y.total_cmp(x))
    });
    let beyond = all.iter().filter(|(_, _, named)| named.beyond > 0).count();
    all.truncate(beyond.max(NAMED));
    all.into_iter().map(|(_, _, named)| named).collect()
}

#[cfg(test)]
pub(crate) mod tests;
