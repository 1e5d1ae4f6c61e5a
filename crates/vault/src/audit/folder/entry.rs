//! What the file system says of an entry, whatever its content.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat};

use super::super::report::FileReport;
use super::{CouldNotLook, FileFault, Folder, LOST_AND_FOUND, Place, Walk};
use crate::files::links;

/// Extended attributes that the kernel's security modules set on every file. Any other may hide
/// data.
const OF_THE_SYSTEM: [&str; 7] = [
    "security.SMACK64",
    "security.SMACK64EXEC",
    "security.SMACK64TRANSMUTE",
    "security.apparmor",
    "security.evm",
    "security.ima",
    "security.selinux",
];

impl Walk<'_> {
    /// Owner, mode, links and extended attributes. `None` if the entry was removed meanwhile.
    pub(super) fn entry(
        &mut self,
        folder: &Folder,
        name: impl AsRef<OsStr>,
        path: &str,
        place: Place,
    ) -> Result<Option<Stat>, CouldNotLook> {
        let name = name.as_ref();
        let cannot = |cause| CouldNotLook::Unreadable {
            path: folder.path().join(name),
            cause,
        };
        let stat = match folder.stat(name) {
            Ok(stat) => stat,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                self.report
                    .note("gone", path, "it went away while it was looked at");
                return Ok(None);
            }
            Err(cause) => return Err(cannot(cause)),
        };
        let (kind, mode) = (FileType::from_raw_mode(stat.st_mode), stat.st_mode & 0o7777);
        if kind != FileType::Symlink {
            self.mode(path, kind, mode);
        }
        let expected = *self.owner.get_or_insert(stat.st_uid);
        // A file system's own folder belongs to root.
        let of_the_system = path == LOST_AND_FOUND && stat.st_uid == 0;
        if stat.st_uid != expected && !of_the_system {
            let text = format!(
                "belongs to user {}, the vault to user {expected}",
                stat.st_uid
            );
            self.report.finding("owner", path, text);
        }
        let wanted = if matches!(place, Place::Folder) {
            FileType::Directory
        } else {
            FileType::RegularFile
        };
        if kind != wanted {
            self.report.finding(
                "not-regular",
                path,
                format!("{kind:?}, where {wanted:?} should be"),
            );
        } else if kind == FileType::RegularFile && links(&stat) > 1 {
            self.report
                .finding("hard-link", path, FileFault::HardLinked.to_string());
        }
        let attributes = match folder.attributes(name) {
            Ok(attributes) => attributes,
            // It was removed, or the file system does not support this.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                Vec::new()
            }
            Err(cause) => return Err(cannot(cause)),
        };
        for attribute in attributes
            .iter()
            .filter(|name| !OF_THE_SYSTEM.contains(&&***name))
        {
            let text = format!(
                "extended attribute {}: bytes that no file shows",
                attribute.escape_debug()
            );
            self.report.finding("attribute", path, text);
        }
        self.report.files.push(FileReport {
            path: path.to_owned(),
            place,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            owner: stat.st_uid,
            mode: format!("{mode:04o}"),
            links: links(&stat),
            age: None,
            content: None,
        });
        Ok(Some(stat))
    }

    fn mode(&mut self, path: &str, kind: FileType, mode: u32) {
        if mode & 0o022 != 0 {
            let text = format!("mode {mode:04o}: others can change it");
            self.report.finding("writable-by-others", path, text);
        } else if mode & 0o055 != 0 {
            let text = format!("mode {mode:04o}: others can look into it");
            self.report.finding("readable-by-others", path, text);
        }
        // A folder inherits set-group-ID from its parent.
        let inherited = if kind == FileType::Directory {
            0o2000
        } else {
            0
        };
        if mode & 0o7000 & !inherited != 0 {
            let text = format!(
                "mode {mode:04o}: set-user-ID, set-group-ID or sticky, which rekindle does not set"
            );
            self.report.finding("special-mode", path, text);
        }
    }
}

/// A name as text; bytes that are not UTF-8 as `\xff`.
pub(super) fn shown(name: &OsStr) -> Cow<'_, str> {
    if let Some(text) = name.to_str() {
        return text.into();
    }
    let mut shown = String::new();
    for chunk in name.as_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown.into()
}
