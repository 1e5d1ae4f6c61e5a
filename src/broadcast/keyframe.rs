//! Whether an RTP payload starts a keyframe. A wrong guess costs one PLI too many or too few, never more.

use crate::sdp::Codec;

/// Whether the payload is the first of a keyframe, as far as its first bytes tell.
pub(super) fn starts(codec: &Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => false,
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 { .. } => vp9(payload).unwrap_or(false),
        Codec::H264 { .. } => h264(payload).unwrap_or(false),
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

/// RFC 9628 §4.2: not predicted from another picture, and the start of a frame; of the lowest spatial layer where layers are told.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    let (picture_id, predicted, layers, start) = (first & 0x80, first & 0x40, first & 0x20, first & 0x08);
    if picture_id != 0 {
        let long = *rest.first()? & 0x80 != 0;
        rest = rest.get(if long { 2 } else { 1 }..)?;
    }
    let base_layer = layers == 0 || (*rest.first()? >> 1) & 0x07 == 0;
    Some(predicted == 0 && start != 0 && base_layer)
}

/// RFC 6184 §5.4: an IDR slice or a sequence parameter set, alone, in a STAP-A, or as the start of a FU-A.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let key = |nal: u8| matches!(nal & 0x1F, IDR | SPS);
    let (&first, rest) = payload.split_first()?;
    match first & 0x1F {
        STAP_A => {
            let mut units = rest;
            loop {
                let (size, after) = units.split_first_chunk::<2>()?;
                if key(*after.first()?) {
                    return Some(true);
                }
                units = after.get(usize::from(u16::from_be_bytes(*size))..)?;
            }
        }
        FU_A => {
            let header = *rest.first()?;
            Some(header & 0x80 != 0 && key(header))
        }
        _ => Some(key(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H264: Codec = Codec::H264 {
        profile: 0x42E0,
        packetization_mode: 1,
    };
    const VP9: Codec = Codec::Vp9 { profile: 0 };

    #[test]
    fn vp8_keyframes_are_found_behind_every_form_of_descriptor() {
        assert!(starts(&Codec::Vp8, &[0x10, 0x00]));
        assert!(!starts(&Codec::Vp8, &[0x10, 0x01]), "an interframe");
        assert!(!starts(&Codec::Vp8, &[0x00, 0x00]), "not the start");
        assert!(!starts(&Codec::Vp8, &[0x11, 0x00]), "not the first partition");
        assert!(starts(&Codec::Vp8, &[0x90, 0x80, 0x05, 0x50]), "short picture id");
        assert!(
            starts(&Codec::Vp8, &[0x90, 0xF0, 0x85, 0x05, 0x01, 0x20, 0x50]),
            "all extensions"
        );
        assert!(!starts(&Codec::Vp8, &[0x90, 0xF0, 0x85, 0x05, 0x01, 0x20, 0x51]));
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
    fn short_payloads_are_no_keyframes() {
        for codec in [Codec::Opus, Codec::Vp8, VP9, H264] {
            assert!(!starts(&codec, &[]));
        }
        assert!(!starts(&Codec::Vp8, &[0x90, 0xFF]));
        assert!(!starts(&VP9, &[0x88]));
        assert!(!starts(&H264, &[0x78, 0xFF, 0xFF, 0x41]));
    }
}
