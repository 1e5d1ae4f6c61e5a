//! The browser's proven address: one `a=candidate` line that the server adds to the offer in a
//! peer's record.
//!
//! The line has a foundation of its own, and [`super::answer`] refuses an offer that already has
//! it, so nobody but the server can write the address that a later boot trusts.

use std::net::{IpAddr, SocketAddr};

use super::lines::Description;

/// The foundation (RFC 8839 §5.1) of the server's own line.
const FOUNDATION: &str = "rekindle";

/// The offer with the browser's proven address in it, as the one `a=candidate` line that the record
/// keeps. It replaces the line of an earlier address and stands at the end of the first m-section
/// (candidates belong to sections, RFC 8839 §5.1).
pub fn with_address(offer: &str, address: SocketAddr) -> String {
    let end = if offer.contains("\r\n") { "\r\n" } else { "\n" };
    // RFC 8839 §5.1: an unknown related address is written as the unspecified one with port 9.
    let related = if address.is_ipv4() { "0.0.0.0" } else { "::" };
    let ip: IpAddr = address.ip();
    let port = address.port();
    let own = format!(
        "a=candidate:{FOUNDATION} 1 udp 1 {ip} {port} typ prflx raddr {related} rport 9{end}"
    );

    let mut text = String::with_capacity(offer.len() + own.len() + 2);
    let mut sections = 0;
    for line in offer.split_inclusive('\n') {
        if is_reserved_line(line) {
            continue;
        }
        if line.starts_with("m=") {
            sections += 1;
            if sections == 2 {
                text.push_str(&own);
            }
        }
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str(if line.ends_with('\r') { "\n" } else { end });
        }
    }
    if sections < 2 {
        text.push_str(&own);
    }
    text
}

fn is_reserved_line(line: &str) -> bool {
    line.strip_prefix("a=candidate:").is_some_and(is_reserved)
}

/// Whether a candidate has the server's foundation. It matches more than [`read`] does: letter case
/// and spaces are ignored.
fn is_reserved(candidate: &str) -> bool {
    candidate
        .split_whitespace()
        .next()
        .is_some_and(|f| f.eq_ignore_ascii_case(FOUNDATION))
}

/// Whether the description has the server's own line anywhere.
pub(super) fn has_reserved(description: &Description<'_>) -> bool {
    let attributes = std::iter::once(&description.session)
        .chain(description.media.iter().map(|m| &m.attributes));
    attributes.flat_map(|a| a.all("candidate")).any(is_reserved)
}

/// The browser's proven address, if the offer of a record has one; see [`with_address`].
pub fn recorded_address(offer: &str) -> Option<SocketAddr> {
    read(&Description::parse(offer).ok()?)
}

/// The address on the server's own line.
pub(super) fn read(description: &Description<'_>) -> Option<SocketAddr> {
    let first = description.media.first()?;
    first.attributes.all("candidate").find_map(|candidate| {
        let mut words = candidate.split(' ');
        let start = [words.next()?, words.next()?, words.next()?, words.next()?];
        if start != [FOUNDATION, "1", "udp", "1"] {
            return None;
        }
        Some(SocketAddr::new(
            words.next()?.parse().ok()?,
            words.next()?.parse().ok()?,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(text: &str) -> Option<SocketAddr> {
        read(&Description::parse(text).unwrap())
    }

    const OFFER: &str = "v=0\r\nm=audio 9 X 0\r\na=candidate:1 1 udp 9 192.0.2.1 9 typ host\r\n\
                         m=video 9 X 1\r\na=mid:1\r\n";

    #[test]
    fn the_address_is_replaced_not_added() {
        assert_eq!(address_of(OFFER), None);
        let mut text = OFFER.to_owned();
        for address in [
            "192.0.2.7:5000",
            "[2001:db8::1]:6000",
            "198.51.100.9:1",
            "[::1]:65535",
        ] {
            let address = address.parse().unwrap();
            text = with_address(&text, address);
            assert_eq!(address_of(&text), Some(address));
            assert_eq!(text.matches("candidate:rekindle").count(), 1);
        }
        assert_eq!(
            text.lines()
                .filter(|l| !l.contains("rekindle"))
                .collect::<Vec<_>>(),
            OFFER.lines().collect::<Vec<_>>()
        );
    }

    #[test]
    fn other_candidates_are_never_taken_for_the_address() {
        for line in [
            "a=candidate:1 1 udp 1 192.0.2.1 9 typ host",
            "a=candidate:Rekindle 1 udp 1 192.0.2.1 9",
            "a=candidate:rekindle 1 udp 1 x 9",
        ] {
            assert_eq!(
                address_of(&format!("v=0\nm=audio 9 X 0\n{line}\n")),
                None,
                "{line}"
            );
        }
    }

    #[test]
    fn the_line_lands_in_a_section_whatever_the_line_ends() {
        for offer in [
            "v=0\nm=audio 9 X 0",
            "v=0\nm=audio 9 X 0\n",
            "v=0\r\nm=audio 9 X 0\r\nm=video 9 X 0",
        ] {
            let text = with_address(offer, "192.0.2.7:5000".parse().unwrap());
            assert_eq!(
                address_of(&text),
                Some("192.0.2.7:5000".parse().unwrap()),
                "{text:?}"
            );
        }
    }
}
