//! What the fuzz targets run: every way in for bytes from outside, each a function that takes any
//! bytes and panics only where something promised does not hold. Built for `cargo fuzz` (see
//! `fuzz/`) and for tests, which run the same over the committed seeds and their mutations.
//!
//! Each function starts from the same state and tells its own time, so that an input that fails
//! fails again.

mod input;
mod media;
mod peer;
mod sdp;
#[cfg(test)]
mod tests;
mod world;

pub use crate::server::fuzzing::http;
pub use crate::vault::fuzzing::{key_file, record};
pub use media::{rtcp, rtp};
pub use peer::{datagrams_connected, datagrams_new, stun};
pub use sdp::sdp;
