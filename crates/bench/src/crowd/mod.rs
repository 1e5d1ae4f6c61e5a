//! All clients of a run, in one thread: their sockets, the way to the server, their pages, and one
//! clock.

mod asked;
mod handle;
mod sessions;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Poll, Registry, Token, Waker};
use quinn_udp::UdpSocketState;
use rekindle_client::manner::Manner;
use rekindle_client::offer::Offered;
use rekindle_client::page::{Page, Way};
use rekindle_client::random::Random;
use rekindle_client::schedule::Schedule;

use super::http::{News, Order};
use super::media::{Client, Life, Media};
use super::path::{Conditions, Path};

pub(crate) use handle::Handle;
pub(crate) use wire::bind;

const WAKE: Token = Token(usize::MAX);
const IDLE: Duration = Duration::from_millis(500);
/// Datagrams taken in one call; each may be many, put together by the kernel.
const BATCH: usize = 8;
const MAX_DATAGRAM: usize = 2048;

/// What runs inside the loop.
type Task = Box<dyn FnOnce(&mut Crowd, Instant) + Send>;

/// What all clients of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrowdSettings {
    pub conditions: Conditions,
    pub manner: Manner,
    pub way: Way,
    /// A life of the server is told by the session in which a packet comes, since nobody says when
    /// the server is killed.
    pub by_session: bool,
    pub seed: u64,
}

/// Where a client is.
enum Stage {
    Out(Media),
    Joining(Box<Offered>, Media),
    In(Box<Client>),
    Failed(String),
}

/// A client and all that it holds on to.
struct Seat {
    socket: UdpSocket,
    state: UdpSocketState,
    own: SocketAddr,
    stage: Stage,
    page: Page,
    /// Counts sessions; news of earlier ones is old.
    session: u32,
    location: Option<String>,
    armed: Option<Instant>,
    /// New sessions that were made in place of one that could not be kept.
    rejoined: u32,
}

/// See the module.
pub(crate) struct Crowd {
    settings: CrowdSettings,
    seats: Vec<Seat>,
    /// Those that publish.
    publishers: Vec<usize>,
    registry: Registry,
    path: Path,
    timers: Schedule<(Instant, usize)>,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    life: Life,
    random: Random,
    /// News whose time has not come.
    later: Schedule<News>,
    buffers: Vec<Vec<u8>>,
    /// Datagrams that the kernel had no room for.
    pub dropped: u64,
}

/// Starts a crowd's thread. `orders` leads to the HTTP side, whose news comes back through the
/// sender and the waker that `with_news` is given.
pub(crate) fn start(
    settings: CrowdSettings,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    with_news: impl FnOnce(mpsc::Sender<News>, Arc<Waker>),
) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (tasks, inbox) = mpsc::channel::<Task>();
    let (news, incoming) = mpsc::channel();
    with_news(news, waker.clone());
    let mut random = Random::new(settings.seed);
    let crowd = Crowd {
        settings,
        seats: Vec::new(),
        publishers: Vec::new(),
        registry: poll.registry().try_clone()?,
        path: Path::new(settings.conditions, random.fork()),
        timers: Schedule::default(),
        orders,
        life: 0,
        random,
        later: Schedule::default(),
        buffers: vec![vec![0; MAX_DATAGRAM * 64]; BATCH],
        dropped: 0,
    };
    let thread = std::thread::Builder::new()
        .name("crowd".into())
        .spawn(move || crowd.run(poll, &inbox, &incoming))?;
    Ok(Handle::new(tasks, waker, thread))
}

impl Crowd {
    fn run(
        mut self,
        mut poll: Poll,
        tasks: &mpsc::Receiver<Task>,
        incoming: &mpsc::Receiver<News>,
    ) {
        let mut events = Events::with_capacity(1024);
        loop {
            let wait = self
                .next()
                .map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = poll.poll(&mut events, Some(wait.min(IDLE)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return;
            }
            let ready: Vec<usize> = events
                .iter()
                .map(|e| e.token())
                .filter(|t| *t != WAKE)
                .map(|t| t.0)
                .collect();
            for (number, seat) in ready.into_iter().enumerate() {
                // A publisher has a machine of its own: it does not wait until all viewers have
                // done their sums.
                if number % 4 == 0 {
                    self.publishers
                        .clone()
                        .into_iter()
                        .for_each(|seat| self.receive(seat));
                }
                self.receive(seat);
            }
            while let Ok(news) = incoming.try_recv() {
                self.later.put(news.at, news);
            }
            self.due(Instant::now());
            loop {
                match tasks.try_recv() {
                    Ok(task) => task(&mut self, Instant::now()),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        [self.timers.next(), self.later.next(), self.path.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    fn due(&mut self, now: Instant) {
        while let Some(parcel) = self.path.arrive(now) {
            self.deliver(now, parcel);
        }
        while let Some(news) = self.later.take(now) {
            self.hear(now, news);
        }
        while let Some((at, seat)) = self.timers.take(now) {
            if self.seats[seat].armed == Some(at) {
                self.seats[seat].armed = None;
                if let Stage::In(client) = &mut self.seats[seat].stage {
                    client.handle_timeout(now);
                }
                self.settle(now, seat);
            }
        }
    }
}
