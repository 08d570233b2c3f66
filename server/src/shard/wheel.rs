//! One timer wheel a shard: a connection has one place in it, and no timer of its own. Coarse on purpose: a slot is a
//! second, so deadlines are met up to a second late.

use std::collections::VecDeque;

/// See the file's head.
#[derive(Debug)]
pub struct Wheel {
    /// `slots[0]` is the second that begins at `at_ms`.
    slots: VecDeque<Vec<(u32, u32)>>,
    at_ms: u64,
}

const SLOT_MS: u64 = 1_000;
/// A deadline further off is looked at early and set again: two minutes cover three heartbeats of 25 s.
const SLOTS: usize = 128;

impl Wheel {
    /// A wheel that begins now.
    pub fn new(now_ms: u64) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), at_ms: now_ms }
    }

    /// Has (index, generation) looked at once `deadline_ms` has passed.
    pub fn set(&mut self, index: u32, generation: u32, deadline_ms: u64) {
        let slot = (deadline_ms.saturating_sub(self.at_ms) / SLOT_MS) as usize;
        self.slots[slot.min(SLOTS - 1)].push((index, generation));
    }

    /// What is due, as (index, generation). The caller checks each: it may be gone, or its deadline may have moved.
    pub fn advance(&mut self, now_ms: u64) -> Vec<(u32, u32)> {
        let mut due = Vec::new();
        let mut turns = 0;
        while self.at_ms + SLOT_MS <= now_ms && turns < SLOTS {
            let mut slot = self.slots.pop_front().unwrap_or_default();
            due.append(&mut slot);
            self.slots.push_back(slot);
            self.at_ms += SLOT_MS;
            turns += 1;
        }
        // After a pause longer than the wheel everything was looked at.
        if self.at_ms + SLOT_MS <= now_ms {
            self.at_ms = now_ms;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_within_a_second_after_it_and_never_before() {
        let mut wheel = Wheel::new(500);
        wheel.set(7, 1, 3_200);
        for now in (500..=3_200).step_by(100) {
            assert!(wheel.advance(now).is_empty(), "at {now}");
        }
        assert_eq!(wheel.advance(4_200), [(7, 1)]);
    }

    #[test]
    fn a_pause_longer_than_the_wheel_brings_everything_at_once() {
        let mut wheel = Wheel::new(0);
        wheel.set(1, 1, 5_000);
        wheel.set(2, 1, 10_000_000);
        assert_eq!(wheel.advance(100_000_000).len(), 2);
        wheel.set(3, 1, 100_001_000);
        assert_eq!(wheel.advance(100_003_000), [(3, 1)]);
    }
}
