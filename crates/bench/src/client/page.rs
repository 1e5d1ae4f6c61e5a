//! The page of a client: what `rekindle.js` does when its event stream ends and comes back. It
//! decides when keys are renewed and when a new session is made; timers are only deadlines.

use std::time::{Duration, Instant};

use super::outage::{Outage, Present};

/// A client that knows no event stream and makes new sessions gives up on the old one after so long
/// without a packet.
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
    /// The answer to a ClientHello may reach the attempt after it.
    pub mixes: bool,
    /// When something of a handshake was last sent, where the browser says so.
    pub sent: Option<Instant>,
    /// The last handshake has failed.
    pub broken: bool,
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
    pub(crate) fn new(way: Way, has_stream: bool) -> Self {
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
    pub(crate) fn lost(&mut self, now: Instant, link: Link) {
        self.stream_open = false;
        self.begin(now, link);
    }

    /// An attempt to open the event stream failed; `refused`: at once.
    pub(crate) fn unreachable(&mut self, refused: bool) {
        self.refused = refused;
    }

    /// The first event of a stream.
    pub(crate) fn hello(&mut self, now: Instant, link: Link, greeting: Hello) {
        self.stream_open = true;
        self.server_has_keys = greeting.connected;
        let another = self
            .process
            .as_ref()
            .is_some_and(|known| *known != greeting.process);
        self.process = Some(greeting.process.clone());
        if another && self.outage.is_none() {
            self.begin(now, link);
        }
        // A false alarm: only the stream was lost.
        if !another && self.outage.as_ref().is_some_and(Outage::is_untouched) {
            self.outage = None;
        }
        if let Some(outage) = &mut self.outage {
            outage.greeted(now, &greeting);
        }
    }

    /// The server says that a handshake has begun.
    pub(crate) fn seen(&mut self, now: Instant) {
        if let Some(outage) = &mut self.outage {
            outage.saw(now);
        }
    }

    /// The server says that it has keys.
    pub(crate) fn keyed(&mut self) {
        self.server_has_keys = true;
    }

    /// The server knows the session no more.
    pub(crate) fn gone(&mut self, now: Instant, link: Link) {
        self.way = Way::Rejoin;
        self.begin(now, link);
    }

    fn begin(&mut self, now: Instant, link: Link) {
        self.server_has_keys = false;
        self.outage = Some(Outage::new(now, link, self.outage.as_ref()));
    }

    /// Nothing is to be done about a restart, or no more.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.outage.is_none() && !self.leaving
    }

    fn present(&self, at: Instant) -> Present {
        Present {
            at,
            keeps: self.way == Way::Wait,
            stream_open: self.stream_open,
            refused: self.refused,
            server_has_keys: self.server_has_keys,
        }
    }

    /// Looks at all that is known, and says what to do.
    pub(crate) fn assess(&mut self, now: Instant, link: Link) -> Option<Act> {
        if self.leaving {
            return None;
        }
        if self.silence_ends(link).is_some_and(|at| at <= now) {
            self.way = Way::Rejoin;
            self.begin(now, link);
        }
        let present = self.present(now);
        let outage = self.outage.as_mut()?;
        if self.way == Way::Rejoin {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        if outage.has_keys(link, present) && (!self.stream_open || self.server_has_keys) {
            if self.stream_open {
                self.outage = None;
            }
            return None;
        }
        if outage.is_hopeless(present) {
            self.leaving = true;
            return Some(Act::Rejoin);
        }
        if outage
            .renewal_at(link, present)
            .is_some_and(|due| due <= now)
        {
            outage.renews(now, link);
            return Some(Act::Renew);
        }
        None
    }

    /// When [`Page::assess`] wants to be called next, news aside. It has been called at `now`.
    pub(crate) fn next(&self, now: Instant, link: Link) -> Option<Instant> {
        if self.leaving {
            return None;
        }
        let present = self.present(now);
        let outage = self.outage.as_ref();
        // Once keys are there, only the news that the server has them ends it.
        let renewal = outage
            .and_then(|outage| outage.renewal_at(link, present))
            .filter(|due| *due > now);
        let look = outage
            .and_then(|outage| outage.look_again_at(present))
            .filter(|at| *at > now);
        [self.silence_ends(link), renewal, look]
            .into_iter()
            .flatten()
            .min()
    }

    fn silence_ends(&self, link: Link) -> Option<Instant> {
        let watches = self.way == Way::Rejoin && !self.has_stream && self.outage.is_none();
        link.heard.filter(|_| watches).map(|at| at + SILENCE)
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
            mixes: true,
            sent: None,
            broken: false,
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
            page.next(t, link(1, true)),
            None,
            "a refusing port tells when it takes again"
        );
        let back = t + 20 * MS;
        page.hello(back, link(1, true), hello("2", false, false));
        assert_eq!(page.assess(back, link(1, true)), Some(Act::Renew));
        assert_eq!(page.assess(back, link(1, false)), None);
        assert_eq!(page.next(back, link(1, false)), Some(back + 300 * MS));
        assert_eq!(
            page.assess(back + 300 * MS, link(1, false)),
            Some(Act::Renew)
        );
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
        assert_eq!(
            page.assess(t + 5001 * MS, link(1, false)),
            Some(Act::Rejoin)
        );
        assert_eq!(
            page.assess(t + 6000 * MS, link(1, false)),
            None,
            "it is on its way"
        );
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
        assert_eq!(page.next(t, heard), Some(t + SILENCE));
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
        assert_eq!(page.next(back, far(1, false)), Some(back + 165 * MS));
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
