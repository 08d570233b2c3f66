//! What waits for the disk: answers that are withheld until a commit is durable, and who wants to be told.
//! Never answers before the commit that it waits for.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{amend::Untold, effect::ConnId};

/// Commits that were handed to storage, and what waits for each.
#[derive(Debug)]
pub struct Acks {
    /// Commits under way: (number, version once it is durable, bytes), ascending.
    pending: VecDeque<(u64, u64, usize)>,
    pending_bytes: usize,
    waiting: BTreeMap<u64, Vec<Waiting>>,
    waiting_count: usize,
    last: u64,
    durable_commit: u64,
    durable_version: u64,
}

/// Somebody who waits for a commit.
#[derive(Debug)]
pub struct Waiting {
    /// The connection.
    pub conn: ConnId,
    /// The op, for telling that it failed.
    pub counter: u64,
    /// What it gets: a withheld answer, or the `Durable` of that moment.
    pub gets: Gets,
}

/// What somebody who waits gets.
#[derive(Debug)]
pub enum Gets {
    /// This frame.
    Frame(Bytes),
    /// A cumulative `Durable`.
    Durable,
    /// Nothing: everybody gets this notice.
    Notice(Box<Untold>),
    /// Nothing: everybody is told that the session is deleted.
    Deleted,
}

impl Acks {
    /// Nothing under way; everything up to `version` is durable.
    pub fn new(version: u64) -> Self {
        Self {
            pending: VecDeque::new(),
            pending_bytes: 0,
            waiting: BTreeMap::new(),
            waiting_count: 0,
            last: 0,
            durable_commit: 0,
            durable_version: version,
        }
    }

    /// Names the next commit; `version` is durable with it.
    pub fn submit(&mut self, version: u64, bytes: usize) -> u64 {
        self.last += 1;
        self.pending.push_back((self.last, version, bytes));
        self.pending_bytes += bytes;
        self.last
    }

    /// The newest durable version.
    pub fn version(&self) -> u64 {
        self.durable_version
    }

    /// The newest commit; 0 when there was none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether that commit is durable.
    pub fn is_durable(&self, commit: u64) -> bool {
        commit <= self.durable_commit
    }

    /// Commits under way, and their bytes.
    pub fn under_way(&self) -> (usize, usize) {
        (self.pending.len(), self.pending_bytes)
    }

    /// Those who wait.
    pub fn waiting(&self) -> usize {
        self.waiting_count
    }

    /// Lets somebody wait for a commit that is not durable yet.
    pub fn wait(&mut self, commit: u64, waiting: Waiting) {
        debug_assert!(!self.is_durable(commit), "who waits for a durable commit waits for ever");
        self.waiting.entry(commit).or_default().push(waiting);
        self.waiting_count += 1;
    }

    /// All commits up to `number` are durable: who waited for them, in commit order.
    pub fn committed(&mut self, number: u64) -> Vec<Waiting> {
        let number = number.min(self.last);
        self.durable_commit = self.durable_commit.max(number);
        while let Some((_, version, bytes)) = self.pending.pop_front_if(|(commit, ..)| *commit <= number) {
            self.durable_version = version;
            self.pending_bytes -= bytes;
        }
        let later = self.waiting.split_off(&(self.durable_commit + 1));
        let now: Vec<_> = std::mem::replace(&mut self.waiting, later).into_values().flatten().collect();
        self.waiting_count -= now.len();
        now
    }

    /// Nothing under way will become durable: all who wait.
    pub fn failed(&mut self) -> Vec<Waiting> {
        self.waiting_count = 0;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// The connection is gone: nobody waits there any more.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|_, waiting| {
            let before = waiting.len();
            waiting.retain(|one| one.conn != conn);
            self.waiting_count -= before - waiting.len();
            !waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(conn: u64) -> Waiting {
        Waiting { conn: ConnId(conn), counter: 1, gets: Gets::Durable }
    }

    fn conns(waiting: &[Waiting]) -> Vec<u64> {
        waiting.iter().map(|one| one.conn.0).collect()
    }

    #[test]
    fn who_waits_is_let_go_by_the_commit_itself_or_a_later_one_and_never_by_an_earlier() {
        let mut acks = Acks::new(1);
        let [first, second, third] = [2, 2, 3].map(|version| acks.submit(version, 10));
        acks.wait(second, waiting(2));
        acks.wait(first, waiting(1));
        acks.wait(third, waiting(3));
        assert_eq!(conns(&acks.committed(first)), [1]);
        assert_eq!((acks.version(), acks.under_way()), (2, (2, 20)));
        assert_eq!(conns(&acks.committed(third)), [2, 3]);
        assert_eq!((acks.version(), acks.under_way(), acks.waiting()), (3, (0, 0), 0));
    }

    #[test]
    fn a_completion_that_comes_twice_or_names_a_commit_that_was_never_made_changes_nothing() {
        let mut acks = Acks::new(1);
        let first = acks.submit(2, 10);
        acks.committed(99);
        assert!(acks.is_durable(first) && !acks.is_durable(first + 1));
        let second = acks.submit(3, 10);
        acks.wait(second, waiting(1));
        assert!(acks.committed(first).is_empty());
        assert_eq!(acks.version(), 2);
    }

    #[test]
    fn a_connection_that_is_gone_waits_no_more() {
        let mut acks = Acks::new(1);
        let first = acks.submit(2, 10);
        acks.wait(first, waiting(1));
        acks.wait(first, waiting(2));
        acks.forget(ConnId(1));
        assert_eq!(acks.waiting(), 1);
        assert_eq!(conns(&acks.committed(first)), [2]);
    }
}
