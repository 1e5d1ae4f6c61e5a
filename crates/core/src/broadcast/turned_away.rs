//! Peers that were removed and may not know it: for a while their checks are answered with an
//! error, so that they join again at once. Without an answer, browsers wait for half a minute (RFC
//! 7675 §5.1).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rekindle_ids::{IceCredentials, TransportAddress, Ufrag};

use crate::peer::{self, Transmit};

/// How long a removed peer is answered.
const TOLD: Duration = Duration::from_secs(30);
/// Most removed peers that are remembered.
const MOST: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct TurnedAway(HashMap<Ufrag, (IceCredentials, Instant)>);

impl TurnedAway {
    pub(super) fn add(&mut self, now: Instant, ice: IceCredentials) {
        if self.0.len() < MOST {
            self.0.insert(ice.ufrag.clone(), (ice, now + TOLD));
        }
    }

    /// Answers a check that names such a peer, if its password is right. Returns whether it names
    /// one.
    pub(super) fn refuse(
        &self,
        ufrag: &str,
        from: TransportAddress,
        check: &[u8],
        out: &mut Vec<Transmit>,
    ) -> bool {
        let Some((ice, _)) = self.0.get(ufrag) else {
            return false;
        };
        out.extend(peer::refuse(check, from, ice));
        true
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|_, (_, until)| *until > now);
    }
}
