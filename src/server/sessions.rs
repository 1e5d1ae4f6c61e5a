//! The sessions of this boot, including those taken over from the last one: their event streams and
//! records.
//!
//! The core knows which peers are connected and which source is live, and answers questions about
//! it. What is kept of it here is what the events have told the pages, in their order: a new stream
//! starts with it, so that nothing is sent twice or left out.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::broadcast::Departure;
use crate::ids::{Role, Ufrag};
use crate::peer::Agreed;
use crate::sdp::{self, Stream};
use crate::vault::PeerRecord;

use super::event_hook::Announcer;
use super::events::{Frame, Tap};
use super::limit::{AddressQuota, QuotaPermit};

mod announcing;
mod comeback;
mod directory;
mod greeting;
mod kept;
mod leaving;
mod spread;
mod tally;
mod telling;
mod waiting;

pub(super) use comeback::Comeback;
pub(super) use directory::{Handle, PeerEntry};
pub(super) use greeting::Greeting;
use kept::{KeptRecord, Shapes};
pub(super) use tally::{AgreedCounts, DEPARTURES, Tally};

/// The sessions. Nobody waits for anything while holding the lock.
pub(super) struct Sessions {
    inner: Mutex<Inner>,
    places: AddressQuota,
}

struct Inner {
    /// See [`Sessions::changes`].
    changes: u64,
    tally: Tally,
    /// Boxed, since a table has many places that are empty.
    sessions: HashMap<Ufrag, Box<Session>>,
    shapes: Shapes,
    channels: HashMap<String, Channel>,
    /// How many sessions use each of the server's certificates.
    certificates: HashMap<[u8; 32], usize>,
    /// Requests that wait for a session whose record may still be read.
    waiting: HashMap<Ufrag, Vec<oneshot::Sender<()>>>,
    /// Requests that wait until all have been read.
    waiting_for_all: Vec<oneshot::Sender<()>>,
    /// Whether all records of the last boot have been read.
    loaded: bool,
    /// How many records of the last boot have not been read yet.
    unread: usize,
    /// How many sessions have no keys.
    keyless: usize,
    /// Who is told what happens.
    announcer: Option<Arc<Announcer>>,
    /// Who is told of renewed keys, if anybody.
    renewed: Option<mpsc::UnboundedSender<Ufrag>>,
    /// Whether all sessions are to continue at other nodes.
    draining: bool,
    /// Whether the server is stopping: no stream is opened any more.
    closed: bool,
}

struct Session {
    record: KeptRecord,
    /// SHA-256 of the server's certificate that the peer was told.
    certificate: [u8; 32],
    handle: Handle,
    /// When this process took it in.
    since: SystemTime,
    /// Whether it was taken over from the last boot.
    resumed: bool,
    /// When it was taken over from another node, where it was.
    adopted: Option<Instant>,
    /// Whether it has had keys since.
    back: bool,
    /// Whether it is a new peer without a check in time.
    unheard: bool,
    connected: bool,
    /// How its keys were agreed on, unless they were taken over.
    agreed: Option<Agreed>,
    /// Whether a handshake has begun since the last one completed.
    handshaking: bool,
    streams: Vec<Tap>,
    /// Whether it is to continue at another node.
    sent_away: bool,
    /// Its place among those of its address.
    _place: Option<QuotaPermit>,
}

#[derive(Default)]
struct Channel {
    live: bool,
    /// Since when it is live.
    live_since: Option<SystemTime>,
    /// The publisher's streams, while it is live.
    streams: Vec<Stream>,
    members: HashSet<Ufrag>,
    /// What all its viewers were told last of how far apart they are to come back.
    spread_told: Duration,
}

impl Sessions {
    /// No sessions yet; each address may have this many, 0 for no limit. Times are counted from
    /// `started`.
    pub(super) fn new(per_address: usize, started: Instant) -> Self {
        let inner = Inner {
            changes: 0,
            tally: Tally::new(started),
            sessions: HashMap::new(),
            shapes: Shapes::default(),
            channels: HashMap::new(),
            certificates: HashMap::new(),
            waiting: HashMap::new(),
            waiting_for_all: Vec::new(),
            loaded: false,
            unread: 0,
            keyless: 0,
            announcer: None,
            renewed: None,
            draining: false,
            closed: false,
        };
        Self {
            inner: Mutex::new(inner),
            places: AddressQuota::new(per_address),
        }
    }

    /// A place for a session of this client, if its address is below its limit.
    pub(super) fn place(&self, client: IpAddr) -> Option<QuotaPermit> {
        self.places.take(client)
    }

    /// A number that changes with every change of a session or channel.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a session of the last boot, or of another node, unless it is here already. It
    /// counts for the address that its media came from.
    pub(super) fn resume(&self, record: Arc<PeerRecord>) {
        if self.lock().sessions.contains_key(&record.ice.ufrag) {
            return;
        }
        let address = sdp::recorded_address(&record.offer);
        let place = address.and_then(|address| self.places.keep(address.ip()));
        // No answer of ours lacks a certificate; such a record would belong to none.
        let certificate = sdp::answer_certificate(&record.answer).unwrap_or_default();
        self.insert(&record, certificate, true, place);
    }

