//! Start and shutdown. Between the start of the process and the first STUN answer nothing slow may
//! happen, so the media port is bound first, and everything that can wait comes after the media
//! loop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::net;
use crate::vault::{Opened, VaultError};

use super::app::{App, Events};
use super::assets::Assets;
use super::certificates::Certificates;
use super::cluster::{self, Cluster, Store};
use super::confining::shut_in;
use super::demo::Demo;
use super::health::Health;
use super::limit::Limiter;
use super::nodes::Nodes;
use super::opening::{identities, open_acme, open_key, open_vault, rotate_identity};
use super::places::Places;
use super::record_writer::RecordWriter;
use super::serving::{GRACE, Inbox, serve};
use super::sessions::Sessions;
use super::{Config, Mode, Ports, RunError, SharedVault, advertise, listen, rotation};

/// Records of new sessions that are written at once: as many as a disk is glad of. Each is written by
/// a thread of its own, which needs a stack and a part of the allocator.
const SAVES: usize = 8;
/// The same where each waits for the network.
const SHARED_SAVES: usize = 64;
/// How long a thread that has written a record stays for another one: long enough for those who join
/// one after the other. Each has a stack, which after a rush of joins nobody needs.
const WRITERS_STAY: Duration = Duration::from_secs(1);

/// A server that is ready.
#[derive(Debug)]
pub struct Ready {
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// Where operators ask, if there is an admin listener.
    pub admin: Option<SocketAddr>,
    /// Where media is received.
    pub media: SocketAddr,
    /// The addresses that browsers are told for media.
    pub advertised: Vec<SocketAddr>,
    /// The number of this boot.
    pub boot: u64,
    /// What survives a restart.
    pub mode: Mode,
    /// The vault's folder.
    pub state_dir: PathBuf,
    /// The key file.
    pub key_file: PathBuf,
    /// Whether the key file was made just now.
    pub made_key: bool,
    /// Whether the vault was made just now.
    pub first_run: bool,
    /// Time from the start of [`run`] until now.
    pub took: Duration,
    /// Whether anybody who reaches the server may publish.
    pub open: bool,
    /// Whether a publisher must show a token.
    pub publish_token: bool,
    /// Whether a viewer must show a token.
    pub watch_token: bool,
    /// Whether rights are for single channels: by tokens, JWTs, or who is asked.
    pub by_channel: bool,
    /// Whether HTTP is inside TLS.
    pub tls: bool,
    /// The first name that a certificate is obtained for, if one is.
    pub name: Option<String>,
}

/// Why a server has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was asked to.
    Asked,
    /// It was drained: other nodes have its peers, and it is not to be started again by itself.
    Drained,
}

