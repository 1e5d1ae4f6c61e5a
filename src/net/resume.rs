//! The records of earlier boots, read in a thread of their own while the loop already answers.

use std::sync::{Arc, mpsc};
use std::time::Instant;

use mio::Waker;
use tokio::sync::mpsc as async_mpsc;

use super::{Notice, full_state};
use crate::broadcast::ReadingOrder;
use crate::ids::Ufrag;
use crate::vault::{PeerRecord, Reader, Vault, VaultError};

/// What the reading thread sends to the loop.
pub(super) enum Loaded {
    /// A record.
    Record {
        record: Arc<PeerRecord>,
        /// In full-state mode, the peer's session.
        session: Option<full_state::Session>,
    },
    /// This peer's record is there and cannot be read. What is demanded and not there is told of
    /// nobody: a flood of made-up names costs the loop nothing more.
    Unreadable(Ufrag),
    /// Before all records: what full-state mode's last process has left besides.
    Begun(full_state::Counters),
    /// There are no more.
    All {
        /// Records that the system would not read.
        unread: usize,
        /// Records of which nothing can be made.
        unusable: usize,
    },
}

/// Where records come from.
pub(super) struct RecordSource {
    pub reader: Reader,
    /// In full-state mode, where sessions are kept.
    pub vault: Option<Arc<Vault>>,
}

/// Reads records until there are no more, in [`ReadingOrder`]. Dropping the reader wipes the
/// identities of the key file.
pub(super) fn load(
    source: RecordSource,
    demanded: &mpsc::Receiver<Ufrag>,
    loaded: &mpsc::Sender<Loaded>,
    waker: &Waker,
    notices: &async_mpsc::UnboundedSender<Notice>,
) {
    let started = Instant::now();
    let mut reader = source.reader;
    let mut sessions = full_state::Sessions::open(&reader, source.vault, loaded);
    let mut order = ReadingOrder::new(reader.names().cloned());
    let total = order.left();
    let (mut read, mut unread, mut unusable) = (0_usize, 0_usize, 0_usize);
    loop {
        demanded.try_iter().for_each(|ufrag| order.demand(ufrag));
        let Some(ufrag) = order.next() else { break };
        match reader.read(&ufrag) {
            Ok(Some(record)) => {
                read += 1;
                let record = Arc::new(record);
                let session = sessions.take(&reader, &ufrag);
                let next = Loaded::Record { record, session };
                if loaded.send(next).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
            Ok(None) => {
                unusable += 1;
                let _ = loaded.send(Loaded::Unreadable(ufrag));
            }
            Err(error @ VaultError::RolledBack { .. }) => {
                let _ = notices.send(Notice::RolledBack(error));
                return;
            }
            Err(error) => {
                unread += 1;
                tracing::warn!(%error, "a peer's record is left out");
                let _ = loaded.send(Loaded::Unreadable(ufrag));
            }
        }
    }
    drop(reader);
    tracing::debug!(target: "rekindle::resume", step = "records", "all records are read");
    sessions.finish();
    let _ = loaded.send(Loaded::All { unread, unusable });
    let _ = waker.wake();
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
