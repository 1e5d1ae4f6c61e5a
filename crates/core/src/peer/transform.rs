//! SRTP and SRTCP as a sender (RFC 3711, RFC 7714), with the packet index given by the caller.
//!
//! `rtc-srtp`, which decrypts what peers send, allocates and copies each packet that it protects,
//! parses its header once more, and manages its indices itself. A server that sends each packet to
//! a thousand viewers can afford none of this. Here only the derived keys are kept: the caller
//! decides on the index, and ensures that no index is used for two packets.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::peer::Profile;

/// Length of a GCM tag (RFC 7714 §13) and of an HMAC-SHA1 tag cut to 80 bits, in bytes.
pub(super) const GCM_TAG: usize = 16;
pub(super) const HMAC_TAG: usize = 10;
/// The E flag and the index that follow an SRTCP packet (RFC 3711 §3.4).
pub(super) const INDEX: usize = 4;
pub(super) const E: u32 = 1 << 31;
/// RTCP's common header and its sender's SSRC, which SRTCP leaves readable.
pub(super) const RTCP_HEADER: usize = 8;
/// Labels of the key derivation (RFC 3711 §4.3.1 and §4.3.2): encryption, authentication, salt.
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

/// The keys of one direction, derived from its master key and salt.
pub(super) struct Transform {
    pub(super) rtp: Half,
    pub(super) rtcp: Half,
}

/// The part for SRTP or for SRTCP.
pub(super) enum Half {
    Gcm {
        key: Box<LessSafeKey>,
        salt: [u8; 12],
    },
    Counter {
        key: Box<EncryptingKey>,
        salt: [u8; 14],
        tag: Box<hmac::Key>,
    },
}

impl Transform {
    /// Derives the session keys; `None` where a length does not fit the profile.
    pub(super) fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        Some(Self {
            rtp: Half::new(profile, key, salt, RTP_LABELS)?,
            rtcp: Half::new(profile, key, salt, RTCP_LABELS)?,
        })
    }

    /// Encrypts in place the RTP packet in `out` from `start` on, and appends the tag. `index` is
    /// its 48-bit index, whose low half is the packet's sequence number. After `None` the bytes are
    /// useless.
    pub(super) fn protect_rtp(&self, out: &mut Vec<u8>, start: usize, index: u64) -> Option<()> {
        let packet = out.get_mut(start..)?;
        let header = rtp_header(packet)?;
        let ssrc = ssrc(packet, 8)?;
        match &self.rtp {
            Half::Gcm { key, salt } => {
                let (aad, payload) = packet.split_at_mut(header);
                let nonce = nonce(salt, ssrc, index);
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*aad), payload)
                    .ok()?;
                out.extend_from_slice(tag.as_ref());
            }
            Half::Counter { key, salt, tag } => {
                counter_mode(key, salt, ssrc, index, &mut packet[header..])?;
                let mac = mac(tag, &[packet, &roc(index)]);
                out.extend_from_slice(&mac);
            }
        }
        Some(())
    }

    /// Encrypts a compound RTCP packet under this 31-bit index.
    pub(super) fn protect_rtcp(&self, packet: &[u8], index: u32) -> Option<BytesMut> {
        let ssrc = ssrc(packet, 4)?;
        let word = (E | index).to_be_bytes();
        let mut out = room(packet, GCM_TAG + INDEX);
        match &self.rtcp {
            Half::Gcm { key, salt } => {
                let (head, payload) = out.split_at_mut(RTCP_HEADER);
                let aad = rtcp_aad(head, word);
                let tag = key
                    .seal_in_place_separate_tag(
                        nonce(salt, ssrc, index.into()),
                        Aad::from(aad),
                        payload,
                    )
                    .ok()?;
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(&word);
            }
            Half::Counter { key, salt, tag } => {
                counter_mode(key, salt, ssrc, index.into(), &mut out[RTCP_HEADER..])?;
                out.extend_from_slice(&word);
                let mac = mac(tag, &[&out]);
                out.extend_from_slice(&mac);
            }
        }
        Some(out)
    }
}

