//! The sending half of one viewer.

use bytes::BytesMut;
use rekindle_ids::{TransportAddress, Ufrag};

use super::{Burst, Indexed, NewViewer, Outlet, Tools};
use crate::broadcast::history::Index;
use crate::broadcast::key_derivation::KeyDerivation;
use crate::broadcast::mapping::{Mapping, Rtx};
use crate::broadcast::sent_streams::SentStreams;
use crate::broadcast::track_info::{Report, TrackInfo};
use crate::broadcast::translation::{Passage, Shared};
use crate::peer::Sending;

use super::order::Forwarded;

/// See the module.
pub(super) struct Outgoing {
    pub id: usize,
    ufrag: Ufrag,
    /// Without keys nothing is sent.
    sending: Option<Box<Sending>>,
    to: Option<TransportAddress>,
    pub translation: Option<Shared>,
    streams: SentStreams,
    /// How many of the waiting packets came before its keys: it got them otherwise, or needs none
    /// of them.
    skips: usize,
    /// No media has been sent under the present keys yet.
    is_fresh: bool,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    /// It must not be sent under its index: see [`SentStreams::may_send`].
    Never,
    /// The viewer's keys cannot protect it under its index.
    Refused,
}

impl Outgoing {
    pub(super) fn new(newcomer: NewViewer) -> Self {
        Self {
            id: newcomer.viewer,
            ufrag: newcomer.ufrag,
            sending: None,
            to: None,
            translation: newcomer.translation,
            streams: SentStreams::default(),
            skips: 0,
            is_fresh: false,
        }
    }

    /// Takes fresh keys: SRTP indices start again on both sides.
    pub(super) fn connect(
        &mut self,
        sending: Option<Box<Sending>>,
        to: Option<TransportAddress>,
        skips: usize,
    ) {
        self.sending = sending;
        self.to = to;
        self.streams.rekeyed();
        self.skips = skips;
        self.is_fresh = true;
    }

    /// The oldest waiting packets were dropped.
    pub(super) fn miss(&mut self, packets: usize) {
        self.skips = self.skips.saturating_sub(packets);
    }

    pub(super) fn move_to(&mut self, to: TransportAddress) {
        self.to = Some(to);
    }

    /// Passes the viewer's burst to the outlet.
    pub(super) fn hand_over(&mut self, burst: &mut Burst, outlet: &mut impl Outlet) {
        if let Some(to) = self.to.filter(|_| !burst.is_empty()) {
            outlet.send(to, burst);
        }
        burst.clear();
    }

