//! When a server that comes back reached which step, for whoever measures it: `--log
//! rekindle::timeline=debug`. Times are those of the system's monotonic clock, which all processes
//! of a machine share, in microseconds; there is no personal data in them.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::broadcast::Event;
use crate::ids::Role;
use crate::peer::Transmit;

/// Steps are written to the log when nothing has happened for so long, so that writing them
/// disturbs nothing that is measured.
const QUIET: Duration = Duration::from_millis(300);
/// First packets to addresses are looked for until so long after the last handshake.
const LOOKED_FOR: Duration = Duration::from_secs(5);

macro_rules! wanted {
    () => {
        tracing::enabled!(target: "rekindle::timeline", tracing::Level::DEBUG)
    };
}

/// Writes a step of the start to the log, with the time at which it was reached.
pub(crate) fn mark(step: &'static str, at: Instant) {
    if wanted!() {
        write(step, &[at]);
    }
}

fn write(step: &str, times: &[Instant]) {
    let mut text = String::new();
    for at in times {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "{}{}",
            if text.is_empty() { "" } else { "," },
            monotonic_us(*at)
        );
    }
    tracing::debug!(target: "rekindle::timeline", step, at_us = text);
}

/// A moment on the system's monotonic clock, in microseconds.
pub(crate) fn monotonic_us(at: Instant) -> u64 {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let ago = Instant::now().saturating_duration_since(at);
    let now = Duration::new(
        u64::try_from(clock.tv_sec).unwrap_or_default(),
        u32::try_from(clock.tv_nsec).unwrap_or_default(),
    );
    u64::try_from(now.saturating_sub(ago).as_micros()).unwrap_or(u64::MAX)
}

/// The steps of one process's media loop.
pub(super) struct Timeline {
    steps: BTreeMap<&'static str, Vec<Instant>>,
    last: Option<Instant>,
    answered: bool,
    /// Addresses that media has gone to.
    served: HashSet<SocketAddr>,
    looks_until: Option<Instant>,
}

impl Timeline {
    /// `None` where nobody wants to know.
    pub(super) fn new() -> Option<Self> {
        wanted!().then(|| Self {
            steps: BTreeMap::new(),
            last: None,
            answered: false,
            served: HashSet::new(),
            looks_until: None,
        })
    }

    fn reached(&mut self, step: &'static str, at: Instant) {
        self.steps.entry(step).or_default().push(at);
        self.last = Some(Instant::now());
    }

    /// What is sent now.
    pub(super) fn sends(&mut self, out: &[Transmit]) {
        if out.is_empty() {
            return;
        }
        let now = Instant::now();
        if !self.answered && out.iter().any(|t| matches!(t.data.first(), Some(0..=3))) {
            self.answered = true;
            self.reached("stun", now);
        }
        if self.looks_until.is_none_or(|until| now > until) {
            return;
        }
        let is_rtp = |t: &&Transmit| {
            matches!(t.data.first(), Some(128..=191)) && !matches!(t.data.get(1), Some(192..=223))
        };
        let fresh = out
            .iter()
            .filter(is_rtp)
            .filter(|t| self.served.insert(t.to))
            .count();
        for _ in 0..fresh {
            self.reached("media", now);
        }
    }

    /// An event of the core.
    pub(super) fn event(&mut self, now: Instant, event: &Event) {
        if let Event::Connected { role, took, .. } = event {
            let (hello, handshake) = match role {
                Role::Publisher => ("hello.publisher", "handshake.publisher"),
                Role::Viewer => ("hello.viewer", "handshake.viewer"),
            };
            self.reached(hello, now.checked_sub(*took).unwrap_or(now));
            self.reached(handshake, now);
            self.looks_until = Some(now + LOOKED_FOR);
        }
    }

    /// Writes what there is once all is quiet.
    pub(super) fn rest(&mut self, now: Instant) {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= QUIET)
        {
            self.last = None;
            for (step, times) in std::mem::take(&mut self.steps) {
                write(step, &times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_distance_to_others() {
        let now = Instant::now();
        let later = monotonic_us(now);
        let sooner = monotonic_us(now - Duration::from_millis(20));
        assert!(
            (19_000..=21_000).contains(&(later - sooner)),
            "{} us",
            later - sooner
        );
    }
}
