//! Coming back: the records of earlier boots, read in a thread of their own while the loop already answers.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use mio::Waker;
use tokio::sync::mpsc as async_mpsc;

#[cfg(feature = "full-state")]
use super::full_state;
use super::{Notice, timeline};
use crate::broadcast::{Broadcast, Departure, Event, Join, Refusal, Routed};
use crate::peer::Transmit;
use crate::sdp;
use crate::vault::{PeerRecord, Reader, Ufrag};

/// Datagrams that are kept until their peer's record has been read.
const MAX_WAITING: usize = 512;

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
    All,
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
    let (mut read, mut unread) = (0_usize, 0_usize);
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
                let _ = notices.send(Notice::Resumed(record.clone()));
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
            Ok(None) => {}
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
    let _ = loaded.send(Loaded::All);
    let _ = waker.wake();
    let _ = notices.send(Notice::ResumeComplete { unread });
    if total > 0 {
        tracing::info!(peers = read, left_out = total - read, took = ?started.elapsed(), "peers of the last boot are awaited");
    }
}

/// The loop's side: datagrams of peers whose records have not been read yet wait here.
pub(super) struct Resume {
    demand: mpsc::Sender<Ufrag>,
    notices: async_mpsc::UnboundedSender<Notice>,
    complete: bool,
    waiting: Vec<(SocketAddr, Bytes, Option<Ufrag>)>,
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
            waiting: Vec::new(),
            #[cfg(feature = "full-state")]
            session: None,
            #[cfg(feature = "full-state")]
            sources: Vec::new(),
        }
    }

    /// Keeps a datagram that belongs to nobody yet, and has the record read that it names.
    pub fn keep(&mut self, from: SocketAddr, data: &[u8], routed: Routed) {
        if self.complete || self.waiting.len() >= MAX_WAITING {
            return;
        }
        let ufrag = match routed {
            Routed::Done => return,
            Routed::UnknownUfrag(ufrag) => {
                let _ = self.demand.send(ufrag.clone());
                Some(ufrag)
            }
            // A browser may send its ClientHello before its next STUN check.
            Routed::UnknownAddress => None,
        };
        self.waiting.push((from, Bytes::copy_from_slice(data), ufrag));
    }

    /// Takes a record into the core, and hands in what has waited for it.
    pub fn take(&mut self, now: Instant, loaded: Loaded, core: &mut Broadcast, out: &mut Vec<Transmit>) {
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
            Loaded::All => {
                #[cfg(feature = "full-state")]
                core.all_taken_over();
                self.complete = true;
                self.waiting = Vec::new();
                return;
            }
        };
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
        let mine = |(from, _, ufrag): &(SocketAddr, Bytes, Option<Ufrag>)| match ufrag {
            Some(ufrag) => *ufrag == record.ice.ufrag,
            None => Some(*from) == address,
        };
        let (ready, waiting) = self.waiting.drain(..).partition(mine);
        self.waiting = waiting;
        for (from, data, _) in ready {
            core.handle(now, from, &data, out);
        }
    }
    /// A record that leads nowhere: the peer is gone, and its record goes too.
    fn give_up(&self, record: &PeerRecord, why: Departure) {
        let ufrag = record.ice.ufrag.clone();
        // Without a receiver the process is stopping.
        let _ = self.notices.send(Notice::Event(Event::Gone { ufrag, why }));
    }
}
