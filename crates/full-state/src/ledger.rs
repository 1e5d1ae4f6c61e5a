//! Which packet indices may be used: the arithmetic of "a ceiling is durable before it is used".
//!
//! An index is used for one packet only, under one key. Within one process the core ensures that;
//! across a kill this module does. For every stream the vault holds a *ceiling*: all indices below
//! it may have been used. A running process uses only indices below the durable ceiling (the
//! *limit*); the next process uses only indices from the ceiling on (its *floor*). A ceiling that
//! is being written counts in neither direction before the write has ended.

use std::time::{Duration, Instant};

use super::record::SentCounter;

/// How many indices are reserved ahead of a stream: at first, at least, and at most.
const FIRST_MARGIN: u64 = 64;
const MARGINS: std::ops::RangeInclusive<u64> = 32..=2048;
/// A stream's rate is measured over at least this time.
const PACE: Duration = Duration::from_millis(500);
/// What a stream uses in this time is reserved ahead, in ms, and half of it is left when the next
/// counters are written. So nothing is sent on a stream's own SSRC for at most this time after a
/// restart, and there are at most four writes a second.
const AHEAD_MS: u128 = 500;
/// What is reserved at a start, without a request, for streams that may jump: for RTX, which the
/// server numbers itself, as much as may have been lost meanwhile; for audio, whose numbers it can
/// shift, as much as passes until the next ceiling is durable.
pub const RTX_AHEAD: u16 = 512;
/// See [`RTX_AHEAD`].
pub const AUDIO_AHEAD: u16 = 32;
/// Longest step between two packets of a stream: beyond half the sequence space a receiver assumes
/// the wrong rollover counter (RFC 3711 §3.3.1).
const MAX_STEP: u64 = 0x7000;

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Protect it under this index.
    Use(u64),
    /// Its index may have been used by an earlier process, and must never be used again.
    Spent,
    /// Its index is above the durable ceiling: a higher one must be written first.
    Wait,
    /// The receiver would lose track: this stream is lost under these keys.
    Lost,
}

/// The indices of one outgoing SRTP stream.
#[derive(Debug)]
pub struct Sent {
    /// The highest index used. For a stream from an earlier process: the highest known one, so a
    /// lower bound.
    last: Option<u64>,
    /// The highest index asked for.
    wanted: Option<u64>,
    /// An earlier process may have used all indices below it.
    floor: u64,
    /// No index from it on may be used yet.
    limit: u64,
    /// The ceiling that is being written.
    pending: Option<u64>,
    /// See [`SentCounter::ahead`].
    ahead: u16,
    /// From an earlier process.
    resumed: bool,
    margin: u64,
    /// When the rate was last measured, and the index at that time.
    mark: Option<(Instant, u64)>,
}

impl Sent {
    /// A stream under new keys. `reserved`: a ceiling for these keys is in the vault, or being
    /// written.
    pub fn new(ahead: u16, reserved: bool) -> Self {
        Self {
            last: None,
            wanted: None,
            floor: 0,
            limit: if reserved { 0 } else { u64::MAX },
            pending: None,
            ahead,
            resumed: false,
            margin: FIRST_MARGIN.max(ahead.into()),
            mark: None,
        }
    }

    /// A stream of an earlier process: the counter that it left, and the one that has been made
    /// durable since.
    pub fn resumed(left: &SentCounter, now: &SentCounter) -> Self {
        Self {
            last: left.last,
            limit: now.ceiling,
            floor: left.ceiling,
            resumed: true,
            ..Self::new(left.ahead, true)
        }
    }

    /// The index of a sequence number: the one nearest to the present index (RFC 3711 §3.3.1). The
    /// first packet under these keys has a rollover counter of zero.
    fn index(&self, sequence: u16) -> Option<u64> {
        let near = match (self.last, self.floor) {
            (Some(last), floor) => last.max(floor),
            (None, 0) => return Some(sequence.into()),
            (None, floor) => floor,
        };
        let step = i64::from(sequence.wrapping_sub(near as u16) as i16);
        near.checked_add_signed(step)
    }

    /// What to do with a packet of this sequence number.
    pub fn judge(&mut self, sequence: u16) -> Verdict {
        // From before the wrap, while the first packet under these keys is from after it: its
        // rollover counter would be -1.
        let Some(index) = self.index(sequence) else {
            return Verdict::Spent;
        };
        if index < self.floor {
            return Verdict::Spent;
        }
        if self
            .last
            .is_some_and(|last| index > last && index - last >= MAX_STEP)
        {
            return Verdict::Lost;
        }
        self.wanted = self.wanted.max(Some(index));
        if index >= self.limit {
            return Verdict::Wait;
        }
        self.last = self.last.max(Some(index));
        Verdict::Use(index)
    }

