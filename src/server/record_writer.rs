//! Follows what happens below: hands it to the event streams, and keeps the vault in step. The one
//! place that removes records.

mod changes;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::broadcast::{Departure, Event, UNHEARD};
use crate::ids::Ufrag;
use crate::net::{Handle, Notice, Notices};
use crate::vault::{Vault, VaultError};

use super::certificates::Certificates;
use super::sessions::{Comeback, Sessions};
use super::writes::Writes;

use changes::{Changes, Left, write};

/// Changes that the vault's store gave no answer to are tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks the record writer to take a record out of the vault, and learns when that is done.
pub(super) struct Forget {
    ufrag: Ufrag,
    /// `None` where nobody waits for it.
    done: Option<oneshot::Sender<()>>,
}

/// Where the record writer is asked. Cheap to clone.
#[derive(Clone)]
pub(super) struct RecordWriter {
    forget: mpsc::UnboundedSender<Forget>,
}

impl RecordWriter {
    pub(super) fn channel() -> (Self, mpsc::UnboundedReceiver<Forget>) {
        let (forget, receiver) = mpsc::unbounded_channel();
        (Self { forget }, receiver)
    }

    /// Takes a peer's record out of the vault, and waits for it. Where the vault's store gives no
    /// answer, it is waited for once, and the record goes when there is one again.
    pub(super) async fn forget(&self, ufrag: &Ufrag) {
        let (done, wait) = oneshot::channel();
        if self
            .forget
            .send(Forget {
                ufrag: ufrag.clone(),
                done: Some(done),
            })
            .is_ok()
        {
            // An error says that the server is stopping: the record then lives until the resume
            // window ends.
            let _ = wait.await;
        }
    }

    /// The same without waiting.
    pub(super) fn forget_later(&self, ufrag: &Ufrag) {
        let ufrag = ufrag.clone();
        // An error says that the server is stopping: as above.
        let _ = self.forget.send(Forget { ufrag, done: None });
    }
}

/// The server's certificates that no new peer gets: each goes when no peer is left that goes by it.
pub(super) struct Earlier {
    pub certificates: Arc<Certificates>,
    pub net: Handle,
    /// Peers of other nodes may come that go by any of them: none goes.
    pub is_shared: bool,
}

impl Earlier {
    /// Takes out those that nobody goes by, and says which. Only when all records of earlier boots
    /// have been read.
    fn take_unused(&self, sessions: &Sessions) -> Vec<[u8; 32]> {
        if self.is_shared {
            return Vec::new();
        }
        let mut unused = self.certificates.earlier_sha256();
        unused.retain(|certificate| !sessions.is_in_use(certificate));
        if unused.is_empty() {
            return unused;
        }
        for certificate in &unused {
            self.net.forget_identity(certificate);
        }
        self.certificates.forget(&unused);
        unused
    }
}

/// Where records are.
#[derive(Clone)]
pub(super) struct Records {
    pub vault: Arc<Vault>,
    pub writes: Arc<Writes>,
}

/// Why nothing more comes.
#[derive(Debug)]
pub(super) enum Ended {
    /// The media loop has ended.
    Media,
    /// A record is ahead of the identity.
    RolledBack(VaultError),
}

/// Runs until the media loop ends, and then writes what is left. The log names the media port and
/// the boot.
/// Writes nothing before all records have been read: one that is ahead of the identity ends it, and
/// then the folder is to stay as it is.
pub(super) async fn run(
    sessions: Arc<Sessions>,
    records: Records,
    mut notices: Notices,
    mut forget: mpsc::UnboundedReceiver<Forget>,
    earlier: Earlier,
    (media, boot): (u16, u64),
) -> Ended {
    let mut changes = Changes::default();
    // Some records of earlier boots could not be read now, and may go by any certificate.
    let mut unread = false;
    let mut writing: Option<JoinHandle<Left>> = None;
    // The vault's store has given no answer: when to try again, until it is time.
    let (mut away, mut again) = (false, None);
    loop {
        tokio::select! {
            notice = notices.recv() => match notice {
                Some(Notice::RolledBack(error)) => return Ended::RolledBack(error),
                Some(notice) => {
                    unread |= matches!(notice, Notice::ResumeComplete { unread: 1.., .. });
                    follow(notice, &sessions, &mut changes, media);
                    if let Some(comeback) = sessions.outcome() {
                        tell_outcome(boot, &comeback);
                    }
                }
                None => break,
            },
            Some(Forget { ufrag, done }) = forget.recv() => {
                if done.is_some() {
                    // Who waits need not wait for that time too.
                    again = None;
                }
                changes.remove(ufrag, done);
            }
            left = finished(&mut writing) => {
                writing = None;
                away = tell(&left, away);
                again = away.then(|| Instant::now() + AGAIN);
                changes.again(left, &sessions);
            }
            () = until(again) => again = None,
        }
        if writing.is_some() || !sessions.is_loaded() || again.is_some() {
            continue;
        }
        if !changes.is_empty() {
            writing = Some(write(records.clone(), changes.batch()));
        } else if !unread {
            let unused = earlier.take_unused(&sessions);
            if !unused.is_empty() {
                writing = Some(forget_identities(records.vault.clone(), unused));
            }
        }
    }
    if writing.is_some() {
        finished(&mut writing).await;
    }
    Ended::Media
}

