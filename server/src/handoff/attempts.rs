//! Failed attempts, counted for each key (an address, a session): so many a minute, then none are heard any more, right
//! ones neither, until there is room again. Never reads a clock.

use std::{collections::HashMap, hash::Hash};

/// See the file's head. A bucket for each key that leaks evenly: `most` failures at once, and after them one for each
/// `minute / most` that passes.
#[derive(Debug)]
pub struct Attempts<K> {
    /// How full each bucket is, and when it was that.
    buckets: HashMap<K, (f64, u64)>,
    most: f64,
    max: usize,
}

const MINUTE_MS: f64 = 60_000.0;

impl<K: Hash + Eq> Attempts<K> {
    /// `most` failures a minute for each key, of at most `max` keys at a time.
    pub fn new(most: u32, max: usize) -> Self {
        Self { buckets: HashMap::new(), most: f64::from(most), max }
    }

    /// Whether an attempt is heard.
    ///
    /// # Errors
    /// Milliseconds until one is.
    pub fn check(&self, key: &K, now_ms: u64) -> Result<(), u64> {
        let level = self.buckets.get(key).map_or(0.0, |bucket| self.level(*bucket, now_ms));
        let over = level - (self.most - 1.0);
        if over <= 0.0 { Ok(()) } else { Err((over * MINUTE_MS / self.most).ceil() as u64) }
    }

    /// One failed.
    pub fn failed(&mut self, key: K, now_ms: u64) {
        if self.buckets.len() >= self.max && !self.buckets.contains_key(&key) {
            let most = self.most;
            self.buckets.retain(|_, bucket| leaked(*bucket, now_ms, most) > 0.0);
            if self.buckets.len() >= self.max {
                // So many addresses at once: the emptiest bucket is the least loss.
                let level = |bucket: &(f64, u64)| leaked(*bucket, now_ms, most);
                let mut levels: Vec<f64> = self.buckets.values().map(level).collect();
                let (_, middle, _) = levels.select_nth_unstable_by(self.max / 2, f64::total_cmp);
                let middle = *middle;
                self.buckets.retain(|_, bucket| leaked(*bucket, now_ms, most) > middle);
            }
        }
        let bucket = self.buckets.entry(key).or_insert((0.0, now_ms));
        *bucket = ((leaked(*bucket, now_ms, self.most) + 1.0).min(self.most), now_ms);
    }

    fn level(&self, bucket: (f64, u64), now_ms: u64) -> f64 {
        leaked(bucket, now_ms, self.most)
    }
}

fn leaked((level, at_ms): (f64, u64), now_ms: u64, most: f64) -> f64 {
    (level - now_ms.saturating_sub(at_ms) as f64 * most / MINUTE_MS).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_a_minute_are_heard_and_the_eleventh_attempt_waits_six_seconds() {
        let mut attempts = Attempts::new(10, 100);
        for _ in 0..10 {
            assert_eq!(attempts.check(&1, 0), Ok(()));
            attempts.failed(1, 0);
        }
        assert_eq!(attempts.check(&1, 0), Err(6_000));
        assert_eq!(attempts.check(&2, 0), Ok(()), "another key is another's");
        assert_eq!(attempts.check(&1, 5_999), Err(1));
        assert_eq!(attempts.check(&1, 6_000), Ok(()));
        attempts.failed(1, 6_000);
        assert_eq!(attempts.check(&1, 6_000), Err(6_000));
        assert_eq!(attempts.check(&1, 66_000), Ok(()));
    }

    #[test]
    fn failures_that_were_under_way_together_do_not_add_up_beyond_a_minute() {
        let mut attempts = Attempts::new(10, 100);
        for _ in 0..1_000 {
            attempts.failed(1, 0);
        }
        assert_eq!(attempts.check(&1, 0), Err(6_000));
    }

    #[test]
    fn the_keys_are_bounded_and_those_that_fail_most_are_kept() {
        let mut attempts = Attempts::new(10, 64);
        for _ in 0..10 {
            attempts.failed(u64::MAX, 0);
        }
        for key in 0..10_000 {
            attempts.failed(key, 0);
            assert!(attempts.buckets.len() <= 64);
        }
        assert!(attempts.check(&u64::MAX, 0).is_err());
    }
}
