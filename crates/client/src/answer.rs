//! What a client needs from a server's answer.

use std::net::SocketAddr;

use rekindle_ids::Role;
use rekindle_sdp::{self as sdp, Media};

use crate::connection::Session;
use crate::ice::Credentials;
use crate::offer::Offered;

/// What a client needs from a server's answer.
#[derive(Debug)]
pub struct Answer {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// SHA-256 of the server's certificate.
    pub fingerprint: Vec<u8>,
    /// The first UDP candidate.
    pub server: SocketAddr,
    /// Whether this client begins the DTLS handshake; otherwise the server does.
    pub active: bool,
    /// What was agreed on.
    pub media: Vec<Media>,
}

/// Why this client cannot use an answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A line is missing.
    #[error("the server's answer has no usable {0}")]
    Missing(&'static str),
    /// Offer and answer do not match.
    #[error("the server's answer does not fit the offer: {0}")]
    Sdp(#[from] sdp::SdpError),
}

impl Answer {
    /// Reads the answer to an offer.
    ///
    /// # Errors
    /// [`AnswerError`] where this client cannot use it.
    pub fn read(role: Role, offer: &str, answer: &str) -> Result<Self, AnswerError> {
        let value = |name: &str| {
            let mut lines = answer
                .lines()
                .filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name));
            lines.next().map(|value| value.trim().to_owned())
        };
        let fingerprint = value("fingerprint:sha-256 ").and_then(|text| {
            let bytes = text
                .split(':')
                .map(|byte| u8::from_str_radix(byte, 16).ok());
            bytes
                .collect::<Option<Vec<u8>>>()
                .filter(|digest| digest.len() == 32)
        });
        Ok(Self {
            ufrag: value("ice-ufrag:").ok_or(AnswerError::Missing("a=ice-ufrag"))?,
            pwd: value("ice-pwd:").ok_or(AnswerError::Missing("a=ice-pwd"))?,
            fingerprint: fingerprint.ok_or(AnswerError::Missing("a=fingerprint:sha-256"))?,
            server: answer
                .lines()
                .find_map(candidate)
                .ok_or(AnswerError::Missing("UDP candidate"))?,
            // RFC 5763 §5: the active side begins.
            active: match value("setup:").as_deref() {
                Some("passive") => true,
                Some("active") => false,
                _ => return Err(AnswerError::Missing("a=setup:passive or active")),
            },
            media: sdp::agreed(role, offer, answer)?,
        })
    }
}

impl Offered {
    /// The session that this offer and an answer make.
    pub fn agreed(self, answer: &Answer) -> Session {
        Session {
            credentials: Credentials {
                own_ufrag: self.ufrag,
                own_pwd: self.pwd,
                server_ufrag: answer.ufrag.clone(),
                server_pwd: answer.pwd.clone(),
            },
            certificate: self.certificate,
            fingerprint: answer.fingerprint.clone(),
            active: answer.active,
        }
    }
}

/// The address of a candidate for RTP over UDP (RFC 8839 §5.1).
fn candidate(line: &str) -> Option<SocketAddr> {
    let mut words = line
        .strip_prefix("a=candidate:")?
        .split_ascii_whitespace()
        .skip(1);
    let (component, transport) = (words.next()?, words.next()?);
    let (_priority, ip, port) = (words.next()?, words.next()?, words.next()?);
    let fits = component == "1" && transport.eq_ignore_ascii_case("udp");
    fits.then(|| Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)))?
}

#[cfg(test)]
mod tests;
