//! The vault: a folder with a lock, `identity.age` and `peers/<ufrag>.age`.
//!
//! Every change is made on a temporary file that is synced, renamed and followed by a sync of the folder, so a kill at
//! any moment leaves either the old file or the new one.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::hmac;

use super::anchor::{Anchor, AnchorError};
use super::clock::unix_seconds;
use super::error::{FileFault, VaultError, no_room};
use super::files::{Folder, ReadError, is_temporary};
use super::identity::{Identities, Identity};
use super::key::KeyFile;
use super::reader::Reader;
use super::record::{Header, Kind, PeerRecord, Ufrag};
use super::rekey;
use super::seal::{MacKey, OpeningKey, SealingKey, seal_identity, seal_peer, unseal};

/// The file of the server's identity.
pub(super) const IDENTITY: &str = "identity.age";
/// The folder of the peers' files.
pub(super) const PEERS: &str = "peers";
/// The folder of files that were in `peers/` and could not be used.
pub(super) const SET_ASIDE: &str = "set-aside";
/// Full-state mode's folder of session keys. Without that mode only the auditor knows of it, as of the following.
pub(super) const SESSIONS: &str = "sessions";
/// Full-state mode's file of all sessions' counters.
pub(super) const COUNTERS: &str = "counters.age";
/// The file that is locked while a process uses the vault. It is empty.
pub(super) const LOCK: &str = "lock";
/// What `mkfs` leaves in the root of a file system: no reason to refuse a first run.
pub(super) const LOST_AND_FOUND: &str = "lost+found";
/// HKDF info of the key of session tags. Its input is the DTLS private key, so that tags outlive the key file.
const TAG_INFO: &[u8] = b"session tag";
/// A process that was just killed may hold the lock until the kernel has cleaned up after it.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
/// When to say that it is waited for.
const LOCK_NEWS: Duration = Duration::from_millis(200);
/// How often to look meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);
/// Writes to one peer's file take turns; peers share this many turns.
const STRIPES: usize = 32;

/// The folder that holds what is persisted. Encrypts and writes; it holds no key that opens a file.
pub struct Vault {
    pub(super) root: Folder,
    pub(super) peers: Folder,
    pub(super) boot: u64,
    pub(super) sealing: RwLock<SealingKey>,
    own: Mutex<Own>,
    tags: RwLock<Vec<TagKey>>,
    stripes: [Mutex<()>; STRIPES],
    /// Says outside the folder how far it has come.
    anchor: Mutex<Option<Anchor>>,
    /// Unlocks when dropped.
    _lock: Lock,
}

/// What `identity.age` is to say in this boot.
struct Own {
    identities: Identities,
    header: Header,
    /// It does not say so yet.
    unwritten: bool,
}

/// What makes session tags for the peers that go by one certificate.
struct TagKey {
    /// SHA-256 of the certificate.
    certificate: [u8; 32],
    key: MacKey,
}

/// A session tag; see [`Vault::session_tags`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTag {
    /// SHA-256 of the certificate that the peer goes by.
    pub certificate: [u8; 32],
    /// The tag.
    pub tag: [u8; 16],
}

/// What became of [`Opened::rotate_identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// There is a new certificate; peers of earlier boots keep theirs.
    Yes,
    /// The vault is new, and so is its certificate.
    FirstRun,
    /// As many earlier certificates as there may be are still in use.
    TooMany,
}

/// What [`Vault::open`] gives.
#[derive(Debug)]
pub struct Opened {
    /// To write with, from any thread.
    pub vault: Vault,
    /// The server's certificate and key, for new peers.
    pub identity: Arc<Identity>,
    /// Those that peers of earlier boots may go by, the latest first.
    pub earlier: Vec<Arc<Identity>>,
    /// This life of the process: 1 on the first run, then one more than the last that was made durable.
    pub boot: u64,
    /// The vault was just made.
    pub first_run: bool,
    /// To read the peers of earlier boots with, until the resume window ends.
    pub reader: Reader,
}

