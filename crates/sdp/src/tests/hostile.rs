//! Faulty, hostile and damaged offers.

use super::*;

#[test]
fn nobody_can_plant_an_address() {
    for line in [
        "a=candidate:rekindle 1 udp 1 203.0.113.5 5 typ prflx",
        "a=candidate: Rekindle 1 udp 1 203.0.113.5 5",
        "a=candidate:REKINDLE",
    ] {
        for offer in [
            CHROMIUM_PUBLISH.replacen("a=mid:0\r\n", &format!("a=mid:0\r\n{line}\r\n"), 1),
            CHROMIUM_PUBLISH.replacen("a=mid:1\r\n", &format!("a=mid:1\r\n{line}\r\n"), 1),
            CHROMIUM_PUBLISH.replacen("s=-\r\n", &format!("s=-\n{line}\n"), 1),
        ] {
            assert_eq!(
                try_answer(Role::Publisher, &offer, None),
                Err(SdpError::ReservedCandidate),
                "{line}"
            );
        }
    }
}

#[test]
fn each_fault_of_an_offer_has_its_own_answer() {
    let edit = |from: &str, to: &str| {
        assert!(
            CHROMIUM_PUBLISH.contains(from),
            "{from} is not in the fixture"
        );
        CHROMIUM_PUBLISH.replace(from, to)
    };
    let once = |from: &str, to: &str| CHROMIUM_PUBLISH.replacen(from, to, 1);
    let print = lines_with(CHROMIUM_PUBLISH, "a=fingerprint")[0].to_owned();
    let sha1 = format!("a=fingerprint:sha-1 {}", fingerprint::write(&[1; 20]));
    let other_print = format!("a=fingerprint:sha-256 {}", fingerprint::write(&[7; 32]));
    let data_only = CHROMIUM_PUBLISH.split("m=audio").next().unwrap().to_owned()
        + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n";
    let cases: Vec<(String, SdpError)> = vec![
        ("x".repeat(MAX_SDP + 1), SdpError::TooLong),
        (once("t=0 0", "t 0 0"), SdpError::Malformed { line: 4 }),
        (data_only, SdpError::NoMedia),
        (edit("UDP/TLS/RTP/SAVPF", "RTP/AVP"), SdpError::NoMedia),
        (edit("a=sendonly", "a=recvonly"), SdpError::NothingSent),
        (edit("a=group:BUNDLE 0 1\r\n", ""), SdpError::NoBundle),
        (
            edit("a=group:BUNDLE 0 1", "a=group:LS 0 1"),
            SdpError::NoBundle,
        ),
        (edit("a=mid:0\r\n", "a=mid:1\r\n"), SdpError::BadMid),
        (
            edit("a=mid:1\r\n", &format!("a=mid:{}\r\n", "m".repeat(65))),
            SdpError::BadMid,
        ),
        (
            CHROMIUM_PUBLISH
                .replace("a=mid:0\r\n", "")
                .replace("a=mid:1\r\n", ""),
            SdpError::BadMid,
        ),
        (
            once("a=rtcp-mux\r\n", ""),
            SdpError::NoRtcpMux { kind: Kind::Audio },
        ),
        (
            edit("a=ice-ufrag:hXkE\r\n", ""),
            SdpError::BadIceCredentials,
        ),
        (
            edit("a=ice-ufrag:hXkE", "a=ice-ufrag:hX E"),
            SdpError::BadIceCredentials,
        ),
        (
            edit("a=ice-pwd:qndTAADj8/zNx1OSM8E8dBID", "a=ice-pwd:short"),
            SdpError::BadIceCredentials,
        ),
        (
            once("a=ice-ufrag:hXkE", "a=ice-ufrag:other"),
            SdpError::SplitTransport,
        ),
        (once(&print, &other_print), SdpError::SplitTransport),
        (edit(&format!("{print}\r\n"), ""), SdpError::NoFingerprint),
        (edit(&print, &sha1), SdpError::WeakFingerprint),
        (
            edit(&print, &print[..print.len() - 3]),
            SdpError::BadFingerprint,
        ),
        (
            edit("a=setup:actpass", "a=setup:nonsense"),
            SdpError::BadSetup,
        ),
        (
            edit("a=setup:actpass", "a=setup:holdconn"),
            SdpError::BadSetup,
        ),
        (
            edit("opus/48000/2", "speex/48000/2")
                .replace("PCMU/", "G728/")
                .replace("PCMA/", "G722/"),
            SdpError::NoCommonCodec { kind: Kind::Audio },
        ),
        (
            CHROMIUM_PUBLISH
                .replace("SAVPF 111 63", "SAVPF 96 63")
                .replace(":111 ", ":96 "),
            SdpError::PayloadTypeConflict { pt: 96 },
        ),
        (
            once("a=extmap:2 ", "a=extmap:13 "),
            SdpError::ExtensionConflict { id: 13 },
        ),
    ];
    for (offer, expected) in cases {
        assert_eq!(try_answer(Role::Publisher, &offer, None), Err(expected));
    }
    assert_eq!(
        try_answer(Role::Viewer, CHROMIUM_PUBLISH, None),
        Err(SdpError::NothingReceived)
    );
    assert_eq!(from_bytes(&[0xff, 0xfe]), Err(SdpError::NotUtf8));
    assert_eq!(from_bytes(&vec![b'x'; MAX_SDP + 1]), Err(SdpError::TooLong));
    assert_eq!(
        from_bytes(CHROMIUM_PUBLISH.as_bytes()),
        Ok(CHROMIUM_PUBLISH)
    );
}

