//! Takes the place of full-state mode in a build without it: nothing is kept.

use std::time::Instant;

use rekindle_ids::Ufrag;

use crate::broadcast::channel::Channel;
use crate::broadcast::hub::Broadcast;
use crate::broadcast::member::Members;
use crate::broadcast::rtp::Packet;
use crate::peer::Transmit;

/// No state.
#[derive(Default)]
pub(crate) struct State;

impl State {
    /// Packets keep the publisher's sequence numbers.
    pub(crate) fn shifted(
        &self,
        _: &mut Members,
        _: &mut Channel,
        _: usize,
        packet: Packet,
    ) -> Packet {
        packet
    }
}

impl Broadcast {
    pub(crate) const fn keeps_sessions(&self) -> bool {
        false
    }

    pub(crate) fn keep_sessions_of(&mut self, _: usize) {}

    pub(crate) fn has_keys(&mut self, _: usize) {}

    pub(crate) fn look_after_sessions(&mut self, _: Instant) {}

    pub(crate) fn take_over(&mut self, _: Instant, _: &Ufrag, _: &mut Vec<Transmit>) {}

    pub(crate) fn all_taken_over(&mut self) {}
}
