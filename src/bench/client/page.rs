//! The page of a client: what `rekindle.js` does when its event stream ends and comes back. It decides when keys are renewed and when a
//! new session is made; timers are only deadlines.

use std::time::{Duration, Instant};

/// As in `rekindle-session.js`.
const REAPPLY: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1000)];
const BLIND: [Duration; 2] = [Duration::from_millis(1000), Duration::from_secs(10)];
const FAR: Duration = Duration::from_millis(20);
const HANDSHAKE: Duration = Duration::from_millis(40);
const HANDSHAKE_RTTS: f64 = 2.5;
const GIVE_UP: Duration = Duration::from_secs(5);
/// A client that knows no event stream and makes new sessions gives up on the old one after so long without a packet.
const SILENCE: Duration = Duration::from_secs(1);

/// What a page does about a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Renews the keys of its connection.
    Renew,
    /// Waits: the server kept the keys.
    Wait,
    /// Makes a new session.
    Rejoin,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Apply the edited SDP.
    Renew,
    /// Leave, and join anew.
    Rejoin,
}

/// The first event of a stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hello {
    /// Which process it is.
    pub process: String,
    /// It has keys.
    pub connected: bool,
    /// It has seen a ClientHello.
    pub handshaking: bool,
    /// For how long others may be before us.
    pub patience: Duration,
}

/// What is known of the client's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// How many handshakes have completed.
    pub handshakes: u64,
    /// There are keys.
    pub connected: bool,
    /// The round trip of ICE checks.
    pub rtt: Option<Duration>,
    /// When the last packet came, where packets are expected.
    pub heard: Option<Instant>,
}

/// What is known of an outage.
#[derive(Debug)]
struct Outage {
    began: Instant,
    /// Handshakes before it, or before the last renewal.
    base: u64,
    back: Option<Instant>,
    /// When the server, since it is back, said that a ClientHello has come.
    seen: Option<Instant>,
    /// For how long, says the server, others may be before us.
    patience: Duration,
    applied_at: Option<Instant>,
    applied: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Page {
    way: Way,
    stream_open: bool,
    has_stream: bool,
    refused: bool,
    server_has_keys: bool,
    process: Option<String>,
    outage: Option<Outage>,
    /// A new session is being made.
    leaving: bool,
}

impl Page {
    /// A page in a new session. `has_stream`: the server announced an event stream.
    pub fn new(way: Way, has_stream: bool) -> Self {
        Self {
            way,
            stream_open: false,
            has_stream,
            refused: false,
            server_has_keys: false,
            process: None,
            outage: None,
            leaving: false,
        }
    }

    /// The event stream has ended, or its first retry failed.
    pub fn lost(&mut self, now: Instant, link: Link) {
        self.stream_open = false;
        self.begin(now, link);
    }

    /// An attempt to open the event stream failed; `refused`: at once.
    pub fn unreachable(&mut self, refused: bool) {
        self.refused = refused;
    }

    /// The first event of a stream.
    pub fn hello(&mut self, now: Instant, link: Link, hello: Hello) {
        self.stream_open = true;
        self.server_has_keys = hello.connected;
        let another = self.process.as_ref().is_some_and(|known| *known != hello.process);
        self.process = Some(hello.process);
        if another && self.outage.is_none() {
            self.begin(now, link);
        }
        // A false alarm: only the stream was lost.
        if !another && self.outage.as_ref().is_some_and(|outage| outage.applied == 0) {
            self.outage = None;
        }
        if let Some(outage) = &mut self.outage {
            outage.back = Some(now);
            outage.patience = hello.patience;
            if hello.handshaking {
                outage.seen = Some(now);
            }
        }
    }

    /// The server says that a handshake has begun.
    pub fn seen(&mut self, now: Instant) {
        if let Some(outage) = &mut self.outage {
            outage.seen = Some(now);
        }
    }

    /// The server says that it has keys.
    pub fn keyed(&mut self) {
        self.server_has_keys = true;
    }

    /// The server knows the session no more.
    pub fn gone(&mut self, now: Instant, link: Link) {
        self.way = Way::Rejoin;
        self.begin(now, link);
    }

