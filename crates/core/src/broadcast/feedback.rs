//! Feedback to the publisher: NACKs, PLIs, receiver reports, congestion feedback.

use std::time::Instant;

use crate::peer::Transmit;

use super::channel::Channel;
use super::delivery::Counts;
use super::member::{Members, Side};
use super::rtcp;

impl Channel {
    /// Sends the publisher the feedback that is due. Without keys nothing is sent, and requests
    /// wait.
    pub(super) fn send_feedback(
        &mut self,
        now: Instant,
        sender: u32,
        members: &mut Members,
        counts: &mut Counts,
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
        let mut packets = Vec::new();
        for track in &mut self.tracks {
            let requests = track.due(now);
            counts.nacks += requests.nack.len() as u64;
            packets.extend(rtcp::nacks(sender, track.ssrc, &requests.nack));
            if requests.pli {
                counts.plis += 1;
                packets.extend(rtcp::pli(sender, track.ssrc));
            }
        }
        let media = self.tracks.first().map_or(0, |track| track.ssrc);
        if let Some(twcc) = ingress.feedback() {
            packets.extend(
                twcc.due(now, sender, media)
                    .into_iter()
                    .filter_map(rtcp::transport_feedback),
            );
        }
        if ingress.report_due(now) {
            let reports: Vec<_> = self
                .tracks
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
        out.extend(
            packets
                .iter()
                .filter_map(|packet| member.peer.protect_rtcp(packet)),
        );
    }

    /// When [`Channel::send_feedback`] is to be called next.
    pub(super) fn next_feedback(&self, members: &Members) -> Option<Instant> {
        let member = self
            .publisher
            .and_then(|id| members.get(id))
            .filter(|member| member.peer.is_connected())?;
        let Side::Publisher(ingress) = &member.side else {
            return None;
        };
        self.tracks
            .iter()
            .filter_map(|track| track.next())
            .chain(ingress.next())
            .min()
    }
}
