//! Payload types: which of the codecs that the server forwards a section has, and with which
//! feedback.

use super::lines::Section;
use super::{Codec, Kind};

/// One codec of a section, as the section's own lines describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodecLine<'a> {
    pub pt: u8,
    pub codec: Codec,
    /// The value of `a=rtpmap`, without the payload type.
    pub rtpmap: &'a str,
    /// The value of `a=fmtp`, without the payload type.
    pub fmtp: Option<&'a str>,
    /// The RTX payload type and its rtpmap (RFC 4588 §8).
    pub rtx: Option<(u8, &'a str)>,
    pub feedback: Feedback,
}

/// The `a=rtcp-fb` values (RFC 4585 §4.2) that matter here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Feedback {
    pub nack: bool,
    pub pli: bool,
    pub transport_cc: bool,
    pub remb: bool,
}

impl Feedback {
    fn add(&mut self, value: &str) {
        match value {
            "nack" => self.nack = true,
            "nack pli" => self.pli = true,
            "transport-cc" => self.transport_cc = true,
            "goog-remb" => self.remb = true,
            _ => {}
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            nack: self.nack || other.nack,
            pli: self.pli || other.pli,
            transport_cc: self.transport_cc || other.transport_cc,
            remb: self.remb || other.remb,
        }
    }
}

/// Payload types that need no `a=rtpmap` (RFC 3551 §6).
const STATIC: [(usize, &str); 2] = [(0, "PCMU/8000"), (8, "PCMA/8000")];

/// What a section says of each payload type, read in one pass over its lines.
struct Table<'a> {
    rtpmap: [Option<&'a str>; 128],
    fmtp: [Option<&'a str>; 128],
    feedback: [Feedback; 128],
}

impl<'a> Table<'a> {
    fn read(section: &Section<'a>) -> Self {
        let mut table = Self {
            rtpmap: [None; 128],
            fmtp: [None; 128],
            feedback: [Feedback::default(); 128],
        };
        let mut every = Feedback::default();
        for (name, value) in section.attributes.iter() {
            if !matches!(name, "rtpmap" | "fmtp" | "rtcp-fb") {
                continue;
            }
            let Some((pt, value)) = value.split_once(' ') else {
                continue;
            };
            let value = value.trim();
            if name == "rtcp-fb" && pt == "*" {
                every.add(value);
                continue;
            }
            let Some(pt) = payload_type(pt).map(usize::from) else {
                continue;
            };
            match name {
                "rtpmap" => table.rtpmap[pt] = table.rtpmap[pt].or(Some(value)),
                "fmtp" => table.fmtp[pt] = table.fmtp[pt].or(Some(value)),
                _ => table.feedback[pt].add(value),
            }
        }
        for (pt, rtpmap) in STATIC {
            table.rtpmap[pt].get_or_insert(rtpmap);
        }
        for feedback in &mut table.feedback {
            *feedback = feedback.or(every);
        }
        table
    }
}

/// The codecs of a section that the server forwards, in the section's order. If two payload types
/// have the same codec, the first one is used.
pub(super) fn read<'a>(section: &Section<'a>, kind: Kind) -> Vec<CodecLine<'a>> {
    let table = Table::read(section);
    let mut listed = [false; 128];
    let mut order = Vec::new();
    for pt in section
        .formats
        .split_ascii_whitespace()
        .filter_map(payload_type)
    {
        if !std::mem::replace(&mut listed[usize::from(pt)], true) {
            order.push(pt);
        }
    }

    let mut rtx_of: [Option<(u8, &str)>; 128] = [None; 128];
    for &pt in &order {
        let at = usize::from(pt);
        let Some(rtpmap) = table.rtpmap[at].filter(|r| encoding(r).0.eq_ignore_ascii_case("rtx"))
        else {
            continue;
        };
        let apt = table.fmtp[at]
            .and_then(|f| parameter(f, "apt"))
            .and_then(payload_type);
        if let Some(apt) = apt.map(usize::from) {
            rtx_of[apt] = rtx_of[apt].or(Some((pt, rtpmap)));
        }
    }

    let mut found: Vec<CodecLine<'a>> = Vec::new();
    for pt in order {
        let at = usize::from(pt);
        let Some(rtpmap) = table.rtpmap[at] else {
            continue;
        };
        let fmtp = table.fmtp[at];
        let Some(codec) = codec(rtpmap, fmtp.unwrap_or("")).filter(|c| c.kind() == kind) else {
            continue;
        };
        if found.iter().all(|f| f.codec != codec) {
            found.push(CodecLine {
                pt,
                codec,
                rtpmap,
                fmtp,
                rtx: rtx_of[at],
                feedback: table.feedback[at],
            });
        }
    }
    found
}

/// A payload type that can be used together with multiplexed RTCP: 64 to 95 would be taken for RTCP
/// (RFC 5761 §4).
fn payload_type(text: &str) -> Option<u8> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let pt: u8 = text.parse().ok().filter(|_| digits)?;
    matches!(pt, 0..=63 | 96..=127).then_some(pt)
}

