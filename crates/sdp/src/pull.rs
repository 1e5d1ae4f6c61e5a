//! What a node offers that takes a channel from another node, as one more viewer of it.

use std::fmt::Write;

use super::fingerprint;

/// The offering side's transport.
#[derive(Clone, Copy, Debug)]
pub struct Transport<'a> {
    /// `a=ice-ufrag`.
    pub ufrag: &'a str,
    /// `a=ice-pwd`.
    pub pwd: &'a str,
    /// SHA-256 of the certificate.
    pub fingerprint_sha256: &'a [u8; 32],
    /// `o=` session id (RFC 8866 §5.2).
    pub session_id: u64,
}

/// An offer to receive what a publisher sends, and nothing else: the codecs, payload types and
/// header extensions that `answer`, the server's own to that publisher, has agreed on. It already
/// says `recvonly`, so that only the transport is another one. It has no candidates: the server
/// learns the address by the first check.
pub fn pull_offer(answer: &str, transport: &Transport<'_>) -> String {
    let mut offer = String::with_capacity(answer.len());
    for line in answer.lines().map(str::trim_end) {
        let name = line.split(':').next().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = match name {
            "a=ice-lite" | "a=ice-options" | "a=candidate" | "a=end-of-candidates" => Ok(()),
            "a=ice-ufrag" => write!(offer, "a=ice-ufrag:{}\r\n", transport.ufrag),
            "a=ice-pwd" => write!(offer, "a=ice-pwd:{}\r\n", transport.pwd),
            "a=fingerprint" => {
                let fingerprint = fingerprint::write(transport.fingerprint_sha256);
                write!(offer, "a=fingerprint:sha-256 {fingerprint}\r\n")
            }
            "a=setup" => write!(offer, "a=setup:actpass\r\n"),
            _ if line.starts_with("o=") => {
                let id = transport.session_id & (u64::MAX >> 1);
                write!(offer, "o=- {id} 1 IN IP4 127.0.0.1\r\n")
            }
            // It renews its keys after a restart, as a page does.
            _ if line.starts_with("t=") => write!(offer, "{line}\r\na=tool:rekindle\r\n"),
            _ => write!(offer, "{line}\r\n"),
        };
    }
    offer
}
