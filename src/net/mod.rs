//! The UDP socket and the loop that drives the sans-IO core, in a thread of its own.

mod first_sends;
mod forwarders;
mod full_state;
mod gather;
mod media_loop;
mod nearby;
mod pool;
pub mod pull;
mod resume;
mod socket;
pub mod tcp;
mod wire;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use mio::Waker;
use tokio::sync::{mpsc as async_mpsc, oneshot};

pub use nearby::bind_nearby;

use crate::broadcast::{self, Broadcast, Event, Join, Pulled, Recorded, Refusal, Snapshot};
use crate::ids::{Role, Ufrag};
use crate::peer::Identities;
use crate::sdp::{Negotiated, Source};
use crate::vault::{Identity, PeerRecord, Reader, Vault, VaultError};

/// What runs inside the loop, between two datagrams.
type Task = Box<dyn FnOnce(&mut Broadcast, Instant) + Send>;

/// A handle to the media loop, for the HTTP side. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    tasks: mpsc::Sender<Task>,
    demand: mpsc::Sender<Ufrag>,
    loaded: mpsc::Sender<resume::Loaded>,
    pulled: mpsc::Sender<(Arc<str>, Pulled)>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    tcp: Option<Arc<tcp::Counts>>,
}

/// The media loop has ended; the process is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media loop has ended")]
pub struct Stopped;

/// What the loop reports, for the event streams and the vault's writer.
#[derive(Debug)]
pub enum Notice {
    /// A record of an earlier boot was read, and its peer is awaited.
    Resumed(Arc<PeerRecord>),
    /// A record is newer than the identity: no server should continue with this vault.
    RolledBack(VaultError),
    /// All records of earlier boots have been read and their peers are here; the key that opens
    /// records is wiped.
    ResumeComplete {
        /// Records that the system could not read: they are still there, and a later boot may read
        /// them.
        unread: usize,
        /// Unusable records: the log says why.
        unusable: usize,
    },
    /// See [`Event`].
    Event(Event),
}

/// Notices, in order.
pub type Notices = async_mpsc::UnboundedReceiver<Notice>;

/// The media port cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for media on UDP {address}: {source}; is another server running, or the port \
     taken?"
)]
pub struct BindError {
    /// The requested address.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// A media port that is bound but not served yet.
pub struct Bound {
    socket: socket::Socket,
    /// In full-state mode, where sessions are kept.
    vault: Option<Arc<Vault>>,
    /// How many threads serve peers.
    threads: NonZeroUsize,
    /// Who speaks to other nodes.
    upstream: Option<pull::Upstream>,
    /// Where browsers connect that have no UDP.
    tcp: Option<(TcpListener, tcp::Limits)>,
}

/// What limits for each address go by: one customer's addresses count as one, and an IPv6 customer has
/// at least a /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

/// Binds the media port.
///
/// # Errors
/// [`BindError`] with the system's error.
pub fn bind(address: SocketAddr) -> Result<UdpSocket, BindError> {
    UdpSocket::bind(address).map_err(|source| BindError { address, source })
}

/// Takes a media port, bound here or passed by a service manager, and configures it.
///
/// # Errors
/// [`BindError`] with the system's error.
pub fn adopt(socket: UdpSocket) -> Result<Bound, BindError> {
    let address = socket.local_addr();
    let socket = socket::Socket::new(socket).map_err(|source| BindError {
        address: address.unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into()),
        source,
    })?;
    Ok(Bound {
        socket,
        vault: None,
        threads: NonZeroUsize::MIN,
        upstream: None,
        tcp: None,
    })
}

/// What the core needs of a record.
pub fn recorded(record: &PeerRecord) -> Recorded<'_> {
    Recorded {
        role: record.role,
        channel: &record.channel,
        ice: &record.ice,
        offer: &record.offer,
        answer: &record.answer,
    }
}

impl Bound {
    /// The address that was bound, with the port that the system chose where 0 was asked for.
    pub fn local(&self) -> SocketAddr {
        self.socket.local()
    }

    /// Full-state mode: keeps sessions in this vault.
    pub fn keep_sessions(&mut self, vault: Arc<Vault>) {
        self.vault = Some(vault);
    }

    /// Sets how many threads serve peers, including the loop's own. They send to viewers (in
    /// full-state mode only the loop does), do handshakes, and read records.
    pub fn use_threads(&mut self, threads: NonZeroUsize) {
        self.threads = threads;
    }

