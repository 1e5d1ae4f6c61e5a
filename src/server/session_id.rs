//! Names and credentials of a session: ICE credentials, and the id in its URL.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use zeroize::Zeroize;

use crate::ids::{IceCredentials, IcePassword, Role, Ufrag, hex};

/// Letters and digits: a subset of ice-char (RFC 8839 §5.4) that is safe in a URL and as a file
/// name.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Length of a user name fragment: its first character is the role, the other 15 are random, 89
/// bits.
const UFRAG: usize = 16;
/// Length of a password: 190 bits. RFC 8445 §5.3 asks for 128.
const PASSWORD: usize = 32;
/// Bytes of the tag in an id: 128 bits.
pub(super) const TAG: usize = 16;

/// Fresh ICE credentials. A publisher's user name fragment sorts before every viewer's, so that a
/// restart can read publishers' records first without having opened any.
pub(super) fn credentials(role: Role) -> Result<IceCredentials, Unspecified> {
    let mut ufrag = match role {
        Role::Publisher => String::from("P"),
        Role::Viewer => String::from("V"),
    };
    append_random(&mut ufrag, UFRAG - 1)?;
    let mut pwd = String::with_capacity(PASSWORD);
    append_random(&mut pwd, PASSWORD)?;
    Ok(IceCredentials {
        ufrag: Ufrag::new(ufrag).map_err(|_| Unspecified)?,
        pwd: IcePassword::new(pwd),
    })
}

/// Appends characters out of [`ALPHABET`], all equally likely.
fn append_random(text: &mut String, count: usize) -> Result<(), Unspecified> {
    let mut bytes = [0; 64];
    let mut left = count;
    while left > 0 {
        rand::fill(&mut bytes)?;
        // 248 is the largest multiple of 62 in a byte: values above it would favour some
        // characters.
        let fair = bytes
            .iter()
            .filter(|&&b| b < 248)
            .map(|&b| char::from(ALPHABET[usize::from(b) % 62]));
        let before = text.len();
        text.extend(fair.take(left));
        left -= text.len() - before;
    }
    bytes.zeroize();
    Ok(())
}

/// A random number for the answer's `o=` line (RFC 8866 §5.2).
pub(super) fn sdp_session_id() -> Result<u64, Unspecified> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes)?;
    // Some parsers read it as a signed number.
    Ok(u64::from_be_bytes(bytes) >> 1)
}

/// Writes an id: the user name fragment, and the tag in hexadecimal digits.
pub(super) fn format(ufrag: &Ufrag, tag: &[u8; TAG]) -> String {
    format!("{ufrag}-{}", hex::encode(tag))
}

/// Parses an id. The caller has to check the tag.
pub(super) fn parse(id: &str) -> Option<(Ufrag, [u8; TAG])> {
    let (ufrag, digits) = id.split_once('-')?;
    // A session has one id.
    if digits.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return None;
    }
    Some((Ufrag::new(ufrag).ok()?, hex::decode(digits)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn credentials_are_fresh_and_of_full_length() {
        let mut seen = HashSet::new();
        for _ in 0..100 {
            let ice = credentials(Role::Viewer).expect("random numbers");
            assert_eq!(ice.ufrag.as_str().len(), UFRAG);
            assert_eq!(ice.pwd.expose().len(), PASSWORD);
            assert!(ice.pwd.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
            assert!(seen.insert(ice.ufrag.to_string()) && seen.insert(ice.pwd.expose().to_owned()));
        }
    }

    #[test]
    fn every_character_can_come() {
        let mut text = String::new();
        append_random(&mut text, 10_000).expect("random numbers");
        assert_eq!(text.len(), 10_000);
        assert_eq!(text.bytes().collect::<HashSet<_>>().len(), ALPHABET.len());
    }

    #[test]
    fn a_publisher_sorts_before_every_viewer() {
        let publisher = credentials(Role::Publisher).expect("random numbers").ufrag;
        let viewer = credentials(Role::Viewer).expect("random numbers").ufrag;
        assert!(publisher < viewer);
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let ufrag = Ufrag::new("Vabcdefgh0123456").expect("a fragment");
        let tag = *b"\x00\x01\x7f\x80\xffabcdefghijk";
        let id = format(&ufrag, &tag);
        assert_eq!(parse(&id), Some((ufrag, tag)));
    }

    #[test]
    fn what_is_no_id_is_not_read_as_one() {
        let good = "Vabcdefgh0123456-000102030405060708090a0b0c0d0e0f";
        assert!(parse(good).is_some());
        let upper = good.replace("0a0b", "0A0B");
        let long = format!("{good}0");
        let short = &good[..good.len() - 1];
        for bad in [
            "",
            "-",
            "x",
            &upper,
            &long,
            short,
            "../../../../etc-000102030405060708090a0b0c0d0e0f",
            "Vé-é",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
