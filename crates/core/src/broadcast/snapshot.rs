//! Counts of the core for health, metrics and the page.

use std::time::Instant;

use super::channel::Channel;
use super::forwarding::Media;
use super::hub::Broadcast;
use super::loss::Loss;
use crate::peer::Failures;

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Peers with keys.
    pub connected: usize,
    /// Peers of an earlier boot that have not come back yet.
    pub awaited: usize,
    /// New peers that have no keys yet.
    pub joining: usize,
    /// Channels, by name.
    pub channels: Vec<ChannelSnapshot>,
    /// How many of them are [pulled](Broadcast::pull) from another server.
    pub pulled: usize,
    /// RTP packets taken from publishers.
    pub packets_in: u64,
    /// Bytes of these packets: header and payload, without SRTP's additions.
    pub bytes_in: u64,
    /// RTP packets sent to viewers, RTX included.
    pub packets_out: u64,
    /// Bytes of these, counted alike.
    pub bytes_out: u64,
    /// Packets that viewers requested again (NACK).
    pub nacked: u64,
    /// Packets that publishers were asked for again.
    pub nacks: u64,
    /// Keyframes that viewers requested (PLI, FIR).
    pub keyframe_requests: u64,
    /// The packet loss that viewers report.
    pub loss: Loss,
    /// Packets sent again on a viewer's NACK.
    pub retransmitted: u64,
    /// PLIs sent to publishers.
    pub plis: u64,
    /// Duplicate packets of publishers.
    pub duplicates: u64,
    /// Packets of publishers with an SSRC or payload type that was not agreed on.
    pub unknown: u64,
    /// Packets not sent to a viewer, since it did not agree on their codec.
    pub unmapped: u64,
    /// Packets dropped for a viewer, since sending fell behind.
    pub overrun: u64,
    /// DTLS handshakes that gave a peer fresh keys.
    pub handshakes: u64,
    /// DTLS handshakes that ended without keys for a peer.
    pub failures: Failures,
}

/// Counts of one channel since it has members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelSnapshot {
    /// Its name.
    pub name: String,
    /// Whether media of its source flows.
    pub live: bool,
    /// Connected viewers.
    pub viewers: usize,
    /// RTP packets taken from its source.
    pub received: Media,
    /// RTP packets sent to its viewers, RTX included.
    pub sent: Media,
    /// The packet loss that its viewers report.
    pub loss: Loss,
}

impl Broadcast {
    /// Whether media of a channel's publisher flows, and how many viewers are connected; `(false,
    /// 0)` for a channel without members.
    pub fn channel_standing(&self, name: &str) -> (bool, usize) {
        let channel = self
            .by_name
            .get(name)
            .and_then(|key| self.channels.get(*key));
        channel.map_or((false, 0), |channel| self.standing(channel))
    }

    fn standing(&self, channel: &Channel) -> (bool, usize) {
        let members = channel.viewers().filter_map(|id| self.members.get(id));
        let viewers = members.filter(|member| member.peer.is_connected());
        (channel.live, viewers.count())
    }

    /// Counts for health, metrics and the page; channels by name.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let _ = now;
        let channels = self.channels.iter().map(|(_, channel)| {
            let (live, viewers) = self.standing(channel);
            ChannelSnapshot {
                name: channel.name.clone(),
                live,
                viewers,
                received: channel.received,
                sent: channel.sent.get(),
                loss: channel.loss.clone(),
            }
        });
        let mut channels: Vec<_> = channels.collect();
        channels.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let pulled = self
            .channels
            .iter()
            .filter(|(_, one)| one.upstream.is_some());
        let pulled = pulled.count();
        let (mut connected, mut awaited) = (0, 0);
        for (_, member) in &self.members {
            connected += usize::from(member.peer.is_connected());
            awaited += usize::from(member.is_awaited());
        }
        let totals = self.forwarding.totals();
        Snapshot {
            connected,
            awaited,
            joining: self.members.len() - connected - awaited,
            channels,
            pulled,
            packets_in: self.counts.packets_in,
            bytes_in: self.counts.bytes_in,
            packets_out: totals.sent,
            bytes_out: totals.bytes,
            nacked: self.counts.asked.packets,
            nacks: self.counts.nacks,
            keyframe_requests: self.counts.asked.keyframes,
            loss: self.counts.asked.loss.clone(),
            retransmitted: totals.resent,
            plis: self.counts.plis,
            duplicates: self.counts.duplicates,
            unknown: self.counts.unknown,
            unmapped: totals.unmapped,
            overrun: totals.overrun,
            handshakes: self.counts.handshakes,
            failures: self.counts.failures.clone(),
        }
    }
}
