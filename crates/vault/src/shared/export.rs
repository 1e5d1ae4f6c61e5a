//! A vault in a shared store as a folder, for inspection.

use std::io;
use std::path::Path;

use crate::error::VaultError;
use crate::files::Folder;
use crate::layout::{IDENTITY, PEERS, SET_ASIDE, is_temporary};

use super::{Shared, SharedStore};

/// The result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Peers' files.
    pub peers: usize,
    /// Files in `set-aside/`.
    pub set_aside: usize,
    /// Keys that no vault uses; they were left out.
    pub strange: usize,
}

/// Writes the files of a vault into a folder that must not exist yet, byte for byte as the store
/// has them. Needs no key, opens nothing and changes nothing in the store. Nodes may continue
/// meanwhile: no record is newer than the identity, which is read last.
///
/// # Errors
/// [`VaultError::Io`], also where the folder exists already; [`VaultError::IdentityMissing`] where
/// the store has no vault; [`VaultError::Unavailable`].
pub fn export(store: &dyn SharedStore, dir: &Path) -> Result<Exported, VaultError> {
    let what = "read the vault's files";
    let failed = |e| Shared::error_of(store, what, e);
    let lists = [PEERS, SET_ASIDE].map(|folder| store.names(folder).map_err(failed));
    let [peers, aside] = lists;
    let (peers, aside) = (peers?, aside?);
    let is_there = store.read(&[IDENTITY]).map_err(failed)?;
    if is_there.iter().all(Option::is_none) {
        return Err(VaultError::IdentityMissing {
            path: store.address().into(),
            files: peers.len() + aside.len(),
        });
    }

    let root = Folder::create(dir).map_err(|cause| VaultError::Io {
        what: "create a new folder",
        path: dir.into(),
        cause,
    })?;
    let mut exported = Exported::default();
    for (name, files, count) in [
        (PEERS, peers, &mut exported.peers),
        (SET_ASIDE, aside, &mut exported.set_aside),
    ] {
        if files.is_empty() && name != PEERS {
            continue;
        }
        let made = root.sub_or_create(name);
        let folder = made.map_err(|e| root.error("create a folder", e))?;
        for file in files {
            if !is_file_name(&file) {
                exported.strange += 1;
                continue;
            }
            let found = store.read(&[&format!("{name}/{file}")]).map_err(failed)?;
            // A missing one was removed meanwhile.
            for entry in found.into_iter().flatten() {
                write(&folder, &file, &entry.value)?;
                *count += 1;
            }
        }
        folder.sync().map_err(|e| root.error("write a file", e))?;
    }
    let identity = store.read(&[IDENTITY]).map_err(failed)?;
    for entry in identity.into_iter().flatten() {
        write(&root, IDENTITY, &entry.value)?;
    }
    root.sync().map_err(|e| root.error("write a file", e))?;
    Ok(exported)
}

fn write(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
    folder
        .write_new(name, bytes)
        .map_err(|e: io::Error| folder.write_error("an exported file", e))
}

/// Anybody who can write to the store chooses its keys: none of them may lead out of the folder.
fn is_file_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    name.bytes().all(fits)
        && name.len() <= 255
        && name.ends_with(".age")
        && !name.starts_with('.')
        && !is_temporary(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_folder() {
        for good in ["abcdefgh.age", "abcdefgh.12.age", "a+b.rekey.age"] {
            assert!(is_file_name(good), "{good}");
        }
        let long = format!("{}.age", "a".repeat(252));
        for bad in [
            "", ".age", "../x.age", "a/b.age", "..age", "a\0.age", "abcdefgh", &long,
        ] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }
}
