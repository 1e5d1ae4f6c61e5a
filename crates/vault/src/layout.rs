//! Names of the vault's files and folders. Their content is defined in `record`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rekindle_ids::Ufrag;

/// The file of the server's identity.
pub(crate) const IDENTITY: &str = "identity.age";
/// The folder of the peers' files.
pub(crate) const PEERS: &str = "peers";
/// The folder of files from `peers/` that could not be used.
pub(crate) const SET_ASIDE: &str = "set-aside";
/// In a shared store: `owners/<ufrag>` is the name of the node that may change the peer's file.
pub(crate) const OWNERS: &str = "owners";
/// In a shared store: `nodes/<node>` is what a live node says of itself.
pub(crate) const NODES: &str = "nodes";
/// In a shared store: `processes/<node>` is the random number of the node's present process. An
/// earlier one learns by it that it was replaced.
pub(crate) const PROCESSES: &str = "processes";
/// In a shared store, while it is put under another key file: no node may start.
pub(crate) const REKEYING: &str = "rekeying";
/// Full-state mode's folder of session keys. Without that mode only the auditor uses this name and
/// the next one.
pub(crate) const SESSIONS: &str = "sessions";
/// Full-state mode's file of all sessions' counters.
pub(crate) const COUNTERS: &str = "counters.age";
/// The file that is locked while a process uses the vault. It is empty.
pub(crate) const LOCK: &str = "lock";
/// What `mkfs` leaves in the root of a file system: no reason to refuse a first run.
pub(crate) const LOST_AND_FOUND: &str = "lost+found";
/// Where a rekey prepares the new files. The name is that of a temporary file, so that a server
/// removes it.
pub(crate) const REKEY_PREPARED: &str = ".tmp-rekey";
/// Its name from a rekey's point of no return on.
pub(crate) const REKEY_COMMITTED: &str = "rekey";
/// The folder of the old peers' files inside it, until it is emptied.
pub(crate) const OLD_PEERS: &str = "old-peers";
/// In a shared store, which node has which channel's publisher.
pub(crate) const CHANNELS: &str = "channels";
/// In a shared store: `pulls/<node>/<ufrag>` asks the node to take this peer over, through which
/// another node takes a channel from it.
pub(crate) const PULLS: &str = "pulls";
/// Prefix of files that are being written. What a crash leaves of them is removed at the next
/// start.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Whether a file of this name is being written.
pub(crate) fn is_temporary(name: impl AsRef<OsStr>) -> bool {
    name.as_ref().as_bytes().starts_with(TEMPORARY.as_bytes())
}

/// The name of a peer's file in `peers/`.
pub(crate) fn file_name(ufrag: &Ufrag) -> String {
    format!("{ufrag}.age")
}

/// The peer whose file has this name, if it is a peer's.
pub(crate) fn ufrag_of(name: impl AsRef<OsStr>) -> Option<Ufrag> {
    let stem = name.as_ref().to_str()?.strip_suffix(".age")?;
    Ufrag::new(stem).ok()
}

/// The name that the MAC of a peer's file covers.
pub(crate) fn path_in_vault(file: &str) -> String {
    format!("{PEERS}/{file}")
}

/// The name that the MAC of a peer's session keys covers.
pub(crate) fn session_path(file: &str) -> String {
    format!("{SESSIONS}/{file}")
}
