//! The page: one file without scripts, that loads nothing from anywhere.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::escape::escape;
use super::svg::{PARTS, colour, colour_of, distributions, phases};
use super::sweep_page;
use super::{ArmResult, BrowserResult, Report, ScenarioResult};
use crate::disk::Written;
use crate::machine::Machine;
use crate::scenario::Arm;
use crate::stats::{Summary, ms};
use crate::sweep::result::SweepResult;

const STYLE: &str = include_str!("style.css");

/// How a page begins.
pub(crate) fn head(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{}</title><style>\n{STYLE}</style></head><body><main>\n",
        escape(title)
    )
}

/// The day of a time since 1970, in UTC.
pub(crate) fn day(unix_seconds: u64) -> String {
    let at = i64::try_from(unix_seconds)
        .ok()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.map_or_else(String::new, |at| at.date().to_string())
}

/// The whole page.
pub(crate) fn write(report: &Report) -> String {
    let mut page = head(&format!(
        "What a restart costs those who watch: rekindle {}",
        report.machine.rekindle
    ));
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<h1>What a restart costs those who watch</h1><p class=\"lead\">The server's process was \
         killed with SIGKILL and started \
         again while clients watched. rekindle {}, {}, measured {}.</p>",
        escape(&report.machine.rekindle),
        escape(&report.machine.processor),
        day(report.made_at)
    );
    if let Some(first) = report.scenarios.first() {
        tiles(&mut page, first);
    }
    for note in &report.notes {
        let _ = write!(page, "<p class=\"note\">{}</p>", escape(note));
    }
    for scenario in &report.scenarios {
        section(&mut page, scenario);
    }
    if let Some(sweep) = &report.sweep {
        sweep_page::section(&mut page, sweep);
    }
    for browser in &report.browsers {
        browsers(&mut page, browser);
    }
    extras(&mut page, report);
    conditions(&mut page, report);
    page + "</main></body></html>\n"
}

fn tiles(page: &mut String, result: &ScenarioResult) {
    let _ = write!(
        page,
        "<h3>Median time without media: {}</h3><div class=\"tiles\">",
        escape(&result.title())
    );
    for arm in &result.arms {
        let median = arm
            .gap_ms
            .map_or_else(|| "none".to_owned(), |gap| format!("{:.0}", gap.median));
        let _ = write!(
            page,
            "<div class=\"tile\" style=\"border-top-color:{}\"><span \
             class=\"name\">{}</span><b>{median} <small>ms</small></b>\
             <span>{}.</span></div>",
            colour_of(arm),
            &arm.name(),
            what(arm.arm)
        );
    }
    page.push_str("</div>\n");
}

fn what(arm: Arm) -> &'static str {
    match arm {
        Arm::Rehandshake => "Same connection, fresh keys: no session key was ever on disk",
        Arm::FullState => {
            "Same connection, same keys: session keys lie on disk, and forward secrecy is given up"
        }
        Arm::Reconnect => "Every client makes a new session",
    }
}

fn section(page: &mut String, result: &ScenarioResult) {
    let _ = write!(page, "<section><h2>{}</h2>", escape(&result.title()));
    page.push_str("<div class=\"legend\">");
    for arm in &result.arms {
        legend(page, &colour_of(arm), &arm.name());
    }
    page.push_str("</div><h3>How many viewers were without media for how long at most</h3>");
    page.push_str(&distributions(&result.arms));
    page.push_str("<h3>Where the time goes, from the kill to the first packet (medians)</h3>");
    page.push_str(&phases(&result.arms));
    page.push_str("<div class=\"legend\">");
    for (name, text, _) in PARTS {
        legend(page, &format!("var(--{name})"), text);
    }
    page.push_str("</div><h3>In figures</h3>");
    table(page, &result.arms);
    steps(page, &result.arms);
    page.push_str("</section>\n");
}

fn legend(page: &mut String, colour: &str, name: &str) {
    let _ = write!(
        page,
        "<span><span class=\"key\" style=\"background:{colour}\"></span>{}</span>",
        escape(name)
    );
}

