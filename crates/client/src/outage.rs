//! A time without the server, from a page's point of view: when its keys are to be renewed. This is
//! a port of `rekindle-outage.js`, for clients that have one session each; its constants and rules
//! are explained there.

use std::time::{Duration, Instant};

const REAPPLY: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1000)];
const BLIND: [Duration; 2] = [Duration::from_millis(1000), Duration::from_secs(10)];
const FAR: Duration = Duration::from_millis(20);
const HANDSHAKE: Duration = Duration::from_millis(40);
const HANDSHAKE_RTTS: f64 = 2.5;
const ANSWER: Duration = Duration::from_millis(20);
const ANSWER_RTTS: f64 = 1.5;
const FRESH: Duration = Duration::from_millis(5);
const SOONEST_RTTS: f64 = 0.75;
const BETWEEN_RTTS: f64 = 5.0;
const GIVE_UP: Duration = Duration::from_secs(5);
const KEPT: Duration = Duration::from_millis(300);

/// The first event of a stream.
#[derive(Debug, Clone, Default)]
pub struct Hello {
    /// A random name of the process.
    pub process: String,
    /// Whether it has keys.
    pub connected: bool,
    /// Whether it has seen a ClientHello.
    pub handshaking: bool,
    /// How long other peers may be served first.
    pub patience: Duration,
}

/// The state of the client's connection.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// How many handshakes have completed.
    pub handshakes: u64,
    /// There are keys.
    pub connected: bool,
    /// The round trip of ICE checks.
    pub rtt: Option<Duration>,
    /// When the last packet came, where packets are expected.
    pub heard: Option<Instant>,
    /// Whether the answer to a ClientHello may reach the attempt after it.
    pub mixes: bool,
    /// When a datagram of a handshake was last sent, where the browser reports it.
    pub sent: Option<Instant>,
    /// The last handshake has failed.
    pub broken: bool,
}

/// The present state besides the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    pub at: Instant,
    /// Whether the server keeps session keys.
    pub keeps: bool,
    pub stream_open: bool,
    /// Whether the last attempt to open the event stream was refused at once.
    pub refused: bool,
    pub server_has_keys: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outage {
    /// When it began, or got worse.
    started: Instant,
    /// Handshakes before the last renewal.
    base: u64,
    back: Option<Instant>,
    /// When the restarted server reported that a ClientHello has arrived; and how often since the
    /// last renewal.
    seen_at: Option<Instant>,
    seen: u32,
    /// How long other peers may be served first, according to the server.
    patience: Duration,
    up: Option<Instant>,
    applied_at: Option<Instant>,
    applied: u32,
    renewed: bool,
    /// Whether a spoiled attempt has been repeated at once.
    redone: bool,
}

impl Outage {
    /// Begins, or gets worse: `before` is its state until then.
    pub(crate) fn new(now: Instant, link: Link, before: Option<&Self>) -> Self {
        Self {
            started: now,
            base: link.handshakes,
            back: None,
            seen_at: None,
            seen: 0,
            patience: Duration::ZERO,
            up: None,
            applied_at: before.and_then(|before| before.applied_at),
            applied: 0,
            renewed: before.is_some_and(|before| before.renewed),
            redone: false,
        }
    }

    /// Whether no renewal has begun.
    pub(crate) fn is_untouched(&self) -> bool {
        self.applied == 0
    }

    pub(crate) fn greeted(&mut self, now: Instant, hello: &Hello) {
        self.back = Some(now);
        self.patience = hello.patience;
        if hello.handshaking {
            self.saw(now);
        }
    }

    /// The server reports that a ClientHello has arrived.
    pub(crate) fn saw(&mut self, now: Instant) {
        self.seen_at = Some(now);
        self.seen += 1;
    }

    /// A renewal begins.
    pub(crate) fn renews(&mut self, now: Instant, link: Link) {
        self.redone |= self.is_spoiled(link);
        self.applied_at = Some(now);
        self.base = link.handshakes;
        self.up = None;
        self.applied += 1;
        self.seen = 0;
        self.renewed = true;
    }

    /// Whether the last renewal got the answer to an earlier ClientHello.
    fn is_spoiled(&self, link: Link) -> bool {
        let Some(applied) = self.applied_at.filter(|_| link.mixes && self.seen > 0) else {
            return false;
        };
        if self.back.is_some_and(|back| applied < back) {
            return false;
        }
        let soon = |rtt: Duration| {
            self.seen_at
                .is_some_and(|at| at < applied + rtt.mul_f64(SOONEST_RTTS))
        };
        self.seen > 1 || link.rtt.is_none_or(soon)
    }

    /// Whether there are sufficient keys.
    pub(crate) fn has_keys(&mut self, link: Link, present: Present) -> bool {
        let has = if self.keeps_keys(present) {
            present.stream_open && present.server_has_keys
        } else {
            link.handshakes > self.base && link.connected
        };
        self.up = has.then(|| self.up.unwrap_or(present.at));
        has
    }

