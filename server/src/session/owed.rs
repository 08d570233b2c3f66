//! Ops of one incarnation that were told to come again later. They come in order, the lowest first, before any higher
//! one: else a later op would raise the high water over an earlier one, which then were lost. Never holds an op that was
//! answered for good, or its client would be locked out.

use super::defaults::OWED_RUNS;

/// A set of counters, as runs (first, last), ascending.
#[derive(Debug, Default)]
pub struct Owed {
    runs: Vec<(u64, u64)>,
}

impl Owed {
    /// The lowest.
    pub fn first(&self) -> Option<u64> {
        self.runs.first().map(|(first, _)| *first)
    }

    /// One more. Ops come in their order, so almost always the last run grows. A client that makes more than
    /// [`OWED_RUNS`] of them is not followed: it only loses its own ops.
    pub fn add(&mut self, counter: u64) {
        let at = self.runs.partition_point(|(_, last)| *last < counter);
        if self.runs.get(at).is_some_and(|(first, _)| *first <= counter) {
            return;
        }
        if let Some((_, last)) = at.checked_sub(1).and_then(|before| self.runs.get_mut(before))
            && last.checked_add(1) == Some(counter)
        {
            *last = counter;
        } else if let Some((first, _)) = self.runs.get_mut(at)
            && counter.checked_add(1) == Some(*first)
        {
            *first = counter;
        } else if self.runs.len() < OWED_RUNS {
            self.runs.insert(at, (counter, counter));
        }
    }

    /// It came: the lowest goes. Another one is not among these, for it would have had to wait.
    pub fn come(&mut self, counter: u64) {
        match self.runs.first_mut() {
            Some((first, last)) if *first == counter && counter < *last => *first += 1,
            Some((first, _)) if *first == counter => drop(self.runs.remove(0)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_come_one_by_one_in_ascending_order_however_they_were_added() {
        let counters = [5, 6, 9, 7, 20, 8, 19, 4, 6, 4];
        let mut owed = Owed::default();
        for counter in counters {
            owed.add(counter);
        }
        assert_eq!(owed.runs, [(4, 8), (9, 9), (19, 20)]);
        let mut came = Vec::new();
        while let Some(first) = owed.first() {
            owed.come(first);
            came.push(first);
        }
        assert_eq!(came, [4, 5, 6, 7, 8, 9, 19, 20]);
    }

    #[test]
    fn what_was_never_added_is_not_waited_for() {
        let mut owed = Owed::default();
        owed.add(12);
        owed.add(15);
        owed.come(12);
        assert_eq!(owed.first(), Some(15));
        owed.come(13);
        assert_eq!(owed.first(), Some(15));
    }

    #[test]
    fn the_runs_are_bounded_and_the_highest_counter_is_no_trouble() {
        let mut owed = Owed::default();
        for counter in 1..1_000 {
            owed.add(counter * 2);
        }
        assert_eq!(owed.runs.len(), OWED_RUNS);
        let mut owed = Owed::default();
        owed.add(u64::MAX);
        owed.add(u64::MAX);
        owed.add(u64::MAX - 1);
        owed.come(u64::MAX - 1);
        owed.come(u64::MAX);
        assert_eq!(owed.first(), None);
    }
}
