//! Which other users can read a file that holds a secret.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where systemd puts the files of `LoadCredential=`; set for this service alone.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The most permissive mode of a file there. An ACL entry for the service's user appears as a right
/// of the group.
const CREDENTIAL_MODE: u32 = 0o440;

/// Whether users other than the owner can read this file; `meta` is that of the opened file.
///
/// A file that systemd passes to this service is not exposed: with `User=` it is root's, with mode
/// 0400, and an ACL entry lets the service's user read it, which appears as 0440. The folder around
/// it keeps all others out.
pub fn is_exposed(path: &Path, meta: &Metadata) -> bool {
    is_exposed_beside(
        path,
        meta,
        std::env::var_os(CREDENTIALS).as_deref().map(Path::new),
    )
}

fn is_exposed_beside(path: &Path, meta: &Metadata, credentials: Option<&Path>) -> bool {
    let mode = meta.mode() & 0o7777;
    let handed_over = || {
        mode & !CREDENTIAL_MODE == 0
            && credentials.is_some_and(|folder| lies_in(path, meta, folder) == Some(true))
    };
    mode & 0o077 != 0 && !handed_over()
}

/// Whether the file is in the folder after all links and `..` are resolved, and is the one that was
/// opened.
fn lies_in(path: &Path, meta: &Metadata, folder: &Path) -> Option<bool> {
    let folder = folder.canonicalize().ok()?;
    let path = path.canonicalize().ok()?;
    let found = fs::metadata(&path).ok()?;
    Some(path.starts_with(folder) && (found.dev(), found.ino()) == (meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests;
