//! How an event stream starts: with the state that its events then change.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ids::Ufrag;
use crate::server::Mode;
use crate::server::certificates::Certificates;
use crate::server::events::{Frame, Hello, Tap};
use crate::server::nodes::Node;

use super::{Inner, Sessions, spread};

/// Most event streams of one session; a further one ends the oldest.
pub(super) const MAX_STREAMS: usize = 4;
/// How long each peer that is served first may take: a handshake (0.7 ms of one core of an AMD
/// EPYC, measured by the benchmark), with room for the media of those that are back already, which
/// takes most of a core in the end.
const HANDSHAKE_TIME: Duration = Duration::from_millis(3);

/// What a stream starts with.
pub(in crate::server) struct Greeting<'a> {
    pub boot: u64,
    pub process: &'a str,
    pub mode: Mode,
    pub certificates: &'a Certificates,
    /// Where the server receives media.
    pub media: &'a [SocketAddr],
    pub nodes: &'a [Node],
}

impl Sessions {
    /// Greets an event stream, which gets the session's events from now on. Returns false where the
    /// session is unknown or the server is stopping.
    pub(in crate::server) fn open_stream(
        &self,
        ufrag: &Ufrag,
        greeting: &Greeting<'_>,
        tap: Tap,
    ) -> bool {
        let mut inner = self.lock();
        if inner.closed {
            return false;
        }
        let patience =
            HANDSHAKE_TIME * u32::try_from(inner.keyless + inner.unread).unwrap_or(u32::MAX);
        let on_server = inner.sessions.len() + inner.unread;
        let Inner {
            sessions, channels, ..
        } = &mut *inner;
        let Some(session) = sessions.get_mut(ufrag) else {
            return false;
        };
        let role = session.record.role;
        let (live, streams, spread) = channels
            .get(&session.record.channel)
            .map(|channel| {
                let spread = spread::of_page(role, on_server, channel);
                (channel.live, &channel.streams[..], spread)
            })
            .unwrap_or_default();
        let hello = Hello {
            boot: greeting.boot,
            process: greeting.process,
            mode: greeting.mode,
            role,
            fingerprint: &greeting.certificates.other(&session.certificate),
            connected: session.connected,
            agreed: session.agreed.filter(|_| session.connected),
            handshaking: session.handshaking,
            unheard: session.unheard,
            patience,
            spread,
            source: live,
            streams,
            media: greeting.media,
            nodes: greeting.nodes,
        };
        // The drafts have no other way to report the present state.
        let [_, draft] = Frame::source(live, streams);
        if !tap.tell(&[Frame::hello(&hello), draft]) {
            return false;
        }
        session.streams.retain(|stream| !stream.is_closed());
        if session.streams.len() >= MAX_STREAMS {
            session.streams.remove(0);
        }
        session.streams.push(tap);
        true
    }
}
