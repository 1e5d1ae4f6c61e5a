//! What happens to sessions and channels, told to their pages in its order.

use std::time::{Duration, SystemTime};

use super::{Inner, Session, Sessions};
use crate::ids::Ufrag;
use crate::peer::Agreed;
use crate::sdp::Stream;

use super::super::events::{Frame, Tap};
use super::super::nodes::Node;

impl Sessions {
    /// A handshake has begun.
    pub(in crate::server) fn handshake(&self, ufrag: &Ufrag) {
        if let Some(session) = self.lock().sessions.get_mut(ufrag) {
            session.handshaking = true;
            session.send(&[Frame::handshake()]);
        }
    }

    /// Fresh keys are in use. Returns the session's number for the log.
    pub(in crate::server) fn connected(
        &self,
        ufrag: &Ufrag,
        resumed: bool,
        took: Duration,
        agreed: Option<Agreed>,
    ) -> Option<u64> {
        let mut inner = self.lock();
        inner.changes += 1;
        let Inner {
            sessions,
            keyless,
            tally,
            renewed,
            ..
        } = &mut *inner;
        let session = sessions.get_mut(ufrag)?;
        // The first keys of a new session are not renewed ones.
        if let Some(heard) = renewed
            && (session.resumed || session.agreed.is_some())
        {
            // The receiver is gone where the server is stopping.
            let _ = heard.send(ufrag.clone());
        }
        tally.connected(session);
        tally.agreed.extend(agreed);
        *keyless -= usize::from(!session.connected);
        session.connected = true;
        session.agreed = agreed;
        session.handshaking = false;
        session.send(&[Frame::connected(resumed, took, agreed)]);
        Some(session.handle.number())
    }

    /// Keys are no longer in use. The session's own streams end, and shared streams report it: the
    /// page opens a new one, and learns the state from its start. Returns the session's number for
    /// the log.
    pub(in crate::server) fn disconnected(&self, ufrag: &Ufrag) -> Option<u64> {
        let mut inner = self.lock();
        inner.changes += 1;
        let Inner {
            sessions, keyless, ..
        } = &mut *inner;
        let session = sessions.get_mut(ufrag)?;
        *keyless += usize::from(session.connected);
        session.connected = false;
        session.streams.retain(Tap::is_shared);
        session.send(&[Frame::disconnected()]);
        Some(session.handle.number())
    }

    /// The channel's source started, ended, or has another stream. Returns whether it started or
    /// ended.
    pub(in crate::server) fn source(
        &self,
        channel: &str,
        live: bool,
        streams: Vec<Stream>,
    ) -> bool {
        let mut inner = self.lock();
        inner.changes += 1;
        let Inner {
            sessions, channels, ..
        } = &mut *inner;
        let name = channel;
        let Some(channel) = channels.get_mut(name) else {
            return false;
        };
        let changed = std::mem::replace(&mut channel.live, live) != live;
        if changed {
            channel.live_since = live.then(SystemTime::now);
        }
        channel.streams = streams;
        let frames = Frame::source(live, &channel.streams);
        for ufrag in &channel.members {
            if let Some(session) = sessions.get_mut(ufrag) {
                session.send(&frames);
            }
        }
        if changed {
            inner.announce_source(name, live);
        }
        changed
    }

    /// Other servers may have the sessions from now on.
    pub(in crate::server) fn nodes(&self, nodes: &[Node]) {
        let frames = [Frame::nodes(nodes)];
        for session in self.lock().sessions.values_mut() {
            session.send(&frames);
        }
    }
}

impl Session {
    /// Sends frames on all streams; one that is full or closed is ended.
    pub(super) fn send(&mut self, frames: &[Frame]) {
        self.streams.retain(|stream| stream.tell(frames));
    }
}
