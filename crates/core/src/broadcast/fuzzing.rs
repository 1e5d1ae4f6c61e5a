//! For the fuzz targets: peers that are connected without a handshake.

use std::time::Instant;

use rekindle_ids::{TransportAddress, Ufrag};

use super::Broadcast;
use crate::peer::{SessionKeys, Transmit};

impl Broadcast {
    /// As if the peer had checked from this address and completed a handshake.
    pub(crate) fn take_keys(
        &mut self,
        now: Instant,
        ufrag: &Ufrag,
        from: TransportAddress,
        keys: SessionKeys,
        out: &mut Vec<Transmit>,
    ) {
        let id = self.by_ufrag[ufrag];
        self.members[id].peer.connect(now, from, keys);
        self.members[id].heard = Some(now);
        self.addresses.own(now, id, from, &mut self.members);
        self.settle(now, id, out);
    }
}
