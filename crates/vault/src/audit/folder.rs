//! The vault's folder: owners, modes, links, strays, the lock, and every file in it.

use std::path::Path;
use std::time::Instant;

use rekindle_ids::Ufrag;
use rustix::fs::FileType;

use super::CouldNotLook;
use super::report::{Content, Lock, Place, RecipientFacts, Report, VaultFacts};
use super::sealed::{Look, Named};
use crate::error::FileFault;
use crate::files::{Folder, ReadError};
use crate::layout::{
    COUNTERS, IDENTITY, LOCK, LOST_AND_FOUND, PEERS, REKEY_COMMITTED, REKEY_PREPARED, SESSIONS,
    SET_ASIDE, is_temporary, path_in_vault, ufrag_of,
};
use crate::record::limits;

mod entry;
mod interrupted_rekey;
mod lock;
mod outsiders;
mod session_state;

use entry::shown;

/// If none of these exists, there is no vault.
const OF_A_VAULT: [&str; 7] = [
    IDENTITY,
    PEERS,
    SET_ASIDE,
    SESSIONS,
    COUNTERS,
    REKEY_COMMITTED,
    REKEY_PREPARED,
];

/// Audits a vault.
pub(super) fn audit(dir: &Path, look: &Look, mut report: Report) -> Result<Report, CouldNotLook> {
    let cannot = |cause| CouldNotLook::Unreadable {
        path: dir.into(),
        cause,
    };
    let root = Folder::open(dir).map_err(cannot)?;
    let lock = lock::who_has_it(&root);
    let mut walk = Walk {
        look,
        report: &mut report,
        lock,
        owner: None,
        boot: None,
        certificates: Vec::new(),
        peers: 0,
        rekeying: false,
        patience: None,
    };
    walk.entry(&root, ".", ".", Place::Folder)?;
    // First, because the peers' boots are compared with its boot.
    let mut names = root.names().map_err(cannot)?;
    names.sort_by_key(|n| (n != IDENTITY, n.clone()));
    if !names
        .iter()
        .any(|name| OF_A_VAULT.iter().any(|known| name == known))
    {
        return Err(CouldNotLook::NoVault(dir.into()));
    }
    walk.rekeying = names
        .iter()
        .any(|n| n == REKEY_COMMITTED || n == REKEY_PREPARED);
    for name in &names {
        let Some(text) = name.to_str() else {
            walk.stray(&root, name, &shown(name))?;
            continue;
        };
        match text {
            IDENTITY => walk.identity(&root)?,
            LOCK => walk.lock(&root)?,
            PEERS => walk.folder(&root, text, text, Walk::peer)?,
            SET_ASIDE => walk.folder(&root, text, text, Walk::set_aside)?,
            SESSIONS => walk.sessions(&root)?,
            COUNTERS => walk.counters(&root)?,
            REKEY_COMMITTED | REKEY_PREPARED => walk.interrupted_rekey(&root, text)?,
            LOST_AND_FOUND => walk.lost_and_found(&root)?,
            _ => walk.misnamed(&root, text, text)?,
        }
    }
    if !names.iter().any(|n| n == IDENTITY) && walk.peers > 0 {
        walk.report.finding(
            "identity-missing",
            IDENTITY,
            "there are peers but no identity: the server will not start",
        );
    }
    walk.unused_certificates();
    let (boot, peers) = (walk.boot, walk.peers);
    let position = |c: &Content| c.opened_by.as_ref().map(|o| o.position);
    let recipients = look
        .keys
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, key)| RecipientFacts {
            recipient: key.recipient(),
            files: report
                .files
                .iter()
                .filter(|f| f.content.as_ref().and_then(position) == Some(index))
                .count(),
        });
    report.vault = Some(VaultFacts {
        lock,
        boot,
        peers,
        recipients: recipients.collect(),
    });
    Ok(report)
}

struct Walk<'a> {
    look: &'a Look,
    report: &'a mut Report,
    lock: Lock,
    /// Owner of the vault's folder: everything else must belong to the same user.
    owner: Option<u32>,
    /// Boot of the identity.
    boot: Option<u64>,
    /// Certificates of the identity, the current one first.
    certificates: Vec<String>,
    peers: usize,
    /// Whether a rekey is running or was interrupted.
    rekeying: bool,
    /// Until when files that a server is writing are tolerated, counted from the first one.
    patience: Option<Instant>,
}

