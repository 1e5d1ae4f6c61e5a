//! Folders of the vault, held open: all operations are relative to them, never through a link, and
//! every file either exists completely or not at all.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(rekindle_kill_points)]
use rekindle_full_state::kill_points;
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{FileFault, VaultError, no_room};
use crate::layout::{TEMPORARY, is_temporary};

/// A folder, held open.
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// There is no such file.
    Missing,
    /// It exists, but must not be read.
    Fault(FileFault),
    /// A system error; trying again later may help.
    Io(io::Error),
}

/// How many names lead to the same file.
#[allow(
    clippy::useless_conversion,
    reason = "the field is narrower on other architectures"
)]
pub(crate) fn links(stat: &Stat) -> u64 {
    u64::from(stat.st_nlink)
}

impl Folder {
    /// Opens a folder by its path, following links: the operator decides where the vault is.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let fd = fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            fd,
            path: path.into(),
        })
    }

    /// Creates a folder that only we can enter, durably, and opens it. The parent must exist.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        fs::mkdir(path, Mode::RWXU)?;
        let parent = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
        Self::open(path)
    }

    /// Opens a folder in this one; a link is not followed.
    pub(crate) fn sub(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = name.as_ref();
        Ok(Self {
            fd: fs::openat(&self.fd, name, flags, Mode::empty())?,
            path: self.path.join(name),
        })
    }

    /// Opens a folder in this one, creating it durably if it does not exist.
    pub(crate) fn sub_or_create(&self, name: &str) -> io::Result<Self> {
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        self.sub(name)
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a folder into which others than us and root could put files.
    pub(crate) fn refuse_if_shared(&self) -> Result<(), VaultError> {
        let stat = fs::fstat(&self.fd).map_err(|e| self.error("look at the folder", e.into()))?;
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(VaultError::ForeignOwner {
                path: self.path.clone(),
                owner: stat.st_uid,
            });
        }
        let mode = stat.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(VaultError::WritableByOthers {
                path: self.path.clone(),
                mode,
            });
        }
        Ok(())
    }

    /// The names of all entries, in no order. Those that are not UTF-8 are foreign, and must still
    /// be distinct.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if name != c"." && name != c".." {
                names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
            }
        }
        Ok(names)
    }

    /// Opens or creates a file to lock. It stays empty.
    pub(crate) fn open_lock(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(
            &self.fd,
            name,
            flags,
            Mode::RUSR | Mode::WUSR,
        )?))
    }

    /// The folder itself, to lock it.
    pub(crate) fn to_lock(&self) -> io::Result<File> {
        Ok(File::from(self.fd.try_clone()?))
    }

    /// Opens a file to see who has its lock.
    pub(crate) fn open_to_look(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(
            &self.fd,
            name,
            flags,
            Mode::empty(),
        )?))
    }

    /// The names of an entry's extended attributes.
    pub(crate) fn attributes(&self, name: impl AsRef<OsStr>) -> io::Result<Vec<String>> {
        // All names of a file have 64 KiB at most (Linux, XATTR_LIST_MAX).
        let mut names = vec![0_u8; 64 * 1024];
        let length = fs::llistxattr(self.path.join(name.as_ref()), &mut names[..])?;
        let names = names[..length].split(|&b| b == 0).filter(|n| !n.is_empty());
        Ok(names
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect())
    }

    /// Whether the name still refers to this open file.
    pub(crate) fn is_same(&self, name: &str, file: &File) -> io::Result<bool> {
        if !self.has(name)? {
            return Ok(false);
        }
        let named = self.stat(name)?;
        let opened = fs::fstat(file)?;
        Ok((named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino))
    }

    /// The metadata of an entry; of a link, the link's own.
    pub(crate) fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Stat> {
        Ok(fs::statat(
            &self.fd,
            name.as_ref(),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Reads a regular file with one name and at most `limit` bytes.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>, limit: usize) -> Result<Vec<u8>, ReadError> {
        // Does not block on a pipe without a writer.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd =
            fs::openat(&self.fd, name.as_ref(), flags, Mode::empty()).map_err(|e| match e {
                Errno::NOENT => ReadError::Missing,
                // A link, a socket, a device without a driver.
                Errno::LOOP | Errno::NXIO | Errno::NODEV => ReadError::Fault(FileFault::NotRegular),
                Errno::ACCESS | Errno::PERM => ReadError::Fault(FileFault::Unreadable),
                e => ReadError::Io(e.into()),
            })?;
        let stat = fs::fstat(&fd).map_err(|e| ReadError::Io(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ReadError::Fault(FileFault::NotRegular));
        }
        if links(&stat) > 1 {
            return Err(ReadError::Fault(FileFault::HardLinked));
        }
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(ReadError::Fault(FileFault::TooLarge));
        }
        let mut bytes = Vec::with_capacity(size + 1);
        File::from(fd)
            .take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(ReadError::Io)?;
        if bytes.len() > limit {
            Err(ReadError::Fault(FileFault::TooLarge))
        } else {
            Ok(bytes)
        }
    }

    /// Writes a file under a temporary name, syncs it, renames it, and syncs the folder. When this
    /// returns `Ok` the new content is durable; otherwise the old content is still there.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let temporary = format!(
            "{TEMPORARY}{}-{}",
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        );
        #[cfg(rekindle_kill_points)]
        kill_points::writes(&self.path, name);
        let renamed = self
            .write_new(&temporary, bytes)
            .and_then(|()| Ok(fs::renameat(&self.fd, &*temporary, &self.fd, name)?));
        if let Err(e) = renamed {
            let _ = fs::unlinkat(&self.fd, &*temporary, AtFlags::empty());
            return Err(e);
        }
        #[cfg(rekindle_kill_points)]
        kill_points::step_of_file("renamed");
        self.sync()?;
        #[cfg(rekindle_kill_points)]
        kill_points::step_of_file("folder synced");
        Ok(())
    }

    /// Writes a file that does not exist yet, and syncs it. Its name is durable after
    /// [`Folder::sync`].
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR)?);
        #[cfg(rekindle_canary)]
        rekindle_secrets::canary::file(name, bytes);
        #[cfg(rekindle_kill_points)]
        kill_points::step_of_file("made");
        #[cfg(rekindle_kill_points)]
        let bytes = {
            let (half, rest) = bytes.split_at(bytes.len() / 2);
            file.write_all(half)?;
            kill_points::step_of_file("half written");
            rest
        };
        file.write_all(bytes)?;
        #[cfg(rekindle_kill_points)]
        kill_points::step_of_file("written");
        file.sync_all()?;
        #[cfg(rekindle_kill_points)]
        kill_points::step_of_file("synced");
        Ok(())
    }

    /// Removes a folder in this one and all files in it, if it exists. Folders in it must be empty.
    pub(crate) fn remove_folder(&self, name: &str) -> io::Result<()> {
        let folder = match self.sub(name) {
            Ok(folder) => folder,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for entry in folder.names()? {
            let is_folder =
                FileType::from_raw_mode(folder.stat(&entry)?.st_mode) == FileType::Directory;
            let flags = if is_folder {
                AtFlags::REMOVEDIR
            } else {
                AtFlags::empty()
            };
            fs::unlinkat(&folder.fd, &*entry, flags)?;
        }
        fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?;
        self.sync()
    }

    /// Whether there is an entry of this name.
    pub(crate) fn has(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Whether an entry is a regular file.
    pub(crate) fn is_file(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        Ok(FileType::from_raw_mode(self.stat(name)?.st_mode) == FileType::RegularFile)
    }

    /// Removes a file, durably. Returns whether it was there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<bool> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => {
                #[cfg(rekindle_kill_points)]
                {
                    kill_points::writes(&self.path, name);
                    kill_points::step_of_file("removed");
                }
                self.sync().map(|()| true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Moves an entry, whatever it is, into another folder.
    pub(crate) fn rename_into(
        &self,
        name: impl AsRef<OsStr>,
        other: &Folder,
        new_name: impl AsRef<OsStr>,
    ) -> io::Result<()> {
        Ok(fs::renameat(
            &self.fd,
            name.as_ref(),
            &other.fd,
            new_name.as_ref(),
        )?)
    }

    /// Removes files that were being written when a process died. To be called only under the lock.
    pub(crate) fn remove_temporary(&self) -> io::Result<usize> {
        let mut removed = 0;
        for name in self.names()?.iter().filter(|n| is_temporary(n)) {
            if self.is_file(name)? {
                fs::unlinkat(&self.fd, &**name, AtFlags::empty())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Makes names durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.fd)?)
    }

    /// An error of this folder.
    pub(crate) fn error(&self, what: &'static str, cause: io::Error) -> VaultError {
        VaultError::Io {
            what,
            path: self.path.clone(),
            cause,
        }
    }

    /// The error of writing `file`: lack of room has a variant of its own.
    pub(crate) fn write_error(&self, file: &'static str, cause: io::Error) -> VaultError {
        if no_room(&cause) {
            VaultError::Full { file, cause }
        } else {
            self.error("write a file", cause)
        }
    }
}
