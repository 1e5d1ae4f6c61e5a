//! The class of each line of a session description (RFC 8866).

use super::report::Class;

/// Whose session description it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The browser's: nearly all of it is about a person or a device.
    Offer,
    /// Ours: an address of the server is public, since browsers connect to it.
    Answer,
}

/// The class of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Such as `a=ice-pwd` or `m=`, without anything that could be a value.
    pub label: String,
    pub class: Class,
    /// Whether the auditor knows this kind of line.
    pub known: bool,
}

/// Attributes that browsers and this server write, from RFC 8866, 8839, 8829, 8122, 3264, 4585,
/// 5576, 5888, 8285, 5761, 8858, 8841, 8830, 8853, 8851, 4568 (`crypto`) and libwebrtc.
const KNOWN: &[&str] = &[
    "bundle-only",
    "candidate",
    "charset",
    "crypto",
    "cat",
    "dtls-message",
    "end-of-candidates",
    "extmap",
    "extmap-allow-mixed",
    "fingerprint",
    "fmtp",
    "framerate",
    "group",
    "ice-lite",
    "ice-options",
    "ice-pacing",
    "ice-pwd",
    "ice-ufrag",
    "identity",
    "imageattr",
    "inactive",
    "keywds",
    "label",
    "lang",
    "max-message-size",
    "maxptime",
    "mid",
    "msid",
    "msid-semantic",
    "orient",
    "ptime",
    "quality",
    "rcvonly",
    "recvonly",
    "remote-candidates",
    "rid",
    "rtcp",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-mux-only",
    "rtcp-rsize",
    "rtcp-xr",
    "rtpmap",
    "sctp-port",
    "sctpmap",
    "sdplang",
    "sendonly",
    "sendrecv",
    "setup",
    "simulcast",
    "ssrc",
    "ssrc-group",
    "tls-id",
    "tool",
    "type",
    "x-google-flag",
];

/// Judges a line, with or without its line break. `None`: it is not a line of a session
/// description.
pub(super) fn judge(side: Side, line: &str) -> Option<Line> {
    let line = line.trim_end_matches(['\r', '\n']);
    let (kind, value) = line.split_once('=')?;
    let [kind @ b'a'..=b'z'] = kind.as_bytes() else {
        return None;
    };
    let otherwise = if side == Side::Offer {
        Class::PersonalData
    } else {
        Class::Public
    };
    let kind = char::from(*kind);
    if kind != 'a' {
        // k= carried keys (RFC 4566 §5.12, removed by RFC 8866).
        let class = if kind == 'k' {
            Class::Forbidden
        } else {
            otherwise
        };
        return Some(Line {
            label: format!("{kind}="),
            class,
            known: "abcikmoprstuvz".contains(kind),
        });
    }
    let name = value.split(':').next().unwrap_or_default();
    let class = match name {
        // RFC 4568: SRTP keys in the session description.
        "crypto" => Class::Forbidden,
        "ice-pwd" => Class::Credential,
        _ => otherwise,
    };
    let harmless = name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let label = if harmless {
        format!("a={name}")
    } else {
        "a=?".to_owned()
    };
    Some(Line {
        label,
        class,
        known: KNOWN.contains(&name),
    })
}

/// The certificate that an answer names in its first `a=fingerprint:sha-256` line, in small
/// hexadecimal digits.
pub(super) fn certificate(answer: &str) -> Option<String> {
    let value = answer
        .lines()
        .find_map(|line| line.strip_prefix("a=fingerprint:sha-256 "))?;
    let digits: String = value.trim().split(':').collect();
    let is_digest = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then(|| digits.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_a_session_description_are_forbidden_and_passwords_are_credentials() {
        for (side, line, class) in [
            (
                Side::Offer,
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc\r\n",
                Class::Forbidden,
            ),
            (Side::Answer, "a=crypto:1 x\n", Class::Forbidden),
            (Side::Answer, "k=clear:secret", Class::Forbidden),
            (Side::Offer, "a=ice-pwd:abc\r\n", Class::Credential),
            (Side::Answer, "a=ice-pwd:abc\r\n", Class::Credential),
            (
                Side::Offer,
                "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",
                Class::PersonalData,
            ),
            (
                Side::Answer,
                "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",
                Class::Public,
            ),
            (
                Side::Offer,
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
                Class::PersonalData,
            ),
        ] {
            let judged = judge(side, line).expect("a line");
            assert_eq!(judged.class, class, "{line}");
            assert!(judged.known || line.starts_with('k'), "{line}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_and_never_shown() {
        let judged = judge(Side::Answer, "a=x-secret:0123\r\n").expect("a line");
        assert_eq!((judged.label.as_str(), judged.known), ("a=x-secret", false));
        assert_eq!(
            judge(Side::Answer, "a=\u{1b}[31m").expect("a line").label,
            "a=?"
        );
        assert_eq!(
            judge(Side::Answer, &format!("a={}", "k".repeat(99)))
                .expect("a line")
                .label,
            "a=?"
        );
        for line in ["", "\r\n", "hello", "A=b", "aa=b", "=b"] {
            assert_eq!(judge(Side::Offer, line), None, "{line}");
        }
    }
}