/// Waits for the writer, and gives what it could not write; for ever where nothing is being
/// written.
async fn finished(writing: &mut Option<JoinHandle<Left>>) -> Left {
    match writing {
        // The writer neither panics nor is cancelled while the server runs.
        Some(task) => task.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Completes at this time; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Tells an operator when the store stops taking changes, and when it does again. Whether it does not
/// take them now.
fn tell(left: &Left, before: bool) -> bool {
    match (left.is_empty(), before) {
        (true, true) => tracing::info!("the vault's store takes changes again"),
        (false, false) => tracing::warn!(
            changes = left.len(),
            "the vault's store gives no answer, so records of peers that are gone stay, and new \
             addresses are not saved; both are made up for as soon as it answers"
        ),
        _ => {}
    }
    !left.is_empty()
}

fn forget_identities(vault: Arc<Vault>, unused: Vec<[u8; 32]>) -> JoinHandle<Left> {
    tokio::task::spawn_blocking(move || {
        match vault.forget_identities(&unused) {
            Ok(()) => tracing::info!(
                certificates = unused.len(),
                "earlier certificates that no peer goes by any more are gone"
            ),
            Err(error) => {
                tracing::warn!(%error, "an earlier certificate could not be taken out of \
                                        identity.age yet")
            }
        }
        Left::new()
    })
}

/// One line for each boot: what came of the restart. Times are from the start of the process.
fn tell_outcome(boot: u64, comeback: &Comeback) {
    tracing::info!(
        boot,
        back = comeback.back(),
        lost = comeback.lost,
        median_ms = comeback.percentile(50),
        p90_ms = comeback.percentile(90),
        last_ms = comeback.percentile(100),
        "the restart is over: the browsers of the last boot are back, or are awaited no more"
    );
}

fn follow(notice: Notice, sessions: &Sessions, changes: &mut Changes, media: u16) {
    match notice {
        Notice::Resumed(record) => {
            sessions.resume(record);
        }
        Notice::ResumeComplete { unread, unusable } => sessions.set_loaded(unread + unusable),
        // Seen by whoever calls this.
        Notice::RolledBack(_) => {}
        Notice::Event(event) => happened(event, sessions, changes, media),
    }
}

fn happened(event: Event, sessions: &Sessions, changes: &mut Changes, media: u16) {
    match event {
        Event::Unheard { ufrag, unheard } => {
            // Once for each session, since the core says so once.
            match sessions.unheard(&ufrag, unheard) {
                Some(peer) if unheard => tracing::warn!(
                    peer,
                    waited = ?UNHEARD,
                    "no ICE check has come from a new peer, so media cannot reach it: let UDP port \
                     {media} through firewall and NAT, and \
                     give --advertise an address at which browsers reach this machine; for those \
                     whose own network passes no UDP there is --ice-tcp; a browser \
                     that was closed meanwhile looks the same"
                ),
                Some(peer) => tracing::info!(
                    peer,
                    "a check has come after all from a peer that was not heard"
                ),
                None => {}
            }
        }
        Event::Handshake { ufrag } => sessions.handshake(&ufrag),
        Event::Connected {
            ufrag,
            role,
            resumed,
            took,
            agreed,
        } => {
            if let Some(peer) = sessions.connected(&ufrag, resumed, took, agreed) {
                let what = if took.is_zero() {
                    "keys of the last boot are in use"
                } else {
                    "fresh keys are in use"
                };
                let dtls = agreed.map(|agreed| agreed.version.name());
                let group = agreed.map(|agreed| agreed.group_name());
                let srtp = agreed.map(|agreed| agreed.profile.name());
                tracing::info!(peer, ?role, resumed, ?took, dtls, group, srtp, "{what}");
            }
        }
        Event::Disconnected { ufrag } => {
            if let Some(peer) = sessions.disconnected(&ufrag) {
                tracing::info!(
                    peer,
                    "a browser's keys could not be taken over; it has to run a handshake"
                );
            }
        }
        Event::Address { ufrag, address } => {
            if let Some(record) = sessions.set_address(&ufrag, address) {
                changes.save(record);
            }
        }
        Event::Gone { ufrag, why } => {
            // Whoever takes the session out removes its record: once, so that no removal is still
            // to come when a DELETE is answered.
            if let Some(peer) = sessions.remove(&ufrag, why) {
                changes.remove(ufrag, None);
                match why {
                    // Its DELETE is being answered at the same time; whoever is first says so.
                    Departure::Left => tracing::info!(peer, "a peer leaves"),
                    why => tracing::info!(peer, ?why, "a peer is gone"),
                }
            }
        }
        // The media loop passes it on.
        Event::Upstream { .. } => {}
        Event::Source {
            channel,
            live,
            streams,
        } => {
            // A publisher's second stream is told to viewers, and is no news to an operator.
            if sessions.source(&channel, live, streams) {
                tracing::info!(channel, live, "the source of a channel changed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{place, record};
    use super::changes::Change;
    use super::*;
    use crate::ids::Role;

    fn started(sessions: &Sessions, ufrag: &Ufrag) {
        let record = record(Role::Viewer, ufrag.as_str());
        sessions.start(record, [0; 32], place(sessions));
    }

    #[test]
    fn a_record_is_removed_once_by_whoever_ends_the_session() {
        let sessions = Sessions::new(0, std::time::Instant::now());
        let mut changes = Changes::default();
        let ufrag = Ufrag::new("aaaaaaaa").expect("a fragment");
        let gone = |why| {
            let ufrag = ufrag.clone();
            Notice::Event(Event::Gone { ufrag, why })
        };

        // The core has ended it.
        started(&sessions, &ufrag);
        follow(gone(Departure::Silent), &sessions, &mut changes, 5000);
        assert!(matches!(changes.take(&ufrag), Some(Change::Remove(_))));

        // A DELETE has, and waits until its own removal is done: a later one could hit a file that
        // somebody has put there since.
        started(&sessions, &ufrag);
        sessions.remove(&ufrag, Departure::Left).expect("was there");
        follow(gone(Departure::Left), &sessions, &mut changes, 5000);
        assert!(changes.is_empty());
    }
}
