//! Records of the last boot that are still being read, sessions that are expected, and the requests
//! that wait for them.

use tokio::sync::oneshot;

use super::{Inner, Sessions};
use crate::ids::Ufrag;

impl Sessions {
    /// This many records of the last boot are to be read.
    pub(in crate::server) fn expect(&self, records: usize) {
        self.lock().unread = records;
    }

    /// All records of the last boot have been read, except this many, which could not be: sessions
    /// that are not here now do not exist.
    pub(in crate::server) fn set_loaded(&self, unreadable: usize) {
        let mut inner = self.lock();
        inner.changes += 1;
        inner.tally.loaded(unreadable);
        inner.loaded = true;
        inner.unread = 0;
        inner.waiting.clear();
        // Before the first newcomer, who waits for this.
        inner.announce_all();
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
        // An error means the same.
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
    /// server is neither stopping nor giving its peers to other nodes.
    pub(in crate::server) fn is_ready(&self) -> bool {
        let inner = self.lock();
        inner.loaded && !inner.closed && !inner.draining
    }

    /// The certificate of a session (its SHA-256), if there is such a session. While records of the
    /// last boot are being read, waits for this one, and calls `want` so that it is read soon.
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
        // An error means that all have been read.
        let _ = waiter.await;
        certificate(&self.lock())
    }

    /// Completes when this session is taken in, if it is not here yet, or when the server stops.
    /// What happens before its first poll is not missed.
    pub(in crate::server) fn arrival(&self, ufrag: &Ufrag) -> impl Future<Output = ()> + use<> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        if !inner.sessions.contains_key(ufrag) && !inner.closed {
            inner.waiting.entry(ufrag.clone()).or_default().push(sender);
        }
        async move {
            // An error means that it is here, or that none will come any more.
            let _ = receiver.await;
        }
    }
}
