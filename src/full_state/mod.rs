//! Full-state, the reference mode: for comparison only. It exists only in builds with the feature
//! `full-state`, and is used only with `--mode full-state`.
//!
//! The server also persists, encrypted in the same vault, what the media path needs to go on
//! without a handshake: session keys (`sessions/<ufrag>.age`, written once per handshake) and
//! counters (`counters.age`, for all sessions, written two to four times a second while media
//! flows). Whoever has a recording of the traffic, the vault and the key file can decrypt the
//! recording. That is what the default mode avoids, and this one is here to show what that costs.
//!
//! All that can write or read a session key lies in this folder. Most of it belongs to the module
//! that it extends, and is compiled as a part of that:
//!
//! - [`record`]: what is persisted.
//! - [`ledger`]: which packet indices may be used, so that none is used for two packets, whenever
//!   the process is killed.
//! - [`transform`]: SRTP with the index given from outside.
//! - `kept.rs` (`peer::srtp::full_state`): the two put together: keys whose use is bounded by what
//!   is durable.
//! - `peer.rs` (`peer::full_state`), `core.rs` (`broadcast::full_state`): what a peer and the core
//!   do besides.
//! - `store.rs` (`vault::full_state`): the files.
//! - `audit.rs` (in `vault::audit::inventory`): their fields, for the auditor.
//! - `writer.rs` (`net::full_state`): the thread that writes them.
//! - `kill_points.rs`, only for `tests/full_state_kills/`: ends the process at any step of that.
//!
//! # After a restart
//! Packets pass through under the publisher's own sequence numbers, so the server cannot choose the
//! SRTP index of what it forwards. A packet whose index lies below the ceiling is never sent on its
//! own SSRC again; video goes as RTX instead (RFC 4588), whose sequence numbers are the server's
//! own and simply start at their ceiling, as those of SRTCP do. Audio has no RTX: its sequence
//! numbers are shifted by a constant from the first packet on, so that they start at the ceiling;
//! the receiver takes that for packets lost before and plays on by the time stamps. Received
//! streams go on from a lower bound; what lies at or below it is refused as a replay.

#[cfg(rekindle_kill_points)]
pub(crate) mod kill_points;
pub(crate) mod ledger;
pub(crate) mod record;
pub(crate) mod transform;

#[cfg(test)]
pub(crate) mod tests;
