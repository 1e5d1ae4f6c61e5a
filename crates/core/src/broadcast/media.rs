//! Media and RTCP of peers that have keys: a publisher's media and reports, a viewer's requests.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::peer::Transmit;

use super::Event;
use super::forwarding::Order;
use super::hub::Broadcast;
use super::ingress::Arrival;
use super::member::Side;
use super::rtcp::{self, Item};
use super::rtp::Packet;
use super::track::{Taken, Track};

/// Most sequence numbers of one NACK that are processed.
const MAX_NACKED: usize = 1024;

impl Broadcast {
    /// An RTP packet of a publisher.
    pub(super) fn publisher_rtp(
        &mut self,
        now: Instant,
        id: usize,
        data: BytesMut,
        out: &mut Vec<Transmit>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Side::Publisher(ingress) = &mut member.side else {
            return;
        };
        let data = data.freeze();
        let Some(packet) = Packet::parse(data.clone()) else {
            return;
        };
        self.counts.packets_in += 1;
        self.counts.bytes_in += data.len() as u64;
        ingress.arrived(now, &packet.header, &data);
        let (section, packet, mended) = match ingress.classify(&packet.header) {
            Some(Arrival::Media { section }) => (section, packet, false),
            Some(Arrival::Rtx {
                section,
                ssrc,
                payload_type,
            }) => {
                // Browsers probe the path with empty RTX packets, which carry nothing.
                let Some(original) = packet.unwrap_rtx(ssrc, payload_type) else {
                    return;
                };
                (section, original, true)
            }
            None => {
                self.counts.unknown += 1;
                return;
            }
        };
        let key = member.channel;
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let Some(at) =
            channel.track_or_new(now, packet.header.ssrc, &section, ingress, member.resumed)
        else {
            self.counts.unknown += 1;
            return;
        };
        let packet = self
            .full_state
            .shifted(&mut self.members, channel, at, packet);
        let Taken::Forward(index) = channel.tracks[at].take(now, &packet, mended) else {
            self.counts.duplicates += 1;
            return;
        };
        if channel.forward(now, (key, at), index, &packet, &mut self.forwarding) {
            self.source_came(key);
        }
        self.send_feedback(now, key, out);
    }

    fn source_came(&mut self, key: usize) {
        let channel = &self.channels[key];
        let publisher = channel.publisher.and_then(|id| self.members.get(id));
        let Some(Side::Publisher(ingress)) = publisher.map(|member| &member.side) else {
            return;
        };
        self.events.push_back(Event::Source {
            channel: channel.name.clone(),
            live: true,
            streams: channel.streams(ingress),
        });
    }

    /// A compound RTCP packet of a publisher: its sender reports are passed on to the viewers, for
    /// lip sync. A BYE is not: the publisher may come back, and the viewers stay.
    pub(super) fn publisher_rtcp(&mut self, now: Instant, id: usize, data: &[u8]) {
        let Some(key) = self.members.get(id).map(|member| member.channel) else {
            return;
        };
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let mut cname = None;
        let mut updated = Vec::new();
        for item in rtcp::read(data) {
            match item {
                Item::SenderReport { ssrc, info } => {
                    let Some(track) = channel.track_mut(ssrc) else {
                        continue;
                    };
                    track.reception.sender_report(now, info.ntp_time);
                    track.report = Some(info);
                    if !updated.contains(&ssrc) {
                        updated.push(ssrc);
                    }
                }
                Item::Cname { ssrc, name } => cname = Some((ssrc, name)),
                Item::Nack { .. } | Item::KeyframeRequest { .. } | Item::Reception { .. } => {}
            }
        }
        if let Some((ssrc, name)) = cname
            && let Some(track) = channel.track_mut(ssrc)
        {
            track.set_cname(name);
        }
        for ssrc in updated {
            let Some(track) = channel.tracks.iter().find(|track| track.ssrc == ssrc) else {
                continue;
            };
            let Some(report) = track.sender_report().map(Arc::new) else {
                continue;
            };
            for forwarder in channel.forwarders() {
                let order = Order::Report {
                    channel: key,
                    track: track.info.clone(),
                    report: report.clone(),
                };
                self.forwarding.order(forwarder, order);
            }
        }
    }

    /// Sends a viewer the latest sender report of each stream.
    pub(super) fn send_last_reports(&mut self, id: usize) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let (Side::Viewer(viewer), Some(channel)) =
            (&member.side, self.channels.get(member.channel))
        else {
            return;
        };
        let reports = channel.tracks.iter().filter_map(Track::sender_report);
        for packet in reports.filter_map(|report| report.packet()) {
            let order = Order::Control { viewer: id, packet };
            self.forwarding.order(viewer.forwarder, order);
        }
    }

    /// A compound RTCP packet of a viewer: its requests are answered from the history or passed on,
    /// within its budgets.
    pub(super) fn viewer_rtcp(
        &mut self,
        now: Instant,
        id: usize,
        data: &[u8],
        out: &mut Vec<Transmit>,
    ) {
        let Some(key) = self.members.get(id).map(|member| member.channel) else {
            return;
        };
        if !self.channels.contains(key) {
            return;
        }
        let mut asked = std::mem::take(&mut self.counts.asked);
        let (channel, mut egress) = self.egress(key);
        for item in rtcp::read(data) {
            match item {
                Item::Nack { ssrc, pairs } => {
                    for sequence in rtcp::nacked(pairs).take(MAX_NACKED) {
                        asked.packets += 1;
                        channel.answer_nack(now, id, ssrc, sequence, &mut egress);
                    }
                }
                Item::KeyframeRequest { ssrc } => {
                    asked.keyframes += 1;
                    channel.answer_pli(now, id, ssrc, &mut egress);
                }
                Item::Reception { fraction_lost } => asked.loss.add(fraction_lost),
                Item::SenderReport { .. } | Item::Cname { .. } => {}
            }
        }
        self.counts.asked = asked;
        self.send_feedback(now, key, out);
    }
}
