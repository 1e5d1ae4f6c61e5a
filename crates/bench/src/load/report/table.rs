//! The table on the terminal.

use std::fmt::Write as _;

use super::{ArmResult, Report, Scenario};

/// The whole report as text.
pub(crate) fn write(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "rekindle {} ({} build), Linux {}, {} cores, {}; load before {}; seed {}",
        machine.rekindle,
        machine.profile,
        machine.kernel,
        machine.cores,
        machine.processor,
        machine.load,
        report.conditions.seed
    );
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for scenario in &report.scenarios {
        let turns = scenario.servers.first().map_or(0, |arm| arm.turns.len());
        let _ = writeln!(
            text,
            "\n{}; medians of {turns} turns of {:.0} s",
            scenario.title(&report.conditions),
            report.conditions.time.as_secs_f64()
        );
        one(&mut text, scenario);
    }
    let _ = writeln!(text, "\ntook {:.0} s", report.took.as_secs_f64());
    text
}

fn one(text: &mut String, scenario: &Scenario) {
    let width = scenario.servers.iter().map(|arm| arm.name.len()).max();
    let width = width.unwrap_or_default().max(6);
    let _ = writeln!(
        text,
        "  {:<width$} {:>9} {:>7}  {:>22}  {:>22} {:>6}  {:>6} {:>10} {:>7}",
        "", "packets", "loss", "delay us", "server CPU us/packet", "", "", "KiB per", ""
    );
    let _ = writeln!(
        text,
        "  {:<width$} {:>9} {:>7}  {:>22}  {:>22} {:>6}  {:>6} {:>10} {:>7}",
        "server",
        "a second",
        "%",
        "p50 / p99 / max",
        "all (user + system)",
        "ratio",
        "cores",
        "viewer",
        "joins/s"
    );
    for arm in &scenario.servers {
        row(text, scenario, arm, width);
    }
    for arm in &scenario.servers {
        clients(text, arm);
    }
}

fn row(text: &mut String, scenario: &Scenario, arm: &ArmResult, width: usize) {
    let figures = &arm.median;
    let server = figures.server.as_ref();
    let cost = server.map_or_else(
        || "?".to_owned(),
        |one| {
            format!(
                "{:.2} ({:.2} + {:.2})",
                one.cpu_us_per_packet, one.user_us_per_packet, one.system_us_per_packet
            )
        },
    );
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "?".to_owned(), |value| format!("{value:.digits$}"))
    };
    let _ = writeln!(
        text,
        "  {:<width$} {:>9.0} {:>7.4}  {:>22}  {cost:>22} {:>6}  {:>6} {:>10} {:>7.0}",
        arm.name,
        figures.packets_per_second,
        figures.loss_percent,
        format!(
            "{:.0} / {:.0} / {:.0}",
            figures.delay_p50_us, figures.delay_p99_us, figures.delay_max_us
        ),
        figure(scenario.ratio(arm), 3),
        figure(server.map(|one| one.cores), 2),
        figure(server.map(|one| one.kib_per_viewer), 1),
        figures.joins_per_second,
    );
}

/// What else a reader has to know of a server's row.
fn clients(text: &mut String, arm: &ArmResult) {
    let figures = &arm.median;
    let threads = arm.threads.iter().filter(|one| one.cores >= 0.005);
    let threads: Vec<String> = threads
        .map(|one| {
            let many = if one.threads > 1 {
                format!(" x {}", one.threads)
            } else {
                String::new()
            };
            format!(
                "{}{many} {:.2} ({:.0} % user)",
                one.name,
                one.cores,
                one.user_share * 100.0
            )
        })
        .collect();
    let _ = writeln!(
        text,
        "  {}: clients {:.2} cores, late by {:.0} us (p99), {:.0} (max), dropped {:.0}, asked for \
         {:.0}, twice {:.0}; threads of the server, in cores: {}",
        arm.name,
        figures.clients_cores,
        figures.clients_late_p99_us,
        figures.clients_late_max_us,
        figures.dropped_by_clients,
        figures.packets_asked_for,
        figures.packets_repeated,
        if threads.is_empty() {
            "?".to_owned()
        } else {
            threads.join(", ")
        }
    );
}
