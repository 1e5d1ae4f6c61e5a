//! The drawings of the page: distribution curves and phase bars.

use std::fmt::Write as _;

use super::{ArmResult, Phase};
use crate::scenario::Arm;

const WIDTH: f64 = 960.0;

/// Colours are variables of the page's style.
pub(super) fn colour(arm: Arm) -> String {
    format!("var(--{})", arm.name())
}

/// The same, where several servers or kinds of clients have the same arm.
pub(super) fn colour_of(arm: &ArmResult) -> String {
    match &arm.variant {
        None => colour(arm.arm),
        Some(variant) => format!("hsl({} 60% 45%)", (210 + 67 * variant.place) % 360),
    }
}

/// A scale of decades, as wide as the samples need.
struct Log {
    low: f64,
    high: f64,
    left: f64,
    width: f64,
}

impl Log {
    fn new(samples: impl Iterator<Item = f64> + Clone, left: f64, width: f64) -> Self {
        let least = samples.clone().fold(f64::INFINITY, f64::min).max(0.5);
        let most = samples.fold(1.0, f64::max);
        Self {
            low: (least * 0.8).log10(),
            high: (most * 1.15).max(least * 4.0).log10(),
            left,
            width,
        }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + (value.max(0.1).log10() - self.low) / (self.high - self.low) * self.width
    }

    fn ticks(&self) -> Vec<f64> {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        let few: &[f64] = &[1.0, 2.0, 5.0];
        let many: &[f64] = &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0];
        let chosen = if self.high - self.low > 1.5 {
            few
        } else {
            many
        };
        let steps =
            decades.flat_map(|decade| chosen.iter().map(move |step| step * 10_f64.powi(decade)));
        let (low, high) = (self.low, self.high);
        steps
            .filter(|tick| (low..=high).contains(&tick.log10()))
            .collect()
    }
}

/// Which share of the gaps was at most so long, by arm.
pub(super) fn distributions(arms: &[ArmResult]) -> String {
    let (height, left, right, top, bottom) = (280.0, 44.0, 14.0, 12.0, 44.0);
    let samples = arms.iter().flat_map(|arm| arm.gaps_ms.iter().copied());
    let scale = Log::new(samples, left, WIDTH - left - right);
    let y = |share: f64| height - bottom - share * (height - top - bottom);
    let mut svg = open(height, "Share of viewers by the length of their gap");
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let label = if tick < 1.0 {
            format!("{tick:.1}")
        } else {
            format!("{tick:.0}")
        };
        line(&mut svg, "grid", (x, y(1.0)), (x, y(0.0)));
        text(&mut svg, "", (x, height - bottom + 18.0), "middle", &label);
    }
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        line(
            &mut svg,
            if share == 0.0 { "axis" } else { "grid" },
            (left, y(share)),
            (WIDTH - right, y(share)),
        );
        text(
            &mut svg,
            "",
            (left - 8.0, y(share) + 4.0),
            "end",
            &format!("{:.0} %", share * 100.0),
        );
    }
    text(
        &mut svg,
        "",
        (left + (WIDTH - left - right) / 2.0, height - 6.0),
        "middle",
        "time without media, in milliseconds (logarithmic)",
    );
    for arm in arms {
        let n = arm.gaps_ms.len() + arm.viewers_lost;
        let mut path = String::new();
        for (place, gap) in arm.gaps_ms.iter().enumerate() {
            let (x, before, after) = (
                scale.x(*gap),
                y(place as f64 / n as f64),
                y((place + 1) as f64 / n as f64),
            );
            let command = if place == 0 { 'M' } else { 'L' };
            // Writing to a String cannot fail, here and below.
            let _ = write!(path, "{command}{x:.1} {before:.1}L{x:.1} {after:.1}");
        }
        let dash = match arm.arm {
            Arm::Rehandshake => "",
            Arm::FullState => " stroke-dasharray=\"7 4\"",
            Arm::Reconnect => " stroke-dasharray=\"2 4\"",
        };
        let _ = write!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.5\" \
             stroke-linejoin=\"round\"{dash}>\
             <title>{}</title></path>",
            colour_of(arm),
            arm.name()
        );
        if let Some(gap) = arm.gap_ms {
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4.5\" fill=\"{}\" stroke=\"var(--card)\" \
                 stroke-width=\"2\">\
                 <title>{}: median {:.1} ms</title></circle>",
                scale.x(gap.median),
                y(0.5),
                colour_of(arm),
                arm.name(),
                gap.median
            );
        }
    }
    svg + "</svg>"
}