impl Vault {
    /// Opens the vault, or makes one in a folder that is empty or does not exist yet.
    ///
    /// Until the key file has proved to open `identity.age`, nothing on disk is touched. Waits up to 3 s for the lock.
    ///
    /// # Errors
    /// [`VaultError`]; each says what to do.
    pub fn open(dir: &Path, keys: KeyFile, now: SystemTime) -> Result<Opened, VaultError> {
        Self::open_as(dir, keys, now, Kind::Identity)
    }

    /// `kind` is what `identity.age` will be from now on.
    pub(super) fn open_as(dir: &Path, keys: KeyFile, now: SystemTime, kind: Kind) -> Result<Opened, VaultError> {
        let root = open_root(dir)?;
        if let Some(root) = &root
            && load_identity(root, &keys.keys)?.is_none()
        {
            refuse_if_not_empty(root)?;
        }
        let root = match root {
            Some(root) => root,
            None => Folder::create(dir).map_err(|cause| match cause.kind() {
                std::io::ErrorKind::NotFound => VaultError::NotAFolder(dir.into()),
                _ => VaultError::Io {
                    what: "create the folder",
                    path: dir.into(),
                    cause,
                },
            })?,
        };
        let lock = take_lock(&root)?;
        // Again, now that nobody else writes: a server that was just stopping may have.
        let stored = load_identity(&root, &keys.keys)?;
        rekey::finish(&root, &mut || {})?;
        #[cfg(feature = "full-state")]
        super::full_state::prepare(&root, kind)?;
        let peers = root
            .sub_or_create(PEERS)
            .map_err(|e| root.error("open or create the folder peers/", e))?;
        peers.refuse_if_shared()?;
        for folder in [&root, &peers] {
            let removed = folder
                .remove_temporary()
                .map_err(|e| folder.error("remove temporary files", e))?;
            if removed > 0 {
                tracing::info!(
                    removed,
                    "removed what was left of files that a killed process was writing"
                );
            }
        }

        let first_run = stored.is_none();
        let (identities, boot) = match stored {
            Some((identities, header)) => (identities, header.boot.saturating_add(1)),
            None => (Identities::new(Identity::generate(now)?), 1),
        };
        let sealing = keys.keys[0].sealing();
        let Identities { current, earlier } = identities.clone();
        let tags = identities.all().map(|identity| TagKey::new(identity)).collect();
        let own = Own {
            identities,
            header: Header::new(kind, boot, unix_seconds(now)),
            unwritten: true,
        };
        let reader = Reader::open(&root, keys, if first_run { boot } else { boot - 1 }, boot)?;
        let vault = Vault {
            root,
            peers,
            boot,
            sealing: RwLock::new(sealing),
            own: Mutex::new(own),
            tags: RwLock::new(tags),
            stripes: [const { Mutex::new(()) }; STRIPES],
            anchor: Mutex::new(None),
            _lock: lock,
        };
        if first_run {
            // Before anything is promised to anybody: without it, the fingerprint in an answer would be a lie later.
            vault.commit_boot()?;
        }
        Ok(Opened {
            vault,
            identity: current,
            earlier,
            boot,
            first_run,
            reader,
        })
    }

    /// Makes this boot's number durable, once; later calls do nothing.
    ///
    /// `identity.age` is written anew, encrypted to the first identity of the key file; at every moment the old or the
    /// new one is there. Blocks for the disk. Until then a process that is killed leaves its number to the next.
    ///
    /// # Errors
    /// [`VaultError::Full`] or [`VaultError::Io`]; it can be tried again.
    pub fn commit_boot(&self) -> Result<(), VaultError> {
        let mut own = self.own();
        if own.unwritten {
            self.write_identity(&mut own)?;
        }
        Ok(())
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `identity.age` anew.
    fn write_identity(&self, own: &mut Own) -> Result<(), VaultError> {
        own.unwritten = true;
        let sealed = {
            let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
            seal_identity(&key, IDENTITY, &own.header, &own.identities.record())
        };
        self.root
            .replace(IDENTITY, &sealed)
            .map_err(|e| write_error(&self.root, IDENTITY, e))?;
        // After the identity: a kill in between leaves the anchor behind, never ahead.
        if let Some(anchor) = &mut *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) {
            anchor.advance(self.boot, &own.identities.current.sha256())?;
        }
        own.unwritten = false;
        Ok(())
    }

