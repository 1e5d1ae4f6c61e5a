//! All clients of a run, in one thread: their sockets, the way to the server, their pages, and one
//! clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use quinn_udp::{RecvMeta, UdpSocketState};

use super::client::page::{Act, Link, Page, Way};
use super::client::{Client, Life, Manner, Media, Offered, Random, Viewer};
use super::http::{JoinRequest, News, Order, What};
use super::path::{Conditions, Parcel, Path};
use rekindle_ids::Role;

const WAKE: Token = Token(usize::MAX);
const IDLE: Duration = Duration::from_millis(500);
/// Datagrams taken in one call; each may be many, put together by the kernel.
const BATCH: usize = 8;
const MAX_DATAGRAM: usize = 2048;
const KERNEL_BUFFER: usize = 1 << 20;

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
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    orders: tokio::sync::mpsc::UnboundedSender<Order>,
    life: Life,
    random: Random,
    /// News whose time has not come.
    later: BinaryHeap<Reverse<Later>>,
    numbered: u64,
    buffers: Vec<Vec<u8>>,
    /// Datagrams that the kernel had no room for.
    pub dropped: u64,
}

struct Later {
    at: Instant,
    number: u64,
    news: News,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A client as it is seen from outside.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub connected: bool,
    /// Its page has nothing to do about a restart.
    pub at_rest: bool,
    pub failed: Option<String>,
    pub rejoined: u32,
}

/// A handle to a crowd. Dropping it ends the crowd's thread.
pub(crate) struct Handle {
    tasks: Option<mpsc::Sender<Task>>,
    waker: Arc<Waker>,
    thread: Option<std::thread::JoinHandle<()>>,
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
        timers: BinaryHeap::new(),
        orders,
        life: 0,
        random,
        later: BinaryHeap::new(),
        numbered: 0,
        buffers: vec![vec![0; MAX_DATAGRAM * 64]; BATCH],
        dropped: 0,
    };
    let thread = std::thread::Builder::new()
        .name("crowd".into())
        .spawn(move || crowd.run(poll, &inbox, &incoming))?;
    Ok(Handle {
        tasks: Some(tasks),
        waker,
        thread: Some(thread),
    })
}

impl Handle {
    /// Runs `task` inside the loop and returns what it returns. `None` once the loop has ended.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Crowd, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        let task: Task = Box::new(move |crowd, now| {
            let _ = reply.send(task(crowd, now));
        });
        self.tasks.as_ref()?.send(task).ok()?;
        self.waker.wake().ok()?;
        answer.recv().ok()
    }
}

impl Handle {
    /// Ends the loop, and waits until it has ended.
    pub(super) fn stop(&mut self) {
        self.tasks = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
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
                self.numbered += 1;
                let (at, number) = (news.at, self.numbered);
                self.later.push(Reverse(Later { at, number, news }));
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
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let later = self.later.peek().map(|Reverse(later)| later.at);
        [timer, later, self.path.next()].into_iter().flatten().min()
    }

    /// Does what is due.
    fn due(&mut self, now: Instant) {
        while let Some(parcel) = self.path.arrive(now) {
            self.deliver(now, parcel);
        }
        while self
            .later
            .peek()
            .is_some_and(|Reverse(later)| later.at <= now)
        {
            if let Some(Reverse(later)) = self.later.pop() {
                self.hear(now, later.news);
            }
        }
        while let Some(Reverse((at, seat))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.seats[seat].armed == Some(at) {
                self.seats[seat].armed = None;
                if let Stage::In(client) = &mut self.seats[seat].stage {
                    client.handle_timeout(now);
                }
                self.settle(now, seat);
            }
        }
    }

    /// Takes what has come for a client until there is no more.
    fn receive(&mut self, seat: usize) {
        let mut buffers = std::mem::take(&mut self.buffers);
        loop {
            let mut metas = [RecvMeta::default(); BATCH];
            let mut slices: Vec<IoSliceMut<'_>> =
                buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            let Some(place) = self.seats.get(seat) else {
                break;
            };
            let count = match place
                .state
                .recv((&place.socket).into(), &mut slices, &mut metas)
            {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let life = if self.settings.by_session {
                place.session
            } else {
                self.life
            };
            let now = Instant::now();
            for (meta, buffer) in metas[..count].iter().zip(&buffers) {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    let parcel = Parcel {
                        seat,
                        up: false,
                        life,
                        data: Bytes::copy_from_slice(datagram),
                    };
                    if let Some(parcel) = self.path.send(now, parcel) {
                        self.deliver(now, parcel);
                    }
                }
            }
        }
        self.buffers = buffers;
    }

