//! rekindle: a WebRTC broadcast server whose process can be killed and started again while every
//! browser keeps its connection and its picture.
//!
//! The modules are layers; each one depends only on those below it:
//!
//! - [`cli`]: the commands.
//! - [`supervise`]: holds the ports, and starts the server again whenever it ends. It has access to
//!   no key and no peer.
//! - [`server`]: HTTP (WHIP, WHEP, events, page, health), start and shutdown.
//! - [`net`]: the UDP socket and the loop that drives the sans-IO core.
//! - [`broadcast`] and [`peer`]: the core, a crate of its own without I/O.
//! - [`sdp`]: reads offers, writes answers. Pure functions.
//! - [`vault`]: what is persisted, and how. It depends on no socket and no peer.
//! - [`service`]: what a service manager passes to the process, and what it is told.
//! - [`ids`]: the names of peers and their roles, which all of these share.
//! - [`hardening`]: what the process gives up. It depends on no other module.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// What tests and fuzz targets share is `pub` in modules that only they see.
#![cfg_attr(not(any(test, fuzzing)), warn(unreachable_pub))]

// The hooks of two tests (tests/with_hooks.sh) reveal what this program keeps secret.
#[cfg(all(any(rekindle_canary, rekindle_kill_points), not(debug_assertions)))]
compile_error!(
    "a build with optimisations could be shipped, and must not have a test's hooks: leave the \
     `--cfg rekindle_...` away"
);
#[cfg(all(rekindle_kill_points, not(feature = "full-state")))]
compile_error!("`rekindle_kill_points` needs the feature `full-state`");

mod causes;
pub mod cli;
pub mod hardening;
pub mod net;
pub mod server;
pub mod service;
pub mod supervise;

pub use rekindle_core::{broadcast, peer};
pub use rekindle_ids as ids;
pub use rekindle_sdp as sdp;
pub use rekindle_vault as vault;
