//! How a session starts: WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::broadcast::{Join, Refusal};
use crate::ids::Role;
use crate::sdp::{self, SdpError};
use crate::vault::{ChannelPlace, PeerRecord, VaultError};

use super::app::{App, ClientAddress};
use super::auth;
use super::body::{SDP, read_body, require_type};
use super::cluster::Elsewhere;
use super::events::Kinds;
use super::limit::Place;
use super::names;
use super::problem::Problem;
use super::session_id;

/// How long a newcomer waits after a start until all records are read: some milliseconds, or two
/// seconds for ten thousand.
const RECORDS_TIME: Duration = Duration::from_secs(5);

/// The link relation of a session's event stream, as in the WHEP drafts.
const EVENTS_RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
/// Where the events of several sessions can be had in one stream.
const EVENTS: HeaderName = HeaderName::from_static("rekindle-events");
/// Another hash of the server's certificate, for the page's own use.
pub(super) const FINGERPRINT: HeaderName = HeaderName::from_static("rekindle-fingerprint");
/// A name of this process, another in each, by which a page tells a false alarm from a restart.
pub(super) const PROCESS: HeaderName = HeaderName::from_static("rekindle-process");
/// Which life of the server answers.
pub(super) const BOOT: HeaderName = HeaderName::from_static("rekindle-boot");
/// What a restart takes.
pub(super) const MODE_HEADER: HeaderName = HeaderName::from_static("rekindle-mode");

/// `POST /whip/{*channel}`.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(app, Role::Publisher, channel, client, headers, body).await
}

/// `POST /whep/{*channel}`.
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    Path(channel): Path<String>,
    Extension(client): Extension<ClientAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(app, Role::Viewer, channel, client, headers, body).await
}

/// Every other method on an endpoint.
pub(super) async fn other_method() -> Problem {
    Problem::method(
        "POST, OPTIONS",
        "A session is started by POST with an SDP offer (RFC 9725 §4.2).",
    )
}

async fn start(
    app: Arc<App>,
    role: Role,
    path: String,
    ClientAddress(client): ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let channel = names::channel(&path)?.to_owned();
    // Before the token is looked at, so that it limits guessing too.
    app.limiter
        .take(client, Instant::now())
        .map_err(too_often)?;
    match role {
        Role::Publisher => auth::require(app.publish.as_ref(), &headers, "publish")?,
        Role::Viewer => auth::require(app.watch.as_ref(), &headers, "watch")?,
    }
    require_type(&headers, SDP)?;
    let body = read_body(&headers, body, sdp::MAX_SDP).await?;
    let offer =
        String::from_utf8(body.into()).map_err(|_| Problem::body("An SDP offer is UTF-8 text."))?;
    if offer.trim().is_empty() {
        return Err(Problem::body(
            "This server makes no offers: the body must be an SDP offer of the client's.",
        ));
    }
    let place = app.sessions.place(client).ok_or_else(too_many)?;
    // In a task of its own: a client that hangs up in the middle must not leave a record behind
    // that has no peer.
    let created = tokio::spawn(create(app.clone(), role, channel, offer, place))
        .await
        .map_err(|_| Problem::stopping())??;
    Ok(created.response(&app))
}

/// A session that has been started.
struct Created {
    id: String,
    etag: String,
    answer: String,
}