    /// Takes in a new session, with the certificate of this SHA-256. Returns its number for the
    /// log.
    pub(super) fn start(
        &self,
        record: Arc<PeerRecord>,
        certificate: [u8; 32],
        place: QuotaPermit,
    ) -> u64 {
        self.insert(&record, certificate, false, Some(place))
    }

    fn insert(
        &self,
        record: &PeerRecord,
        certificate: [u8; 32],
        resumed: bool,
        place: Option<QuotaPermit>,
    ) -> u64 {
        let mut inner = self.lock();
        inner.changes += 1;
        inner.unread = inner.unread.saturating_sub(usize::from(resumed));
        inner.keyless += 1;
        let adopted = (resumed && inner.loaded).then(Instant::now);
        if resumed && adopted.is_none() {
            inner.tally.awaits();
        }
        let handle = Handle::of(record);
        let ufrag = record.ice.ufrag.clone();
        inner
            .channels
            .entry(record.channel.clone())
            .or_default()
            .members
            .insert(ufrag.clone());
        for waiter in inner.waiting.remove(&ufrag).into_iter().flatten() {
            // A request that was given up needs no waking.
            let _ = waiter.send(());
        }
        *inner.certificates.entry(certificate).or_default() += 1;
        let session = Session {
            record: KeptRecord::new(record, &mut inner.shapes),
            certificate,
            handle,
            since: SystemTime::now(),
            resumed,
            adopted,
            back: false,
            unheard: false,
            connected: false,
            agreed: None,
            handshaking: false,
            streams: Vec::new(),
            sent_away: false,
            _place: place,
        };
        let channel = session.record.channel.clone();
        inner.announce_session(&session);
        inner.sessions.insert(ufrag, Box::new(session));
        inner.tell_spread(&channel);
        handle.number()
    }

    /// The channels that have a publisher's session here, and whose.
    pub(super) fn published(&self) -> HashMap<String, Ufrag> {
        let inner = self.lock();
        let publishers = inner.sessions.values().map(|session| &session.record);
        let publishers = publishers.filter(|record| record.role == Role::Publisher);
        let named = publishers.map(|record| (record.channel.clone(), record.ice.ufrag.clone()));
        named.collect()
    }

    /// The channels that have viewers here besides those in `but`, and whether they have a
    /// publisher here too.
    pub(super) fn watched(&self, but: &HashSet<Ufrag>) -> HashMap<String, bool> {
        let inner = self.lock();
        let mut watched = HashMap::new();
        for (name, channel) in &inner.channels {
            let members = channel.members.iter();
            let roles = members.filter_map(|ufrag| Some((ufrag, inner.sessions.get(ufrag)?)));
            let (mut viewed, mut published) = (false, false);
            for (ufrag, session) in roles {
                match session.record.role {
                    Role::Publisher => published = true,
                    Role::Viewer => viewed |= !but.contains(ufrag),
                }
            }
            if viewed {
                watched.insert(name.clone(), published);
            }
        }
        watched
    }

    /// A session's record.
    pub(super) fn record(&self, ufrag: &Ufrag) -> Option<Arc<PeerRecord>> {
        let inner = self.lock();
        inner
            .sessions
            .get(ufrag)
            .map(|session| Arc::new(session.record.whole()))
    }

    /// Whether any session uses this certificate (its SHA-256).
    pub(super) fn is_in_use(&self, certificate: &[u8; 32]) -> bool {
        self.lock().certificates.contains_key(certificate)
    }

    /// Replaces the session's record by one with the browser's present address, which is to be
    /// saved.
    pub(super) fn set_address(
        &self,
        ufrag: &Ufrag,
        address: SocketAddr,
    ) -> Option<Arc<PeerRecord>> {
        let mut inner = self.lock();
        let Inner {
            sessions, shapes, ..
        } = &mut *inner;
        let session = sessions.get_mut(ufrag)?;
        let mut record = session.record.whole();
        record.offer = sdp::with_address(&record.offer, address);
        session.record.set_offer(&record.offer, shapes);
        Some(Arc::new(record))
    }

    /// Removes a session and ends its streams. Returns its number for the log.
    pub(super) fn remove(&self, ufrag: &Ufrag, why: Departure) -> Option<u64> {
        let mut inner = self.lock();
        inner.changes += 1;
        let mut session = inner.sessions.remove(ufrag)?;
        inner.keyless -= usize::from(!session.connected);
        inner.tally.ended(&session, why);
        inner.announce_end(&session, why);
        session.send(&[Frame::gone(why)]);
        if let Some(count) = inner.certificates.get_mut(&session.certificate) {
            *count -= 1;
            if *count == 0 {
                inner.certificates.remove(&session.certificate);
            }
        }
        if let Some(channel) = inner.channels.get_mut(&session.record.channel) {
            channel.members.remove(ufrag);
            if channel.members.is_empty() {
                inner.channels.remove(&session.record.channel);
            }
        }
        inner.tell_spread(&session.record.channel);
        session.record.release(&mut inner.shapes);
        Some(session.handle.number())
    }

    /// Ends all streams, for good: the server is stopping.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
        for session in inner.sessions.values_mut() {
            session.streams.clear();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
