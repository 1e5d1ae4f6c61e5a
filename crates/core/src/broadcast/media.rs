//! Media and RTCP of peers that have keys: a publisher's media and reports, a viewer's requests.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::peer::Transmit;

use super::Event;
use super::channel::Channel;
use super::delivery::MediaCounts;
use super::forwarding::Order;
use super::hub::Broadcast;
use super::ingress::{Arrival, Ingress};
use super::member::Side;
use super::rtcp::{self, Item};
use super::rtp::Packet;
use super::track::{Taken, Track};

/// Most sequence numbers of one NACK that are processed.
const MAX_NACKED: usize = 1024;

/// A packet of a source that belongs to one of its streams.
pub(super) struct Came {
    /// The stream's place in the channel.
    at: usize,
    packet: Packet,
    /// It came by RTX.
    mended: bool,
}

impl Channel {
    /// Takes an RTP packet of the channel's source, and says what it is; `None` for one that is of
    /// no use.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        ingress: &mut Ingress,
        resumed: bool,
        data: BytesMut,
        counts: &mut MediaCounts,
    ) -> Option<Came> {
        let data = data.freeze();
        let packet = Packet::parse(data.clone())?;
        counts.packets_in += 1;
        counts.bytes_in += data.len() as u64;
        self.received.packets += 1;
        self.received.bytes += data.len() as u64;
        ingress.arrived(now, &packet.header, &data);
        let (section, packet, mended) = match ingress.classify(&packet.header) {
            Some(Arrival::Media { section }) => (section, packet, false),
            Some(Arrival::Rtx {
                section,
                ssrc,
                payload_type,
                // Browsers probe the path with empty RTX packets, which carry nothing.
            }) => (section, packet.unwrap_rtx(ssrc, payload_type)?, true),
            None => {
                counts.unknown += 1;
                return None;
            }
        };
        let at = self.track_or_new(now, packet.header.ssrc, &section, ingress, resumed);
        counts.unknown += u64::from(at.is_none());
        Some(Came {
            at: at?,
            packet,
            mended,
        })
    }
}

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
        let (key, resumed) = (member.channel, member.resumed);
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let came = channel.arrive(now, ingress, resumed, data, &mut self.counts);
        if came.is_some_and(|came| self.forward(now, key, came)) {
            self.send_feedback(now, key, out);
        }
    }

    /// Has a stream take a packet, and forwards it unless it was here before. Whether it was not.
    pub(super) fn forward(&mut self, now: Instant, key: usize, came: Came) -> bool {
        let Came { at, packet, mended } = came;
        let channel = &mut self.channels[key];
        let packet = self
            .full_state
            .shifted(&mut self.members, channel, at, packet);
        let Taken::Forward(index) = channel.tracks[at].take(now, &packet, mended) else {
            self.counts.duplicates += 1;
            return false;
        };
        if channel.forward(now, (key, at), index, &packet, &mut self.forwarding) {
            self.source_came(key);
        }
        true
    }

    fn source_came(&mut self, key: usize) {
        let channel = &self.channels[key];
        let Some(ingress) = channel.ingress(&self.members) else {
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
    pub(super) fn sender_reports(&mut self, now: Instant, key: usize, data: &[u8]) {
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
                Item::Reception { fraction_lost } => {
                    asked.loss.add(fraction_lost);
                    channel.loss.add(fraction_lost);
                }
                Item::SenderReport { .. } | Item::Cname { .. } => {}
            }
        }
        self.counts.asked = asked;
        self.send_feedback(now, key, out);
    }
}
