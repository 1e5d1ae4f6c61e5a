//! A channel whose publisher is with another server: packets from that server are treated like a
//! publisher's, and feedback to the publisher is returned for that server.
//!
//! The transport between the two servers is elsewhere: packets come and go decrypted. Duplicates
//! are dropped like a publisher's, so media cannot circulate even if two servers pulled a channel
//! from each other.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rekindle_sdp::{Negotiated, Source};

use super::channel::Channel;
use super::delivery::MediaCounts;
use super::hub::Broadcast;
use super::ingress::Ingress;
use super::{Event, Refusal};
use crate::peer::Transmit;

/// The source of a channel that comes from another server.
pub(super) struct Upstream {
    pub ingress: Ingress,
    /// Whether feedback can be sent to it.
    pub has_keys: bool,
    /// Whether there were viewers before: they may have missed packets.
    pub resumed: bool,
}

/// What arrives of a channel that another server has.
#[derive(Debug)]
pub enum Pulled {
    /// Fresh keys are in use with that server.
    Keys,
    /// There are no keys any more: feedback waits.
    NoKeys,
    /// An authenticated RTP packet, decrypted.
    Rtp(BytesMut),
    /// An authenticated compound RTCP packet, decrypted.
    Rtcp(BytesMut),
}

/// What viewers are told of a publisher's streams, from what was agreed on with the publisher.
pub fn source(negotiated: &Negotiated, now: Instant) -> Source {
    let ingress = Ingress::new(negotiated, now);
    Source {
        codecs: ingress.codecs(),
        streams: Channel::new(String::new()).streams(&ingress),
    }
}

impl Broadcast {
    /// Takes a channel's media from [`Broadcast::pulled`] from now on, with what was agreed on with
    /// the other server. Present viewers continue; if the streams are the same as before, they see
    /// no break.
    ///
    /// # Errors
    /// [`Refusal::PublisherPresent`] where the channel's publisher is here.
    pub fn pull(
        &mut self,
        now: Instant,
        channel: &str,
        negotiated: &Negotiated,
    ) -> Result<(), Refusal> {
        let key = self.channel(channel);
        let channel = &mut self.channels[key];
        if channel.publisher.is_some() {
            return Err(Refusal::PublisherPresent);
        }
        channel.end_streams(now, &self.members);
        let resumed = !channel.groups.is_empty();
        channel.keyframe_owed = resumed;
        channel.upstream = Some(Box::new(Upstream {
            ingress: Ingress::new(negotiated, now),
            has_keys: false,
            resumed,
        }));
        Ok(())
    }

    /// Takes what has arrived of a channel that is pulled; ignores other channels.
    pub fn pulled(&mut self, now: Instant, channel: &str, pulled: Pulled, out: &mut Vec<Transmit>) {
        let Some(key) = self.by_name.get(channel).copied() else {
            return;
        };
        let Some(mut upstream) = self.channels[key].upstream.take() else {
            tracing::trace!("media of another server is dropped: its channel is not pulled");
            return;
        };
        match pulled {
            Pulled::Keys => upstream.has_keys = true,
            Pulled::NoKeys => upstream.has_keys = false,
            Pulled::Rtp(packet) => {
                let channel = &mut self.channels[key];
                let came = channel.arrive(
                    now,
                    &mut upstream.ingress,
                    upstream.resumed,
                    packet,
                    &mut self.counts,
                );
                // The source's streams are needed on the way.
                channel.upstream = Some(upstream);
                if let Some(came) = came {
                    self.forward(now, key, came);
                }
                self.send_feedback(now, key, out);
                self.arm_channel(key);
                self.forwarding.run(out);
                return;
            }
            Pulled::Rtcp(packet) => self.sender_reports(now, key, &packet),
        }
        self.channels[key].upstream = Some(upstream);
        self.send_feedback(now, key, out);
        self.arm_channel(key);
        self.forwarding.run(out);
    }

    /// Ends the pull of a channel. Its viewers stay.
    pub fn end_pull(&mut self, now: Instant, channel: &str) {
        let Some(key) = self.by_name.get(channel).copied() else {
            return;
        };
        let channel = &mut self.channels[key];
        if channel.upstream.take().is_some() {
            channel.end_streams(now, &self.members);
        }
        self.look_after_channel(now, key);
    }

    /// Returns the feedback for the other server as an event.
    pub(super) fn send_upstream(&mut self, now: Instant, key: usize) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let packets = channel.upstream_feedback(now, self.sender, &mut self.counts);
        if !packets.is_empty() {
            self.events.push_back(Event::Upstream {
                channel: channel.name.clone(),
                packets,
            });
        }
    }
}

impl Channel {
    fn upstream_feedback(
        &mut self,
        now: Instant,
        sender: u32,
        counts: &mut MediaCounts,
    ) -> Vec<Bytes> {
        let Some(upstream) = self.upstream.as_mut().filter(|one| one.has_keys) else {
            return Vec::new();
        };
        let packets =
            super::feedback::due(now, sender, &mut self.tracks, &mut upstream.ingress, counts);
        packets.into_iter().map(BytesMut::freeze).collect()
    }
}
