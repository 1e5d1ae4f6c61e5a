//! The core against browsers of its own, in memory: real STUN, DTLS and SRTP on both sides, a
//! virtual clock, no sockets.

pub(super) mod browser;
mod forwarding;
mod hostile;
mod passive;
mod paths;
mod pulled;
pub(super) mod random;
mod recovery;
mod replaced;
mod spread;
mod staying;
pub(super) mod world;
