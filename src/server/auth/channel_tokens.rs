//! The file of tokens for single channels. It has only hashes of the tokens, which are enough for a
//! comparison: a line is the SHA-256 of a token in hexadecimal digits (or `anybody`), what it is for
//! (`publish`, `watch` or `both`), and a channel, or the start of channels' names followed by `*`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use clap::ValueEnum;

use super::pattern::ChannelPattern;
use super::token;
use crate::ids::{Role, hex};

/// Longest file, in bytes: about 10,000 lines.
const MAX_FILE: u64 = 1 << 20;
/// In the place of a hash.
const ANYBODY: &str = "anybody";

/// Why a file of channel tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelTokensError {
    /// It cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is longer than any such file.
    #[error("{path} is larger than 1 MiB; is it the right file?", path = .0.display())]
    TooLarge(PathBuf),
    /// A line cannot be used.
    #[error("{path}, line {line}: {what}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// It was a pipe at the start, which can be read only once.
    #[error("{path} is not a regular file, and cannot be read a second time; start the server \
             anew", path = .0.display())]
    NotAFile(PathBuf),
}

/// What a line allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Uses {
    /// To publish.
    Publish,
    /// To watch.
    Watch,
    /// To publish and to watch.
    Both,
}

impl Uses {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Watch => "watch",
            Self::Both => "both",
        }
    }

    pub(super) fn allow(self, role: Role) -> bool {
        match role {
            Role::Publisher => self != Self::Watch,
            Role::Viewer => self != Self::Publish,
        }
    }
}

/// To whom a line gives its right.
#[derive(Clone, PartialEq, Eq)]
enum Holder {
    /// To everybody.
    Anybody,
    /// To those who show the token with this SHA-256.
    Token([u8; 32]),
}

impl Holder {
    /// Whether who shows a token with this SHA-256 is meant.
    fn is(&self, presented: Option<&[u8; 32]>) -> bool {
        match self {
            Self::Anybody => true,
            Self::Token(hash) => {
                presented.is_some_and(|presented| verify_slices_are_equal(hash, presented).is_ok())
            }
        }
    }
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq)]
struct Line {
    holder: Holder,
    uses: Uses,
    channels: ChannelPattern,
}

/// The tokens for single channels.
pub struct ChannelTokens {
    file: PathBuf,
    lines: RwLock<Vec<Line>>,
}

