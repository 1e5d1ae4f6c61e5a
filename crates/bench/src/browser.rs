//! Real browsers as publisher and viewer, driven by the scripts of `tests/browser`: the largest gap
//! between frames that were shown.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::BenchError;
use super::path::Conditions;
use super::scenario::{Arm, Scenario};
use super::stats::Summary;
use super::{Browser, Settings, children};

const SCRIPT: &str = "bench.js";
/// Default numbers of turns of each arm, and of kills in each.
const TURNS: u32 = 2;
const KILLS: u32 = 5;

/// What one browser showed under one set of conditions.
#[derive(Debug, Serialize)]
pub(super) struct BrowserResult {
    pub browser: Browser,
    /// What it calls itself.
    pub version: String,
    #[serde(flatten)]
    pub conditions: Conditions,
    #[serde(rename = "down_ms")]
    pub down: u64,
    /// The largest gap without any restart.
    pub calm_ms: f64,
    pub arms: Vec<BrowserArm>,
}

/// The result of one arm of it.
#[derive(Debug, Serialize)]
pub(super) struct BrowserArm {
    pub arm: Arm,
    pub gap_ms: Option<Summary>,
    pub gaps_ms: Vec<f64>,
}

/// The output of the script.
#[derive(Deserialize)]
struct Said {
    gaps: Vec<f64>,
    calm: f64,
    version: String,
}

/// How many kills there will be.
pub(super) fn kills(settings: &Settings, arms: usize) -> u64 {
    let each =
        u64::from(settings.turns.unwrap_or(TURNS)) * u64::from(settings.kills.unwrap_or(KILLS));
    each * (arms * settings.browsers.len() * ways(settings).len()) as u64
}

/// Round trip, loss and down time as the axes have them; the number of viewers is one.
fn ways(settings: &Settings) -> Vec<Scenario> {
    let axes = super::Axes {
        viewers: Some(vec![1]),
        ..settings.axes.clone()
    };
    axes.scenarios()
}

/// Measures all browsers that were asked for, the arms in turns.
pub(super) fn measure(
    settings: &Settings,
    arms: &[Arm],
    mut told: impl FnMut(String, u64),
) -> Result<Vec<BrowserResult>, BenchError> {
    let mut results = Vec::new();
    let kills = settings.kills.unwrap_or(KILLS);
    for browser in &settings.browsers {
        for way in ways(settings) {
            let mut result = BrowserResult {
                browser: *browser,
                version: String::new(),
                conditions: way.conditions,
                down: u64::try_from(way.down.as_millis()).unwrap_or(u64::MAX),
                calm_ms: 0.0,
                arms: arms
                    .iter()
                    .map(|arm| BrowserArm {
                        arm: *arm,
                        gap_ms: None,
                        gaps_ms: Vec::new(),
                    })
                    .collect(),
            };
            for turn in 0..settings.turns.unwrap_or(TURNS) {
                for arm in &mut result.arms {
                    told(format!("{}: {}", browser.name(), arm.arm.name()), 0);
                    let said = run(settings, *browser, arm.arm, &way, kills, turn)?;
                    arm.gaps_ms.extend(said.gaps);
                    result.calm_ms = result.calm_ms.max(said.calm);
                    result.version = said.version;
                    told(String::new(), kills.into());
                }
            }
            for arm in &mut result.arms {
                arm.gaps_ms.sort_by(f64::total_cmp);
                arm.gap_ms = Summary::of(arm.gaps_ms.iter().copied());
            }
            results.push(result);
        }
    }
    Ok(results)
}

fn run(
    settings: &Settings,
    browser: Browser,
    arm: Arm,
    way: &Scenario,
    kills: u32,
    turn: u32,
) -> Result<Said, BenchError> {
    let folder = &settings.browser_scripts;
    check(folder, SCRIPT)?;
    let options = json!({
        "browser": browser.name(),
        "kills": kills,
        "args": arm.server_options(),
        "forget": arm == Arm::Reconnect,
        "downMs": u64::try_from(way.down.as_millis()).unwrap_or(u64::MAX),
        "rttMs": way.conditions.rtt.as_secs_f64() * 1000.0,
        "loss": way.conditions.loss,
        "seed": settings.seed.wrapping_add(turn.into()),
    });
    let mut command = Command::new("node");
    command
        .current_dir(folder)
        .arg(SCRIPT)
        .arg(options.to_string())
        .env("REKINDLE_BIN", settings.server())
        .stdin(Stdio::null());
    let output = children::output(&mut command).map_err(|error| node_error(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok());
    said.ok_or_else(|| {
        let error = String::from_utf8_lossy(&output.stderr);
        let why = reason(&error).unwrap_or("no result");
        BenchError::Browser(format!("{} cannot be measured: {why}", browser.name()))
    })
}

/// Why Node.js cannot be started.
pub(super) fn node_error(error: &io::Error) -> BenchError {
    BenchError::Browser(match error.kind() {
        io::ErrorKind::NotFound => "node is not installed; install Node.js 20 or later".to_owned(),
        _ => format!("node cannot be run: {error}"),
    })
}

/// The most informative line of a script's error output.
pub(super) fn reason(complaints: &str) -> Option<&str> {
    let lines = || {
        complaints
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    lines()
        .find(|line| line.contains("Error"))
        .or_else(|| lines().next())
}

/// Checks that the scripts and their packages exist.
pub(super) fn check(folder: &Path, script: &str) -> Result<(), BenchError> {
    if !folder.join(script).is_file() {
        return Err(BenchError::Browser(format!(
            "there is no {script} in {}; run this in rekindle's source folder, or name its \
             tests/browser with --browser-scripts",
            folder.display()
        )));
    }
    if !folder.join("node_modules").is_dir() {
        return Err(BenchError::Browser(format!(
            "the scripts' packages are not installed; run `npm ci` in {}",
            folder.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |folder: &Path| check(folder, SCRIPT).expect_err("refused").to_string();
        assert!(said(folder.path()).contains("--browser-scripts"));
        std::fs::write(folder.path().join(SCRIPT), "").expect("written");
        assert!(said(folder.path()).contains("npm ci"));
    }
}
