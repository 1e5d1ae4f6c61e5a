//! The path prefix under which a proxy publishes the server.

use std::fmt;
use std::str::FromStr;

/// The prefix that a proxy removes from a path before it forwards a request, and that the server
/// therefore puts before all paths that it gives out. Empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct BasePath(String);

/// Why a text is no base path.
#[derive(Debug, thiserror::Error)]
#[error(
    "a base path is like /media or /a/b: a slash before each part, and parts out of A-Z, a-z, 0-9 \
     and - _ . ~ that do not begin with a dot"
)]
pub struct BasePathError;

/// Longest base path, in bytes.
const MAX: usize = 256;

impl FromStr for BasePath {
    type Err = BasePathError;

    /// Parses a path with or without a slash at its end; `/` is the empty prefix.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_suffix('/').unwrap_or(text);
        if path.is_empty() && text == "/" {
            return Ok(Self::default());
        }
        let mut parts = path.split('/');
        let fits = path.len() <= MAX && parts.next() == Some("") && parts.all(is_part);
        // A path without a slash has no second part.
        if fits && !path.is_empty() {
            Ok(Self(path.to_owned()))
        } else {
            Err(BasePathError)
        }
    }
}

impl TryFrom<String> for BasePath {
    type Error = BasePathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that need no escaping in a header or a URL (RFC 3986 §2.3), and no `.` or `..`.
fn is_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_path_is_taken_with_and_without_a_slash_at_its_end() {
        for (text, path) in [
            ("/", ""),
            ("/media", "/media"),
            ("/media/", "/media"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ] {
            assert_eq!(text.parse::<BasePath>().expect(text).to_string(), path);
        }
    }

    #[test]
    fn what_would_lead_elsewhere_is_no_base_path() {
        let long = format!("/{}", "x".repeat(MAX));
        for bad in [
            "",
            "media",
            "//",
            "//evil.example",
            "/a//b",
            "/..",
            "/a/./b",
            "/a b",
            "/a?b",
            "/a%2f",
            "/a\r\nb",
            "https://media.example/",
            &long,
        ] {
            assert!(bad.parse::<BasePath>().is_err(), "{bad:?}");
        }
    }
}
