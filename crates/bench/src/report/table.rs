//! The table on the terminal.

use std::fmt::Write as _;

use super::heat::{self, Screen};
use super::{ArmResult, Report, ScenarioResult};
use crate::scenario::Arm;
use crate::stats::{Summary, ms};

/// The whole report as text.
pub(crate) fn write(report: &Report, screen: Screen) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "rekindle {} ({} build), Linux {}, {} cores, {}; seed {}",
        machine.rekindle,
        machine.profile,
        machine.kernel,
        machine.cores,
        machine.processor,
        report.conditions.seed
    );
    for cost in &report.handshakes {
        let _ = writeln!(
            text,
            "{}: {:.3} ms of the server's CPU time, mean of {}",
            cost.title().to_lowercase(),
            ms(cost.cpu),
            cost.handshakes
        );
    }
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for scenario in &report.scenarios {
        one(&mut text, scenario);
    }
    if let Some(sweep) = &report.sweep {
        text += &heat::write(sweep, screen);
    }
    for browser in &report.browsers {
        let _ = writeln!(
            text,
            "\n{}, round trip {} ms, loss {} %, down for {} ms: largest gap between shown frames \
             in ms ({:.0} without a restart)",
            browser.browser.name(),
            browser.conditions.rtt.as_millis(),
            browser.conditions.loss,
            browser.down,
            browser.calm_ms
        );
        for arm in &browser.arms {
            if let Some(gap) = arm.gap_ms {
                let _ = writeln!(
                    text,
                    "  {:<12} median {:.0}, p90 {:.0}, most {:.0}, of {}",
                    arm.arm.name(),
                    gap.median,
                    gap.p90,
                    gap.max,
                    gap.n
                );
            }
        }
    }
    if let Some(vault) = &report.vault {
        let read = vault.all_read_ms.map_or_else(String::new, |all| {
            format!("; all records read after {:.0} ms", all.median)
        });
        let _ = writeln!(
            text,
            "\na vault of {} peers, {} starts: first STUN answer {:.1} ms after the process \
             started (most {:.1} ms){read}",
            vault.peers, vault.starts, vault.first_stun_ms.median, vault.first_stun_ms.max
        );
    }
    let _ = writeln!(text, "\ntook {:.0} s", report.took.as_secs_f64());
    text
}

fn one(text: &mut String, result: &ScenarioResult) {
    let _ = writeln!(text, "\n{}", result.title());
    let _ = writeln!(
        text,
        "  {:<12} {:>6} {:>8} {:>8} {:>8} {:>8}  {:>9} {:>6} {:>8} {:>9} {:>11}",
        "gap in ms",
        "kills",
        "median",
        "p90",
        "p99",
        "max",
        "all back",
        "gone",
        "video",
        "restart",
        "disk writes"
    );
    let _ = writeln!(
        text,
        "  {:<12} {:>6} {:>8} {:>8} {:>8} {:>8}  {:>9} {:>6} {:>8} {:>9} {:>11}",
        "", "", "", "", "", "", "median", "", "lost", "CPU ms", "steady/rst"
    );
    for arm in &result.arms {
        row(text, arm);
    }
    if let (Some(ours), Some(full)) = (result.arm(Arm::Rehandshake), result.arm(Arm::FullState))
        && let (Some(ours), Some(full)) = (ours.gap_ms, full.gap_ms)
    {
        let _ = writeln!(
            text,
            "  rehandshake minus full-state, medians: {:.1} ms",
            ours.median - full.median
        );
    }
    for arm in &result.arms {
        phases(text, arm);
    }
}

fn row(text: &mut String, arm: &ArmResult) {
    let figure = |summary: Option<Summary>, pick: fn(Summary) -> f64| {
        summary.map_or_else(|| "-".to_owned(), |s| format!("{:.1}", pick(s)))
    };
    let writes = |written: Option<super::Written>| {
        written.map_or_else(|| "?".to_owned(), |w| w.changes.to_string())
    };
    let _ = writeln!(
        text,
        "  {:<12} {:>6} {:>8} {:>8} {:>8} {:>8}  {:>9} {:>6} {:>8} {:>9} {:>11}",
        arm.name(),
        arm.kills,
        figure(arm.gap_ms, |s| s.median),
        figure(arm.gap_ms, |s| s.p90),
        figure(arm.gap_ms, |s| s.p99),
        figure(arm.gap_ms, |s| s.max),
        figure(arm.all_back_ms, |s| s.median),
        arm.viewers_lost,
        figure(arm.video_packets_lost, |s| s.median),
        figure(arm.server.restart_cpu_ms, |s| s.median),
        format!(
            "{}/{}",
            writes(arm.server.steady_written),
            writes(arm.server.restart_written)
        ),
    );
    for complaint in &arm.complaints {
        let _ = writeln!(text, "    server: {complaint}");
    }
}

fn phases(text: &mut String, arm: &ArmResult) {
    let _ = writeln!(
        text,
        "  {}: steps in ms since the kill, median (p90)",
        arm.name()
    );
    let mut line = String::from("   ");
    for phase in &arm.phases {
        let part = format!(
            " {} {:.1} ({:.1});",
            phase.name, phase.at.median, phase.at.p90
        );
        if line.len() + part.len() > 130 {
            let _ = writeln!(text, "{line}");
            line = String::from("   ");
        }
        line += &part;
    }
    let _ = writeln!(text, "{}", line.trim_end_matches(';'));
}
