//! One turn: a publisher, its viewers, and what the server used during it.

use std::time::{Duration, Instant};

use rekindle_client::random::Random;
use rekindle_ids::Role;
use rekindle_sdp::Kind;

use super::LoadSettings;
use super::group::{Group, GroupSettings, Handle};
use super::histogram::Histogram;
use super::join::Door;
use super::process::{Cpu, ThreadUse, Threads, dropped, resident};
use super::watcher::{Span, Watcher};
use crate::error::BenchError;
use crate::media::{Camera, Publisher};
use crate::target::Target;

/// Clients that have not joined after this time will not join.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// Time for joining to settle.
const REST: Duration = Duration::from_secs(1);
/// How long late packets and retransmissions may take.
const SETTLE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// The result of a turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub viewers: usize,
    /// From the first offer until the last viewer had media.
    pub joined_in: Duration,
    /// How long was measured.
    pub time: Duration,
    /// Packets that the publisher sent meanwhile.
    pub published: u64,
    /// Packets that viewers got of these, each counted once for each viewer.
    pub delivered: u64,
    /// Packets that they never got.
    pub lost: u64,
    pub repeated: u64,
    pub asked_for: u64,
    pub delays: Histogram,
    /// The server's use; `None` where its process is not known.
    pub server: Option<ServerUse>,
    /// CPU time of this program.
    pub clients_cpu: Cpu,
    /// By how much the viewers' threads read their sockets late.
    pub lateness: Histogram,
    /// Datagrams for which the viewers' sockets had no room.
    pub dropped: u64,
    pub unsent: u64,
    pub undecryptable: u64,
}

/// What a server used.
#[derive(Debug)]
pub(crate) struct ServerUse {
    pub cpu: Cpu,
    pub threads: Vec<ThreadUse>,
    pub thread_count: usize,
    /// Resident bytes before the viewers joined, and at the end.
    pub resident: (u64, u64),
}

/// A publisher and its viewers.
pub(crate) struct Clients {
    door: Door,
    publisher: Handle<Publisher<Camera>>,
    groups: Vec<Handle<Watcher>>,
}

/// What is counted on the clients' side at one moment.
#[derive(Debug, Default)]
struct Count {
    delays: Histogram,
    lateness: Histogram,
    lost: u64,
    repeated: u64,
    asked_for: u64,
    unsent: u64,
    undecryptable: u64,
    ports: Vec<u16>,
}

impl Clients {
    /// Joins a publisher.
    pub(crate) fn publish(
        settings: &LoadSettings,
        target: Target,
        seed: u64,
    ) -> Result<Self, BenchError> {
        let group = |name: String, cores: Vec<usize>, loss, seed| GroupSettings {
            name,
            cores,
            manner: settings.manner,
            loss,
            seed,
        };
        let mut random = Random::new(seed);
        let cores = &settings.cores;
        let publisher = Handle::start(group(
            "publisher".to_owned(),
            cores.clients.clone(),
            (0.0, settings.publisher_loss / 100.0),
            random.draw(),
        ))?;
        let groups = (0..cores.client_threads()).map(|n| {
            let own = cores.clients.get(n).map(|core| vec![*core]);
            let loss = (settings.loss / 100.0, 0.0);
            let name = format!("viewers {n}");
            Handle::start(group(name, own.unwrap_or_default(), loss, random.draw()))
        });
        let groups = groups.collect::<Result<_, _>>()?;
        let mut clients = Self {
            door: Door::new(target, random)?,
            publisher,
            groups,
        };
        let (camera, packets) = (settings.camera, settings.packets);
        let media = |agreed: &[_], ssrcs| {
            let camera = Camera::with(camera, packets, Instant::now());
            Publisher::new(camera, agreed, ssrcs)
        };
        let publisher = &clients.publisher;
        let seat = |newcomer| publisher.add(newcomer);
        clients.door.join(Role::Publisher, 1, media, seat)?;
        let what = "the publisher does not get through to the server";
        wait(what, || {
            let publisher = &clients.publisher;
            publisher.all(|client| client.connection.is_connected())
        })?;
        Ok(clients)
    }

