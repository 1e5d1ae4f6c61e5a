//! Session keys whose use is bounded by what is durable.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use aws_lc_rs::digest;
use bytes::BytesMut;
use rekindle_full_state::ledger::{Sent, Verdict, Window};
use rekindle_full_state::record::{
    Material, RTCP_AHEAD, RTCP_LAST, ReceivedCounter, Resumed, SentCounter, SessionCounters,
    SessionId, SessionRecord, limits,
};
use rekindle_ids::Ufrag;

use crate::peer::sending::Sending;
use crate::peer::srtp::{Exposed, MAX_SSRCS, Profile, SessionKeys, Srtp};
use crate::peer::transform::Transform;

/// Names a set of keys.
const ID_LABEL: &[u8] = b"rekindle session id v1";

/// Set when a ceiling should be written. Shared by all peers of a core.
pub(crate) type Wanted = Arc<AtomicBool>;

/// Both directions of one peer, with every index accounted for.
pub(crate) struct Kept {
    id: SessionId,
    sending: Transform,
    receiving: Transform,
    sent: Vec<(u32, Sent)>,
    /// The next SRTCP index, one for all SSRCs, and the first that may not be used yet.
    rtcp: u32,
    rtcp_limit: u32,
    rtcp_pending: Option<u32>,
    received: Vec<(u32, Received)>,
    /// These keys are in the vault, or are being written to it.
    reserved: bool,
    /// Since when these keys, which are from an earlier process, wait for a packet that proves that
    /// the browser has them too.
    unproven: Option<Unproven>,
    /// Whether a stream cannot continue under these keys.
    lost: bool,
    /// Streams whose first packets found nothing reserved.
    missed: Vec<u32>,
    wanted: Wanted,
}

/// Keys of an earlier process that have not authenticated any packet yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unproven {
    pub since: Instant,
    /// A packet arrived that these keys did not authenticate.
    pub doubted: bool,
}

#[derive(Default)]
struct Received {
    rtp: Option<Window>,
    rtcp: Option<Window>,
}

impl SessionKeys {
    fn id(&self) -> SessionId {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(ID_LABEL);
        let exposed = self.expose();
        context.update(&number(exposed.profile).to_be_bytes());
        context.update(exposed.material);
        *context
            .finish()
            .as_ref()
            .first_chunk()
            .expect("SHA-256 has 32 bytes")
    }

    /// What is persisted of these keys.
    fn record(&self, ufrag: &Ufrag) -> SessionRecord {
        let Exposed {
            profile, material, ..
        } = self.expose();
        SessionRecord {
            ufrag: ufrag.clone(),
            profile: number(profile),
            material: Material(material.to_vec()),
        }
    }

    /// Keys from the vault; `None` if they do not fit their profile.
    fn from_record(record: &SessionRecord) -> Option<Self> {
        let profile = [
            Profile::AeadAes256Gcm,
            Profile::AeadAes128Gcm,
            Profile::Aes128CmSha1_80,
        ]
        .into_iter()
        .find(|profile| number(*profile) == record.profile)?;
        let exact = record.material.0.len() == profile.material_len();
        exact.then(|| Self::new(profile, &record.material.0))?
    }
}

/// IANA's number of a DTLS-SRTP profile.
fn number(profile: Profile) -> u16 {
    match profile {
        Profile::Aes128CmSha1_80 => 0x0001,
        Profile::AeadAes128Gcm => 0x0007,
        Profile::AeadAes256Gcm => 0x0008,
    }
}

impl Srtp {
    /// Accounts for every index from now on. To be called right after a handshake, before anything
    /// is protected.
    pub(in crate::peer) fn keep(&mut self, wanted: &Wanted) {
        if let Some(kept) = Kept::new(&self.keys, wanted.clone()) {
            self.use_kept(kept);
        }
        wanted.store(true, Ordering::Relaxed);
    }

    /// Takes over keys and counters of an earlier process; `None` if they do not belong together.
    pub(in crate::peer) fn resumed(
        resumed: &Resumed,
        now: Instant,
        wanted: &Wanted,
    ) -> Option<Self> {
        let keys = SessionKeys::from_record(&resumed.session)?;
        let kept = Kept::resumed(&keys, resumed, now, wanted.clone())?;
        let mut srtp = Self::new(keys)?;
        srtp.use_kept(kept);
        Some(srtp)
    }

    fn use_kept(&mut self, kept: Kept) {
        let kept = Arc::new(Mutex::new(kept));
        self.sending = Sending::new(&self.keys, Some(kept.clone())).map(Box::new);
        self.kept = Some(kept);
    }

