//! How long to wait before trying again: decorrelated jitter, so that clients that lost one server together do not come
//! back together. Never reads a clock; the caller passes its random numbers.

/// Pauses between `base` and `cap`, each at most three times the one before.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    base: u64,
    cap: u64,
    last: u64,
}

impl Backoff {
    pub(super) fn new(base: u64, cap: u64) -> Self {
        let base = base.max(1);
        Self { base, cap: cap.max(base), last: base }
    }

    /// The next pause in milliseconds.
    pub(super) fn next(&mut self, rng: &mut fastrand::Rng) -> u64 {
        let top = self.last.saturating_mul(3).clamp(self.base, self.cap);
        self.last = rng.u64(self.base..=top);
        self.last
    }

    /// The last connection was a good one.
    pub(super) const fn reset(&mut self) {
        self.last = self.base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_within_their_bounds_grow_and_start_over_after_a_reset() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(100, 30_000);
        let pauses: Vec<u64> = (0..200).map(|_| backoff.next(&mut rng)).collect();
        assert!(pauses.iter().all(|pause| (100..=30_000).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause > 10_000), "pauses grow: {pauses:?}");
        backoff.reset();
        assert!(backoff.next(&mut rng) <= 300);
    }

    #[test]
    fn two_clients_that_lost_a_server_together_do_not_come_back_together() {
        let pause = |seed| Backoff::new(100, 30_000).next(&mut fastrand::Rng::with_seed(seed));
        let mut pauses: Vec<u64> = (0..32).map(pause).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 20, "only {} different pauses", pauses.len());
    }
}
