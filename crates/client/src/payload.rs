//! RTP payloads that no decoder ever sees: enough of each codec's first bytes to be recognised, and
//! an index that distinguishes every packet from all others.

use rekindle_sdp::Codec;

/// Bytes before the filling: the codec's two and the index.
pub const HEAD: usize = 10;

/// The bytes by which keyframes are recognised; always two, followed by the index.
pub fn start_of_payload(codec: &Codec, key: bool, first: bool) -> [u8; 2] {
    match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => [0xfc, 0],
        // RFC 7741: S bit; then the inverse key frame flag.
        Codec::Vp8 => [if first { 0x10 } else { 0 }, u8::from(!key)],
        // RFC 9628: P, B bits.
        Codec::Vp9 { .. } => [if key { 0 } else { 0x40 } | if first { 0x08 } else { 0 }, 0],
        // RFC 6184: an IDR slice or a non-IDR slice.
        Codec::H264 { .. } => [if key { 0x65 } else { 0x41 }, 0x88],
        // RFC 7798: an IDR or a trailing picture.
        Codec::H265 { .. } => [if key { 0x26 } else { 0x02 }, 1],
        // The RTP payload format for AV1: N, the first packet of a coded video sequence.
        Codec::Av1 { .. } => [if key && first { 0x18 } else { 0x10 }, 0x32],
    }
}

/// The index in a payload; `None` where the payload is too short.
pub fn read_index(payload: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(payload.get(2..HEAD)?.try_into().ok()?))
}

/// Whether a payload begins a keyframe.
pub fn is_key(codec: &Codec, payload: &[u8]) -> bool {
    match (codec, payload) {
        (Codec::Vp8, [first, second, ..]) => *first == 0x10 && second & 1 == 0,
        (Codec::Vp9 { .. }, [first, ..]) => first & 0x48 == 0x08,
        (Codec::H264 { .. }, [first, ..]) => first & 0x1f == 5,
        (Codec::H265 { .. }, [first, ..]) => first & 0x7e == 0x26,
        (Codec::Av1 { .. }, [first, ..]) => first & 0x08 != 0,
        _ => false,
    }
}
