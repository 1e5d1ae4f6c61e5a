//! A whole run: every scenario, the arms in turns.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::clients::Clients;
use super::error::BenchError;
use super::machine::Machine;
use super::media::CameraSettings;
use super::path::Conditions;
use super::program::Program;
use super::report::heat::Screen;
use super::report::{ArmResult, HandshakeCost, Report, ScenarioResult, Variant, html, table};
use super::scenario::{Arm, Scenario};
use super::server::Server;
use super::stop::Stop;
use super::target::Target;
use super::turn::{self, Turn};
use super::{Settings, browser, report, sweep, variants, vault};

/// Numbers of viewers and of handshakes of each, for the cost of one.
const COST_VIEWERS: usize = 50;
const COST_ROUNDS: usize = 4;

/// Runs a benchmark, prints its table, and writes what was asked for.
///
/// [`BenchError`], with the cause. A viewer that gets no more media is a result, not an error. What
/// a sweep has measured before an error is reported nevertheless.
pub(super) fn run(settings: &Settings) -> Result<(), BenchError> {
    let reports = settings.sweep.is_some();
    let stop = Stop::listen(reports).map_err(BenchError::system("cannot listen to signals"))?;
    let (report, error) = measure(settings, &stop)?;
    print!("{}", table::write(&report, Screen::of_stdout()));
    if let Some(path) = &settings.json {
        report::write(path, &report::json(&report))?;
    }
    if let Some(path) = &settings.html {
        report::write(path, &html::write(&report))?;
    }
    error.map_or(Ok(()), Err)
}

fn measure(settings: &Settings, stop: &Stop) -> Result<(Report, Option<BenchError>), BenchError> {
    let began = Instant::now();
    // With real browsers, they alone.
    let scenarios = if settings.browsers.is_empty() && settings.sweep.is_none() {
        settings.axes.scenarios()
    } else {
        Vec::new()
    };
    let against = settings
        .against
        .as_deref()
        .map(|url| Target::other(url, settings.token.clone()))
        .transpose()?;
    let mut notes = Vec::new();
    let (mut arms, by_name) = settings.arms();
    let servers = if against.is_some() {
        arms = vec![Arm::Reconnect];
        notes.push(
            "The server is not ours to kill: all clients leave it at once and come again."
                .to_owned(),
        );
        Vec::new()
    } else {
        let servers = settings.servers.iter();
        servers
            .map(|server| Program::ask(server))
            .collect::<Result<Vec<_>, _>>()?
    };
    let variants = variants::of(settings, &servers);
    if variants.len() > 1 && !takes_turns(settings) {
        return Err(BenchError::Options(
            "several servers (--server) or offers (--dtls) take turns only where native clients \
             go through the scenarios; leave out --sweep, --against, --browser and --vault"
                .to_owned(),
        ));
    }
    if settings.sweep.is_some() && arms.contains(&Arm::Reconnect) {
        return Err(BenchError::Options(
            "--sweep follows connections that are kept; leave `reconnect` out of --arms".to_owned(),
        ));
    }
    let lacks_full_state = servers.iter().position(|server| !server.has_full_state());
    if arms.contains(&Arm::FullState)
        && let Some(place) = lacks_full_state
    {
        let missing = BenchError::NoFullState {
            path: settings.servers[place].clone(),
        };
        if by_name {
            return Err(missing);
        }
        notes.push(format!("Arm full-state was left out: {missing}."));
        arms.retain(|arm| *arm != Arm::FullState);
    }
    let machine = Machine::here(servers.first());
    if machine.profile == "debug" {
        notes.push(
            "This is a debug build: its figures say little. Build with --release.".to_owned(),
        );
    }
    // Every client is a socket and an event stream.
    let most = scenarios
        .iter()
        .map(|s| s.viewers)
        .max()
        .unwrap_or_default();
    rekindle::server::raise_open_files((4 * most + 256) as u64);

    if settings.sweep.is_some() {
        let sweep::Swept { result, error } = sweep::measure(settings, &arms, stop);
        if let Some(error) = &error {
            notes.push(format!("The sweep ended early: {error}"));
        }
        let mut report = Report::new(settings, machine, notes, began);
        report.sweep = Some(result);
        return Ok((report, error));
    }
    let total: u64 = scenarios
        .iter()
        .map(|scenario| {
            let (turns, kills) = scenario.plan(settings.turns, settings.kills);
            u64::from(turns) * u64::from(kills) * (arms.len() * variants.len()) as u64
        })
        .sum();
    let progress = progress(total + browser::kills(settings, arms.len()), "kills");
    let mut handshakes = Vec::new();
    if against.is_none() && settings.browsers.is_empty() && arms.contains(&Arm::Rehandshake) {
        progress.set_message("what one handshake costs");
        for (variant, own) in &variants {
            handshakes.push(handshake_cost(own, variant.clone())?);
        }
    }
    let mut results = Vec::new();
    for scenario in &scenarios {
        let (turns, kills) = scenario.plan(settings.turns, settings.kills);
        let mut lanes: Vec<Lane> = Vec::new();
        for arm in &arms {
            lanes.extend(variants.iter().map(|(variant, own)| Lane {
                arm: *arm,
                variant: variant.clone(),
                settings: own,
                turns: Vec::new(),
            }));
        }
        for n in 0..turns {
            for lane in &mut lanes {
                progress.set_message(format!("{}: {}", scenario.title(), lane.arm.name()));
                let seed = settings.seed.wrapping_mul(1000).wrapping_add(u64::from(n));
                let mut told = || progress.inc(1);
                lane.turns.push(match &against {
                    Some(target) => {
                        turn::run_against(settings, scenario, target, kills, seed, &mut told)?
                    }
                    None => turn::run(lane.settings, scenario, lane.arm, kills, seed, &mut told)?,
                });
            }
        }
        results.push(ScenarioResult {
            scenario: *scenario,
            camera: settings.camera(scenario),
            arms: lanes
                .into_iter()
                .map(|lane| ArmResult::of(lane.arm, lane.variant, &lane.turns))
                .collect(),
        });
    }
    let browsers = browser::measure(settings, &arms, |what, kills| {
        progress.set_message(what);
        progress.inc(kills);
    })?;
    let vault = match settings.vault_peers {
        0 => None,
        peers => Some(vault::measure(settings, peers, |what| {
            progress.set_message(what)
        })?),
    };
    progress.finish_and_clear();
    let report = Report {
        vault,
        browsers,
        handshakes,
        scenarios: results,
        ..Report::new(settings, machine, notes, began)
    };
    Ok((report, None))
}

