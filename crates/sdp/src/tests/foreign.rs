//! Offers as other people's clients write them, which are right and look unlike a browser's.

use super::*;

const HIGH: u16 = 0x6400;

fn h264(profile: u16, packetization_mode: u8) -> Codec {
    Codec::H264 {
        profile,
        packetization_mode,
    }
}

/// A section of a handmade offer.
fn section(media: &str, formats: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("a={line}\r\n")).collect();
    format!("m={media} {formats}\r\nc=IN IP4 0.0.0.0\r\n{lines}")
}

fn transport() -> Vec<String> {
    vec![
        "ice-ufrag:abcd".into(),
        "ice-pwd:0123456789abcdefghijkl".into(),
        format!("fingerprint:sha-256 {}", fingerprint::write(&[9; 32])),
        "setup:actpass".into(),
        "rtcp-mux".into(),
    ]
}

/// An offer with these session lines and sections.
fn offer(session: &[&str], sections: &[String]) -> String {
    let lines: String = session.iter().map(|line| format!("a={line}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{lines}{}",
        sections.concat()
    )
}

fn audio(lines: &[&str]) -> String {
    section(
        "audio",
        "9 UDP/TLS/RTP/SAVPF 111",
        &[lines, &["rtpmap:111 opus/48000/2"]].concat(),
    )
}

fn video(port: u16, lines: &[&str]) -> String {
    section(
        "video",
        &format!("{port} UDP/TLS/RTP/SAVPF 96"),
        &[lines, &["rtpmap:96 VP8/90000"]].concat(),
    )
}

/// Both roles take it, each in its direction.
fn taken(text: &str) -> [(String, Negotiated); 2] {
    [(Role::Publisher, "sendonly"), (Role::Viewer, "recvonly")].map(|(role, direction)| {
        let text = text.replace("a=sendonly", &format!("a={direction}"));
        let answer = try_answer(role, &text, None)
            .unwrap_or_else(|error| panic!("{role:?}: {error}\n{text}"));
        let agreed = negotiated(role, &text, &answer).unwrap();
        (answer, agreed)
    })
}

#[test]
fn a_bundle_only_section_has_its_transport_from_the_first_one() {
    // As in RFC 9725's own figure: the second section has no ICE, fingerprint, setup or rtcp-mux of
    // its own.
    let transport = transport();
    let own: Vec<&str> = transport.iter().map(String::as_str).collect();
    let first = audio(&[&["mid:0", "sendonly"], &own[..]].concat());
    let second = video(0, &["mid:1", "bundle-only", "sendonly"]);
    for (answer, agreed) in taken(&offer(&["group:BUNDLE 0 1"], &[first, second])) {
        assert_eq!(agreed.media.len(), 2);
        assert_eq!(agreed.fingerprints[0].digest, [9; 32]);
        assert_eq!(lines_with(&answer, "a=group"), ["a=group:BUNDLE 0 1"]);
    }
}

#[test]
fn a_section_that_stands_alone_needs_no_bundle_and_no_mid() {
    let transport = transport();
    let own: Vec<&str> = transport.iter().map(String::as_str).collect();
    for mid in [&["mid:video0"][..], &[]] {
        let only = video(9, &[mid, &["sendonly"], &own[..]].concat());
        for (answer, agreed) in taken(&offer(&[], &[only])) {
            assert_eq!(agreed.media.len(), 1);
            assert!(!answer.contains("BUNDLE"), "{answer}");
            assert_eq!(lines_with(&answer, "a=mid").len(), mid.len());
        }
    }
    let two = [
        audio(&[&["mid:0"], &own[..]].concat()),
        video(9, &[&["mid:1"], &own[..]].concat()),
    ];
    assert_eq!(
        try_answer(Role::Publisher, &offer(&[], &two), None),
        Err(SdpError::NoBundle)
    );
}

#[test]
fn a_data_channel_may_come_first_and_own_the_transport() {
    let transport = transport();
    let own: Vec<&str> = transport.iter().map(String::as_str).collect();
    let data = section(
        "application",
        "9 UDP/DTLS/SCTP webrtc-datachannel",
        &[&["mid:0", "sctp-port:5000"], &own[..4]].concat(),
    );
    let rest = [
        audio(&["mid:1", "bundle-only", "sendonly"]),
        video(0, &["mid:2", "bundle-only", "sendonly"]),
    ];
    let text = offer(&["group:BUNDLE 0 1 2"], &[&[data][..], &rest].concat());
    for (answer, agreed) in taken(&text) {
        assert_eq!(agreed.media.len(), 2);
        assert_eq!(lines_with(&answer, "a=group"), ["a=group:BUNDLE 1 2"]);
        assert!(answer.contains("m=application 0 "), "{answer}");
    }
}

#[test]
fn every_way_to_write_dtls_srtp_is_taken_and_repeated() {
    for proto in [
        "UDP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "RTP/SAVPF",
        "RTP/SAVP",
    ] {
        let text = CHROMIUM_PUBLISH.replace("UDP/TLS/RTP/SAVPF", proto);
        let (answer, agreed) = publish(&text);
        assert_eq!(agreed.media.len(), 2);
        assert!(
            lines_with(&answer, "m=")
                .iter()
                .all(|line| line.contains(proto)),
            "{answer}"
        );
    }
}

#[test]
fn small_differences_in_writing_do_not_matter() {
    let bom = format!("\u{feff}{CHROMIUM_PUBLISH}");
    assert_eq!(publish(&bom).1, publish(CHROMIUM_PUBLISH).1);
    let mono = CHROMIUM_PUBLISH.replace("opus/48000/2", "opus/48000");
    assert_eq!(codecs_of(&publish(&mono).1, Kind::Audio), [Codec::Opus]);
    let two = format!(
        "a=fingerprint:sha-256 {}\r\na=fingerprint:sha-256",
        fingerprint::write(&[1; 32])
    );
    let (_, agreed) = publish(&CHROMIUM_PUBLISH.replace("a=fingerprint:sha-256", &two));
    assert_eq!(agreed.fingerprints.len(), 2);
    let long = "m".repeat(36);
    let text = CHROMIUM_PUBLISH
        .replace("a=mid:1", &format!("a=mid:{long}"))
        .replace("BUNDLE 0 1", &format!("BUNDLE 0 {long}"));
    let (answer, agreed) = publish(&text);
    assert!(answer.contains(&format!("a=mid:{long}\r\n")));
    assert_eq!(
        agreed.media[1].extensions.mid, None,
        "it does not fit the header extension"
    );
    assert!(agreed.media[0].extensions.mid.is_some());
}

#[test]
fn a_publisher_that_sends_two_pictures_is_told_so() {
    let transport = transport();
    let own: Vec<&str> = transport.iter().map(String::as_str).collect();
    let sections = ["mid:0", "mid:1"].map(|mid| video(9, &[&[mid, "sendonly"], &own[..]].concat()));
    let text = offer(&["group:BUNDLE 0 1"], &sections);
    assert_eq!(
        try_answer(Role::Publisher, &text, None),
        Err(SdpError::SeveralStreams { kind: Kind::Video })
    );
}

#[test]
fn a_viewers_h264_takes_any_profile_and_the_best_one_first() {
    let line = |pt: u8, profile: &str, mode: u8| {
        format!(
            "a=rtpmap:{pt} H264/90000\r\n\
             a=fmtp:{pt} level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}\r\n"
        )
    };
    let viewer = |profiles: &[(&str, u8)]| {
        let transport = transport();
        let own: String = transport
            .iter()
            .map(|line| format!("a={line}\r\n"))
            .collect();
        let pts: Vec<u8> = (100..).take(profiles.len()).collect();
        let formats: Vec<String> = pts.iter().map(u8::to_string).collect();
        let codecs: String = pts
            .iter()
            .zip(profiles)
            .map(|(pt, (profile, mode))| line(*pt, profile, *mode))
            .collect();
        offer(
            &["group:BUNDLE 0"],
            &[format!(
                "m=video 9 UDP/TLS/RTP/SAVPF {}\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\n\
                 {own}{codecs}",
                formats.join(" ")
            )],
        )
    };
    // The viewer's profiles, what the publisher sends, and which of them comes first.
    for (profiles, sent, first) in [
        (&[("42e01f", 1)][..], h264(HIGH, 1), 100),
        (&[("640c1f", 1), ("42e01f", 1)], h264(HIGH, 1), 100),
        (&[("42e01f", 1), ("64001f", 1)], h264(0x4d00, 1), 101),
        (&[("42e01f", 1)], h264(0x4200, 1), 100),
        (&[("42e01f", 1)], h264(0x42e0, 0), 100),
        (&[("42e01f", 0), ("42e01f", 1)], h264(0x42e0, 1), 101),
        (&[("64001f", 1), ("42e01f", 1)], h264(0x42e0, 1), 101),
        (&[("64001f", 0), ("4d001f", 1)], h264(0x42e0, 1), 101),
    ] {
        let text = viewer(profiles);
        let (_, agreed) = watch(&text, std::slice::from_ref(&sent));
        assert_eq!(
            agreed.media[0].payloads[0].pt, first,
            "{profiles:?} of {sent}"
        );
    }
    assert!(try_answer(Role::Viewer, &viewer(&[("42e01f", 1)]), Some(&[Codec::Vp8])).is_err());
    assert_eq!(
        Codec::Vp9 { profile: 0 }.serves(&Codec::Vp9 { profile: 2 }),
        Some(3)
    );
    assert_eq!(Codec::Vp8.serves(&Codec::Opus), None);
}

#[test]
fn an_offerer_that_can_only_be_the_dtls_server_is_let_be_it() {
    let offer = |setup: &str| {
        let lines = transport();
        let lines: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .chain(["sendonly"])
            .collect();
        let both = [
            audio(&[&lines[..], &["mid:0"]].concat()),
            video(9, &[&lines[..], &["mid:1"]].concat()),
        ];
        offer(&["group:BUNDLE 0 1"], &both).replace("setup:actpass", &format!("setup:{setup}"))
    };
    for (setup, own) in [
        ("actpass", Setup::Passive),
        ("active", Setup::Passive),
        ("passive", Setup::Active),
    ] {
        for (answer, agreed) in taken(&offer(setup)) {
            assert_eq!(agreed.setup, own, "{setup}");
            let said = if own == Setup::Active {
                "active"
            } else {
                "passive"
            };
            assert_eq!(answer.matches(&format!("a=setup:{said}\r\n")).count(), 2);
            assert_eq!(answer.matches("a=setup:").count(), 2);
        }
    }
    // Two halves of one transport that contradict each other, and an answer that leaves the client
    // waiting.
    let mixed = offer("actpass").replacen("setup:actpass", "setup:passive", 1);
    assert_eq!(
        try_answer(Role::Publisher, &mixed, None),
        Err(SdpError::SplitTransport)
    );
    let (text, [(answer, _), _]) = (offer("actpass"), taken(&offer("actpass")));
    let turned = answer.replace("setup:passive", "setup:active");
    assert_eq!(
        negotiated(Role::Publisher, &text, &turned),
        Err(SdpError::AnswerMismatch)
    );
}
