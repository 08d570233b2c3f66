//! How often something may go wrong: so many times in a period, by whatever it is counted by. A bucket that fills evenly
//! (the generic cell rate algorithm): a key's whole state is the moment at which its bucket is full again.
//!
//! What is counted is taken before it is tried and given back when it went well, so that many tries at once are not more
//! than the limit allows.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use parking_lot::Mutex;

use crate::{defaults, session::Now};

/// See the file's head.
#[derive(Debug)]
pub struct Limiter {
    period_ms: u64,
    /// Milliseconds in which one of a bucket grows again; 0: nothing is limited.
    each_ms: u64,
    hasher: RandomState,
    /// By the key's hash under this process's own secret: when the bucket is full again, on the clock that never goes
    /// back.
    full_at: Mutex<HashMap<u64, u64>>,
}

/// One that was taken out of a bucket.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Taken(Option<u64>);

impl Limiter {
    /// `count` in each `period`, all of them at once if need be; 0: as many as one likes.
    pub fn new(count: u64, period: Duration) -> Self {
        let period_ms = defaults::ms(period);
        let each_ms = period_ms.checked_div(count).map_or(0, |each| each.max(1));
        Self { period_ms, each_ms, hasher: RandomState::new(), full_at: Mutex::default() }
    }

    /// Takes one.
    ///
    /// # Errors
    /// The milliseconds until there is one again.
    pub fn take(&self, key: impl Hash, now: Now) -> Result<Taken, u64> {
        if self.each_ms == 0 {
            return Ok(Taken(None));
        }
        let key = self.hasher.hash_one(key);
        let mut buckets = self.full_at.lock();
        let full_at = buckets.get(&key).copied().unwrap_or(0).max(now.mono_ms) + self.each_ms;
        let end = now.mono_ms + self.period_ms;
        if full_at > end {
            return Err(full_at - end);
        }
        if buckets.len() >= defaults::LIMITED_KEYS && !buckets.contains_key(&key) {
            make_room(&mut buckets, now.mono_ms);
        }
        buckets.insert(key, full_at);
        Ok(Taken(Some(key)))
    }

    /// It went well: it does not count.
    pub fn give_back(&self, taken: Taken) {
        if let Some(key) = taken.0
            && let Some(full_at) = self.full_at.lock().get_mut(&key)
        {
            *full_at = full_at.saturating_sub(self.each_ms);
        }
    }
}

/// Forgets the buckets that are full, and then as many of those that are nearest to it as makes half of all.
fn make_room(buckets: &mut HashMap<u64, u64>, now_ms: u64) {
    buckets.retain(|_, full_at| *full_at > now_ms);
    let half = defaults::LIMITED_KEYS / 2;
    if buckets.len() > half {
        let mut all: Vec<u64> = buckets.values().copied().collect();
        let (_, middle, _) = all.select_nth_unstable(buckets.len() - half);
        let middle = *middle;
        buckets.retain(|_, full_at| *full_at > middle);
    }
}

/// What is counted as one address: of IPv6 the network, since whoever has one has 2^64 addresses.
pub fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(ms: u64) -> Now {
        Now { mono_ms: 1_000_000 + ms, wall_ms: 0 }
    }

    #[test]
    fn as_many_as_allowed_at_once_then_one_as_each_grows_again() {
        let limiter = Limiter::new(10, MINUTE);
        for _ in 0..10 {
            assert!(limiter.take("ann", at(0)).is_ok());
        }
        assert_eq!(limiter.take("ann", at(0)).unwrap_err(), 6_000);
        assert_eq!(limiter.take("ann", at(5_999)).unwrap_err(), 1);
        assert!(limiter.take("bob", at(0)).is_ok(), "another has a bucket of his own");
        assert!(limiter.take("ann", at(6_000)).is_ok());
        assert!(limiter.take("ann", at(6_000)).is_err());
    }

    #[test]
    fn what_is_given_back_does_not_count() {
        let limiter = Limiter::new(2, MINUTE);
        for _ in 0..100 {
            let taken = limiter.take("ann", at(0)).unwrap();
            limiter.give_back(taken);
        }
        assert!(limiter.take("ann", at(0)).is_ok() && limiter.take("ann", at(0)).is_ok());
        assert!(limiter.take("ann", at(0)).is_err());
    }

    #[test]
    fn without_a_count_nothing_is_limited() {
        let limiter = Limiter::new(0, MINUTE);
        assert!((0..1_000).all(|_| limiter.take("ann", at(0)).is_ok()));
    }

    #[test]
    fn its_memory_is_bounded_and_it_forgets_those_that_did_least() {
        let limiter = Limiter::new(2, MINUTE);
        let _ = (limiter.take("worst", at(0)), limiter.take("worst", at(0)));
        for key in 0..2 * defaults::LIMITED_KEYS {
            let _ = limiter.take(key, at(0));
            assert!(limiter.full_at.lock().len() <= defaults::LIMITED_KEYS);
        }
        assert!(limiter.take("worst", at(0)).is_err());
    }

    #[test]
    fn a_network_of_version_six_is_one_address() {
        let of = |text: &str| counted(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
