//! The recently forwarded packets of one stream, shared by all viewers: NACKs are answered from it,
//! and it distinguishes new packets from those seen before.

use std::collections::VecDeque;
use std::ops::Range;

use super::rtp::Packet;

/// A sequence number extended beyond 16 bits (RFC 3550 §A.1). It starts above zero, so that packets
/// from before the first one have an index too.
pub(super) type Index = u64;

/// How far before the first packet a late one may lie. After a restart, packets that were lost are
/// sent again after the first.
pub(super) const BACK: u64 = 512;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Insert {
    /// It is new and kept; the packets in `missing`, just before it, have not arrived.
    New { index: Index, missing: Range<Index> },
    /// It fills a gap and is kept.
    Late { index: Index },
    /// A packet with this index was seen: a duplicate.
    Duplicate,
    /// It lies before the window, so it may be a duplicate.
    TooOld,
}

/// What is known of a sequence number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// It is kept.
    Kept(Index, &'a Packet),
    /// It has not arrived, and still may.
    Missing,
    /// It lies before the window.
    Before,
    /// It lies after the newest packet.
    Ahead,
}

/// A window over one stream. Each index in it is filled at most once, and never again after it left
/// the window.
#[derive(Debug)]
pub(super) struct History {
    base: Index,
    slots: VecDeque<Option<Packet>>,
    bytes: usize,
    max_packets: usize,
    max_bytes: usize,
}

impl History {
    /// An empty history with bounds in packets and bytes.
    pub(super) fn new(max_packets: usize, max_bytes: usize) -> Self {
        Self {
            base: 0,
            slots: VecDeque::new(),
            bytes: 0,
            max_packets,
            max_bytes,
        }
    }

    /// A history that continues after `highest` and remembers nothing before it.
    pub(super) fn after(highest: Index, max_packets: usize, max_bytes: usize) -> Self {
        let mut history = Self::new(max_packets, max_bytes);
        history.base = highest + 1;
        history
    }

    /// The highest index seen so far.
    pub(super) fn highest(&self) -> Option<Index> {
        (self.base > 0).then(|| self.base + self.slots.len() as u64 - 1)
    }

    /// The index nearest to the highest one.
    pub(super) fn index(&self, sequence: u16) -> Index {
        match self.highest() {
            // The start leaves room below for a whole cycle.
            None => 0x1_0000 + u64::from(sequence),
            Some(highest) => {
                let step = i64::from(sequence.wrapping_sub(highest as u16) as i16);
                highest.saturating_add_signed(step)
            }
        }
    }

