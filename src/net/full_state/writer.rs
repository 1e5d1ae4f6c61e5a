//! Full-state mode's thread, which writes sessions and counters while the media loop continues.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use mio::Waker;
#[cfg(rekindle_kill_points)]
use rekindle_full_state::kill_points;

use crate::broadcast::full_state::Work;
use crate::net::media_loop::MediaLoop;
use crate::net::socket::{Socket, set_source};
use crate::net::{Handle, Stopped};
use crate::peer::Transmit;
use crate::vault::Vault;

/// How often to check whether everything is written.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Handle {
    /// Has all session keys and counters written again, if sessions are kept, and waits until they
    /// are on the disk: the vault has another key.
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

/// The loop's side of the writer, if there is one.
pub(in crate::net) struct Writer(Option<Thread>);

impl Writer {
    pub(in crate::net) const NONE: Self = Self(None);
}

struct Thread {
    work: mpsc::Sender<Work>,
    /// Whether the counters became durable.
    done: mpsc::Receiver<bool>,
}

impl Thread {
    /// Starts the thread. It ends when the loop does.
    fn start(vault: Arc<Vault>, waker: Arc<Waker>) -> io::Result<Self> {
        let (work, inbox) = mpsc::channel();
        let (answer, done) = mpsc::channel();
        std::thread::Builder::new()
            .name("sessions".into())
            .spawn(move || write(&vault, &inbox, &answer, &waker))?;
        Ok(Self { work, done })
    }
}

impl MediaLoop {
    /// Keeps sessions in this vault, if there is one.
    pub(in crate::net) fn keep_sessions(
        &mut self,
        vault: Option<Arc<Vault>>,
        waker: &Arc<Waker>,
    ) -> io::Result<()> {
        if let Some(vault) = vault {
            self.core.keep_sessions();
            self.writer = Writer(Some(Thread::start(vault, waker.clone())?));
        }
        Ok(())
    }

    /// Passes work to the thread, and its results to the core.
    pub(in crate::net) fn write_sessions(&mut self, now: Instant, out: &mut Vec<Transmit>) {
        let Some(thread) = &self.writer.0 else {
            return;
        };
        while let Ok(durable) = thread.done.try_recv() {
            self.core.reserved(durable, out);
            #[cfg(rekindle_kill_points)]
            kill_points::step("the loop knows");
        }
        let socket = &self.socket;
        while let Some(work) = self.core.poll_work(now, |peer| socket.source_of(peer)) {
            // Without a writer nothing more becomes durable, and before long nothing is sent.
            let _ = thread.work.send(work);
            #[cfg(rekindle_kill_points)]
            kill_points::step("work given");
        }
    }
}

impl Socket {
    /// The local address that a peer sends to, if it is known and not the only one.
    fn source_of(&self, peer: SocketAddr) -> Option<IpAddr> {
        self.sources.as_ref()?.get(&peer).copied()
    }

    /// Sends to this peer from this local address from now on.
    pub(super) fn set_source(&mut self, peer: SocketAddr, local: IpAddr) {
        if let Some(sources) = &mut self.sources {
            set_source(sources, peer, local);
            self.new_sources.push((peer, local));
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
                    // A full disk must not be tried without a pause.
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