    /// Puts `identity.age` under another key, and from now on all that is written.
    pub(super) fn change_key(&self, sealing: SealingKey) -> Result<(), VaultError> {
        let mut own = self.own();
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = sealing;
        self.write_identity(&mut own)
    }

    /// Takes earlier certificates (by their SHA-256) out of `identity.age`, since no peer goes by them any more. The
    /// current one stays, whatever is asked. Blocks for the disk.
    ///
    /// # Errors
    /// [`VaultError::Full`] or [`VaultError::Io`]; the next write of `identity.age` leaves them out.
    pub fn forget_identities(&self, certificates: &[[u8; 32]]) -> Result<(), VaultError> {
        let gone = |certificate: &[u8; 32]| certificates.contains(certificate);
        let mut own = self.own();
        let current = own.identities.current.sha256();
        let before = own.identities.earlier.len();
        own.identities.earlier.retain(|identity| !gone(&identity.sha256()));
        self.tags
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|tag| tag.certificate == current || !gone(&tag.certificate));
        if own.identities.earlier.len() < before {
            self.write_identity(&mut own)?;
        }
        Ok(())
    }

    /// Writes a peer's record. It is durable when this returns `Ok`, and unchanged when it does not. Blocks for the
    /// disk. No record is written before its boot's number is durable, so no record is ever ahead of `identity.age`.
    ///
    /// # Errors
    /// [`VaultError::Full`] when there is no room, [`VaultError::Unfit`] for a record that would not be read back,
    /// [`VaultError::Io`] otherwise.
    pub fn save(&self, record: &PeerRecord, now: SystemTime) -> Result<(), VaultError> {
        record.check()?;
        self.commit_boot()?;
        let file = file_name(&record.ice.ufrag);
        let header = Header::new(Kind::Peer, self.boot, unix_seconds(now));
        let _turn = self.turn(&record.ice.ufrag);
        // Held until the file is in place: a rotation that has changed the key finds all files under the old one.
        let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = seal_peer(&key, &path_in_vault(&file), &header, record);
        self.peers
            .replace(&file, &sealed)
            .map_err(|e| write_error(&self.peers, "a peer's record", e))
    }

    /// Removes a peer's record, durably. Returns whether there was one. Blocks for the disk.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    pub fn remove(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let _turn = self.turn(ufrag);
        #[cfg(feature = "full-state")]
        self.remove_session_in_turn(ufrag)?;
        self.peers
            .remove(&file_name(ufrag))
            .map_err(|e| self.peers.error("remove a peer's record", e))
    }

    /// Tags for the peer's session URL, one for each certificate that it may go by, the current one first: nobody can
    /// guess them, and they are the same in every boot, whatever key file the vault is under. HMAC-SHA-256 (RFC 2104),
    /// cut to 128 bits, under a key derived from the certificate's private key.
    pub fn session_tags(&self, ufrag: &Ufrag) -> Vec<SessionTag> {
        let tags = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        tags.iter().map(|key| key.tag(ufrag)).collect()
    }

    /// Waits until nobody else writes this peer's file.
    pub(super) fn turn(&self, ufrag: &Ufrag) -> MutexGuard<'_, ()> {
        let stripe = ufrag
            .as_str()
            .bytes()
            .fold(0_usize, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        self.stripes[stripe % STRIPES]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl TagKey {
    fn new(identity: &Identity) -> Self {
        Self {
            certificate: identity.sha256(),
            key: MacKey::derive(identity.private_key_der(), TAG_INFO),
        }
    }

    fn tag(&self, ufrag: &Ufrag) -> SessionTag {
        let tag: hmac::Tag = self.key.tag(&[ufrag.as_str().as_bytes()]);
        SessionTag {
            certificate: self.certificate,
            tag: *tag.as_ref().first_chunk().expect("HMAC-SHA-256 has 32 bytes"),
        }
    }
}

impl Opened {
    /// Compares the vault with an anchor, a file elsewhere that says how far it had come, and keeps that up to date from now on.
    ///
    /// # Errors
    /// [`AnchorError`] where the vault is behind the anchor or is another one, or the anchor is not there or cannot be used.
    pub fn hold_to(&mut self, anchor: &Path) -> Result<(), AnchorError> {
        let own = self.vault.own();
        let last = if self.first_run { None } else { Some(self.boot - 1) };
        let certificates: Vec<[u8; 32]> = own.identities.all().map(|identity| identity.sha256()).collect();
        drop(own);
        let mut anchor = Anchor::open(anchor, last, &certificates)?;
        if self.first_run {
            // The first run's identity is on disk already.
            anchor.advance(self.boot, &certificates[0])?;
        }
        *self.vault.anchor.lock().unwrap_or_else(PoisonError::into_inner) = Some(anchor);
        Ok(())
    }

    /// Makes a new certificate for new peers. Peers of earlier boots keep the one that they were shown; it goes once
    /// none of them is left ([`Vault::forget_identities`]). It is durable before the first record that names it.
    ///
    /// # Errors
    /// [`VaultError::Certificate`]; then all is as it was.
    pub fn rotate_identity(&mut self, now: SystemTime) -> Result<Rotated, VaultError> {
        if self.first_run {
            return Ok(Rotated::FirstRun);
        }
        let mut own = self.vault.own();
        if !own.identities.may_rotate() {
            return Ok(Rotated::TooMany);
        }
        own.identities.rotate(Identity::generate(now)?);
        own.unwritten = true;
        let Identities { current, earlier } = own.identities.clone();
        drop(own);
        let mut tags = self.vault.tags.write().unwrap_or_else(PoisonError::into_inner);
        tags.insert(0, TagKey::new(&current));
        drop(tags);
        (self.identity, self.earlier) = (current, earlier);
        Ok(Rotated::Yes)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("path", &self.root.path())
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

/// The name of a peer's file in `peers/`.
pub(super) fn file_name(ufrag: &Ufrag) -> String {
    format!("{ufrag}.age")
}

/// The peer whose file has this name, if it is one's.
pub(super) fn ufrag_of(name: impl AsRef<OsStr>) -> Option<Ufrag> {
    let stem = name.as_ref().to_str()?.strip_suffix(".age")?;
    Ufrag::new(stem).ok()
}

/// The name that a peer's MAC covers.
pub(super) fn path_in_vault(file: &str) -> String {
    format!("{PEERS}/{file}")
}

/// The name that the MAC of a peer's session keys covers.
pub(super) fn session_path(file: &str) -> String {
    format!("{SESSIONS}/{file}")
}

/// The vault's folder, checked; `None` if there is nothing of that name.
pub(super) fn open_root(dir: &Path) -> Result<Option<Folder>, VaultError> {
    match Folder::open(dir) {
        Ok(root) => root.refuse_if_shared().map(|()| Some(root)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Err(VaultError::NotAFolder(dir.into())),
        Err(cause) => Err(VaultError::Io {
            what: "open the folder",
            path: dir.into(),
            cause,
        }),
    }
}

/// Reads `identity.age`: the identities, and the header with the boot it was written in. `None` if neither it nor any peer is there.
pub(super) fn load_identity(root: &Folder, keys: &[OpeningKey]) -> Result<Option<(Identities, Header)>, VaultError> {
    let damaged = |cause| VaultError::IdentityDamaged {
        path: root.path().into(),
        cause,
    };
    // Where a rekey was cut off after its point of no return, the identity may still be in its folder.
    let file = match rekey::identity_folder(root)?
        .as_ref()
        .unwrap_or(root)
        .read(IDENTITY, Kind::Identity.file_limit())
    {
        Ok(file) => file,
        Err(ReadError::Missing) => {
            return match count_others(root)? {
                0 => Ok(None),
                files => Err(VaultError::IdentityMissing {
                    path: root.path().into(),
                    files,
                }),
            };
        }
        Err(ReadError::Fault(fault)) => return Err(damaged(fault)),
        Err(ReadError::Io(e)) => return Err(root.error("read identity.age", e)),
    };
    let unsealed = unseal(keys, IDENTITY, &file).map_err(|fault| match fault {
        FileFault::ForeignRecipient => VaultError::WrongKey(root.path().into()),
        FileFault::FullState => VaultError::FullState(root.path().into()),
        fault => damaged(fault),
    })?;
    let (header, record) = unsealed.identity().map_err(damaged)?;
    let identities = Identities::from_record(&record).ok_or_else(|| damaged(FileFault::Malformed))?;
    Ok(Some((identities, header)))
}

/// How many files there are that only a vault with an identity can hold.
fn count_others(root: &Folder) -> Result<usize, VaultError> {
    let mut files = 0;
    for name in [PEERS, SET_ASIDE] {
        match root.sub(name).and_then(|folder| folder.names()) {
            Ok(names) => files += names.iter().filter(|n| !is_temporary(n)).count(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(root.error("look for peers", e)),
        }
    }
    Ok(files)
}

/// A vault is not made among somebody's other files.
fn refuse_if_not_empty(root: &Folder) -> Result<(), VaultError> {
    let known = [LOCK, PEERS, SET_ASIDE, LOST_AND_FOUND, rekey::COMMITTED];
    let ours = |name: &OsStr| known.iter().any(|known| name == *known) || is_temporary(name);
    let names = root.names().map_err(|e| root.error("list the folder", e))?;
    match names.into_iter().find(|n| !ours(n)) {
        Some(found) => Err(VaultError::NotEmpty {
            path: root.path().into(),
            found: found.to_string_lossy().into_owned(),
        }),
        None => Ok(()),
    }
}

/// What a process holds while it uses a vault.
pub(super) struct Lock {
    /// The folder itself: this lock cannot be removed.
    _folder: File,
    /// The file in it, by which an auditor sees that the vault is in use.
    _file: File,
}

/// Takes the lock of the folder, or gives up after a few seconds.
pub(super) fn take_lock(root: &Folder) -> Result<Lock, VaultError> {
    let start = Instant::now();
    let folder = root.to_lock().map_err(|e| root.error("open the folder", e))?;
    let mut said = false;
    loop {
        let file = root.open_lock(LOCK).map_err(|e| root.error("open the lock", e))?;
        match folder.try_lock().and_then(|()| file.try_lock()) {
            // Somebody may have removed the file between the two: then the lock is on a file nobody else will find.
            Ok(()) if root.is_same(LOCK, &file).map_err(|e| root.error("check the lock", e))? => {
                return Ok(Lock {
                    _folder: folder,
                    _file: file,
                });
            }
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(root.error("take the lock", e)),
        }
        if !std::mem::replace(&mut said, start.elapsed() >= LOCK_NEWS) && said {
            tracing::info!("another process uses the vault: waiting for it to end");
        }
        if start.elapsed() >= LOCK_PATIENCE {
            return Err(VaultError::InUse(root.path().into()));
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
}

/// No room, or the system's answer.
pub(super) fn write_error(folder: &Folder, file: &'static str, cause: std::io::Error) -> VaultError {
    if no_room(&cause) {
        VaultError::Full { file, cause }
    } else {
        folder.error("write a file", cause)
    }
}
