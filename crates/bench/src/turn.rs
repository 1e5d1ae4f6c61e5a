//! One turn of one arm: a server, its clients, and some kills.

use std::time::{Duration, Instant};

use super::Settings;
use super::clients::{Clients, Sample, Troubles};
use super::crowd::Crowd;
use super::disk::{Watch, Written};
use super::error::BenchError;
use super::scenario::{Arm, Scenario};
use super::server::{Server, Used};
use super::steps::{Steps, unix_us};
use super::target::Target;

/// A viewer without media after so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long retransmitted packets may take, in addition to round trips.
const SETTLE: Duration = Duration::from_millis(800);

/// The result of one kill.
#[derive(Debug)]
pub(super) struct Kill {
    pub samples: Vec<Sample>,
    /// When the server reached each step, since the kill.
    pub steps: Vec<(String, Vec<f64>)>,
    /// CPU time of the new process until the last viewer had media again.
    pub used: Used,
    pub written: Option<Written>,
    pub complaints: Vec<String>,
}

/// The result of a turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub kills: Vec<Kill>,
    /// How long the broadcast ran undisturbed, and what the server used and wrote during that time.
    pub steady: Duration,
    pub steady_cpu: Duration,
    pub steady_written: Option<Written>,
    pub resident: u64,
    pub threads: usize,
    pub troubles: Troubles,
}

/// What is killed and restarted.
enum Victim<'a> {
    Own(&'a mut Server),
    Other,
}

/// Runs a turn of an arm against a server of our own.
pub(super) fn run(
    settings: &Settings,
    scenario: &Scenario,
    arm: Arm,
    kills: u32,
    seed: u64,
    told: &mut dyn FnMut(),
) -> Result<Turn, BenchError> {
    let mut server = Server::new(
        settings.server(),
        settings.folder.as_deref(),
        &arm.server_options(),
    )?;
    server.spawn()?;
    server.wait_until_up()?;
    let target = server.http().map(Target::own);
    let target =
        target.ok_or_else(|| BenchError::Server("it did not say where it listens".to_owned()))?;
    let clients = Clients::join(
        settings,
        scenario,
        arm,
        &target,
        settings.camera(scenario),
        seed,
    )?;
    let mut watch = Watch::new(&server.state()).ok();
    let mut turn = Turn::default();
    watch_steady(settings, &mut server, watch.as_mut(), &mut turn);
    for _ in 0..kills {
        turn.kills.push(kill(
            scenario,
            arm,
            &clients,
            &mut Victim::Own(&mut server),
            watch.as_mut(),
        )?);
        told();
    }
    let used = server.used();
    turn.resident = used.resident;
    turn.threads = server.threads();
    turn.troubles = clients.finish()?;
    Ok(turn)
}

/// Runs a turn against another server, which we cannot kill: all clients leave it at once and join
/// again.
pub(super) fn run_against(
    settings: &Settings,
    scenario: &Scenario,
    target: &Target,
    kills: u32,
    seed: u64,
    told: &mut dyn FnMut(),
) -> Result<Turn, BenchError> {
    let clients = Clients::join(
        settings,
        scenario,
        Arm::Reconnect,
        target,
        settings.camera(scenario),
        seed,
    )?;
    let mut turn = Turn::default();
    std::thread::sleep(settings.steady);
    for _ in 0..kills {
        turn.kills.push(kill(
            scenario,
            Arm::Reconnect,
            &clients,
            &mut Victim::Other,
            None,
        )?);
        told();
    }
    turn.troubles = clients.finish()?;
    Ok(turn)
}

fn watch_steady(
    settings: &Settings,
    server: &mut Server,
    watch: Option<&mut Watch>,
    turn: &mut Turn,
) {
    // Time for joining to settle.
    std::thread::sleep(SETTLE);
    let began = Instant::now();
    let before = server.used();
    if let Some(watch) = watch {
        watch.take();
        std::thread::sleep(settings.steady);
        turn.steady_written = Some(watch.take());
    } else {
        std::thread::sleep(settings.steady);
    }
    turn.steady = began.elapsed();
    turn.steady_cpu = server.used().cpu.saturating_sub(before.cpu);
}

fn kill(
    scenario: &Scenario,
    arm: Arm,
    clients: &Clients,
    victim: &mut Victim<'_>,
    mut watch: Option<&mut Watch>,
) -> Result<Kill, BenchError> {
    let settle = SETTLE + 5 * scenario.conditions.rtt;
    let before = clients.position()?;
    let repeated = clients.repeated()?;
    // Packets that are on their way now were sent before the kill, and do not count.
    std::thread::sleep(Duration::from_millis(100));
    if let Some(watch) = watch.as_deref_mut() {
        watch.take();
    }
    let (killed, life) = match victim {
        Victim::Own(server) => {
            let killed = server.kill();
            // What the old process sent is read before the new one can send.
            let life = clients.ask(|crowd, _| crowd.next_life())?;
            std::thread::sleep(scenario.down);
            if arm == Arm::Reconnect {
                server.forget_peers();
                if let Some(watch) = watch.as_deref_mut() {
                    watch.take();
                }
            }
            server.spawn()?;
            (killed, Some(life))
        }
        Victim::Other => {
            let killed = Instant::now();
            clients.ask(|crowd, _| crowd.rejoin_all())?;
            (killed, None)
        }
    };
    let viewers = clients.viewers.clone();
    let back = move |crowd: &Crowd| {
        let is_back = |v: &usize| {
            crowd
                .viewer(*v)
                .is_some_and(|v| v.gaps.last().is_some_and(|gap| gap.first > killed))
        };
        viewers.iter().all(is_back)
    };
    // Lost viewers are in the samples.
    let _ = clients.wait(
        "not all viewers get media again",
        LOST_AFTER + scenario.down,
        back,
    );
    let used = match victim {
        Victim::Own(server) => server.used(),
        Victim::Other => Used::default(),
    };
    // A packet that is missing now may still be retransmitted.
    let after = clients.position()?;
    std::thread::sleep(settle);
    let samples = clients.samples(life, killed, before, after, &repeated)?;
    let (steps, complaints) = match victim {
        Victim::Own(server) => {
            server.wait_until_up()?;
            (since(killed, server.steps()), server.complaints())
        }
        Victim::Other => (Vec::new(), Vec::new()),
    };
    Ok(Kill {
        samples,
        steps,
        used,
        written: watch.map(Watch::take),
        complaints,
    })
}

/// Steps in milliseconds since a moment.
fn since(moment: Instant, steps: Steps) -> Vec<(String, Vec<f64>)> {
    let start = unix_us(moment);
    let ms = |at: u64| at.saturating_sub(start) as f64 / 1000.0;
    steps
        .into_iter()
        .map(|(step, times)| (step, times.into_iter().map(ms).collect()))
        .collect()
}
