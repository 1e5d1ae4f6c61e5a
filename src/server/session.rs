//! Running sessions: how they end, and their events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::broadcast::Departure;
use crate::ids::Ufrag;
use crate::net::Stopped;

use super::app::{App, ClientAddress};
use super::auth::Moment;
use super::body::{read_body, require_type};
use super::events::{EventStream, Frame, Kinds, Tap};
use super::path_text::PathText;
use super::problem::Problem;
use super::sessions::Greeting;
use super::whip::too_often;

/// Longest list of event names.
const MAX_SUBSCRIPTION: usize = 1024;
/// Most sessions on one stream, and longest line that names one.
const MAX_SESSIONS: usize = 1024;
const MAX_ID: usize = 128;

/// How long a stream of several sessions waits before it asks again for a session that cannot be
/// looked up now.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Why there is no peer for a session's id.
enum NotFound {
    /// There is no such session.
    Unknown,
    /// Whether it exists cannot be determined now.
    Unsure,
}

impl From<NotFound> for Problem {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::Unknown => Problem::no_session(),
            NotFound::Unsure => Problem::store(),
        }
    }
}

/// The peer of a session's id. While the records of the last boot are being read, waits for this
/// one. A peer of another node is adopted.
async fn find(app: &App, id: &str) -> Result<Ufrag, NotFound> {
    let mut known = app.certificates.verify(id);
    if known.is_none()
        && let Some(cluster) = &app.cluster
    {
        if let Err(error) = cluster.identities.learn().await {
            tracing::warn!(%error, "whether other nodes have certificates cannot be determined now");
            return Err(NotFound::Unsure);
        }
        known = app.certificates.verify(id);
    }
    let (ufrag, certificate) = known.ok_or(NotFound::Unknown)?;
    let mut found = app.sessions.find(&ufrag, || app.net.want(&ufrag)).await;
    if found.is_none()
        && let Some(cluster) = &app.cluster
        && !app.sessions.is_draining()
    {
        match cluster.adoption.adopt(&ufrag).await {
            Ok(true) => found = app.sessions.find(&ufrag, || ()).await,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "a peer of another node cannot be taken over now");
                return Err(NotFound::Unsure);
            }
        }
    }
    if found == Some(certificate) {
        Ok(ufrag)
    } else {
        Err(NotFound::Unknown)
    }
}

/// The same, for a stream of several sessions: it asks again while the client listens, if the
/// answer cannot be determined now.
async fn find_for(app: &App, id: &str, tap: &Tap) -> Option<Ufrag> {
    loop {
        match find(app, id).await {
            Ok(ufrag) => return Some(ufrag),
            Err(NotFound::Unknown) => return None,
            Err(NotFound::Unsure) if tap.is_closed() || app.sessions.is_closed() => return None,
            Err(NotFound::Unsure) => tokio::time::sleep(STORE_PAUSE).await,
        }
    }
}

/// `DELETE /session/{id}` (RFC 9725 §4.2): ends the session. Its record is removed before the
/// answer is sent.
///
/// The token is required as for a join. The URL alone is not enough: it derives from the
/// certificate's private key, so that a thief of the vault and its key file could make it.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let ufrag = find(&app, &id).await?;
    let record = app.sessions.record(&ufrag);
    let record = record.ok_or_else(Problem::no_session)?;
    // Who shows a token that is refused is limited as who joins.
    app.refusals
        .take(client, Instant::now())
        .map_err(too_often)?;
    // What a token has begun, it may end after its time too.
    app.rights
        .require(record.role, &record.channel, &headers, Moment::After)
        .await?;
    app.refusals.give_back(client);
    // In a task of its own: a client that disconnects must not leave a record without a peer.
    match tokio::spawn(end_session(app, ufrag)).await {
        Ok(Ok(())) => Ok(StatusCode::OK),
        _ => Err(Problem::stopping()),
    }
}

/// Ends a session. When this returns, its record is removed. Must not be dropped before.
pub(super) async fn end_session(app: Arc<App>, ufrag: Ufrag) -> Result<(), Stopped> {
    app.net.leave(&ufrag).await?;
    if let Some(peer) = app.sessions.remove(&ufrag, Departure::Left) {
        tracing::info!(peer, "a peer leaves");
    }
    app.record_writer.forget(&ufrag).await;
    Ok(())
}

