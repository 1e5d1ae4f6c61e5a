//! What the threads of the media path do in addition in full-state mode: a thread writes sessions
//! and counters while the loop continues, and the threads that read records read those too. A build
//! without the feature has `absent` instead, which does nothing.

#[cfg(not(feature = "full-state"))]
mod absent;
#[cfg(feature = "full-state")]
mod sessions;
#[cfg(feature = "full-state")]
mod writer;

#[cfg(not(feature = "full-state"))]
pub(super) use absent::{Counters, Session, Sessions, Writer};
#[cfg(feature = "full-state")]
pub(super) use sessions::{Counters, Session, Sessions};
#[cfg(feature = "full-state")]
pub(super) use writer::Writer;
