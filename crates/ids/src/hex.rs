//! Hexadecimal digits.

use std::fmt::Write;

/// Two lower-case digits for each byte. The text is allocated once, so that no copy of a secret is
/// left behind.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Exactly `N` bytes, from digits of either case and nothing else.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_in_lower_case_and_read_in_either() {
        assert_eq!(encode(&[0, 0x0f, 0xa5]), "000fa5");
        assert_eq!(decode("000Fa5"), Some([0, 0x0f, 0xa5]));
        assert_eq!(decode(""), Some([]));
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in ["", "0", "00f", "000f", "+a", "0x", " 0", "zz", "é"] {
            assert_eq!(decode::<3>(wrong), None, "{wrong}");
        }
        for wrong in ["+a", "0x", " 0", "zz", "é"] {
            assert_eq!(decode::<1>(wrong), None, "{wrong}");
        }
    }
}