/// Parts of the way back, with the steps that end them; of several steps the last one reached
/// counts.
pub(super) const PARTS: [(&str, &str, &[&str]); 5] = [
    ("down", "old process ends, down time", &["process started"]),
    ("start", "new process starts", &["media loop runs"]),
    (
        "notice",
        "client hears of it (and joins anew)",
        &["viewer sends ClientHello"],
    ),
    (
        "handshake",
        "handshakes",
        &["publisher's handshake complete", "viewer has keys"],
    ),
    ("media", "first packet", &["first media authenticated"]),
];

/// A bar for each arm: where the time from the kill to the first packet goes, medians.
pub(super) fn phases(arms: &[ArmResult]) -> String {
    let (right, row, top) = (84.0, 40.0, 4.0);
    let longest = arms.iter().map(|arm| arm.name().len()).max();
    // Room for the names: of a letter at least so much.
    let left = (8.0 * longest.unwrap_or_default() as f64 + 16.0).max(104.0);
    let end = |arm: &ArmResult| parts(arm).last().map_or(0.0, |(_, _, end)| *end);
    let most = arms.iter().map(end).fold(1.0, f64::max);
    let scale = (WIDTH - left - right) / most;
    let mut svg = open(
        top + row * arms.len() as f64 + 4.0,
        "Where the time from the kill to the first packet goes",
    );
    for (place, arm) in arms.iter().enumerate() {
        let y = top + row * place as f64;
        text(
            &mut svg,
            "strong",
            (left - 12.0, y + 20.0),
            "end",
            &arm.name(),
        );
        for ((name, what, end), begin) in parts(arm).iter().zip(begins(arm)) {
            let width = (end - begin) * scale;
            let _ = write!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"24\" rx=\"2\" \
                 fill=\"var(--{name})\" stroke=\"var(--card)\">\
                 <title>{what}: {:.1} ms, from {begin:.1} to {end:.1}</title></rect>",
                left + begin * scale,
                y + 4.0,
                width.max(0.5),
                end - begin
            );
        }
        let last = end(arm);
        text(
            &mut svg,
            "strong",
            (left + last * scale + 8.0, y + 20.0),
            "start",
            &format!("{last:.1} ms"),
        );
    }
    svg + "</svg>"
}

fn begins(arm: &ArmResult) -> Vec<f64> {
    let ends = parts(arm).into_iter().map(|(_, _, end)| end);
    std::iter::once(0.0).chain(ends).collect()
}

/// The parts that an arm has, each with its end in milliseconds after the kill.
fn parts(arm: &ArmResult) -> Vec<(&'static str, &'static str, f64)> {
    let reached = |name: &&str| {
        let named = |phase: &&Phase| phase.name == *name;
        arm.phases.iter().find(named).map(|phase| phase.at.median)
    };
    let mut all = Vec::new();
    let mut before = 0.0_f64;
    for (name, what, steps) in PARTS {
        // Sessions that stay as they are have neither news to wait for nor handshakes.
        if arm.arm == Arm::FullState && matches!(name, "notice" | "handshake") {
            continue;
        }
        if let Some(end) = steps.iter().filter_map(reached).reduce(f64::max) {
            before = before.max(end);
            all.push((name, what, before));
        }
    }
    all
}

fn open(height: f64, label: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">")
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn text(svg: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, what: &str) {
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{what}</text>"
    );
}
