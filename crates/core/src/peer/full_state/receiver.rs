//! SRTP and SRTCP as a receiver (RFC 3711, RFC 7714), with the packet index given by the caller.
//! The default mode uses `rtc-srtp`, whose context cannot be set to the state of another process.
//! process left off.

use aws_lc_rs::aead::Aad;
use aws_lc_rs::constant_time;
use bytes::BytesMut;

use crate::peer::transform::{
    E, GCM_TAG, HMAC_TAG, Half, INDEX, RTCP_HEADER, Transform, counter_mode, mac, nonce, roc,
    rtcp_aad, rtp_header, ssrc,
};

impl Transform {
    /// Authenticates and decrypts an SRTP packet, if this is its index.
    pub(super) fn unprotect_rtp(&self, packet: &[u8], index: u64) -> Option<BytesMut> {
        let header = rtp_header(packet)?;
        let ssrc = ssrc(packet, 8)?;
        match &self.rtp {
            Half::Gcm { key, salt } => {
                packet.len().checked_sub(header + GCM_TAG)?;
                let mut out = BytesMut::from(packet);
                let (aad, payload) = out.split_at_mut(header);
                key.open_in_place(nonce(salt, ssrc, index), Aad::from(&*aad), payload)
                    .ok()?;
                out.truncate(packet.len() - GCM_TAG);
                Some(out)
            }
            Half::Counter { key, salt, tag } => {
                let end = packet
                    .len()
                    .checked_sub(HMAC_TAG)
                    .filter(|end| *end >= header)?;
                let (body, given) = packet.split_at(end);
                let right = mac(tag, &[body, &roc(index)]);
                constant_time::verify_slices_are_equal(&right, given).ok()?;
                let mut out = BytesMut::from(body);
                counter_mode(key, salt, ssrc, index, &mut out[header..])?;
                Some(out)
            }
        }
    }

    /// Authenticates and decrypts an SRTCP packet. Returns its index too.
    pub(super) fn unprotect_rtcp(&self, packet: &[u8]) -> Option<(u32, BytesMut)> {
        let ssrc = ssrc(packet, 4)?;
        let (end, right_tag) = match &self.rtcp {
            Half::Gcm { .. } => (packet.len(), None),
            Half::Counter { tag, .. } => (packet.len().checked_sub(HMAC_TAG)?, Some(tag)),
        };
        let (body, given) = packet.split_at(end);
        let (encrypted, word) = body.split_last_chunk::<INDEX>()?;
        let index = u32::from_be_bytes(*word);
        // A packet that is not encrypted, though encryption was agreed on, is refused.
        if index & E == 0 || encrypted.len() < RTCP_HEADER {
            return None;
        }
        let index = index & !E;
        let mut out = BytesMut::from(encrypted);
        match &self.rtcp {
            Half::Gcm { key, salt } => {
                let length = encrypted
                    .len()
                    .checked_sub(GCM_TAG)
                    .filter(|l| *l >= RTCP_HEADER)?;
                let (head, payload) = out.split_at_mut(RTCP_HEADER);
                let aad = rtcp_aad(head, *word);
                key.open_in_place(nonce(salt, ssrc, index.into()), Aad::from(aad), payload)
                    .ok()?;
                out.truncate(length);
            }
            Half::Counter { key, salt, .. } => {
                let right = mac(right_tag?, &[body]);
                constant_time::verify_slices_are_equal(&right, given).ok()?;
                counter_mode(key, salt, ssrc, index.into(), &mut out[RTCP_HEADER..])?;
            }
        }
        Some((index, out))
    }
}

#[cfg(test)]
mod tests;
