//! SDP: reads a browser's offer, writes the server's answer. Pure functions.
//!
//! Offers follow JSEP (RFC 9429) as browsers, OBS, GStreamer and Pion write them. The parser is a
//! small one of its own instead of a general SDP object model: it borrows from the text, reads
//! every byte once, and refuses what a media server must not guess (two certificates, two
//! transports, one payload type for two codecs). Unknown lines are skipped.
//!
//! - `lines`: text to lines and sections.
//! - `offer`: what an offer must satisfy: BUNDLE, rtcp-mux, one transport, a strong fingerprint.
//! - `codec`: the codecs that are forwarded. `codecs`, `extensions`: which of those a section
//!   offers.
//! - `answer`: chooses and writes. `negotiated`: reads both texts, also after a restart.
//! - `pull`: the offer of a node that takes a channel from another.
//! - `address`: the one line that the record adds to an offer.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
// The core asks for neither time nor randomness; only its tests do.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod address;
mod answer;
mod codec;
mod codecs;
mod error;
mod extensions;
mod fingerprint;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod lines;
mod negotiated;
mod offer;
mod pull;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use rekindle_ids::IceCredentials;

pub use address::{recorded_address, with_address};
pub use answer::answer;
pub use codec::Codec;
pub use error::SdpError;
pub use negotiated::{agreed, answer_certificate, negotiated};
pub use pull::{Transport, pull_offer};

/// Whether an offer was made by a page that renews its keys after a restart: it contains
/// `a=tool:rekindle` (RFC 8866 §6.4) before its first m-section. Other clients may do it too.
pub fn renews(offer: &str) -> bool {
    let session = offer.lines().take_while(|line| !line.starts_with("m="));
    session
        .map(str::trim_end)
        .any(|line| line == "a=tool:rekindle")
}

/// Longest offer that is accepted, in bytes.
pub const MAX_SDP: usize = 64 * 1024;

/// An HTTP body as SDP text.
///
/// # Errors
/// [`SdpError::TooLong`] over [`MAX_SDP`] bytes, [`SdpError::NotUtf8`] where it is not UTF-8.
pub fn from_bytes(body: &[u8]) -> Result<&str, SdpError> {
    if body.len() > MAX_SDP {
        return Err(SdpError::TooLong);
    }
    std::str::from_utf8(body).map_err(|_| SdpError::NotUtf8)
}

/// A fingerprint as the value of `a=fingerprint` (RFC 8122 §5).
pub fn fingerprint_value(hash: &str, digest: &[u8]) -> String {
    format!("{hash} {}", fingerprint::write(digest))
}

/// A kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// One payload type that both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The RTP payload type.
    pub pt: u8,
    /// What it carries.
    pub codec: Codec,
    /// The payload type of its RTX stream (RFC 4588), if agreed.
    pub rtx: Option<u8>,
    /// `a=rtcp-fb nack` agreed.
    pub nack: bool,
    /// `a=rtcp-fb nack pli` agreed.
    pub pli: bool,
    /// `a=rtcp-fb transport-cc` agreed.
    pub transport_cc: bool,
    /// `a=rtcp-fb goog-remb` agreed.
    pub remb: bool,
}

/// Ids of the RTP header extensions (RFC 8285) that both sides agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    pub mid: Option<u8>,
    /// draft-holmer-rmcat-transport-wide-cc-extensions-01. Publishers only: never agreed with a
    /// viewer.
    pub transport_cc: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    pub abs_send_time: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub video_orientation: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
    /// The dependency descriptor (RTP Payload Format for AV1, appendix A). Agreed only together
    /// with `a=extmap-allow-mixed`: at a key frame it can be longer than the 16 bytes of a one-byte
    /// element.
    pub dependency_descriptor: Option<u8>,
}

/// An SSRC that the browser's offer announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrc {
    /// The media stream.
    pub media: u32,
    /// Its RTX stream, from `a=ssrc-group:FID`.
    pub rtx: Option<u32>,
}

/// A stream of a channel's publisher, as its viewers receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Audio or video.
    pub kind: Kind,
    /// Its SSRCs: they pass through the server unchanged.
    pub ssrc: Ssrc,
}

/// What a viewer will receive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Codecs that the channel's publisher may send.
    pub codecs: Vec<Codec>,
    /// Its streams, as far as they are known.
    pub streams: Vec<Stream>,
}

/// One m-section that both sides agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Audio or video.
    pub kind: Kind,
    /// `a=mid`.
    pub mid: String,
    /// Agreed payloads, the most preferred first.
    pub payloads: Vec<Payload>,
    /// Agreed header extensions.
    pub extensions: Extensions,
    /// The streams that a publisher announced, or that a viewer was told; empty where that
    /// description has no `a=ssrc`.
    pub ssrcs: Vec<Ssrc>,
}

/// The server's role in the DTLS handshake: the value of `a=setup` in its answer (RFC 8842 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setup {
    /// It is the DTLS server, wherever the offer allows it, since only a DTLS client can begin a
    /// new handshake after a restart.
    #[default]
    Passive,
    /// It is the DTLS client: the offer has `a=setup:passive`, which leaves no choice.
    Active,
}

/// A hash of the browser's certificate (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// `sha-256`, `sha-384` or `sha-512`, in small letters.
    pub hash: String,
    /// The digest.
    pub digest: Vec<u8>,
}

/// What the media path needs of an offer and its answer. It is derived again from the record after
/// a restart, so it depends on the two texts alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The browser's certificate must match every one of them; never empty.
    pub fingerprints: Vec<Fingerprint>,
    /// SHA-256 of the server's certificate in the answer: the one that this browser expects.
    pub certificate: [u8; 32],
    /// The server's role in the DTLS handshake.
    pub setup: Setup,
    /// Agreed m-sections, in SDP order, without rejected and inactive ones.
    pub media: Vec<Media>,
    /// The browser's address that last passed a check, from the record's own `a=candidate` line
    /// (see [`with_address`]); the browser's own candidates are ignored.
    pub address: Option<SocketAddr>,
}

impl Negotiated {
    /// The first announced stream of each section.
    pub fn streams(&self) -> Vec<Stream> {
        let first = |media: &Media| {
            let ssrc = *media.ssrcs.first()?;
            Some(Stream {
                kind: media.kind,
                ssrc,
            })
        };
        self.media.iter().filter_map(first).collect()
    }
}

/// An answer, and what it agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text for the browser, and for the record.
    pub text: String,
    /// What [`negotiated`] reads from it.
    pub negotiated: Negotiated,
}

/// The server's side of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// ICE credentials of this peer.
    pub ice: &'a IceCredentials,
    /// SHA-256 of the server's certificate.
    pub fingerprint_sha256: &'a [u8; 32],
    /// Host candidates: where the server's UDP port can be reached.
    pub addresses: &'a [SocketAddr],
    /// Whether media is received there over TCP too, at the same port numbers (RFC 6544).
    pub tcp: bool,
    /// `o=` session id (RFC 8866 §5.2).
    pub session_id: u64,
}