    /// What is persisted of the keys in use; `None` for keys that are not kept, or that the vault
    /// already has.
    pub(in crate::peer) fn session(&self, ufrag: &Ufrag) -> Option<SessionRecord> {
        self.kept.as_ref().map(|_| self.keys.record(ufrag))
    }
}

impl Kept {
    fn new(keys: &SessionKeys, wanted: Wanted) -> Option<Self> {
        let exposed = keys.expose();
        let direction = |(key, salt)| Transform::new(exposed.profile, key, salt);
        Some(Self {
            id: keys.id(),
            sending: direction(exposed.sending)?,
            receiving: direction(exposed.receiving)?,
            sent: Vec::new(),
            // The first index is 1 in the implementation that browsers were tested with.
            rtcp: 1,
            rtcp_limit: RTCP_LAST,
            rtcp_pending: None,
            received: Vec::new(),
            reserved: false,
            unproven: None,
            lost: false,
            missed: Vec::new(),
            wanted,
        })
    }

    fn resumed(
        keys: &SessionKeys,
        resumed: &Resumed,
        now: Instant,
        wanted: Wanted,
    ) -> Option<Self> {
        let Resumed {
            left, now: durable, ..
        } = resumed;
        let mut kept = Self::new(keys, wanted)?;
        if left.id != kept.id || durable.id != kept.id {
            return None;
        }
        kept.rtcp = left.rtcp_ceiling;
        kept.rtcp_limit = durable.rtcp_ceiling;
        for old in &left.sent {
            let new = durable.sent.iter().find(|new| new.ssrc == old.ssrc)?;
            kept.sent.push((old.ssrc, Sent::resumed(old, new)));
        }
        for old in &left.received {
            let received = Received {
                rtp: old.rtp.map(Window::resumed),
                rtcp: old.rtcp.map(|index| Window::resumed(index.into())),
            };
            kept.received.push((old.ssrc, received));
        }
        kept.reserved = true;
        kept.unproven = Some(Unproven {
            since: now,
            doubted: false,
        });
        Some(kept)
    }

    fn sent(&mut self, ssrc: u32, ahead: u16) -> Option<&mut Sent> {
        if let Some(at) = self.sent.iter().position(|(known, _)| *known == ssrc) {
            return Some(&mut self.sent[at].1);
        }
        if self.sent.len() >= limits::STREAMS {
            // Forgetting one would mean using it again from the start.
            self.lost = true;
            return None;
        }
        self.sent.push((ssrc, Sent::new(ahead, self.reserved)));
        self.sent.last_mut().map(|(_, sent)| sent)
    }

    /// Registers a stream that will be sent, so that its counter is written with the next ones;
    /// `ahead`: see [`SentCounter::ahead`].
    pub(crate) fn announce(&mut self, ssrc: u32, ahead: u16) {
        let known = self.sent.iter().any(|(known, _)| *known == ssrc);
        if !known && self.sent(ssrc, ahead).is_some() {
            self.want();
        }
    }

    fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// The sequence number at which the server's numbering of a stream continues, if an earlier
    /// process has numbered it.
    pub(crate) fn start(&self, ssrc: u32) -> Option<u16> {
        self.sent
            .iter()
            .find(|(known, _)| *known == ssrc)?
            .1
            .start()
    }

