//! Clients on one thread that reads all their sockets every few milliseconds, and waits for none:
//! an arriving datagram wakes no thread, so that the sender does not pay for that.

use std::io::IoSliceMut;
use std::net::IpAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use rekindle_client::client::{Client, Media};
use rekindle_client::connection::{Connection, Session};
use rekindle_client::manner::Manner;
use rekindle_client::random::Random;

use super::affinity;
use super::histogram::Histogram;
use crate::crowd::bind;
use crate::error::BenchError;
use crate::media::{Camera, Publisher};

/// Interval between two reads of the sockets.
pub(crate) const TICK: Duration = Duration::from_millis(4);
/// Most bytes that the kernel returns in one buffer (GRO).
const MAX_RECEIVED: usize = 64 << 10;

/// Media that needs to know when the kernel received a datagram.
pub(crate) trait Timed: Media + Send + 'static {
    /// The time at which the next datagram arrived, since 1970.
    fn arrived(&mut self, at: Option<Duration>);

    /// Whether it sends at times of its own, between ticks.
    const PUNCTUAL: bool = false;
}

impl Timed for Publisher<Camera> {
    fn arrived(&mut self, _at: Option<Duration>) {}

    const PUNCTUAL: bool = true;
}

/// The state with which a client begins, once its offer was answered.
pub(crate) struct Newcomer<M> {
    pub session: Session,
    pub server: std::net::SocketAddr,
    pub media: M,
    /// The URL at which its session is ended.
    pub location: String,
}

/// A client and its socket.
pub(crate) struct Seat<M> {
    socket: UdpSocket,
    state: UdpSocketState,
    pub port: u16,
    pub client: Client<M>,
    pub location: String,
}

/// What the clients of a group have in common.
#[derive(Debug, Clone)]
pub(crate) struct GroupSettings {
    pub name: String,
    pub cores: Vec<usize>,
    pub manner: Manner,
    /// The share of datagrams lost on their way to these clients, and from them.
    pub loss: (f64, f64),
    pub seed: u64,
}

/// See the module.
pub(crate) struct Group<M> {
    settings: GroupSettings,
    pub seats: Vec<Seat<M>>,
    random: Random,
    buffers: Vec<Vec<u8>>,
    /// By how much the intervals between reads exceeded a tick.
    pub lateness: Histogram,
    /// Datagrams that the kernel did not accept.
    pub unsent: u64,
    /// Why a client got no socket.
    failed: Option<std::io::Error>,
}

type Task<M> = Box<dyn FnOnce(&mut Group<M>) + Send>;

/// A handle to a group's thread. Dropping it ends the thread.
pub(crate) struct Handle<M> {
    tasks: Option<mpsc::Sender<Task<M>>>,
    thread: Option<JoinHandle<()>>,
}

impl<M: Timed> Handle<M> {
    /// Starts a thread without clients.
    ///
    /// # Errors
    /// [`BenchError::System`] where there is none to be had.
    pub(crate) fn start(settings: GroupSettings) -> Result<Self, BenchError> {
        let (tasks, inbox) = mpsc::channel();
        let group = Group {
            random: Random::new(settings.seed),
            seats: Vec::new(),
            buffers: vec![vec![0; MAX_RECEIVED]; BATCH_SIZE],
            lateness: Histogram::default(),
            unsent: 0,
            failed: None,
            settings,
        };
        let thread = std::thread::Builder::new()
            .name(group.settings.name.clone())
            .spawn(move || group.run(&inbox))
            .map_err(BenchError::system("cannot start the clients"))?;
        Ok(Self {
            tasks: Some(tasks),
            thread: Some(thread),
        })
    }

    /// Runs `task` between two ticks, and returns what it returns.
    ///
    /// # Errors
    /// Where the thread has ended.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Group<M>) -> T + Send + 'static,
    ) -> Result<T, BenchError> {
        let (reply, answer) = mpsc::channel();
        let task: Task<M> = Box::new(move |group| {
            let _ = reply.send(task(group));
        });
        let sent = self.tasks.as_ref().and_then(|tasks| tasks.send(task).ok());
        sent.and_then(|()| answer.recv().ok())
            .ok_or_else(|| BenchError::Clients("a thread of the clients has ended".to_owned()))
    }

    /// Adds a client at the next tick. Others go on joining meanwhile.
    ///
    /// # Errors
    /// Where the thread has ended.
    pub(crate) fn add(&self, newcomer: Newcomer<M>) -> Result<(), BenchError> {
        let task: Task<M> = Box::new(move |group| {
            if let Err(error) = group.add(newcomer) {
                group.failed.get_or_insert(error);
            }
        });
        let sent = self.tasks.as_ref().and_then(|tasks| tasks.send(task).ok());
        sent.ok_or_else(|| BenchError::Clients("a thread of the clients has ended".to_owned()))
    }

    /// Whether `holds` is true for all clients that were added.
    ///
    /// # Errors
    /// Where one of them got no socket.
    pub(crate) fn all(
        &self,
        holds: impl Fn(&Client<M>) -> bool + Send + 'static,
    ) -> Result<bool, BenchError> {
        self.ask(move |group| match group.failed.take() {
            Some(error) => Err(error),
            None => Ok(group.seats.iter().all(|seat| holds(&seat.client))),
        })?
        .map_err(BenchError::system(
            "no socket for a client; see `ulimit -n`",
        ))
    }
}

