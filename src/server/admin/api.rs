//! Channels and peers: listing them and ending them.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::super::app::App;
use super::super::cluster::{self, Progress};
use super::super::path_text::PathText;
use super::super::problem::Problem;
use super::super::session::end_session;
use super::super::sessions::PeerEntry;
use super::super::status::no_store;
use super::super::{names, sessions};
use super::paging::Paging;
use crate::broadcast::ChannelSnapshot;
use crate::ids::{Role, Ufrag};

/// Default number of peers a second that are sent to other nodes: each costs the other node a
/// handshake and some queries of the store.
const DRAIN_RATE: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// How long a request waits until all records of the last boot have been read.
const RECORDS_TIME: Duration = Duration::from_secs(10);

const PUBLISHER: &str = "publisher";
const VIEWER: &str = "viewer";

/// One JSON value a line.
const LINES: &str = "application/x-ndjson";

/// A channel in the interface.
#[derive(Serialize)]
pub(super) struct ChannelBody {
    name: String,
    /// Whether media of a publisher flows.
    live: bool,
    /// When it became live, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    live_since: Option<u64>,
    /// Connected viewers.
    viewers: usize,
    media: ChannelMedia,
}

/// What has passed through a channel since it has peers in this process; see docs/metrics.md, which
/// has the same of all channels under longer names.
#[derive(Serialize)]
struct ChannelMedia {
    received: u64,
    received_bytes: u64,
    sent: u64,
    sent_bytes: u64,
    /// Blocks of viewers' receiver reports, and the sum of the fractions that they report as lost.
    loss_reports: u64,
    loss_sum: f64,
}

impl From<&ChannelSnapshot> for ChannelMedia {
    fn from(counts: &ChannelSnapshot) -> Self {
        Self {
            received: counts.received.packets,
            received_bytes: counts.received.bytes,
            sent: counts.sent.packets,
            sent_bytes: counts.sent.bytes,
            loss_reports: counts.loss.count,
            loss_sum: counts.loss.ratios(),
        }
    }
}

/// A peer in the interface: nothing in it gives access to the session.
#[derive(Serialize)]
struct PeerBody {
    peer: String,
    /// Its name in the log.
    log_peer: u64,
    role: &'static str,
    connected: bool,
    /// Whether it is from an earlier boot.
    resumed: bool,
    /// When this process took it in, in seconds since 1970.
    since: u64,
}

impl From<PeerEntry> for PeerBody {
    fn from(entry: PeerEntry) -> Self {
        Self {
            peer: entry.handle.to_string(),
            log_peer: entry.handle.number(),
            role: match entry.role {
                Role::Publisher => PUBLISHER,
                Role::Viewer => VIEWER,
            },
            connected: entry.connected,
            resumed: entry.resumed,
            since: unix_seconds(entry.since),
        }
    }
}

fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// All channels, by name.
async fn all(app: &App) -> Result<Vec<ChannelBody>, Problem> {
    loaded(app).await?;
    let snapshot = app.health.snapshot(&app.net, &app.sessions).await?;
    Ok(bodies(app, snapshot.channels))
}

/// These channels as the interface has them.
pub(super) fn bodies(app: &App, channels: Vec<ChannelSnapshot>) -> Vec<ChannelBody> {
    let body = |one: ChannelSnapshot| ChannelBody {
        live_since: app
            .sessions
            .live_since(&one.name)
            .filter(|_| one.live)
            .map(unix_seconds),
        media: ChannelMedia::from(&one),
        name: one.name,
        live: one.live,
        viewers: one.viewers,
    };
    channels.into_iter().map(body).collect()
}

/// Waits for all records: after it, what is not here does not exist.
async fn loaded(app: &App) -> Result<(), Problem> {
    let loaded = tokio::time::timeout(RECORDS_TIME, app.sessions.loaded()).await;
    loaded.map_err(|_| Problem::stopping())
}

