//! Datagrams: STUN, DTLS and SRTP from anybody who can reach the port, before and after there are keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::Input;
use super::world::{DTLS, World, address, credentials};
use crate::peer::fuzzing::check;
use crate::peer::{Peer, PeerSetup, Received};
use crate::sdp::Fingerprint;
use crate::vault::Role;

/// Steps of one input.
const MOST: usize = 64;

fn peer(now: Instant) -> Peer {
    let setup = PeerSetup {
        role: Role::Viewer,
        ice: credentials("Vabcdefgh0123456"),
        fingerprints: vec![Fingerprint {
            hash: "sha-256".into(),
            digest: vec![1; 32],
        }],
        address: None,
    };
    Peer::new(setup, Arc::clone(&DTLS), now)
}

/// One STUN message: as it is, or attributes in a request that has the right password.
pub fn stun(data: &[u8]) {
    let now = Instant::now();
    let mut input = Input(data);
    let choice = input.byte();
    let mut out = Vec::new();
    let mut peer = peer(now);
    if choice & 1 == 0 {
        let _ = Peer::stun_ufrag(input.0);
        peer.handle(now, address(0), input.0, &mut out);
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
    let request = check(&credentials("Vabcdefgh0123456"), choice & 2 != 0, &attributes);
    peer.handle(now, address(0), &request, &mut out);
    assert!(out.len() <= 1 && out.iter().all(|t| t.to == address(0)));
    // A response has a header, an error or an address, MESSAGE-INTEGRITY and FINGERPRINT, and repeats nothing but unknown types.
    assert!(out.iter().all(|t| t.data.len() <= 96 + 2 * request.len()));
}

/// Datagrams to a peer without keys. Each step is a byte that says where from, whether a check from there comes first, and whether time
/// passes; then the datagram.
pub fn datagrams_new(data: &[u8]) {
    let mut now = Instant::now();
    let mut input = Input(data);
    let mut peer = peer(now);
    let mut proven = [false; 4];
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        let n = step & 3;
        let from = address(n.into());
        let mut out = Vec::new();
        if step & 4 != 0 {
            let request = check(&credentials("Vabcdefgh0123456"), step & 16 != 0, &[]);
            assert!(matches!(peer.handle(now, from, &request, &mut out), Received::Checked));
            proven[usize::from(n)] = true;
        }
        if step & 8 != 0 {
            now += Duration::from_millis(input.number().into());
            if peer.next_timeout().is_some_and(|at| at <= now) {
                peer.handle_timeout(now, &mut out);
            }
        }
        let received = peer.handle(now, from, input.chunk(), &mut out);
        assert!(
            !matches!(received, Received::Rtp(_) | Received::Rtcp(_)),
            "media without keys"
        );
        for transmit in &out {
            let to = usize::from(transmit.to.port() - address(0).port());
            assert!(proven[to], "bytes to an address that nobody has proved");
        }
        while peer.poll_event().is_some() {}
    }
    assert!(!peer.is_connected());
}

/// Datagrams to a broadcast that is under way. Each step is a byte that says where from, and a datagram; or bytes that change a genuine
/// packet on its way.
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
            let mut datagram = world.browsers[0].protect_rtp(&plain).expect("an RTP packet").to_vec();
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
