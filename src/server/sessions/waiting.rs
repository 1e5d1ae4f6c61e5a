//! Records of the last boot that are still being read, sessions that are still to come, and who
//! waits for them.

use tokio::sync::oneshot;

use super::{Inner, Sessions};
use crate::ids::Ufrag;

impl Sessions {
    /// So many records of the last boot are there to be read.
    pub(in crate::server) fn expect(&self, records: usize) {
        self.lock().unread = records;
    }

    /// All records of the last boot have been read, but for so many that could not be: what is not
    /// here now does not exist.
    pub(in crate::server) fn set_loaded(&self, unreadable: usize) {
        let mut inner = self.lock();
        inner.changes += 1;
        inner.tally.loaded(unreadable);
        inner.loaded = true;
        inner.unread = 0;
        inner.waiting.clear();
        inner.waiting_for_all.clear();
    }

    /// Waits until all records of the last boot have been read.
    pub(in crate::server) async fn loaded(&self) {
        let waiter = {
            let mut inner = self.lock();
            if inner.loaded {
                return;
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiting_for_all.push(sender);
            receiver
        };
        // An error is what says so.
        let _ = waiter.await;
    }

    /// Whether the server is stopping.
    pub(in crate::server) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether all records of the last boot have been read.
    pub(in crate::server) fn is_loaded(&self) -> bool {
        self.lock().loaded
    }

    /// Whether new sessions can be started: all records of the last boot have been read, and the
    /// server is not stopping, and gives its peers to no other.
    pub(in crate::server) fn is_ready(&self) -> bool {
        let inner = self.lock();
        inner.loaded && !inner.closed && !inner.draining
    }

    /// The certificate that a session goes by (its SHA-256), if there is such a session; while
    /// records of the last boot are still being read, waits for this one, and calls `want` so that
    /// it is read soon.
    pub(in crate::server) async fn find(
        &self,
        ufrag: &Ufrag,
        want: impl FnOnce(),
    ) -> Option<[u8; 32]> {
        let certificate = |inner: &Inner| {
            let session = inner.sessions.get(ufrag);
            let here = session.filter(|session| !session.sent_away);
            here.map(|session| session.certificate)
        };
        let waiter = {
            let mut inner = self.lock();
            if inner.sessions.contains_key(ufrag) || inner.loaded {
                return certificate(&inner);
            }
            let (sender, receiver) = oneshot::channel();
            inner.waiting.entry(ufrag.clone()).or_default().push(sender);
            receiver
        };
        want();
        // An error says that all has been read.
        let _ = waiter.await;
        certificate(&self.lock())
    }

    /// Completes when this session is taken in, if it is not here yet, or when the server stops.
    /// What is done before the first poll of it is not missed.
    pub(in crate::server) fn arrival(&self, ufrag: &Ufrag) -> impl Future<Output = ()> + use<> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        if !inner.sessions.contains_key(ufrag) && !inner.closed {
            inner.waiting.entry(ufrag.clone()).or_default().push(sender);
        }
        async move {
            // An error says that it is here, or that nothing comes any more.
            let _ = receiver.await;
        }
    }
}
