//! The offer and the answer between a node and the node that it pulls a channel from. The pulling
//! node makes both.

use std::time::{Instant, SystemTime};

use crate::broadcast;
use crate::ids::Role;
use crate::net::pull::{Offer, Puller};
use crate::sdp::{self, Negotiated};
use crate::vault::PeerRecord;

use super::super::super::session_id;
use super::super::channels::There;
use super::{Parts, StartError};

/// A viewer as the other node will know it.
pub(super) struct Described {
    pub offer: Offer,
    pub record: PeerRecord,
    pub negotiated: Negotiated,
}

impl Described {
    /// A viewer of what this publisher sends, whose node is `there`.
    pub(super) fn new(
        parts: &Parts,
        puller: &Puller,
        publisher: &PeerRecord,
        there: &There,
    ) -> Result<Self, StartError> {
        let sent = sdp::negotiated(Role::Publisher, &publisher.offer, &publisher.answer)?;
        let source = broadcast::source(&sent, Instant::now());
        let random = |_| StartError::Random;
        let session_id = || session_id::sdp_session_id().map_err(random);
        let offer = puller.offer(&publisher.answer, session_id()?);
        let ice = session_id::credentials(Role::Viewer).map_err(random)?;
        let local = sdp::Local {
            ice: &ice,
            fingerprint_sha256: &parts.certificates.current().sha256,
            addresses: there.node.media(),
            tcp: false,
            session_id: session_id()?,
        };
        let sdp::Answer { text, negotiated } =
            sdp::answer(Role::Viewer, offer.sdp(), Some(&source), &local)?;
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let record = PeerRecord {
            role: Role::Viewer,
            channel: publisher.channel.clone(),
            ice,
            offer: offer.sdp().to_owned(),
            answer: text,
            joined_at: since_epoch.unwrap_or_default().as_secs(),
        };
        Ok(Self {
            offer,
            record,
            negotiated,
        })
    }
}