    fn begin(&mut self, now: Instant, link: Link) {
        self.server_has_keys = false;
        let applied_at = self.outage.as_ref().and_then(|outage| outage.applied_at);
        self.outage = Some(Outage {
            began: now,
            base: link.handshakes,
            back: None,
            seen: None,
            patience: Duration::ZERO,
            applied_at,
            applied: 0,
        });
    }

    /// Looks at all that is known, and says what to do.
    pub fn assess(&mut self, now: Instant, link: Link) -> Option<Act> {
        if self.leaving {
            return None;
        }
        if self.silence_ends(link).is_some_and(|at| at <= now) {
            self.way = Way::Rejoin;
            self.begin(now, link);
        }
        let outage = self.outage.as_mut()?;
        if self.way == Way::Rejoin {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        let up = match self.way {
            Way::Wait => self.stream_open && self.server_has_keys,
            _ => link.connected && link.handshakes > outage.base,
        };
        if up && (!self.stream_open || self.server_has_keys) {
            if self.stream_open {
                self.outage = None;
            }
            return None;
        }
        let back = outage.back.filter(|_| self.stream_open);
        if back.is_some_and(|back| now >= back + GIVE_UP + outage.patience) {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        if self.due(link).is_some_and(|due| due <= now) {
            let outage = self.outage.as_mut()?;
            outage.applied_at = Some(now);
            outage.applied += 1;
            outage.base = link.handshakes;
            return Some(Act::Renew);
        }
        None
    }

    /// When [`Page::assess`] wants to be called next, news aside.
    pub fn next(&self, link: Link) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        let outage = self.outage.as_ref().filter(|_| self.stream_open);
        let give_up = outage.and_then(|o| Some(o.back? + GIVE_UP + o.patience));
        [self.silence_ends(link), self.due(link), give_up]
            .into_iter()
            .flatten()
            .min()
    }

    fn silence_ends(&self, link: Link) -> Option<Instant> {
        let watches = self.way == Way::Rejoin && !self.has_stream && self.outage.is_none();
        link.heard.filter(|_| watches).map(|at| at + SILENCE)
    }

    /// When the next renewal is due.
    fn due(&self, link: Link) -> Option<Instant> {
        let outage = self.outage.as_ref().filter(|_| self.way == Way::Renew)?;
        if link.connected && link.handshakes > outage.base && (!self.stream_open || self.server_has_keys) {
            return None;
        }
        let rtt = link.rtt.unwrap_or_default();
        // A handshake that has begun is given the time that it takes, its wait for its turn included.
        let handshake = HANDSHAKE + rtt.mul_f64(HANDSHAKE_RTTS) + outage.patience;
        let earliest = outage.applied_at.max(outage.seen).map(|at| at + handshake);
        let at_least = |at: Instant| earliest.map_or(at, |earliest| earliest.max(at));
        let backoff = 1 << outage.applied.saturating_sub(1).min(6);
        let again = |applied: Instant| at_least(applied + outage.patience + REAPPLY[1].min(REAPPLY[0] * backoff));
        match (outage.back.filter(|_| self.stream_open), outage.applied_at) {
            (Some(back), Some(applied)) if applied >= back => Some(again(applied)),
            (Some(back), _) if !self.server_has_keys => Some(at_least(back)),
            (Some(back), applied) => Some(again(applied.unwrap_or(back))),
            (None, Some(applied)) if outage.applied > 0 => Some(at_least(applied + 2 * BLIND[0] * backoff))
                .filter(|due| !self.refused && *due < outage.began + BLIND[1]),
            // Hearing of the return takes two round trips; a process that is replaced at once is there when the ClientHello arrives.
            (None, _) if rtt > FAR => Some(at_least(outage.began)),
            (None, _) if self.refused => None,
            (None, _) => Some(at_least(outage.began + BLIND[0])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn hello(process: &str, connected: bool, handshaking: bool) -> Hello {
        Hello {
            process: process.to_owned(),
            connected,
            handshaking,
            ..Hello::default()
        }
    }

    fn link(handshakes: u64, connected: bool) -> Link {
        Link {
            handshakes,
            connected,
            rtt: Some(2 * MS),
            heard: None,
        }
    }

    #[test]
    fn keys_are_renewed_as_soon_as_the_server_is_back_and_again_if_nothing_came_of_it() {
        let t = Instant::now();
        let mut page = Page::new(Way::Renew, true);
        page.hello(t, link(0, false), hello("1", false, false));
        assert_eq!(page.assess(t, link(1, true)), None);
        page.keyed();
        page.lost(t, link(1, true));
        page.unreachable(true);
        assert_eq!(page.assess(t, link(1, true)), None);
        assert_eq!(
            page.next(link(1, true)),
            None,
            "a refusing port tells when it takes again"
        );
        let back = t + 20 * MS;
        page.hello(back, link(1, true), hello("2", false, false));
        assert_eq!(page.assess(back, link(1, true)), Some(Act::Renew));
        assert_eq!(page.assess(back, link(1, false)), None);
        assert_eq!(page.next(link(1, false)), Some(back + 300 * MS));
        assert_eq!(page.assess(back + 300 * MS, link(1, false)), Some(Act::Renew));
        page.keyed();
        assert_eq!(page.assess(back + 310 * MS, link(2, true)), None);
        assert!(page.outage.is_none());
    }

    #[test]
    fn a_session_that_cannot_be_kept_is_made_anew() {
        let t = Instant::now();
        let mut page = Page::new(Way::Renew, true);
        page.hello(t, link(0, false), hello("1", true, false));
        page.lost(t, link(1, true));
        page.hello(t, link(1, true), hello("2", false, false));
        assert_eq!(page.assess(t, link(1, true)), Some(Act::Renew));
        assert_eq!(page.assess(t + 5000 * MS, link(1, false)), Some(Act::Rejoin));
        assert_eq!(page.assess(t + 6000 * MS, link(1, false)), None, "it is on its way");
    }

    #[test]
    fn a_page_that_rejoins_does_so_at_the_streams_end_or_without_one_when_all_is_silent() {
        let t = Instant::now();
        let mut page = Page::new(Way::Rejoin, true);
        page.lost(t, link(1, true));
        assert_eq!(page.assess(t, link(1, true)), Some(Act::Rejoin));
        let mut page = Page::new(Way::Rejoin, false);
        let heard = Link {
            heard: Some(t),
            ..link(1, true)
        };
        assert_eq!(page.assess(t, heard), None);
        assert_eq!(page.next(heard), Some(t + SILENCE));
        assert_eq!(page.assess(t + SILENCE, heard), Some(Act::Rejoin));
    }

    #[test]
    fn a_page_waits_where_the_server_kept_the_keys() {
        let t = Instant::now();
        let mut page = Page::new(Way::Wait, true);
        page.hello(t, link(0, false), hello("1", true, false));
        page.lost(t, link(1, true));
        page.hello(t, link(1, true), hello("2", true, false));
        assert_eq!(page.assess(t, link(1, true)), None);
        assert!(page.outage.is_none());
    }

    #[test]
    fn far_away_keys_are_renewed_at_once_and_not_again_while_the_server_says_that_it_is_at_it() {
        let t = Instant::now();
        let far = |handshakes, connected| Link {
            rtt: Some(50 * MS),
            ..link(handshakes, connected)
        };
        let mut page = Page::new(Way::Renew, true);
        page.hello(t, far(0, false), hello("1", true, false));
        page.lost(t, far(1, true));
        assert_eq!(page.assess(t, far(1, true)), Some(Act::Renew));
        let back = t + 100 * MS;
        page.hello(back, far(1, false), hello("2", false, true));
        assert_eq!(page.assess(back, far(1, false)), None);
        assert_eq!(page.next(far(1, false)), Some(back + 165 * MS));
        page.keyed();
        assert_eq!(page.assess(back + 20 * MS, far(2, true)), None);
        assert!(page.outage.is_none());
    }

    #[test]
    fn a_stream_that_was_lost_alone_is_no_reason_to_renew_keys() {
        let t = Instant::now();
        let mut page = Page::new(Way::Renew, true);
        page.hello(t, link(0, false), hello("1", true, false));
        page.lost(t, link(1, true));
        page.hello(t, link(1, true), hello("1", true, false));
        assert_eq!(page.assess(t, link(1, true)), None);
        assert!(page.outage.is_none());
    }
}
