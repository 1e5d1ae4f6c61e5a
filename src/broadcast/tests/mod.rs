//! The core against browsers of its own, in memory: real STUN, DTLS and SRTP on both sides, a
//! virtual clock, no sockets.

pub(super) mod browser;
mod forwarding;
mod hostile;
#[cfg(feature = "full-state")]
#[path = "../../full_state/tests/kills.rs"]
mod kills;
mod passive;
pub(super) mod random;
mod recovery;
mod replaced;
mod staying;
mod world;
