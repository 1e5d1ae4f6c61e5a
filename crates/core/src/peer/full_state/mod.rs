//! Keys that outlive the process, for full-state mode, used only within the limits of what is
//! durable. A build without the feature has `absent` instead, and no code that could write a key.

#[cfg(not(feature = "full-state"))]
mod absent;
#[cfg(feature = "full-state")]
mod kept;
#[cfg(feature = "full-state")]
mod receiver;
#[cfg(all(test, feature = "full-state"))]
pub(crate) mod recorder;
#[cfg(feature = "full-state")]
mod session;

#[cfg(not(feature = "full-state"))]
pub(super) use absent::{Kept, Wanted, kept};
#[cfg(feature = "full-state")]
pub(crate) use kept::{Kept, Wanted};
#[cfg(feature = "full-state")]
pub(super) use session::kept;
