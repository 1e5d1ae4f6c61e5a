//! Which channels a right is for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use crate::server::names;

/// A channel's name, or the start of names followed by `*`; `*` alone is every channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern {
    name: String,
    /// Whether every name with that start is meant.
    is_start: bool,
}

impl ChannelPattern {
    /// Whether it names this channel.
    pub(super) fn names(&self, channel: &str) -> bool {
        match self.is_start {
            true => channel.starts_with(&self.name),
            false => channel == self.name,
        }
    }
}

impl FromStr for ChannelPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, is_start) = match text.strip_suffix('*') {
            Some(start) => (start, true),
            None => (text, false),
        };
        // A start may end in the middle of a name's part.
        let whole = match is_start {
            true => format!("{name}x"),
            false => name.to_owned(),
        };
        match names::channel(&whole) {
            Ok(valid) if valid == whole => Ok(Self {
                name: name.to_owned(),
                is_start,
            }),
            _ => Err(
                "the channel must be a name of letters, digits and - _ . /, or the start of \
                 names with a * behind it; * alone is every channel",
            ),
        }
    }
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_start { "*" } else { "" };
        write!(f, "{}{star}", self.name)
    }
}

impl<'de> Deserialize<'de> for ChannelPattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_the_start_of_names() {
        let names = |pattern: &str, channel| {
            let parsed: ChannelPattern = pattern.parse().expect("a pattern");
            assert_eq!(parsed.to_string(), pattern);
            parsed.names(channel)
        };
        assert!(names("*", "a/b"));
        assert!(names("live/*", "live/one"));
        assert!(!names("live/*", "live"));
        assert!(names("live/o*", "live/one"));
        assert!(names("a", "a"));
        assert!(!names("a", "ab"));
        for bad in ["", "a*b", "**", "../a", "a//*", "a/", "a b", "/*"] {
            assert!(bad.parse::<ChannelPattern>().is_err(), "{bad}");
        }
    }
}
