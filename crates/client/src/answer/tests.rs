use super::*;
use crate::offer::OfferOptions;
use crate::random::Random;

#[test]
fn the_first_usable_candidate_is_taken() {
    assert_eq!(
        candidate("a=candidate:1 2 udp 1 192.0.2.1 5000 typ host"),
        None
    );
    assert_eq!(
        candidate("a=candidate:1 1 tcp 1 192.0.2.1 9 typ host tcptype active"),
        None
    );
    assert_eq!(
        candidate("a=candidate:1 1 udp 1 some-name.local 5000 typ host"),
        None
    );
    assert_eq!(
        candidate("a=candidate:1 1 UDP 2130706431 192.0.2.1 5000 typ host"),
        Some(SocketAddr::from(([192, 0, 2, 1], 5000)))
    );
}

/// As Pion writes it: the fingerprint and the DTLS role for all sections, candidates of both
/// components, a codec more than was offered.
#[test]
fn another_servers_answer_is_read() {
    let offered = crate::offer::Offered::new(
        Role::Viewer,
        OfferOptions::new(Role::Viewer),
        &mut Random::new(7),
    );
    let codec = offered
        .sdp
        .lines()
        .find_map(|line| line.strip_suffix(" VP8/90000"))
        .expect("VP8");
    let vp8 = codec.strip_prefix("a=rtpmap:").expect("a payload type");
    let digest = ["AB"; 32].join(":");
    let candidates = "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n\
                      a=candidate:1 2 udp 2130706431 192.0.2.1 5000 typ host\r\n";
    let transport = format!(
        "a=ice-ufrag:pion\r\na=ice-pwd:0123456789abcdefghijkl\r\n{candidates}a=sendonly\r\n\
         a=rtcp-mux\r\n"
    );
    let answer = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 {digest}\r\n\
         a=setup:active\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 60\r\na=mid:0\r\n{transport}a=rtpmap:60 opus/48000/2\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF {vp8} 77\r\na=mid:1\r\n\
         {transport}a=rtpmap:{vp8} VP8/90000\r\na=rtpmap:77 VP9/90000\r\n"
    );
    let read = Answer::read(Role::Viewer, &offered.sdp, &answer).expect("of use");
    assert!(!read.active);
    assert_eq!(
        (read.fingerprint, read.server),
        (vec![0xAB; 32], SocketAddr::from(([192, 0, 2, 1], 5000)))
    );
    let payloads: Vec<usize> = read
        .media
        .iter()
        .map(|media| media.payloads.len())
        .collect();
    assert_eq!(payloads, [1, 1]);
}

#[test]
fn an_answer_without_a_certificate_is_refused_by_name() {
    let error =
        Answer::read(Role::Viewer, "", "a=ice-ufrag:x\r\na=ice-pwd:y\r\n").expect_err("refused");
    assert_eq!(
        error.to_string(),
        "the server's answer has no usable a=fingerprint:sha-256"
    );
}
