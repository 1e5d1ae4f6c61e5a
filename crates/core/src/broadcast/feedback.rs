//! Feedback to the publisher: NACKs, PLIs, receiver reports, congestion feedback.

use std::time::Instant;

use bytes::BytesMut;

use crate::peer::Transmit;

use super::channel::Channel;
use super::delivery::MediaCounts;
use super::ingress::Ingress;
use super::member::{Members, Side};
use super::rtcp;
use super::track::Track;

/// What a channel's source is to be told now.
pub(super) fn due(
    now: Instant,
    sender: u32,
    tracks: &mut [Track],
    ingress: &mut Ingress,
    counts: &mut MediaCounts,
) -> Vec<BytesMut> {
    let mut packets = Vec::new();
    for track in &mut *tracks {
        let requests = track.due(now);
        counts.nacks += requests.nack.len() as u64;
        packets.extend(rtcp::nacks(sender, track.ssrc, &requests.nack));
        if requests.pli {
            counts.plis += 1;
            packets.extend(rtcp::pli(sender, track.ssrc));
        }
    }
    let media = tracks.first().map_or(0, |track| track.ssrc);
    if let Some(twcc) = ingress.feedback() {
        packets.extend(
            twcc.due(now, sender, media)
                .into_iter()
                .filter_map(rtcp::transport_feedback),
        );
    }
    if ingress.report_due(now) {
        let reports: Vec<_> = tracks
            .iter_mut()
            .filter_map(|track| track.reception.report(now))
            .collect();
        let worst = reports
            .iter()
            .map(|report| report.fraction_lost)
            .max()
            .unwrap_or(0);
        let remb = ingress.remb(worst);
        packets.extend(rtcp::receiver_report(sender, reports, remb));
    }
    packets
}

impl Channel {
    /// Sends the publisher the feedback that is due. Without keys nothing is sent, and requests
    /// wait.
    pub(super) fn send_feedback(
        &mut self,
        now: Instant,
        sender: u32,
        members: &mut Members,
        counts: &mut MediaCounts,
        out: &mut Vec<Transmit>,
    ) {
        let Some(member) = self.publisher.and_then(|id| members.get_mut(id)) else {
            return;
        };
        let Side::Publisher(ingress) = &mut member.side else {
            return;
        };
        if !member.peer.is_connected() {
            return;
        }
        let packets = due(now, sender, &mut self.tracks, ingress, counts);
        out.extend(
            packets
                .iter()
                .filter_map(|packet| member.peer.protect_rtcp(packet)),
        );
    }

    /// When [`Channel::send_feedback`] is to be called next.
    pub(super) fn next_feedback(&self, members: &Members) -> Option<Instant> {
        let can_be_told = match &self.upstream {
            Some(upstream) => upstream.has_keys,
            None => members.get(self.publisher?)?.peer.is_connected(),
        };
        let ingress = self.ingress(members).filter(|_| can_be_told)?;
        self.tracks
            .iter()
            .filter_map(|track| track.next())
            .chain(ingress.next())
            .min()
    }
}
