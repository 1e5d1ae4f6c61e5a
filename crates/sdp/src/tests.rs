//! Whole offers, from real browsers and others, through [`answer`] and [`negotiated`].

mod foreign;
mod hostile;
mod pull;

use rekindle_ids::{IcePassword, Role, Ufrag};

use super::*;

macro_rules! fixtures {
    ($($name:ident = $file:literal;)*) => {
        $(const $name: &str = include_str!(concat!("testdata/", $file));)*
        const ALL: &[&str] = &[$($name),*];
    };
}

fixtures! {
    CHROMIUM_PUBLISH = "chromium-156-publish.sdp";
    CHROMIUM_PUBLISH_DEFAULT = "chromium-156-publish-default-bundle.sdp";
    CHROMIUM_PUBLISH_INACTIVE = "chromium-156-publish-video-and-inactive-audio.sdp";
    CHROMIUM_PUBLISH_SIMULCAST = "chromium-156-publish-simulcast.sdp";
    CHROMIUM_WATCH = "chromium-156-watch.sdp";
    CHROMIUM_WATCH_MANY = "chromium-156-watch-many.sdp";
    FIREFOX_PUBLISH = "firefox-153-publish.sdp";
    FIREFOX_PUBLISH_DEFAULT = "firefox-153-publish-default-bundle.sdp";
    FIREFOX_PUBLISH_INACTIVE = "firefox-153-publish-video-and-inactive-audio.sdp";
    FIREFOX_PUBLISH_SIMULCAST = "firefox-153-publish-simulcast.sdp";
    FIREFOX_WATCH = "firefox-153-watch.sdp";
    FIREFOX_WATCH_MANY = "firefox-153-watch-many.sdp";
    OBS_PUBLISH = "obs-publish.handmade.sdp";
    GSTREAMER_PUBLISH = "gstreamer-publish.handmade.sdp";
    PION_WATCH = "pion-watch.handmade.sdp";
    SAFARI_PUBLISH = "safari-18-publish.handmade.sdp";
    SAFARI_WATCH = "safari-18-watch.handmade.sdp";
}

const PUBLISHERS: &[&str] = &[
    CHROMIUM_PUBLISH,
    CHROMIUM_PUBLISH_DEFAULT,
    CHROMIUM_PUBLISH_INACTIVE,
    CHROMIUM_PUBLISH_SIMULCAST,
    FIREFOX_PUBLISH,
    FIREFOX_PUBLISH_DEFAULT,
    FIREFOX_PUBLISH_INACTIVE,
    FIREFOX_PUBLISH_SIMULCAST,
    OBS_PUBLISH,
    GSTREAMER_PUBLISH,
    SAFARI_PUBLISH,
];
const VIEWERS: &[&str] = &[
    CHROMIUM_WATCH,
    CHROMIUM_WATCH_MANY,
    FIREFOX_WATCH,
    FIREFOX_WATCH_MANY,
    PION_WATCH,
    SAFARI_WATCH,
];

const CONSTRAINED_BASELINE: Codec = Codec::H264 {
    profile: 0x42e0,
    packetization_mode: 1,
};

fn try_answer(role: Role, offer: &str, source: Option<&[Codec]>) -> Result<String, SdpError> {
    let source = source.map(|codecs| Source {
        codecs: codecs.to_vec(),
        streams: vec![],
    });
    answer_with(role, offer, source.as_ref())
}

fn answer_with(role: Role, offer: &str, source: Option<&Source>) -> Result<String, SdpError> {
    answer_over(role, offer, source, false)
}

fn answer_over(
    role: Role,
    offer: &str,
    source: Option<&Source>,
    tcp: bool,
) -> Result<String, SdpError> {
    let ice = IceCredentials {
        ufrag: Ufrag::new("serverufrag1").unwrap(),
        pwd: IcePassword::new("serverpassword0123456789".into()),
    };
    let addresses = [
        "192.0.2.1:3478".parse().unwrap(),
        "[2001:db8::1]:3478".parse().unwrap(),
    ];
    let local = Local {
        ice: &ice,
        fingerprint_sha256: &[0xab; 32],
        addresses: &addresses,
        tcp,
        session_id: u64::MAX,
    };
    let answer = answer(role, offer, source, &local)?;
    // A later boot reads the same out of the two texts.
    assert_eq!(
        negotiated(role, offer, &answer.text).as_ref(),
        Ok(&answer.negotiated)
    );
    Ok(answer.text)
}