    /// Whether it may end with the present keys: the server keeps them, and has not shown that it
    /// lost ours.
    fn keeps_keys(&self, present: Present) -> bool {
        if !present.keeps || self.applied > 0 {
            return false;
        }
        let late = self
            .back(present)
            .is_some_and(|back| present.at > back + KEPT);
        present.server_has_keys || !late
    }

    fn back(&self, present: Present) -> Option<Instant> {
        self.back.filter(|_| present.stream_open)
    }

    /// Whether the server has been back for so long that this connection will not recover.
    pub(crate) fn is_hopeless(&self, present: Present) -> bool {
        let late = |back: Instant| present.at > back + GIVE_UP + self.patience;
        self.back(present).is_some_and(late)
            && (self.up.is_some() || self.applied > 0 || self.keeps_keys(present))
    }

    /// When the next renewal is due; `None` where something else has to happen first.
    pub(crate) fn renewal_at(&self, link: Link, present: Present) -> Option<Instant> {
        if self.keeps_keys(present) {
            return None;
        }
        let due = self.without_keys_at(link, present)?;
        Some(self.up.map_or(due, |up| due.max(up + handshake(link))))
    }

    /// When nothing is under way any more that another renewal could spoil, or that could spoil it.
    fn clear_at(&self, link: Link) -> Option<Instant> {
        let spoiled = self.is_spoiled(link);
        // An attempt with a wrong answer fails; every other one that the server has seen is
        // answered, or waits there for its turn.
        let lost = spoiled || link.broken;
        let seen_at = self.seen_at.filter(|_| !lost);
        let fresh = |sent: &Instant| {
            self.applied_at
                .is_none_or(|applied| *sent + FRESH > applied)
        };
        if let (Some(sent), Some(rtt), true) = (link.sent.filter(fresh), link.rtt, self.renewed) {
            let nothing_more = sent + self.answer_time(link, sent, rtt, lost);
            return seen_at
                .map(|at| at + handshake(link))
                .max(Some(nothing_more));
        }
        let pause = if spoiled {
            apart(link)
        } else {
            handshake(link)
        };
        self.applied_at.max(seen_at).map(|at| at + pause)
    }

    /// How long after the last datagram no answer is to be expected any more.
    fn answer_time(&self, link: Link, sent: Instant, rtt: Duration, lost: bool) -> Duration {
        if lost {
            return (rtt + ANSWER).max(rtt.mul_f64(ANSWER_RTTS));
        }
        // What arrives at the server after its greeting is answered for certain.
        if self.back.is_none_or(|back| sent + rtt > back) {
            handshake(link)
        } else {
            rtt + ANSWER
        }
    }

    fn without_keys_at(&self, link: Link, present: Present) -> Option<Instant> {
        let earliest = self.clear_at(link).map(|at| at + self.patience);
        let at_least = |at: Instant| earliest.map_or(at, |earliest| earliest.max(at));
        let backoff = 1
            << self
                .applied
                .saturating_sub(if self.redone { 2 } else { 1 })
                .min(6);
        if let Some(back) = self.back(present) {
            if self.applied_at < Some(back) && !present.server_has_keys {
                return Some(earliest.unwrap_or(back));
            }
            let spoiled = self.is_spoiled(link);
            if spoiled && !self.redone {
                return Some(earliest.unwrap_or(back));
            }
            let applied = self.applied_at.unwrap_or(back);
            return Some(if link.broken || spoiled {
                at_least(applied + apart(link))
            } else {
                at_least(applied + self.patience + REAPPLY[1].min(REAPPLY[0] * backoff))
            });
        }
        if let Some(applied) = self.applied_at.filter(|_| self.applied > 0) {
            let over = present.refused || present.at > self.started + BLIND[1];
            return (!over).then(|| at_least(applied + 2 * BLIND[0] * backoff));
        }
        if link.rtt.is_some_and(|rtt| rtt > FAR) {
            return Some(at_least(self.started));
        }
        (!present.refused).then(|| at_least(self.started + BLIND[0]))
    }

    /// When to look again at the latest, besides at a renewal: a condition may become true by time
    /// alone.
    pub(crate) fn look_again_at(&self, present: Present) -> Option<Instant> {
        let back = self.back(present)?;
        let kept = self.keeps_keys(present) && !present.server_has_keys;
        let wait = if kept { KEPT } else { GIVE_UP + self.patience };
        Some(back + wait + Duration::from_millis(1))
    }
}

/// How long a handshake may take.
fn handshake(link: Link) -> Duration {
    HANDSHAKE + link.rtt.unwrap_or_default().mul_f64(HANDSHAKE_RTTS)
}

/// How long after an attempt with a wrong answer another one is less likely to get one.
fn apart(link: Link) -> Duration {
    handshake(link).max(link.rtt.unwrap_or_default().mul_f64(BETWEEN_RTTS))
}

#[cfg(test)]
mod tests;
