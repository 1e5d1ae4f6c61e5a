//! Transport-wide congestion feedback to the publisher
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01): which of its packets arrived, and when.
//! The browser chooses its encoder's bitrate by it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk,
    SymbolSizeTypeTcc, SymbolTypeTcc, TransportLayerCc,
};

/// Interval between feedback messages.
const INTERVAL: Duration = Duration::from_millis(100);
/// The same while many packets arrive.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// From this number of packets in one feedback on, [`BUSY_INTERVAL`] applies.
const BUSY: usize = 20;
/// A late packet is reported together with its neighbours, as far back as this.
const REMEMBER: Duration = Duration::from_millis(500);
/// Most packets that are remembered.
const MAX_ARRIVALS: usize = 8192;
/// Most received packets in one feedback message, so that it fits a datagram: each takes at most 2
/// bytes and two chunks.
const MAX_RECEIVED: usize = 180;
/// After this many packets, received or missing, a new message starts: the count has 16 bits.
const MAX_STATUSES: usize = 10_000;
/// A longer run of missing packets is not reported; a new message starts after it.
const MAX_GAP: u64 = 1000;
/// One tick of a receive delta, in µs.
const TICK: u128 = 250;
/// Ticks in one unit of the reference time (64 ms).
const REFERENCE: i64 = 256;

/// Arrivals of one publisher.
#[derive(Debug)]
pub(super) struct Twcc {
    epoch: Instant,
    /// Time of arrival in ticks since the epoch, by extended sequence number.
    arrivals: BTreeMap<u64, i64>,
    /// The first packet of this boot: earlier ones were for the last boot to report.
    first: u64,
    highest: Option<u64>,
    /// The next feedback starts here.
    base: u64,
    fresh: usize,
    count: u8,
    busy: bool,
    next: Option<Instant>,
}

impl Twcc {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            arrivals: BTreeMap::new(),
            first: 0,
            highest: None,
            base: 0,
            fresh: 0,
            count: 0,
            busy: false,
            next: None,
        }
    }

    /// Notes a packet with this transport-wide sequence number.
    pub(super) fn packet(&mut self, now: Instant, sequence: u16) {
        let index = match self.highest {
            None => {
                let index = 0x1_0000 + u64::from(sequence);
                (self.first, self.base) = (index, index);
                index
            }
            Some(highest) => highest
                .saturating_add_signed(i64::from(sequence.wrapping_sub(highest as u16) as i16)),
        };
        if index < self.first || self.arrivals.len() >= MAX_ARRIVALS {
            return;
        }
        let ticks = now.saturating_duration_since(self.epoch).as_micros() / TICK;
        let ticks = i64::try_from(ticks).unwrap_or(i64::MAX);
        self.arrivals.entry(index).or_insert(ticks);
        self.highest = self.highest.max(Some(index));
        self.base = self.base.min(index);
        self.fresh += 1;
        let interval = if self.busy { BUSY_INTERVAL } else { INTERVAL };
        self.next.get_or_insert(now + interval);
    }

    /// When [`Twcc::due`] is to be called next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The feedback that is due now.
    pub(super) fn due(
        &mut self,
        now: Instant,
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Vec<TransportLayerCc> {
        let mut messages = Vec::new();
        let Some(highest) = self
            .highest
            .filter(|_| self.next.is_some_and(|next| next <= now))
        else {
            return messages;
        };
        self.busy = self.fresh >= BUSY;
        self.fresh = 0;
        self.next = None;
        let mut pending = self
            .arrivals
            .range(self.base..)
            .map(|(&index, &ticks)| (index, ticks))
            .peekable();
        let mut base = self.base;
        while let Some(&(index, ticks)) = pending.peek() {
            if index - base > MAX_GAP {
                base = index;
            }
            let reference = ticks.div_euclid(REFERENCE);
            let mut message = Message::new(base, reference * REFERENCE);
            while let Some(&(index, ticks)) = pending.peek() {
                if !message.push(index, ticks) {
                    break;
                }
                pending.next();
            }
            base = message.end;
            messages.push(TransportLayerCc {
                sender_ssrc,
                media_ssrc,
                base_sequence_number: message.base as u16,
                packet_status_count: message.symbols.len() as u16,
                // 24 bits, and it may wrap.
                reference_time: (reference & 0xFF_FFFF) as u32,
                fb_pkt_count: self.count,
                packet_chunks: chunks(&message.symbols),
                recv_deltas: message.deltas,
            });
            self.count = self.count.wrapping_add(1);
        }
        self.base = highest + 1;
        let horizon = now
            .saturating_duration_since(self.epoch)
            .saturating_sub(REMEMBER)
            .as_micros()
            / TICK;
        self.arrivals
            .retain(|_, ticks| u128::try_from(*ticks).is_ok_and(|ticks| ticks >= horizon));
        messages
    }
}

