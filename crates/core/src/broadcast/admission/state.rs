//! What admission remembers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rekindle_ids::Ufrag;

use super::queue::Queue;
use super::waiting_room::WaitingRoom;
use crate::broadcast::payload::ForHandshake;

/// What waits, and what is wanted.
#[derive(Default)]
pub(crate) struct Admission {
    /// There only while records of earlier boots are being read.
    pub(super) room: Option<WaitingRoom>,
    /// Records that should be read next.
    pub(super) demand: VecDeque<Ufrag>,
    pub(super) queue: Queue,
}

impl Admission {
    /// Since when a handshake waits for its turn.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.queue.since()
    }

    /// How many addresses wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes the address whose turn it is, with all that it has sent.
    pub(crate) fn next_turn(&mut self) -> Option<(SocketAddr, Vec<ForHandshake>)> {
        let (from, parts) = self.queue.next()?;
        Some((from, parts.collect()))
    }
}
