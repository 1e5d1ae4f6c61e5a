//! The vault: `identity.age` and `peers/<ufrag>.age`, in a folder with a lock. A store that several
//! processes use is opened in [`crate::shared`].
//!
//! Every change in a folder is made on a temporary file that is synced and renamed, followed by a
//! sync of the folder, so that a kill at any moment leaves either the old file or the new one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use rekindle_ids::Ufrag;

use crate::anchor::{Anchor, AnchorError};
use crate::clock::unix_seconds;
use crate::error::VaultError;
use crate::files::Folder;
use crate::identity::{Identities, Identity};
use crate::key::KeyFile;
use crate::layout::{IDENTITY, PEERS, file_name, path_in_vault};
use crate::lock::{Lock, take_lock};
use crate::opening::{load_identity, open_root, refuse_if_not_empty};
use crate::reader::Reader;
use crate::record::{Header, Kind, PeerRecord};
use crate::rekey;
use crate::seal::{SealingKey, seal_identity, seal_peer};
use crate::shared::Shared;
use crate::storage::{FolderStorage, Storage};

/// Writes to one peer's file take turns; peers share this many locks.
const STRIPES: usize = 32;

/// The persisted state. Encrypts and writes; it holds no key that opens a file.
pub struct Vault {
    pub(crate) storage: Arc<dyn Storage>,
    /// Exists where other processes write to the same store.
    pub(crate) shared: Option<Arc<Shared>>,
    pub(crate) boot: u64,
    pub(crate) sealing: RwLock<SealingKey>,
    own: Mutex<Own>,
    stripes: [Mutex<()>; STRIPES],
    /// Records the vault's progress outside the folder.
    pub(crate) anchor: Mutex<Option<Anchor>>,
    /// Unlocks a folder when dropped.
    _lock: Option<Lock>,
}

/// The content of `identity.age` in this boot.
pub(crate) struct Own {
    pub identities: Identities,
    pub header: Header,
    /// Whether it still has to be written.
    pub unwritten: bool,
}

/// The result of [`Opened::rotate_identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotated {
    /// There is a new certificate; peers of earlier boots keep theirs.
    Yes,
    /// The vault is new, and so is its certificate.
    FirstRun,
    /// The limit of earlier certificates is reached, and all are still in use.
    TooMany,
}

/// The result of [`Vault::open`].
#[derive(Debug)]
pub struct Opened {
    /// For writing, from any thread.
    pub vault: Vault,
    /// The server's certificate and key, for new peers.
    pub identity: Arc<Identity>,
    /// Those that peers of earlier boots may use, the latest first.
    pub earlier: Vec<Arc<Identity>>,
    /// The number of this boot: 1 on the first run, then one more than the last that was made
    /// durable.
    pub boot: u64,
    /// Whether the vault was just made.
    pub first_run: bool,
    /// For reading the peers of earlier boots, until the resume window ends.
    pub reader: Reader,
}

impl Vault {
    /// Opens the vault, or makes one in a folder that is empty or does not exist yet.
    ///
    /// Nothing on disk is changed before the key file has proved to open `identity.age`. Waits up
    /// to 3 s for the lock.
    ///
    /// # Errors
    /// [`VaultError`]; each says what to do.
    pub fn open(dir: &Path, keys: KeyFile, now: SystemTime) -> Result<Opened, VaultError> {
        Self::open_as(dir, keys, now, Kind::IDENTITY)
    }