/// A feedback message under construction.
struct Message {
    base: u64,
    end: u64,
    last: i64,
    symbols: Vec<SymbolTypeTcc>,
    deltas: Vec<RecvDelta>,
}

impl Message {
    fn new(base: u64, reference: i64) -> Self {
        Self {
            base,
            end: base,
            last: reference,
            symbols: Vec::new(),
            deltas: Vec::new(),
        }
    }

    /// Adds a packet. Returns false, and adds nothing, if the packet needs a new message.
    fn push(&mut self, index: u64, ticks: i64) -> bool {
        let Ok(delta) = i16::try_from(ticks - self.last) else {
            return false;
        };
        let missing = index - self.end;
        if missing > MAX_GAP
            || self.deltas.len() >= MAX_RECEIVED
            || self.symbols.len() >= MAX_STATUSES
        {
            return false;
        }
        let symbol = match delta {
            0..=255 => SymbolTypeTcc::PacketReceivedSmallDelta,
            _ => SymbolTypeTcc::PacketReceivedLargeDelta,
        };
        self.symbols
            .extend((0..missing).map(|_| SymbolTypeTcc::PacketNotReceived));
        self.symbols.push(symbol);
        self.deltas.push(RecvDelta {
            type_tcc_packet: symbol,
            delta: i64::from(delta) * TICK as i64,
        });
        self.last = ticks;
        self.end = index + 1;
        true
    }
}