    /// Joins viewers, and waits until all have media. Returns how long that took.
    fn watch(&mut self, viewers: usize) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let mut groups = self.groups.iter().cycle();
        let seat = |newcomer| groups.next().map_or(Ok(()), |group| group.add(newcomer));
        let media = |agreed: &[_], _| Watcher::new(agreed);
        self.door.join(Role::Viewer, viewers, media, seat)?;
        let groups = &self.groups;
        wait("not all viewers get media", || {
            for group in groups {
                if !group.all(|client| client.media.has_media())? {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(began.elapsed())
    }

    /// The numbers of the publisher's next packets: of sound, of pictures.
    fn position(&self) -> Result<(u64, u64), BenchError> {
        self.publisher.ask(|group| {
            let seat = group.seats.first();
            seat.map_or((0, 0), |seat| {
                let camera = &seat.client.media.camera;
                (
                    camera.next_index(Kind::Audio),
                    camera.next_index(Kind::Video),
                )
            })
        })
    }

    fn begin(&self) -> Result<(), BenchError> {
        for group in &self.groups {
            group.ask(|group| {
                group.lateness = Histogram::default();
                let seats = &mut group.seats;
                seats.iter_mut().for_each(|seat| seat.client.media.begin());
            })?;
        }
        Ok(())
    }

    /// What has arrived so far. Packets of this span that have not arrived are lost.
    fn count(&self, span: &Span) -> Result<Count, BenchError> {
        let mut sum = Count::default();
        for group in &self.groups {
            let span = span.clone();
            let one = group.ask(move |group| Count::of(group, &span))?;
            sum.add(one);
        }
        sum.unsent += self.publisher.ask(|group| group.unsent)?;
        Ok(sum)
    }

    /// Ends all sessions.
    fn leave(self) -> Result<(), BenchError> {
        fn locations<M>(group: &mut Group<M>) -> Vec<String> {
            let seats = group.seats.iter_mut();
            seats
                .map(|seat| std::mem::take(&mut seat.location))
                .collect()
        }
        let mut all = self.publisher.ask(locations)?;
        for group in &self.groups {
            all.extend(group.ask(locations)?);
        }
        all.retain(|location| !location.is_empty());
        self.door.leave(all);
        Ok(())
    }
}

impl Count {
    fn of(group: &mut Group<Watcher>, span: &Span) -> Self {
        let mut count = Self {
            lateness: group.lateness.clone(),
            unsent: group.unsent,
            ..Self::default()
        };
        for seat in &group.seats {
            let media = &seat.client.media;
            count.delays.merge(media.delays());
            count.lost += media.missing(span);
            count.repeated += media.repeated();
            count.asked_for += media.asked_for();
            count.undecryptable += seat.client.connection.counts.undecryptable;
            count.ports.push(seat.port);
        }
        count
    }

    fn add(&mut self, other: Self) {
        self.delays.merge(&other.delays);
        self.lateness.merge(&other.lateness);
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.asked_for += other.asked_for;
        self.unsent += other.unsent;
        self.undecryptable += other.undecryptable;
        self.ports.extend(other.ports);
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> Result<bool, BenchError>) -> Result<(), BenchError> {
    let deadline = Instant::now() + JOIN_TIME;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(BenchError::Clients(what.to_owned()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Runs a turn against a running server. `process`: its process, where it is known.
pub(crate) fn run(
    settings: &LoadSettings,
    target: Target,
    process: Option<u32>,
    viewers: usize,
    seed: u64,
) -> Result<Turn, BenchError> {
    let mut clients = Clients::publish(settings, target, seed)?;
    std::thread::sleep(REST);
    let before_viewers = process.map_or(0, resident);
    let joined_in = clients.watch(viewers)?;
    std::thread::sleep(REST);

    let threads = |process: Option<u32>| process.map(Threads::of).unwrap_or_default();
    let none = clients.count(&Span::default())?;
    let dropped_before = dropped(&none.ports);
    clients.begin()?;
    let began = Instant::now();
    let (from, server_before) = (clients.position()?, threads(process));
    let own_before = Threads::of(std::process::id());
    std::thread::sleep(settings.time);
    let (to, server_after) = (clients.position()?, threads(process));
    let time = began.elapsed();
    let own_after = Threads::of(std::process::id());
    let span = Span {
        audio: from.0..to.0,
        video: from.1..to.1,
    };
    let at_end = clients.count(&span)?;
    std::thread::sleep(SETTLE);
    let settled = clients.count(&span)?;
    let dropped = dropped(&settled.ports) - dropped_before;
    let published = span.packets();
    let server = process.map(|process| ServerUse {
        cpu: server_after.since(&server_before),
        threads: server_after.by_name(&server_before, time),
        thread_count: server_after.count(),
        resident: (before_viewers, resident(process)),
    });
    clients.leave()?;
    Ok(Turn {
        viewers,
        joined_in,
        time,
        published,
        delivered: (published * viewers as u64).saturating_sub(settled.lost),
        lost: settled.lost,
        repeated: settled.repeated - none.repeated,
        asked_for: settled.asked_for - none.asked_for,
        delays: at_end.delays,
        server,
        clients_cpu: own_after.since(&own_before),
        lateness: at_end.lateness,
        dropped,
        unsent: settled.unsent - none.unsent,
        undecryptable: settled.undecryptable - none.undecryptable,
    })
}