    /// A datagram has come to the end of its way.
    fn deliver(&mut self, now: Instant, parcel: Parcel) {
        let seat = parcel.seat;
        if parcel.up {
            self.put_on_wire(seat, &parcel.data);
            return;
        }
        if let Stage::In(client) = &mut self.seats[seat].stage {
            client.handle(now, parcel.life, &parcel.data);
            self.settle(now, seat);
        }
    }

    fn put_on_wire(&mut self, seat: usize, data: &[u8]) {
        let place = &mut self.seats[seat];
        let Stage::In(client) = &place.stage else {
            return;
        };
        let transmit = quinn_udp::Transmit {
            destination: client.server,
            ecn: None,
            contents: data,
            segment_size: None,
            src_ip: None,
        };
        if place
            .state
            .try_send((&place.socket).into(), &transmit)
            .is_err()
        {
            self.dropped += 1;
        }
    }

    /// After anything that may have changed a client or its page.
    fn settle(&mut self, now: Instant, seat: usize) {
        loop {
            let place = &mut self.seats[seat];
            let Stage::In(client) = &mut place.stage else {
                return;
            };
            if client.wants_to_move() {
                self.move_seat(seat);
                continue;
            }
            let link = link(client);
            let act = place.page.assess(now, link);
            match act {
                Some(Act::Renew) => client.renew(now),
                Some(Act::Rejoin) => {
                    place.rejoined += 1;
                    self.join(now, seat);
                    return;
                }
                None => break,
            }
        }
        let place = &mut self.seats[seat];
        let Stage::In(client) = &mut place.stage else {
            return;
        };
        let outgoing: Vec<Bytes> = client.outgoing().collect();
        let link = link(client);
        let next = [client.next_timeout(), place.page.next(now, link)]
            .into_iter()
            .flatten()
            .min();
        for data in outgoing {
            let parcel = Parcel {
                seat,
                up: true,
                life: self.life,
                data,
            };
            if let Some(parcel) = self.path.send(now, parcel) {
                self.put_on_wire(seat, &parcel.data);
            }
        }
        let place = &mut self.seats[seat];
        if let Some(next) = next
            && place.armed.is_none_or(|armed| next < armed)
        {
            place.armed = Some(next);
            self.timers.push(Reverse((next, seat)));
        }
    }

    fn move_seat(&mut self, seat: usize) {
        let place = &mut self.seats[seat];
        let Stage::In(client) = &mut place.stage else {
            return;
        };
        let ip = client.server.ip();
        let _ = self.registry.deregister(&mut place.socket);
        // Without a new port the client keeps the old one, and ICE goes on from there.
        if let Ok((socket, state, own)) = bind(ip) {
            place.socket = socket;
            place.state = state;
            place.own = own;
        }
        let _ = self
            .registry
            .register(&mut place.socket, Token(seat), Interest::READABLE);
        client.moved(place.own);
    }

    /// News from the HTTP side.
    fn hear(&mut self, now: Instant, news: News) {
        let seat = news.seat;
        let way = self.settings.way;
        let place = &mut self.seats[seat];
        if place.session != news.session {
            return;
        }
        if let What::Joined(joined) = news.what {
            let stage = std::mem::replace(&mut place.stage, Stage::Failed(String::new()));
            let Stage::Joining(offered, media) = stage else {
                place.stage = stage;
                return;
            };
            place.page = Page::new(way, joined.has_stream);
            place.location = Some(joined.location);
            match offered.accept(self.settings.manner, media, place.own, &joined.answer, now) {
                Ok(client) => place.stage = Stage::In(Box::new(client)),
                Err(error) => place.stage = Stage::Failed(error.to_string()),
            }
        } else if let What::Failed(why) = news.what {
            place.stage = Stage::Failed(why);
        } else if let Stage::In(client) = &place.stage {
            let link = link(client);
            match news.what {
                What::Hello(hello) => place.page.hello(now, link, hello),
                What::Seen => place.page.seen(now),
                What::Keyed => place.page.keyed(),
                What::Lost => place.page.lost(now, link),
                What::Unreachable { refused } => place.page.unreachable(refused),
                What::Gone => place.page.gone(now, link),
                What::Joined(_) | What::Failed(_) => {}
            }
        }
        self.settle(now, seat);
    }

    /// Makes a new session.
    fn join(&mut self, now: Instant, seat: usize) {
        let random = self.random.fork();
        let place = &mut self.seats[seat];
        let media = match std::mem::replace(&mut place.stage, Stage::Failed(String::new())) {
            Stage::In(client) => client.leave(),
            Stage::Out(media) | Stage::Joining(_, media) => media,
            failed @ Stage::Failed(_) => {
                place.stage = failed;
                return;
            }
        };
        let _ = now;
        let offered = Offered::new(media.role(), random);
        place.session += 1;
        let order = JoinRequest {
            seat,
            session: place.session,
            role: media.role(),
            offer: offered.sdp.clone(),
            leave: place.location.take(),
        };
        place.stage = Stage::Joining(Box::new(offered), media);
        // Without a receiver the run is over.
        let _ = self.orders.send(Order::Join(order));
    }