async fn create(
    app: Arc<App>,
    role: Role,
    channel: String,
    offer: String,
    place: Place,
) -> Result<Created, Problem> {
    let ice = session_id::credentials(role).map_err(|_| Problem::internal())?;
    let local = sdp::Local {
        ice: &ice,
        fingerprint_sha256: &app.certificates.current().sha256,
        addresses: &app.addresses,
        session_id: session_id::sdp_session_id().map_err(|_| Problem::internal())?,
    };
    let mut seen = None;
    // A publisher's offer is looked at first: one that cannot be taken must not hold the channel's
    // place.
    let sdp::Answer {
        text: answer,
        negotiated,
    } = match role {
        Role::Publisher => {
            let taken =
                sdp::answer(role, &offer, None, &local).map_err(|error| bad_offer(&error))?;
            seen = elsewhere(&app, role, &channel).await?;
            reserve(&app, role, &channel, &ice.ufrag).await?;
            taken
        }
        Role::Viewer => {
            let source = reserve(&app, role, &channel, &ice.ufrag).await?;
            sdp::answer(role, &offer, Some(&source), &local).map_err(|error| bad_offer(&error))?
        }
    };
    let ufrag = ice.ufrag.clone();
    let renews = sdp::renews(&offer);
    let joined_at = SystemTime::now();
    let record = Arc::new(PeerRecord {
        role,
        channel: channel.clone(),
        ice: ice.clone(),
        offer,
        answer: answer.clone(),
        joined_at: joined_at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
    });
    // Durable before anybody can know of the peer, so that no peer exists that a crash could
    // forget.
    let (vault, writes, saved) = (app.vault.clone(), app.writes.clone(), record.clone());
    let save = move || writes.count(|| vault.save(&saved, joined_at));
    let saved = tokio::task::spawn_blocking(save).await;
    if let Err(problem) = saved
        .map_err(|_| Problem::stopping())
        .and_then(|saved| saved.map_err(not_saved))
    {
        // It may have been written in part; a place that was reserved is free again by itself after
        // a few seconds.
        take_back(&app, &ufrag).await;
        return Err(problem);
    }
    if let (Some(cluster), Role::Publisher) = (&app.cluster, role) {
        // Two publishers may have been let in at two nodes at the same moment.
        let placed = cluster.channels.place(&channel, seen).await;
        let refused = match placed {
            Ok(true) => None,
            Ok(false) => Some(refused(Refusal::PublisherPresent, role)),
            Err(error) => Some(not_saved(error)),
        };
        if let Some(problem) = refused {
            take_back(&app, &ufrag).await;
            return Err(problem);
        }
    }
    let number = app.sessions.start(record, negotiated.certificate, place);
    let join = Join {
        role,
        channel: channel.clone(),
        ice,
        negotiated,
        resumed: false,
        renews,
    };
    let joined = match app.net.join(join).await {
        Ok(joined) => joined.map_err(|refusal| refused(refusal, role)),
        Err(_) => Err(Problem::stopping()),
    };
    if let Err(problem) = joined {
        app.sessions
            .remove(&ufrag, crate::broadcast::Departure::Left);
        app.record_writer.forget(&ufrag).await;
        return Err(problem);
    }
    tracing::info!(peer = number, ?role, channel, "a peer joins");
    Ok(Created {
        id: app.certificates.session_id(&ufrag),
        etag: format!("\"{ufrag}\""),
        answer,
    })
}

/// Takes the record of a peer that is turned away out of the vault. A store that gives no answer is
/// not waited for once more.
async fn take_back(app: &App, ufrag: &crate::ids::Ufrag) {
    match app.cluster {
        Some(_) => app.record_writer.forget_later(ufrag),
        None => app.record_writer.forget(ufrag).await,
    }
}

async fn reserve(
    app: &App,
    role: Role,
    channel: &str,
    ufrag: &crate::ids::Ufrag,
) -> Result<sdp::Source, Problem> {
    // A newcomer that is let in sooner could take the place of a publisher whose record is about to
    // be read; and nothing is written before it is known that no record is ahead of the identity.
    tokio::time::timeout(RECORDS_TIME, app.sessions.loaded())
        .await
        .map_err(|_| Problem::stopping())?;
    if app.sessions.is_draining() {
        elsewhere(app, role, channel).await?;
    }
    let reserved = app
        .net
        .reserve(role, channel, ufrag)
        .await
        .map_err(|_| Problem::stopping())?;
    match reserved {
        Err(Refusal::NoPublisher) => {
            elsewhere(app, role, channel).await?;
            Err(refused(Refusal::NoPublisher, role))
        }
        reserved => reserved.map_err(|refusal| refused(refusal, role)),
    }
}

/// Sends a client to the node that has the channel's publisher, if another one has it. Else where
/// it was last.
async fn elsewhere(app: &App, role: Role, channel: &str) -> Result<Option<ChannelPlace>, Problem> {
    let Some(cluster) = &app.cluster else {
        return Ok(None);
    };
    let endpoint = match role {
        Role::Publisher => "whip",
        Role::Viewer => "whep",
    };
    let found = match cluster.channels.find(channel).await {
        // A node that gives its peers away takes no new ones.
        Ok(Elsewhere::Nowhere(_)) if app.sessions.is_draining() => {
            let another = cluster.channels.another();
            Ok(Elsewhere::There(another.ok_or_else(Problem::stopping)?))
        }
        found => found,
    };
    match found {
        Ok(Elsewhere::Nowhere(place)) => Ok(Some(place)),
        Ok(Elsewhere::There(node)) => {
            let url = format!("{}/{endpoint}/{channel}", node.url());
            Err(Problem::elsewhere(&url))
        }
        Err(error) => {
            tracing::warn!(%error, "it cannot be told now which node has a channel");
            Err(Problem::store())
        }
    }
}

