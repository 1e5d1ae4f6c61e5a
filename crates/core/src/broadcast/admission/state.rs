//! What admission remembers.

use std::collections::VecDeque;
use std::time::Instant;

use rekindle_ids::Ufrag;

use super::queue::Queue;
use super::waiting_room::WaitingRoom;

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
}
