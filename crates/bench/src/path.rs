//! The path between a client and the server: delay and loss in both directions, like a relay
//! between them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rekindle_client::network::{self, Network};
use rekindle_client::random::Random;

use super::media::Life;

/// The properties of the path.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Conditions {
    /// Round trip, half of it in each direction.
    #[serde(rename = "rtt_ms", serialize_with = "super::stats::as_ms")]
    pub rtt: Duration,
    /// Datagrams lost in each direction, in percent.
    #[serde(rename = "loss_percent")]
    pub loss: f64,
}

impl Conditions {
    /// The delay in one direction.
    pub(crate) fn one_way(&self) -> Duration {
        self.rtt / 2
    }

    /// Whether nothing is delayed or lost.
    fn is_clear(&self) -> bool {
        self.rtt.is_zero() && self.loss == 0.0
    }
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// The client's number.
    pub seat: usize,
    /// Whether it goes from the client to the server.
    pub up: bool,
    /// Which life of the server it came from.
    pub life: Life,
    pub data: Bytes,
}

/// See the module.
pub(crate) struct Path {
    conditions: Conditions,
    network: Network<Parcel>,
}

impl Path {
    pub(super) fn new(conditions: Conditions, random: Random) -> Self {
        Self {
            conditions,
            network: Network::new(random),
        }
    }

    /// Takes a datagram; returns it where the path has no delay and no loss.
    pub(super) fn send(&mut self, now: Instant, parcel: Parcel) -> Option<Parcel> {
        if self.conditions.is_clear() {
            return Some(parcel);
        }
        let way = network::Conditions {
            loss: self.conditions.loss / 100.0,
            ..network::Conditions::delayed(self.conditions.one_way())
        };
        self.network.send(now, &way, parcel);
        None
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.network.next()
    }

    /// The next datagram that has arrived.
    pub(super) fn arrive(&mut self, now: Instant) -> Option<Parcel> {
        self.network.arrive(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(n: u8) -> Parcel {
        Parcel {
            seat: 0,
            up: true,
            life: 0,
            data: Bytes::copy_from_slice(&[n]),
        }
    }

    fn path(rtt_ms: u64, loss: f64) -> Path {
        let rtt = Duration::from_millis(rtt_ms);
        Path::new(Conditions { rtt, loss }, Random::new(1))
    }

    #[test]
    fn datagrams_arrive_half_a_round_trip_later_in_order() {
        let t = Instant::now();
        let mut path = path(50, 0.0);
        for n in 0..3 {
            assert!(path.send(t, parcel(n)).is_none());
        }
        let arrival = t + Duration::from_millis(25);
        assert_eq!(path.next(), Some(arrival));
        assert!(path.arrive(arrival - Duration::from_micros(1)).is_none());
        let order: Vec<u8> = std::iter::from_fn(|| path.arrive(arrival))
            .map(|p| p.data[0])
            .collect();
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn a_clear_way_keeps_nothing() {
        assert_eq!(
            path(0, 0.0).send(Instant::now(), parcel(7)),
            Some(parcel(7))
        );
    }

    #[test]
    fn the_share_that_is_lost_is_the_one_asked_for() {
        let mut path = path(0, 1.0);
        let t = Instant::now();
        for n in 0..100_000u32 {
            path.send(t, parcel(n as u8));
        }
        assert!(
            (900..1100).contains(&path.network.lost),
            "{} of 100,000",
            path.network.lost
        );
    }
}
