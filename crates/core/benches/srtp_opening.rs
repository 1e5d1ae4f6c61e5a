//! What it costs to open one SRTP packet of a publisher, by protection profile: the contexts are
//! those of the core, with its replay window. The profiles take turns, each so short that most are
//! not interrupted.
//!
//!     cargo bench -p rekindle-core --bench srtp_opening

use std::hint::black_box;
use std::time::Instant;

use rtc_crypto::providers::AwsLcRsCrypto;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;

const PACKETS: u16 = 1000;
const TURNS: usize = 300;
/// Of an RTP packet, in bytes.
const LENGTH: usize = 1200;
/// As the core has it.
const REPLAY_WINDOW: usize = 2048;

const PROFILES: [(&str, ProtectionProfile, usize, usize); 3] = [
    (
        "AES-128-CM with HMAC-SHA1-80",
        ProtectionProfile::Aes128CmHmacSha1_80,
        16,
        14,
    ),
    ("AES-128-GCM", ProtectionProfile::AeadAes128Gcm, 16, 12),
    ("AES-256-GCM", ProtectionProfile::AeadAes256Gcm, 32, 12),
];

fn context(profile: ProtectionProfile, key: usize, salt: usize) -> Context {
    Context::new(
        &vec![7; key],
        &vec![9; salt],
        profile,
        Some(srtp_replay_protection(REPLAY_WINDOW)),
        Some(srtcp_replay_protection(REPLAY_WINDOW)),
        &AwsLcRsCrypto,
    )
    .expect("lengths fit the profile")
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 9, 0, 0, 0, 7]);
    packet.resize(LENGTH, 0x55);
    packet
}

/// Time of a packet in nanoseconds.
fn turn((_, profile, key, salt): (&str, ProtectionProfile, usize, usize)) -> f64 {
    let mut browser = context(profile, key, salt);
    let sealed: Vec<_> = (0..PACKETS)
        .map(|sequence| browser.encrypt_rtp(&packet(sequence)).expect("encrypted"))
        .collect();
    let mut server = context(profile, key, salt);
    let begin = Instant::now();
    for packet in &sealed {
        black_box(server.decrypt_rtp(packet).expect("authentic"));
    }
    begin.elapsed().as_nanos() as f64 / f64::from(PACKETS)
}

fn main() {
    let mut took = [const { Vec::new() }; PROFILES.len()];
    for _ in 0..TURNS {
        for (profile, took) in PROFILES.into_iter().zip(&mut took) {
            took.push(turn(profile));
        }
    }
    println!("opening an SRTP packet of {LENGTH} bytes: time in ns, {TURNS} turns");
    for ((name, ..), took) in PROFILES.iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
        println!(
            "{name:<30} median {:.0}, 10 % {:.0}, 90 % {:.0}",
            at(0.5),
            at(0.1),
            at(0.9)
        );
    }
}