    /// Sends RTCP for the nodes that channels are pulled from there.
    pub fn tell_upstream(&mut self, upstream: pull::Upstream) {
        self.upstream = Some(upstream);
    }

    /// Receives media over TCP too, from connections that this listener accepts.
    ///
    /// # Errors
    /// The system's error.
    pub fn accept_tcp(&mut self, listener: TcpListener, limits: tcp::Limits) -> io::Result<()> {
        tcp::prepare(&listener)?;
        self.tcp = Some((listener, limits));
        Ok(())
    }

    /// Starts the loop, the threads that do handshakes beside it, and the threads that read the
    /// records of earlier boots: first those of peers that are heard, then publishers', then the
    /// others. `seed` is for [`Broadcast::new`].
    ///
    /// # Errors
    /// The system's error where it has no threads or descriptors left.
    pub fn start(
        self,
        config: broadcast::Config,
        identities: impl Into<Identities>,
        reader: Reader,
        seed: [u8; 32],
    ) -> io::Result<(Handle, Notices, JoinHandle<()>)> {
        let (notices, receiver) = async_mpsc::unbounded_channel();
        let (tasks, inbox) = mpsc::channel();
        let (demand, demanded) = mpsc::channel();
        let (loaded, records) = mpsc::channel();
        let (pulled, from_upstream) = mpsc::channel();
        let mut core = Broadcast::new(config, identities, seed, Instant::now());
        core.await_records();
        let stop = Arc::new(AtomicBool::new(false));
        let inbox = media_loop::Inbox {
            tasks: inbox,
            loaded: records,
            pulled: from_upstream,
            stop: stop.clone(),
        };
        let outbox = media_loop::Outbox {
            notices: notices.clone(),
            demand: demand.clone(),
            upstream: self.upstream,
        };
        // Only one thread may use session keys that outlive the process.
        let forwarders = self.vault.as_ref().map_or(self.threads.get(), |_| 1);
        let helpers = self.threads.get() - 1;
        let dropped = self.socket.dropped();
        let counts = self.tcp.is_some().then(|| {
            Arc::new(tcp::Counts {
                dropped: dropped.clone(),
                ..Default::default()
            })
        });
        let listener = self.tcp.zip(counts.clone());
        let start_tcp = |waker: &Arc<Waker>| {
            let start = |((listener, limits), counts)| {
                tcp::Tcp::start(listener, limits, counts, waker.clone())
            };
            listener.map(start).transpose()
        };
        let (mut media, waker) =
            media_loop::MediaLoop::new(self.socket, start_tcp, core, inbox, outbox, forwarders)?;
        media.keep_sessions(self.vault.clone(), &waker)?;
        media.share_handshakes(pool::Pool::start(helpers, &waker)?);
        let source = resume::RecordSource {
            reader,
            vault: self.vault,
        };
        let to = resume::Destination {
            loaded: loaded.clone(),
            waker: waker.clone(),
            notices,
        };
        let handle = Handle {
            tasks,
            demand,
            loaded,
            pulled,
            waker,
            stop,
            dropped,
            tcp: counts,
        };
        let thread = std::thread::Builder::new()
            .name("media".into())
            .spawn(move || media.run())?;
        std::thread::Builder::new()
            .name("resume".into())
            .spawn(move || resume::load(source, demanded, helpers, &to))?;
        Ok((handle, receiver, thread))
    }
}

