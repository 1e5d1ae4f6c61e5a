//! Coming back: the records of earlier boots, read in a thread of their own while the loop already answers.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use mio::Waker;
use tokio::sync::mpsc as async_mpsc;

#[cfg(feature = "full-state")]
use super::full_state;
use super::turns::{Taken, Turns};
use super::{Notice, timeline};
use crate::broadcast::{Broadcast, Departure, Event, Join, Refusal, Routed};
use crate::peer::Transmit;
use crate::sdp;
use crate::vault::{PeerRecord, Reader, Ufrag, VaultError};

/// Datagrams that are kept until their peer's record has been read: some MB at most, for as long as reading takes.
const MAX_WAITING: usize = 4096;
/// As many of them may name one peer, or come from one address.
const MAX_WAITING_OF_ONE: usize = 8;

/// What the reading thread sends to the loop.
pub(super) enum Loaded {
    /// A record.
    Record {
        record: Arc<PeerRecord>,
        /// In full-state mode, the peer's session.
        #[cfg(feature = "full-state")]
        session: Option<Box<full_state::Resumed>>,
    },
    /// In full-state mode, before all records: the counters of the last process.
    #[cfg(feature = "full-state")]
    Counters(full_state::Counters),
    /// There are no more.
    All {
        /// Records that the system would not read.
        unread: usize,
        /// Records of which nothing can be made.
        unusable: usize,
    },
}

/// Where records come from.
pub(super) struct Source {
    pub reader: Reader,
    /// In full-state mode, where sessions are kept.
    #[cfg(feature = "full-state")]
    pub vault: Option<Arc<crate::vault::Vault>>,
}

/// Reads records until there are no more: what is demanded first, then publishers', then the rest. Dropping the reader wipes the
/// identities of the key file.
pub(super) fn load(
    source: Source,
    demanded: &mpsc::Receiver<Ufrag>,
    loaded: &mpsc::Sender<Loaded>,
    waker: &Waker,
    notices: &async_mpsc::UnboundedSender<Notice>,
) {
    let started = Instant::now();
    let mut reader = source.reader;
    #[cfg(feature = "full-state")]
    let mut sessions = source
        .vault
        .map(|vault| full_state::Sessions::open(&reader, vault, loaded));
    // A publisher's user name fragment sorts before a viewer's: the server makes them so.
    let mut names: Vec<Ufrag> = reader.names().cloned().collect();
    names.sort_unstable();
    let mut left: HashSet<Ufrag> = names.iter().cloned().collect();
    let total = left.len();
    let mut in_turn = names.into_iter();
    let (mut read, mut unread, mut unusable) = (0_usize, 0_usize, 0_usize);
    while !left.is_empty() {
        let wanted = demanded.try_recv().ok().or_else(|| in_turn.next());
        let Some(ufrag) = wanted else { break };
        if !left.remove(&ufrag) {
            continue;
        }
        match reader.read(&ufrag) {
            Ok(Some(record)) => {
                read += 1;
                let record = Arc::new(record);
                #[cfg(feature = "full-state")]
                let session = sessions.as_mut().and_then(|sessions| sessions.take(&reader, &ufrag));
                let next = Loaded::Record {
                    record,
                    #[cfg(feature = "full-state")]
                    session: session.map(Box::new),
                };
                if loaded.send(next).is_err() {
                    return;
                }
                let _ = waker.wake();
            }
            Ok(None) => unusable += 1,
            Err(error @ VaultError::RolledBack { .. }) => {
                let _ = notices.send(Notice::RolledBack(error));
                return;
            }
            Err(error) => {
                unread += 1;
                tracing::warn!(%error, "a peer's record is left out");
            }
        }
    }
    drop(reader);
    timeline::mark("records", Instant::now());
    #[cfg(feature = "full-state")]
    if let Some(sessions) = sessions {
        sessions.finish();
    }
    let _ = loaded.send(Loaded::All { unread, unusable });
    let _ = waker.wake();
    if total > 0 {
        tracing::info!(peers = read, left_out = total - read, took = ?started.elapsed(), "peers of the last boot are awaited");
    }
}

/// The loop's side: datagrams of peers whose records have not been read yet wait here.
pub(super) struct Resume {
    demand: mpsc::Sender<Ufrag>,
    notices: async_mpsc::UnboundedSender<Notice>,
    complete: bool,
    /// STUN checks, by the peer that they name.
    checks: HashMap<Ufrag, Vec<(SocketAddr, Bytes)>>,
    /// All else, by where it came from.
    others: HashMap<SocketAddr, Vec<Bytes>>,
    /// How many they are together.
    waiting: usize,
    /// Full-state mode: media of the last boot has keys.
    takes_media: bool,
    /// Taken into the core, and nobody has been told yet.
    resumed: Vec<Arc<PeerRecord>>,
    /// The session of the peer that is being taken in.
    #[cfg(feature = "full-state")]
    session: Option<Box<full_state::Resumed>>,
    /// Which addresses of this machine peers send to, whose sessions were taken over.
    #[cfg(feature = "full-state")]
    pub sources: Vec<(SocketAddr, std::net::IpAddr)>,
}