fn table(page: &mut String, arms: &[ArmResult]) {
    page.push_str("<div class=\"scroll\"><table><tr>");
    for head in [
        "",
        "kills",
        "gap, median<br>ms",
        "p90",
        "p99",
        "max",
        "all back<br>after ms",
        "viewers<br>lost",
        "video packets<br>lost, median",
        "new<br>sessions",
        "server CPU<br>for it, ms",
        "steady:<br>cores",
        "disk changes<br>steady / restart",
    ] {
        let _ = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr>");
    for arm in arms {
        let figure = |summary: Option<Summary>, pick: fn(Summary) -> f64| {
            summary.map_or_else(|| "–".to_owned(), |s| format!("{:.1}", pick(s)))
        };
        let changes = |written: Option<Written>| {
            written.map_or_else(|| "?".to_owned(), |w| w.changes.to_string())
        };
        let _ = write!(
            page,
            "<tr><td><span class=\"key\" style=\"background:{}\"></span>{}</td>",
            colour_of(arm),
            &arm.name()
        );
        for cell in [
            arm.kills.to_string(),
            figure(arm.gap_ms, |s| s.median),
            figure(arm.gap_ms, |s| s.p90),
            figure(arm.gap_ms, |s| s.p99),
            figure(arm.gap_ms, |s| s.max),
            figure(arm.all_back_ms, |s| s.median),
            arm.viewers_lost.to_string(),
            figure(arm.video_packets_lost, |s| s.median),
            arm.sessions_made.to_string(),
            figure(arm.server.restart_cpu_ms, |s| s.median),
            format!("{:.2}", arm.server.steady_cores),
            format!(
                "{} / {}",
                changes(arm.server.steady_written),
                changes(arm.server.restart_written)
            ),
        ] {
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn steps(page: &mut String, arms: &[ArmResult]) {
    page.push_str(
        "<details><summary>Every step, in ms since the kill: median (p90)</summary><div \
         class=\"scroll\"><table><tr><th></th>",
    );
    let mut names: Vec<&str> = Vec::new();
    for arm in arms {
        let _ = write!(page, "<th>{}</th>", &arm.name());
        for phase in &arm.phases {
            if !names.contains(&phase.name) {
                names.push(phase.name);
            }
        }
    }
    page.push_str("</tr>");
    for name in names {
        let _ = write!(page, "<tr><td>{}</td>", escape(name));
        for arm in arms {
            let at = arm.phases.iter().find(|phase| phase.name == name);
            let cell = at.map_or_else(
                || "–".to_owned(),
                |phase| format!("{:.1} ({:.1})", phase.at.median, phase.at.p90),
            );
            let _ = write!(page, "<td>{cell}</td>");
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></div></details>");
}

fn browsers(page: &mut String, result: &BrowserResult) {
    let _ = write!(
        page,
        "<section><h2>{}: largest gap between shown frames</h2><p>{}. Round trip {} ms, loss {} %, \
         down for {} ms; {:.0} ms without a restart.</p>",
        result.browser.name(),
        escape(&result.version),
        result.conditions.rtt.as_millis(),
        result.conditions.loss,
        result.down,
        result.calm_ms
    );
    page.push_str(
        "<table><tr><th></th><th>kills</th><th>median, ms</th><th>p90</th><th>most</th></tr>",
    );
    for arm in &result.arms {
        if let Some(gap) = arm.gap_ms {
            let _ = write!(
                page,
                "<tr><td><span class=\"key\" \
                 style=\"background:{}\"></span>{}</td><td>{}</td><td>{:.0}</td><td>{:.0}</td>\
                 <td>{:.0}</td></tr>",
                colour(arm.arm),
                arm.arm.name(),
                gap.n,
                gap.median,
                gap.p90,
                gap.max
            );
        }
    }
    page.push_str("</table></section>\n");
}

fn extras(page: &mut String, report: &Report) {
    if report.handshakes.is_empty() && report.vault.is_none() {
        return;
    }
    page.push_str("<section><h2>The server by itself</h2><dl>");
    for cost in &report.handshakes {
        row(
            page,
            &cost.title(),
            &format!(
                "{:.3} ms of CPU time, all in (mean of {})",
                ms(cost.cpu),
                cost.handshakes
            ),
        );
    }
    if let Some(vault) = &report.vault {
        row(
            page,
            &format!("A vault of {} peers", vault.peers),
            &format!(
                "first STUN answer {:.1} ms after the process was started (median of {}; most \
                 {:.1} ms){}",
                vault.first_stun_ms.median,
                vault.starts,
                vault.first_stun_ms.max,
                vault.all_read_ms.map_or_else(String::new, |all| format!(
                    "; all records read after {:.0} ms",
                    all.median
                ))
            ),
        );
    }
    page.push_str("</dl></section>\n");
}

fn conditions(page: &mut String, report: &Report) {
    let run = &report.conditions;
    page.push_str("<section><h2>How this was measured</h2>");
    let native = |sweep: &SweepResult| sweep.rows.iter().any(|one| one.row.version.is_none());
    if !report.scenarios.is_empty() || report.sweep.as_ref().is_some_and(native) {
        page.push_str(
            "<p>Native clients join by WHIP and WHEP: ICE, DTLS and SRTP of their own, no decoder. \
             They authenticate every packet, ask again for what is missing, and follow the event \
             stream as the page does. A gap lasts from the last authentic packet of the old \
             process to the first of the new one. The arms take turns within one run. Delay and \
             loss act between clients and server, in both directions, on HTTP too (delay \
             only).</p>",
        );
    }
    if !report.scenarios.is_empty() {
        page.push_str(
            "<p>A video packet counts as lost if it has not come by the end of the measurement, by \
             retransmission or otherwise. Disk changes are what the kernel tells of the state \
             folder, the only place that the server's sandbox lets it write to: files made, \
             written, renamed or removed.</p>",
        );
    }
    page.push_str("<dl>");
    row(
        page,
        "Command",
        &format!("<code>{}</code>", escape(&run.command)),
    );
    machine(page, &report.machine);
    row(page, "Seed", &run.seed.to_string());
    row(
        page,
        "Media",
        "Opus, and video at the rate that each measurement names",
    );
    row(
        page,
        "Clients",
        &format!(
            "renew keys as {}; offer DTLS {}; a new session refused for now is tried again after \
             {:.0} ms",
            match run.client {
                Some(crate::Browser::Chromium) => "Chromium does",
                Some(crate::Browser::Firefox) => "Firefox does",
                None => "the browser that each row names",
            },
            run.dtls
                .iter()
                .map(|dtls| dtls.name())
                .collect::<Vec<_>>()
                .join(", in turns "),
            ms(run.retry)
        ),
    );
    if let Some(url) = &run.against {
        row(page, "Server", &escape(url));
    }
    row(page, "Took", &format!("{:.0} s", report.took.as_secs_f64()));
    page.push_str("</dl></section>\n");
}

/// Where a run was made.
pub(crate) fn machine(page: &mut String, machine: &Machine) {
    row(
        page,
        "rekindle",
        &format!(
            "{}, {} build, features {}",
            machine.rekindle, machine.profile, machine.features
        ),
    );
    row(page, "Compiler", &escape(&machine.compiler));
    row(
        page,
        "Machine",
        &format!(
            "{}, {} cores, {} MiB, {}",
            escape(&machine.processor),
            machine.cores,
            machine.memory_mib,
            machine.architecture
        ),
    );
    row(
        page,
        "Kernel",
        &format!("Linux {}", escape(&machine.kernel)),
    );
    row(page, "Load before the run", &escape(&machine.load));
}

pub(crate) fn row(page: &mut String, name: &str, value: &str) {
    let _ = write!(page, "<dt>{name}</dt><dd>{value}</dd>");
}

#[cfg(test)]
mod tests;