impl Handle {
    /// Runs `task` inside the loop and returns what it returns.
    async fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Broadcast, Instant) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        let task: Task = Box::new(move |core, now| {
            // The caller may be gone; then nobody needs the answer.
            let _ = reply.send(task(core, now));
        });
        self.tasks.send(task).map_err(|_| Stopped)?;
        self.waker.wake().map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// See [`Broadcast::reserve`].
    ///
    /// # Errors
    /// The outer one where the loop has ended, the inner one where the peer cannot join now.
    pub async fn reserve(
        &self,
        role: Role,
        channel: &str,
        ufrag: &Ufrag,
    ) -> Result<Result<Source, Refusal>, Stopped> {
        let (channel, ufrag) = (channel.to_owned(), ufrag.clone());
        self.ask(move |core, now| core.reserve(now, role, &channel, &ufrag))
            .await
    }

    /// See [`Broadcast::join`].
    ///
    /// # Errors
    /// As for [`Handle::reserve`].
    pub async fn join(&self, join: Join) -> Result<Result<(), Refusal>, Stopped> {
        self.ask(move |core, now| core.join(now, join)).await
    }

    /// See [`Broadcast::leave`].
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn leave(&self, ufrag: &Ufrag) -> Result<bool, Stopped> {
        let ufrag = ufrag.clone();
        self.ask(move |core, now| core.leave(now, &ufrag)).await
    }

    /// See [`Broadcast::has_page`]. Does not wait.
    pub fn has_page(&self, ufrag: &Ufrag) {
        let ufrag = ufrag.clone();
        // Without a loop there are no peers.
        let _ = self
            .tasks
            .send(Box::new(move |core, _| core.has_page(&ufrag)));
        let _ = self.waker.wake();
    }

    /// See [`Broadcast::channel_standing`].
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn channel_standing(&self, name: &str) -> Result<(bool, usize), Stopped> {
        let name = name.to_owned();
        self.ask(move |core, _| core.channel_standing(&name)).await
    }

    /// The counts at this moment.
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, Stopped> {
        self.ask(|core, now| core.snapshot(now)).await
    }

    /// Datagrams that were not sent, since the kernel had no room for them or refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Open connections of media over TCP; `None` where there is none.
    pub fn tcp_connections(&self) -> Option<usize> {
        let counts = self.tcp.as_ref()?;
        Some(counts.connections.load(Ordering::Relaxed))
    }

    /// Ends the loop, and waits until it has ended: from then on no datagram is read. A datagram
    /// that arrives later waits in the socket's queue for the next process, where another process
    /// holds the socket. Nothing is sent.
    pub async fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // A loop that has ended drops the request.
        while self.ask(|_, _| ()).await.is_ok() {}
    }

    /// See [`Broadcast::learn_identity`].
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn learn_identity(&self, identity: Arc<Identity>) -> Result<(), Stopped> {
        let learn = move |core: &mut Broadcast, _| {
            let (certificate, key) = (identity.certificate_der(), identity.private_key_der());
            core.learn_identity(certificate, key)
        };
        if let Err(error) = self.ask(learn).await? {
            tracing::warn!(%error, "another node's certificate cannot be used");
        }
        Ok(())
    }

    /// See [`Broadcast::forget_identity`]. Does not wait.
    pub fn forget_identity(&self, certificate: &[u8; 32]) {
        let certificate = *certificate;
        // Without a loop there is nothing to forget.
        let _ = self
            .tasks
            .send(Box::new(move |core, _| core.forget_identity(&certificate)));
        let _ = self.waker.wake();
    }

    /// Takes in a peer of another node: its record is treated as one of an earlier boot, and
    /// [`Notice::Resumed`] reports it. Does not wait.
    pub fn adopt(&self, record: Arc<PeerRecord>) {
        // Without a loop there are no peers. Session keys never leave their node.
        let session = None;
        let _ = self.loaded.send(resume::Loaded::Record { record, session });
        let _ = self.waker.wake();
    }

    /// See [`Broadcast::pull`].
    ///
    /// # Errors
    /// As for [`Handle::reserve`].
    pub async fn pull(
        &self,
        channel: &str,
        negotiated: Negotiated,
    ) -> Result<Result<(), Refusal>, Stopped> {
        let channel = channel.to_owned();
        self.ask(move |core, now| core.pull(now, &channel, &negotiated))
            .await
    }

    /// See [`Broadcast::end_pull`].
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn end_pull(&self, channel: &str) -> Result<(), Stopped> {
        let channel = channel.to_owned();
        self.ask(move |core, now| core.end_pull(now, &channel))
            .await
    }

    /// See [`Broadcast::pulled`]; each with its channel. Does not wait.
    pub fn pulled(&self, came: impl IntoIterator<Item = (Arc<str>, Pulled)>) {
        for one in came {
            // Without a loop nobody is there to get it.
            let _ = self.pulled.send(one);
        }
        let _ = self.waker.wake();
    }

    /// Reads the record of this peer of an earlier boot next, if it has not been read yet, since
    /// the peer is asked for.
    pub fn want(&self, ufrag: &Ufrag) {
        // Without a reader all records have been read.
        let _ = self.demand.send(ufrag.clone());
    }
}