/// Packs status symbols into chunks (§3.1.2 to §3.1.4 of the draft).
fn chunks(symbols: &[SymbolTypeTcc]) -> Vec<PacketStatusChunk> {
    const ONE_BIT: usize = 14;
    const TWO_BIT: usize = 7;
    const MAX_RUN: usize = 0x1FFF;
    let mut chunks = Vec::new();
    let mut rest = symbols;
    while let Some(&first) = rest.first() {
        let run = rest
            .iter()
            .take(MAX_RUN)
            .take_while(|symbol| **symbol == first)
            .count();
        let window = &rest[..rest.len().min(ONE_BIT)];
        let one_bit = !window.contains(&SymbolTypeTcc::PacketReceivedLargeDelta);
        let size = if one_bit { ONE_BIT } else { TWO_BIT };
        let used = if run >= size || run == rest.len() {
            chunks.push(PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                packet_status_symbol: first,
                run_length: run as u16,
            }));
            run
        } else {
            let used = size.min(rest.len());
            chunks.push(PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                symbol_size: if one_bit {
                    SymbolSizeTypeTcc::OneBit
                } else {
                    SymbolSizeTypeTcc::TwoBit
                },
                symbol_list: rest[..used].to_vec(),
            }));
            used
        };
        rest = &rest[used..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_shared::marshal::{Marshal, Unmarshal};

    const MS: Duration = Duration::from_millis(1);

    /// Sends a message over the wire and reads it as the publisher would: sequence numbers with µs
    /// since the epoch.
    fn received(message: &TransportLayerCc) -> (Vec<(u16, i64)>, Vec<u16>) {
        let wire = message.marshal().unwrap();
        assert_eq!(wire.len() % 4, 0);
        assert!(wire.len() <= 1200, "{} bytes", wire.len());
        let message = TransportLayerCc::unmarshal(&mut wire.freeze()).unwrap();
        let symbols = message.packet_chunks.iter().flat_map(|chunk| match chunk {
            PacketStatusChunk::RunLengthChunk(c) => {
                vec![c.packet_status_symbol; c.run_length.into()]
            }
            PacketStatusChunk::StatusVectorChunk(c) => c.symbol_list.clone(),
        });
        let mut deltas = message.recv_deltas.iter();
        let mut time = i64::from(message.reference_time) * 64_000;
        let (mut came, mut missing) = (Vec::new(), Vec::new());
        for (i, symbol) in symbols.take(message.packet_status_count.into()).enumerate() {
            let sequence = message.base_sequence_number.wrapping_add(i as u16);
            if symbol == SymbolTypeTcc::PacketNotReceived {
                missing.push(sequence);
            } else {
                time += deltas.next().unwrap().delta;
                came.push((sequence, time));
            }
        }
        assert!(deltas.next().is_none());
        (came, missing)
    }

    #[test]
    fn arrivals_round_trip_across_the_wrap_with_gaps_and_reordering() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        let order = [65_530u16, 65_531, 65_533, 65_532, 65_535, 2, 0, 3];
        for (i, sequence) in order.into_iter().enumerate() {
            twcc.packet(t + 1000 * MS + 3 * i as u32 * MS, sequence);
        }
        let messages = twcc.due(t + 1100 * MS, 1, 2);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].base_sequence_number, 65_530);
        let (mut came, missing) = received(&messages[0]);
        assert_eq!(missing, [65_534, 1]);
        came.sort_by_key(|(_, time)| *time);
        let expected: Vec<_> = order
            .iter()
            .enumerate()
            .map(|(i, s)| (*s, 1_000_000 + 3000 * i as i64))
            .collect();
        assert_eq!(came, expected);
    }

    #[test]
    fn each_feedback_goes_on_where_the_last_one_ended() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        twcc.packet(t, 10);
        assert_eq!(twcc.due(t + 50 * MS, 1, 2), []);
        assert_eq!(twcc.next(), Some(t + 100 * MS));
        twcc.due(t + 100 * MS, 1, 2);
        assert_eq!(twcc.next(), None);
        twcc.packet(t + 120 * MS, 13);
        let messages = twcc.due(t + 220 * MS, 1, 2);
        assert_eq!(
            (messages[0].base_sequence_number, messages[0].fb_pkt_count),
            (11, 1)
        );
        assert_eq!(received(&messages[0]), (vec![(13, 120_000)], vec![11, 12]));
    }

    #[test]
    fn a_packet_later_than_its_feedback_is_reported_with_its_neighbours() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        for sequence in [1, 2, 4] {
            twcc.packet(t, sequence);
        }
        twcc.due(t + 100 * MS, 1, 2);
        twcc.packet(t + 110 * MS, 3);
        let messages = twcc.due(t + 210 * MS, 1, 2);
        assert_eq!(received(&messages[0]), (vec![(3, 110_000), (4, 0)], vec![]));
    }

    #[test]
    fn nothing_is_said_of_what_came_before_the_first_packet() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        twcc.packet(t, 1000);
        twcc.packet(t, 990);
        let messages = twcc.due(t + 100 * MS, 1, 2);
        assert_eq!(received(&messages[0]), (vec![(1000, 0)], vec![]));
    }

    #[test]
    fn long_pauses_and_jumps_start_a_new_message() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        twcc.packet(t, 1);
        twcc.packet(t + 20_000 * MS, 2);
        twcc.packet(t + 20_001 * MS, 20_000);
        let messages = twcc.due(t + 20_100 * MS, 1, 2);
        let all: Vec<_> = messages.iter().map(received).collect();
        assert_eq!(
            all,
            [
                (vec![(1, 0)], vec![]),
                (vec![(2, 20_000_000)], vec![]),
                (vec![(20_000, 20_001_000)], vec![])
            ]
        );
        assert_eq!(
            messages.iter().map(|m| m.fb_pkt_count).collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }

    #[test]
    fn every_packet_of_a_burst_with_random_loss_is_told_right() {
        let t = Instant::now();
        let mut twcc = Twcc::new(t);
        let mut state = 7u32;
        let (mut expected, mut time) = (Vec::new(), 0);
        for sequence in 60_000..70_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            time += u64::from(state >> 28) * 250;
            if (state >> 24).is_multiple_of(5) && sequence != 60_000 && sequence != 69_999 {
                continue;
            }
            if expected.len() < MAX_ARRIVALS {
                expected.push((sequence as u16, time as i64));
            }
            twcc.packet(t + Duration::from_micros(time), sequence as u16);
        }
        let messages = twcc.due(t + Duration::from_secs(3600), 1, 2);
        let told: Vec<_> = messages
            .iter()
            .flat_map(|message| received(message).0)
            .collect();
        assert_eq!(told, expected);
    }
}
