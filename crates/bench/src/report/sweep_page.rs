//! A sweep on the page: a heat map, what the shades mean, and the points that stand out.

use std::fmt::Write as _;

use super::escape::escape;
use super::heat::{SHADES, below_zero, cut, in_words, shade};
use crate::sweep::result::{MEDIAN, Row, RowResult, SweepResult, WORST};

const WIDTH: f64 = 990.0;
const LEFT: f64 = 150.0;
const TOP: f64 = 8.0;
const ROW: f64 = 30.0;
/// Cells at least so wide have their figure in them.
const ROOM: f64 = 34.0;

/// The section of the page.
pub(super) fn section(page: &mut String, sweep: &SweepResult) {
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<section><h2>Down for {} to {} ms, in steps of {} ms</h2><p>How long a viewer was without \
         media beyond the time that the server was down, in milliseconds, over {} kills. {} The \
         same ones went through all kills of a round trip; media was not kept back (cushion {} \
         ms). Order: {}.</p>",
        sweep.grid.from,
        sweep.grid.to,
        sweep.grid.step,
        sweep.kills,
        who(sweep),
        sweep.cushion_ms,
        escape(&sweep.order)
    );
    if let Some(cut) = cut(sweep) {
        let _ = write!(page, "<p class=\"note\">{cut}.</p>");
    }
    map(page, sweep);
    legend(page);
    if let Some(note) = below_zero(sweep) {
        let _ = write!(page, "<p class=\"soft\">{note}.</p>");
    }
    rows(page, sweep);
    page.push_str("<h3>Worst points, what repeats itself first</h3><ol>");
    for named in &sweep.worst {
        let _ = write!(page, "<li>{}</li>", in_words(named, sweep.has_arms()));
    }
    page.push_str("</ol>");
    for version in versions(sweep) {
        let _ = write!(page, "<p class=\"soft\">{}</p>", escape(version));
    }
    page.push_str("</section>\n");
}

/// Whose media it was.
fn who(sweep: &SweepResult) -> &'static str {
    if versions(sweep).is_empty() {
        "Publishers and viewers were native clients that renew keys in the manner of the browser \
         that is named."
    } else {
        "Publishers and viewers were real browsers, and a gap is the time between two frames that \
         were shown."
    }
}