/// Every other method on a session. RFC 9725 §4.3 requires 405 for PATCH where neither trickle ICE
/// nor ICE restarts are supported.
pub(super) async fn other_method() -> Problem {
    let detail = "A session can be ended by DELETE. The server is ICE-lite: it needs no candidates \
                  of the client's, and after a network change the client is found by its next \
                  check, so there is nothing to PATCH.";
    Problem::method("DELETE, OPTIONS", detail)
}

/// `GET /session/{id}/events`: the session's events. `?events=a,b` names the kinds wanted.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let ufrag = find(&app, &id).await?;
    let kinds = query.as_deref().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("events="))
    });
    let kinds = kinds.map_or(Kinds::OWN, |names| Kinds::named(names.split(',')));
    let (tap, stream) = EventStream::new(1, kinds);
    // It existed a moment ago: it has just ended, or the server is stopping.
    if !open(&app, &ufrag, tap) {
        return Err(Problem::no_session());
    }
    Ok(event_stream(stream))
}

/// `POST /events`: the events of several sessions in one stream. The body names them, one id a
/// line; a line `session: ID` before each event names its session. A browser keeps at most six
/// connections to a server, and a stream for each session would use them up.
///
/// The head of the answer is sent at once, and each session's first event as soon as its record is
/// read. An unknown session is reported as gone; the stream ends with its last session.
pub(super) async fn events_of_several(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // A type that a page of another origin may send without a preflight, which would cost a round
    // trip at a restart.
    require_type(&headers, "text/plain")?;
    let body = read_body(&headers, body, MAX_SESSIONS * MAX_ID).await?;
    let text = std::str::from_utf8(&body)
        .map_err(|_| Problem::body("The body is a list of session ids, one a line."))?;
    let ids: BTreeSet<&str> = text
        .lines()
        .map(str::trim)
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() || ids.len() > MAX_SESSIONS || ids.iter().any(|id| id.len() >= MAX_ID) {
        let detail = format!("The body is a list of 1 to {MAX_SESSIONS} session ids, one a line.");
        return Err(Problem::body(detail));
    }
    let (tap, stream) = EventStream::new(ids.len(), Kinds::SHARED);
    for id in ids {
        let (app, id, tap) = (app.clone(), id.to_owned(), tap.of(id));
        tokio::spawn(async move {
            let found = find_for(&app, &id, &tap).await;
            let opened = found.is_some_and(|ufrag| open(&app, &ufrag, tap.clone()));
            if !opened && !app.sessions.is_closed() {
                tap.tell(&[Frame::unknown()]);
            }
        });
    }
    Ok(event_stream(stream))
}

/// Every other method on the events of several sessions.
pub(super) async fn other_method_on_all_events() -> Problem {
    Problem::method(
        "POST, OPTIONS",
        "POST with a list of session ids, one a line, reads the events of these sessions.",
    )
}

fn open(app: &App, ufrag: &Ufrag, tap: Tap) -> bool {
    let greeting = Greeting {
        boot: app.boot,
        process: &app.process,
        mode: app.mode,
        certificates: &app.certificates,
        media: &app.addresses,
        nodes: &app.nodes.get(),
    };
    let opened = app.sessions.open_stream(ufrag, &greeting, tap);
    if opened {
        app.net.has_page(ufrag);
    }
    opened
}

fn event_stream(stream: EventStream) -> Response {
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx buffers small responses unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// `POST /session/{id}/events`, as the WHEP drafts subscribe: a JSON list of names in, the stream's
/// URL out.
pub(super) async fn subscribe(
    State(app): State<Arc<App>>,
    PathText(id): PathText,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    find(&app, &id).await?;
    require_type(&headers, "application/json")?;
    let body = read_body(&headers, body, MAX_SUBSCRIPTION).await?;
    let names: Vec<String> = serde_json::from_slice(&body).map_err(|_| {
        Problem::body("The body is a JSON list of event names, such as [\"active\",\"inactive\"].")
    })?;
    let kinds = Kinds::named(names.iter().map(String::as_str));
    if kinds.is_empty() {
        return Err(Problem::body(format!(
            "None of these events exists. There are: {}.",
            Kinds::NAMES
        )));
    }
    let location = format!(
        "{}/session/{id}/events?events={}",
        app.base_path,
        kinds.names()
    );
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// Every other method on the events.
pub(super) async fn other_method_on_events() -> Problem {
    Problem::method(
        "GET, POST, OPTIONS",
        "GET reads the events; POST with a JSON list of names subscribes to some.",
    )
}