    /// `kind` is that of `identity.age` from now on.
    pub(crate) fn open_as(
        dir: &Path,
        keys: KeyFile,
        now: SystemTime,
        kind: Kind,
    ) -> Result<Opened, VaultError> {
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
        // Again, now that no other process writes: a server that was just stopping may have.
        let stored = load_identity(&root, &keys.keys)?;
        rekey::finish(&root, &mut || {})?;
        crate::full_state::prepare(&root, kind)?;
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
        let own = Own {
            identities,
            header: Header::new(kind, boot, unix_seconds(now)),
            unwritten: true,
        };
        let storage = FolderStorage::new(root, peers);
        let last_boot = if first_run { boot } else { boot - 1 };
        // Opened separately, so that it works wherever the vault is moved.
        let reader = Reader::open(Arc::new(storage.reopen()?), keys, last_boot, boot)?;
        let vault = Vault {
            _lock: Some(lock),
            ..Vault::new(Arc::new(storage), None, boot, sealing, own)
        };
        if first_run {
            // Before any answer names the certificate: without it, the fingerprint in an answer
            // would become wrong.
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

    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        shared: Option<Arc<Shared>>,
        boot: u64,
        sealing: SealingKey,
        own: Own,
    ) -> Self {
        Self {
            storage,
            shared,
            boot,
            sealing: RwLock::new(sealing),
            own: Mutex::new(own),
            stripes: [const { Mutex::new(()) }; STRIPES],
            anchor: Mutex::new(None),
            _lock: None,
        }
    }

    /// Makes this boot's number durable, once; later calls do nothing.
    ///
    /// `identity.age` is written again, encrypted for the first identity of the key file; at every
    /// moment the old or the new one exists. Blocks for the disk. A process that is killed before
    /// this leaves its number to the next.
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

    pub(crate) fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes `identity.age`, where no other process does.
    fn write_identity(&self, own: &mut Own) -> Result<(), VaultError> {
        own.unwritten = true;
        let sealed = {
            let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
            seal_identity(&key, IDENTITY, &own.header, &own.identities.record())
        };
        self.storage.write_identity(&sealed, 0)?;
        // After the identity: a kill in between leaves the anchor behind, never ahead.
        if let Some(anchor) = &mut *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) {
            anchor.advance(self.boot, &own.identities.current.sha256())?;
        }
        own.unwritten = false;
        Ok(())
    }

    /// Encrypts `identity.age` for another key, and from now on all that is written.
    pub(crate) fn change_key(&self, sealing: SealingKey) -> Result<(), VaultError> {
        let mut own = self.own();
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = sealing;
        self.write_identity(&mut own)
    }

    /// Removes earlier certificates (by their SHA-256) from `identity.age`, since no peer uses them
    /// any more. The current one always stays. Blocks for the disk.
    ///
    /// In a shared store nothing is removed: no node knows the peers of the others.
    ///
    /// # Errors
    /// [`VaultError::Full`] or [`VaultError::Io`]; the next write of `identity.age` omits them.
    pub fn forget_identities(&self, certificates: &[[u8; 32]]) -> Result<(), VaultError> {
        if self.shared.is_some() {
            return Ok(());
        }
        let gone = |certificate: &[u8; 32]| certificates.contains(certificate);
        let mut own = self.own();
        let before = own.identities.earlier.len();
        own.identities
            .earlier
            .retain(|identity| !gone(&identity.sha256()));
        if own.identities.earlier.len() < before {
            self.write_identity(&mut own)?;
        }
        Ok(())
    }

    /// Writes a peer's record. It is durable when this returns `Ok`, and otherwise unchanged.
    /// Blocks for the disk. No record is written before its boot's number is durable, so no record
    /// is ever newer than `identity.age`.
    ///
    /// # Errors
    /// [`VaultError::Full`] when there is no room, [`VaultError::Unfit`] for a record that would
    /// not be read back, [`VaultError::Io`] otherwise. In a shared store also
    /// [`VaultError::NotOwner`], and [`VaultError::Unavailable`], after which the record may be
    /// there or not.
    pub fn save(&self, record: &PeerRecord, now: SystemTime) -> Result<(), VaultError> {
        record.check()?;
        self.commit_boot()?;
        let ufrag = &record.ice.ufrag;
        let header = Header::new(Kind::PEER, self.boot, unix_seconds(now));
        let _turn = self.turn(ufrag);
        // Held until the file is in place: a rotation that has changed the key finds all files
        // under the old one.
        let key = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
        let sealed = seal_peer(&key, &path_in_vault(&file_name(ufrag)), &header, record);
        self.storage.write_peer(ufrag, &sealed)
    }