#[test]
fn candidates_of_tcp_are_passive_and_after_all_of_udp() {
    let text = answer_over(Role::Publisher, CHROMIUM_PUBLISH, None, true).unwrap();
    let first = text.split("\r\nm=").nth(1).unwrap();
    let candidates: Vec<_> = first
        .lines()
        .filter(|l| l.starts_with("a=candidate"))
        .collect();
    assert_eq!(
        candidates,
        [
            "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host",
            "a=candidate:2 1 udp 2130706175 2001:db8::1 3478 typ host",
            "a=candidate:3 1 tcp 1520435199 192.0.2.1 3478 typ host tcptype passive",
            "a=candidate:4 1 tcp 1520434943 2001:db8::1 3478 typ host tcptype passive",
        ]
    );
}

fn publish(offer: &str) -> (String, Negotiated) {
    let text = try_answer(Role::Publisher, offer, None).unwrap();
    let agreed = negotiated(Role::Publisher, offer, &text).unwrap();
    (text, agreed)
}

fn watch(offer: &str, source: &[Codec]) -> (String, Negotiated) {
    let text = try_answer(Role::Viewer, offer, Some(source)).unwrap();
    let agreed = negotiated(Role::Viewer, offer, &text).unwrap();
    (text, agreed)
}

fn codecs_of(agreed: &Negotiated, kind: Kind) -> Vec<Codec> {
    let media = agreed
        .media
        .iter()
        .find(|m| m.kind == kind)
        .expect("the kind was agreed");
    media.payloads.iter().map(|p| p.codec.clone()).collect()
}

fn lines_with<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|l| l.starts_with(start)).collect()
}

#[test]
fn every_fixture_belongs_to_a_role() {
    assert_eq!(ALL.len(), PUBLISHERS.len() + VIEWERS.len());
}

#[test]
fn a_chromium_publisher_gets_one_codec_a_kind_with_everything_it_takes_to_send_well() {
    let (text, agreed) = publish(CHROMIUM_PUBLISH);
    assert_eq!(
        lines_with(&text, "m="),
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "m=video 9 UDP/TLS/RTP/SAVPF 96 97"
        ]
    );
    assert_eq!(lines_with(&text, "a=group"), ["a=group:BUNDLE 0 1"]);
    assert_eq!(lines_with(&text, "a=recvonly").len(), 2);
    let feedback = ["transport-cc", "nack", "nack pli"].map(|f| format!("a=rtcp-fb:96 {f}"));
    assert_eq!(lines_with(&text, "a=rtcp-fb:96"), feedback);
    assert_eq!(
        lines_with(&text, "a=fmtp:111"),
        ["a=fmtp:111 minptime=10;useinbandfec=1"]
    );

    let video = &agreed.media[1];
    let payload = Payload {
        pt: 96,
        codec: Codec::Vp8,
        rtx: Some(97),
        nack: true,
        pli: true,
        transport_cc: true,
        remb: false,
    };
    assert_eq!(video.payloads, [payload]);
    assert_eq!(
        video.ssrcs,
        [Ssrc {
            media: 4_126_280_806,
            rtx: Some(2_974_185_618)
        }]
    );
    let extensions = Extensions {
        mid: Some(4),
        transport_cc: Some(3),
        abs_send_time: Some(2),
        video_orientation: Some(13),
        audio_level: None,
        dependency_descriptor: None,
    };
    assert_eq!(video.extensions, extensions);
    assert_eq!(agreed.media[0].extensions.audio_level, Some(1));
    assert_eq!(
        agreed.media[0].ssrcs,
        [Ssrc {
            media: 3_768_221_923,
            rtx: None
        }]
    );
    assert_eq!(agreed.fingerprints.len(), 1);
    assert_eq!(agreed.fingerprints[0].digest[..4], [0x62, 0x1b, 0xbb, 0x47]);
    assert_eq!(
        agreed.address, None,
        "the browser's own candidates are not looked at"
    );
}

#[test]
fn a_firefox_publisher_with_a_bundle_only_section_is_taken_whole() {
    let (text, agreed) = publish(FIREFOX_PUBLISH);
    assert_eq!(
        lines_with(&text, "m="),
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 109",
            "m=video 9 UDP/TLS/RTP/SAVPF 120 124"
        ]
    );
    assert_eq!(
        agreed.media[1].ssrcs,
        [Ssrc {
            media: 2_859_232_154,
            rtx: Some(2_460_690_039)
        }]
    );
    assert_eq!(agreed.media[1].extensions.transport_cc, Some(7));
    assert_eq!(
        lines_with(&text, "a=extmap-allow-mixed").len(),
        2,
        "offered in the sections, answered there"
    );
}

