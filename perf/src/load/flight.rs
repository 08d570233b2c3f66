//! Events that were published and have not reached everybody: checks each delivery, times it, and knows when an event
//! is done. Sans-IO.

use std::{collections::VecDeque, time::Instant};

/// A delivery that should not be, or came where another should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Events are missing.
    #[error("gap: connection {connection} got event {got} and lacks {lacks}")]
    Gap {
        /// Who got it.
        connection: usize,
        /// The event that should have come.
        lacks: u64,
        /// The event that came.
        got: u64,
    },
    /// An event came again.
    #[error("duplicate: connection {connection} got event {got} and was at {at}")]
    Duplicate {
        /// Who got it.
        connection: usize,
        /// The last event that it had.
        at: u64,
        /// The event that came.
        got: u64,
    },
    /// An event whose publisher did not publish that, or not then.
    #[error("foreign: event {seq} says it is publish {counter} of connection {publisher}, which waits for {waits:?}")]
    Foreign {
        /// The event.
        seq: u64,
        /// Its publisher, as it says.
        publisher: usize,
        /// Its count of publishes, as it says.
        counter: u64,
        /// The oldest publish of that connection that has no place yet.
        waits: Option<u64>,
    },
    /// A snapshot where events were promised.
    #[error("reset: connection {connection} got a snapshot at {seq} in place of events")]
    Reset {
        /// Who got it.
        connection: usize,
        /// Where it stands.
        seq: u64,
    },
}

/// An event with its place in the topic.
#[derive(Debug)]
struct Event {
    publisher: usize,
    counter: u64,
    due: Instant,
    missing: usize,
}

/// One delivery that was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landed {
    /// When the event should have been published.
    pub due: Instant,
    /// The publisher, when everybody has the event now.
    pub done: Option<usize>,
}

/// All events that are on their way.
#[derive(Debug)]
pub struct Flight {
    receivers: usize,
    /// The place of `events`' front.
    first: u64,
    events: VecDeque<Event>,
    /// A publisher's publishes that nobody has received yet: count and when due.
    unplaced: Vec<VecDeque<(u64, Instant)>>,
    /// Events, placed or not, that are not done.
    open: usize,
}

impl Flight {
    /// `receivers` connections get every event after `at`; the first `publishers` of them publish.
    pub fn new(receivers: usize, publishers: usize, at: u64) -> Self {
        Self {
            receivers,
            first: at + 1,
            events: VecDeque::new(),
            unplaced: (0..publishers).map(|_| VecDeque::new()).collect(),
            open: 0,
        }
    }

    /// Events that are not with everybody.
    pub const fn open(&self) -> usize {
        self.open
    }

    /// The last event that somebody has.
    pub fn newest(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    /// A publish is on its way; it was due at `due`, whenever it is really sent.
    pub fn published(&mut self, publisher: usize, counter: u64, due: Instant) {
        self.unplaced[publisher].push_back((counter, due));
        self.open += 1;
    }

    /// `connection`, which stood at `at`, got event `seq`.
    ///
    /// # Errors
    /// [`Violation`] when it is not the next one, or not what was published.
    pub fn landed(
        &mut self,
        connection: usize,
        at: u64,
        seq: u64,
        publisher: usize,
        counter: u64,
    ) -> Result<Landed, Violation> {
        if seq <= at {
            return Err(Violation::Duplicate { connection, at, got: seq });
        }
        if seq != at + 1 {
            return Err(Violation::Gap { connection, lacks: at + 1, got: seq });
        }
        // Every receiver stands at or after `first - 1`, so `seq` is at most one beyond what is known.
        let index = (seq - self.first) as usize;
        if index == self.events.len() {
            let unplaced = self.unplaced.get_mut(publisher);
            let waits = unplaced.as_ref().and_then(|unplaced| unplaced.front().map(|(counter, _)| *counter));
            match unplaced.and_then(|unplaced| unplaced.pop_front_if(|(waits, _)| *waits == counter)) {
                Some((_, due)) => {
                    self.events.push_back(Event { publisher, counter, due, missing: self.receivers });
                }
                None => return Err(Violation::Foreign { seq, publisher, counter, waits }),
            }
        }
        let event = &mut self.events[index];
        if (event.publisher, event.counter) != (publisher, counter) {
            return Err(Violation::Foreign { seq, publisher, counter, waits: Some(event.counter) });
        }
        event.missing -= 1;
        let (due, done) = (event.due, (event.missing == 0).then_some(publisher));
        if done.is_some() {
            self.open -= 1;
            while self.events.pop_front_if(|event| event.missing == 0).is_some() {
                self.first += 1;
            }
        }
        Ok(Landed { due, done })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Flight, Violation};

    fn flight() -> Flight {
        let mut flight = Flight::new(2, 2, 10);
        flight.published(0, 1, Instant::now());
        flight.published(1, 1, Instant::now());
        flight
    }

    #[test]
    fn an_event_is_done_when_everybody_has_it() {
        let mut flight = flight();
        assert_eq!(flight.landed(0, 10, 11, 1, 1).expect("right").done, None);
        assert_eq!(flight.landed(0, 11, 12, 0, 1).expect("right").done, None);
        assert_eq!(flight.landed(1, 10, 11, 1, 1).expect("right").done, Some(1));
        assert_eq!((flight.open(), flight.newest()), (1, 12));
        assert_eq!(flight.landed(1, 11, 12, 0, 1).expect("right").done, Some(0));
        assert_eq!((flight.open(), flight.newest()), (0, 12));
    }

    #[test]
    fn gaps_and_duplicates_are_told() {
        let mut flight = flight();
        assert_eq!(flight.landed(0, 10, 12, 0, 1), Err(Violation::Gap { connection: 0, lacks: 11, got: 12 }));
        flight.landed(0, 10, 11, 0, 1).expect("right");
        assert_eq!(flight.landed(0, 11, 11, 0, 1), Err(Violation::Duplicate { connection: 0, at: 11, got: 11 }));
    }

    #[test]
    fn an_event_that_differs_between_receivers_is_told() {
        let mut flight = flight();
        flight.landed(0, 10, 11, 0, 1).expect("right");
        flight.landed(1, 10, 11, 1, 1).expect_err("not what connection 0 got");
    }

    #[test]
    fn an_event_that_nobody_published_is_told() {
        let mut flight = flight();
        flight.landed(0, 10, 11, 0, 2).expect_err("publish 1 comes first");
        flight.landed(0, 10, 11, 7, 1).expect_err("there is no connection 7");
    }
}
