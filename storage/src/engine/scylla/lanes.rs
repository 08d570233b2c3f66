//! Who writes when. Each partition has a lane of commits that wait for it; a lane's commits are written in the order in
//! which they came, one batch at a time, and what waits meanwhile goes into the next batch together. A commit of several
//! partitions waits until it is the first in all their lanes and then has them all. Lanes are entered under one lock, so
//! no two such commits wait for one another. Never touches the database.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{COMMIT_BYTES, database::Place};
use crate::Commit;

/// Commits that one batch holds at most. 1,000 updates of 178 B are 180 KB; a larger batch only keeps the database busy
/// for longer at a time.
const BATCH_COMMITS: usize = 1_000;

/// Bytes above which nothing more is put into a batch.
const BATCH_BYTES: usize = 512 << 10;

/// A commit on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub commit: Commit,
    /// The partitions that it touches, sorted.
    pub places: Vec<Place>,
    pub bytes: usize,
}

impl Job {
    /// The database would refuse it, now and always.
    pub fn is_too_large(&self) -> bool {
        let too_large = self.bytes > COMMIT_BYTES;
        if too_large {
            tracing::error!(bytes = self.bytes, ticket = self.commit.ticket, "a commit is too large for the database");
        }
        too_large
    }
}

/// What can be written now.
#[derive(Debug)]
pub(super) enum Work {
    /// What waits for one partition; [`Lanes::batch`] when it is really written, so that as much as possible is in it.
    Batch(Place),
    /// A commit of several.
    Transaction(Arc<Job>),
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Arc<Job>>,
    busy: bool,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<Place, Lane>,
}

impl Lanes {
    /// Puts a commit into its lanes; what can be written now because of it.
    pub fn enter(&mut self, job: &Arc<Job>) -> Option<Work> {
        for place in &job.places {
            self.lanes.entry(place.clone()).or_default().waiting.push_back(job.clone());
        }
        self.next(job.places.first()?)
    }

    /// A write of these partitions ended; what can be written now.
    pub fn leave(&mut self, places: &[Place]) -> Vec<Work> {
        for place in places {
            if let Some(lane) = self.lanes.get_mut(place) {
                lane.busy = false;
                if lane.waiting.is_empty() {
                    self.lanes.remove(place);
                }
            }
        }
        places.iter().filter_map(|place| self.next(place)).collect()
    }

    fn next(&mut self, place: &Place) -> Option<Work> {
        let lane = self.lanes.get_mut(place).filter(|lane| !lane.busy)?;
        let first = lane.waiting.front()?.clone();
        if first.places.len() > 1 {
            let ready = first.places.iter().all(|place| {
                let lane = self.lanes.get(place);
                lane.is_some_and(|lane| !lane.busy && lane.waiting.front().is_some_and(|job| Arc::ptr_eq(job, &first)))
            });
            if !ready {
                return None;
            }
            for place in &first.places {
                if let Some(lane) = self.lanes.get_mut(place) {
                    lane.waiting.pop_front();
                    lane.busy = true;
                }
            }
            return Some(Work::Transaction(first));
        }
        lane.busy = true;
        Some(Work::Batch(place.clone()))
    }

    /// The next commits of a partition that can be written as one, in their order.
    pub fn batch(&mut self, place: &Place) -> Vec<Arc<Job>> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let Some(lane) = self.lanes.get_mut(place) else { return batch };
        while batch.len() < BATCH_COMMITS && bytes < BATCH_BYTES {
            let Some(job) = lane.waiting.front() else { break };
            if job.places.len() > 1 || (!batch.is_empty() && bytes + job.bytes > BATCH_BYTES) {
                break;
            }
            bytes += job.bytes;
            batch.extend(lane.waiting.pop_front());
        }
        batch
    }

    /// Lets go of everything that waits.
    pub fn clear(&mut self) {
        self.lanes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(ticket: u64, places: &[&str]) -> Arc<Job> {
        let places = places.iter().map(|id| Place::Session((*id).into())).collect();
        Arc::new(Job { commit: Commit { ticket, writes: Vec::new() }, places, bytes: 1 })
    }

    /// The tickets of what can be written now.
    fn tickets(lanes: &mut Lanes, work: Option<Work>) -> Vec<u64> {
        match work {
            None => Vec::new(),
            Some(Work::Batch(place)) => lanes.batch(&place).iter().map(|job| job.commit.ticket).collect(),
            Some(Work::Transaction(job)) => vec![job.commit.ticket],
        }
    }

    fn enter(lanes: &mut Lanes, ticket: u64, places: &[&str]) -> Vec<u64> {
        let work = lanes.enter(&job(ticket, places));
        tickets(lanes, work)
    }

    fn leave(lanes: &mut Lanes, places: &[&str]) -> Vec<Vec<u64>> {
        let places: Vec<_> = places.iter().map(|id| Place::Session((*id).into())).collect();
        let works = lanes.leave(&places);
        works.into_iter().map(|work| tickets(lanes, Some(work))).collect()
    }

    #[test]
    fn what_waits_for_a_busy_partition_is_one_batch_in_its_order() {
        let mut lanes = Lanes::default();
        assert_eq!(enter(&mut lanes, 1, &["a"]), [1]);
        assert_eq!(enter(&mut lanes, 2, &["a"]), [0; 0]);
        assert_eq!(enter(&mut lanes, 3, &["b"]), [3]);
        assert_eq!(enter(&mut lanes, 4, &["a"]), [0; 0]);
        assert_eq!(leave(&mut lanes, &["a"]), [[2, 4]]);
        assert_eq!(leave(&mut lanes, &["a"]), [[0; 0]; 0]);
    }

    #[test]
    fn what_comes_before_a_batch_is_written_is_in_it() {
        let mut lanes = Lanes::default();
        let work = lanes.enter(&job(1, &["a"]));
        assert_eq!(enter(&mut lanes, 2, &["a"]), [0; 0]);
        assert_eq!(tickets(&mut lanes, work), [1, 2]);
    }

    #[test]
    fn a_commit_of_two_partitions_waits_for_both_and_what_came_later_waits_for_it() {
        let mut lanes = Lanes::default();
        assert_eq!(enter(&mut lanes, 1, &["b"]), [1]);
        assert_eq!(enter(&mut lanes, 2, &["a", "b"]), [0; 0]);
        assert_eq!(enter(&mut lanes, 3, &["a"]), [0; 0]);
        assert_eq!(enter(&mut lanes, 4, &["b"]), [0; 0]);
        assert_eq!(leave(&mut lanes, &["b"]), [[2]]);
        assert_eq!(leave(&mut lanes, &["a", "b"]), [[3], [4]]);
    }
}
