//! Datagrams: STUN, DTLS and SRTP from anybody who can reach the port, before and after there are
//! keys.

use std::time::{Duration, Instant};

use rekindle_sdp::Fingerprint;

use super::input::Input;
use super::world::{World, address, credentials};
use crate::peer::fuzzing::check;
use crate::peer::{Peer, PeerSetup};

/// Steps of one input.
const MOST: usize = 64;

fn peer() -> Peer {
    let setup = PeerSetup {
        ice: credentials("Vabcdefgh0123456"),
        fingerprints: vec![Fingerprint {
            hash: "sha-256".into(),
            digest: vec![1; 32],
        }],
        setup: Default::default(),
        address: None,
    };
    Peer::new(setup)
}

/// One STUN message: as it is, or attributes in a request that has the right password.
pub fn stun(data: &[u8]) {
    let now = Instant::now();
    let mut input = Input(data);
    let choice = input.byte();
    let mut out = Vec::new();
    let mut peer = peer();
    if choice & 1 == 0 {
        let _ = Peer::stun_ufrag(input.0);
        peer.handle_stun(now, address(0), input.0, &mut out);
        assert!(
            out.is_empty() && peer.last_check().is_none(),
            "a check without the password"
        );
        return;
    }
    let mut attributes = Vec::new();
    while !input.is_empty() && attributes.len() < 8 {
        attributes.push((input.number(), input.chunk()));
    }
    let request = check(
        &credentials("Vabcdefgh0123456"),
        choice & 2 != 0,
        &attributes,
    );
    peer.handle_stun(now, address(0), &request, &mut out);
    assert!(out.len() <= 1 && out.iter().all(|t| t.to == address(0)));
    // A response has a header, an error or an address, MESSAGE-INTEGRITY and FINGERPRINT, and
    // repeats nothing but unknown types.
    assert!(out.iter().all(|t| t.data.len() <= 96 + 2 * request.len()));
}

/// Datagrams to a broadcast that no peer has keys of. Each step is a byte that says where from,
/// whether a check from there comes first, and whether time passes; then the datagram.
pub fn datagrams_new(data: &[u8]) {
    let mut input = Input(data);
    let (mut world, ice) = World::keyless();
    let mut proven = [false; 4];
    let start = world.now;
    for _ in 0..MOST {
        // A peer that has no keys after half a minute is gone.
        if input.is_empty() || world.now - start >= Duration::from_secs(29) {
            break;
        }
        let step = input.byte();
        let n = step & 3;
        if step & 4 != 0 {
            let before = world.out.len();
            world.from(n.into(), &check(&ice, step & 16 != 0, &[]));
            // A check that is a copy of an earlier one is answered too.
            assert!(world.out.len() > before, "a good check is answered");
            proven[usize::from(n)] = true;
        }
        if step & 8 != 0 {
            world.pass(Duration::from_millis(u64::from(input.number() >> 2)));
        }
        world.from(n.into(), input.chunk());
        for transmit in world.out.drain(..) {
            let to = usize::from(transmit.to.socket.port() - address(0).socket.port());
            assert!(proven[to], "bytes to an address that nobody has proved");
        }
        while world.core.poll_event().is_some() {}
    }
    assert_eq!(world.core.snapshot(world.now).connected, 0);
}

/// Datagrams to a broadcast that is under way. Each step is a byte that says where from, and a
/// datagram; or bytes that change a genuine packet on its way.
pub fn datagrams_connected(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new(1);
    let [video, _] = World::tracks();
    for sequence in 0..MOST {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        let n = u16::from(step & 3);
        if step & 4 == 0 {
            world.from(n, input.chunk());
        } else {
            let mut plain = vec![0x80, video.payload];
            plain.extend(u16::try_from(sequence).unwrap_or(0).to_be_bytes());
            plain.extend([0, 0, 0, 1]);
            plain.extend(video.ssrc.to_be_bytes());
            plain.extend([0x10; 40]);
            let mut datagram = world.browsers[0]
                .protect_rtp(&plain)
                .expect("an RTP packet")
                .to_vec();
            let at = usize::from(input.byte());
            for (byte, change) in datagram.iter_mut().skip(at).zip(input.chunk()) {
                *byte ^= change;
            }
            world.from(n, &datagram);
        }
        world.pass(Duration::from_millis(u64::from(step >> 3)));
        world.deliver();
    }
    assert!(world.all_connected(), "a stranger has disturbed a peer");
}
