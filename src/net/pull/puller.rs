//! The thread's handles, and its loop.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Interest, Poll, Token, Waker};
use rekindle_client::answer::Answer;
use rekindle_client::association::Certificate;
use rekindle_client::connection::Connection;
#[cfg(feature = "boring")]
use rekindle_client::manner::Offer as Offers;
use rekindle_client::manner::{Browser, Manner};
use rekindle_client::offer::Offered;
use rekindle_client::random::Random;
use tokio::sync::mpsc as async_mpsc;

use super::clients::Clients;
use super::{News, PullError};
use crate::ids::{Role, Ufrag};
use crate::net::Handle;
use crate::sdp::{self, Transport};

const WAKE: Token = Token(usize::MAX);
/// Lengths of the offer's credentials (RFC 8445 §5.3 asks for 4 and 22 at least).
const UFRAG: usize = 8;
const PASSWORD: usize = 24;

/// An order to the thread.
pub(super) enum Order {
    /// Begin to pull a channel.
    Begin(Box<Begin>),
    /// Its viewer is with a node at these addresses now.
    Lead(Ufrag, Vec<SocketAddr>),
    /// It is not needed any more.
    End(Ufrag),
    /// Send these RTCP packets to the node of this channel.
    Tell(String, Vec<Bytes>),
}

/// A channel to be pulled.
pub(super) struct Begin {
    pub ufrag: Ufrag,
    pub channel: Arc<str>,
    pub connection: Connection,
    /// The SSRCs that the other node has announced.
    pub ssrcs: Vec<u32>,
    pub servers: Vec<SocketAddr>,
}

/// The sending end of the orders.
#[derive(Clone)]
struct Orders {
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
}

impl Orders {
    fn give(&self, order: Order) {
        // Without the thread the process is stopping.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

/// Through this, the media loop sends RTCP to other nodes.
pub struct Upstream(Orders);

impl Upstream {
    /// Sends RTCP packets to the node that this channel is pulled from.
    pub fn tell(&self, channel: String, packets: Vec<Bytes>) {
        self.0.give(Order::Tell(channel, packets));
    }
}

/// The offer of a client that is to pull a channel.
pub struct Offer(Offered);

impl Offer {
    /// Its text.
    pub fn sdp(&self) -> &str {
        &self.0.sdp
    }
}

/// A handle to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Puller {
    orders: Orders,
    /// How many ports no client uses.
    free: Arc<AtomicUsize>,
    /// How many ports there are.
    most: usize,
    /// Whether the ports are IPv6 and reach both families.
    both: bool,
}

/// The thread before it is started.
pub struct Starting {
    poll: Poll,
    inbox: mpsc::Receiver<Order>,
    ports: Vec<mio::net::UdpSocket>,
    puller: Puller,
}

impl Starting {
    /// A thread with these ports; `None` without any.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(ports: Vec<UdpSocket>) -> io::Result<Option<Self>> {
        let Some(first) = ports.first() else {
            return Ok(None);
        };
        let both = first.local_addr()?.is_ipv6();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut ports: Vec<_> = ports
            .into_iter()
            .map(mio::net::UdpSocket::from_std)
            .collect();
        for (at, port) in ports.iter_mut().enumerate() {
            poll.registry()
                .register(port, Token(at), Interest::READABLE)?;
        }
        let (orders, inbox) = mpsc::channel();
        let puller = Puller {
            orders: Orders { orders, waker },
            free: Arc::new(AtomicUsize::new(ports.len())),
            most: ports.len(),
            both,
        };
        Ok(Some(Self {
            poll,
            inbox,
            ports,
            puller,
        }))
    }

    /// For the media loop.
    pub fn upstream(&self) -> Upstream {
        Upstream(self.puller.orders.clone())
    }

    /// Starts the thread; what it receives goes to the media loop.
    ///
    /// # Errors
    /// Where the system has no threads left.
    pub fn start(self, media: Handle) -> io::Result<(Puller, async_mpsc::UnboundedReceiver<News>)> {
        let (news, receiver) = async_mpsc::unbounded_channel();
        let puller = self.puller.clone();
        let clients = Clients::new(self.ports, self.puller.free.clone(), media, news);
        let (poll, inbox) = (self.poll, self.inbox);
        std::thread::Builder::new()
            .name("pull".into())
            .spawn(move || run(poll, &inbox, clients))?;
        Ok((puller, receiver))
    }
}

