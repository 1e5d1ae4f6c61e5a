//! Offers as text, in the manner of a browser.

use std::fmt::Write;

use rekindle_ids::Role;

use crate::association::Certificate;
use crate::random::Random;

/// What an offer is made of.
#[derive(Debug, Clone)]
pub struct OfferOptions {
    /// Video codecs by rtpmap name, the first preferred: `VP8`, `VP9`, `H264`.
    pub video: Vec<&'static str>,
    /// Publishers: SSRCs as (audio, video, RTX of video); drawn where absent.
    pub ssrcs: Option<(u32, u32, u32)>,
    /// The first header extension id; others follow. Publisher and viewer differ in it, as browsers
    /// do.
    pub first_extension: u8,
    /// The first payload type; RTX follows each codec.
    pub first_payload_type: u8,
    /// Transport-wide congestion control is offered; else only REMB.
    pub transport_cc: bool,
    /// It is a page's, which renews its keys after a restart; else a plain client's.
    pub renews: bool,
}

impl OfferOptions {
    /// As a page offers.
    pub fn new(role: Role) -> Self {
        let (first_extension, first_payload_type) = match role {
            Role::Publisher => (1, 96),
            Role::Viewer => (5, 100),
        };
        Self {
            video: vec!["VP8", "VP9", "H264"],
            ssrcs: None,
            first_extension,
            first_payload_type,
            transport_cc: true,
            renews: true,
        }
    }
}

struct Transport<'a> {
    ufrag: &'a str,
    pwd: &'a str,
    fingerprint: &'a [u8],
}

/// An offer, and what it was made from.
pub struct Offered {
    /// Of the client.
    pub role: Role,
    /// The offer.
    pub sdp: String,
    /// Whose fingerprint is in it.
    pub certificate: Certificate,
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// Of audio, of video, and of the RTX of video.
    pub ssrcs: (u32, u32, u32),
}

impl Offered {
    /// Draws what is not given. A viewer offers no SSRCs.
    pub fn new(role: Role, mut options: OfferOptions, random: &mut Random) -> Self {
        let certificate = Certificate::new();
        let (ufrag, pwd) = (random.text(4), random.text(24));
        let mut draw = || random.draw() as u32;
        let drawn = (draw(), draw(), draw());
        let ssrcs = options.ssrcs.unwrap_or(drawn);
        options.ssrcs = (role == Role::Publisher).then_some(ssrcs);
        let transport = Transport {
            ufrag: &ufrag,
            pwd: &pwd,
            fingerprint: &certificate.sha256(),
        };
        Self {
            role,
            sdp: offer(role, &options, &transport),
            certificate,
            ufrag,
            pwd,
            ssrcs,
        }
    }
}

/// Writes an offer with one audio and one video section, bundled.
fn offer(role: Role, options: &OfferOptions, transport: &Transport<'_>) -> String {
    let direction = match role {
        Role::Publisher => "sendonly",
        Role::Viewer => "recvonly",
    };
    let digest: Vec<String> = transport
        .fingerprint
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect();
    let common = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {}\r\n\
         a=setup:actpass\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n",
        transport.ufrag,
        transport.pwd,
        digest.join(":")
    );
    let id = options.first_extension;
    let extensions = [
        "urn:ietf:params:rtp-hdrext:sdes:mid",
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    ];
    let mut both = String::new();
    for (n, uri) in (id..).zip(extensions) {
        write!(both, "a=extmap:{n} {uri}\r\n").expect("writing to a String");
    }

    let mut text =
        "v=0\r\no=- 42 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n".to_owned();
    if options.renews {
        text.push_str("a=tool:rekindle\r\n");
    }
    write!(
        text,
        "m=audio 9 UDP/TLS/RTP/SAVPF 60 0\r\n{common}a=mid:0\r\n{both}a=extmap:{} \
         urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtpmap:60 opus/48000/2\r\n\
         a=rtcp-fb:60 transport-cc\r\n\
         a=fmtp:60 minptime=10;useinbandfec=1\r\na=rtpmap:0 PCMU/8000\r\n",
        id + 3
    )
    .expect("writing to a String");
    if let Some((audio, ..)) = options.ssrcs {
        write!(text, "a=ssrc:{audio} cname:camera\r\n").expect("writing to a String");
    }

    let mut codecs = String::new();
    let mut formats = String::new();
    for (pt, name) in (options.first_payload_type..)
        .step_by(2)
        .zip(&options.video)
    {
        let rtx = pt + 1;
        write!(formats, " {pt} {rtx}").expect("writing to a String");
        write!(codecs, "a=rtpmap:{pt} {name}/90000\r\n").expect("writing to a String");
        for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
            write!(codecs, "a=rtcp-fb:{pt} {feedback}\r\n").expect("writing to a String");
        }
        match *name {
            "H264" => write!(
                codecs,
                "a=fmtp:{pt} packetization-mode=1;profile-level-id=42e01f\r\n"
            )
            .expect("writing to a String"),
            "VP9" => write!(codecs, "a=fmtp:{pt} profile-id=0\r\n").expect("writing to a String"),
            _ => {}
        }
        write!(
            codecs,
            "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n"
        )
        .expect("writing to a String");
    }
    write!(
        text,
        "m=video 9 UDP/TLS/RTP/SAVPF{formats}\r\n{common}a=mid:1\r\n\
         {both}a=extmap:{} urn:3gpp:video-orientation\r\n{codecs}",
        id + 4
    )
    .expect("writing to a String");
    if let Some((_, video, rtx)) = options.ssrcs {
        write!(
            text,
            "a=ssrc-group:FID {video} {rtx}\r\na=ssrc:{video} cname:camera\r\n\
             a=ssrc:{rtx} cname:camera\r\n"
        )
        .expect("writing to a String");
    }
    if !options.transport_cc {
        let lines = text
            .split_inclusive('\n')
            .filter(|line| !line.contains("transport-"));
        return lines.collect();
    }
    text
}
