//! The state that the handlers share.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use tokio::sync::Semaphore;

use crate::net::Handle;
use crate::vault::Vault;

use super::acme::Acme;
use super::assets::Assets;
use super::auth::{self, Rights, Token};
use super::certificates::Certificates;
use super::cluster::Cluster;
use super::demo::Demo;
use super::event_hook::{Announcer, EventSecret};
use super::health::Health;
use super::limit::Limiter;
use super::nodes::Nodes;
use super::problem::Problem;
use super::record_writer::RecordWriter;
use super::sessions::Sessions;
use super::tls::Tls;
use super::whip::too_often;
use super::writes::Writes;
use super::{BasePath, Mode};

/// The state that the handlers share.
pub(super) struct App {
    pub net: Handle,
    pub vault: Arc<Vault>,
    pub sessions: Arc<Sessions>,
    pub record_writer: RecordWriter,
    /// Exists where the vault is shared with other nodes.
    pub cluster: Option<Arc<Cluster>>,
    /// Notified when the server is to end by itself.
    pub end: tokio::sync::Notify,
    /// For those who start sessions.
    pub limiter: Limiter,
    /// For those whose tokens are refused, or have a service asked, without starting a session. Theirs
    /// alone, so that many who join at once may leave again.
    pub refusals: Limiter,
    /// For those who have a service asked for the list of channels, or show a token that nobody
    /// knows. The page asks for the list again and again.
    pub lists: Limiter,
    pub assets: Assets,
    pub health: Health,
    pub writes: Arc<Writes>,
    /// New sessions whose records may be written at the same time.
    pub saves: Semaphore,
    /// Parts of the sandbox that are not in force; `None` without one.
    pub sandbox: Option<usize>,
    pub certificates: Arc<Certificates>,
    /// The number of this boot.
    pub boot: u64,
    /// A random name of this process, in hexadecimal digits.
    pub process: String,
    /// What survives a restart: see [`Mode`].
    pub mode: Mode,
    /// When the process started.
    pub started: Instant,
    /// Whether media is received over TCP too, at the same addresses and ports.
    pub ice_tcp: bool,
    /// Where browsers reach the media port.
    pub addresses: Vec<SocketAddr>,
    /// Where the media port listens, if answers also name the address that their request has
    /// reached.
    pub follows_requests: Option<SocketAddr>,
    /// Other places where pages may look for their sessions.
    pub nodes: Arc<Nodes>,
    pub rights: Rights,
    /// Who is told what happens.
    pub events: Option<Events>,
    /// Whether the page lists live channels.
    pub list_channels: bool,
    /// Who kills this process when its page asks for that; only in a demonstration.
    pub demo: Option<Demo>,
    /// Whether operators have a listener of their own.
    pub has_admin: bool,
    /// The token that they must show there.
    pub admin_token: Option<Token>,
    /// Whether only the listening address keeps strangers out: see [`super::middleware`].
    pub private: bool,
    /// Whether a client's address is the last entry of `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// The prefix of all paths that are given out.
    pub base_path: BasePath,
    pub tls: Option<Arc<Tls>>,
    /// What obtains its certificate, where that is not the operator's.
    pub acme: Option<Arc<Acme>>,
}

impl App {
    /// Allows a request only where it shows this token, which cannot be guessed without end: who shows
    /// one that is refused is limited as who joins. `realm` names what the token is for.
    pub(super) fn require(
        &self,
        token: &Token,
        client: IpAddr,
        headers: &HeaderMap,
        realm: &'static str,
    ) -> Result<(), Problem> {
        self.refusals
            .take(client, Instant::now())
            .map_err(too_often)?;
        auth::require(Some(token), headers, realm)?;
        self.refusals.give_back(client);
        Ok(())
    }
}

/// The service that is told what happens.
pub(super) struct Events {
    pub announcer: Arc<Announcer>,
    pub secret: Option<Arc<EventSecret>>,
}

/// The address of this machine that a request has reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReachedAddress(pub Option<IpAddr>);

/// Where a request comes from, for limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub IpAddr);