impl Created {
    fn response(self, app: &App) -> Response {
        let location = format!("{}/session/{}", app.base_path, self.id);
        let link = format!(
            "<{location}/events>; rel=\"{EVENTS_RELATION}\"; events=\"{}\"",
            Kinds::NAMES
        );
        let mut response = (StatusCode::CREATED, self.answer).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(BOOT, app.boot.into());
        headers.insert(MODE_HEADER, HeaderValue::from_static(app.mode.name()));
        for (name, text) in [
            (header::LOCATION, &location),
            (header::ETAG, &self.etag),
            (header::LINK, &link),
            (PROCESS, &app.process),
            (FINGERPRINT, &app.certificates.current().other),
            (EVENTS, &format!("{}/events", app.base_path)),
        ] {
            // Letters, digits and punctuation of our own making: always a header's value.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        response
    }
}

fn too_often(wait: Duration) -> Problem {
    let detail = "This address starts more sessions than the server lets one address start.";
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-often",
        "Too many sessions are being started",
        detail,
    )
    .retry_after(wait.as_secs() + 1)
}

fn too_many() -> Problem {
    let detail = "This address has as many sessions as the server lets one address have. Those \
                  that are here go on; end one, or try again later.";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-sessions",
        "There are too many sessions from this address",
        detail,
    )
    .retry_after(10)
}

fn bad_offer(error: &SdpError) -> Problem {
    let (status, name, title) = match error {
        SdpError::TooLong => return Problem::too_large(sdp::MAX_SDP),
        SdpError::NoCommonCodec { .. } | SdpError::SourceCodec { .. } => (
            StatusCode::NOT_ACCEPTABLE,
            "codec",
            "There is no common codec",
        ),
        _ => (
            StatusCode::BAD_REQUEST,
            "offer",
            "The offer cannot be taken",
        ),
    };
    Problem::new(status, name, title, sentence(&error.to_string()))
}

/// An error's text as a sentence: errors begin small and end without a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

fn refused(refusal: Refusal, role: Role) -> Problem {
    let detail = match refusal {
        Refusal::NoPublisher => "Nobody publishes on this channel yet. Try again in a moment.",
        Refusal::PublisherPresent => {
            "This channel already has a publisher. Use another channel, or try again after that \
             one has left."
        }
        Refusal::Full => "The server has as many peers as it takes. Try again later.",
        // New peers get a certificate that is there.
        Refusal::UnknownCertificate => return Problem::internal(),
    };
    let (status, name, title, retry) = match refusal {
        Refusal::NoPublisher => (
            StatusCode::CONFLICT,
            "no-publisher",
            "There is nothing to watch yet",
            1,
        ),
        Refusal::PublisherPresent => (
            StatusCode::CONFLICT,
            "publisher-present",
            "The channel is taken",
            5,
        ),
        Refusal::Full | Refusal::UnknownCertificate => (
            StatusCode::SERVICE_UNAVAILABLE,
            "full",
            "The server is full",
            10,
        ),
    };
    tracing::debug!(%refusal, ?role, "a peer cannot join");
    Problem::new(status, name, title, detail).retry_after(retry)
}

fn not_saved(error: VaultError) -> Problem {
    tracing::error!(%error, "a new peer's record could not be saved, so the peer is turned away");
    match error {
        VaultError::Full { .. } => {
            let detail = "The server cannot take new peers, because there is no room for their records. Those that \
                          are here go on.";
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "disk-full",
                "The server cannot take new peers",
                detail,
            )
            .retry_after(10)
        }
        VaultError::Unavailable { .. } | VaultError::NotOwner => {
            let detail = "The server cannot take new peers, because the store that it shares with \
                          others gives no answer. Those that are here go on.";
            let title = "The server cannot take new peers";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store", title, detail).retry_after(2)
        }
        // A read-only file system, a file that cannot be changed, a disk that fails: nothing that
        // the client could mend, and it may pass.
        VaultError::Io { .. } => {
            let detail = "The server cannot take new peers, because it cannot write to its disk; \
                          its log says why. Those that are here go on.";
            let title = "The server cannot take new peers";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk", title, detail).retry_after(10)
        }
        _ => Problem::internal(),
    }
}
