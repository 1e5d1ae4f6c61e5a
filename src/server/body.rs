//! Request bodies.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::problem::Problem;

/// The media type of an offer and of an answer (RFC 8866 §8.1).
pub(super) const SDP: &str = "application/sdp";
/// Bytes of an overlong body that are still read and discarded: closing a connection with unread
/// data would keep the client from reading the reason.
const DISCARDED: usize = 1024 * 1024;
/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Checks the type of a body; parameters such as a charset are ignored.
pub(super) fn require_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(Problem::media_type(expected))
    }
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(limit).with(header::CONNECTION, "close");
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > (limit + DISCARDED) as u64) {
        return Err(too_large());
    }
    let read = async {
        let mut data = body.into_data_stream();
        let mut kept = BytesMut::new();
        let mut total = 0;
        while let Some(part) = data.next().await {
            // The client disconnected, and reads no answer.
            let part = part.map_err(|_| Problem::body("The body ended too early."))?;
            total += part.len();
            if total > limit + DISCARDED {
                break;
            }
            if total <= limit {
                kept.extend_from_slice(&part);
            }
        }
        if total > limit {
            Err(too_large())
        } else {
            Ok(kept.freeze())
        }
    };
    tokio::time::timeout(BODY_TIME, read)
        .await
        .unwrap_or_else(|_| Err(Problem::slow()))
}
