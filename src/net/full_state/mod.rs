//! What the threads of the media path do besides in full-state mode: one more writes sessions and
//! counters while the loop goes on, and the one that reads records reads those too. A build without
//! the feature has [`absent`] in their place, which does nothing.

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
