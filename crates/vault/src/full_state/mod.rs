//! The files of full-state mode, which keeps session keys: `sessions/<ufrag>.age` and
//! `counters.age`. A build without the feature has `absent` instead, and no code for their
//! content.

#[cfg(not(feature = "full-state"))]
mod absent;
#[cfg(feature = "full-state")]
mod audit;
#[cfg(feature = "full-state")]
mod store;

#[cfg(not(feature = "full-state"))]
pub(crate) use absent::{fields, has_code_for, prepare, wipe};
#[cfg(feature = "full-state")]
pub(crate) use audit::fields;
#[cfg(feature = "full-state")]
pub(crate) use store::{COUNTERS, SESSION, has_code_for, prepare, wipe};