impl Resume {
    pub fn new(demand: mpsc::Sender<Ufrag>, notices: async_mpsc::UnboundedSender<Notice>) -> Self {
        Self {
            demand,
            notices,
            complete: false,
            checks: HashMap::new(),
            others: HashMap::new(),
            waiting: 0,
            takes_media: false,
            resumed: Vec::new(),
            #[cfg(feature = "full-state")]
            session: None,
            #[cfg(feature = "full-state")]
            sources: Vec::new(),
        }
    }

    /// Full-state mode: media that comes before its peer's record is kept too.
    #[cfg(feature = "full-state")]
    pub fn take_media(&mut self) {
        self.takes_media = true;
    }

    /// Tells of those who were taken into the core. To be called once their handshakes that waited have had their turn, and before news
    /// of them: the greeting of an event stream then says that a ClientHello has come, and no page sends another one on top of it. Where
    /// somebody holds the ports while no server runs, it often lies there before the page's request for events.
    pub fn tell(&mut self) {
        for record in self.resumed.drain(..) {
            let _ = self.notices.send(Notice::Resumed(record));
        }
    }

    /// Keeps a datagram that belongs to nobody yet, and has the record read that it names.
    pub fn keep(&mut self, from: SocketAddr, data: &[u8], routed: Routed) {
        if self.complete || self.waiting >= MAX_WAITING {
            return;
        }
        let data = Bytes::copy_from_slice(data);
        let kept = match routed {
            Routed::Done | Routed::Authentic => return,
            Routed::UnknownUfrag(ufrag) => {
                let _ = self.demand.send(ufrag.clone());
                add(self.checks.entry(ufrag).or_default(), (from, data))
            }
            // Media of the last boot, whose keys are gone. Held ports may be full of it, and it must not take a ClientHello's place.
            Routed::UnknownAddress if !self.takes_media && !is_dtls(&data) => return,
            // A browser may send its ClientHello before its next STUN check.
            Routed::UnknownAddress => add(self.others.entry(from).or_default(), data),
        };
        self.waiting += usize::from(kept);
    }

    /// All that has waited for a peer: its checks first, which prove the addresses that the rest came from.
    fn ready(&mut self, ufrag: &Ufrag, address: Option<SocketAddr>) -> Vec<(SocketAddr, Bytes)> {
        let mut ready = self.checks.remove(ufrag).unwrap_or_default();
        let mut addresses: Vec<SocketAddr> = ready.iter().map(|(from, _)| *from).chain(address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        for from in addresses {
            let others = self.others.remove(&from).unwrap_or_default();
            ready.extend(others.into_iter().map(|data| (from, data)));
        }
        self.waiting -= ready.len();
        ready
    }

    /// Takes a record into the core, and hands in what has waited for it; handshakes go on waiting, for their turn.
    pub fn take(
        &mut self,
        now: Instant,
        loaded: Loaded,
        core: &mut Broadcast,
        turns: &mut Turns,
        out: &mut Vec<Transmit>,
    ) {
        let record = match loaded {
            #[cfg(feature = "full-state")]
            Loaded::Counters(counters) => return core.take_counters(counters),
            #[cfg(feature = "full-state")]
            Loaded::Record {
                record,
                session: Some(session),
            } => {
                self.session = Some(session);
                record
            }
            Loaded::Record { record, .. } => record,
            Loaded::All { unread, unusable } => {
                self.tell();
                // Only now, since who is told of it counts on all peers being here.
                let _ = self.notices.send(Notice::ResumeComplete { unread, unusable });
                #[cfg(feature = "full-state")]
                core.all_taken_over();
                self.complete = true;
                self.checks = HashMap::new();
                self.others = HashMap::new();
                self.waiting = 0;
                return;
            }
        };
        self.resumed.push(record.clone());
        let negotiated = match sdp::negotiated(record.role, &record.offer, &record.answer) {
            Ok(negotiated) => negotiated,
            Err(error) => {
                tracing::warn!(%error, "a peer's record holds SDP that cannot be used; the peer has to join anew");
                self.give_up(&record, Departure::NoRehandshake);
                return;
            }
        };
        let address = negotiated.address;
        let join = Join {
            role: record.role,
            channel: record.channel.clone(),
            ice: record.ice.clone(),
            negotiated,
            resumed: true,
            renews: sdp::renews(&record.offer),
        };
        if let Err(refusal) = core.join(now, join) {
            tracing::warn!(%refusal, "a peer of the last boot cannot be taken over");
            let why = match refusal {
                Refusal::UnknownCertificate => Departure::NoRehandshake,
                _ => Departure::Replaced,
            };
            self.give_up(&record, why);
            return;
        }
        #[cfg(feature = "full-state")]
        if let Some(session) = self.session.take() {
            let peer = core.resume(now, &session, out);
            self.sources.extend(peer.zip(session.now.local));
        }
        for (from, data) in self.ready(&record.ice.ufrag, address) {
            if turns.take(core, now, from, &data, out) == Taken::No {
                core.handle(now, from, &data, out);
            }
        }
    }

    /// A record that leads nowhere: the peer is gone, and its record goes too.
    fn give_up(&mut self, record: &PeerRecord, why: Departure) {
        self.tell();
        let ufrag = record.ice.ufrag.clone();
        // Without a receiver the process is stopping.
        let _ = self.notices.send(Notice::Event(Event::Gone { ufrag, why }));
    }
}

/// RFC 7983 §7.
fn is_dtls(data: &[u8]) -> bool {
    matches!(data.first(), Some(20..=63))
}

/// Adds one more, if there is room.
fn add<T>(kept: &mut Vec<T>, one: T) -> bool {
    let room = kept.len() < MAX_WAITING_OF_ONE;
    if room {
        kept.push(one);
    }
    room
}

#[cfg(test)]
mod tests {
    use super::super::turns::tests::hello;
    use super::*;
    use crate::broadcast::Config;
    use crate::peer::Dtls;
    use crate::vault::fuzzing::identity;
    use crate::vault::{IceCredentials, IcePassword, Role};

