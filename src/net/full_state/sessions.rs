//! What the threads that read records read in addition in full-state mode.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

#[cfg(rekindle_kill_points)]
use rekindle_full_state::kill_points;
pub(in crate::net) use rekindle_full_state::record::Counters;
use rekindle_full_state::record::{Resumed, SessionCounters};

use crate::ids::Ufrag;
use crate::net::media_loop::MediaLoop;
use crate::net::resume::Loaded;
use crate::vault::{Reader, Vault};

/// Session keys of an earlier process, and their counters.
pub(in crate::net) type Session = Box<Resumed>;

/// The sessions of the last process, if they are kept.
pub(in crate::net) struct Sessions(Option<Left>);

struct Left {
    counters: HashMap<Ufrag, SessionCounters>,
    /// What this process has made durable since.
    raised: HashMap<Ufrag, SessionCounters>,
    vault: Arc<Vault>,
    /// Peers with session keys whose record has not been read.
    orphans: HashSet<Ufrag>,
}

impl Sessions {
    /// Reads the counters, makes a first reservation for this process durable, and tells the loop.
    pub(in crate::net) fn open(
        reader: &Reader,
        vault: Option<Arc<Vault>>,
        loaded: &mpsc::Sender<Loaded>,
    ) -> Self {
        let opened = vault.map(|vault| Left::open(reader, vault));
        let (left, counters) = opened.unzip();
        // Without a receiver the process is stopping.
        let _ = loaded.send(Loaded::Begun(counters.unwrap_or_default()));
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters handed over");
        Self(left)
    }

    /// The session of a peer whose record was read. An unusable one is removed.
    pub(in crate::net) fn take(&mut self, reader: &Reader, ufrag: &Ufrag) -> Option<Session> {
        self.0.as_mut()?.take(reader, ufrag).map(Box::new)
    }

    /// All records were read: keys of peers without a record are removed.
    pub(in crate::net) fn finish(self) {
        let Some(left) = self.0 else { return };
        for ufrag in &left.orphans {
            left.remove(ufrag);
        }
    }
}

impl Left {
    fn open(reader: &Reader, vault: Arc<Vault>) -> (Self, Counters) {
        let left = reader.read_counters();
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters read");
        let mut raised = left.clone();
        raised.raise();
        let mut sessions = Self {
            counters: left.by_peer(),
            raised: raised.by_peer(),
            vault,
            orphans: reader.sessions(),
        };
        if !raised.sessions.is_empty()
            && let Err(error) = sessions.vault.save_counters(&raised, SystemTime::now())
        {
            tracing::error!(%error, "counters could not be saved: no session can be taken over, \
                                     and every browser has to run a handshake");
            (sessions.counters, sessions.raised) = Default::default();
            raised = Counters::default();
        }
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters raised");
        (sessions, raised)
    }

    fn take(&mut self, reader: &Reader, ufrag: &Ufrag) -> Option<Resumed> {
        if !self.orphans.remove(ufrag) {
            return None;
        }
        let resumed = self
            .counters
            .remove(ufrag)
            .zip(self.raised.remove(ufrag))
            .and_then(|(left, now)| {
                let session = reader.read_session(ufrag)?;
                Some(Resumed { session, left, now })
            });
        if resumed.is_none() {
            self.remove(ufrag);
        }
        resumed
    }

    fn remove(&self, ufrag: &Ufrag) {
        if let Err(error) = self.vault.remove_session(ufrag) {
            tracing::warn!(%error, "session keys that are of no use could not be removed");
        }
    }
}

impl MediaLoop {
    /// Takes the counters of the last process, before all records.
    pub(in crate::net) fn take_counters(&mut self, counters: Counters) {
        self.core.take_counters(counters);
    }

    /// Takes the session of the peer whose record comes next.
    pub(in crate::net) fn bring(&mut self, session: Session) {
        self.core.bring_session(session);
    }

    /// Sends to peers whose sessions were taken over from the local addresses used before.
    pub(in crate::net) fn take_sources(&mut self) {
        while let Some((peer, local)) = self.core.poll_source() {
            self.socket.set_source(peer, local);
        }
    }
}