    /// Removes a peer's record, durably. Returns whether there was one. Blocks for the disk.
    ///
    /// # Errors
    /// [`VaultError::Io`]; in a shared store [`VaultError::NotOwner`] or
    /// [`VaultError::Unavailable`].
    pub fn remove(&self, ufrag: &Ufrag) -> Result<bool, VaultError> {
        let _turn = self.turn(ufrag);
        self.remove_session_in_turn(ufrag)?;
        self.storage.remove_peer(ufrag)
    }

    /// The same of several peers, and what came of each. A shared store is asked in few
    /// transactions; once it gives no answer ([`VaultError::Unavailable`]) it is asked no more, and
    /// nothing is said of the peers that follow.
    pub fn remove_each(&self, ufrags: &[Ufrag]) -> Vec<Result<bool, VaultError>> {
        match &self.shared {
            Some(shared) => shared.remove_each(ufrags, |some| self.turns(some)),
            None => ufrags.iter().map(|ufrag| self.remove(ufrag)).collect(),
        }
    }

    /// Waits until nobody else writes these peers' files. The order keeps two who do so from waiting
    /// for each other; who has one turn asks for no other.
    fn turns(&self, ufrags: &[Ufrag]) -> Vec<MutexGuard<'_, ()>> {
        let stripes: BTreeSet<usize> = ufrags.iter().map(stripe).collect();
        let lock = |stripe: usize| {
            let stripe = &self.stripes[stripe];
            stripe.lock().unwrap_or_else(PoisonError::into_inner)
        };
        stripes.into_iter().map(lock).collect()
    }

    /// Waits until nobody else writes this peer's file.
    pub(crate) fn turn(&self, ufrag: &Ufrag) -> MutexGuard<'_, ()> {
        self.stripes[stripe(ufrag)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn stripe(ufrag: &Ufrag) -> usize {
    let bytes = ufrag.as_str().bytes();
    let sum = bytes.fold(0_usize, |sum, b| {
        sum.wrapping_mul(31).wrapping_add(b.into())
    });
    sum % STRIPES
}

impl Opened {
    /// Compares the vault with an anchor, a file elsewhere that records its progress, and updates
    /// that from now on.
    ///
    /// # Errors
    /// [`AnchorError`] where the vault is behind the anchor or is another one, or the anchor is
    /// missing or unusable.
    pub fn hold_to(&mut self, anchor: &Path) -> Result<(), AnchorError> {
        let own = self.vault.own();
        let last = if self.first_run {
            None
        } else {
            Some(self.boot - 1)
        };
        let certificates: Vec<[u8; 32]> = own
            .identities
            .all()
            .map(|identity| identity.sha256())
            .collect();
        let written = !own.unwritten;
        drop(own);
        let mut anchor = Anchor::open(anchor, last, &certificates)?;
        if written {
            // This is the case on a first run, and in a shared store.
            anchor.advance(self.boot, &certificates[0])?;
        }
        *self
            .vault
            .anchor
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(anchor);
        Ok(())
    }

    /// Makes a new certificate for new peers. Peers of earlier boots keep the one that they were
    /// told; it is removed once none of them is left ([`Vault::forget_identities`]). It is durable
    /// before the first record that names it.
    ///
    /// # Errors
    /// [`VaultError::Certificate`]; then nothing has changed. In a shared store also the errors of
    /// writing `identity.age`, since it is durable when this returns.
    pub fn rotate_identity(&mut self, now: SystemTime) -> Result<Rotated, VaultError> {
        if self.first_run {
            return Ok(Rotated::FirstRun);
        }
        if self.vault.shared.is_some() {
            return self.rotate_shared_identity(now);
        }
        let mut own = self.vault.own();
        if !own.identities.may_rotate() {
            return Ok(Rotated::TooMany);
        }
        own.identities.rotate(Arc::new(Identity::generate(now)?));
        own.unwritten = true;
        let Identities { current, earlier } = own.identities.clone();
        drop(own);
        (self.identity, self.earlier) = (current, earlier);
        Ok(Rotated::Yes)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("place", &self.storage.place())
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
