//! Takes every run of bytes for a key: as SRTP keys in two layouts, and as the DTLS secrets that
//! SRTP keys come from.

use std::collections::HashSet;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hkdf, hmac, tls_prf};

use super::attack::{PROFILES, ways};
use super::stage::Recorded;

/// Streams of one way and handshake that each key is tried on, by their first packet: its rollover
/// counter is zero.
const SAMPLES: usize = 2;
/// The label of the exporter (RFC 5764 §4.2).
const EXPORTER: &[u8] = b"EXTRACTOR-dtls_srtp";
/// Longest thing that is looked for.
const LONGEST: usize = 88;

/// What came of it.
#[derive(Debug, Default)]
pub struct Found {
    /// Places at which a key might begin.
    pub windows: usize,
    /// Keys tried.
    pub keys: usize,
    /// Sample packets that opened.
    pub opened: usize,
}

/// Whether a packet opens.
type Opener = Box<dyn Fn(&[u8]) -> bool>;

/// What keys are tried on.
struct Samples {
    packets: Vec<Vec<u8>>,
    /// (client's random, server's random) of every handshake on the tape.
    randoms: Vec<(Vec<u8>, Vec<u8>)>,
}

pub fn everywhere(tape: &[Recorded], haystack: &[u8]) -> Found {
    search(tape, haystack, 0..haystack.len())
}

/// The same, at this place only.
pub fn around(tape: &[Recorded], haystack: &[u8], place: usize) -> Found {
    search(tape, haystack, place.saturating_sub(2)..place + 3)
}

fn search(tape: &[Recorded], haystack: &[u8], places: Range<usize>) -> Found {
    let samples = Samples::of(tape);
    assert!(!samples.packets.is_empty() && !samples.randoms.is_empty());
    let mut found = Found::default();
    let mut tried = HashSet::new();
    for place in places {
        let run = &haystack[place..haystack.len().min(place + LONGEST)];
        // Of a file that was written more than once most is the same.
        if !tried.insert(run) {
            continue;
        }
        found.windows += 1;
        for (profile, (_, _, key, salt)) in PROFILES.iter().enumerate() {
            // Key and salt, one after the other.
            if let Some(pair) = run.get(..key + salt) {
                found.attempt(&samples, profile, &pair[..*key], &pair[*key..]);
            }
        }
        found.as_exported(&samples, run);
        found.as_master_secret(&samples, run);
        found.as_exporter_secret(&samples, run);
    }
    found
}

impl Found {
    fn attempt(&mut self, samples: &Samples, profile: usize, key: &[u8], salt: &[u8]) {
        self.keys += 1;
        let opens = opener(profile, key, salt);
        self.opened += samples
            .packets
            .iter()
            .filter(|packet| opens(packet))
            .count();
    }

    /// As what the exporter gave (RFC 5764 §4.2), in each profile: client key, server key, client
    /// salt, server salt.
    fn as_exported(&mut self, samples: &Samples, run: &[u8]) {
        for (profile, (_, _, key, salt)) in PROFILES.iter().enumerate() {
            let Some(material) = run.get(..2 * (key + salt)) else {
                continue;
            };
            let (keys, salts) = material.split_at(2 * key);
            for (key, salt) in keys.chunks(*key).zip(salts.chunks(*salt)) {
                self.attempt(samples, profile, key, salt);
            }
        }
    }

    /// As a master secret of DTLS 1.2, for every handshake on the tape (RFC 5705 §4).
    fn as_master_secret(&mut self, samples: &Samples, run: &[u8]) {
        let Some(master) = run.get(..48) else { return };
        for (client, server) in &samples.randoms {
            for algorithm in [&tls_prf::P_SHA256, &tls_prf::P_SHA384] {
                self.as_exported(samples, &exported_by_12(algorithm, master, client, server));
            }
        }
    }

    /// As an exporter master secret of DTLS 1.3 (RFC 9147 §5.9, RFC 8446 §7.5).
    fn as_exporter_secret(&mut self, samples: &Samples, run: &[u8]) {
        for length in [32, 48] {
            let Some(secret) = run.get(..length) else {
                continue;
            };
            for (profile, (_, _, key, salt)) in PROFILES.iter().enumerate() {
                let wanted = 2 * (key + salt);
                let exported = exported_by_13(secret, wanted);
                let (keys, salts) = exported.split_at(2 * key);
                for (key, salt) in keys.chunks(*key).zip(salts.chunks(*salt)) {
                    self.attempt(samples, profile, key, salt);
                }
            }
        }
    }
}

/// The exporter of DTLS 1.2.
pub fn exported_by_12(
    algorithm: &'static tls_prf::Algorithm,
    master: &[u8],
    client: &[u8],
    server: &[u8],
) -> Vec<u8> {
    let seed = [client, server].concat();
    let exported =
        tls_prf::Secret::new(algorithm, master).and_then(|s| s.derive(EXPORTER, &seed, LONGEST));
    exported.expect("a PRF").as_ref().to_vec()
}

