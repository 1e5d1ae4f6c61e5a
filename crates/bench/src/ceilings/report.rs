//! The result of a run of `ceilings`.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::machine::Machine;
use crate::stats::as_ms;

/// A run's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub machine: Machine,
    /// Seconds since 1970.
    pub made_at: u64,
    #[serde(rename = "took_ms", serialize_with = "as_ms")]
    pub took: Duration,
    /// How to run it again.
    pub command: String,
    pub bytes: usize,
    pub bursts: usize,
    pub scenarios: Vec<Scenario>,
}

/// The result for one number of viewers.
#[derive(Debug, Serialize)]
pub(crate) struct Scenario {
    pub viewers: usize,
    pub rows: Vec<Row>,
}

/// The cost of one way of sending.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub way: String,
    /// Whether every packet is encrypted.
    pub seals: bool,
    /// Packets in a system call, on average.
    pub segments: f64,
    /// CPU time, the median of the bursts.
    pub cpu_us_per_packet: f64,
    /// The same of the fastest burst.
    pub least_us_per_packet: f64,
}

/// The table on the terminal.
pub(crate) fn table(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "{} build, Linux {}, {} cores, {}; load {}; packets of {} bytes, medians of {} bursts",
        machine.profile,
        machine.kernel,
        machine.cores,
        machine.processor,
        machine.load,
        report.bytes,
        report.bursts
    );
    for scenario in &report.scenarios {
        let _ = writeln!(
            text,
            "\n{} viewers: CPU time for a packet, in us\n  {:<36} {:>7} {:>7} {:>16}",
            scenario.viewers, "", "median", "least", "packets/s a core"
        );
        for row in &scenario.rows {
            let _ = writeln!(
                text,
                "  {:<36} {:>7.3} {:>7.3} {:>16.0}",
                row.way,
                row.cpu_us_per_packet,
                row.least_us_per_packet,
                1e6 / row.cpu_us_per_packet
            );
        }
    }
    let _ = writeln!(text, "\ntook {:.0} s", report.took.as_secs_f64());
    text
}

/// The whole result as JSON.
pub(crate) fn json(report: &Report) -> String {
    // All keys are text, so this cannot fail.
    serde_json::to_string_pretty(report).unwrap_or_default() + "\n"
}