/// A part of all channels.
#[derive(Serialize)]
struct ChannelsBody {
    channels: Vec<ChannelBody>,
    /// Where others follow: the last one's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A channel, and a part of its peers.
#[derive(Serialize)]
struct PeersBody {
    channel: ChannelBody,
    peers: Vec<PeerBody>,
    /// Where other viewers follow: the last one's handle.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /api/channels?after=NAME&limit=N`.
pub(super) async fn channels(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let paging = Paging::read(query.as_deref())?;
    let (channels, next) = paging.part(all(&app).await?, |one| one.name.clone());
    Ok(no_store(Json(ChannelsBody { channels, next })))
}

/// `GET /api/channels/{name}?after=HANDLE&limit=N`: a channel with its peers. The publisher is in
/// the first part, beyond the limit.
pub(super) async fn channel(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let name = names::channel(&name)?;
    let paging = Paging::read(query.as_deref())?;
    let channel = all(&app).await?.into_iter().find(|one| one.name == name);
    let channel = channel.ok_or_else(no_channel)?;
    let all = app.sessions.peers(name).into_iter().map(PeerBody::from);
    let (mut peers, viewers): (Vec<_>, Vec<_>) = all.partition(|peer| peer.role == PUBLISHER);
    let (viewers, next) = paging.part(viewers, |peer| peer.peer.clone());
    if !paging.is_first() {
        peers.clear();
    }
    peers.extend(viewers);
    let body = PeersBody {
        channel,
        peers,
        next,
    };
    Ok(no_store(Json(body)))
}

/// `POST /api/channels/{name}/close`: ends the sessions of all its peers, the publisher's first.
pub(super) async fn close(
    State(app): State<Arc<App>>,
    PathText(path): PathText,
) -> Result<Response, Problem> {
    let path = path.strip_suffix('/').unwrap_or(&path);
    let name = path.strip_suffix("/close").ok_or_else(|| {
        Problem::method(
            "GET, HEAD",
            "POST to the same path with /close closes a channel.",
        )
    })?;
    let name = names::channel(name)?.to_owned();
    loaded(&app).await?;
    let members = app.sessions.members(&name);
    if members.is_empty() {
        return Err(no_channel());
    }
    tracing::info!(
        channel = name,
        peers = members.len(),
        "a channel is closed by an operator"
    );
    let ended = members.len();
    // A client that disconnects must not leave a channel half closed.
    let closed = tokio::spawn(end_all(app, members)).await;
    closed.map_err(|_| Problem::stopping())??;
    Ok(no_store(Json(json!({ "name": name, "ended": ended }))))
}

async fn end_all(app: Arc<App>, members: Vec<Ufrag>) -> Result<(), Problem> {
    let mut ends = JoinSet::new();
    for ufrag in members {
        ends.spawn(end_session(app.clone(), ufrag));
    }
    while let Some(ended) = ends.join_next().await {
        if !matches!(ended, Ok(Ok(()))) {
            return Err(Problem::stopping());
        }
    }
    Ok(())
}

/// `DELETE /api/peers/{peer}`: ends a peer's session.
pub(super) async fn kick(
    State(app): State<Arc<App>>,
    PathText(peer): PathText,
) -> Result<StatusCode, Problem> {
    loaded(&app).await?;
    let handle = peer.parse::<sessions::Handle>().ok();
    let found = handle.and_then(|handle| app.sessions.by_handle(handle));
    let (Some(handle), Some(ufrag)) = (handle, found) else {
        return Err(no_peer());
    };
    tracing::info!(peer = handle.number(), "a peer is let go by an operator");
    match tokio::spawn(end_session(app, ufrag)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        _ => Err(Problem::stopping()),
    }
}

/// `POST /api/drain?rate=N`: sends all peers to other nodes of the cluster, and then ends the
/// server. The answer is sent when this has begun. For clients that accept lines of JSON, it lasts
/// until all is done, and each line reports the progress.
pub(super) async fn drain(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let rate = match query.as_deref() {
        None => DRAIN_RATE,
        Some(query) => {
            let rate = query.strip_prefix("rate=").and_then(|n| n.parse().ok());
            rate.ok_or_else(|| {
                Problem::query("?rate=N gives a number of peers a second, 1 or more.")
            })?
        }
    };
    loaded(&app).await?;
    let cluster = app.cluster.clone().ok_or_else(alone)?;
    if cluster.channels.another().is_none() && !app.sessions.is_draining() {
        return Err(alone());
    }
    let of = |role| app.sessions.of_role(role).len();
    let peers = of(Role::Publisher) + of(Role::Viewer);
    if app.sessions.begin_to_drain() {
        cluster.drain.begin(peers);
        let (app, cluster) = (app.clone(), cluster.clone());
        tokio::spawn(async move {
            cluster::drain(&app, &cluster, rate).await;
            app.end.notify_one();
        });
    }
    if accepts(&headers, LINES) {
        let follow = cluster.drain.follow();
        let mut response = no_store(Body::from_stream(follow.map(line)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
        return Ok((StatusCode::ACCEPTED, response).into_response());
    }
    let body = Json(json!({ "peers": peers, "rate": rate }));
    Ok((StatusCode::ACCEPTED, no_store(body)).into_response())
}

fn line(progress: Progress) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string(&progress)? + "\n")
}

/// Whether the client names this media type among those that it takes (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let mut ranges = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or_default();
        range.trim().eq_ignore_ascii_case(wanted)
    })
}

fn alone() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "alone",
        "There is no other node",
        "Peers can go only to a node that shares this one's vault, runs, and has --node-url.",
    )
}

fn no_channel() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-channel",
        "There is no such channel",
        "Nobody publishes or watches under this name. GET /api/channels has those that there are.",
    )
}

fn no_peer() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-peer",
        "There is no such peer",
        "It has left, or never was. GET /api/channels/{name} has those that there are.",
    )
}
