//! A new session, by one POST of an offer (WHIP, RFC 9725; WHEP).

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER};
use axum::http::{Method, Response, StatusCode};
use rekindle_ids::Role;
use tokio::time::timeout;

use super::{Joined, request};
use crate::target::Target;

/// How long a POST may take.
const POST_TIME: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// The result of a POST.
pub(crate) enum Posted {
    /// The session exists; with the path of its events, if it has some.
    Joined(Joined, Option<String>),
    /// It may be possible later.
    Later,
    /// No answer arrived in time.
    NoAnswer,
    /// It is refused, with the reason.
    Refused(String),
}

/// Posts an offer once.
pub(crate) async fn post(target: &Target, one_way: Duration, role: Role, offer: &str) -> Posted {
    let endpoint = target.endpoint(role);
    let headers = [(CONTENT_TYPE.as_str(), "application/sdp")];
    let offer = Body::from(offer.to_owned());
    let response = request(target, one_way, Method::POST, endpoint, offer, &headers);
    let Ok(Ok(response)) = timeout(POST_TIME, response).await else {
        return Posted::NoAnswer;
    };
    let status = response.status();
    if status == StatusCode::CREATED {
        return joined(target, endpoint, response).await.unwrap_or_else(|| {
            Posted::Refused("the server's answer to a new session is no text".to_owned())
        });
    }
    let later = response.headers().contains_key(RETRY_AFTER) || status.is_server_error();
    if later || matches!(status.as_u16(), 404 | 409 | 429) {
        return Posted::Later;
    }
    Posted::Refused(format!("the server answered {status} to a new session"))
}

async fn joined(target: &Target, endpoint: &str, response: Response<Body>) -> Option<Posted> {
    let (head, body) = response.into_parts();
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let location = header(LOCATION.as_str()).map(|l| target.resolve(endpoint, l));
    let events = header(LINK.as_str())
        .filter(|link| link.contains("server-sent-events"))
        .and_then(|link| Some(link.split_once('<')?.1.split_once('>')?.0))
        .map(|link| target.resolve(endpoint, link));
    let body = axum::body::to_bytes(body, MAX_BODY).await.ok()?;
    let joined = Joined {
        answer: String::from_utf8(body.into()).ok()?,
        location: location.unwrap_or_default(),
        has_stream: false,
    };
    Some(Posted::Joined(joined, events))
}
