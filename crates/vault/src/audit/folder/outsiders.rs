//! Entries that are none of the vault's files: strays, files that are being written, the file
//! system's own.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Stat};

use super::{CouldNotLook, Folder, LOST_AND_FOUND, Lock, Place, Walk, is_temporary, shown};

/// A running server needs milliseconds for a file. This is the limit for the whole audit.
const WRITING_PATIENCE: Duration = Duration::from_secs(2);
const WRITING_INTERVAL: Duration = Duration::from_millis(20);

impl Walk<'_> {
    /// An entry with a name that the vault does not use.
    pub(super) fn misnamed(
        &mut self,
        folder: &Folder,
        name: &str,
        path: &str,
    ) -> Result<(), CouldNotLook> {
        if is_temporary(name) {
            self.temporary(folder, name, path)
        } else {
            self.stray(folder, name, path)
        }
    }

    pub(super) fn stray(
        &mut self,
        folder: &Folder,
        name: impl AsRef<OsStr>,
        path: &str,
    ) -> Result<(), CouldNotLook> {
        self.entry(folder, name, path, Place::Stray)?;
        self.report
            .finding("stray", path, "rekindle did not put it there");
        Ok(())
    }

    fn temporary(&mut self, folder: &Folder, name: &str, path: &str) -> Result<(), CouldNotLook> {
        let Some(stat) = self.entry(folder, name, path, Place::Temporary)? else {
            return Ok(());
        };
        if self.lock != Lock::Held {
            let text = "left by a server that was killed while it wrote: the next start removes it";
            self.report.finding("temporary", path, text);
        } else if self.goes_away(folder, name, &stat) {
            let text = "the server that runs was writing it; it is gone now";
            self.report.note("temporary", path, text);
        } else {
            let text = "a server runs, but does not finish it: look who wrote it, then delete it";
            self.report.finding("temporary", path, text);
        }
        Ok(())
    }

    /// Whether a file that is being written gets its name while we wait.
    fn goes_away(&mut self, folder: &Folder, name: &str, before: &Stat) -> bool {
        let end = *self
            .patience
            .get_or_insert_with(|| Instant::now() + WRITING_PATIENCE);
        loop {
            match folder.stat(name) {
                Ok(now) if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino) => {}
                Ok(_) => return true,
                Err(e) => return e.kind() == ErrorKind::NotFound,
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(WRITING_INTERVAL);
        }
    }

    /// Where a file system puts what its check finds. On some it is root's, and no other user can
    /// read it.
    pub(super) fn lost_and_found(&mut self, root: &Folder) -> Result<(), CouldNotLook> {
        let Some(stat) = self.entry(root, LOST_AND_FOUND, LOST_AND_FOUND, Place::Folder)? else {
            return Ok(());
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let looked = root
            .sub(LOST_AND_FOUND)
            .and_then(|folder| Ok((folder.names()?, folder)));
        match looked {
            Ok((names, _)) if names.is_empty() => {
                let text = "made by the file system; it is empty";
                self.report.note("lost-and-found", LOST_AND_FOUND, text);
            }
            Ok((mut names, folder)) => {
                names.sort();
                for name in names {
                    self.stray(
                        &folder,
                        &name,
                        &format!("{LOST_AND_FOUND}/{}", shown(&name)),
                    )?;
                }
            }
            Err(e) if e.kind() == ErrorKind::PermissionDenied && stat.st_uid == 0 => {
                let text = "made by the file system; only root can look into it";
                self.report.note("lost-and-found", LOST_AND_FOUND, text);
            }
            Err(cause) => {
                return Err(CouldNotLook::Unreadable {
                    path: root.path().join(LOST_AND_FOUND),
                    cause,
                });
            }
        }
        Ok(())
    }
}