    // What a run asks for.

    /// A new client joins, reached from this machine's address that leads to `server`.
    pub(super) fn add(&mut self, now: Instant, media: Media, server: IpAddr) -> io::Result<usize> {
        let (mut socket, state, own) = bind(server)?;
        let seat = self.seats.len();
        self.registry
            .register(&mut socket, Token(seat), Interest::READABLE)?;
        if media.role() == Role::Publisher {
            self.publishers.push(seat);
        }
        self.seats.push(Seat {
            socket,
            state,
            own,
            stage: Stage::Out(media),
            page: Page::new(self.settings.way, true),
            session: 0,
            location: None,
            armed: None,
            rejoined: 0,
        });
        self.join(now, seat);
        Ok(seat)
    }

    /// The server was killed: what is read from now on is from its next life. Whatever it sent
    /// before has been read.
    pub(super) fn next_life(&mut self) -> Life {
        for seat in 0..self.seats.len() {
            self.receive(seat);
        }
        self.life += 1;
        self.life
    }

    /// A client as it is now.
    pub(super) fn sight(&self, seat: usize) -> Sight {
        let place = &self.seats[seat];
        let (connected, failed) = match &place.stage {
            Stage::In(client) => (client.is_connected(), None),
            Stage::Failed(why) => (false, Some(why.clone())),
            _ => (false, None),
        };
        Sight {
            connected,
            at_rest: place.page.is_at_rest(),
            failed,
            rejoined: place.rejoined,
        }
    }

    /// What a client receives or sends.
    pub(super) fn media(&self, seat: usize) -> Option<&Media> {
        match &self.seats[seat].stage {
            Stage::In(client) => Some(&client.media),
            Stage::Out(media) | Stage::Joining(_, media) => Some(media),
            Stage::Failed(_) => None,
        }
    }

    pub(super) fn viewer(&self, seat: usize) -> Option<&Viewer> {
        self.media(seat)?.viewer()
    }

    pub(super) fn viewer_mut(&mut self, seat: usize) -> Option<&mut Viewer> {
        match &mut self.seats[seat].stage {
            Stage::In(client) => client.media.viewer_mut(),
            Stage::Out(media) | Stage::Joining(_, media) => media.viewer_mut(),
            Stage::Failed(_) => None,
        }
    }

    pub(super) fn client(&self, seat: usize) -> Option<&Client> {
        match &self.seats[seat].stage {
            Stage::In(client) => Some(client),
            _ => None,
        }
    }

    /// Renews a client's keys although nothing happened.
    pub(super) fn renew(&mut self, now: Instant, seat: usize) {
        if let Stage::In(client) = &mut self.seats[seat].stage {
            client.renew(now);
        }
        self.settle(now, seat);
    }

    /// All make new sessions, as if the server had lost them.
    pub(super) fn rejoin_all(&mut self, now: Instant) {
        for seat in 0..self.seats.len() {
            self.seats[seat].rejoined += 1;
            self.join(now, seat);
        }
    }
}

fn link(client: &Client) -> Link {
    Link {
        handshakes: client.handshakes,
        connected: client.is_connected(),
        rtt: client.rtt(),
        heard: client
            .media
            .viewer()
            .and_then(|viewer| viewer.last())
            .map(|(_, at)| at)
            .filter(|_| client.media.role() == Role::Viewer),
        mixes: client.mixes(),
        sent: client.sent_at(),
        broken: client.is_broken(),
    }
}

/// A socket that reaches this address.
fn bind(server: IpAddr) -> io::Result<(UdpSocket, UdpSocketState, SocketAddr)> {
    let own = match server {
        ip if ip.is_loopback() => ip,
        // The address that the system would send from.
        ip => {
            let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let any = if ip.is_ipv6() {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            } else {
                any
            };
            let probe = std::net::UdpSocket::bind((any, 0))?;
            probe.connect((ip, 9))?;
            probe.local_addr()?.ip()
        }
    };
    let io = std::net::UdpSocket::bind((own, 0))?;
    let state = UdpSocketState::new((&io).into())?;
    // Best effort.
    let _ = state.set_recv_buffer_size((&io).into(), KERNEL_BUFFER);
    io.set_nonblocking(true)?;
    let own = io.local_addr()?;
    Ok((UdpSocket::from_std(io), state, own))
}