impl ChannelTokens {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ChannelTokensError`].
    pub fn read(path: &Path) -> Result<Self, ChannelTokensError> {
        Ok(Self {
            file: path.to_owned(),
            lines: RwLock::new(read(path)?),
        })
    }

    /// Reads the file again. Returns whether it has changed; after an error the old lines stay.
    ///
    /// # Errors
    /// [`ChannelTokensError`].
    pub(in crate::server) fn read_again(&self) -> Result<bool, ChannelTokensError> {
        if fs::metadata(&self.file).is_ok_and(|meta| !meta.is_file()) {
            return Err(ChannelTokensError::NotAFile(self.file.clone()));
        }
        let now = read(&self.file)?;
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *lines != now;
        *lines = now;
        Ok(changed)
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether a line allows this, in a time that does not depend on the hashes.
    pub(super) fn allow(&self, role: Role, channel: &str, presented: Option<&str>) -> bool {
        let presented = presented.map(token::hash);
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|line| line.uses.allow(role) && line.channels.names(channel))
            .any(|line| line.holder.is(presented.as_ref()))
    }

    /// Whether a line has this token.
    pub(super) fn knows(&self, shown: &str) -> bool {
        let hash = token::hash(shown);
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .any(|line| line.holder != Holder::Anybody && line.holder.is(Some(&hash)))
    }

    /// What is allowed to who shows this, looked for once for many channels.
    pub(super) fn held(&self, presented: Option<&str>) -> Held {
        let presented = presented.map(token::hash);
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner);
        let mut held = Held::default();
        for line in lines
            .iter()
            .filter(|line| line.holder.is(presented.as_ref()))
        {
            held.is_known |= line.holder != Holder::Anybody;
            held.lines.push((line.uses, line.channels.clone()));
        }
        held
    }

    /// The line that gives a right for a channel, or for all whose names start as `channel` does
    /// before its `*`, to those who show this token.
    ///
    /// # Errors
    /// What is wrong with `channel`.
    pub fn line(token: &str, uses: Uses, channel: &str) -> Result<String, &'static str> {
        let channels: ChannelPattern = channel.parse()?;
        let hash = hex::encode(&token::hash(token));
        Ok(format!("{hash} {} {channels}", uses.name()))
    }
}

/// See [`ChannelTokens::held`].
#[derive(Default)]
pub(super) struct Held {
    lines: Vec<(Uses, ChannelPattern)>,
    is_known: bool,
}

impl Held {
    /// Whether one of the lines allows this.
    pub(super) fn allow(&self, role: Role, channel: &str) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|(uses, channels)| uses.allow(role) && channels.names(channel))
    }

    /// Whether a line has the token.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }
}

impl Line {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut words = text.split_whitespace();
        let (Some(holder), Some(uses), Some(channel), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(
                "a line is a token's SHA-256, what it is for, and a channel; \
                        `rekindle token` writes one",
            );
        };
        let holder = match holder {
            ANYBODY => Holder::Anybody,
            hash => Holder::Token(hex::decode(hash).ok_or(
                "the first word must be the SHA-256 of a token, 64 hexadecimal digits, or \
                 \"anybody\"; `rekindle token` makes a token and its line",
            )?),
        };
        let named = |known: &Uses| known.name() == uses;
        let uses = Uses::value_variants()
            .iter()
            .copied()
            .find(named)
            .ok_or("the second word must be \"publish\", \"watch\" or \"both\"")?;
        if holder == Holder::Anybody && uses != Uses::Watch {
            return Err("only watching can be allowed to anybody; publishers need a token");
        }
        Ok(Self {
            holder,
            uses,
            channels: channel.parse()?,
        })
    }
}

fn read(path: &Path) -> Result<Vec<Line>, ChannelTokensError> {
    let unreadable = |source| ChannelTokensError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE {
        return Err(ChannelTokensError::TooLarge(path.to_owned()));
    }
    let lines = text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        (!line.is_empty()).then(|| {
            Line::parse(line).map_err(|what| ChannelTokensError::Line {
                path: path.to_owned(),
                line: at + 1,
                what,
            })
        })
    });
    lines.collect()
}

impl fmt::Debug for ChannelTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelTokens(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<ChannelTokens, ChannelTokensError> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("tokens");
        fs::write(&path, text).expect("written");
        ChannelTokens::read(&path)
    }

    fn line(token: &str, uses: Uses, channel: &str) -> String {
        ChannelTokens::line(token, uses, channel).expect("a line") + "\n"
    }

    #[test]
    fn a_token_is_good_for_its_use_on_its_channels_alone() {
        let text = [
            "# The morning's.\n".to_owned(),
            line("camera", Uses::Publish, "live/*"),
            line("staff", Uses::Both, "meeting"),
            "anybody watch live/open  # and nothing else\n".to_owned(),
        ];
        let tokens = tokens(&text.concat()).expect("read");
        let allow = |role, channel, token| tokens.allow(role, channel, token);
        assert!(allow(Role::Publisher, "live/one", Some("camera")));
        assert!(!allow(Role::Publisher, "live", Some("camera")));
        assert!(!allow(Role::Viewer, "live/one", Some("camera")));
        assert!(!allow(Role::Publisher, "meeting", Some("camera")));
        for role in [Role::Publisher, Role::Viewer] {
            assert!(allow(role, "meeting", Some("staff")));
            assert!(!allow(role, "meeting2", Some("staff")));
            assert!(!allow(role, "meeting", None));
        }
        assert!(allow(Role::Viewer, "live/open", None));
        assert!(allow(Role::Viewer, "live/open", Some("anything")));
        assert!(!allow(Role::Publisher, "live/open", None));
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named() {
        let hash = "ab".repeat(32);
        for wrong in [
            "nonsense".to_owned(),
            format!("{hash} publish"),
            format!("{hash} publish a b"),
            format!("{hash} write a"),
            format!("{hash}0 watch a"),
            format!("{} watch a", "+a".repeat(32)),
            format!("{hash} watch ../a"),
            format!("{hash} watch a*b"),
            format!("{hash} watch a//*"),
            format!("{hash} watch a/"),
            "anybody publish *".to_owned(),
            "anybody both a".to_owned(),
        ] {
            let error = tokens(&format!("\n{wrong}\n")).expect_err(&wrong);
            assert!(error.to_string().contains(", line 2: "), "{error}");
        }
        for right in [format!("{hash} both *"), format!("{hash} watch a/b-*")] {
            assert!(tokens(&right).is_ok(), "{right}");
        }
    }

    #[test]
    fn nothing_is_allowed_by_an_empty_file() {
        let tokens = tokens("").expect("read");
        for role in [Role::Publisher, Role::Viewer] {
            assert!(!tokens.allow(role, "a", Some("")));
            assert!(!tokens.allow(role, "a", None));
        }
        assert_eq!(format!("{tokens:?}"), "ChannelTokens(..)");
    }
}
