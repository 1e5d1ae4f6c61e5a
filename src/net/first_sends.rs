//! Logs the first STUN answer (`rekindle::resume`): it shows when a restarted process serves its
//! browsers.

use rekindle_core::Protocol;

use crate::peer::Transmit;

/// See the module.
#[derive(Default)]
pub(super) struct FirstSends {
    has_answered: bool,
}

impl FirstSends {
    /// Notes that these datagrams are sent now.
    pub(super) fn send(&mut self, out: &[Transmit]) {
        if !self.has_answered
            && out
                .iter()
                .any(|t| Protocol::of(&t.data) == Some(Protocol::Stun))
        {
            self.has_answered = true;
            tracing::debug!(target: "rekindle::resume", step = "stun", "a check is answered");
        }
    }
}
