//! What a receiver report says about one stream (RFC 3550 §6.4.1, §A.3, §A.8).

use std::time::Instant;

use rtc_rtcp::reception_report::ReceptionReport;

use super::history::Index;

/// Reception statistics of one stream. Packets that arrived as RTX do not count as received.
#[derive(Debug)]
pub(super) struct Reception {
    ssrc: u32,
    clock_rate: u32,
    base: Option<Index>,
    highest: Index,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Arrival time of the latest packet, and its time stamp.
    last: Option<(Instant, u32)>,
    /// Interarrival jitter in time stamp units, times 16.
    jitter: u64,
    /// Middle 32 bits of the last sender report's NTP time, and its arrival time.
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    pub(super) fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            base: None,
            highest: 0,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            last: None,
            jitter: 0,
            sender_report: None,
        }
    }

    /// Counts a packet that arrived on the stream itself.
    pub(super) fn packet(&mut self, now: Instant, index: Index, timestamp: u32) {
        let base = *self.base.get_or_insert(index);
        if index < base {
            return;
        }
        self.received += 1;
        if index <= self.highest {
            return;
        }
        self.highest = index;
        if let Some((then, before)) = self.last {
            let elapsed = now.saturating_duration_since(then).as_micros();
            let units = i64::try_from(elapsed * u128::from(self.clock_rate) / 1_000_000)
                .unwrap_or(i64::MAX);
            let sent = i64::from(timestamp.wrapping_sub(before) as i32);
            // A jump of the time stamp is not jitter.
            let d = units.abs_diff(sent).min(u64::from(self.clock_rate));
            self.jitter = (self.jitter + d).saturating_sub((self.jitter + 8) >> 4);
        }
        self.last = Some((now, timestamp));
    }

    /// A sender report came.
    pub(super) fn sender_report(&mut self, now: Instant, ntp_time: u64) {
        self.sender_report = Some(((ntp_time >> 16) as u32, now));
    }

    /// The report block, if a packet arrived since the report before the last; starts the next
    /// interval.
    pub(super) fn report(&mut self, now: Instant) -> Option<ReceptionReport> {
        let expected = self.highest - self.base? + 1;
        let lost = expected as i64 - self.received as i64;
        let expected_interval = expected - self.expected_prior;
        let received_interval = self.received - self.received_prior;
        (self.expected_prior, self.received_prior) = (expected, self.received);
        let fraction = match expected_interval.checked_sub(received_interval) {
            Some(lost) if expected_interval > 0 => ((lost << 8) / expected_interval).min(255) as u8,
            _ => 0,
        };
        let (last_sender_report, delay) = self.sender_report.map_or((0, 0), |(ntp, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            (ntp, u32::try_from(delay).unwrap_or(u32::MAX))
        });
        Some(ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: fraction,
            // 24 bits, signed (RFC 3550 §6.4.1).
            total_lost: (lost.clamp(-0x80_0000, 0x7F_FFFF) as u32) & 0xFF_FFFF,
            // The first cycle is not numbered 1 on the wire as it is in an `Index`.
            last_sequence_number: (self.highest - 0x1_0000.min(self.highest)) as u32,
            jitter: (self.jitter >> 4) as u32,
            last_sender_report,
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const START: Index = 0x1_0000 + 65_530;

    #[test]
    fn fraction_and_total_are_those_of_rfc_3550_a_3() {
        let t = Instant::now();
        let mut r = Reception::new(5, 90_000);
        assert!(r.report(t).is_none());
        for i in (0..100).filter(|i| i % 4 != 1) {
            r.packet(t, START + i, 0);
        }
        let report = r.report(t).unwrap();
        assert_eq!((report.fraction_lost, report.total_lost), (64, 25));
        assert_eq!(
            report.last_sequence_number,
            65_530 + 99,
            "extended by one cycle"
        );
        for i in 100..200 {
            r.packet(t, START + i, 0);
        }
        let report = r.report(t).unwrap();
        assert_eq!((report.fraction_lost, report.total_lost), (0, 25));
    }

    #[test]
    fn duplicates_make_the_total_negative_in_24_bits() {
        let t = Instant::now();
        let mut r = Reception::new(5, 90_000);
        for _ in 0..3 {
            r.packet(t, START, 0);
        }
        let report = r.report(t).unwrap();
        assert_eq!((report.fraction_lost, report.total_lost), (0, 0xFF_FFFE));
    }

    #[test]
    fn the_delay_since_the_last_sender_report_is_in_65536ths_of_a_second() {
        // RFC 3550 §6.4.1, figure 2: SR at 46864.500 s, report 5.250 s later.
        let t = Instant::now();
        let mut r = Reception::new(5, 90_000);
        r.packet(t, START, 0);
        r.sender_report(t, 0xB44D_B705_2000_0000);
        let report = r.report(t + Duration::from_millis(5250)).unwrap();
        assert_eq!(
            (report.last_sender_report, report.delay),
            (0xB705_2000, 0x0005_4000)
        );
    }

    #[test]
    fn jitter_follows_rfc_3550_a_8() {
        let t = Instant::now();
        let mut r = Reception::new(5, 90_000);
        // Sent every 10 ms; every second packet arrives 2 ms late: |D| = 180 units each time.
        for i in 0..200u64 {
            let late = if i % 2 == 1 { 2 } else { 0 };
            r.packet(
                t + Duration::from_millis(10 * i + late),
                START + i,
                900 * i as u32,
            );
        }
        let jitter = r.report(t).unwrap().jitter;
        assert!((170..=180).contains(&jitter), "{jitter}");
    }
}