    /// See [`Sending::protect_rtp`].
    pub(crate) fn protect_rtp(&mut self, out: &mut Vec<u8>, start: usize) -> Option<()> {
        let packet = out.get(start..)?;
        let sequence = u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?);
        let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?);
        let sent = self.sent(ssrc, 0)?;
        let verdict = sent.judge(sequence);
        let (low, missed) = (sent.is_low(), verdict == Verdict::Wait && sent.is_new());
        if low {
            self.want();
        }
        if missed && !self.missed.contains(&ssrc) {
            self.missed.push(ssrc);
        }
        match verdict {
            Verdict::Use(index) => {
                #[cfg(test)]
                super::recorder::note(self.id, Some(ssrc), index, packet);
                #[cfg(rekindle_kill_points)]
                rekindle_full_state::kill_points::protects(self.id, Some(ssrc), index, packet);
                self.sending.protect_rtp(out, start, index)
            }
            Verdict::Lost => {
                self.lost = true;
                None
            }
            Verdict::Spent | Verdict::Wait => None,
        }
    }

    pub(crate) fn protect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let index = self.rtcp;
        if self.rtcp_limit.saturating_sub(index) <= RTCP_AHEAD / 2 && self.rtcp_pending.is_none() {
            self.want();
        }
        if index >= self.rtcp_limit {
            self.lost |= index >= RTCP_LAST;
            return None;
        }
        self.rtcp += 1;
        #[cfg(test)]
        super::recorder::note(self.id, None, index.into(), packet);
        #[cfg(rekindle_kill_points)]
        rekindle_full_state::kill_points::protects(self.id, None, index.into(), packet);
        self.sending.protect_rtcp(packet, index)
    }

    fn received(&mut self, ssrc: u32) -> Option<&mut Received> {
        if let Some(at) = self.received.iter().position(|(known, _)| *known == ssrc) {
            return Some(&mut self.received[at].1);
        }
        if self.received.len() >= limits::STREAMS.min(MAX_SSRCS) {
            return None;
        }
        self.received.push((ssrc, Received::default()));
        self.received.last_mut().map(|(_, received)| received)
    }

    fn window(&self, ssrc: u32) -> Option<&Received> {
        let found = self.received.iter().find(|(known, _)| *known == ssrc);
        found.map(|(_, received)| received)
    }

    pub(crate) fn unprotect_rtp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let sequence = u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?);
        let ssrc = u32::from_be_bytes(packet.get(8..12)?.try_into().ok()?);
        let window = self.window(ssrc).and_then(|received| received.rtp.as_ref());
        let index = match window {
            Some(window) => window
                .index(sequence)
                .filter(|index| window.is_new(*index))?,
            None => sequence.into(),
        };
        let Some(plain) = self.receiving.unprotect_rtp(packet, index) else {
            self.doubt();
            return None;
        };
        // Only now: packets that are not authentic change nothing.
        let window = &mut self.received(ssrc)?.rtp;
        match window {
            Some(window) => window.take(index),
            None => *window = Some(Window::new(index)),
        }
        self.unproven = None;
        Some(plain)
    }

    pub(crate) fn unprotect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
        let Some((index, plain)) = self.receiving.unprotect_rtcp(packet) else {
            self.doubt();
            return None;
        };
        let window = &mut self.received(ssrc)?.rtcp;
        match window {
            Some(window) if !window.is_new(index.into()) => return None,
            Some(window) => window.take(index.into()),
            None => *window = Some(Window::new(index.into())),
        }
        self.unproven = None;
        Some(plain)
    }

    /// The counters to write now. What they reserve may be used once [`Kept::reserved`] reports
    /// that they are durable.
    pub(crate) fn reserve(
        &mut self,
        now: Instant,
        ufrag: &Ufrag,
        local: Option<IpAddr>,
    ) -> SessionCounters {
        let first = !std::mem::replace(&mut self.reserved, true);
        let known = if first { 0 } else { self.rtcp_limit };
        let ceiling = known
            .max(self.rtcp.saturating_add(RTCP_AHEAD))
            .min(RTCP_LAST);
        if first {
            self.rtcp_limit = ceiling;
        }
        self.rtcp_pending = Some(ceiling);
        let sent = self.sent.iter_mut();
        let sent: Vec<SentCounter> = sent
            .map(|(ssrc, sent)| sent.reserve(now, *ssrc, first))
            .collect();
        let received = self
            .received
            .iter()
            .map(|(ssrc, received)| ReceivedCounter {
                ssrc: *ssrc,
                rtp: received.rtp.as_ref().map(Window::highest),
                rtcp: received.rtcp.as_ref().map(|window| window.highest() as u32),
            });
        SessionCounters {
            ufrag: ufrag.clone(),
            id: self.id,
            local,
            rtcp_ceiling: ceiling,
            sent,
            received: received.collect(),
        }
    }

    /// Reports whether the counters of the last [`Kept::reserve`] are durable. Returns the streams
    /// whose first packets could not be sent before, and now can.
    pub(crate) fn reserved(&mut self, durable: bool) -> Vec<u32> {
        if let Some(ceiling) = self.rtcp_pending.take().filter(|_| durable) {
            self.rtcp_limit = self.rtcp_limit.max(ceiling);
        }
        self.sent
            .iter_mut()
            .for_each(|(_, sent)| sent.reserved(durable));
        let sent = &self.sent;
        let (ready, waiting) = std::mem::take(&mut self.missed)
            .into_iter()
            .partition(|ssrc| {
                sent.iter()
                    .any(|(known, sent)| known == ssrc && !sent.is_new())
            });
        self.missed = waiting;
        ready
    }

    fn doubt(&mut self) {
        if let Some(unproven) = &mut self.unproven {
            unproven.doubted = true;
        }
    }

    /// The keys that were taken over and that the browser has not been seen to have.
    pub(crate) fn unproven(&self) -> Option<Unproven> {
        self.unproven
    }

    /// Whether a stream cannot continue under these keys.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// These keys have no counter in the vault yet.
    pub(crate) fn is_unreserved(&self) -> bool {
        !self.reserved
    }
}
