//! What the handlers share, and which handler serves what.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::net::Handle;
use crate::vault::Vault;

use super::assets::{self, Assets};
use super::auth::Token;
use super::certificates::Certificates;
use super::limit::Limiter;
use super::record_writer::RecordWriter;
use super::sessions::Sessions;
use super::status::Health;
use super::{BasePath, Mode, metrics, middleware, session, status, whip};

/// What the handlers share.
pub(super) struct App {
    pub net: Handle,
    pub vault: Arc<Vault>,
    pub sessions: Arc<Sessions>,
    pub record_writer: RecordWriter,
    pub limiter: Limiter,
    pub assets: Assets,
    pub health: Health,
    pub certificates: Arc<Certificates>,
    /// Which life of the server this is.
    pub boot: u64,
    /// A random name of this process, in hexadecimal digits.
    pub process: String,
    /// What a restart takes.
    pub mode: Mode,
    /// When the process started.
    pub started: Instant,
    /// Where browsers reach the media port.
    pub addresses: Vec<SocketAddr>,
    pub publish: Option<Token>,
    pub watch: Option<Token>,
    /// Nothing but the listening address keeps strangers out: see [`middleware`].
    pub private: bool,
    /// A client's address is the last entry of `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// What stands before the paths that are given out.
    pub base_path: BasePath,
}

/// Where a request comes from, for limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub IpAddr);

/// Which handler serves what.
pub(super) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route(
            "/whip/{*channel}",
            post(whip::publish).fallback(whip::other_method),
        )
        .route(
            "/whep/{*channel}",
            post(whip::watch).fallback(whip::other_method),
        )
        .route(
            "/session/{id}",
            axum::routing::delete(session::end).fallback(session::other_method),
        )
        .route(
            "/session/{id}/events",
            get(session::events)
                .post(session::subscribe)
                .fallback(session::other_method_on_events),
        )
        .route(
            "/events",
            post(session::events_of_several).fallback(session::other_method_on_all_events),
        )
        .route(
            "/channel/{*channel}",
            get(status::channel).fallback(status::other_method),
        )
        .route(
            "/healthz",
            get(status::healthz).fallback(status::other_method),
        )
        .route(
            "/readyz",
            get(status::readyz).fallback(status::other_method),
        )
        .route(
            "/metrics",
            get(metrics::metrics).fallback(status::other_method),
        )
        .fallback(assets::serve)
        .layer(from_fn_with_state(app.clone(), middleware::check))
        .with_state(app.clone())
}