    /// What is known of a sequence number.
    pub(super) fn find(&self, sequence: u16) -> Found<'_> {
        let index = self.index(sequence);
        let Some(offset) = index.checked_sub(self.base) else {
            return Found::Before;
        };
        match usize::try_from(offset)
            .ok()
            .and_then(|offset| self.slots.get(offset))
        {
            Some(Some(packet)) => Found::Kept(index, packet),
            Some(None) => Found::Missing,
            None => Found::Ahead,
        }
    }

    /// All kept packets, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &Packet)> {
        (self.base..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }

    /// Inserts a packet, unless it was seen before.
    pub(super) fn insert(&mut self, packet: Packet) -> Insert {
        let index = self.index(packet.header.sequence);
        let Some(highest) = self.highest() else {
            self.base = index - BACK;
            self.slots.extend((0..BACK).map(|_| None));
            self.push(packet);
            return Insert::New {
                index,
                missing: index..index,
            };
        };
        if index < self.base {
            return Insert::TooOld;
        }
        if index <= highest {
            let slot = &mut self.slots[(index - self.base) as usize];
            if slot.is_some() {
                return Insert::Duplicate;
            }
            self.bytes += packet.len();
            *slot = Some(packet);
            self.evict();
            return Insert::Late { index };
        }
        let missing = highest + 1..index;
        if missing.end - missing.start >= self.max_packets as u64 {
            self.slots.clear();
            self.bytes = 0;
            self.base = index - BACK.min(missing.end - missing.start);
            self.slots.extend((self.base..index).map(|_| None));
        } else {
            self.slots.extend(missing.clone().map(|_| None));
        }
        self.push(packet);
        Insert::New { index, missing }
    }

    fn push(&mut self, packet: Packet) {
        self.bytes += packet.len();
        self.slots.push_back(Some(packet));
        self.evict();
    }

    fn evict(&mut self) {
        while self.slots.len() > self.max_packets
            || (self.bytes > self.max_bytes && self.slots.len() > 1)
        {
            if let Some(Some(packet)) = self.slots.pop_front() {
                self.bytes -= packet.len();
            }
            self.base += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::rtp::packet;

    fn p(sequence: u16) -> Packet {
        packet(1, 96, sequence, &[], b"0123456789")
    }

    fn missing(insert: Insert) -> Vec<u16> {
        match insert {
            Insert::New { missing, .. } => missing.map(|index| index as u16).collect(),
            other => panic!("not new: {other:?}"),
        }
    }

    #[test]
    fn goes_on_across_the_wrap_of_the_sequence_number() {
        let mut history = History::new(1024, 1 << 20);
        for sequence in 65_000..=65_535 {
            assert_eq!(missing(history.insert(p(sequence))), [0u16; 0]);
        }
        assert_eq!(missing(history.insert(p(2))), [0, 1]);
        assert!(matches!(history.insert(p(0)), Insert::Late { .. }));
        assert_eq!(history.insert(p(0)), Insert::Duplicate);
        assert_eq!(history.insert(p(65_535)), Insert::Duplicate);
        let kept = |sequence| match history.find(sequence) {
            Found::Kept(index, packet) => (index, packet.header.sequence),
            other => panic!("{other:?}"),
        };
        assert_eq!(kept(65_500).1, 65_500);
        assert_eq!(history.find(1), Found::Missing);
        assert_eq!(history.find(3), Found::Ahead);
        assert_eq!(history.find(65_000 - BACK as u16 - 1), Found::Before);
        assert_eq!(kept(2).0, kept(65_535).0 + 3);
    }

    #[test]
    fn what_fell_out_is_never_taken_again() {
        let mut history = History::new(600, 1 << 20);
        for sequence in 1000..2300 {
            history.insert(p(sequence));
        }
        assert_eq!(history.insert(p(1600)), Insert::TooOld);
        assert_eq!(history.insert(p(1700)), Insert::Duplicate);
        assert_eq!(history.find(1600), Found::Before);
    }

    #[test]
    fn packets_from_before_the_first_one_are_taken_once() {
        let mut history = History::new(1024, 1 << 20);
        history.insert(p(10));
        assert!(matches!(history.insert(p(65_530)), Insert::Late { .. }));
        assert_eq!(history.insert(p(65_530)), Insert::Duplicate);
        assert_eq!(
            history.insert(p(10u16.wrapping_sub(BACK as u16 + 1))),
            Insert::TooOld
        );
    }

    #[test]
    fn bytes_are_bounded() {
        let mut history = History::new(100_000, 220);
        for sequence in 0..1000 {
            history.insert(p(sequence));
        }
        assert!(history.bytes <= 220);
        assert_eq!(history.iter().count(), 10);
    }

    #[test]
    fn a_jump_beyond_the_window_starts_a_new_one_ahead() {
        let mut history = History::new(1024, 1 << 20);
        history.insert(p(0));
        let before = history.highest().unwrap();
        assert_eq!(missing(history.insert(p(20_000))).len(), 19_999);
        assert_eq!(history.highest(), Some(before + 20_000));
        assert_eq!(history.insert(p(0)), Insert::TooOld);
        assert!(history.slots.len() <= 1024);
    }

    #[test]
    fn a_stream_that_comes_back_goes_on_after_its_highest_index() {
        let mut history = History::after(0x1_0000 + 65_530, 1024, 1 << 20);
        assert_eq!(history.insert(p(65_530)), Insert::TooOld);
        assert_eq!(missing(history.insert(p(65_531))), [0u16; 0]);
        assert_eq!(history.highest(), Some(0x1_0000 + 65_531));
        assert!(matches!(history.insert(p(1)), Insert::New { .. }));
        assert_eq!(history.highest(), Some(0x2_0000 + 1));
    }
}
