//! Why an offer is refused.

use super::{Kind, MAX_SDP};

/// Why an offer was refused. One cause per variant; the text says what to do, and never quotes the
/// offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Longer than [`MAX_SDP`].
    #[error("the SDP is longer than {MAX_SDP} bytes; send one offer, without further text")]
    TooLong,
    /// Not UTF-8 (RFC 8866 §5).
    #[error("the SDP is not UTF-8 text; send it as application/sdp, not compressed")]
    NotUtf8,
    /// A line that is not an SDP line (RFC 8866 §5).
    #[error("line {line} is no SDP line; send the browser's SDP unchanged")]
    Malformed {
        /// The line, counted from 1.
        line: usize,
    },
    /// More m-sections than any client needs.
    #[error("the offer has more than {max} m-sections; offer one audio and one video section")]
    TooManySections {
        /// How many are accepted.
        max: usize,
    },
    /// No audio and no video section that could be used.
    #[error(
        "the offer has no usable audio or video section; offer at least one over UDP/TLS/RTP/SAVPF"
    )]
    NoMedia,
    /// A publisher that sends nothing.
    #[error("a publisher's offer must send: make audio or video sendonly")]
    NothingSent,
    /// A publisher with two sections of a kind that both send (RFC 9725 §4.4.3).
    #[error(
        "a publisher sends one {kind} stream at the most; make the other {kind} sections inactive, \
         or publish them on channels of their own"
    )]
    SeveralStreams {
        /// The kind.
        kind: Kind,
    },
    /// A viewer that receives nothing.
    #[error("a viewer's offer must receive: make audio or video recvonly")]
    NothingReceived,
    /// No BUNDLE group with the media in it (RFC 9143).
    #[error(
        "the offer does not bundle its media; set bundlePolicy to \"max-bundle\" (a=group:BUNDLE)"
    )]
    NoBundle,
    /// A section without a usable `a=mid` (RFC 5888 §4), or two with the same.
    #[error("every m-section needs an a=mid of its own, of 1 to 64 letters, digits and the like")]
    BadMid,
    /// No `a=rtcp-mux` (RFC 5761).
    #[error(
        "the {kind} section does not multiplex RTCP with RTP; set rtcpMuxPolicy to \"require\" \
         (a=rtcp-mux)"
    )]
    NoRtcpMux {
        /// The section.
        kind: Kind,
    },
    /// No, or unusable, ICE credentials (RFC 8839 §5.4).
    #[error(
        "the offer needs a=ice-ufrag (4 to 256 characters) and a=ice-pwd (22 to 256 characters)"
    )]
    BadIceCredentials,
    /// No certificate fingerprint (RFC 8122).
    #[error("the offer has no a=fingerprint, so the media could not be protected; offer DTLS-SRTP")]
    NoFingerprint,
    /// Only fingerprints of hashes that can be forged.
    #[error(
        "the offer's fingerprints use weak or unknown hashes; add an a=fingerprint with sha-256"
    )]
    WeakFingerprint,
    /// A digest of the wrong length for its hash, or too many of them.
    #[error("an a=fingerprint line is damaged, or there are too many; send one with sha-256")]
    BadFingerprint,
    /// Bundled sections with different ICE credentials, certificates or DTLS roles.
    #[error(
        "the bundled sections have different ICE credentials, fingerprints or a=setup; set \
         bundlePolicy to \"max-bundle\""
    )]
    SplitTransport,
    /// `a=setup:holdconn`, or no value of RFC 4145 §4 at all.
    #[error("the offer's a=setup says neither actpass, active nor passive; use a=setup:actpass")]
    BadSetup,
    /// Nothing in the section that the server forwards.
    #[error(
        "the {kind} section offers no codec that this server forwards; offer Opus, PCMU or PCMA, \
         and VP8, VP9, H.264, H.265 or AV1"
    )]
    NoCommonCodec {
        /// The section.
        kind: Kind,
    },
    /// The viewer cannot receive what the publisher sends.
    #[error(
        "the publisher sends {sent}, which the viewer's {kind} section does not offer; use a \
         browser that decodes it"
    )]
    SourceCodec {
        /// The section.
        kind: Kind,
        /// The codec that is sent, for display.
        sent: String,
    },
    /// One payload type with two meanings in one BUNDLE group (RFC 9143 §9.2).
    #[error(
        "payload type {pt} means two things in the bundled sections; give each codec a payload \
         type of its own"
    )]
    PayloadTypeConflict {
        /// The payload type.
        pt: u8,
    },
    /// One header extension id with two meanings in one BUNDLE group (RFC 9143 §9.3).
    #[error(
        "header extension id {id} means two things in the bundled sections; give each extension \
         one id"
    )]
    ExtensionConflict {
        /// The id.
        id: u8,
    },
    /// The offer contains the line that only the server writes.
    #[error(
        "the offer has a candidate with this server's own foundation; remove that a=candidate line"
    )]
    ReservedCandidate,
    /// The two texts do not belong together.
    #[error(
        "the answer does not belong to the offer; remove this record and let the peer join again"
    )]
    AnswerMismatch,
}
