//! Whether an RTP payload starts a keyframe. A wrong guess costs one PLI too many or too few,
//! nothing more.

use rekindle_sdp::Codec;

/// Whether the payload is the first of a keyframe, as far as its first bytes tell.
pub(super) fn starts(codec: &Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus | Codec::Pcmu | Codec::Pcma => false,
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 { .. } => vp9(payload).unwrap_or(false),
        Codec::H264 { .. } => h264(payload).unwrap_or(false),
        Codec::H265 { .. } => h265(payload).unwrap_or(false),
        Codec::Av1 { .. } => av1(payload),
    }
}

/// RFC 7741 §4.2: the payload descriptor; §4.3: the inverse key frame flag of the payload header.
fn vp8(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let start_of_first_partition = first & 0x10 != 0 && first & 0x0F == 0;
    if first & 0x80 != 0 {
        let (&extension, after) = rest.split_first()?;
        rest = after;
        if extension & 0x80 != 0 {
            let long = *rest.first()? & 0x80 != 0;
            rest = rest.get(if long { 2 } else { 1 }..)?;
        }
        if extension & 0x40 != 0 {
            rest = rest.get(1..)?;
        }
        if extension & 0x30 != 0 {
            rest = rest.get(1..)?;
        }
    }
    Some(start_of_first_partition && rest.first()? & 0x01 == 0)
}

/// RFC 9628 §4.2: not predicted from another picture, and the start of a frame; of the lowest
/// spatial layer where layers are told.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let (picture_id, predicted, layers, start) =
        (first & 0x80, first & 0x40, first & 0x20, first & 0x08);
    if picture_id != 0 {
        let long = *rest.first()? & 0x80 != 0;
        rest = rest.get(if long { 2 } else { 1 }..)?;
    }
    let base_layer = layers == 0 || (*rest.first()? >> 1) & 0x07 == 0;
    Some(predicted == 0 && start != 0 && base_layer)
}

/// RFC 6184 §5.4: an IDR slice or a sequence parameter set, alone, in a STAP-A, or as the start of
/// a FU-A.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let key = |nal: u8| matches!(nal & 0x1F, IDR | SPS);
    let (&first, rest) = payload.split_first()?;
    match first & 0x1F {
        STAP_A => any_unit(rest, key),
        FU_A => {
            let header = *rest.first()?;
            Some(header & 0x80 != 0 && key(header))
        }
        _ => Some(key(first)),
    }
}

/// RFC 7798 §4.4: an intra random access point or a video or sequence parameter set, alone, in an
/// aggregation packet, or as the start of a fragmentation unit.
fn h265(payload: &[u8]) -> Option<bool> {
    const AGGREGATION: u8 = 48;
    const FRAGMENTATION: u8 = 49;
    // H.265 table 7-1: IRAP pictures 16 to 21, VPS 32, SPS 33.
    let key = |kind: u8| matches!(kind, 16..=21 | 32 | 33);
    let of = |header: u8| (header >> 1) & 0x3F;
    let (&[first, _], rest) = payload.split_first_chunk::<2>()?;
    match of(first) {
        AGGREGATION => any_unit(rest, |header| key(of(header))),
        FRAGMENTATION => {
            let header = *rest.first()?;
            Some(header & 0x80 != 0 && key(header & 0x3F))
        }
        kind => Some(key(kind)),
    }
}

/// Whether one of these NAL units, each after its length in two bytes, is of this kind by its first
/// byte.
fn any_unit(mut units: &[u8], key: impl Fn(u8) -> bool) -> Option<bool> {
    loop {
        let (size, after) = units.split_first_chunk::<2>()?;
        if key(*after.first()?) {
            return Some(true);
        }
        units = after.get(usize::from(u16::from_be_bytes(*size))..)?;
    }
}

