//! What viewers' forwarders need to know of a stream.

use std::sync::Arc;

use bytes::BytesMut;
use rekindle_sdp::{Media, Ssrc};

use super::rtcp::{self, SenderInfo};

/// What does not change while a stream lasts.
#[derive(Debug)]
pub(super) struct TrackInfo {
    pub ssrc: u32,
    /// The SSRC of retransmissions to viewers.
    pub rtx_ssrc: u32,
    /// The publisher's section that it belongs to.
    pub section: Arc<Media>,
}

impl TrackInfo {
    /// Its SSRCs towards viewers.
    pub(super) fn ssrcs(&self) -> Ssrc {
        Ssrc {
            media: self.ssrc,
            rtx: Some(self.rtx_ssrc),
        }
    }
}

/// A sender report, as viewers get it.
#[derive(Debug)]
pub(super) struct Report {
    pub ssrc: u32,
    pub info: SenderInfo,
    pub cname: Option<Arc<[u8]>>,
}

impl Report {
    /// For viewers with the publisher's numbers.
    pub(super) fn packet(&self) -> Option<BytesMut> {
        self.packet_as(self.ssrc, self.info.rtp_time)
    }

    /// The same report for a stream with another SSRC, at another RTP time stamp.
    pub(super) fn packet_as(&self, ssrc: u32, rtp_time: u32) -> Option<BytesMut> {
        let info = SenderInfo {
            rtp_time,
            ..self.info
        };
        rtcp::sender_report_for_viewers(ssrc, &info, self.cname.as_deref())
    }
}
