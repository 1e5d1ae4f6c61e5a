//! The key file: an age identity file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use age::secrecy::ExposeSecret;
use age::x25519;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::clock::{rfc3339, unix_seconds};
use crate::error::KeyError;
use crate::record::limits;
use crate::seal::OpeningKey;

/// The identities of a key file, in their order: the first encrypts, all decrypt. Wiped when
/// dropped, never printed.
pub struct KeyFile {
    pub(crate) keys: Vec<OpeningKey>,
}

impl KeyFile {
    /// Reads a key file.
    ///
    /// A symbolic link is followed: systemd, Kubernetes and others provide secrets that way. The
    /// opened file is checked, so that a link can lead only to a file that would be accepted
    /// anyway.
    ///
    /// # Errors
    /// [`KeyError`] unless it is a regular file of at most 64 KiB that belongs to us or root, that
    /// only its owner can read (or that systemd passes as a credential), and that holds at least
    /// one X25519 identity and nothing else but comments.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io_error = |what| {
            move |cause| KeyError::Io {
                what,
                path: path.into(),
                cause,
            }
        };
        // Does not block on a pipe without a writer.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)
            .map_err(|e| {
                if e.kind() == io::ErrorKind::NotFound {
                    KeyError::Missing(path.into())
                } else {
                    io_error("open")(e)
                }
            })?;
        let meta = file.metadata().map_err(io_error("look at"))?;
        if !meta.is_file() {
            return Err(KeyError::NotAFile(path.into()));
        }
        if rekindle_secrets::is_exposed(path, &meta) {
            return Err(KeyError::ReadableByOthers {
                path: path.into(),
                mode: meta.mode() & 0o7777,
            });
        }
        if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(KeyError::ForeignOwner {
                path: path.into(),
                owner: meta.uid(),
            });
        }
        if meta.len() > limits::KEY_FILE as u64 {
            return Err(KeyError::TooLarge(path.into()));
        }
        let mut text = Zeroizing::new(vec![0; limits::KEY_FILE + 1]);
        let mut length = 0;
        while length < text.len() {
            match file.read(&mut text[length..]).map_err(io_error("read"))? {
                0 => break,
                n => length += n,
            }
        }
        if length > limits::KEY_FILE {
            return Err(KeyError::TooLarge(path.into()));
        }
        Self::parse(&text[..length], path)
    }

    /// Parses the lines of a key file; `path` is for the errors only.
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self, KeyError> {
        let is_identity = |line: &[u8]| !line.is_empty() && !line.starts_with(b"#");
        let lines = || text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
        // Allocated at once: a list that grows leaves copies of its secrets behind.
        let mut keys = Vec::with_capacity(lines().filter(|l| is_identity(l)).count());
        for (index, line) in lines().enumerate().filter(|(_, l)| is_identity(l)) {
            let identity = std::str::from_utf8(line)
                .ok()
                .and_then(|l| l.parse::<x25519::Identity>().ok());
            let identity = identity.ok_or(KeyError::BadLine {
                path: path.into(),
                line: index + 1,
            })?;
            keys.push(OpeningKey::new(identity));
        }
        if keys.is_empty() {
            Err(KeyError::NoIdentity(path.into()))
        } else {
            Ok(Self { keys })
        }
    }

    /// Makes a key file with one new identity, readable by its owner only, and durable when this
    /// returns.
    ///
    /// # Errors
    /// [`KeyError::Exists`] if there is anything of that name (a dangling link too);
    /// [`KeyError::Io`] otherwise.
    pub fn generate(path: &Path) -> Result<Self, KeyError> {
        let io_error = |what| {
            move |cause| KeyError::Io {
                what,
                path: path.into(),
                cause,
            }
        };
        let identity = x25519::Identity::generate();
        let created = rfc3339(unix_seconds(SystemTime::now()));
        let public = identity.to_public();
        let secret = identity.to_string();
        let text = Zeroizing::new(format!(
            "# created: {created}\n# public key: {public}\n{}\n",
            secret.expose_secret()
        ));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| {
                if e.kind() == io::ErrorKind::AlreadyExists {
                    KeyError::Exists(path.into())
                } else {
                    io_error("create")(e)
                }
            })?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                let parent = path
                    .parent()
                    .filter(|p| !p.as_os_str().is_empty())
                    .unwrap_or(Path::new("."));
                File::open(parent)?.sync_all()
            });
        if let Err(e) = written {
            // Half a key file is worse than none: a later run would fail on it.
            let _ = std::fs::remove_file(path);
            return Err(io_error("write")(e));
        }
        Ok(Self {
            keys: vec![OpeningKey::new(identity)],
        })
    }

    /// The recipients (`age1...`) of the identities, in their order. Files are encrypted to the
    /// first.
    pub fn recipients(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(OpeningKey::recipient)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({} identities)", self.keys.len())
    }
}
