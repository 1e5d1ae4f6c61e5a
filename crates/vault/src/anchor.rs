//! The anchor: a file outside the vault's folder that records the vault's progress.
//!
//! Anybody who can write to the folder can restore an old copy of it, and with it a certificate
//! that was rotated away. A record that is newer than `identity.age` reveals this, but not if the
//! newer records are gone as well. The anchor does, as long as it is where that writer has no
//! access.
//!
//! Each boot adds a line, `boot 17 certificate 0123...`, after `identity.age` has been written. So
//! the anchor may be one boot behind, which is the one step back that it does not detect, and is
//! never ahead. A line that was cut off by a crash is ignored.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rekindle_ids::hex;

/// How much of the file's end is read, in bytes: some lines.
const TAIL: u64 = 4096;

/// Why an anchor and a vault do not match.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// There is no such file.
    #[error("the anchor {path} is not there: for a vault that has none yet, make an empty file \
             (`touch {path}`); otherwise restore it", path = .0.display())]
    Missing(PathBuf),
    /// The vault is an old copy.
    #[error("the vault is an old copy: it was last written in boot {vault}, and the anchor {path} \
             knows of boot {anchor}. Somebody may want an earlier certificate used again. Restore \
             the newest copy; or, if it is lost and that is accepted, empty the anchor and start \
             once with --rotate-identity. Nothing was changed", path = path.display())]
    RolledBack {
        /// The anchor.
        path: PathBuf,
        /// The vault's last boot; 0 for one that was just made.
        vault: u64,
        /// The last boot that the anchor knows of.
        anchor: u64,
    },
    /// The vault does not hold the certificate that the anchor knows of.
    #[error("the anchor {path} belongs to another vault, or to a newer copy of this one: the vault \
             does not hold the certificate that it names. Name the right anchor, or an empty file \
             for a vault that has none yet. Nothing was changed", path = .0.display())]
    Foreign(PathBuf),
    /// It is not in the format of an anchor.
    #[error("the anchor {path} cannot be read as one: restore it; or, if it is lost, put an empty \
             file in its place", path = .0.display())]
    Malformed(PathBuf),
    /// A system error.
    #[error("cannot use the anchor {path}: {cause}", path = path.display())]
    Io {
        /// The anchor.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// An open anchor: nothing needs to be opened later, when the process is confined.
#[derive(Debug)]
pub(crate) struct Anchor {
    file: File,
    path: PathBuf,
    /// The content of its last line.
    last: Option<(u64, [u8; 32])>,
}

impl Anchor {
    /// Opens an anchor and compares: `last` is the vault's last boot, if there was one, and
    /// `certificates` are those that it holds.
    pub(crate) fn open(
        path: &Path,
        last: Option<u64>,
        certificates: &[[u8; 32]],
    ) -> Result<Self, AnchorError> {
        let failed = |cause: io::Error| AnchorError::Io {
            path: path.into(),
            cause,
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(0o600);
        // A new vault gets a new anchor.
        options.create(last.is_none());
        let mut file = options.open(path).map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound if last.is_some() => AnchorError::Missing(path.into()),
            _ => failed(cause),
        })?;
        let text = tail(&mut file).map_err(failed)?;
        let known = parse(&text).ok_or_else(|| AnchorError::Malformed(path.into()))?;
        if let Some((boot, certificate)) = known {
            let vault = last.unwrap_or(0);
            if vault < boot {
                return Err(AnchorError::RolledBack {
                    path: path.into(),
                    vault,
                    anchor: boot,
                });
            }
            if !certificates.contains(&certificate) {
                return Err(AnchorError::Foreign(path.into()));
            }
        }
        Ok(Self {
            file,
            path: path.into(),
            last: known,
        })
    }

    /// Records that the vault has reached this boot, with this certificate. Durable when this
    /// returns.
    pub(crate) fn advance(&mut self, boot: u64, certificate: &[u8; 32]) -> Result<(), AnchorError> {
        if self.last == Some((boot, *certificate)) {
            return Ok(());
        }
        let digits = hex::encode(certificate);
        // The leading line break ends a line that a crash may have cut off.
        let line = format!("\nboot {boot} certificate {digits}\n");
        self.file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.sync_data())
            .map_err(|cause| AnchorError::Io {
                path: self.path.clone(),
                cause,
            })?;
        self.last = Some((boot, *certificate));
        Ok(())
    }
}

/// The end of the file.
fn tail(file: &mut File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    Ok(text)
}

/// The content of the last whole line: `Some(None)` for an empty file, `None` for one that is no
/// anchor.
fn parse(text: &[u8]) -> Option<Option<(u64, [u8; 32])>> {
    let mut any = false;
    // The last piece has no line break.
    let pieces: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    for piece in pieces[..pieces.len() - 1]
        .iter()
        .rev()
        .filter(|piece| !piece.trim_ascii().is_empty())
    {
        any = true;
        if let Some(known) = std::str::from_utf8(piece).ok().and_then(line) {
            return Some(Some(known));
        }
    }
    (!any && text.iter().all(|byte| byte.is_ascii_whitespace())).then_some(None)
}

fn line(text: &str) -> Option<(u64, [u8; 32])> {
    let (boot, digits) = text.strip_prefix("boot ")?.split_once(" certificate ")?;
    let certificate = hex::decode(digits)?;
    Some((boot.parse().ok()?, certificate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_counts_and_what_is_no_anchor_is_told() {
        let one = format!("\nboot 3 certificate {}\n", "ab".repeat(32));
        let two = format!("\nboot 4 certificate {}\n", "cd".repeat(32));
        assert_eq!(parse(b""), Some(None));
        assert_eq!(parse(b"\n \n"), Some(None));
        assert_eq!(parse(one.as_bytes()), Some(Some((3, [0xab; 32]))));
        let both = format!("{one}{two}");
        assert_eq!(parse(both.as_bytes()), Some(Some((4, [0xcd; 32]))));
        for end in one.len() + 2..both.len() {
            let known = parse(&both.as_bytes()[..end]);
            assert_eq!(known, Some(Some((3, [0xab; 32]))), "cut off at {end}");
        }
        // The line after one that was cut off.
        let mended = format!("{}{two}", &both[..one.len() + 9]);
        assert_eq!(parse(mended.as_bytes()), Some(Some((4, [0xcd; 32]))));
        for other in ["hello", "hello\n", "boot x certificate ab\n", "\0\0\0\0"] {
            assert_eq!(parse(other.as_bytes()), None, "{other:?}");
        }
    }
}
