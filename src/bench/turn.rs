//! One turn of one arm: a server, its clients, and some kills.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Settings;
use super::client::{Camera, Gap, Life, Media, Viewer};
use super::crowd::{self, Crowd, CrowdSettings, Handle};
use super::disk::{Watch, Written};
use super::error::BenchError;
use super::http::{self, HttpSettings};
use super::scenario::{Arm, Scenario};
use super::server::{Server, Steps, Used};
use super::target::Target;
use crate::net::timeline::monotonic_us;
use crate::sdp::Kind;

/// Clients that are not there after so long will not come.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// A viewer without media after so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long packets may take that come by retransmission, besides round trips.
const SETTLE: Duration = Duration::from_millis(800);
const LOOK: Duration = Duration::from_millis(2);

/// A publisher and its viewers.
pub(super) struct Clients {
    crowd: Handle,
    publisher: usize,
    viewers: Vec<usize>,
    http: Option<std::thread::JoinHandle<()>>,
}

/// How a publisher and its only viewer are doing after a kill.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub gap: Option<Gap>,
    /// Both have keys, and nothing is to be done any more.
    pub at_rest: bool,
    pub failed: Option<String>,
    /// New sessions so far.
    pub rejoined: u32,
    /// When each began its last handshake, and had the keys of its last complete one.
    pub publisher: (Option<Instant>, Option<Instant>),
    pub viewer: (Option<Instant>, Option<Instant>),
}

/// What one kill did to one viewer.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// From the last packet before to the first after; `None` where none came.
    pub gap: Option<Duration>,
    /// Since the kill: when the viewer began its handshake, had it complete, and authenticated the first packet.
    pub hello: Option<Duration>,
    pub connected: Option<Duration>,
    pub first: Option<Duration>,
    /// Packets that never came: audio, for which browsers do not ask again, and video.
    pub missing: (u64, u64),
    /// Packets that came twice.
    pub repeated: u64,
}

/// What one kill did.
#[derive(Debug)]
pub(super) struct Kill {
    pub samples: Vec<Sample>,
    /// When the server reached which step, since the kill.
    pub steps: Vec<(String, Vec<f64>)>,
    /// CPU time of the new process until the last viewer had media again.
    pub used: Used,
    pub written: Option<Written>,
    pub complaints: Vec<String>,
}

/// What a turn gave.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub kills: Vec<Kill>,
    /// How long the broadcast was watched undisturbed, and what the server used and wrote meanwhile.
    pub steady: Duration,
    pub steady_cpu: Duration,
    pub steady_written: Option<Written>,
    pub resident: u64,
    pub threads: usize,
    pub rejoined: u64,
    pub undecryptable: u64,
    pub replayed: u64,
    /// Datagrams that this machine had no room for, on the clients' side.
    pub dropped: u64,
}

impl Clients {
    /// Joins a publisher and viewers, and waits until all have media.
    pub fn join(
        settings: &Settings,
        scenario: &Scenario,
        arm: Arm,
        target: &Target,
        camera: super::client::CameraSettings,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let (orders, ordered) = tokio::sync::mpsc::unbounded_channel();
        let http_settings = HttpSettings {
            target: target.clone(),
            one_way: scenario.conditions.one_way(),
            retry: settings.retry,
            seed,
        };
        let crowd_settings = CrowdSettings {
            conditions: scenario.conditions,
            manner: settings.manner(),
            way: arm.way(),
            by_session: settings.against.is_some(),
            seed,
        };
        let mut http = None;
        let crowd = crowd::start(crowd_settings, orders, |news, waker| {
            let serve = move || {
                // Without it no client joins, and that is told.
                let _ = http::serve(http_settings, ordered, news, Arc::clone(&waker));
            };
            http = std::thread::Builder::new().name("http".into()).spawn(serve).ok();
        })
        .map_err(BenchError::system("cannot start the clients"))?;
        let mut clients = Self {
            crowd,
            publisher: 0,
            viewers: Vec::new(),
            http,
        };
        let ip = target.address.ip();
        let add = move |media: fn(super::client::CameraSettings, Instant) -> Media| {
            move |crowd: &mut Crowd, now: Instant| crowd.add(now, media(camera, now), ip)
        };
        let socket = BenchError::system("no socket for a client; see `ulimit -n`");
        let publisher = clients
            .ask(add(|camera, now| Media::Camera(Camera::new(camera, now))))?
            .map_err(&socket)?;
        clients.publisher = publisher;
        clients.wait(
            "the publisher does not get through to the server",
            JOIN_TIME,
            move |crowd| crowd.sight(publisher).connected,
        )?;
        for _ in 0..scenario.viewers {
            let viewer = clients
                .ask(add(|_, _| Media::Viewer(Box::new(Viewer::new()))))?
                .map_err(&socket)?;
            clients.viewers.push(viewer);
        }
        let viewers = clients.viewers.clone();
        clients.wait("not all viewers get media", JOIN_TIME, move |crowd| {
            let has_media = |viewer: &usize| crowd.viewer(*viewer).is_some_and(|v| v.last().is_some());
            viewers.iter().all(has_media)
        })?;
        Ok(clients)
    }

    fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Crowd, Instant) -> T + Send + 'static,
    ) -> Result<T, BenchError> {
        let gone = || BenchError::Clients("the clients' thread has ended".to_owned());
        self.crowd.ask(task).ok_or_else(gone)
    }

    fn wait(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Crowd) -> bool + Clone + Send + 'static,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + patience;
        let everyone: Vec<usize> = self.viewers.iter().copied().chain([self.publisher]).collect();
        loop {
            let holds = holds.clone();
            if self.ask(move |crowd, _| holds(crowd))? {
                return Ok(());
            }
            let seats = everyone.clone();
            let failed = self.ask(move |crowd, _| seats.iter().find_map(|seat| crowd.sight(*seat).failed))?;
            if let Some(why) = failed.or_else(|| (Instant::now() > deadline).then(|| what.to_owned())) {
                return Err(BenchError::Clients(format!("{what}: {why}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The next packets that the camera will make: (audio, video).
    fn position(&self) -> Result<(u64, u64), BenchError> {
        let publisher = self.publisher;
        self.ask(move |crowd, _| {
            let camera = crowd.media(publisher).and_then(|media| media.camera());
            camera.map_or((0, 0), |c| (c.next_index(Kind::Audio), c.next_index(Kind::Video)))
        })
    }

    /// What a viewer of ours saw of the kill at `killed`, and whether all clients have done with it.
    pub fn look(&self, life: Life, killed: Instant) -> Result<Look, BenchError> {
        let (publisher, viewer) = (self.publisher, self.viewers[0]);
        self.ask(move |crowd, _| {
            let both = [crowd.sight(publisher), crowd.sight(viewer)];
            let times = |seat: usize| {
                crowd
                    .client(seat)
                    .map_or((None, None), |c| (c.hello_at, c.connected_at))
            };
            let gaps = crowd.viewer(viewer).map(|v| v.gaps.as_slice()).unwrap_or_default();
            Look {
                gap: gaps
                    .iter()
                    .rev()
                    .copied()
                    .find(|gap| gap.life == life && gap.first > killed),
                at_rest: both.iter().all(|sight| sight.connected && sight.at_rest),
                failed: both.iter().find_map(|sight| sight.failed.clone()),
                rejoined: both.iter().map(|sight| sight.rejoined).sum(),
                publisher: times(publisher),
                viewer: times(viewer),
            }
        })
    }

    /// A new life of the server begins: what the old one has sent has been read.
    pub fn next_life(&self) -> Result<Life, BenchError> {
        self.ask(|crowd, _| crowd.next_life())
    }

    /// The largest gap between media of the first viewer since the last call.
    pub fn widest(&self) -> Result<Duration, BenchError> {
        let viewer = self.viewers[0];
        self.ask(move |crowd, _| crowd.viewer_mut(viewer).map(Viewer::take_widest).unwrap_or_default())
    }

    /// Renews one viewer's keys, and waits until the handshake is complete.
    pub fn renew(&self, place: usize) -> Result<(), BenchError> {
        let viewer = self.viewers[place];
        let before = self.ask(move |crowd, now| {
            crowd.renew(now, viewer);
            crowd.client(viewer).map_or(0, |client| client.handshakes)
        })?;
        let deadline = Instant::now() + JOIN_TIME;
        while self.ask(move |crowd, _| crowd.client(viewer).map_or(0, |client| client.handshakes))? == before {
            if Instant::now() > deadline {
                return Err(BenchError::Clients("a handshake does not complete".to_owned()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// What came of a kill, once every viewer has media again or is lost.
    fn samples(
        &self,
        life: Option<Life>,
        killed: Instant,
        before: (u64, u64),
        after: (u64, u64),
        repeated: &[u64],
    ) -> Result<Vec<Sample>, BenchError> {
        let viewers = self.viewers.clone();
        let repeated = repeated.to_vec();
        self.ask(move |crowd, _| {
            let sample = |(place, seat): (usize, &usize)| {
                let since = |at: Option<Instant>| at.and_then(|at| at.checked_duration_since(killed));
                let viewer = crowd.viewer(*seat);
                let client = crowd.client(*seat);
                let gap = viewer.and_then(|v| {
                    v.gaps
                        .iter()
                        .rev()
                        .find(|gap| gap.first > killed && life.is_none_or(|life| life == gap.life))
                });
                let missing = viewer.map_or((0, 0), |v| {
                    (
                        v.missing(Kind::Audio, before.0..after.0),
                        v.missing(Kind::Video, before.1..after.1),
                    )
                });
                Sample {
                    gap: gap.map(|gap| gap.first - gap.last),
                    hello: since(client.and_then(|c| c.hello_at)),
                    connected: since(client.and_then(|c| c.connected_at)),
                    first: since(gap.map(|gap| gap.first)),
                    missing,
                    repeated: viewer.map_or(0, |v| v.repeated()) - repeated.get(place).copied().unwrap_or_default(),
                }
            };
            viewers.iter().enumerate().map(sample).collect()
        })
    }

    fn repeated(&self) -> Result<Vec<u64>, BenchError> {
        let viewers = self.viewers.clone();
        self.ask(move |crowd, _| {
            viewers
                .iter()
                .map(|v| crowd.viewer(*v).map_or(0, |v| v.repeated()))
                .collect()
        })
    }

    /// Adds up what went wrong on the clients' side.
    fn finish(&self, turn: &mut Turn) -> Result<(), BenchError> {
        let seats: Vec<usize> = self.viewers.iter().copied().chain([self.publisher]).collect();
        let (rejoined, undecryptable, replayed, dropped) = self.ask(move |crowd, _| {
            let mut sums = (0, 0, 0, crowd.dropped);
            for seat in seats {
                sums.0 += u64::from(crowd.sight(seat).rejoined);
                if let Some(client) = crowd.client(seat) {
                    sums.1 += client.counts.undecryptable;
                    sums.2 += client.counts.replayed;
                }
            }
            sums
        })?;
        turn.rejoined = rejoined;
        turn.undecryptable = undecryptable;
        turn.replayed = replayed;
        turn.dropped = dropped;
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // The HTTP side ends when nobody is left to give it orders.
        self.crowd.stop();
        if let Some(http) = self.http.take() {
            let _ = http.join();
        }
    }
}

/// What is killed and started again.
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
    let mut server = Server::new(settings.folder.as_deref(), &arm.server_options())?;
    server.spawn()?;
    server.wait_until_up()?;
    let target = server.http().map(Target::own);
    let target = target.ok_or_else(|| BenchError::Server("it did not say where it listens".to_owned()))?;
    let clients = Clients::join(settings, scenario, arm, &target, settings.camera(scenario), seed)?;
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
    clients.finish(&mut turn)?;
    Ok(turn)
}

/// Runs a turn against another server, which is not ours to kill: all clients leave it at once and come again.
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
        turn.kills
            .push(kill(scenario, Arm::Reconnect, &clients, &mut Victim::Other, None)?);
        told();
    }
    clients.finish(&mut turn)?;
    Ok(turn)
}

fn watch_steady(settings: &Settings, server: &mut Server, watch: Option<&mut Watch>, turn: &mut Turn) {
    // What joining has set in motion comes to rest.
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
    // Packets that are on their way now were sent before the kill, and are none of its business.
    std::thread::sleep(Duration::from_millis(100));
    if let Some(watch) = watch.as_deref_mut() {
        watch.take();
    }
    let (killed, life) = match victim {
        Victim::Own(server) => {
            let killed = server.kill();
            // What the old process has sent is read before the new one can send.
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
            clients.ask(|crowd, now| crowd.rejoin_all(now))?;
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
    let all_back = clients.wait("not all viewers get media again", LOST_AFTER + scenario.down, back);
    let used = match victim {
        Victim::Own(server) => server.used(),
        Victim::Other => Used::default(),
    };
    if let Err(BenchError::Clients(why)) = &all_back {
        tracing::debug!(why, "some viewers are lost");
    }
    // What is missing now may still come by retransmission.
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
    let start = monotonic_us(moment);
    let ms = |at: u64| at.saturating_sub(start) as f64 / 1000.0;
    steps
        .into_iter()
        .map(|(step, times)| (step, times.into_iter().map(ms).collect()))
        .collect()
}
