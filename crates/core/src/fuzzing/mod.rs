//! What the fuzz targets of datagrams and media run: functions that take any bytes and panic only
//! where something promised does not hold. Built for `cargo fuzz` (see `fuzz/`) and for tests,
//! which run the same over the committed seeds and their mutations.
//!
//! Each function starts from the same state and tells its own time, so that an input that fails
//! fails again.

mod input;
mod media;
mod peer;
#[cfg(test)]
mod tests;
pub(crate) mod world;

pub use media::{rtcp, rtp};
pub use peer::{datagrams_connected, datagrams_new, stun};
