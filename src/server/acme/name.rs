//! The names that certificates are obtained for.

use std::fmt;
use std::str::FromStr;

/// A host's name in the DNS, in lower case; not an address and no wildcard, which TLS-ALPN-01 has no
/// place for (RFC 8737 §3).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct AcmeName(String);

/// Why a text is no such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no name that a certificate can be obtained for: give a full name such as \
     media.example.org, no address and no wildcard, and letters beyond ASCII as xn--"
)]
pub struct AcmeNameError;

impl AcmeName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AcmeName {
    type Err = AcmeNameError;

    fn from_str(text: &str) -> Result<Self, AcmeNameError> {
        let label = |label: &str| {
            let bytes = label.as_bytes();
            (1..=63).contains(&bytes.len())
                && bytes[0] != b'-'
                && bytes[bytes.len() - 1] != b'-'
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        };
        let last = text.rsplit('.').next().unwrap_or_default();
        let fits = text.len() <= 253
            && text.contains('.')
            && text.split('.').all(label)
            && !last.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| Self(text.to_ascii_lowercase()))
            .ok_or(AcmeNameError)
    }
}

impl TryFrom<String> for AcmeName {
    type Error = AcmeNameError;

    fn try_from(text: String) -> Result<Self, AcmeNameError> {
        text.parse()
    }
}

impl fmt::Display for AcmeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For the log.
pub(super) fn listed(names: &[AcmeName]) -> String {
    let names: Vec<&str> = names.iter().map(AcmeName::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_full_one_of_the_dns() {
        let name: AcmeName = "Media.Example.org".parse().expect("a name");
        assert_eq!(name.as_str(), "media.example.org");
        assert!("xn--bcher-kva.example".parse::<AcmeName>().is_ok());
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            "example",
            "*.example.org",
            "192.0.2.1",
            "2001:db8::1",
            "[::1]",
            "a..example",
            ".example.org",
            "example.org.",
            "-a.example",
            "a-.example",
            "a b.example",
            "bücher.example",
            "a.example:443",
            "a_b.example",
            &long,
        ] {
            assert_eq!(bad.parse::<AcmeName>(), Err(AcmeNameError), "{bad}");
        }
    }
}
