//! A publisher and its viewers: they join, go through kills, and report what they saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Settings;
use super::crowd::{self, Crowd, CrowdSettings, Handle};
use super::error::BenchError;
use super::http::{self, HttpSettings};
use super::media::{Camera, CameraSettings, Gap, Life, Media, Watcher};
use super::scenario::{Arm, Scenario};
use super::target::Target;
use rekindle_sdp::Kind;

/// Clients that have not joined after this time will not join.
const JOIN_TIME: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

/// A publisher and its viewers.
pub(super) struct Clients {
    crowd: Handle,
    publisher: usize,
    pub viewers: Vec<usize>,
    http: Option<std::thread::JoinHandle<()>>,
}

/// The state of a publisher and its only viewer after a kill.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub gap: Option<Gap>,
    /// Whether both have keys, and nothing is left to be done.
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
    /// Time from the last packet before it to the first one after it; `None` where none came.
    pub gap: Option<Duration>,
    /// Since the kill: when the viewer began its handshake, had it complete, and authenticated the
    /// first packet.
    pub hello: Option<Duration>,
    pub connected: Option<Duration>,
    pub first: Option<Duration>,
    /// Packets that never came: audio, which browsers do not request again, and video.
    pub missing: (u64, u64),
    /// Packets that came twice.
    pub repeated: u64,
}

/// Faults on the clients' side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Troubles {
    pub rejoined: u64,
    pub undecryptable: u64,
    pub replayed: u64,
    /// Datagrams for which this machine had no room.
    pub dropped: u64,
}

