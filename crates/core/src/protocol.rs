//! The protocols of the media port.

/// The protocol of a datagram by its first bytes (RFC 7983 §7, RFC 5761 §4). Nothing in it is
/// authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// STUN (RFC 8489).
    Stun,
    /// DTLS (RFC 6347, RFC 9147).
    Dtls,
    /// SRTP (RFC 3711).
    Rtp,
    /// SRTCP (RFC 3711).
    Rtcp,
}

impl Protocol {
    /// The protocol of this datagram; `None` for all others.
    pub fn of(datagram: &[u8]) -> Option<Self> {
        match datagram {
            [0..=3, ..] => Some(Self::Stun),
            [20..=63, ..] => Some(Self::Dtls),
            [128..=191, 192..=223, ..] => Some(Self::Rtcp),
            [128..=191, ..] => Some(Self::Rtp),
            _ => None,
        }
    }
}
