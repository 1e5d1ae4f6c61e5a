//! A channel whose publisher is with another server: what that one sends comes in as a publisher's
//! does, and what the publisher would be told is handed out for that server.
//!
//! The transport between the two is somebody else's: packets come and go in clear. Packets that have
//! come before are dropped as a publisher's are, so media cannot circulate even where two servers
//! took a channel from each other.

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
    /// What is wanted of it can be told it.
    pub has_keys: bool,
    /// There were viewers before: they may miss something.
    pub resumed: bool,
}

/// What comes of a channel that another server has.
#[derive(Debug)]
pub enum Pulled {
    /// Fresh keys are in use with that server.
    Keys,
    /// There are none any more: what it should be told waits.
    NoKeys,
    /// An authenticated RTP packet, decrypted.
    Rtp(BytesMut),
    /// An authenticated compound RTCP packet, decrypted.
    Rtcp(BytesMut),
}

/// What a publisher sends by what was agreed on with it: what its viewers are told of it.
pub fn source(negotiated: &Negotiated, now: Instant) -> Source {
    let ingress = Ingress::new(negotiated, now);
    Source {
        codecs: ingress.codecs(),
        streams: Channel::new(String::new()).streams(&ingress),
    }
}

impl Broadcast {
    /// From now on a channel's media is what comes by [`Broadcast::pulled`], as this was agreed on
    /// with the other server. Viewers that are there go on; where the streams are those that were
    /// there before, they see no break.
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

    /// Takes what has come of a channel that is pulled; of any other, nothing.
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
                // The source's streams are asked for on the way.
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

    /// A channel is not pulled any more. Its viewers stay.
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

    /// Hands out what the other server is to be told of a channel.
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