impl Puller {
    /// How many channels can be pulled at once.
    pub fn most(&self) -> usize {
        self.most
    }

    /// An offer to receive what a publisher sends, made from the server's answer to that publisher.
    pub fn offer(&self, publishers_answer: &str, session_id: u64) -> Offer {
        let mut random = Random::from_source(unpredictable);
        let (ufrag, pwd) = (random.text(UFRAG), random.text(PASSWORD));
        let certificate = Certificate::new();
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&certificate.sha256());
        let transport = Transport {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprint_sha256: &fingerprint,
            session_id,
        };
        Offer(Offered {
            role: Role::Viewer,
            sdp: sdp::pull_offer(publishers_answer, &transport),
            certificate,
            ufrag,
            pwd,
            ssrcs: (0, 0, 0),
        })
    }

    /// Pulls a channel from the node that receives media at one of `servers`, and that knows the
    /// viewer of this offer and answer, or is about to.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn begin(
        &self,
        ufrag: &Ufrag,
        channel: &str,
        offer: Offer,
        answer: &str,
        servers: &[SocketAddr],
    ) -> Result<(), PullError> {
        let servers = self.reachable(servers);
        let first = *servers.first().ok_or(PullError::Unreachable)?;
        let answer = Answer::read(Role::Viewer, &offer.0.sdp, answer)
            .map_err(|error| PullError::Answer(error.to_string()))?;
        let announced = answer.media.iter().flat_map(|media| &media.ssrcs);
        let ssrcs = announced.flat_map(|ssrc| std::iter::once(ssrc.media).chain(ssrc.rtx));
        let ssrcs = ssrcs.collect();
        let taken = |free: usize| free.checked_sub(1);
        self.free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .map_err(|_| PullError::Full)?;
        // It does not know how others see its port.
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let connection = Connection::new(
            manner(),
            offer.0.agreed(&answer),
            address,
            first,
            Random::from_source(unpredictable),
            Instant::now(),
        );
        self.orders.give(Order::Begin(Box::new(Begin {
            ufrag: ufrag.clone(),
            channel: channel.into(),
            connection,
            ssrcs,
            servers,
        })));
        Ok(())
    }

    /// The viewer is with another node now, or with one that has come back, at these addresses.
    pub fn lead(&self, ufrag: &Ufrag, servers: &[SocketAddr]) {
        let servers = self.reachable(servers);
        if !servers.is_empty() {
            self.orders.give(Order::Lead(ufrag.clone(), servers));
        }
    }

    /// The channel is not needed any more.
    pub fn end(&self, ufrag: &Ufrag) {
        self.orders.give(Order::End(ufrag.clone()));
    }

    /// Addresses in the form that the ports can send to.
    fn reachable(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let reach = |server: &SocketAddr| match (server, self.both) {
            (SocketAddr::V4(four), true) => {
                let mapped = four.ip().to_ipv6_mapped();
                Some(SocketAddr::new(mapped.into(), four.port()))
            }
            (SocketAddr::V6(_), false) => None,
            _ => Some(*server),
        };
        servers.iter().filter_map(reach).collect()
    }
}

/// An unpredictable number, for ICE credentials and the like.
fn unpredictable() -> u64 {
    let mut bytes = [0; 8];
    // It fails only where the process could not have started.
    aws_lc_rs::rand::fill(&mut bytes).expect("the system gives random bytes");
    u64::from_ne_bytes(bytes)
}

/// It checks as Chromium does; its handshakes offer what nodes of this build accept.
fn manner() -> Manner {
    Manner {
        #[cfg(feature = "boring")]
        offer: Offers::BoringSsl(rekindle_boring::Groups::Any),
        remembers_keys: false,
        ..Manner::of(Browser::Chromium)
    }
}

/// Runs until the process ends.
fn run(mut poll: Poll, inbox: &mpsc::Receiver<Order>, mut clients: Clients) {
    let mut events = Events::with_capacity(64);
    loop {
        let due = clients.next_timeout();
        let wait = due.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up to what the system can wait for.
        let wait = wait.map(|wait| wait + Duration::from_micros(1));
        if let Err(error) = poll.poll(&mut events, wait)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "the thread that pulls channels from other nodes ends");
            return;
        }
        let now = Instant::now();
        loop {
            match inbox.try_recv() {
                Ok(order) => clients.follow(now, order),
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            clients.receive(event.token().0);
        }
        clients.do_what_is_due(now);
        clients.send();
    }
}
