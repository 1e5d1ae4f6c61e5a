//! Answers to clients whose session is not started.

use std::time::Duration;

use axum::http::StatusCode;

use crate::broadcast::Refusal;
use crate::ids::Role;
use crate::sdp::{self, SdpError};
use crate::server::problem::Problem;
use crate::vault::VaultError;

pub(in crate::server) fn too_often(wait: Duration) -> Problem {
    let detail = "This address starts more sessions, or is refused more often, than the server lets \
                  one address. Sessions that are here go on; see --join-rate.";
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too-often",
        "There are too many requests from this address",
        detail,
    )
    .retry_after(wait.as_secs() + 1)
}

pub(super) fn too_many() -> Problem {
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

pub(super) fn bad_offer(error: &SdpError) -> Problem {
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

/// An error's text as a sentence: errors begin with a small letter and end without a full stop.
pub(super) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), letters.as_str())
    })
}

pub(super) fn refused(refusal: Refusal, role: Role) -> Problem {
    let detail = match refusal {
        Refusal::NoPublisher => "Nobody publishes on this channel yet. Try again in a moment.",
        Refusal::PublisherPresent => {
            "This channel already has a publisher. Use another channel, or try again after that \
             one has left."
        }
        Refusal::Full => "The server has as many peers as it takes. Try again later.",
        // New peers get a certificate that exists.
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

pub(super) fn not_saved(error: VaultError) -> Problem {
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
        // A read-only file system, a file that cannot be changed, a failing disk: the client can do
        // nothing about it, and it may pass.
        VaultError::Io { .. } => {
            let detail = "The server cannot take new peers, because it cannot write to its disk; \
                          its log says why. Those that are here go on.";
            let title = "The server cannot take new peers";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "disk", title, detail).retry_after(10)
        }
        _ => Problem::internal(),
    }
}