/// The exporter of DTLS 1.3; the secret's length tells the hash.
pub fn exported_by_13(secret: &[u8], length: usize) -> Vec<u8> {
    let (hash, algorithm) = match secret.len() {
        48 => (&digest::SHA384, hkdf::HKDF_SHA384),
        _ => (&digest::SHA256, hkdf::HKDF_SHA256),
    };
    let empty = digest::digest(hash, b"");
    let derived = expand(algorithm, secret, EXPORTER, empty.as_ref(), secret.len());
    expand(algorithm, &derived, b"exporter", empty.as_ref(), length)
}

/// HKDF-Expand-Label (RFC 8446 §7.1) with the prefix of DTLS (RFC 9147 §5.9).
fn expand(
    algorithm: hkdf::Algorithm,
    secret: &[u8],
    label: &[u8],
    context: &[u8],
    length: usize,
) -> Vec<u8> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let full = [b"dtls13", label].concat();
    let info = [
        &(length as u16).to_be_bytes()[..],
        &[full.len() as u8],
        &full,
        &[context.len() as u8],
        context,
    ];
    let mut out = vec![0; length];
    hkdf::Prk::new_less_safe(algorithm, secret)
        .expand(&info, Length(length))
        .and_then(|okm| okm.fill(&mut out))
        .expect("short enough");
    out
}

/// Whether a packet with a rollover counter of zero is authentic under a master key and salt (RFC
/// 3711, RFC 7714). Only what that takes is derived, so that many keys can be tried.
fn opener(profile: usize, key: &[u8], salt: &[u8]) -> Opener {
    if profile == 0 {
        let tag = hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            &derive(key, salt, 1, 20),
        );
        return Box::new(move |packet| {
            let (body, mac) = packet.split_at(packet.len() - 10);
            let mut context = hmac::Context::with_key(&tag);
            context.update(body);
            context.update(&[0; 4]);
            context.sign().as_ref()[..10] == *mac
        });
    }
    let algorithm = if key.len() == 32 {
        &AES_256_GCM
    } else {
        &AES_128_GCM
    };
    let cipher = LessSafeKey::new(
        UnboundKey::new(algorithm, &derive(key, salt, 0, key.len())).expect("its length"),
    );
    let salt: [u8; 12] = derive(key, salt, 2, 12).try_into().expect("12 bytes");
    Box::new(move |packet| {
        let mut nonce = salt;
        nonce[2..6]
            .iter_mut()
            .zip(&packet[8..12])
            .for_each(|(n, ssrc)| *n ^= ssrc);
        nonce[10..]
            .iter_mut()
            .zip(&packet[2..4])
            .for_each(|(n, seq)| *n ^= seq);
        let mut header = 12 + 4 * usize::from(packet[0] & 0x0F);
        if packet[0] & 0x10 != 0 {
            header +=
                4 + 4 * usize::from(u16::from_be_bytes([packet[header + 2], packet[header + 3]]));
        }
        let mut payload = packet[header..].to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        cipher
            .open_in_place(nonce, Aad::from(&packet[..header]), &mut payload)
            .is_ok()
    })
}

/// The key derivation of RFC 3711 §4.3.
fn derive(key: &[u8], salt: &[u8], label: u8, length: usize) -> Vec<u8> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let mut iv = [0; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    let mut out = vec![0; length];
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .and_then(|key| {
            key.less_safe_encrypt(&mut out, EncryptionContext::Iv128(FixedLength::from(iv)))
        })
        .expect("its length");
    out
}

impl Samples {
    fn of(tape: &[Recorded]) -> Self {
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut randoms = Vec::new();
        for way in ways(tape) {
            let mut ssrcs: Vec<&[u8]> = Vec::new();
            let mut client: Option<Vec<u8>> = None;
            for datagram in tape {
                let here = (datagram.from, datagram.to) == way;
                let back = (datagram.to, datagram.from) == way;
                if !here && !back {
                    continue;
                }
                if let Some(random) = random(&datagram.data, 1) {
                    client = Some(random);
                }
                if let Some(server) = random(&datagram.data, 2) {
                    // What comes after it may be under new keys.
                    ssrcs.clear();
                    randoms.extend(client.clone().map(|client| (client, server)));
                }
                if here
                    && datagram.is_rtp()
                    && ssrcs.len() < SAMPLES
                    && !ssrcs.contains(&&datagram.data[8..12])
                {
                    ssrcs.push(&datagram.data[8..12]);
                    packets.push(datagram.data.clone());
                }
            }
        }
        randoms.sort_unstable();
        randoms.dedup();
        Self { packets, randoms }
    }
}

/// The random of a ClientHello (1) or ServerHello (2): record header 13 bytes, handshake header 12,
/// version 2 (RFC 6347 §4.3).
fn random(datagram: &[u8], hello: u8) -> Option<Vec<u8>> {
    let fits = datagram.first() == Some(&22)
        && *datagram.get(13)? == hello
        && datagram.get(19..22)? == [0, 0, 0];
    fits.then(|| datagram.get(27..59).map(<[u8]>::to_vec))?
}
