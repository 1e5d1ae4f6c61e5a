//! Certificate fingerprints (RFC 8122 §5).

use super::lines::Attributes;
use super::{Fingerprint, SdpError};

/// Hash functions that are strong enough, and the length of their digests in bytes.
const STRONG: [(&str, usize); 3] = [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)];

/// Most fingerprints of one offer.
const MOST: usize = 8;

/// The strong fingerprints among `attributes`, sorted, each once. There may be several of one hash
/// function, for several certificates. Weak and unknown hash functions are ignored; `None` if there
/// is no fingerprint line at all.
///
/// # Errors
/// [`SdpError::WeakFingerprint`] if all hash functions are weak or unknown,
/// [`SdpError::BadFingerprint`] for a digest of the wrong length, or too many digests.
pub(super) fn read(attributes: &Attributes<'_>) -> Result<Option<Vec<Fingerprint>>, SdpError> {
    let mut some = false;
    let mut found: Vec<Fingerprint> = Vec::new();
    for value in attributes.all("fingerprint") {
        some = true;
        let (hash, digest) = value.split_once(' ').ok_or(SdpError::BadFingerprint)?;
        let Some((hash, length)) = STRONG
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(hash))
        else {
            continue;
        };
        let digest = hex(digest.trim(), *length).ok_or(SdpError::BadFingerprint)?;
        let fingerprint = Fingerprint {
            hash: (*hash).to_owned(),
            digest,
        };
        if !found.contains(&fingerprint) {
            found.push(fingerprint);
        }
        if found.len() > MOST {
            return Err(SdpError::BadFingerprint);
        }
    }
    match (some, found.is_empty()) {
        (false, _) => Ok(None),
        (true, true) => Err(SdpError::WeakFingerprint),
        (true, false) => {
            found.sort_by(|a, b| (&a.hash, &a.digest).cmp(&(&b.hash, &b.digest)));
            Ok(Some(found))
        }
    }
}

/// `AB:CD:...` with exactly `length` bytes.
fn hex(text: &str, length: usize) -> Option<Vec<u8>> {
    // Checked first, so that no long line is parsed for nothing.
    if text.len() != length * 3 - 1 {
        return None;
    }
    text.split(':')
        .map(|pair| match pair.as_bytes() {
            [a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                u8::from_str_radix(pair, 16).ok()
            }
            _ => None,
        })
        .collect()
}

/// The digest as SDP writes it.
pub(super) fn write(digest: &[u8]) -> String {
    let pairs: Vec<String> = digest.iter().map(|b| format!("{b:02X}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::super::lines::Description;
    use super::*;

    fn of(lines: &[String]) -> Result<Option<Vec<Fingerprint>>, SdpError> {
        let text = format!(
            "v=0\n{}",
            lines
                .iter()
                .map(|l| format!("a=fingerprint:{l}\n"))
                .collect::<String>()
        );
        read(&Description::parse(&text).unwrap().session)
    }

    fn line(hash: &str, byte: u8, length: usize) -> String {
        format!("{hash} {}", write(&vec![byte; length]))
    }

    #[test]
    fn strong_hashes_are_kept_and_weak_ones_left_out() {
        let read = of(&[
            line("sha-1", 1, 20),
            line("SHA-512", 5, 64),
            line("sha-256", 2, 32),
            line("sha-256", 2, 32),
        ]);
        let expected = vec![
            Fingerprint {
                hash: "sha-256".into(),
                digest: vec![2; 32],
            },
            Fingerprint {
                hash: "sha-512".into(),
                digest: vec![5; 64],
            },
        ];
        assert_eq!(read, Ok(Some(expected)));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(
            of(&[line("sha-1", 1, 20), line("md5", 1, 16)]),
            Err(SdpError::WeakFingerprint)
        );
    }

    #[test]
    fn of_two_certificates_either_may_come() {
        let both = of(&[line("sha-256", 3, 32), line("sha-256", 2, 32)])
            .unwrap()
            .unwrap();
        let digests: Vec<u8> = both
            .iter()
            .map(|fingerprint| fingerprint.digest[0])
            .collect();
        assert_eq!(digests, [2, 3]);
    }

    #[test]
    fn a_damaged_digest_is_refused_and_so_are_too_many() {
        let good = line("sha-256", 2, 32);
        for bad in [
            vec!["sha-256".to_owned()],
            vec![line("sha-256", 2, 31)],
            vec![line("sha-256", 2, 33)],
            vec![good.replacen("02", "+2", 1)],
            vec![good.replacen("02:02", "02002", 1)],
            vec![good.replacen("02:02", "é2:0", 1)],
            (0..=MOST as u8)
                .map(|byte| line("sha-256", byte, 32))
                .collect(),
        ] {
            assert_eq!(of(&bad), Err(SdpError::BadFingerprint), "{bad:?}");
        }
    }
}
