//! A sweep on the terminal: a heat map in figures, coloured where colours are supported, and the
//! points that stand out by name.

use std::fmt::Write as _;

use crate::sweep::result::{MEDIAN, Named, Point, Row, RowResult, SweepResult, WORST};

/// Columns of a terminal that are used at least and at most.
const WIDTHS: (usize, usize) = (80, 120);
/// Columns of one point.
const CELL: usize = 6;
/// Most points that are named here; JSON has all.
const NAMED: usize = 12;
/// Upper ends of the shades, as parts of the limit for the worst. What is beyond it has the last
/// one.
pub(super) const SHADES: [f64; 6] = [0.25, 0.4, 0.55, 0.7, 0.85, 1.0];
/// Background and foreground of each, of the 256 colours of terminals: from green to red.
const COLOURS: [(u8, u8); 7] = [
    (22, 15),
    (28, 15),
    (71, 16),
    (142, 16),
    (178, 16),
    (208, 16),
    (160, 15),
];

/// What the report is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    pub colours: bool,
    pub columns: usize,
}

impl Screen {
    /// A file or a pipe.
    pub(crate) const PLAIN: Self = Self {
        colours: false,
        columns: 100,
    };

    /// Standard output, as wide as it is. `NO_COLOR` is heeded.
    pub(crate) fn of_stdout() -> Self {
        use std::io::IsTerminal;
        let out = std::io::stdout();
        if !out.is_terminal() {
            return Self::PLAIN;
        }
        let columns = rustix::termios::tcgetwinsize(&out)
            .map_or(Self::PLAIN.columns, |size| size.ws_col.into());
        Self {
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            columns: columns.clamp(WIDTHS.0, WIDTHS.1),
        }
    }
}

/// The shade of a point: its place among [`SHADES`], or one more.
pub(super) fn shade(over: f64, limit: f64) -> usize {
    SHADES
        .iter()
        .position(|end| over <= end * limit)
        .unwrap_or(SHADES.len())
}

/// The sweep as text.
pub(super) fn write(sweep: &SweepResult, screen: Screen) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "\nsweep: down for {} ms in steps of {} ms, {} kills; gap minus down time, in ms\n\
         order: {}",
        range(sweep),
        sweep.grid.step,
        sweep.kills,
        sweep.order
    );
    if let Some(cut) = cut(sweep) {
        let _ = writeln!(text, "{cut}");
    }
    map(&mut text, sweep, screen);
    legend(&mut text, screen);
    if let Some(note) = below_zero(sweep) {
        let _ = writeln!(text, "{note}");
    }
    rows(&mut text, sweep);
    worst(&mut text, sweep);
    text
}

/// What a value below zero means, where there is one.
pub(super) fn below_zero(sweep: &SweepResult) -> Option<&'static str> {
    let points = || sweep.rows.iter().flat_map(|one| &one.row.points);
    let below = points().filter_map(Point::typical).any(|over| over < -30.0);
    below.then_some(
        "below zero: the browser still had media in its own buffer, and showed that while the \
         server was down",
    )
}

/// That it was cut short, where it was.
pub(super) fn cut(sweep: &SweepResult) -> Option<String> {
    (sweep.cut_short || sweep.points_missing > 0).then(|| {
        format!(
            "CUT SHORT: {} of {} points are missing",
            sweep.points_missing, sweep.points_planned
        )
    })
}

fn range(sweep: &SweepResult) -> String {
    format!("{} to {}", sweep.grid.from, sweep.grid.to)
}