impl Half {
    fn new(
        profile: Profile,
        key: &[u8],
        salt: &[u8],
        [encryption, authentication, salting]: [u8; 3],
    ) -> Option<Self> {
        let length = match profile {
            Profile::AeadAes256Gcm => 32,
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 => 16,
        };
        if key.len() != length {
            return None;
        }
        let mut derived = Zeroizing::new([0; 32]);
        let derived = &mut derived[..length];
        derive(key, salt, encryption, derived)?;
        if profile == Profile::Aes128CmSha1_80 {
            let mut session_salt = [0; 14];
            let mut authentication_key = Zeroizing::new([0; 20]);
            derive(key, salt, salting, &mut session_salt)?;
            derive(key, salt, authentication, authentication_key.as_mut_slice())?;
            let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, derived).ok()?).ok()?;
            return Some(Self::Counter {
                key: Box::new(key),
                salt: session_salt,
                tag: Box::new(hmac::Key::new(
                    hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                    authentication_key.as_slice(),
                )),
            });
        }
        let algorithm = if length == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let mut session_salt = [0; 12];
        derive(key, salt, salting, &mut session_salt)?;
        Some(Self::Gcm {
            key: Box::new(LessSafeKey::new(UnboundKey::new(algorithm, derived).ok()?)),
            salt: session_salt,
        })
    }
}

/// The key derivation of RFC 3711 §4.3 with a derivation rate of zero: AES in counter mode over
/// zeros. A salt of 96 bits is padded with zeros (RFC 7714 §11).
pub(super) fn derive(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) -> Option<()> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let mut iv = [0; 16];
    iv.get_mut(..salt.len())
        .filter(|s| s.len() <= 14)?
        .copy_from_slice(salt);
    iv[7] ^= label;
    let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    out.fill(0);
    key.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .ok()?;
    Some(())
}

/// RFC 3711 §4.1.1.
pub(super) fn counter_mode(
    key: &EncryptingKey,
    salt: &[u8; 14],
    ssrc: u32,
    index: u64,
    data: &mut [u8],
) -> Option<()> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    for (byte, more) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= more;
    }
    for (byte, more) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= more;
    }
    if data.is_empty() {
        return Some(());
    }
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv)))
        .ok()?;
    Some(())
}

/// RFC 7714 §8.1 and §9.1: for SRTP the 48-bit index, for SRTCP the 31-bit one.
pub(super) fn nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = *salt;
    for (byte, more) in iv[2..6].iter_mut().zip(ssrc.to_be_bytes()) {
        *byte ^= more;
    }
    for (byte, more) in iv[6..].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *byte ^= more;
    }
    Nonce::assume_unique_for_key(iv)
}

/// RFC 7714 §9.2: the header, then the E flag and the index.
pub(super) fn rtcp_aad(header: &[u8], word: [u8; INDEX]) -> [u8; RTCP_HEADER + INDEX] {
    let mut aad = [0; RTCP_HEADER + INDEX];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&word);
    aad
}

/// The rollover counter of an index.
pub(super) fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

pub(super) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; HMAC_TAG] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    *context
        .sign()
        .as_ref()
        .first_chunk()
        .expect("HMAC-SHA-1 has 20 bytes")
}

fn room(packet: &[u8], more: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(packet.len() + more);
    out.extend_from_slice(packet);
    out
}

/// The SSRC at this offset. `Some` proves that the packet is at least as long as an RTCP header.
pub(super) fn ssrc(packet: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?))
}

/// Where an RTP packet's payload begins (RFC 3550 §5.1, RFC 8285 §4).
pub(super) fn rtp_header(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut end = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words: &[u8; 2] = packet.get(end + 2..)?.first_chunk()?;
        end += 4 + 4 * usize::from(u16::from_be_bytes(*words));
    }
    (first >> 6 == 2 && end <= packet.len()).then_some(end)
}

#[cfg(test)]
pub(super) mod tests;
