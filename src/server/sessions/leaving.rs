//! Sessions that continue at another node, or come back from one.

use tokio::sync::mpsc;

use super::Sessions;
use crate::ids::{Role, Ufrag};

use super::super::events::Frame;

impl Sessions {
    /// Sessions whose browsers have run another handshake here, from now on.
    pub(in crate::server) fn renewed(&self) -> mpsc::UnboundedReceiver<Ufrag> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().renewed = Some(sender);
        receiver
    }

    /// No session is started or taken over here any more. Returns whether this is a change.
    pub(in crate::server) fn begin_to_drain(&self) -> bool {
        !std::mem::replace(&mut self.lock().draining, true)
    }

    /// Whether all are to continue at another node.
    pub(in crate::server) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// All sessions of this role.
    pub(in crate::server) fn of_role(&self, role: Role) -> Vec<Ufrag> {
        let inner = self.lock();
        let of_role = inner
            .sessions
            .iter()
            .filter(|(_, session)| session.record.role == role);
        of_role.map(|(ufrag, _)| ufrag.clone()).collect()
    }

    /// Reports that the session is no longer here, so that its page looks for it at other nodes.
    /// Its media continues until the page has found it. Returns whether there is such a session
    /// with a page that listens.
    pub(in crate::server) fn send_away(&self, ufrag: &Ufrag) -> bool {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(ufrag) else {
            return false;
        };
        session.sent_away = true;
        let listens = !session.streams.is_empty();
        session.send(&[Frame::unknown()]);
        session.streams.clear();
        listens
    }
}
