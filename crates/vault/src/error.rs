//! Errors of key files and vaults, in words that say what to do next. Each message is complete: it
//! contains the system's error.

use std::io;
use std::path::PathBuf;

use crate::anchor::AnchorError;
use crate::record::UnfitRecord;

/// A key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such file.
    #[error("there is no key file {path}: name the right one, or make one with `rekindle keygen -o \
             {path}`", path = .0.display())]
    Missing(PathBuf),
    /// A folder, a pipe, a device.
    #[error("the key file {path} is not a regular file: name a file", path = .0.display())]
    NotAFile(PathBuf),
    /// Group or others may read it.
    #[error("the key file {path} can be read by others (mode {mode:04o}): `chmod 600 {path}`, and \
             make a new key if they may have read it", path = path.display())]
    ReadableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to neither us nor root.
    #[error("the key file {path} belongs to user {owner}, who could change it: it must belong to \
             the user that runs rekindle, or to root", path = path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The user number of its owner.
        owner: u32,
    },
    /// Larger than any list of identities.
    #[error("the key file {path} has more than 64 KiB: this is no key file", path = .0.display())]
    TooLarge(PathBuf),
    /// Comments and empty lines only.
    #[error("the key file {path} holds no identity: it needs a line that begins with \
             AGE-SECRET-KEY-1", path = .0.display())]
    NoIdentity(PathBuf),
    /// A line that is neither a comment nor an X25519 identity. The line itself is never printed.
    #[error("line {line} of the key file {path} is neither a comment nor an age identity \
             (AGE-SECRET-KEY-1...)", path = path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// `keygen` never overwrites.
    #[error("{path} exists and is left as it is: a key file is never overwritten, because without \
             it the vault is lost; name another file", path = .0.display())]
    Exists(PathBuf),
    /// A system error.
    #[error("cannot {what} the key file {path}: {cause}", path = path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// The vault cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Not a folder, or the parent is missing.
    #[error("the vault {path} is not a folder: name a folder, or one that does not exist yet \
             inside one that does", path = .0.display())]
    NotAFolder(PathBuf),
    /// Another user could put files there.
    #[error("the folder {path} can be written by others (mode {mode:04o}): `chmod 700 \
             {path}`", path = path.display())]
    WritableByOthers {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to neither us nor root.
    #[error("the folder {path} belongs to user {owner}: it must belong to the user that runs \
             rekindle", path = path.display())]
    ForeignOwner {
        /// The folder.
        path: PathBuf,
        /// The user number of its owner.
        owner: u32,
    },
    /// A first run needs an empty folder.
    #[error("the folder {path} is no vault and not empty ({found} is in it): name an empty folder, \
             or one that does not exist yet", path = path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The first foreign entry.
        found: String,
    },
    /// Another process holds the lock.
    #[error("another process uses the vault {path}: stop it first, or give this one another \
             folder", path = .0.display())]
    InUse(PathBuf),
    /// No identity of the key file opens `identity.age`.
    #[error("the key file does not open the vault {path}: start with the key file it was made with \
             (or restore {path}/identity.age if it was damaged). Nothing was \
             changed", path = .0.display())]
    WrongKey(PathBuf),
    /// Session keys are in it, and this build has no code for them.
    #[error("full-state mode has written the vault {path} and keeps session keys in it, which this \
             build has no code to read: start it with a build that has the feature full-state \
             (with --mode rehandshake that removes the keys); or move the folder away. Nothing was \
             changed", path = .0.display())]
    FullState(PathBuf),
    /// Peers without an identity.
    #[error("{path}/identity.age is missing, but {files} other files of the vault are there: \
             restore it from a backup; or, to begin anew with every browser joining again, move \
             the folder away. Nothing was changed", path = path.display())]
    IdentityMissing {
        /// The vault.
        path: PathBuf,
        /// Peer files found.
        files: usize,
    },
    /// `identity.age` is not in our format.
    #[error("{path}/identity.age is damaged ({cause}): restore it from a backup; or, to begin anew \
             with every browser joining again, move the folder away. Nothing was \
             changed", path = path.display())]
    IdentityDamaged {
        /// The vault.
        path: PathBuf,
        /// What is wrong with it.
        cause: FileFault,
    },
    /// A record is newer than the identity, which therefore is an old copy.
    #[error("{path}/identity.age is an old copy: it was written in boot {identity}, and there is a \
             peer's record of boot {record}. Whoever put it back has an earlier certificate used \
             again. Restore the newest identity.age; or, if it is lost, move {path}/peers away and \
             start once with --rotate-identity. Nothing was changed", path = path.display())]
    RolledBack {
        /// The vault.
        path: PathBuf,
        /// The boot in which `identity.age` was written.
        identity: u64,
        /// The boot in which the record was written.
        record: u64,
    },
    /// See [`AnchorError`].
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The certificate and key could not be made.
    #[error("cannot make the server's certificate: {0}")]
    Certificate(String),
    /// No room: HTTP answers 503, and live peers continue.
    #[error(
        "no room left to write {file} (disk full, over quota or over the file size limit): free \
         some; peers that are here go on"
    )]
    Full {
        /// The file that was to be written, without its name if that would lead to a peer.
        file: &'static str,
        /// The system's error.
        cause: io::Error,
    },
    /// The record belongs to another node now, or another process has taken this node's place.
    #[error(
        "the peer's record belongs to another node by now, or another process has taken this \
         node's place: nothing was written. If that was not to be, give each process a node name \
         of its own"
    )]
    NotOwner,
    /// A shared store does not answer, or refuses this client. It is unknown whether the data was
    /// written.
    #[error(
        "cannot {what}: {cause}. Check that most members of the store run and that this host \
         reaches them; new peers are refused until then, and peers that are here go on"
    )]
    Unavailable {
        /// The operation.
        what: &'static str,
        /// The error of the store, or of its client.
        cause: String,
    },
    /// A rekey of a shared store was not finished.
    #[error("the vault {path} is being put under another key file: wait for `rekindle rekey` to \
             end, or run it again with the same key files if it was cut off", path = .0.display())]
    Rekeying(PathBuf),
    /// Full-state mode, and no folder.
    #[error(
        "session keys are kept in a folder only: name a folder, or leave --mode full-state out"
    )]
    FolderOnly,
    /// A record that must not be written.
    #[error("a peer's record does not fit: {0}")]
    Unfit(#[from] UnfitRecord),
    /// A system error.
    #[error("cannot {what} in the vault {path}: {cause}", path = path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The vault.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
}

/// What is wrong with one file of the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileFault {
    /// A link, a folder, a pipe, a device.
    #[error("not a regular file")]
    NotRegular,
    /// Another name refers to the same file, so that others may have access.
    #[error("it has more than one hard link")]
    HardLinked,
    /// It may not be read.
    #[error("no permission to read it")]
    Unreadable,
    /// Larger than any file of its kind.
    #[error("larger than any file of its kind")]
    TooLarge,
    /// Not age, or its header is damaged.
    #[error("not an age file, or its header is damaged")]
    NotAge,
    /// Encrypted to none of our identities.
    #[error("no identity of the key file opens it")]
    ForeignRecipient,
    /// The age payload does not decrypt to its end.
    #[error("torn or changed after it was encrypted")]
    Torn,
    /// Not one of our plaintexts.
    #[error("not a plaintext of rekindle")]
    NotOurs,
    /// Another version of the schema.
    #[error("schema version {0}, which this program does not read")]
    Schema(u8),
    /// Written by the mode that keeps session keys.
    #[error(
        "written by full-state mode, which keeps session keys; this server does not read such a \
         vault"
    )]
    FullState,
    /// The MAC is invalid: made without the key file, or for another file name.
    #[error("its MAC is wrong: forged, or another file's content under this name")]
    Forged,
    /// An identity where a peer should be, or the reverse.
    #[error("the content is of another kind than the name says")]
    WrongKind,
    /// Its encoding is not the canonical one.
    #[error("it does not decode")]
    Malformed,
    /// The record's ufrag is not the file's name.
    #[error("the content belongs to another file name")]
    WrongName,
    /// A field that this server could not have made.
    #[error("a field does not fit: {0}")]
    Unfit(UnfitRecord),
    /// The record's boot is later than that of `identity.age`.
    #[error("written in boot {0}, which identity.age has not seen: identity.age was rolled back")]
    FutureBoot(u64),
}

/// Whether the system had no room for the data.
pub(crate) fn no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
