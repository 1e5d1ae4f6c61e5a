//! Limits for each address: how often it may start a session or show a token that is refused (a token
//! bucket), and how many sessions and connections it may hold.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::net::network;

/// A full bucket holds this many seconds' worth.
const BURST_SECONDS: u32 = 10;
/// Most addresses with a bucket; full buckets are removed to make room.
const MAX_BUCKETS: usize = 16_384;

/// Token buckets by client address.
pub(super) struct Limiter {
    /// Tokens per second; 0 for no limit.
    rate: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Limiter {
    /// A limiter that gives each address `rate` tokens per second.
    pub(super) fn new(rate: u32) -> Self {
        let burst = f64::from(rate.saturating_mul(BURST_SECONDS));
        Self {
            rate: f64::from(rate),
            burst,
            buckets: Mutex::default(),
        }
    }

    /// Takes one token of an address, or returns how long until there is one.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = network(address);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
            if buckets.len() >= MAX_BUCKETS {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            tokens: self.burst,
            at: now,
        });
        bucket.tokens = self.refilled(bucket, now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    /// Gives back a token that was taken for something that turned out to cost nothing.
    pub(super) fn give_back(&self, address: IpAddr) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.get_mut(&network(address)) {
            bucket.tokens = (bucket.tokens + 1.0).min(self.burst);
        }
    }

    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.rate).min(self.burst)
    }
}

/// How many places each address holds.
#[derive(Clone)]
pub(super) struct AddressQuota {
    /// Most of one address; 0 for no limit.
    most: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A place that an address holds, free again when dropped.
pub(super) struct QuotaPermit {
    places: AddressQuota,
    key: IpAddr,
}

impl AddressQuota {
    /// Allows each address this many places; 0 for no limit.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
        }
    }

    /// A place for an address, if it is below its limit.
    pub(super) fn take(&self, address: IpAddr) -> Option<QuotaPermit> {
        self.count(
            address,
            if self.most == 0 {
                usize::MAX
            } else {
                self.most
            },
        )
    }

    /// A place for a client that is here already, beyond the limit if need be.
    pub(super) fn keep(&self, address: IpAddr) -> Option<QuotaPermit> {
        self.count(address, usize::MAX)
    }

    fn count(&self, address: IpAddr, most: usize) -> Option<QuotaPermit> {
        let key = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        taken.insert(key, count + 1);
        Some(QuotaPermit {
            places: self.clone(),
            key,
        })
    }
}

impl Drop for QuotaPermit {
    fn drop(&mut self) {
        let mut taken = self
            .places
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_burst_is_let_through_and_then_a_steady_rate() {
        let limiter = Limiter::new(2);
        let start = Instant::now();
        for _ in 0..20 {
            assert!(limiter.take(A, start).is_ok());
        }
        let wait = limiter.take(A, start).expect_err("the burst is used up");
        assert_eq!(wait, Duration::from_millis(500));
        assert!(
            limiter.take(B, start).is_ok(),
            "another address has its own bucket"
        );
        assert!(limiter.take(A, start + Duration::from_millis(500)).is_ok());
        assert!(limiter.take(A, start + Duration::from_millis(500)).is_err());
        limiter.give_back(A);
        limiter.give_back(B);
        assert!(limiter.take(A, start + Duration::from_millis(500)).is_ok());
        assert!(limiter.take(A, start + Duration::from_millis(500)).is_err());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let limiter = Limiter::new(1);
        let now = Instant::now();
        for i in 0..10 {
            let address = format!("2001:db8::{i}").parse().expect("address");
            assert!(limiter.take(address, now).is_ok());
        }
        assert!(
            limiter
                .take("2001:db8::ffff".parse().expect("address"), now)
                .is_err()
        );
        assert!(
            limiter
                .take("2001:db8:0:1::1".parse().expect("address"), now)
                .is_ok()
        );
    }

    #[test]
    fn an_ipv4_address_is_the_same_in_its_ipv6_form() {
        assert_eq!(network("::ffff:192.0.2.1".parse().expect("address")), A);
    }

    #[test]
    fn memory_stays_bounded_and_full_buckets_make_room() {
        let limiter = Limiter::new(1);
        let now = Instant::now();
        for i in 0..MAX_BUCKETS as u32 {
            assert!(limiter.take(IpAddr::V4(i.into()), now).is_ok());
        }
        assert!(limiter.take(IpAddr::V4(u32::MAX.into()), now).is_err());
        assert!(
            limiter
                .take(IpAddr::V4(u32::MAX.into()), now + Duration::from_secs(1))
                .is_ok()
        );
        assert_eq!(limiter.buckets.lock().expect("lock").len(), 1);
    }

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let places = AddressQuota::new(2);
        let first = places.take(A).expect("free");
        let _second = places.take(A).expect("free");
        assert!(places.take(A).is_none());
        let _kept = places.keep(A).expect("whoever is here stays");
        assert!(places.take(B).is_some(), "another address has its own");
        drop(first);
        assert!(places.take(A).is_none(), "there are two still");
        drop(_kept);
        assert!(places.take(A).is_some());
        drop(_second);
        assert!(
            places.taken.lock().expect("lock").is_empty(),
            "no memory is kept"
        );
    }

    #[test]
    fn no_limit_of_places_either() {
        let places = AddressQuota::new(0);
        let all: Vec<_> = (0..1000).map(|_| places.take(A)).collect();
        assert!(all.iter().all(Option::is_some));
    }

    #[test]
    fn zero_means_no_limit() {
        let limiter = Limiter::new(0);
        assert!((0..1000).all(|_| limiter.take(A, Instant::now()).is_ok()));
    }
}
