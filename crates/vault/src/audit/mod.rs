//! `rekindle audit`: reports for every persisted byte what it is, and whether it may be there.
//!
//! It shares the cryptography and the schema with the server, and nothing else: the age header, the
//! DER structures and the session descriptions have parsers of their own here. An independent
//! decoder in Python (`tests/persisted_format/decode.py`) must agree with it.

mod der;
mod folder;
mod header;
pub(crate) mod inventory;
pub(crate) mod report;
mod sdp;
mod sealed;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

pub use report::{
    AgeFacts, Class, Content, FileReport, Finding, Item, Lock, MacVerdict, OpenedBy, Place,
    RecipientFacts, Report, Stanza, VaultFacts, Verdict,
};

use super::KeyError;
use super::clock::unix_seconds;
use super::error::FileFault;
use super::files::{Folder, ReadError, links};
use super::key::KeyFile;
use super::layout::{COUNTERS, IDENTITY, ufrag_of};
use super::record::limits;
use super::seal::MacKey;
use inventory::Redactor;
use sealed::{Look, Named};

/// What is audited, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A vault, one of its files, or `-` for a plaintext on standard input, made by `age -d`.
    pub target: PathBuf,
    /// Without one, only what the files show from outside is audited.
    pub key_file: Option<PathBuf>,
    /// The path inside the vault that a file or plaintext had (such as `peers/<ufrag>.age`), where
    /// it is not known otherwise.
    pub name: Option<String>,
    /// Show values instead of short hashes.
    pub reveal: bool,
}

/// The audit was not possible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CouldNotLook {
    /// The key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key file opens nothing here.
    #[error("the key file does not open {path}: name the key file it was made \
             with", path = .0.display())]
    WrongKey(PathBuf),
    /// Nothing in the folder belongs to a vault.
    #[error("there is no vault in {path}: name the state folder, which has identity.age in \
             it", path = .0.display())]
    NoVault(PathBuf),
    /// A system error.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// Audits a vault, a file or a plaintext; `input` is read when the target is `-`. Changes nothing.
///
/// # Errors
/// [`CouldNotLook`] when there is nothing to judge. All faults of what was audited are in the
/// report.
pub fn audit(
    options: &Options,
    input: &mut dyn Read,
    now: SystemTime,
) -> Result<Report, CouldNotLook> {
    let keys = options
        .key_file
        .as_deref()
        .map(KeyFile::load)
        .transpose()?
        .map(|file| file.keys);
    let key = keys
        .as_ref()
        .map_or_else(MacKey::random, |keys| keys[0].redaction_key());
    let look = Look {
        keys,
        redactor: Redactor {
            key,
            reveal: options.reveal,
        },
        now: unix_seconds(now),
    };
    let target = &*options.target;
    let report = Report::new(
        &target.to_string_lossy(),
        look.keys.is_some(),
        options.reveal,
    );
    let report = if target == Path::new("-") {
        audit_plaintext(options, &look, input, report)?
    } else if target.is_dir() {
        folder::audit(target, &look, report)?
    } else {
        audit_file(options, &look, report)?
    };
    Ok(report.conclude())
}

/// A plaintext that was decrypted elsewhere.
fn audit_plaintext(
    options: &Options,
    look: &Look,
    input: &mut dyn Read,
    mut report: Report,
) -> Result<Report, CouldNotLook> {
    let mut plaintext = Zeroizing::new(Vec::with_capacity(limits::PEER_FILE + 1));
    let read = input
        .take(limits::COUNTERS_FILE as u64 + 1)
        .read_to_end(&mut plaintext);
    read.map_err(|cause| CouldNotLook::Unreadable {
        path: "-".into(),
        cause,
    })?;
    let name = options.name.as_deref().map_or(Named::ByItself, Named::As);
    let content = look.at_plaintext(&mut report, "-", name, &plaintext, None);
    let limit = match content.kind {
        Some("counters") => limits::COUNTERS_FILE,
        _ => limits::PEER_FILE,
    };
    if plaintext.len() > limit {
        report.finding("too-large", "-", FileFault::TooLarge.to_string());
    }
    report.files.push(FileReport {
        path: "-".into(),
        place: Place::Named,
        size: plaintext.len() as u64,
        owner: 0,
        mode: String::new(),
        links: 0,
        age: None,
        content: Some(content),
    });
    Ok(report)
}

/// One age file.
fn audit_file(options: &Options, look: &Look, mut report: Report) -> Result<Report, CouldNotLook> {
    let path = &*options.target;
    let cannot = |cause| CouldNotLook::Unreadable {
        path: path.into(),
        cause,
    };
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let folder = Folder::open(parent).map_err(cannot)?;
    let file_name = path.file_name().unwrap_or_default();
    let file = file_name.to_string_lossy();
    let shown = path.to_string_lossy().into_owned();
    let limit = if file == COUNTERS {
        limits::COUNTERS_FILE
    } else {
        limits::PEER_FILE
    };
    let bytes = match folder.read(file_name, limit) {
        Ok(bytes) => bytes,
        Err(ReadError::Missing) => return Err(cannot(io::ErrorKind::NotFound.into())),
        Err(ReadError::Fault(fault)) => return Err(cannot(io::Error::other(fault))),
        Err(ReadError::Io(cause)) => return Err(cannot(cause)),
    };
    let stat = folder.stat(file_name).map_err(cannot)?;
    // With the name that it has in a vault, if it is one; otherwise the content decides.
    let name = match options.name.as_deref() {
        Some(name) => Named::As(name),
        None if file == IDENTITY || file == COUNTERS => Named::As(&file),
        None if ufrag_of(&*file).is_some() => Named::InItsFolder(&file),
        None => Named::ByItself,
    };
    let (age, content) = look.at_file(&mut report, &shown, name, &bytes);
    let content = match content {
        Ok(content) => content,
        Err(FileFault::ForeignRecipient) => return Err(CouldNotLook::WrongKey(path.into())),
        Err(FileFault::NotAge) => None,
        Err(fault) => {
            report.finding("cannot-open", &shown, fault.to_string());
            None
        }
    };
    report.files.push(FileReport {
        path: shown,
        place: Place::Named,
        size: bytes.len() as u64,
        owner: stat.st_uid,
        mode: format!("{:04o}", stat.st_mode & 0o7777),
        links: links(&stat),
        age,
        content,
    });
    Ok(report)
}