#[test]
fn remb_is_agreed_only_without_transport_cc() {
    let (text, agreed) = publish(OBS_PUBLISH);
    let video = &agreed.media[1].payloads[0];
    assert_eq!(
        (video.remb, video.transport_cc, video.codec.clone()),
        (true, false, CONSTRAINED_BASELINE)
    );
    assert_eq!(video.rtx, None);
    assert!(
        lines_with(&text, "a=fmtp:111")[0].contains("stereo=1"),
        "Opus parameters come back as offered"
    );
    // Feedback without the header extension is of no use, so REMB stays.
    let half = CHROMIUM_PUBLISH.replace(
        "transport-wide-cc-extensions-01",
        "transport-wide-cc-extensions-99",
    );
    let (_, agreed) = publish(&half);
    let video = &agreed.media[1];
    assert_eq!(
        (video.payloads[0].remb, video.payloads[0].transport_cc),
        (true, false)
    );
    assert_eq!(video.extensions.transport_cc, None);
}

#[test]
fn the_publishers_first_forwardable_codec_wins() {
    let (_, agreed) = publish(SAFARI_PUBLISH);
    assert_eq!(
        codecs_of(&agreed, Kind::Video),
        [Codec::H264 {
            profile: 0x640c,
            packetization_mode: 1
        }]
    );
    let av1_first = CHROMIUM_PUBLISH.replace("SAVPF 96 97 102", "SAVPF 45 46 98 99 96 97 102");
    assert_eq!(
        codecs_of(&publish(&av1_first).1, Kind::Video),
        [Codec::Av1 { profile: 0 }]
    );
}

#[test]
fn h265_is_taken_where_a_publisher_has_nothing_else() {
    let (head, rest) = CHROMIUM_PUBLISH
        .split_once("m=video 9 UDP/TLS/RTP/SAVPF")
        .expect("a video section");
    let (formats, rest) = rest.split_once("\r\n").expect("its formats");
    let video = "m=video 9 UDP/TLS/RTP/SAVPF";
    let both = format!("{head}{video} 49{formats}\r\na=rtpmap:49 H265/90000\r\n{rest}");
    let alone = format!("{head}{video} 49\r\na=rtpmap:49 H265/90000\r\n{rest}");
    assert_eq!(codecs_of(&publish(&both).1, Kind::Video), [Codec::Vp8]);
    assert_eq!(
        codecs_of(&publish(&alone).1, Kind::Video),
        [Codec::H265 { profile: 1 }]
    );
}

#[test]
fn a_dependency_descriptor_needs_elements_of_both_forms() {
    let id = "a=extmap:12 https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension\r\na=sendonly";
    let of = |offer: &str| {
        let (head, video) = offer.split_once("m=video").expect("a video section");
        let offer = format!("{head}m=video{}", video.replacen("a=sendonly", id, 1));
        let (text, agreed) = publish(&offer);
        let video = agreed
            .media
            .iter()
            .find(|m| m.kind == Kind::Video)
            .expect("video");
        assert_eq!(
            text.contains("a=extmap:12"),
            video.extensions.dependency_descriptor.is_some()
        );
        video.extensions.dependency_descriptor
    };
    assert_eq!(of(CHROMIUM_PUBLISH), Some(12));
    assert_eq!(
        of(&CHROMIUM_PUBLISH.replace("a=extmap-allow-mixed\r\n", "")),
        None
    );
}

#[test]
fn mids_order_and_kinds_follow_the_offer() {
    let (text, agreed) = publish(GSTREAMER_PUBLISH);
    assert_eq!(
        lines_with(&text, "a=group"),
        ["a=group:BUNDLE video0 audio1"]
    );
    let mids: Vec<(Kind, &str)> = agreed
        .media
        .iter()
        .map(|m| (m.kind, m.mid.as_str()))
        .collect();
    assert_eq!(mids, [(Kind::Video, "video0"), (Kind::Audio, "audio1")]);
    assert_eq!(codecs_of(&agreed, Kind::Video), [CONSTRAINED_BASELINE]);
}