fn map(text: &mut String, sweep: &SweepResult, screen: Screen) {
    let arms = sweep.has_arms();
    let titles: Vec<String> = sweep.rows.iter().map(|one| one.row.title(arms)).collect();
    let label = titles
        .iter()
        .map(String::len)
        .max()
        .unwrap_or_default()
        .max("down, ms".len());
    let downs = sweep.grid.downs();
    let fit = (screen.columns.saturating_sub(label + 1) / CELL).max(1);
    // Parts of about the same length.
    let parts = downs.len().div_ceil(fit).max(1);
    for part in downs.chunks(downs.len().div_ceil(parts).max(1)) {
        let _ = write!(text, "\n{:<label$} ", "down, ms");
        for down in part {
            let _ = write!(text, "{down:>width$} ", width = CELL - 1);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        for (title, one) in titles.iter().zip(&sweep.rows) {
            let mut line = format!("{title:<label$} ");
            for down in part {
                line += &cell(&one.row, *down, screen.colours);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
}

/// One point: a figure, a mark, and on a terminal a colour.
fn cell(row: &Row, down: u64, colours: bool) -> String {
    let width = CELL - 1;
    let Some(over) = row.point(down).and_then(|point| point.typical()) else {
        return format!("{:>width$} ", ".");
    };
    let figure = if over.is_finite() {
        format!("{over:.0}")
    } else {
        "lost".to_owned()
    };
    let mark = if over > row.limit(WORST) {
        '!'
    } else if over > row.limit(MEDIAN) {
        '+'
    } else {
        ' '
    };
    if colours {
        let (back, fore) = COLOURS[shade(over, row.limit(WORST))];
        return format!("\x1b[48;5;{back};38;5;{fore}m{figure:>width$}{mark}\x1b[0m");
    }
    format!("{figure:>width$}{mark}")
}

fn legend(text: &mut String, screen: Screen) {
    text.push('\n');
    if screen.colours {
        text.push_str("of the limit for the worst: ");
        for (end, (back, fore)) in SHADES.iter().zip(COLOURS) {
            let _ = write!(
                text,
                "\x1b[48;5;{back};38;5;{fore}m {:.0} % \x1b[0m",
                end * 100.0
            );
        }
        let (back, fore) = COLOURS[SHADES.len()];
        let _ = writeln!(text, "\x1b[48;5;{back};38;5;{fore}m more \x1b[0m");
    }
    text.push_str(
        "+ over the limit for the median, ! over the limit for the worst, . not \
         measured; of several readings the median\n",
    );
}

fn rows(text: &mut String, sweep: &SweepResult) {
    let arms = sweep.has_arms();
    let label = if arms { 28 } else { 16 };
    let _ = writeln!(
        text,
        "\n{:<label$} {:>6} {:>16} {:>16} {:>6} {:>5}  aim",
        "", "calm", "median (limit)", "worst (limit)", "over", "again"
    );
    for RowResult { row, summary } in &sweep.rows {
        let title = row.title(arms);
        let Some(summary) = summary else {
            let _ = writeln!(text, "{title:<label$} not measured");
            continue;
        };
        let limited = |value: f64, limit: f64| format!("{value:.0} ({limit:.0})");
        let _ = writeln!(
            text,
            "{title:<label$} {:>6.0} {:>16} {:>16} {:>6} {:>5}  {}{}",
            row.calm_ms,
            limited(summary.median_ms, summary.median_limit_ms),
            limited(summary.worst_ms, summary.worst_limit_ms),
            summary.points_beyond,
            summary.points_beyond_again,
            summary.verdict(),
            match summary.new_sessions {
                0 => String::new(),
                n => format!("; {n} new sessions"),
            }
        );
    }
    let _ = writeln!(
        text,
        "calm: largest gap between media without any kill. Aim: median at most calm + {:.0} ms + \
         {:.0} round trips,\n\
         worst at most calm + {:.0} ms + {:.0} round trips. over: points with a reading over the \
         limit for the worst, which\n\
         were measured twice more; again: those that were over it in at least half of their \
         readings.",
        MEDIAN.ms, MEDIAN.round_trips, WORST.ms, WORST.round_trips
    );
}

fn worst(text: &mut String, sweep: &SweepResult) {
    text.push_str("\nworst points, what repeats itself first:\n");
    for named in sweep.worst.iter().take(NAMED) {
        let _ = writeln!(text, "  {}", in_words(named, sweep.has_arms()));
    }
    if sweep.worst.len() > NAMED {
        let _ = writeln!(text, "  and {} more, in JSON", sweep.worst.len() - NAMED);
    }
}

/// A point that is named.
pub(super) fn in_words(named: &Named, arms: bool) -> String {
    let arm = if arms {
        format!("{}, ", named.arm.name())
    } else {
        String::new()
    };
    let one =
        |over: &Option<f64>| over.map_or_else(|| "lost".to_owned(), |over| format!("{over:.0}"));
    let gap = named.gap_ms.map_or_else(
        || "no media any more".to_owned(),
        |gap| format!("gap {gap:.0} ms"),
    );
    format!(
        "{arm}{}, round trip {} ms, down {} ms: {} ms over the down time ({gap}; limit {:.0}); {}",
        named.client.name(),
        named.rtt_ms,
        named.down_ms,
        named.over_ms.iter().map(one).collect::<Vec<_>>().join(", "),
        named.limit_ms,
        match named.repeated() {
            text if named.beyond > 0 && named.over_ms.len() > 1 => format!("repeated: {text}"),
            text => text,
        }
    )
}

#[cfg(test)]
mod tests;
