//! The page: one file without scripts, that loads nothing from anywhere.

use std::fmt::Write as _;

use super::{ArmResult, Figures, Report, Scenario};
use crate::report::escape::escape;
use crate::report::html::{day, head, machine, row};

const USER: &str = "var(--rehandshake)";
const SYSTEM: &str = "var(--full-state)";

/// The whole page.
pub(crate) fn write(report: &Report) -> String {
    let mut page = head(&format!(
        "What it costs to forward media: rekindle {}",
        report.machine.rekindle
    ));
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<h1>What it costs to forward media</h1><p class=\"lead\">A publisher and its viewers, all \
         on one machine with the server. rekindle {}, {}, measured {}.</p>",
        escape(&report.machine.rekindle),
        escape(&report.machine.processor),
        day(report.made_at)
    );
    for note in &report.notes {
        let _ = write!(page, "<p class=\"note\">{}</p>", escape(note));
    }
    for scenario in &report.scenarios {
        section(&mut page, report, scenario);
    }
    conditions(&mut page, report);
    page + "</main></body></html>\n"
}

fn section(page: &mut String, report: &Report, scenario: &Scenario) {
    let _ = write!(
        page,
        "<section><h2>{}</h2><h3>CPU time of the server for each packet that was delivered</h3>",
        escape(&scenario.title(&report.conditions))
    );
    bars(page, scenario);
    let _ = write!(
        page,
        "<div class=\"legend\"><span><span class=\"key\" \
         style=\"background:{USER}\"></span>outside the kernel</span><span><span class=\"key\" \
         style=\"background:{SYSTEM}\"></span>in the kernel</span></div><h3>In figures, medians of \
         the turns</h3>"
    );
    table(page, scenario);
    threads(page, scenario);
    turns(page, scenario);
    page.push_str("</section>\n");
}

/// A bar for each server, in two parts.
fn bars(page: &mut String, scenario: &Scenario) {
    const HEIGHT: usize = 34;
    let costs: Vec<_> = scenario
        .servers
        .iter()
        .filter_map(|arm| Some((arm, arm.median.server.as_ref()?)))
        .collect();
    let most = costs.iter().map(|(_, one)| one.cpu_us_per_packet);
    let most = most.fold(0.0, f64::max).max(1e-9);
    let _ = write!(page, "<svg viewBox=\"0 0 900 {}\">", costs.len() * HEIGHT);
    for (place, (arm, one)) in costs.iter().enumerate() {
        let (y, width) = (place * HEIGHT, 560.0 / most);
        let user = one.user_us_per_packet * width;
        let system = one.system_us_per_packet * width;
        let _ = write!(
            page,
            "<text class=\"strong\" x=\"0\" y=\"{}\">{}</text>\
             <rect x=\"220\" y=\"{}\" width=\"{user:.1}\" height=\"20\" style=\"fill:{USER}\"/>\
             <rect x=\"{:.1}\" y=\"{}\" width=\"{system:.1}\" height=\"20\" \
             style=\"fill:{SYSTEM}\"/><text class=\"strong\" x=\"{:.1}\" y=\"{}\">{:.2} us</text>",
            y + 21,
            escape(&arm.name),
            y + 6,
            220.0 + user,
            y + 6,
            228.0 + user + system,
            y + 21,
            one.cpu_us_per_packet
        );
    }
    page.push_str("</svg>");
}

