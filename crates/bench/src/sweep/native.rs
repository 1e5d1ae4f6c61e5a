//! Native clients in a sweep: a server of our own with a channel for each manner, and a publisher
//! and a viewer in each.

use std::time::{Duration, Instant};

use rekindle_client::random::Random;

use super::result::Reading;
use super::{Broadcast, Strip};
use crate::Settings;
use crate::clients::{Clients, Look};
use crate::error::BenchError;
use crate::path::Conditions;
use crate::scenario::{Arm, Scenario};
use crate::server::Server;
use crate::stats::ms;
use crate::steps::unix_us;
use crate::stop::Stop;
use crate::target::Target;

/// A viewer without media after so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// After all have keys: what was lost comes again, and all goes its usual way; besides two round
/// trips.
const SETTLE: Duration = Duration::from_millis(500);
/// What joining has set in motion comes to rest.
const JOINED: Duration = Duration::from_millis(800);
const LOOK: Duration = Duration::from_millis(15);
/// The kill comes at any moment of this time, in microseconds, so that it hits frames and sound at
/// any place.
const PHASE_US: u64 = 40_000;

pub(super) struct Native {
    steady: Duration,
    settle: Duration,
    /// Ends before the clients do.
    groups: Vec<Clients>,
    server: Server,
    /// New sessions so far, of each group.
    rejoined: Vec<u32>,
    kills: u32,
    random: Random,
    has_joined: bool,
}

impl Native {
    pub(super) fn open(
        settings: &Settings,
        strip: &Strip,
        arm: Arm,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let mut server = Server::new(
            settings.server(),
            settings.folder.as_deref(),
            &arm.server_options(),
        )?;
        server.spawn()?;
        server.wait_until_up()?;
        let address = server.http();
        let address = address
            .ok_or_else(|| BenchError::Server("it did not say where it listens".to_owned()))?;
        let rtt = Duration::from_millis(strip.rtt);
        let scenario = Scenario {
            viewers: 1,
            down: Duration::ZERO,
            conditions: Conditions { rtt, loss: 0.0 },
        };
        let mut random = Random::new(seed);
        let mut groups = Vec::new();
        for client in &strip.clients {
            let own = Settings {
                client: Some(*client),
                ..settings.clone()
            };
            let target = Target::channel(address, client.name());
            let camera = settings.camera(&scenario);
            groups.push(Clients::join(
                &own,
                &scenario,
                arm,
                &target,
                camera,
                random.draw(),
            )?);
        }
        Ok(Self {
            steady: settings.steady,
            settle: SETTLE + 2 * rtt,
            rejoined: vec![0; groups.len()],
            groups,
            server,
            kills: 0,
            random,
            has_joined: false,
        })
    }

    fn look(&self, lives: &[u32], killed: Instant) -> Result<Vec<Look>, BenchError> {
        let groups = self.groups.iter().zip(lives);
        groups
            .map(|(clients, life)| clients.look(*life, killed))
            .collect()
    }
}

impl Broadcast for Native {
    fn calm(&mut self, stop: &Stop) -> Result<Option<Vec<f64>>, BenchError> {
        if !std::mem::replace(&mut self.has_joined, true) && !stop.sleep(JOINED) {
            return Ok(None);
        }
        for clients in &self.groups {
            clients.widest()?;
        }
        if !stop.sleep(self.steady) {
            return Ok(None);
        }
        let widest = self.groups.iter().map(|clients| clients.widest().map(ms));
        widest.collect::<Result<Vec<f64>, _>>().map(Some)
    }

    fn kill(&mut self, down: u64, stop: &Stop) -> Result<Option<Vec<Reading>>, BenchError> {
        if !stop.sleep(Duration::from_micros(self.random.below(PHASE_US))) {
            return Ok(None);
        }
        let killed = self.server.kill();
        let lives = self.groups.iter().map(Clients::next_life);
        let lives = lives.collect::<Result<Vec<u32>, _>>()?;
        if !stop.sleep_until(killed + Duration::from_millis(down)) {
            return Ok(None);
        }
        let spawned = self.server.spawn()?;
        let deadline = spawned + LOST_AFTER;
        let looks = loop {
            let looks = self.look(&lives, killed)?;
            let over = |look: &Look| look.failed.is_some() || (look.gap.is_some() && look.at_rest);
            if looks.iter().all(over) || Instant::now() > deadline {
                break looks;
            }
            if !stop.sleep(LOOK) {
                return Ok(None);
            }
        };
        self.server.wait_until_up()?;
        self.kills += 1;
        let serving = self
            .server
            .steps()
            .get("serving")
            .and_then(|at| at.first().copied());
        let serving = serving.map(|at| at.saturating_sub(unix_us(killed)) as f64 / 1000.0);
        let mut readings = Vec::new();
        for (look, rejoined) in looks.iter().zip(&mut self.rejoined) {
            let since =
                |at: Option<Instant>| at.and_then(|at| at.checked_duration_since(killed)).map(ms);
            let gap = look
                .gap
                .filter(|_| look.failed.is_none())
                .map(|gap| ms(gap.first - gap.last));
            readings.push(Reading {
                kill: self.kills,
                down_measured_ms: Some(ms(spawned - killed)),
                gap_ms: gap,
                over_ms: gap.map(|gap| ((gap - down as f64) * 1000.0).round() / 1000.0),
                new_sessions: look.rejoined - *rejoined,
                serving_ms: serving,
                publisher_hello_ms: since(look.publisher.0),
                publisher_keys_ms: since(look.publisher.1),
                viewer_hello_ms: since(look.viewer.0),
                viewer_keys_ms: since(look.viewer.1),
            });
            *rejoined = look.rejoined;
        }
        // What has been measured counts, even if this is cut short.
        stop.sleep(self.settle);
        Ok(Some(readings))
    }

    fn version(&self) -> Option<String> {
        None
    }
}
