//! What full-state mode persists of a session, and which packet indices may be used under keys that
//! were persisted.
//!
//! That mode exists for comparison only: anybody who has a recording of the traffic, the vault and
//! the key file can decrypt the recording. No crate of a default build depends on this one
//! (`tests/walls.sh`); the feature `full-state` of the package `rekindle` enables it.
//!
//! - [`record`]: what is persisted.
//! - [`ledger`]: which packet indices may be used, so that none is used for two packets, whenever
//!   the process is killed.
//! - `kill_points`, only for `tests/full_state_kills.rs`: ends the process at any step of that.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[cfg(all(rekindle_kill_points, not(debug_assertions)))]
compile_error!(
    "a build with optimisations could be shipped, and must not have a test's hooks: leave the \
     `--cfg rekindle_...` away"
);

#[cfg(rekindle_kill_points)]
pub mod kill_points;
pub mod ledger;
pub mod record;
