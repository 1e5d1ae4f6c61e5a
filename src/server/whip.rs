//! Starting a session: WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::broadcast::{Join, Refusal};
use crate::ids::Role;
use crate::sdp;
use crate::vault::{ChannelPlace, PeerRecord};

use super::advertise;
use super::app::{App, ClientAddress, ReachedAddress};
use super::auth::Moment;
use super::body::{SDP, read_body, require_type};
use super::cluster::Elsewhere;
use super::events::Kinds;
use super::limit::QuotaPermit;
use super::names;
use super::path_text::PathText;
use super::problem::Problem;
use super::session_id;

mod refusal;

pub(super) use refusal::too_often;
use refusal::{bad_offer, not_saved, refused, too_many};

/// How long a new session waits after a start until all records are read: that takes milliseconds,
/// or two seconds for ten thousand.
const RECORDS_TIME: Duration = Duration::from_secs(5);

/// The link relation of a session's event stream, as in the WHEP drafts.
const EVENTS_RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
/// The path for the events of several sessions in one stream.
const EVENTS: HeaderName = HeaderName::from_static("rekindle-events");
/// Another hash of the server's certificate, for the page's own use.
pub(super) const FINGERPRINT: HeaderName = HeaderName::from_static("rekindle-fingerprint");
/// A random name of this process, by which a page distinguishes a false alarm from a restart.
pub(super) const PROCESS: HeaderName = HeaderName::from_static("rekindle-process");
/// The number of the answering server's boot.
pub(super) const BOOT: HeaderName = HeaderName::from_static("rekindle-boot");
/// What survives a restart.
pub(super) const MODE_HEADER: HeaderName = HeaderName::from_static("rekindle-mode");

/// `POST /whip/{*channel}`.
pub(super) async fn publish(
    State(app): State<Arc<App>>,
    PathText(channel): PathText,
    Extension(client): Extension<ClientAddress>,
    Extension(reached): Extension<ReachedAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(
        app,
        Role::Publisher,
        channel,
        (client, reached),
        headers,
        body,
    )
    .await
}

/// `POST /whep/{*channel}`.
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    PathText(channel): PathText,
    Extension(client): Extension<ClientAddress>,
    Extension(reached): Extension<ReachedAddress>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    start(app, Role::Viewer, channel, (client, reached), headers, body).await
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
    (ClientAddress(client), ReachedAddress(reached)): (ClientAddress, ReachedAddress),
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let channel = names::channel(&path)?.to_owned();
    // Before the token is checked, so that guessing is limited too.
    app.limiter
        .take(client, Instant::now())
        .map_err(too_often)?;
    app.rights
        .require(role, &channel, &headers, Moment::Now)
        .await?;
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
    let addresses = match app.follows_requests {
        Some(udp) => advertise::answered(&app.addresses, reached, udp),
        None => app.addresses.clone(),
    };
    // In a task of its own: a client that disconnects must not leave a record without a peer.
    let created = tokio::spawn(create(app.clone(), role, channel, offer, addresses, place))
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
    addresses: Vec<SocketAddr>,
    place: QuotaPermit,
) -> Result<Created, Problem> {
    let ice = session_id::credentials(role).map_err(|_| Problem::internal())?;
    let local = sdp::Local {
        ice: &ice,
        fingerprint_sha256: &app.certificates.current().sha256,
        addresses: &addresses,
        tcp: app.ice_tcp,
        session_id: session_id::sdp_session_id().map_err(|_| Problem::internal())?,
    };
    let mut seen = None;
    // A publisher's offer is checked first: an unusable one must not hold the channel's place.
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
    // Durable before the answer is sent, so that no peer exists that a crash could forget.
    let (vault, writes, saved) = (app.vault.clone(), app.writes.clone(), record.clone());
    let save = move || writes.count(|| vault.save(&saved, joined_at));
    let saved = {
        // An error is impossible: nobody closes it.
        let _turn = app.saves.acquire().await;
        tokio::task::spawn_blocking(save).await
    };
    if let Err(problem) = saved
        .map_err(|_| Problem::stopping())
        .and_then(|saved| saved.map_err(not_saved))
    {
        // It may have been written in part. A reserved place becomes free by itself after a few
        // seconds.
        take_back(&app, &ufrag).await;
        return Err(problem);
    }
    if let (Some(cluster), Role::Publisher) = (&app.cluster, role) {
        // Two publishers may have been accepted at two nodes at the same moment.
        let placed = cluster.channels.place(&channel, &ufrag, seen).await;
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
    // A new publisher that is accepted earlier could take the place of one whose record is still to
    // be read. And nothing may be written before it is known that no record is newer than the
    // identity.
    tokio::time::timeout(RECORDS_TIME, app.sessions.loaded())
        .await
        .map_err(|_| Problem::stopping())?;
    if app.sessions.is_draining() {
        elsewhere(app, role, channel).await?;
    }
    let reserved = || app.net.reserve(role, channel, ufrag);
    let mut answer = reserved().await.map_err(|_| Problem::stopping())?;
    if answer == Err(Refusal::NoPublisher) && pull(app, channel).await {
        answer = reserved().await.map_err(|_| Problem::stopping())?;
    }
    match answer {
        Err(Refusal::NoPublisher) => {
            elsewhere(app, role, channel).await?;
            Err(refused(Refusal::NoPublisher, role))
        }
        reserved => reserved.map_err(|refusal| refused(refusal, role)),
    }
}

/// Redirects a client to the node that has the channel's publisher, if that is another one.
/// Otherwise returns where the publisher was last.
async fn elsewhere(app: &App, role: Role, channel: &str) -> Result<Option<ChannelPlace>, Problem> {
    let Some(cluster) = &app.cluster else {
        return Ok(None);
    };
    let endpoint = match role {
        Role::Publisher => "whip",
        Role::Viewer => "whep",
    };
    let found = match cluster.channels.find(channel).await {
        // A node that gives its peers away accepts no new ones.
        Ok(Elsewhere::Nowhere(_)) if app.sessions.is_draining() => {
            let another = cluster.channels.another();
            Ok(Err(another.ok_or_else(Problem::stopping)?))
        }
        Ok(Elsewhere::Nowhere(place)) => Ok(Ok(place)),
        Ok(Elsewhere::There(there)) => Ok(Err(there.node)),
        Err(error) => Err(error),
    };
    match found {
        Ok(Ok(place)) => Ok(Some(place)),
        Ok(Err(node)) => {
            let url = format!("{}/{endpoint}/{channel}", node.url());
            Err(Problem::elsewhere(&url))
        }
        Err(error) => {
            tracing::warn!(%error, "which node has a channel cannot be determined now");
            Err(Problem::store())
        }
    }
}

/// Takes the channel from the node that has its publisher, if this node does so. Whether it does
/// now.
async fn pull(app: &App, channel: &str) -> bool {
    let Some(pulls) = app.cluster.as_ref().and_then(|one| one.pulls.as_ref()) else {
        return false;
    };
    if app.sessions.is_draining() {
        return false;
    }
    pulls.ensure(channel).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "a channel cannot be taken from its node now");
        false
    })
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
            // It is of our own making, with letters, digits and punctuation: always a valid header
            // value.
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        response
    }
}
