//! The state of admission.

use std::collections::VecDeque;
use std::time::Instant;

use rekindle_ids::{TransportAddress, Ufrag};

use super::queue::Queue;
use super::waiting_room::WaitingRoom;
use crate::broadcast::payload::ForHandshake;

/// Waiting datagrams and demanded records.
#[derive(Default)]
pub(crate) struct Admission {
    /// Exists only while records of earlier boots are being read.
    pub(super) room: Option<WaitingRoom>,
    /// Records that should be read next.
    pub(super) demand: VecDeque<Ufrag>,
    pub(super) queue: Queue,
}

impl Admission {
    /// Since when a handshake has been waiting for its turn.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.queue.since()
    }

    /// How many addresses wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes the next address with all its waiting datagrams.
    pub(crate) fn next_turn(&mut self) -> Option<(TransportAddress, Vec<ForHandshake>)> {
        let (from, parts) = self.queue.next()?;
        Some((from, parts.collect()))
    }
}