/// `<name>/<clock>[/<channels>]`.
fn encoding(rtpmap: &str) -> (&str, &str) {
    rtpmap.split_once('/').unwrap_or((rtpmap, ""))
}

/// One `key=value` of a format's parameters (RFC 8866 §6.15, the `;` form that all codecs here
/// use).
fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case(key)
            .then_some(value.trim())
    })
}

fn codec(rtpmap: &str, fmtp: &str) -> Option<Codec> {
    let (name, clock) = encoding(rtpmap);
    let video = clock == "90000";
    if name.eq_ignore_ascii_case("opus") {
        // RFC 7587 §7 requires two channels; a missing number means the same.
        matches!(clock, "48000/2" | "48000").then_some(Codec::Opus)
    } else if name.eq_ignore_ascii_case("VP8") {
        video.then_some(Codec::Vp8)
    } else if name.eq_ignore_ascii_case("VP9") {
        // RFC 9628 §7: profiles 0 to 3; absent means 0.
        let profile = number(fmtp, "profile-id", 0).filter(|p| *p <= 3)?;
        video.then_some(Codec::Vp9 { profile })
    } else if name.eq_ignore_ascii_case("H264") {
        // RFC 6184 §8.1: absent means single NAL unit mode. Interleaved mode (2) is not for real
        // time.
        let packetization_mode = number(fmtp, "packetization-mode", 0).filter(|m| *m <= 1)?;
        let profile = h264_profile(parameter(fmtp, "profile-level-id"))?;
        video.then_some(Codec::H264 {
            profile,
            packetization_mode,
        })
    } else if name.eq_ignore_ascii_case("H265") {
        // RFC 7798 §7.1: only all in one stream (SRST, the default) can be forwarded as one.
        let profile = number(fmtp, "profile-id", 1).filter(|p| *p <= 31)?;
        let single =
            parameter(fmtp, "tx-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("SRST"));
        (video && single).then_some(Codec::H265 { profile })
    } else if name.eq_ignore_ascii_case("AV1") {
        let profile = number(fmtp, "profile", 0).filter(|p| *p <= 2)?;
        video.then_some(Codec::Av1 { profile })
    } else if clock == "8000" || clock == "8000/1" {
        // RFC 3551 §4.5.14: one channel.
        [("PCMU", Codec::Pcmu), ("PCMA", Codec::Pcma)]
            .into_iter()
            .find_map(|(known, codec)| name.eq_ignore_ascii_case(known).then_some(codec))
    } else {
        None
    }
}

/// A number among a format's parameters; `absent` where it is not given, `None` where it is not a
/// number.
fn number(fmtp: &str, key: &str, absent: u8) -> Option<u8> {
    parameter(fmtp, key).map_or(Some(absent), |value| value.parse().ok())
}

/// profile_idc and profile-iop; absent means Baseline (RFC 6184 §8.1). Table 5 there lists several
/// pairs for one profile (GStreamer writes 42c0 where browsers write 42e0); they become one. A pair
/// that is not in the table is kept.
fn h264_profile(profile_level_id: Option<&str>) -> Option<u16> {
    let Some(text) = profile_level_id else {
        return Some(0x4200);
    };
    if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let pair = (u32::from_str_radix(text, 16).ok()? >> 8) as u16;
    let [idc, iop] = pair.to_be_bytes();
    let low_clear = iop & 0x0f == 0;
    Some(match idc {
        // Constrained Baseline: x1xx0000, 1xxx0000, 11xx0000.
        0x42 if low_clear && iop & 0x40 != 0 => 0x42e0,
        0x4d if low_clear && iop & 0x80 != 0 => 0x42e0,
        0x58 if low_clear && iop & 0xc0 == 0xc0 => 0x42e0,
        // Baseline: x0xx0000, 10xx0000.
        0x42 if low_clear => 0x4200,
        0x58 if low_clear && iop & 0xc0 == 0x80 => 0x4200,
        // Main: 0x0x0000.
        0x4d if low_clear && iop & 0xa0 == 0 => 0x4d00,
        _ => pair,
    })
}

#[cfg(test)]
mod tests {
    use super::super::lines::Description;
    use super::*;

    fn video(formats: &str, lines: &[&str]) -> Vec<(u8, Codec, Option<u8>)> {
        let text = format!(
            "v=0\nm=video 9 UDP/TLS/RTP/SAVPF {formats}\n{}",
            lines.iter().map(|l| format!("a={l}\n")).collect::<String>()
        );
        let description = Description::parse(&text).unwrap();
        read(&description.media[0], Kind::Video)
            .into_iter()
            .map(|c| (c.pt, c.codec, c.rtx.map(|(pt, _)| pt)))
            .collect()
    }

    #[test]
    fn order_is_the_m_lines_and_rtx_is_found_by_apt() {
        let lines = [
            "rtpmap:96 VP8/90000",
            "rtpmap:97 rtx/90000",
            "fmtp:97 apt=96",
            "rtpmap:98 vp9/90000",
            "rtpmap:99 RTX/90000",
            "fmtp:99 rtx-time=3000; apt=98",
            "rtpmap:45 AV1/90000",
            "fmtp:45 profile=9",
        ];
        let expected = vec![
            (98, Codec::Vp9 { profile: 0 }, Some(99)),
            (96, Codec::Vp8, Some(97)),
        ];
        assert_eq!(video("45 98 96 97 99", &lines), expected);
        // An RTX payload type that the m-line does not list is not there.
        assert_eq!(video("96", &lines), vec![(96, Codec::Vp8, None)]);
    }

    #[test]
    fn rtcp_payload_types_and_wrong_clocks_are_left_out() {
        let lines = [
            "rtpmap:72 VP8/90000",
            "rtpmap:96 VP8/8000",
            "rtpmap:200 VP8/90000",
            "rtpmap:97 VP9/90000",
            "fmtp:97 profile-id=4",
        ];
        assert_eq!(video("72 96 200 97 98 +99", &lines), vec![]);
    }

    #[test]
    fn h264_profiles_fold_by_table_5_and_the_level_does_not_count() {
        let profile = |text| h264_profile(Some(text));
        for text in ["42e01f", "42C015", "42e034", "4d801f", "58c01f", "42401f"] {
            assert_eq!(profile(text), Some(0x42e0), "{text}");
        }
        for text in ["42001f", "42801f", "58801f"] {
            assert_eq!(profile(text), Some(0x4200), "{text}");
        }
        assert_eq!(profile("4d001f"), Some(0x4d00));
        assert_eq!(profile("4d401f"), Some(0x4d00));
        assert_eq!(profile("64001f"), Some(0x6400));
        assert_eq!(profile("640c1f"), Some(0x640c));
        assert_eq!(h264_profile(None), Some(0x4200));
        for text in ["", "42e0", "42e01f00", "42e01g", "+2e01f"] {
            assert_eq!(profile(text), None, "{text}");
        }
    }

    #[test]
    fn h264_without_parameters_is_baseline_in_single_nal_mode() {
        let expected = Codec::H264 {
            profile: 0x4200,
            packetization_mode: 0,
        };
        assert_eq!(
            video("96", &["rtpmap:96 H264/90000"]),
            vec![(96, expected, None)]
        );
        assert_eq!(
            video(
                "96",
                &["rtpmap:96 H264/90000", "fmtp:96 packetization-mode=2"]
            ),
            vec![]
        );
    }

    #[test]
    fn av1_and_h265_have_a_profile_and_what_cannot_be_forwarded_is_left_out() {
        let lines = [
            "rtpmap:45 AV1/90000",
            "fmtp:45 level-idx=5;profile=1;tier=0",
            "rtpmap:46 av1/90000",
            "rtpmap:47 H265/90000",
            "fmtp:47 level-id=93;profile-id=2;tier-flag=0;tx-mode=SRST",
            "rtpmap:48 H265/90000",
            "rtpmap:49 H265/90000",
            "fmtp:49 tx-mode=MRMT",
            "rtpmap:50 AV1/90000",
            "fmtp:50 profile=x",
        ];
        let expected = vec![
            (45, Codec::Av1 { profile: 1 }, None),
            (46, Codec::Av1 { profile: 0 }, None),
            (47, Codec::H265 { profile: 2 }, None),
            (48, Codec::H265 { profile: 1 }, None),
        ];
        assert_eq!(video("45 46 47 48 49 50", &lines), expected);
    }

    #[test]
    fn pcm_needs_no_rtpmap_and_a_payload_type_that_has_one_means_what_it_says() {
        let audio = |formats: &str, lines: &str| {
            let text = format!("v=0\nm=audio 9 UDP/TLS/RTP/SAVPF {formats}\n{lines}");
            let description = Description::parse(&text).unwrap();
            let found = read(&description.media[0], Kind::Audio).into_iter();
            found
                .map(|c| (c.pt, c.codec, c.rtpmap.to_owned()))
                .collect::<Vec<_>>()
        };
        let expected = vec![
            (8, Codec::Pcma, "PCMA/8000".to_owned()),
            (0, Codec::Pcmu, "PCMU/8000".to_owned()),
        ];
        assert_eq!(audio("8 0 9 13", ""), expected);
        let opus = vec![(0, Codec::Opus, "opus/48000/2".to_owned())];
        assert_eq!(audio("0", "a=rtpmap:0 opus/48000/2\n"), opus);
        assert_eq!(audio("96", "a=rtpmap:96 PCMU/16000\n"), vec![]);
        assert_eq!(video("0 8", &[]), vec![], "audio is no video");
    }

    #[test]
    fn wildcard_feedback_counts_for_all() {
        let text = "v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\na=rtcp-fb:* nack\n\
                    a=rtcp-fb:96 nack pli\n";
        let description = Description::parse(text).unwrap();
        let feedback = read(&description.media[0], Kind::Video)[0].feedback;
        assert_eq!(
            feedback,
            Feedback {
                nack: true,
                pli: true,
                ..Feedback::default()
            }
        );
    }
}
