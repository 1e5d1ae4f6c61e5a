//! The world in memory: the server's core, browsers that are no mocks but clients of their own
//! (ICE, DTLS, SRTP, RTP, RTCP), a network with delay, loss, duplication and reordering, and one
//! clock that only the test moves. No sockets, no sleeping.
//!
//! Everything is drawn from one seed, except what the DTLS library and its cryptography draw for
//! themselves (keys, nonces, the jitter of the server's handshake retransmissions); so a test
//! asserts what must hold for any of those.

// Every test program includes this module and uses its own part of it.
#![allow(dead_code, unused_imports)]

// Parts of a client that the benchmark's clients have too.
#[path = "../../src/bench/client/association.rs"]
mod association;
#[path = "../../src/bench/client/ice.rs"]
pub mod ice;
#[path = "../../src/bench/client/offer.rs"]
pub mod offer;
#[path = "../../src/bench/client/payload.rs"]
mod payload;
#[path = "../../src/bench/client/random.rs"]
mod random;
#[path = "../../src/bench/client/rtcp.rs"]
mod rtcp;

pub mod client;
pub mod network;
mod outcome;
mod reading;
pub mod receiver;
pub mod sender;
mod serving;
pub mod world;

use std::time::Duration;

pub use association::Certificate;
pub use client::{Browser, Client};
pub use network::{Conditions, Datagram};
pub use offer::OfferOptions;
pub use random::Random;
pub use reading::Reading;
pub use world::{Id, World};

/// Milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
