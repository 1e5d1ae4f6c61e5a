//! The codecs that the server forwards.

use std::fmt;

use super::Kind;

/// A codec that the server forwards, with the parameters that must be equal for two payload types
/// to carry the same format.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus, 48 kHz, 2 channels (RFC 7587).
    Opus,
    /// G.711 mu-law, 8 kHz (RFC 3551 §4.5.14).
    Pcmu,
    /// G.711 A-law, 8 kHz (RFC 3551 §4.5.14).
    Pcma,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 with its `profile-id` (RFC 9628).
    Vp9 {
        /// `profile-id`, 0 where absent.
        profile: u8,
    },
    /// H.264 (RFC 6184).
    H264 {
        /// profile_idc and profile-iop of `profile-level-id`: its first two bytes, with one value
        /// for the several encodings of a profile (RFC 6184 §8.1, table 5). The level is ignored.
        profile: u16,
        /// `packetization-mode`.
        packetization_mode: u8,
    },
    /// H.265 (RFC 7798), all in one RTP stream.
    H265 {
        /// `profile-id`, 1 (Main) where absent. Tier and level do not count.
        profile: u8,
    },
    /// AV1 (RTP Payload Format for AV1, §7.2.1).
    Av1 {
        /// `profile`, 0 (Main) where absent.
        profile: u8,
    },
}

impl Codec {
    /// How well a decoder for this codec serves a stream of another: 0 for the same codec, more for
    /// worse; `None` where it cannot.
    ///
    /// Profiles say what encoders may use, and little of what a decoder can do: browsers that offer
    /// only Constrained Baseline play High. So a profile whose decoders must be able to is
    /// preferred (RFC 6184 §8.1; H.264 §A.2), and any other is tried.
    pub fn serves(&self, sent: &Self) -> Option<u8> {
        match (self, sent) {
            (own, sent) if own == sent => Some(0),
            (
                Self::H264 {
                    profile: own,
                    packetization_mode: own_mode,
                },
                Self::H264 {
                    profile: sent,
                    packetization_mode: sent_mode,
                },
            ) => {
                // A receiver of fragments also receives single NAL units.
                let mode = own_mode >= sent_mode;
                Some(match (h264_covers(*own, *sent), mode) {
                    (true, true) => 1,
                    (true, false) => 2,
                    (false, true) => 3,
                    (false, false) => 4,
                })
            }
            // AV1 §A.2: a decoder of a higher profile decodes the lower ones.
            (Self::Av1 { profile: own }, Self::Av1 { profile: sent }) => {
                Some(if own > sent { 1 } else { 3 })
            }
            (Self::Vp9 { .. }, Self::Vp9 { .. }) | (Self::H265 { .. }, Self::H265 { .. }) => {
                Some(3)
            }
            _ => None,
        }
    }

    /// Audio or video.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Opus | Self::Pcmu | Self::Pcma => Kind::Audio,
            Self::Vp8
            | Self::Vp9 { .. }
            | Self::H264 { .. }
            | Self::H265 { .. }
            | Self::Av1 { .. } => Kind::Video,
        }
    }

    /// The rate of its RTP time stamps, in Hz.
    pub fn clock_rate(&self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            _ => 90_000,
        }
    }
}

/// Whether every decoder of one H.264 profile decodes streams of another.
fn h264_covers(own: u16, sent: u16) -> bool {
    const CONSTRAINED_BASELINE: u16 = 0x42e0;
    const MAIN: u16 = 0x4d00;
    const HIGH: u16 = 0x6400;
    const CONSTRAINED_HIGH: u16 = 0x640c;
    let below: &[u16] = match own {
        HIGH => &[CONSTRAINED_HIGH, MAIN, CONSTRAINED_BASELINE],
        CONSTRAINED_HIGH | MAIN | 0x4200 => &[CONSTRAINED_BASELINE],
        _ => &[],
    };
    own == sent || below.contains(&sent)
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opus => f.write_str("Opus"),
            Self::Pcmu => f.write_str("PCMU"),
            Self::Pcma => f.write_str("PCMA"),
            Self::Vp8 => f.write_str("VP8"),
            Self::Vp9 { profile } => write!(f, "VP9 (profile {profile})"),
            Self::H264 {
                profile,
                packetization_mode,
            } => {
                write!(
                    f,
                    "H.264 (profile {profile:04x}, packetization mode {packetization_mode})"
                )
            }
            Self::H265 { profile } => write!(f, "H.265 (profile {profile})"),
            Self::Av1 { profile } => write!(f, "AV1 (profile {profile})"),
        }
    }
}
