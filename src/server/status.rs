//! Status for operators and pages: whether the server is alive, and how many peers there are.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::json;

use crate::broadcast::Snapshot;
use crate::ids::Role;

use super::app::{App, ClientAddress};
use super::auth::Moment;
use super::names;
use super::path_text::PathText;
use super::problem::Problem;
use super::whip::too_often;

/// The body of `/healthz`.
#[derive(Serialize)]
struct HealthBody {
    status: &'static str,
    boot: u64,
    /// Differs in every process: a boot's number is used twice where a process is killed before its
    /// own was durable.
    process: String,
    mode: &'static str,
    /// The DTLS library of this build.
    dtls: &'static str,
    /// The security that the mode gives up.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    uptime_s: u64,
    /// Whether records of the last boot are still being read.
    resuming: bool,
    peers: Peers,
    channels: Channels,
}

/// How many peers there are, by their state.
#[derive(Serialize)]
pub(super) struct Peers {
    connected: usize,
    awaited: usize,
    joining: usize,
}

impl From<&Snapshot> for Peers {
    fn from(counts: &Snapshot) -> Self {
        Self {
            connected: counts.connected,
            awaited: counts.awaited,
            joining: counts.joining,
        }
    }
}

#[derive(Serialize)]
struct Channels {
    total: usize,
    live: usize,
}

/// `GET /healthz`: 200 while the media loop answers.
pub(super) async fn healthz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let counts = app.health.snapshot(&app.net, &app.sessions).await?;
    let body = HealthBody {
        status: "ok",
        boot: app.boot,
        process: app.process.clone(),
        mode: app.mode.name(),
        dtls: crate::peer::LIBRARY,
        warning: app.mode.warning(),
        uptime_s: app.started.elapsed().as_secs(),
        resuming: !app.sessions.is_loaded(),
        peers: Peers::from(&counts),
        channels: Channels {
            total: counts.channels.len(),
            live: counts.channels.iter().filter(|one| one.live).count(),
        },
    };
    Ok(no_store(Json(body)))
}

/// `GET /readyz`: 200 while new sessions are accepted. After a start that is once all records of
/// the last boot have been read; browsers that come back do not wait for it.
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if !app.sessions.is_ready() {
        return Err(Problem::stopping());
    }
    app.health.snapshot(&app.net, &app.sessions).await?;
    Ok(no_store(Json(
        json!({ "status": "ready", "boot": app.boot }),
    )))
}

/// `GET /channel/{*channel}`: whether there is something to watch, and by how many it is, for those
/// who may watch or publish there.
pub(super) async fn channel(
    State(app): State<Arc<App>>,
    PathText(path): PathText,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = names::channel(&path)?;
    // Who shows a token that is refused, or has the service asked, is limited as who joins.
    app.refusals
        .take(client, Instant::now())
        .map_err(too_often)?;
    if !app.rights.require_to_look(name, &headers).await? {
        app.refusals.give_back(client);
    }
    let standing = app.net.channel_standing(name).await;
    let (live, viewers) = standing.map_err(|_| Problem::stopping())?;
    Ok(no_store(Json(
        json!({ "live": live, "viewers": viewers, "boot": app.boot }),
    )))
}

/// `GET /channels`: the live channels that the client may watch, where the operator wants them to be
/// seen. Elsewhere the answer is 204 and says nothing: every page asks, and an error would stand in
/// its console.
pub(super) async fn channels(
    State(app): State<Arc<App>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.list_channels {
        return Ok(no_store(StatusCode::NO_CONTENT));
    }
    app.lists.take(client, Instant::now()).map_err(too_often)?;
    // Where one token is for all channels, nothing is told without it.
    if !app.rights.is_by_channel() {
        app.rights
            .require(Role::Viewer, "", &headers, Moment::Now)
            .await?;
    }
    let mut looking = app.rights.look(&headers);
    let snapshot = app.health.snapshot(&app.net, &app.sessions).await?;
    let mut channels = Vec::new();
    for one in snapshot.channels.into_iter().filter(|one| one.live) {
        if looking.shows(&one.name).await {
            channels.push(json!({ "name": one.name, "viewers": one.viewers }));
        }
    }
    if !looking.is_costly() {
        app.lists.give_back(client);
    }
    Ok(no_store(Json(
        json!({ "channels": channels, "boot": app.boot }),
    )))
}

/// Every other method on read-only resources.
pub(super) async fn other_method() -> Problem {
    Problem::method("GET, HEAD, OPTIONS", "This can be read by GET.")
}

pub(super) fn no_store(body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
