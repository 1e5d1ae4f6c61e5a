//! What the core does in addition in full-state mode: sessions and counters are written, and
//! sessions are taken over. A build without the feature has `absent` instead, which does nothing.

#[cfg(not(feature = "full-state"))]
mod absent;
#[cfg(feature = "full-state")]
mod state;
#[cfg(all(test, feature = "full-state"))]
mod tests;

#[cfg(not(feature = "full-state"))]
pub(super) use absent::State;
#[cfg(feature = "full-state")]
pub(super) use state::State;
#[cfg(feature = "full-state")]
pub use state::Work;
