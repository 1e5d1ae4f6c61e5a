//! The SRTP transforms against the vectors of the RFCs, and against `rtc-srtp`.

use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

use super::Transform;
use crate::peer::Profile;

const PROFILES: [(Profile, ProtectionProfile, usize, usize); 3] = [
    (
        Profile::AeadAes256Gcm,
        ProtectionProfile::AeadAes256Gcm,
        32,
        12,
    ),
    (
        Profile::AeadAes128Gcm,
        ProtectionProfile::AeadAes128Gcm,
        16,
        12,
    ),
    (
        Profile::Aes128CmSha1_80,
        ProtectionProfile::Aes128CmHmacSha1_80,
        16,
        14,
    ),
];

pub fn keys(profile: usize) -> (Transform, impl Fn() -> Context) {
    let (ours, theirs, key, salt) = PROFILES[profile];
    let key: Vec<u8> = (0..key as u8).map(|b| b.wrapping_mul(7) ^ 0x5a).collect();
    let salt: Vec<u8> = (0..salt as u8).map(|b| b.wrapping_mul(11) ^ 0xc3).collect();
    let transform = Transform::new(ours, &key, &salt).expect("keys");
    let context =
        move || Context::new(&key, &salt, theirs, None, None, &AwsLcRsCrypto).expect("a context");
    (transform, context)
}

/// With CSRCs and a header extension, or plain; any length of payload.
pub fn rtp(sequence: u16, payload: usize, plain: bool) -> Vec<u8> {
    let mut packet = if plain {
        vec![0x80, 0x60]
    } else {
        vec![0x92, 0xE0]
    };
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 1, 2, 3, 0xCA, 0xFE, 0xBA, 0xBE]);
    if !plain {
        packet.extend([1, 1, 1, 1, 2, 2, 2, 2, 0xBE, 0xDE, 0, 1, 0x10, 9, 0, 0]);
    }
    packet.extend((0..payload).map(|b| b as u8));
    packet
}

pub fn rtcp(payload: usize) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6, 0xCA, 0xFE, 0xBA, 0xBE];
    packet.extend((0..payload).map(|b| b as u8));
    packet
}

/// A packet, protected under an index.
pub fn protected(transform: &Transform, packet: &[u8], index: u64) -> Vec<u8> {
    // It may lie behind others.
    let mut out = b"before".to_vec();
    out.extend_from_slice(packet);
    transform
        .protect_rtp(&mut out, 6, index)
        .expect("protected");
    out.split_off(6)
}

#[test]
fn what_one_protects_is_what_the_other_protects_and_reads_byte_for_byte() {
    for profile in 0..3 {
        let (transform, context) = keys(profile);
        let (mut sending, mut receiving) = (context(), context());
        for (n, payload) in [0, 1, 15, 16, 17, 1200].into_iter().enumerate() {
            let packet = rtp(100 + n as u16, payload, n % 2 == 0);
            let theirs = sending.encrypt_rtp(&packet).expect("encrypted");
            let ours = protected(&transform, &packet, 100 + n as u64);
            assert_eq!(ours, theirs, "profile {profile}, {payload} bytes");
            assert_eq!(receiving.decrypt_rtp(&ours).expect("authentic"), packet);

            let packet = rtcp(payload.next_multiple_of(4));
            let theirs = sending.encrypt_rtcp(&packet).expect("encrypted");
            let ours = transform
                .protect_rtcp(&packet, n as u32 + 1)
                .expect("protected");
            assert_eq!(ours, theirs, "profile {profile}, RTCP");
            assert_eq!(receiving.decrypt_rtcp(&ours).expect("authentic"), packet);
        }
    }
}

#[test]
fn the_rollover_counter_counts_the_same_for_both() {
    for profile in 0..3 {
        let (transform, context) = keys(profile);
        let mut receiving = context();
        for index in (60_000..200_000_u64).step_by(1000) {
            let packet = rtp(index as u16, 20, true);
            let ours = protected(&transform, &packet, index);
            assert_eq!(
                receiving.decrypt_rtp(&ours).expect("authentic"),
                packet,
                "{index}"
            );
        }
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")
        })
        .collect()
}

/// RFC 3711 §B.3: the session keys that come out of a master key show in what they encrypt. The key
/// stream of §B.2 cannot be had from outside, so the derivation is tested as the RFC tests it.
#[test]
fn keys_are_derived_as_in_rfc_3711_b_3() {
    let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let mut out = [0; 16];
    super::derive(&key, &salt, 0, &mut out).expect("derived");
    assert_eq!(out[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
    let mut out = [0; 14];
    super::derive(&key, &salt, 2, &mut out).expect("derived");
    assert_eq!(out[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
    let mut out = [0; 20];
    super::derive(&key, &salt, 1, &mut out).expect("derived");
    assert_eq!(out[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
}