#[test]
fn an_inactive_section_stays_in_the_bundle_and_out_of_the_media() {
    for offer in [CHROMIUM_PUBLISH_INACTIVE, FIREFOX_PUBLISH_INACTIVE] {
        let (text, agreed) = publish(offer);
        assert_eq!(lines_with(&text, "a=group"), ["a=group:BUNDLE 0 1"]);
        assert_eq!(lines_with(&text, "a=inactive").len(), 1);
        assert!(lines_with(&text, "m=").iter().all(|l| l.contains(" 9 ")));
        assert_eq!(agreed.media.len(), 1);
        assert_eq!(agreed.media[0].kind, Kind::Video);
    }
}

#[test]
fn a_viewer_gets_all_codecs_with_the_sources_first() {
    let (text, agreed) = watch(CHROMIUM_WATCH, &[Codec::Opus, CONSTRAINED_BASELINE]);
    let codecs = codecs_of(&agreed, Kind::Video);
    assert_eq!(codecs[0], CONSTRAINED_BASELINE);
    assert!(codecs.contains(&Codec::Vp8) && codecs.contains(&Codec::Vp9 { profile: 2 }));
    let video = agreed.media.iter().find(|m| m.kind == Kind::Video).unwrap();
    for payload in &video.payloads {
        assert!(
            payload.rtx.is_some() && payload.nack && payload.pli,
            "{payload:?}"
        );
        assert!(!payload.transport_cc && !payload.remb, "{payload:?}");
    }
    let m_line = lines_with(&text, "m=video")[0];
    assert!(
        m_line.starts_with("m=video 9 UDP/TLS/RTP/SAVPF 108 109 96 97 "),
        "{m_line}"
    );
    assert_eq!(video.extensions.transport_cc, None);
    assert_eq!(video.extensions.mid, Some(4));
    assert_eq!(
        lines_with(&text, "a=msid"),
        [
            "a=msid:rekindle rekindle-audio",
            "a=msid:rekindle rekindle-video"
        ]
    );
    assert_eq!(lines_with(&text, "a=sendonly").len(), 2);
}

#[test]
fn a_viewer_is_told_the_publishers_streams_and_they_are_read_back() {
    let stream = |kind, media, rtx| Stream {
        kind,
        ssrc: Ssrc { media, rtx },
    };
    let source = Source {
        codecs: vec![],
        streams: vec![
            stream(Kind::Audio, 10, None),
            stream(Kind::Video, 20, Some(21)),
        ],
    };
    for offer in VIEWERS {
        let text = answer_with(Role::Viewer, offer, Some(&source)).unwrap();
        let (audio, video) = (section_of(&text, "audio"), section_of(&text, "video"));
        assert_eq!(lines_with(audio, "a=ssrc"), ["a=ssrc:10 cname:rekindle"]);
        let expected = [
            "a=ssrc-group:FID 20 21",
            "a=ssrc:20 cname:rekindle",
            "a=ssrc:21 cname:rekindle",
        ];
        assert_eq!(lines_with(video, "a=ssrc"), expected);
        let agreed = negotiated(Role::Viewer, offer, &text).unwrap();
        // In the offer's order of sections.
        let mut read = agreed.streams();
        read.sort_by_key(|stream| stream.ssrc.media);
        assert_eq!(read, source.streams);
        assert!(
            !watch(offer, &[]).0.contains("a=ssrc"),
            "what is not known is not told"
        );
    }
}

/// The first m-section of a kind that was not rejected.
fn section_of<'a>(text: &'a str, kind: &str) -> &'a str {
    let start = format!("{kind} 9 ");
    text.split("\r\nm=")
        .find(|section| section.starts_with(&start))
        .unwrap()
}

#[test]
fn a_viewer_that_cannot_take_the_source_is_told_the_codec() {
    let error = try_answer(
        Role::Viewer,
        FIREFOX_WATCH,
        Some(&[Codec::Opus, CONSTRAINED_BASELINE]),
    )
    .unwrap_err();
    let SdpError::SourceCodec {
        kind: Kind::Video, ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("H.264 (profile 42e0"), "{error}");
    // One of several is enough, and a source without video asks nothing of the video section.
    assert!(
        try_answer(
            Role::Viewer,
            FIREFOX_WATCH,
            Some(&[CONSTRAINED_BASELINE, Codec::Vp8])
        )
        .is_ok()
    );
    assert!(try_answer(Role::Viewer, FIREFOX_WATCH, Some(&[Codec::Opus])).is_ok());
}

