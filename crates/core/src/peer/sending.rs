//! The sending half of a peer's SRTP keys (RFC 3711): which index a packet is protected under.
//! Another thread may have it than the half for receiving.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rekindle_secrets::stack;

use super::full_state::Kept;
use super::srtp::{SessionKeys, lock};
use super::transform::Transform;

/// The last SRTCP index that one set of keys may protect a packet under (RFC 3711 §9.2).
const LAST_RTCP: u32 = (1 << 31) - 1;

/// See the module. Session keys: wiped when dropped, and never printed, copied or written.
pub(crate) struct Sending(Way);

enum Way {
    Own {
        transform: Transform,
        /// Highest 48-bit packet index protected so far, by SSRC (RFC 3711 §3.3.1); the streams of
        /// the present publisher are the last ones.
        sent: Vec<(u32, u64)>,
        /// The next SRTCP index, one for all SSRCs. The first one is 1.
        rtcp: u32,
    },
    /// In full-state mode, where every index is accounted for.
    Kept(Arc<Mutex<Kept>>),
}

impl Sending {
    /// Indices start at the first packets, rollover counters at zero, as on the browser's side. In
    /// full-state mode `kept`, which has the same keys, decides on them.
    pub(super) fn new(keys: &SessionKeys, kept: Option<Arc<Mutex<Kept>>>) -> Option<Self> {
        if let Some(kept) = kept {
            return Some(Self(Way::Kept(kept)));
        }
        let (key, salt) = keys.local();
        Some(Self(Way::Own {
            transform: Transform::new(keys.profile(), key, salt)?,
            sent: Vec::new(),
            rtcp: 1,
        }))
    }

    /// Encrypts in place the RTP packet in `out` from `start` on, and appends the tag. `None` for
    /// one from before the sequence number's wrap while the first packet under these keys is from
    /// after it: its rollover counter would be -1. The bytes are useless then.
    pub(crate) fn protect_rtp(&mut self, out: &mut Vec<u8>, start: usize) -> Option<()> {
        let (transform, sent) = match &mut self.0 {
            Way::Kept(kept) => return lock(kept).protect_rtp(out, start),
            Way::Own {
                transform, sent, ..
            } => (transform, sent),
        };
        let packet = out.get(start..)?;
        let sequence = u16::from_be_bytes(*packet.get(2..)?.first_chunk()?);
        let ssrc = u32::from_be_bytes(*packet.get(8..)?.first_chunk()?);
        let at = match sent.iter().rposition(|(known, _)| *known == ssrc) {
            Some(at) => at,
            None => {
                sent.push((ssrc, u64::from(sequence)));
                sent.len() - 1
            }
        };
        let highest = &mut sent[at].1;
        // The index nearest to the highest one (RFC 3711 §3.3.1).
        let step = i64::from(sequence.wrapping_sub(*highest as u16) as i16);
        let index = highest.checked_add_signed(step)?;
        *highest = index.max(*highest);
        transform.protect_rtp(out, start, index)
    }

    /// Encrypts a compound RTCP packet; `None` where these keys must not protect any more of them.
    pub(crate) fn protect_rtcp(&mut self, packet: &[u8]) -> Option<BytesMut> {
        match &mut self.0 {
            Way::Kept(kept) => lock(kept).protect_rtcp(packet),
            Way::Own {
                transform, rtcp, ..
            } => {
                let index = Some(*rtcp).filter(|index| *index <= LAST_RTCP)?;
                *rtcp += 1;
                transform.protect_rtcp(packet, index)
            }
        }
    }

    /// The sequence number at which the server's numbering of a stream continues, if an earlier
    /// process has numbered it.
    pub(crate) fn start_of(&self, ssrc: u32) -> Option<u16> {
        match &self.0 {
            Way::Kept(kept) => lock(kept).start(ssrc),
            Way::Own { .. } => None,
        }
    }
}

/// Its keys wipe themselves; what their use has left on the stack is overwritten here.
impl Drop for Sending {
    fn drop(&mut self) {
        stack::wipe();
    }
}
