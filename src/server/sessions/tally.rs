//! How many sessions there are, and what happened to them since the process started: for health and
//! `/metrics`.

use std::time::{Duration, Instant};

use crate::broadcast::Departure;
use crate::ids::Ufrag;
use crate::peer::{Agreed, Group, Profile, Version};

use super::super::events::Frame;
use super::super::times::Times;
use super::comeback::Comeback;
use super::{Session, Sessions};

/// Upper bounds for the times of returning peers: from an instant restart to the end of the resume
/// window.
const BOUNDS: [Duration; 11] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];

/// How a session can end, by number.
pub(in crate::server) const DEPARTURES: [Departure; 6] = [
    Departure::Left,
    Departure::Silent,
    Departure::NoRehandshake,
    Departure::Replaced,
    Departure::NoHandshake,
    Departure::NotPostQuantum,
];

/// The counts. Those of a process begin at zero, as Prometheus expects it.
#[derive(Debug, Clone)]
pub(in crate::server) struct Tally {
    /// When the process started.
    started: Instant,
    /// Time from then until all records of the last boot had been read.
    pub ready: Option<Duration>,
    /// Time from then until a peer of the last boot had keys again, or from when it was taken over from
    /// another node, once for each peer.
    pub resumed: Times,
    /// Peers of the last boot that are not back yet, and have not ended.
    awaited: usize,
    /// The times of the last boot's peers, each one, in ms.
    back: Vec<u32>,
    /// What came of the restart has been told.
    told: bool,
    /// Peers of the last boot that ended before they had keys again, by [`DEPARTURES`].
    pub lost: [u64; DEPARTURES.len()],
    /// Records of the last boot that could not be read: their peers cannot come back.
    pub unreadable: u64,
    /// All sessions that ended, by [`DEPARTURES`].
    pub ended: [u64; DEPARTURES.len()],
    /// New peers without a check in time.
    pub unheard: u64,
    /// How the keys of handshakes were agreed on.
    pub agreed: AgreedCounts,
}

/// Completed handshakes by what they agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::server) struct AgreedCounts {
    versions: [u64; Version::ALL.len()],
    /// The last one is for curves that the library does not report.
    groups: [u64; Group::ALL.len() + 1],
    profiles: [u64; Profile::ALL.len()],
}

impl AgreedCounts {
    fn count<T: PartialEq>(counts: &mut [u64], all: &[T], one: &T) {
        let place = all.iter().position(|known| known == one);
        counts[place.unwrap_or(all.len())] += 1;
    }

    /// By DTLS version.
    pub(in crate::server) fn versions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Version::ALL
            .map(Version::name)
            .into_iter()
            .zip(self.versions)
    }

    /// By key exchange.
    pub(in crate::server) fn groups(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Group::ALL.map(Group::name).into_iter();
        names.chain([Agreed::OTHER_GROUP]).zip(self.groups)
    }

    /// By SRTP protection profile.
    pub(in crate::server) fn profiles(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Profile::ALL
            .map(Profile::name)
            .into_iter()
            .zip(self.profiles)
    }
}

impl Extend<Agreed> for AgreedCounts {
    fn extend<T: IntoIterator<Item = Agreed>>(&mut self, agreed: T) {
        for one in agreed {
            Self::count(&mut self.versions, &Version::ALL, &one.version);
            match one.group {
                Some(group) => Self::count(&mut self.groups, &Group::ALL, &group),
                None => self.groups[Group::ALL.len()] += 1,
            }
            Self::count(&mut self.profiles, &Profile::ALL, &one.profile);
        }
    }
}

impl Tally {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            ready: None,
            resumed: Times::new(&BOUNDS),
            awaited: 0,
            back: Vec::new(),
            told: false,
            lost: Default::default(),
            unreadable: 0,
            ended: Default::default(),
            unheard: 0,
            agreed: AgreedCounts::default(),
        }
    }

    /// A session of the last boot is awaited.
    pub(super) fn awaits(&mut self) {
        self.awaited += 1;
    }

    /// All records have been read, except this many, which could not be.
    pub(super) fn loaded(&mut self, unreadable: usize) {
        self.ready.get_or_insert_with(|| self.started.elapsed());
        self.unreadable += u64::try_from(unreadable).unwrap_or(u64::MAX);
    }

    /// This session has keys. One that had keys already is not counted as back.
    pub(super) fn connected(&mut self, session: &mut Session) {
        if session.resumed && !std::mem::replace(&mut session.back, true) {
            let since = session.adopted.unwrap_or(self.started);
            let took = since.elapsed();
            self.resumed.add(took);
            if session.adopted.is_none() {
                self.back
                    .push(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
                self.awaited = self.awaited.saturating_sub(1);
            }
        }
    }

    /// This session has ended.
    pub(super) fn ended(&mut self, session: &Session, why: Departure) {
        let Some(number) = DEPARTURES.iter().position(|known| *known == why) else {
            return;
        };
        self.ended[number] += 1;
        if !session.resumed || session.back {
            return;
        }
        if session.adopted.is_none() {
            self.awaited = self.awaited.saturating_sub(1);
        }
        if why != Departure::Left {
            self.lost[number] += 1;
        }
    }

    /// How the peers of the last boot have come back so far.
    pub(in crate::server) fn comeback(&self) -> Comeback {
        Comeback::new(
            self.back.clone(),
            self.lost.iter().sum::<u64>() + self.unreadable,
        )
    }

    /// The same once nobody is awaited any more, and then never again; nothing where nobody was.
    pub(super) fn outcome(&mut self) -> Option<Comeback> {
        if self.told || self.ready.is_none() || self.awaited > 0 {
            return None;
        }
        self.told = true;
        let comeback = self.comeback();
        (comeback.back() + comeback.lost > 0).then_some(comeback)
    }
}

impl Sessions {
    /// The counts so far.
    pub(in crate::server) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// What came of the last restart, once all its peers are back or given up. It is told once.
    pub(in crate::server) fn outcome(&self) -> Option<Comeback> {
        self.lock().tally.outcome()
    }

    /// No check of this new peer has arrived in time; or one has arrived later. Returns the
    /// session's number for the log.
    pub(in crate::server) fn unheard(&self, ufrag: &Ufrag, unheard: bool) -> Option<u64> {
        let mut inner = self.lock();
        let session = inner.sessions.get_mut(ufrag)?;
        session.unheard = unheard;
        session.send(&[Frame::unheard(unheard)]);
        let number = session.handle.number();
        inner.tally.unheard += u64::from(unheard);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_end_has_its_place() {
        for (place, departure) in DEPARTURES.into_iter().enumerate() {
            assert_eq!(departure as usize, place);
        }
    }
}