impl Clients {
    /// Joins a publisher and viewers, and waits until all have media.
    pub(super) fn join(
        settings: &Settings,
        scenario: &Scenario,
        arm: Arm,
        target: &Target,
        camera: CameraSettings,
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
                // Without it no client joins, which is reported.
                let _ = http::serve(http_settings, ordered, news, Arc::clone(&waker));
            };
            http = std::thread::Builder::new()
                .name("http".into())
                .spawn(serve)
                .ok();
        })
        .map_err(BenchError::system("cannot start the clients"))?;
        let mut clients = Self {
            crowd,
            publisher: 0,
            viewers: Vec::new(),
            http,
        };
        let ip = target.address.ip();
        let add = move |media: fn(CameraSettings, Instant) -> Media| {
            move |crowd: &mut Crowd, now: Instant| crowd.add(media(camera, now), ip)
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
                .ask(add(|_, _| Media::Viewer(Box::new(Watcher::new()))))?
                .map_err(&socket)?;
            clients.viewers.push(viewer);
        }
        let viewers = clients.viewers.clone();
        clients.wait("not all viewers get media", JOIN_TIME, move |crowd| {
            let has_media =
                |viewer: &usize| crowd.viewer(*viewer).is_some_and(|v| v.last().is_some());
            viewers.iter().all(has_media)
        })?;
        Ok(clients)
    }

    pub(super) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Crowd, Instant) -> T + Send + 'static,
    ) -> Result<T, BenchError> {
        let gone = || BenchError::Clients("the clients' thread has ended".to_owned());
        self.crowd.ask(task).ok_or_else(gone)
    }

    pub(super) fn wait(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Crowd) -> bool + Clone + Send + 'static,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + patience;
        let everyone: Vec<usize> = self
            .viewers
            .iter()
            .copied()
            .chain([self.publisher])
            .collect();
        loop {
            let holds = holds.clone();
            if self.ask(move |crowd, _| holds(crowd))? {
                return Ok(());
            }
            let seats = everyone.clone();
            let failed =
                self.ask(move |crowd, _| seats.iter().find_map(|seat| crowd.sight(*seat).failed))?;
            if let Some(why) =
                failed.or_else(|| (Instant::now() > deadline).then(|| what.to_owned()))
            {
                return Err(BenchError::Clients(format!("{what}: {why}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The next packets that the camera will make: (audio, video).
    pub(super) fn position(&self) -> Result<(u64, u64), BenchError> {
        let publisher = self.publisher;
        self.ask(move |crowd, _| {
            let camera = crowd.media(publisher).and_then(|media| media.camera());
            camera.map_or((0, 0), |c| {
                (c.next_index(Kind::Audio), c.next_index(Kind::Video))
            })
        })
    }

    /// What a viewer saw of the kill at `killed`, and whether all clients have dealt with it.
    pub(super) fn look(&self, life: Life, killed: Instant) -> Result<Look, BenchError> {
        let (publisher, viewer) = (self.publisher, self.viewers[0]);
        self.ask(move |crowd, _| {
            let both = [crowd.sight(publisher), crowd.sight(viewer)];
            let times = |seat: usize| {
                crowd
                    .connection(seat)
                    .map_or((None, None), |c| (c.hello_at, c.connected_at))
            };
            let gaps = crowd
                .viewer(viewer)
                .map(|v| v.gaps.as_slice())
                .unwrap_or_default();
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

    /// A new life of the server begins: what the old one sent has been read.
    pub(super) fn next_life(&self) -> Result<Life, BenchError> {
        self.ask(|crowd, _| crowd.next_life())
    }

    /// The largest gap between media of the first viewer since the last call.
    pub(super) fn widest(&self) -> Result<Duration, BenchError> {
        let viewer = self.viewers[0];
        self.ask(move |crowd, _| {
            crowd
                .viewer_mut(viewer)
                .map(Watcher::take_widest)
                .unwrap_or_default()
        })
    }

    /// Renews one viewer's keys, and waits until the handshake is complete.
    pub(super) fn renew(&self, place: usize) -> Result<(), BenchError> {
        let viewer = self.viewers[place];
        let before = self.ask(move |crowd, now| {
            crowd.renew(now, viewer);
            crowd
                .connection(viewer)
                .map_or(0, |client| client.handshakes)
        })?;
        let deadline = Instant::now() + JOIN_TIME;
        while self.ask(move |crowd, _| {
            crowd
                .connection(viewer)
                .map_or(0, |client| client.handshakes)
        })? == before
        {
            if Instant::now() > deadline {
                return Err(BenchError::Clients(
                    "a handshake does not complete".to_owned(),
                ));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The results of a kill, once every viewer has media again or is lost.
    pub(super) fn samples(
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
                let since =
                    |at: Option<Instant>| at.and_then(|at| at.checked_duration_since(killed));
                let viewer = crowd.viewer(*seat);
                let client = crowd.connection(*seat);
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
                    repeated: viewer.map_or(0, |v| v.repeated())
                        - repeated.get(place).copied().unwrap_or_default(),
                }
            };
            viewers.iter().enumerate().map(sample).collect()
        })
    }

    pub(super) fn repeated(&self) -> Result<Vec<u64>, BenchError> {
        let viewers = self.viewers.clone();
        self.ask(move |crowd, _| {
            viewers
                .iter()
                .map(|v| crowd.viewer(*v).map_or(0, |v| v.repeated()))
                .collect()
        })
    }

    /// Sums the faults on the clients' side.
    pub(super) fn finish(&self) -> Result<Troubles, BenchError> {
        let seats: Vec<usize> = self
            .viewers
            .iter()
            .copied()
            .chain([self.publisher])
            .collect();
        self.ask(move |crowd, _| {
            let mut sum = Troubles {
                dropped: crowd.dropped,
                ..Troubles::default()
            };
            for seat in seats {
                sum.rejoined += u64::from(crowd.sight(seat).rejoined);
                if let Some(client) = crowd.connection(seat) {
                    sum.undecryptable += client.counts.undecryptable;
                    sum.replayed += client.counts.replayed;
                }
            }
            sum
        })
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // The HTTP side ends when all senders of orders are gone.
        self.crowd.stop();
        if let Some(http) = self.http.take() {
            let _ = http.join();
        }
    }
}
