//! What came of it: what viewers got, held against what publishers sent.

use std::time::{Duration, Instant};

use rekindle::broadcast::Event;
use rekindle::sdp::Kind;

use super::world::{Id, World};

impl World {
    /// Holds every packet that a viewer got against what the publisher sent: the same payload, time
    /// stamp, marker and codec.
    pub fn assert_exact(&self, viewer: Id, publisher: Id) {
        let sender = self.client(publisher).sender();
        let receiver = self.client(viewer).receiver();
        assert_eq!(receiver.strange, 0, "packets that no section explains");
        for sent_stream in sender.streams() {
            let Some(stream) = receiver.streams.iter().find(|s| s.ssrc == sent_stream.ssrc) else {
                continue;
            };
            for (index, got) in &stream.got {
                let sent = sent_stream
                    .sent
                    .get(index)
                    .expect("only what was sent comes");
                assert_eq!(got.payload, sent.payload, "payload of {index}");
                assert_eq!(
                    (got.timestamp, got.marker),
                    (sent.timestamp, sent.marker),
                    "header of {index}"
                );
                assert_eq!(got.codec, sent_stream.payload.codec);
                assert_eq!(stream.kind, sent_stream.kind);
            }
        }
    }

    /// How many packets of a kind a viewer got from this publisher.
    pub fn got(&self, viewer: Id, publisher: Id, kind: Kind) -> usize {
        let ssrc = self.client(publisher).sender().stream(kind).ssrc;
        let streams = &self.client(viewer).receiver().streams;
        streams
            .iter()
            .find(|s| s.ssrc == ssrc)
            .map_or(0, |s| s.got.len())
    }

    /// Indices of the publisher's stream that a viewer has not got, from the first one it ever got
    /// to those sent `settled` ago.
    pub fn missing(&self, viewer: Id, publisher: Id, kind: Kind, settled: Duration) -> Vec<u64> {
        let sent = self.client(publisher).sender().stream(kind);
        let streams = &self.client(viewer).receiver().streams;
        let stream = streams
            .iter()
            .find(|s| s.ssrc == sent.ssrc)
            .expect("something of the stream came");
        let first = *stream.got.keys().next().unwrap();
        let settled = |at: Instant| at + settled <= self.now;
        let due = sent
            .sent
            .range(first..)
            .filter(|(_, packet)| settled(packet.at));
        due.map(|(index, _)| *index)
            .filter(|index| !stream.got.contains_key(index))
            .collect()
    }

    /// Every packet of a kind that was sent `settled` ago has come.
    pub fn assert_nothing_missing(&self, viewer: Id, publisher: Id, kind: Kind, settled: Duration) {
        let missing = self.missing(viewer, publisher, kind, settled);
        assert!(
            missing.is_empty(),
            "{kind} packets are missing: {missing:?}"
        );
    }

    /// The longest time between two packets of a kind, that lie apart in sending order, arriving at
    /// a viewer since `since`.
    pub fn largest_gap(&self, viewer: Id, kind: Kind, since: Instant) -> Duration {
        let streams = self
            .client(viewer)
            .receiver()
            .streams
            .iter()
            .filter(|s| s.kind == kind);
        let mut times: Vec<Instant> = streams
            .flat_map(|s| s.got.values().map(|got| got.at))
            .collect();
        times.sort_unstable();
        let steps = times.windows(2).filter(|pair| pair[1] >= since);
        steps
            .map(|pair| pair[1] - pair[0])
            .max()
            .unwrap_or_default()
    }

    /// How often an event came.
    pub fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, event)| matches(event))
            .count()
    }
}