#[test]
fn further_sections_and_data_channels_are_rejected_in_place() {
    for (offer, audio_pt) in [(CHROMIUM_WATCH_MANY, 111), (FIREFOX_WATCH_MANY, 109)] {
        let (text, agreed) = watch(offer, &[]);
        let lines = lines_with(&text, "m=");
        assert_eq!(lines.len(), 5);
        assert!(lines[0].starts_with("m=video 9 "));
        assert_eq!(
            lines[1],
            format!("m=audio 9 UDP/TLS/RTP/SAVPF {audio_pt} 0 8")
        );
        assert!(lines[2].starts_with("m=video 0 ") && lines[3].starts_with("m=audio 0 "));
        assert_eq!(lines[4], "m=application 0 UDP/DTLS/SCTP webrtc-datachannel");
        assert_eq!(lines_with(&text, "a=group"), ["a=group:BUNDLE 0 1"]);
        assert_eq!(
            lines_with(&text, "a=mid"),
            ["a=mid:0", "a=mid:1", "a=mid:2", "a=mid:3", "a=mid:4"]
        );
        assert_eq!(agreed.media.len(), 2);
    }
}

#[test]
fn the_server_is_ice_lite_and_the_dtls_server_in_every_section() {
    for offer in PUBLISHERS {
        let (text, _) = publish(offer);
        let session = text.split("m=").next().unwrap();
        assert!(session.contains("a=ice-lite\r\n") && session.contains("a=ice-options:ice2\r\n"));
        assert!(session.contains(&format!("o=- {} 1 IN IP4 127.0.0.1\r\n", i64::MAX)));
        for section in text.split("\r\nm=").skip(1) {
            for line in [
                "a=ice-ufrag:serverufrag1\r\n",
                "a=ice-pwd:serverpassword0123456789\r\n",
                "a=fingerprint:sha-256 AB:AB:AB:",
                "a=setup:passive\r\n",
                "a=rtcp-mux\r\n",
                "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host\r\n",
                "a=candidate:2 1 udp 2130706175 2001:db8::1 3478 typ host\r\n",
                "a=end-of-candidates\r\n",
            ] {
                assert!(section.contains(line), "{line} is missing in {section}");
            }
        }
    }
}

#[test]
fn answers_are_valid_for_an_independent_parser() {
    for (role, offers) in [(Role::Publisher, PUBLISHERS), (Role::Viewer, VIEWERS)] {
        for offer in offers {
            let text = try_answer(role, offer, None).unwrap();
            let read =
                rtc_sdp::SessionDescription::unmarshal(&mut std::io::Cursor::new(&text)).unwrap();
            assert_eq!(read.marshal(), text);
        }
    }
}

#[test]
fn what_was_agreed_survives_a_new_address() {
    for (role, offers) in [(Role::Publisher, PUBLISHERS), (Role::Viewer, VIEWERS)] {
        for offer in offers {
            let text = try_answer(role, offer, None).unwrap();
            let before = negotiated(role, offer, &text).unwrap();
            let mut kept = (*offer).to_owned();
            for address in ["192.0.2.99:40000", "[2001:db8::99]:40001"] {
                let address = address.parse().unwrap();
                kept = with_address(&kept, address);
                let after = negotiated(role, &kept, &text).unwrap();
                assert_eq!(
                    after,
                    Negotiated {
                        address: Some(address),
                        ..before.clone()
                    }
                );
            }
        }
    }
}

#[test]
fn a_strong_fingerprint_beside_a_weak_one_is_enough() {
    let sha1 = format!(
        "a=fingerprint:sha-1 {}\r\na=fingerprint:sha-256",
        fingerprint::write(&[1; 20])
    );
    let (_, agreed) = publish(&CHROMIUM_PUBLISH.replace("a=fingerprint:sha-256", &sha1));
    assert_eq!(
        agreed.fingerprints,
        publish(CHROMIUM_PUBLISH).1.fingerprints
    );
}

#[test]
fn an_answer_of_another_offer_is_noticed() {
    let of_chromium = publish(CHROMIUM_PUBLISH).0;
    let of_watch = watch(CHROMIUM_WATCH_MANY, &[]).0;
    for text in [of_watch.as_str(), "v=0\r\n"] {
        assert_eq!(
            negotiated(Role::Publisher, FIREFOX_PUBLISH, text),
            Err(SdpError::AnswerMismatch)
        );
    }
    assert_eq!(
        negotiated(Role::Publisher, FIREFOX_PUBLISH, &of_chromium),
        Err(SdpError::AnswerMismatch)
    );
}