/// A small generator of its own (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// Neither panics, and whatever is answered can be read back, with and without an address.
fn check(role: Role, offer: &str) -> bool {
    let Ok(text) = try_answer(role, offer, None) else {
        return false;
    };
    let agreed =
        negotiated(role, offer, &text).unwrap_or_else(|e| panic!("{e:?}\n{offer}\n{text}"));
    assert!(!agreed.fingerprints.is_empty() && agreed.address.is_none());
    let address = "192.0.2.99:40000".parse().unwrap();
    let kept = with_address(offer, address);
    assert_eq!(
        negotiated(role, &kept, &text),
        Ok(Negotiated {
            address: Some(address),
            ..agreed
        }),
        "{kept}"
    );
    true
}

#[test]
fn truncated_and_mutated_offers_never_panic_and_what_is_answered_reads_back() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let pieces: Vec<&str> = ALL.iter().flat_map(|o| o.lines()).collect();
    let mut taken = 0;
    for (role, offers) in [(Role::Publisher, PUBLISHERS), (Role::Viewer, VIEWERS)] {
        for offer in offers {
            for _ in 0..20 {
                let cut = dice.below(offer.len());
                taken += usize::from(check(role, &offer[..cut]));
                // Bytes.
                let mut bytes = offer.as_bytes().to_vec();
                for _ in 0..=dice.below(4) {
                    let at = dice.below(bytes.len());
                    bytes[at] = dice.below(256) as u8;
                }
                taken += usize::from(check(role, &String::from_utf8_lossy(&bytes)));
                // Lines removed, doubled, moved, and taken from other offers.
                let mut lines: Vec<&str> = offer.lines().collect();
                for _ in 0..=dice.below(6) {
                    let (at, other) = (dice.below(lines.len()), dice.below(lines.len()));
                    match dice.below(4) {
                        0 => drop(lines.remove(at)),
                        1 => lines.insert(at, lines[other]),
                        2 => lines.swap(at, other),
                        _ => lines.insert(at, pieces[dice.below(pieces.len())]),
                    }
                }
                taken += usize::from(check(role, &lines.join("\n")));
            }
        }
    }
    assert!(
        taken > 100,
        "only {taken} mutants were answered: the test looks at too little"
    );
}

#[test]
fn the_worst_64_kib_are_dealt_with_quickly() {
    let base = CHROMIUM_PUBLISH;
    let room = MAX_SDP - base.len();
    let fill = |line: &str| format!("{base}{}", line.repeat(room / line.len()));
    let started = std::time::Instant::now();
    let mut taken = 0;
    for line in [
        "a=x\n",
        "\n",
        "a=ssrc-group:FID 1 2\n",
        "a=ssrc:1 x\n",
        "a=rtcp-fb:96 nack\n",
        "a=extmap:4 u\n",
        "a=fingerprint:sha-1 x\n",
        "a=group:BUNDLE 0\n",
        "a=fmtp:96 ;;;;;;;;;\n",
    ] {
        taken += usize::from(check(Role::Publisher, &fill(line)));
    }
    let formats = base.replacen(
        "SAVPF 96",
        &format!("SAVPF 96{}", " 96".repeat(room / 3 - 1)),
        1,
    );
    taken += usize::from(check(Role::Publisher, &formats));
    let group = base.replacen(
        "BUNDLE 0 1",
        &format!("BUNDLE{} 0 1", " 2".repeat(room / 2 - 1)),
        1,
    );
    taken += usize::from(check(Role::Publisher, &group));
    assert_eq!(taken, 11);
    // A hundred times what a slow machine needs; a quadratic step would take longer.
    assert!(
        started.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}