impl Walk<'_> {
    /// An age file: its entry, its header, its content. Returns the content if it could be
    /// decrypted.
    fn sealed(
        &mut self,
        folder: &Folder,
        file: &str,
        path: &str,
        place: Place,
        limit: usize,
        name: Named<'_>,
    ) -> Result<Result<Option<Content>, FileFault>, CouldNotLook> {
        let Some(stat) = self.entry(folder, file, path, place)? else {
            return Ok(Ok(None));
        };
        let bytes = match folder.read(file, limit) {
            Ok(bytes) => bytes,
            Err(ReadError::Missing) => return Ok(Ok(None)),
            Err(ReadError::Fault(FileFault::NotRegular | FileFault::HardLinked)) => {
                return Ok(Ok(None));
            }
            Err(ReadError::Fault(FileFault::TooLarge)) => {
                self.report.finding(
                    "too-large",
                    path,
                    format!("{} bytes: {}", stat.st_size, FileFault::TooLarge),
                );
                return Ok(Ok(None));
            }
            Err(ReadError::Fault(fault)) => {
                let cause = std::io::Error::other(fault);
                return Err(CouldNotLook::Unreadable {
                    path: folder.path().join(file),
                    cause,
                });
            }
            Err(ReadError::Io(cause)) => {
                return Err(CouldNotLook::Unreadable {
                    path: folder.path().join(file),
                    cause,
                });
            }
        };
        let (age, content) = self.look.at_file(self.report, path, name, &bytes);
        let entry = self.report.files.last_mut().expect("entered above");
        // The size of what was read, in case it changed since it was listed.
        entry.size = bytes.len() as u64;
        entry.age = age;
        entry.content = content.as_ref().ok().cloned().flatten();
        Ok(content)
    }

    fn identity(&mut self, root: &Folder) -> Result<(), CouldNotLook> {
        let content = self.sealed(
            root,
            IDENTITY,
            IDENTITY,
            Place::Identity,
            limits::IDENTITY_FILE,
            Named::As(IDENTITY),
        )?;
        match content {
            Ok(content) => {
                self.boot = content.as_ref().and_then(|c| c.boot);
                self.certificates = content
                    .as_ref()
                    .map(|c| c.certificates.clone())
                    .unwrap_or_default();
                self.wrong_kind(IDENTITY, content.as_ref(), "identity");
                Ok(())
            }
            Err(FileFault::NotAge) => Ok(()),
            // During a rekey, the other key file opens it, and this one the rest.
            Err(FileFault::ForeignRecipient) if !self.rekeying => {
                Err(CouldNotLook::WrongKey(root.path().into()))
            }
            Err(fault) => {
                self.report
                    .finding("cannot-open", IDENTITY, fault.to_string());
                Ok(())
            }
        }
    }

    fn peer(&mut self, folder: &Folder, name: &str, path: &str) -> Result<(), CouldNotLook> {
        if ufrag_of(name).is_none() {
            return self.misnamed(folder, name, path);
        }
        self.peers += 1;
        let content = self.sealed(
            folder,
            name,
            path,
            Place::Peer,
            limits::PEER_FILE,
            Named::As(path),
        )?;
        self.judge_peer(path, content);
        Ok(())
    }

    fn judge_peer(&mut self, path: &str, content: Result<Option<Content>, FileFault>) {
        match content {
            Ok(content) => {
                self.wrong_kind(path, content.as_ref(), "peer");
                let named = content.as_ref().into_iter().flat_map(|c| &c.certificates);
                if !self.certificates.is_empty()
                    && named.clone().any(|one| !self.certificates.contains(one))
                {
                    let text = "its answer names a certificate that identity.age does not hold: \
                                the peer cannot come back";
                    self.report.finding("no-certificate", path, text);
                }
                self.judge_boot(path, content.as_ref(), 0);
            }
            Err(FileFault::NotAge) => {}
            Err(fault) => self.report.finding("cannot-open", path, fault.to_string()),
        }
    }

    /// No file may be newer than the identity by more boots than this.
    fn judge_boot(&mut self, path: &str, content: Option<&Content>, ahead: u64) {
        if let (Some(written), Some(last)) = (content.and_then(|c| c.boot), self.boot)
            && written > last.saturating_add(ahead)
        {
            let text = format!(
                "written in boot {written}, but identity.age says boot {last}: identity.age is an \
                 older copy"
            );
            self.report.finding("rolled-back", path, text);
        }
    }

    fn wrong_kind(&mut self, path: &str, content: Option<&Content>, expected: &str) {
        if let Some(kind) = content.and_then(|c| c.kind)
            && kind != expected
            && kind != "full-state"
        {
            self.report
                .finding("name", path, FileFault::WrongKind.to_string());
        }
    }

    fn set_aside(&mut self, folder: &Folder, name: &str, path: &str) -> Result<(), CouldNotLook> {
        self.report.finding(
            "set-aside",
            path,
            "the server could not use it: find out why, then delete it",
        );
        let ufrag = name
            .split('.')
            .next()
            .filter(|stem| Ufrag::new(*stem).is_ok());
        let original = ufrag.map(|ufrag| path_in_vault(&format!("{ufrag}.age")));
        let original = original.as_deref().map_or(Named::ByItself, Named::As);
        let content = self.sealed(
            folder,
            name,
            path,
            Place::SetAside,
            limits::PEER_FILE,
            original,
        )?;
        self.judge_peer(path, content);
        Ok(())
    }

    /// A folder of the vault and its entries.
    fn folder(
        &mut self,
        root: &Folder,
        name: &str,
        path: &str,
        look: fn(&mut Self, &Folder, &str, &str) -> Result<(), CouldNotLook>,
    ) -> Result<(), CouldNotLook> {
        let Some(stat) = self.entry(root, name, path, Place::Folder)? else {
            return Ok(());
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let cannot = |cause| CouldNotLook::Unreadable {
            path: root.path().join(name),
            cause,
        };
        let folder = root.sub(name).map_err(cannot)?;
        let mut names = folder.names().map_err(cannot)?;
        names.sort();
        for entry in names {
            let path = format!("{path}/{}", shown(&entry));
            match entry.to_str() {
                Some(text) => look(self, &folder, text, &path)?,
                None => self.stray(&folder, &entry, &path)?,
            }
        }
        Ok(())
    }

    /// Earlier certificates are kept for the peers that use them.
    fn unused_certificates(&mut self) {
        let peers = self
            .report
            .files
            .iter()
            .filter(|file| file.place == Place::Peer);
        let named: Vec<&String> = peers
            .filter_map(|file| file.content.as_ref())
            .flat_map(|content| &content.certificates)
            .collect();
        let unused = self
            .certificates
            .iter()
            .skip(1)
            .filter(|one| !named.contains(one))
            .count();
        if unused > 0 {
            let text = format!(
                "{unused} earlier certificates that no peer goes by: a server that runs takes them \
                 out"
            );
            self.report.note("unused-certificate", IDENTITY, text);
        }
    }
}
