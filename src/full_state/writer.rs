//! Full-state mode's threads: one that writes sessions and counters while the media loop goes on,
//! and what the thread that reads records does besides. A part of `net`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use mio::Waker;

use super::resume::Loaded;
use super::{Handle, Stopped};
use crate::broadcast::Broadcast;
use crate::broadcast::full_state::Work;
#[cfg(rekindle_kill_points)]
use crate::full_state::kill_points;
use crate::full_state::record::SessionCounters;
pub(super) use crate::full_state::record::{Counters, Resumed};
use crate::ids::Ufrag;
use crate::peer::Transmit;
use crate::vault::full_state::by_peer;
use crate::vault::{Reader, Vault};

/// How often to look whether all is written.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Handle {
    /// Has all session keys and counters written anew, if they are kept, and waits until they are
    /// on the disk: the vault is under another key.
    ///
    /// # Errors
    /// [`Stopped`] where the loop has ended.
    pub async fn rewrite_sessions(&self) -> Result<(), Stopped> {
        self.ask(|core, _| core.rewrite_sessions()).await?;
        while !self.ask(|core, _| core.are_rewritten()).await? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

/// The loop's side of the writer.
pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    /// Whether counters became durable.
    done: mpsc::Receiver<bool>,
}

impl Writer {
    /// Starts the thread. It ends when the loop does.
    pub(super) fn start(vault: Arc<Vault>, waker: Arc<Waker>) -> std::io::Result<Self> {
        let (work, inbox) = mpsc::channel();
        let (answer, done) = mpsc::channel();
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || write(&vault, &inbox, &answer, &waker))?;
        Ok(Self { work, done })
    }

    /// Hands out work, and tells the core what became of it.
    pub(super) fn turn(
        &self,
        now: Instant,
        core: &mut Broadcast,
        local: impl Fn(SocketAddr) -> Option<IpAddr>,
        out: &mut Vec<Transmit>,
    ) {
        while let Ok(durable) = self.done.try_recv() {
            core.reserved(now, durable, out);
            #[cfg(rekindle_kill_points)]
            kill_points::step("the loop knows");
        }
        while let Some(work) = core.poll_work(now, &local) {
            // Without a writer nothing more becomes durable, and sooner or later nothing is sent.
            let _ = self.work.send(work);
            #[cfg(rekindle_kill_points)]
            kill_points::step("work given");
        }
    }
}

fn write(vault: &Vault, work: &mpsc::Receiver<Work>, done: &mpsc::Sender<bool>, waker: &Waker) {
    while let Ok(next) = work.recv() {
        #[cfg(rekindle_kill_points)]
        kill_points::step("work taken");
        let now = SystemTime::now();
        match next {
            Work::Session(session) => {
                if let Err(error) = vault.save_session(&session, now) {
                    tracing::warn!(%error, "a peer's session keys could not be saved; after a \
                                            restart it has to run a handshake");
                }
            }
            Work::Forget(ufrag) => {
                if let Err(error) = vault.remove_session(&ufrag) {
                    tracing::warn!(%error, "a peer's session keys could not be removed");
                }
            }
            Work::Counters(counters) => {
                let saved = vault.save_counters(&counters, now);
                if let Err(error) = &saved {
                    tracing::error!(%error, "counters could not be saved; what is left of them is \
                                             used up soon");
                    // A full disk must not be tried without end.
                    std::thread::sleep(Duration::from_millis(200));
                }
                if done.send(saved.is_ok()).is_err() {
                    return;
                }
                #[cfg(rekindle_kill_points)]
                kill_points::step("answered");
                if waker.wake().is_err() {
                    return;
                }
            }
        }
    }
}

/// The sessions of the last process.
pub(super) struct Sessions {
    left: HashMap<Ufrag, SessionCounters>,
    now: HashMap<Ufrag, SessionCounters>,
    vault: Arc<Vault>,
    orphans: std::collections::HashSet<Ufrag>,
}

impl Sessions {
    /// Reads the counters, makes durable what this process needs at once, and tells the core.
    pub(super) fn open(reader: &Reader, vault: Arc<Vault>, loaded: &mpsc::Sender<Loaded>) -> Self {
        let left = reader.read_counters();
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters read");
        let mut raised = left.clone();
        raised.raise();
        let mut sessions = Self {
            left: by_peer(&left),
            now: by_peer(&raised),
            vault,
            orphans: reader.sessions(),
        };
        if !raised.sessions.is_empty()
            && let Err(error) = sessions.vault.save_counters(&raised, SystemTime::now())
        {
            tracing::error!(%error, "counters could not be saved: no session can be taken over, \
                                     and every browser has to run a handshake");
            (sessions.left, sessions.now) = Default::default();
            raised = Counters::default();
        }
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters raised");
        // Without a receiver the process is stopping.
        let _ = loaded.send(Loaded::Counters(raised));
        #[cfg(rekindle_kill_points)]
        kill_points::step("counters handed over");
        sessions
    }

    /// The session of a peer whose record was read. One that is of no use is removed.
    pub(super) fn take(&mut self, reader: &Reader, ufrag: &Ufrag) -> Option<Resumed> {
        if !self.orphans.remove(ufrag) {
            return None;
        }
        let resumed = self
            .left
            .remove(ufrag)
            .zip(self.now.remove(ufrag))
            .and_then(|(left, now)| {
                let session = reader.read_session(ufrag)?;
                Some(Resumed { session, left, now })
            });
        if resumed.is_none() {
            self.remove(ufrag);
        }
        resumed
    }

    /// All records were read: keys of peers that have none go.
    pub(super) fn finish(self) {
        for ufrag in &self.orphans {
            self.remove(ufrag);
        }
    }

    fn remove(&self, ufrag: &Ufrag) {
        if let Err(error) = self.vault.remove_session(ufrag) {
            tracing::warn!(%error, "session keys that are of no use could not be removed");
        }
    }
}