fn versions(sweep: &SweepResult) -> Vec<&str> {
    let mut all: Vec<&str> = sweep
        .rows
        .iter()
        .filter_map(|one| one.row.version.as_deref())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn map(page: &mut String, sweep: &SweepResult) {
    let downs = sweep.grid.downs();
    let cell = (WIDTH - LEFT) / downs.len() as f64;
    let bottom = TOP + ROW * sweep.rows.len() as f64;
    let _ = write!(
        page,
        "<div class=\"scroll\"><svg class=\"heat\" viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" \
         aria-label=\"Gap minus down time, by down time and by round trip\">",
        bottom + 42.0
    );
    let arms = sweep.has_arms();
    for (place, one) in sweep.rows.iter().enumerate() {
        let y = TOP + ROW * place as f64;
        let title = one.row.title(false);
        let _ = write!(
            page,
            "<text class=\"strong\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{title}</text>",
            LEFT - 10.0,
            y + if arms { 13.0 } else { 19.0 }
        );
        if arms {
            let _ = write!(
                page,
                "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 10.0,
                y + 25.0,
                one.row.arm.name()
            );
        }
        for (column, down) in downs.iter().enumerate() {
            point(
                page,
                &one.row,
                *down,
                (LEFT + cell * column as f64, y, cell),
            );
        }
    }
    let label = label_every(sweep.grid.step, cell);
    for (column, down) in downs.iter().enumerate() {
        if (down - sweep.grid.from).is_multiple_of(label) {
            let x = LEFT + cell * (column as f64 + 0.5);
            let _ = write!(
                page,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{down}</text>",
                bottom + 5.0,
                bottom + 19.0
            );
        }
    }
    let _ = write!(
        page,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">down time in \
         milliseconds</text></svg></div>",
        LEFT + (WIDTH - LEFT) / 2.0,
        bottom + 36.0
    );
}

/// Labels this far apart do not touch: a multiple of the step.
fn label_every(step: u64, cell: f64) -> u64 {
    let least = (38.0 / cell).ceil() as u64;
    let steps = [1, 2, 4, 8, 10, 20, 40]
        .into_iter()
        .find(|steps| *steps >= least);
    step * steps.unwrap_or(least)
}

fn point(page: &mut String, row: &Row, down: u64, (x, y, width): (f64, f64, f64)) {
    let gap = if width > 6.0 { 1.0 } else { 0.2 };
    let rect = format!(
        "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"{:.1}\" rx=\"1.5\"",
        width - gap,
        ROW - 2.0
    );
    let Some(point) = row.point(down) else {
        let _ = write!(
            page,
            "{rect} class=\"none\"><title>down {down} ms: not measured</title></rect>"
        );
        return;
    };
    let over = point.typical().unwrap_or(f64::INFINITY);
    let limit = row.limit(WORST);
    let shade = shade(over, limit);
    let readings: Vec<String> = point
        .readings
        .iter()
        .map(|reading| {
            reading
                .over_ms
                .map_or_else(|| "lost".to_owned(), |over| format!("{over:.0}"))
        })
        .collect();
    let _ = write!(
        page,
        "{rect} class=\"h{shade}\"><title>{}, down {down} ms: {} ms; limit \
         {limit:.0}</title></rect>",
        row.title(true),
        readings.join(", ")
    );
    let middle = (x + (width - gap) / 2.0, y + ROW / 2.0 + 3.0);
    let figure = if over.is_finite() {
        format!("{over:.0}")
    } else {
        "lost".to_owned()
    };
    // Beyond the limit there is a mark besides the colour, and a dot where one reading alone was.
    if width >= ROOM {
        let _ = write!(
            page,
            "<text class=\"in h{shade}\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{figure}</text>",
            middle.0, middle.1
        );
    } else if over > limit {
        let _ = write!(
            page,
            "<text class=\"in h{shade}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">!</text>",
            middle.0, middle.1
        );
    } else if point.beyond(limit) > 0 {
        let _ = write!(
            page,
            "<circle class=\"once\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"/>",
            middle.0,
            y + ROW / 2.0 - 1.0,
            (width / 4.0).min(3.5)
        );
    }
}

fn legend(page: &mut String) {
    page.push_str("<div class=\"legend\"><span>Part of the limit for the worst:</span>");
    for (place, end) in SHADES.iter().enumerate() {
        let _ = write!(
            page,
            "<span><span class=\"key\" style=\"background:var(--h{place})\"></span>to {:.0} \
             %</span>",
            end * 100.0
        );
    }
    let _ = write!(
        page,
        "<span><span class=\"key\" style=\"background:var(--h{})\"></span>! beyond it</span>\
         <span><span class=\"key round\" style=\"background:var(--h{})\"></span>one reading was \
         beyond it, the others were not</span>\
         <span><span class=\"key none\"></span>not measured</span></div>",
        SHADES.len(),
        SHADES.len()
    );
}

fn rows(page: &mut String, sweep: &SweepResult) {
    page.push_str("<h3>Against the aim</h3><div class=\"scroll\"><table><tr>");
    for head in [
        "",
        "calm<br>ms",
        "median<br>ms",
        "limit<br>ms",
        "worst<br>ms",
        "limit<br>ms",
        "points<br>beyond",
        "of them<br>repeated",
        "new<br>sessions",
        "aim",
    ] {
        let _ = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr>");
    for RowResult { row, summary } in &sweep.rows {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:.0}</td>",
            row.title(sweep.has_arms()),
            row.calm_ms
        );
        let Some(summary) = summary else {
            page.push_str("<td colspan=\"8\">not measured</td></tr>");
            continue;
        };
        let worst = if summary.worst_ms.is_finite() {
            format!("{:.0}", summary.worst_ms)
        } else {
            "lost".to_owned()
        };
        let _ = write!(
            page,
            "<td>{:.0}</td><td>{:.0}</td><td>{worst}</td><td>{:.0}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            summary.median_ms,
            summary.median_limit_ms,
            summary.worst_limit_ms,
            summary.points_beyond,
            summary.points_beyond_again,
            summary.new_sessions,
            summary.verdict()
        );
    }
    let _ = write!(
        page,
        "</table></div><p class=\"soft\">Calm is the largest gap between media of the same viewer \
         without any kill, in the same run. The aim: a median of at \
         most calm + {:.0} ms + {:.0} round trips, and no point beyond calm + {:.0} ms + {:.0} \
         round trips. A point with a reading beyond that was measured \
         twice more; it counts as repeated where at least half of its readings are beyond.</p>",
        MEDIAN.ms, MEDIAN.round_trips, WORST.ms, WORST.round_trips
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::Grid;
    use crate::sweep::result::tests::{reading, row};

    #[test]
    fn every_point_of_the_grid_is_drawn_and_what_stands_out_is_marked() {
        let grid: Grid = "0..1500:25".parse().expect("a grid");
        let mut one = row(&[80.0, 420.0, 430.0]);
        one.take(25, reading(25, Some(90.0)));
        one.take(25, reading(25, Some(95.0)));
        let mut page = String::new();
        section(&mut page, &SweepResult::of(grid, 7, vec![one], 61, 5, true));
        assert_eq!(page.matches("<rect").count(), 61);
        assert_eq!(page.matches("class=\"none\"").count(), 58);
        assert_eq!(page.matches("class=\"once\"").count(), 1);
        assert!(page.contains("CUT SHORT: 58 of 61"), "{page}");
        assert!(
            page.contains("down 25 ms: 420, 90, 95 ms; limit 410"),
            "{page}"
        );
        assert!(page.contains(">1500</text>"), "{page}");
        assert!(!page.contains("http"), "nothing is loaded from anywhere");
    }

    #[test]
    fn labels_do_not_touch() {
        assert_eq!(label_every(25, 13.8), 100);
        assert_eq!(label_every(250, 120.0), 250);
        assert_eq!(label_every(1, 0.5), 76);
    }
}
