//! What the core does besides in full-state mode: has sessions and counters written, and takes
//! sessions over. A build without the feature has [`absent`] in its place, which does nothing.

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