/// RTP Payload Format for AV1, §4.4: N, the first packet of a coded video sequence; Z, a part of
/// the packet before.
fn av1(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & 0x88 == 0x08)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H264: Codec = Codec::H264 {
        profile: 0x42E0,
        packetization_mode: 1,
    };
    const VP9: Codec = Codec::Vp9 { profile: 0 };
    const H265: Codec = Codec::H265 { profile: 1 };
    const AV1: Codec = Codec::Av1 { profile: 0 };

    #[test]
    fn vp8_keyframes_are_found_behind_every_form_of_descriptor() {
        assert!(starts(&Codec::Vp8, &[0x10, 0x00]));
        assert!(!starts(&Codec::Vp8, &[0x10, 0x01]), "an interframe");
        assert!(!starts(&Codec::Vp8, &[0x00, 0x00]), "not the start");
        assert!(
            !starts(&Codec::Vp8, &[0x11, 0x00]),
            "not the first partition"
        );
        assert!(
            starts(&Codec::Vp8, &[0x90, 0x80, 0x05, 0x50]),
            "short picture id"
        );
        assert!(
            starts(&Codec::Vp8, &[0x90, 0xF0, 0x85, 0x05, 0x01, 0x20, 0x50]),
            "all extensions"
        );
        assert!(!starts(
            &Codec::Vp8,
            &[0x90, 0xF0, 0x85, 0x05, 0x01, 0x20, 0x51]
        ));
    }

    #[test]
    fn vp9_keyframes_are_unpredicted_frame_starts() {
        assert!(starts(&VP9, &[0x08]));
        assert!(starts(&VP9, &[0x8A, 0x80, 0x01]));
        assert!(!starts(&VP9, &[0x48]), "predicted");
        assert!(!starts(&VP9, &[0x00]), "not the start");
        assert!(!starts(&VP9, &[0xA8, 0x01, 0x02]), "an upper spatial layer");
        assert!(starts(&VP9, &[0xA8, 0x01, 0x01]));
    }

    #[test]
    fn h264_keyframes_are_idr_or_sps_in_every_packetisation() {
        assert!(starts(&H264, &[0x65, 0x88]));
        assert!(starts(&H264, &[0x67, 0x42]));
        assert!(!starts(&H264, &[0x41, 0x9A]));
        assert!(starts(&H264, &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]));
        assert!(starts(&H264, &[0x78, 0, 1, 0x09, 0, 1, 0x65]));
        assert!(!starts(&H264, &[0x78, 0, 1, 0x09, 0, 1, 0x41]));
        assert!(starts(&H264, &[0x7C, 0x85]));
        assert!(!starts(&H264, &[0x7C, 0x05]), "the middle of an IDR slice");
    }

    #[test]
    fn h265_keyframes_are_random_access_points_or_parameter_sets() {
        assert!(starts(&H265, &[0x26, 1, 0xAF]), "IDR_W_RADL");
        assert!(starts(&H265, &[0x2A, 1]), "CRA");
        assert!(
            starts(&H265, &[0x40, 1]) && starts(&H265, &[0x42, 1]),
            "VPS, SPS"
        );
        assert!(!starts(&H265, &[0x02, 1]), "TRAIL_R");
        assert!(
            !starts(&H265, &[0x44, 1]),
            "PPS, which comes before other pictures too"
        );
        assert!(starts(&H265, &[0x60, 1, 0, 2, 0x46, 1, 0, 2, 0x40, 1]));
        assert!(!starts(&H265, &[0x60, 1, 0, 2, 0x46, 1, 0, 2, 0x02, 1]));
        assert!(starts(&H265, &[0x62, 1, 0x93]));
        assert!(
            !starts(&H265, &[0x62, 1, 0x13]),
            "the middle of an IDR slice"
        );
    }

    #[test]
    fn av1_keyframes_begin_a_coded_video_sequence() {
        assert!(starts(&AV1, &[0x18, 0x0A]));
        assert!(!starts(&AV1, &[0x10, 0x32]), "no new sequence");
        assert!(!starts(&AV1, &[0x98, 0x32]), "the rest of another packet");
    }

    #[test]
    fn short_payloads_are_no_keyframes() {
        assert!(!starts(&H265, &[0x60]) && !starts(&H265, &[0x62, 1]));
        for codec in [Codec::Opus, Codec::Pcmu, Codec::Vp8, VP9, H264, H265, AV1] {
            assert!(!starts(&codec, &[]));
        }
        assert!(!starts(&Codec::Vp8, &[0x90, 0xFF]));
        assert!(!starts(&VP9, &[0x88]));
        assert!(!starts(&H264, &[0x78, 0xFF, 0xFF, 0x41]));
    }
}