/// What takes turns in a scenario.
struct Lane<'a> {
    arm: Arm,
    variant: Option<Variant>,
    settings: &'a Settings,
    turns: Vec<Turn>,
}

/// Whether several servers and kinds of clients can.
fn takes_turns(settings: &Settings) -> bool {
    let others = settings.sweep.is_some() || settings.against.is_some();
    !others && settings.browsers.is_empty() && settings.vault_peers == 0
}

/// A bar on a terminal, nothing elsewhere. `what` is counted.
pub(super) fn progress(total: u64, what: &str) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let template = format!("{{bar:30}} {{pos}}/{{len}} {what}, {{elapsed}}  {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What one handshake costs a server, all in, with hardly any media beside it: renewals one after
/// another.
fn handshake_cost(
    settings: &Settings,
    variant: Option<Variant>,
) -> Result<HandshakeCost, BenchError> {
    let mut server = Server::new(settings.server(), settings.folder.as_deref(), &[])?;
    server.spawn()?;
    server.wait_until_up()?;
    let target = server.http().map(Target::own);
    let target =
        target.ok_or_else(|| BenchError::Server("it did not say where it listens".to_owned()))?;
    let scenario = Scenario {
        viewers: COST_VIEWERS,
        down: Duration::ZERO,
        conditions: Conditions {
            rtt: Duration::ZERO,
            loss: 0.0,
        },
    };
    let slow = CameraSettings {
        fps: 1,
        video_bitrate: 8_000,
    };
    let clients = Clients::join(
        settings,
        &scenario,
        Arm::Rehandshake,
        &target,
        slow,
        settings.seed,
    )?;
    std::thread::sleep(Duration::from_millis(500));
    // What goes on besides.
    let (began, before) = (Instant::now(), server.used());
    std::thread::sleep(Duration::from_millis(500));
    let idle = (server.used().cpu.saturating_sub(before.cpu)).div_duration_f64(began.elapsed());
    let (began, before) = (Instant::now(), server.used());
    for _ in 0..COST_ROUNDS {
        for place in 0..COST_VIEWERS {
            clients.renew(place)?;
        }
    }
    let (took, spent) = (
        began.elapsed(),
        server.used().cpu.saturating_sub(before.cpu),
    );
    let handshakes = COST_ROUNDS * COST_VIEWERS;
    let cpu = spent.saturating_sub(took.mul_f64(idle)) / handshakes as u32;
    Ok(HandshakeCost {
        variant,
        handshakes,
        cpu,
        took: took / handshakes as u32,
    })
}