fn header(page: &mut String, heads: &[&str]) {
    page.push_str("<div class=\"scroll\"><table><tr>");
    for head in heads {
        let _ = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr>");
}

fn table(page: &mut String, scenario: &Scenario) {
    header(
        page,
        &[
            "",
            "packets<br>a second",
            "lost<br>%",
            "delay, median<br>us",
            "p99",
            "max",
            "CPU for a packet<br>us",
            "outside<br>the kernel",
            "in<br>the kernel",
            "ratio",
            "cores",
            "KiB for<br>a viewer",
            "joins<br>a second",
        ],
    );
    for arm in &scenario.servers {
        let _ = write!(page, "<tr><td>{}</td>", escape(&arm.name));
        cells(page, &arm.median, scenario.ratio(arm));
        page.push_str("</tr>");
    }
    page.push_str("</table></div>");
}

fn cells(page: &mut String, figures: &Figures, ratio: Option<f64>) {
    let server = figures.server.as_ref();
    let known = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for cell in [
        format!("{:.0}", figures.packets_per_second),
        format!("{:.4}", figures.loss_percent),
        format!("{:.0}", figures.delay_p50_us),
        format!("{:.0}", figures.delay_p99_us),
        format!("{:.0}", figures.delay_max_us),
        known(server.map(|one| one.cpu_us_per_packet), 2),
        known(server.map(|one| one.user_us_per_packet), 2),
        known(server.map(|one| one.system_us_per_packet), 2),
        known(ratio, 3),
        known(server.map(|one| one.cores), 2),
        known(server.map(|one| one.kib_per_viewer), 1),
        format!("{:.0}", figures.joins_per_second),
    ] {
        let _ = write!(page, "<td>{cell}</td>");
    }
}

fn threads(page: &mut String, scenario: &Scenario) {
    let known: Vec<&ArmResult> = scenario
        .servers
        .iter()
        .filter(|arm| !arm.threads.is_empty())
        .collect();
    if known.is_empty() {
        return;
    }
    page.push_str("<details><summary>Threads of the server, in the last turn</summary>");
    header(
        page,
        &["", "thread", "how many", "cores", "outside the kernel, %"],
    );
    for arm in known {
        for one in &arm.threads {
            let _ = write!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.0}</td></tr>",
                escape(&arm.name),
                escape(&one.name),
                one.threads,
                one.cores,
                one.user_share * 100.0
            );
        }
    }
    page.push_str("</table></div></details>");
}

fn turns(page: &mut String, scenario: &Scenario) {
    page.push_str("<details><summary>Every turn, and how the clients did</summary>");
    header(
        page,
        &[
            "",
            "packets<br>a second",
            "lost<br>%",
            "CPU for a packet<br>us",
            "cores of<br>the clients",
            "late, p99<br>us",
            "late, max<br>us",
            "dropped by<br>the clients",
            "asked for",
            "came twice",
        ],
    );
    for arm in &scenario.servers {
        for turn in &arm.turns {
            let cost = turn.server.as_ref().map(|one| one.cpu_us_per_packet);
            let cost = cost.map_or_else(|| "–".to_owned(), |cost| format!("{cost:.2}"));
            let _ = write!(
                page,
                "<tr><td>{}</td><td>{:.0}</td><td>{:.4}</td><td>{cost}</td><td>{:.2}</td>\
                 <td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td></tr>",
                escape(&arm.name),
                turn.packets_per_second,
                turn.loss_percent,
                turn.clients_cores,
                turn.clients_late_p99_us,
                turn.clients_late_max_us,
                turn.dropped_by_clients,
                turn.packets_asked_for,
                turn.packets_repeated
            );
        }
    }
    page.push_str("</table></div></details>");
}

fn conditions(page: &mut String, report: &Report) {
    let run = &report.conditions;
    page.push_str(
        "<section><h2>How this was measured</h2><p>Native clients join by WHIP and WHEP: ICE, DTLS \
         and SRTP of their own, no decoder. Viewers authenticate every packet, and ask again for \
         what is missing. They read their sockets every 4 ms and wait for none, so that no packet \
         wakes anybody at the server's cost. CPU time is the server's alone, as the kernel counts \
         it; the kernel's work for a packet up to the viewer's socket is in it, since all are on \
         one machine. Delay is from the publisher's payload to the kernel's stamp at the viewer's \
         socket. A packet counts as lost if it has not come half a second after the measurement. \
         Servers take turns within one run.</p><dl>",
    );
    let command = format!("<code>{}</code>", escape(&run.command));
    row(page, "Command", &command);
    machine(page, &report.machine);
    row(page, "Seed", &run.seed.to_string());
    let cores = |cores: &[usize]| {
        if cores.is_empty() {
            return "any".to_owned();
        }
        let list: Vec<String> = cores.iter().map(ToString::to_string).collect();
        list.join(", ")
    };
    let placed = format!(
        "server: {}; clients: {}",
        cores(&run.cores.server),
        cores(&run.cores.clients)
    );
    row(page, "Cores", &placed);
    let frames = format!(
        "packets of up to 1,200 bytes{}, {:.1} ms apart within a frame; sound every 20 ms",
        if run.even {
            ", nearly the same length"
        } else {
            ""
        },
        run.pace.as_secs_f64() * 1e3
    );
    row(
        page,
        "Media",
        if run.video {
            &frames
        } else {
            "sound every 20 ms"
        },
    );
    let lost = format!(
        "{} % to the viewers, {} % from the publisher",
        run.loss_percent, run.publisher_loss_percent
    );
    row(page, "Lost on the way", &lost);
    for url in &run.against {
        row(page, "Server", &escape(url));
    }
    row(page, "Took", &format!("{:.0} s", report.took.as_secs_f64()));
    page.push_str("</dl></section>\n");
}