    /// A record that names this address, and a core that knows nobody yet.
    fn last_boot(from: SocketAddr) -> (PeerRecord, Broadcast) {
        let identity = identity();
        let ice = IceCredentials {
            ufrag: Ufrag::new("Publisher0000001").expect("a fragment"),
            pwd: IcePassword::new("p".repeat(32)),
        };
        let offer = include_str!("../sdp/testdata/chromium-156-publish.sdp");
        let local = sdp::Local {
            ice: &ice,
            fingerprint_sha256: &identity.sha256(),
            addresses: &[],
            session_id: 1,
        };
        let record = PeerRecord {
            role: Role::Publisher,
            channel: "c".to_owned(),
            answer: sdp::answer(Role::Publisher, offer, None, &local).expect("an answer"),
            offer: sdp::with_address(offer, from),
            ice,
            joined_at: 0,
        };
        let dtls = Dtls::new(identity.certificate_der(), identity.private_key_der()).expect("settings");
        let core = Broadcast::new(Config::default(), Arc::new(dtls), [7; 32], Instant::now());
        (record, core)
    }

    #[test]
    fn media_of_the_last_boot_does_not_take_the_place_of_a_client_hello_and_nobody_is_told_before_its_turn() {
        let from = SocketAddr::from(([192, 0, 2, 1], 5000));
        let (record, mut core) = last_boot(from);
        let (demand, _demanded) = mpsc::channel();
        let (notices, mut noticed) = async_mpsc::unbounded_channel();
        let mut resume = Resume::new(demand, notices);
        for _ in 0..2 * MAX_WAITING {
            resume.keep(from, &[0x80; 1200], Routed::UnknownAddress);
        }
        resume.keep(from, &hello(1), Routed::UnknownAddress);
        let loaded = Loaded::Record {
            record: Arc::new(record),
            #[cfg(feature = "full-state")]
            session: None,
        };
        let (mut turns, mut out) = (Turns::default(), Vec::new());
        resume.take(Instant::now(), loaded, &mut core, &mut turns, &mut out);
        assert!(noticed.try_recv().is_err(), "its turn is still to come");
        assert_eq!(turns.next().map(|(turn, parts)| (turn, parts.len())), Some((from, 1)));
        resume.tell();
        assert!(matches!(noticed.try_recv(), Ok(Notice::Resumed(_))));
    }

    #[test]
    fn of_two_attempts_that_came_before_the_record_only_the_later_one_gets_a_turn() {
        let from = SocketAddr::from(([192, 0, 2, 1], 5000));
        let (record, mut core) = last_boot(from);
        let (demand, _demanded) = mpsc::channel();
        let (notices, _noticed) = async_mpsc::unbounded_channel();
        let mut resume = Resume::new(demand, notices);
        resume.keep(from, &hello(1), Routed::UnknownAddress);
        resume.keep(from, &hello(2), Routed::UnknownAddress);
        let loaded = Loaded::Record {
            record: Arc::new(record),
            #[cfg(feature = "full-state")]
            session: None,
        };
        let (mut turns, mut out) = (Turns::default(), Vec::new());
        resume.take(Instant::now(), loaded, &mut core, &mut turns, &mut out);
        assert_eq!(out, [], "no handshake has begun");
        let (turn, parts) = turns.next().expect("a turn");
        let data: Vec<&[u8]> = parts.iter().map(|part| &part.data[..]).collect();
        assert_eq!((turn, data), (from, vec![&hello(2)[..]]));
        assert!(turns.is_empty());
    }
}
