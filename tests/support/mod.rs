//! The world in memory: the server's core, browsers that are no mocks but clients of their own
//! (ICE, DTLS, SRTP, RTP, RTCP), a network with delay, loss, duplication and reordering, and one
//! clock that only the test moves. No sockets, no sleeping.
//!
//! Everything is drawn from one seed, except what the DTLS library and its cryptography draw for
//! themselves (keys, nonces, the jitter of the server's handshake retransmissions); so a test
//! asserts what must hold for any of those. In half of the worlds, by their seeds, other threads do
//! handshakes beside the server's loop, in an order of their own; with `REKINDLE_TEST_WORKERS=other`
//! it is the other half.

// Every test program includes this module and uses its own part of it.
#![allow(dead_code, unused_imports)]

pub mod camera;
pub mod client;
pub mod network;
mod outcome;
mod reading;
pub mod receiver;
pub mod sender;
mod serving;
mod time;
mod workers;
pub mod world;

use std::time::Duration;

pub use client::{Browser, Client, Offer};
pub use network::{Conditions, Datagram};
pub use reading::Reading;
pub use rekindle_client::association::Certificate;
pub use rekindle_client::ice;
pub use rekindle_client::offer::OfferOptions;
pub use rekindle_client::random::Random;
pub use world::{Id, World};

/// Milliseconds.
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