    /// Appends the waiting packets to the burst. `rewritten` has their bytes for this viewer's
    /// group, `None` for a packet whose codec it did not agree on.
    pub(super) fn send<'a>(
        &mut self,
        mapping: &Mapping,
        waiting: impl Iterator<Item = (&'a Forwarded, Option<&'a [u8]>)>,
        tools: &mut Tools,
        outlet: &mut impl Outlet,
    ) {
        // They concern this flush only, also where the viewer has no keys.
        let skips = std::mem::take(&mut self.skips);
        if self.sending.is_none() {
            return;
        }
        for (forwarded, rewritten) in waiting.skip(skips) {
            match rewritten {
                Some(bytes) => self.pass(mapping, forwarded, bytes, tools),
                None => tools.counts.unmapped(),
            }
            if tools.burst.is_full() {
                self.hand_over(&mut tools.burst, outlet);
            }
        }
        self.hand_over(&mut tools.burst, outlet);
    }

    fn pass(&mut self, mapping: &Mapping, one: &Forwarded, rewritten: &[u8], tools: &mut Tools) {
        let packet = (one.index, &one.packet);
        let passage = self.translation.as_ref().map(|translation| {
            translation
                .lock()
                .pass(one.at, &one.track, one.index, &one.packet, |ssrc| {
                    one.there.contains(&ssrc)
                })
        });
        match passage {
            None | Some(Passage::AsItIs) => {}
            Some(Passage::Translated) => {
                self.rewrite(mapping, &one.track, packet, false, tools);
                return;
            }
            Some(Passage::Nothing) => return tools.counts.unmapped(),
        }
        match self.put(
            &one.track,
            rewritten,
            Some((one.track.ssrc, one.index)),
            tools,
        ) {
            Sent::Yes => {}
            Sent::Never => tools.counts.unmapped(),
            // The packet is from before the sequence number's wrap, and the keys are from after it:
            // RTX has sequence numbers of its own.
            Sent::Refused => {
                self.rewrite(mapping, &one.track, packet, true, tools);
            }
        }
    }

    /// Rewrites a packet of a stream for this viewer and appends it to the burst, on its own SSRC
    /// or as a retransmission. Returns whether it could be sent.
    pub(super) fn rewrite(
        &mut self,
        mapping: &Mapping,
        track: &TrackInfo,
        (index, packet): Indexed<'_>,
        rtx: bool,
        tools: &mut Tools,
    ) -> bool {
        let Some(sending) = &self.sending else {
            return false;
        };
        let translation = self.translation.as_ref().map(Shared::lock);
        let translated;
        let (index, packet, rtx_ssrc) = match &translation {
            None => (index, packet, track.rtx_ssrc),
            Some(translation) => match translation.of(track, index, packet) {
                None => return false,
                Some((index, other, rtx_ssrc)) => {
                    translated = other;
                    (index, &translated, rtx_ssrc.unwrap_or(track.rtx_ssrc))
                }
            },
        };
        // The core may ask it while this packet is encrypted.
        drop(translation);
        let ssrc = packet.header.ssrc;
        let first = || first_rtx(&tools.derivation, &self.ufrag, sending, track);
        let rtx = rtx.then(|| Rtx {
            ssrc: rtx_ssrc,
            sequence: self.streams.next_rtx(ssrc, first),
        });
        if !mapping.rewrite(&track.section, packet, rtx, &mut tools.buffers) {
            return false;
        }
        let own = rtx.is_none().then_some((ssrc, index));
        let bytes = std::mem::take(&mut tools.buffers.packet);
        let sent = self.put(track, &bytes, own, tools);
        tools.buffers.packet = bytes;
        sent == Sent::Yes
    }

    /// Encrypts a packet into the burst, under the SSRC and index that it has at the viewer, or as
    /// a retransmission with an index of its own.
    fn put(
        &mut self,
        track: &TrackInfo,
        packet: &[u8],
        own: Option<(u32, Index)>,
        tools: &mut Tools,
    ) -> Sent {
        let Some(sending) = &mut self.sending else {
            return Sent::Never;
        };
        if let Some((ssrc, index)) = own {
            let first = || first_rtx(&tools.derivation, &self.ufrag, sending, track);
            // Checked before encryption: an index must not be used for a second packet.
            if !self.streams.may_send(ssrc, index, first) {
                return Sent::Never;
            }
        }
        let burst = &mut tools.burst;
        let start = burst.start();
        burst.bytes.extend_from_slice(packet);
        if sending.protect_rtp(&mut burst.bytes, start).is_none() {
            burst.take_back();
            return Sent::Refused;
        }
        burst.end();
        tools.counts.sent(packet.len());
        if std::mem::take(&mut self.is_fresh) {
            tracing::trace!(target: "rekindle::resume", step = "media", "media goes out");
        }
        Sent::Yes
    }

    /// Encrypts a compound RTCP packet into the burst.
    pub(super) fn control(&mut self, packet: &[u8], tools: &mut Tools) {
        let packet = self.sending.as_mut().and_then(|s| s.protect_rtcp(packet));
        if let Some(packet) = packet {
            tools.burst.bytes.extend_from_slice(&packet);
            tools.burst.end();
        }
    }

    /// A stream's sender report with the viewer's numbers; `None` where these are the publisher's.
    pub(super) fn translated_report(&self, track: &TrackInfo, report: &Report) -> Option<BytesMut> {
        self.translation
            .as_ref()?
            .lock()
            .sender_report(track, report)
    }
}

/// The first sequence number of an RTX stream is random (RFC 3550 §5.1).
fn first_rtx(
    derivation: &KeyDerivation,
    ufrag: &Ufrag,
    sending: &Sending,
    track: &TrackInfo,
) -> u16 {
    if let Some(start) = sending.start_of(track.rtx_ssrc) {
        return start;
    }
    let ssrc = track.ssrc;
    derivation.number("rtx", &[ufrag.as_str().as_bytes(), &ssrc.to_be_bytes()]) as u16
}