impl<M> Drop for Handle<M> {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<M: Timed> Group<M> {
    fn add(&mut self, newcomer: Newcomer<M>) -> std::io::Result<()> {
        let ip: IpAddr = newcomer.server.ip();
        let (socket, state, own) = bind(ip)?;
        let connection = Connection::new(
            self.settings.manner,
            newcomer.session,
            own,
            newcomer.server,
            self.random.fork(),
            Instant::now(),
        );
        self.seats.push(Seat {
            socket,
            state,
            port: own.port(),
            client: Client::new(connection, newcomer.media),
            location: newcomer.location,
        });
        Ok(())
    }

    fn run(mut self, inbox: &mpsc::Receiver<Task<M>>) {
        // Without its cores it runs anywhere; the plan was tried before.
        let _ = affinity::pin(&self.settings.cores);
        let mut next = Instant::now();
        let mut looked = next;
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(task) => task(&mut self),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            let now = Instant::now();
            let pause = now.saturating_duration_since(std::mem::replace(&mut looked, now));
            self.lateness.add(pause.saturating_sub(TICK));
            for seat in 0..self.seats.len() {
                self.receive(seat);
                self.work(seat);
            }
            let now = Instant::now();
            while next <= now {
                next += TICK;
            }
            let wake = self.punctual().map_or(next, |due| due.min(next));
            std::thread::sleep(wake.saturating_duration_since(now));
        }
    }

    /// When a client has to send, if it cannot wait for the next tick.
    fn punctual(&self) -> Option<Instant> {
        let clients = self.seats.iter().filter(|_| M::PUNCTUAL);
        clients.filter_map(|seat| seat.client.next_timeout()).min()
    }

    /// Takes what has come for a client.
    fn receive(&mut self, seat: usize) {
        let (seat, random) = (&mut self.seats[seat], &mut self.random);
        let lost = self.settings.loss.0;
        loop {
            let mut metas = [RecvMeta::default(); BATCH_SIZE];
            let mut slices = slices(&mut self.buffers);
            let received = seat
                .state
                .recv((&seat.socket).into(), &mut slices, &mut metas);
            // Nothing has come, or a peer's port is closed.
            let Ok(count) = received else {
                return;
            };
            let now = Instant::now();
            for (meta, buffer) in metas[..count].iter().zip(&self.buffers) {
                for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                    if lost > 0.0 && random.chance(lost) {
                        continue;
                    }
                    seat.client.media.arrived(meta.timestamp);
                    seat.client.handle(now, datagram);
                }
            }
            if count < BATCH_SIZE {
                return;
            }
        }
    }

    /// Does what is due for a client, and sends what it has to send.
    fn work(&mut self, seat: usize) {
        let (seat, random) = (&mut self.seats[seat], &mut self.random);
        let now = Instant::now();
        if seat.client.next_timeout().is_some_and(|due| due <= now) {
            seat.client.handle_timeout(now);
        }
        let lost = self.settings.loss.1;
        for data in seat.client.outgoing() {
            if lost > 0.0 && random.chance(lost) {
                continue;
            }
            let transmit = quinn_udp::Transmit {
                destination: seat.client.connection.server,
                ecn: None,
                contents: &data,
                segment_size: None,
                src_ip: None,
            };
            let sent = seat.state.try_send((&seat.socket).into(), &transmit);
            self.unsent += u64::from(sent.is_err());
        }
    }
}

/// The buffers as the system call wants them.
fn slices(buffers: &mut [Vec<u8>]) -> [IoSliceMut<'_>; BATCH_SIZE] {
    let mut buffers = buffers.iter_mut();
    std::array::from_fn(|_| {
        IoSliceMut::new(buffers.next().map(Vec::as_mut_slice).unwrap_or_default())
    })
}
