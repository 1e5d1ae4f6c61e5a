//! Reads the records of earlier boots on threads of their own, while the loop already answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Instant;

use mio::Waker;
use rekindle_secrets::stack;
use tokio::sync::mpsc as async_mpsc;

use super::{Notice, full_state};
use crate::broadcast::ReadingOrder;
use crate::ids::Ufrag;
use crate::vault::{PeerRecord, Reader, Vault, VaultError};

/// Another thread is started for this many records.
const WORTH_A_THREAD: usize = 16;

/// What the reading threads send to the loop.
pub(super) enum Loaded {
    /// A record.
    Record {
        record: Arc<PeerRecord>,
        /// In full-state mode, the peer's session.
        session: Option<full_state::Session>,
    },
    /// This peer's record exists and cannot be read. A demanded record that does not exist is not
    /// reported: a flood of made-up names costs the loop nothing more.
    Unreadable(Ufrag),
    /// Comes before all records: what the last process of full-state mode left in addition.
    Begun(full_state::Counters),
    /// There are no more.
    All {
        /// Records that the system could not read.
        unread: usize,
        /// Unusable records.
        unusable: usize,
    },
}

/// Where records come from.
pub(super) struct RecordSource {
    pub reader: Reader,
    /// In full-state mode, where sessions are kept.
    pub vault: Option<Arc<Vault>>,
}

/// Where the records are sent.
pub(super) struct Destination {
    pub loaded: mpsc::Sender<Loaded>,
    pub waker: Arc<Waker>,
    pub notices: async_mpsc::UnboundedSender<Notice>,
}

/// How many records were read, and how many were not.
#[derive(Default)]
struct ReadCounts {
    read: usize,
    unread: usize,
    unusable: usize,
}

/// The state that the threads share.
struct Reading<'a> {
    reader: Reader,
    sessions: Mutex<full_state::Sessions>,
    order: Mutex<(ReadingOrder, mpsc::Receiver<Ufrag>)>,
    /// Whether the receiver is gone.
    is_over: AtomicBool,
    to: &'a Destination,
}

/// Reads all records in [`ReadingOrder`], with at most `helpers` more threads. Dropping the reader
/// wipes the identities of the key file.
pub(super) fn load(
    source: RecordSource,
    demanded: mpsc::Receiver<Ufrag>,
    helpers: usize,
    to: &Destination,
) {
    let started = Instant::now();
    let RecordSource { reader, vault } = source;
    let sessions = full_state::Sessions::open(&reader, vault, &to.loaded);
    let order = ReadingOrder::new(reader.names());
    let total = order.left();
    let reading = Reading {
        reader,
        sessions: Mutex::new(sessions),
        order: Mutex::new((order, demanded)),
        is_over: AtomicBool::new(false),
        to,
    };
    let counts = reading.read_all(helpers.min(total / WORTH_A_THREAD));
    let Reading {
        reader,
        sessions,
        is_over,
        ..
    } = reading;
    drop(reader);
    if is_over.into_inner() {
        return;
    }
    tracing::debug!(target: "rekindle::resume", step = "records", "all records are read");
    let sessions = sessions.into_inner();
    sessions.unwrap_or_else(PoisonError::into_inner).finish();
    let ReadCounts {
        read,
        unread,
        unusable,
    } = counts;
    let _ = to.loaded.send(Loaded::All { unread, unusable });
    let _ = to.waker.wake();
    if total > 0 {
        let (left_out, took) = (total - read, started.elapsed());
        tracing::info!(
            peers = read,
            left_out,
            ?took,
            "peers of the last boot are awaited"
        );
    }
}

/// No code that can panic leaves this state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading<'_> {
    fn read_all(&self, helpers: usize) -> ReadCounts {
        thread::scope(|scope| {
            let helpers = (0..helpers).map_while(|n| {
                let helper = thread::Builder::new().name(format!("resume-{n}"));
                // If the system has no threads left, the other threads read all records.
                helper.spawn_scoped(scope, || self.read_some()).ok()
            });
            let helpers: Vec<_> = helpers.collect();
            let mut counts = self.read_some();
            for helper in helpers {
                // The records of a thread that panicked count as left out.
                let some = helper.join().unwrap_or_default();
                counts.read += some.read;
                counts.unread += some.unread;
                counts.unusable += some.unusable;
            }
            counts
        })
    }

    /// Reads one record after the other.
    fn read_some(&self) -> ReadCounts {
        let mut counts = ReadCounts::default();
        while let Some(ufrag) = self.next() {
            self.read(ufrag, &mut counts);
        }
        stack::wipe();
        counts
    }

    /// The record that is to be read next.
    fn next(&self) -> Option<Ufrag> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let (order, demanded) = &mut *lock(&self.order);
        demanded.try_iter().for_each(|ufrag| order.demand(ufrag));
        order.next()
    }

    fn read(&self, ufrag: Ufrag, counts: &mut ReadCounts) {
        match self.reader.read(&ufrag) {
            Ok(Some(record)) => {
                counts.read += 1;
                let record = Arc::new(record);
                let session = lock(&self.sessions).take(&self.reader, &ufrag);
                let next = Loaded::Record { record, session };
                if self.to.loaded.send(next).is_err() {
                    self.is_over.store(true, Ordering::Relaxed);
                }
                let _ = self.to.waker.wake();
            }
            Ok(None) => {
                counts.unusable += 1;
                let _ = self.to.loaded.send(Loaded::Unreadable(ufrag));
            }
            Err(error @ VaultError::RolledBack { .. }) => {
                if !self.is_over.swap(true, Ordering::Relaxed) {
                    let _ = self.to.notices.send(Notice::RolledBack(error));
                }
            }
            Err(error) => {
                counts.unread += 1;
                tracing::warn!(%error, "a peer's record is left out");
                let _ = self.to.loaded.send(Loaded::Unreadable(ufrag));
            }
        }
    }
}

#[cfg(test)]
mod tests;