    /// Whether a higher ceiling should be written soon.
    pub fn is_low(&self) -> bool {
        self.wanted.is_some_and(|wanted| {
            self.pending.unwrap_or(self.limit).saturating_sub(wanted) <= self.margin / 2
        })
    }

    /// Whether the stream was announced and has never sent a packet.
    pub fn is_new(&self) -> bool {
        self.limit == 0
    }

    /// The sequence number with which the server's own numbering of a stream from an earlier
    /// process continues.
    pub fn start(&self) -> Option<u16> {
        self.resumed
            .then(|| self.floor.max(self.last.map_or(0, |last| last + 1)) as u16)
    }

    /// The counter to write now; `first`: it is the first one for these keys.
    pub fn reserve(&mut self, now: Instant, ssrc: u32, first: bool) -> SentCounter {
        let place = self.wanted.max(self.last);
        match (self.mark, place) {
            (Some((at, before)), Some(place)) => {
                let elapsed = now.saturating_duration_since(at);
                if elapsed >= PACE {
                    let pace =
                        u128::from(place.saturating_sub(before)) * AHEAD_MS / elapsed.as_millis();
                    let least = u64::from(self.ahead).max(*MARGINS.start());
                    self.margin = u64::try_from(pace)
                        .unwrap_or(u64::MAX)
                        .clamp(least, *MARGINS.end());
                    self.mark = Some((now, place));
                }
            }
            (None, Some(place)) => self.mark = Some((now, place)),
            _ => {}
        }
        let known = if first { 0 } else { self.limit.max(self.floor) };
        let ceiling = match place {
            Some(place) if self.wanted.is_some() => known.max(place + 1 + self.margin),
            // Nothing was requested in this process: the previous counter stays valid, and the
            // stream continues at it.
            _ => known,
        };
        if first {
            // If this is never written, no process can continue with these keys; if it is, all
            // below may have been used.
            self.limit = ceiling;
        }
        self.pending = Some(ceiling);
        SentCounter {
            ssrc,
            last: self.last,
            ceiling,
            ahead: self.ahead,
        }
    }

    /// The counter was written, or not: in that case either of the two may be on the disk, and the
    /// lower one applies.
    pub fn reserved(&mut self, durable: bool) {
        if let Some(ceiling) = self.pending.take().filter(|_| durable) {
            self.limit = self.limit.max(ceiling);
        }
    }
}

impl SentCounter {
    /// What a new process makes durable before it uses any of these keys.
    pub(super) fn raise(&mut self) {
        self.ceiling += u64::from(self.ahead);
    }
}

/// Bits of the replay window (RFC 3711 §3.3.2 asks for at least 64): a retransmission may arrive
/// seconds late.
const WINDOW: u64 = 2048;

/// What has been received of a stream.
#[derive(Debug)]
pub struct Window {
    highest: u64,
    /// Bit `index % WINDOW`, for the indices up to the highest.
    seen: [u64; (WINDOW / 64) as usize],
}

impl Window {
    /// After a first packet.
    pub fn new(index: u64) -> Self {
        let mut window = Self {
            highest: index,
            seen: [0; (WINDOW / 64) as usize],
        };
        window.set(index);
        window
    }

    /// After an earlier process that had received this index, without knowledge of others: all up
    /// to it count as seen.
    pub fn resumed(highest: u64) -> Self {
        Self {
            highest,
            seen: [u64::MAX; (WINDOW / 64) as usize],
        }
    }

    /// The highest index received.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The index of a sequence number (RFC 3711 §3.3.1).
    pub fn index(&self, sequence: u16) -> Option<u64> {
        let step = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        self.highest.checked_add_signed(step)
    }

    /// Whether a packet with this index may be accepted.
    pub fn is_new(&self, index: u64) -> bool {
        index > self.highest || (self.highest - index < WINDOW && !self.get(index))
    }

    /// An authentic packet with this index arrived.
    pub fn take(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= WINDOW {
                self.seen = [0; (WINDOW / 64) as usize];
            } else {
                for skipped in self.highest + 1..index {
                    self.clear(skipped);
                }
            }
            self.highest = index;
        }
        self.set(index);
    }

    fn place(index: u64) -> (usize, u64) {
        let bit = index % WINDOW;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn get(&self, index: u64) -> bool {
        let (word, bit) = Self::place(index);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.seen[word] |= bit;
    }

    fn clear(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.seen[word] &= !bit;
    }
}

#[cfg(test)]
mod tests;