/// Runs the server until it is asked to stop (SIGTERM, SIGINT) or was drained; on SIGHUP it reads
/// its key file, token files and TLS files again. `ready` is called once it is up.
///
/// # Errors
/// A [`RunError`] with the cause.
pub fn run(mut config: Config, ready: impl FnOnce(&Ready)) -> Result<Ending, RunError> {
    let started = Instant::now();
    tracing::debug!(target: "rekindle::resume", step = "run", "the server starts");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(WRITERS_STAY)
        .build()
        .map_err(|source| RunError::System {
            what: "a runtime",
            source,
        })?;
    let _inside = runtime.enter();
    let signals = |source| RunError::System {
        what: "signals",
        source,
    };
    let ignored = rotation::ignore_user_signals().map_err(signals)?;
    // Both ports before the disk is touched: this detects another running server first.
    let passed = std::mem::take(&mut config.passed);
    let ports = Ports::open(passed, config.http, config.udp, config.ice_tcp)?;
    let http = |source| RunError::Http {
        address: config.http,
        source,
    };
    let listener = listen::adopt(ports.http).map_err(http)?;
    let http = listener.local_addr().map_err(http)?;
    let admin = config.admin.map(bind_admin).transpose()?;
    let mut bound = net::adopt(ports.media)?;
    let media = bound.local();
    tracing::debug!(target: "rekindle::resume", step = "bound", "the sockets are bound");

    let (keys, made_key) = open_key(&config)?;
    let shared = config.shared.take();
    let store = shared.as_ref().map(SharedVault::connect).transpose()?;
    let acme = open_acme(&mut config, &keys)?;
    let mut opened = open_vault(&config, store.as_ref(), keys)?;
    if let Some(anchor) = &config.anchor {
        opened.hold_to(anchor).map_err(VaultError::from)?;
    }
    if config.rotate_identity {
        rotate_identity(&mut opened)?;
    }
    let Opened {
        vault,
        identity,
        earlier,
        boot,
        first_run,
        reader,
    } = opened;
    tracing::debug!(target: "rekindle::resume", step = "vault", "the vault is open");
    let vault = Arc::new(vault);
    let seed = random()?;
    let process = format!("{:016x}", u64::from_be_bytes(random()?));
    let identities = identities(&identity, &earlier, config.require_post_quantum)?;
    let max_peers = config.core.max_peers;
    let notifier = Arc::new(std::mem::take(&mut config.notifier));
    let demo = Demo::of(&config, http, &notifier);
    let ice_tcp = ports.ice_tcp.is_some();
    let places = Places::new(
        max_peers,
        config.max_sessions_per_address,
        config.behind_proxy,
        ice_tcp,
    );
    let asked = stop_signal().map_err(signals)?;
    let hangup = signal(SignalKind::hangup()).map_err(signals)?;
    let advertised = match config.advertise.as_slice() {
        [] => advertise::addresses(http.ip(), media.ip()),
        named => named.to_vec(),
    };
    let named = !config.advertise.is_empty();
    if let Some(warning) = advertise::warning(http.ip(), config.behind_proxy, named, &advertised) {
        tracing::warn!("{warning}");
    }
    let port = media.port();
    let advertised: Vec<SocketAddr> = advertised
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    if config.mode == Mode::FullState {
        bound.keep_sessions(vault.clone());
    }
    bound.use_threads(config.threads);
    if let Some(listener) = ports.ice_tcp {
        bound
            .accept_tcp(listener, places.media)
            .map_err(|source| RunError::IceTcp {
                address: media,
                source,
            })?;
    }
    let records = reader.len();
    let pulls = shared.as_ref().map_or(0, |shared| shared.pull);
    let pull_ports = net::pull::bind(media.ip(), pulls).map_err(|source| RunError::System {
        what: "ports to take channels from other nodes",
        source,
    })?;
    // Everything that will ever be open is open, and no thread has been started yet.
    let sandbox = shut_in(&config, store.as_ref(), acme.as_ref())?;
    let threads = |source| RunError::System {
        what: "threads",
        source,
    };
    if let Some(Store { store, .. }) = &store {
        store.start().map_err(threads)?;
    }
    let starting = net::pull::Starting::new(pull_ports).map_err(threads)?;
    if let Some(starting) = &starting {
        bound.tell_upstream(starting.upstream());
    }
    let (net, notices, _media_thread) = bound
        .start(config.core, identities, reader, seed)
        .map_err(threads)?;
    let puller = starting.map(|starting| starting.start(net.clone()));
    let (puller, pull_news) = puller.transpose().map_err(threads)?.unzip();
    tracing::debug!(target: "rekindle::resume", step = "serving", "the media loop runs");

    let certificates = Arc::new(Certificates::new(
        &identity,
        earlier.iter().map(AsRef::as_ref),
    ));
    drop((identity, earlier));
    let sessions = Arc::new(Sessions::new(config.max_sessions_per_address, started));
    let events = config.events.take().map(|events| {
        let secret = events.secret.clone();
        let (announcer, task) = events.start(boot, process.clone());
        runtime.spawn(task);
        let announcer = Arc::new(announcer);
        sessions.announce_to(announcer.clone());
        Events { announcer, secret }
    });
    sessions.expect(records);
    let (record_writer, forget) = RecordWriter::channel();
    let cluster = store.as_ref().map(|store| {
        let parts = cluster::Parts {
            vault: vault.clone(),
            key_file: config.key_file.clone(),
            net: net.clone(),
            sessions: sessions.clone(),
            certificates: certificates.clone(),
        };
        Cluster::new(store, parts, puller)
    });
    let app = Arc::new(App {
        net,
        vault: vault.clone(),
        sessions: sessions.clone(),
        record_writer,
        cluster,
        end: tokio::sync::Notify::new(),
        limiter: Limiter::new(config.join_rate),
        refusals: Limiter::new(config.join_rate),
        lists: Limiter::new(config.join_rate),
        assets: Assets::new(config.static_dir),
        health: Health::default(),
        writes: Arc::default(),
        saves: Semaphore::new(if store.is_some() { SHARED_SAVES } else { SAVES }),
        sandbox,
        certificates,
        boot,
        process,
        mode: config.mode,
        started,
        ice_tcp,
        addresses: advertised.clone(),
        follows_requests: (!named && !config.behind_proxy).then_some(media),
        nodes: Arc::new(Nodes::new(config.other_nodes)),
        private: !config.rights.guard_publishing() && !config.open,
        demo,
        rights: config.rights,
        events,
        list_channels: config.list_channels,
        has_admin: admin.is_some(),
        admin_token: config.admin_token,
        behind_proxy: config.behind_proxy,
        base_path: config.base_path,
        tls: config.tls.map(Arc::new),
        acme: acme.map(Arc::new),
    });
    let up = Ready {
        http,
        admin: admin.as_ref().map(|(_, address)| *address),
        media,
        advertised,
        boot,
        mode: config.mode,
        state_dir: shared
            .as_ref()
            .map_or(config.state_dir, |shared| (&shared.address).into()),
        key_file: config.key_file,
        made_key,
        first_run,
        took: started.elapsed(),
        open: config.open,
        publish_token: app.rights.publish.is_some(),
        watch_token: app.rights.watch.is_some(),
        by_channel: app.rights.is_by_channel(),
        tls: app.tls.is_some(),
        name: app.acme.as_ref().map(|acme| acme.name().to_owned()),
    };
    runtime.spawn(ignored);
    let keys = app.clone();
    runtime.spawn(async move {
        if let Some(jwt) = &keys.rights.jwt {
            jwt.follow().await;
        }
    });
    if let (Some(acme), Some(tls)) = (&app.acme, &app.tls) {
        runtime.spawn(acme.clone().follow(tls.clone()));
    }
    let told = app.clone();
    runtime.spawn(async move { told.nodes.follow(|list| told.sessions.nodes(list)).await });
    if let (Some(shared), Some(cluster)) = (&shared, &app.cluster) {
        let told = cluster::told(shared.url.as_ref(), &up.advertised);
        let cluster = cluster.clone();
        runtime.spawn(cluster.follow(app.nodes.clone(), told, pull_news));
    }
    let rotation = rotation::follow(app.clone(), up.key_file.clone(), hangup, notifier.clone());
    let inbox = Inbox {
        listener,
        admin,
        notifier,
        notices,
        forget,
        limits: places.http,
        media: media.port(),
    };
    let result = runtime.block_on(serve(&app, inbox, asked, rotation, || ready(&up)));
    if result.is_ok()
        && let Err(error) = vault.withdraw()
    {
        tracing::warn!(%error, "the other nodes learn of this one's end later");
    }
    // A write that hangs on a broken disk must not keep the process from ending.
    runtime.shutdown_timeout(GRACE);
    result
}

/// Random bytes from the system: the library's generator may not be ready yet.
fn random<const N: usize>() -> Result<[u8; N], RunError> {
    let mut random = [0; N];
    let mut filled = 0;
    while filled < N {
        filled +=
            rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty())
                .or_else(|error| {
                    if error == rustix::io::Errno::INTR {
                        Ok(0)
                    } else {
                        Err(error)
                    }
                })
                .map_err(|error| RunError::System {
                    what: "random numbers",
                    source: error.into(),
                })?;
    }
    Ok(random)
}

/// The admin listener, and its actual address.
fn bind_admin(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let bound = listen::bind(address).and_then(listen::adopt);
    bound
        .and_then(|listener| listener.local_addr().map(|address| (listener, address)))
        .map_err(|source| RunError::Admin { address, source })
}

/// Completes when the process is asked to stop. The handlers are installed when this returns.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
