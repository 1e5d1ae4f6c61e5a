//! Recorder and thief: somebody records all traffic of a broadcast over a restart of the server,
//! and later gets the whole state folder and the key file.
//!
//! Of full-state mode, the attack decrypts the recorded video. Of the default mode, the same
//! attack, given everything, decrypts nothing; not even by taking every run of bytes in the
//! decrypted vault for a key.
//!
//! With a vault in etcd the broadcast is recorded over a move to another host, and of etcd all is
//! stolen that it still has, with the hosts' key file: the same.
//!
//! - `stage.rs`: the broadcast: a real server process, a publisher and a viewer on real sockets,
//!   and the tape.
//! - `thief.rs`: opens what was stolen, with nothing but the `age` crate and the documented format.
//! - `attack.rs`: decrypts the tape with the session keys that were found.
//! - `search.rs`: tries all that was stolen, run of bytes by run of bytes, as keys.

mod live;
#[cfg(feature = "etcd")]
mod nodes;
mod running;
mod support;
mod theft;

use theft::attack::{self, Loot};
use theft::stage::{self, Stage};
use theft::{search, thief};

/// The recorded packets that carry media; what lies on the tape besides (RTCP) is left aside.
fn recorded(stage: &Stage) -> usize {
    stage
        .tape
        .iter()
        .filter(|datagram| datagram.is_rtp())
        .count()
}

fn assert_is_what_was_sent(stage: &Stage, loot: &Loot) {
    for payload in &loot.media {
        assert!(
            stage.was_sent(payload),
            "what comes out is what the camera sent"
        );
    }
}

/// The default mode: also what a build without full-state mode can be asked.
#[test]
fn of_the_default_mode_a_recording_stays_closed_to_who_gets_all_that_is_kept() {
    let stage = Stage::play("rehandshake");
    let stolen = thief::open(&stage.state, &stage.key);
    assert!(
        stolen.files.len() >= 3,
        "identity.age and two peers were opened"
    );
    assert!(recorded(&stage) > 200);

    let loot = attack::decrypt(&stage.tape, &stolen);
    assert_eq!((loot.sessions, loot.packets), (0, 0));
    assert_is_what_was_sent(&stage, &loot);

    let found = search::everywhere(&stage.tape, &stolen.haystack());
    assert!(found.windows > 5_000, "{found:?}");
    assert_eq!(found.opened, 0, "{found:?}");
    println!(
        "{} packets recorded; {} files opened; 0 decrypted; {} bytes searched, {} keys tried, none \
         fits",
        recorded(&stage),
        stolen.files.len(),
        stolen.haystack().len(),
        found.keys
    );

    // The same search finds what it looks for, where it is.
    for (what, planted, opens) in stage.plants() {
        let mut haystack = stolen.haystack();
        let middle = haystack.len() / 2;
        haystack.splice(middle..middle, planted);
        let found = search::around(&stage.tape, &haystack, middle);
        assert_eq!(found.opened > 0, opens, "{what}");
    }
}

#[cfg(feature = "etcd")]
#[test]
fn a_recording_over_a_move_to_another_host_stays_closed_to_who_gets_all_that_etcd_has_had() {
    let (stage, beside) = Stage::play_over_a_failover();
    let owners = beside.iter().filter(|(key, _)| key.contains("/owners/"));
    let owners: Vec<&[u8]> = owners.map(|(_, value)| &**value).collect();
    assert_eq!(owners, [b"a", b"a", b"b", b"b"], "both peers have moved");
    let stolen = thief::open(&stage.state, &stage.key);
    // Both hosts have written the identity, and more than one value of it is there.
    let written = |part: &str| {
        let names = stolen.files.iter();
        names.filter(|(name, _)| name.contains(part)).count()
    };
    assert!(written("-identity") >= 2 && written("-peers-") >= 2);
    assert!(recorded(&stage) > 200);

    let loot = attack::decrypt(&stage.tape, &stolen);
    assert_eq!((loot.sessions, loot.packets), (0, 0));
    let mut haystack = stolen.haystack();
    for (key, value) in beside {
        haystack.extend(key.as_bytes());
        haystack.extend(value);
    }
    let found = search::everywhere(&stage.tape, &haystack);
    assert!(found.windows > 5_000, "{found:?}");
    assert_eq!(found.opened, 0, "{found:?}");
    println!(
        "{} packets recorded on two hosts; {} values opened; 0 decrypted; {} bytes searched, {} \
         keys tried, none fits",
        recorded(&stage),
        stolen.files.len(),
        haystack.len(),
        found.keys
    );
    for (what, planted, opens) in stage.plants() {
        let mut haystack = haystack.clone();
        let middle = haystack.len() / 2;
        haystack.splice(middle..middle, planted);
        let found = search::around(&stage.tape, &haystack, middle);
        assert_eq!(found.opened > 0, opens, "{what}");
    }
}

/// The DTLS secrets of a handshake cannot be had from the libraries in use, so that the search for
/// them is shown on a made-up tape.
#[test]
fn the_search_finds_the_dtls_secrets_that_srtp_keys_come_from() {
    for (what, secret, tape) in stage::with_known_secrets() {
        let mut haystack = vec![0x5a; 1000];
        assert_eq!(search::everywhere(&tape, &haystack).opened, 0, "{what}");
        haystack.splice(500..500, secret);
        assert!(search::everywhere(&tape, &haystack).opened > 0, "{what}");
    }
}

#[cfg(feature = "full-state")]
#[test]
fn of_full_state_mode_the_same_attack_decrypts_the_recorded_video() {
    let stage = Stage::play("full-state");
    let stolen = thief::open(&stage.state, &stage.key);
    let loot = attack::decrypt(&stage.tape, &stolen);
    assert_eq!(loot.sessions, 2);
    assert_eq!(
        loot.packets,
        recorded(&stage),
        "every packet that was recorded, before the restart and after it"
    );
    assert_is_what_was_sent(&stage, &loot);
    println!(
        "{} packets recorded, {} decrypted, {} bytes of media",
        recorded(&stage),
        loot.packets,
        loot.media.iter().map(Vec::len).sum::<usize>()
    );
    // And without knowing the format, by trying.
    let found = search::everywhere(&stage.tape, &stolen.haystack());
    assert!(found.opened > 0, "{found:?}");
}
