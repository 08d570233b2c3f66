//! The engine that keeps everything in memory: for tests, simulation and `--storage memory`. Its outcomes, windows and
//! reads are those of every engine; what it never does is survive its process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, RwLock};

use super::{Clock, system_clock};
use crate::{
    Commit, Engine, Error, Outcome, Sink, Stats, StoredDelta, StoredSession, Table, Write,
    partition::Partition,
    rules::{Head, Judge, Presence, View, expired},
};

/// What survives a [`Memory::crash`]: everything that was completed.
#[derive(Default)]
struct Store {
    sessions: HashMap<Arc<str>, Partition>,
    rows: BTreeMap<(Table, Bytes), (Bytes, Option<u64>)>,
    epoch: u64,
}

impl View for Store {
    fn head(&mut self, session: &Arc<str>) -> Result<Option<Head>, Error> {
        Ok(self.sessions.get(session).map(|kept| Head { epoch: kept.epoch, version: kept.version }))
    }
    fn presence(&mut self, table: Table, key: &Bytes) -> Result<Presence, Error> {
        Ok(self.rows.get(&(table, key.clone())).map(|(_, expires)| *expires))
    }
    fn set_head(&mut self, _: &Arc<str>, _: Option<Head>) {}
    fn set_presence(&mut self, _: Table, _: &Bytes, _: Presence) {}
}

impl Store {
    fn apply(&mut self, write: Write, now_ms: u64) {
        match write {
            Write::Put { table, key, value, expires_at_ms, .. } => {
                self.rows.insert((table, key), (value, expires_at_ms));
            }
            Write::Remove { table, key } => {
                self.rows.remove(&(table, key));
            }
            Write::Create { ref session, .. }
            | Write::Delta { ref session, .. }
            | Write::Op { ref session, .. }
            | Write::Forget { ref session, .. }
            | Write::Meta { ref session, .. }
            | Write::Checkpoint { ref session, .. }
            | Write::DeleteSession { ref session, .. } => {
                let mut slot = self.sessions.remove(session);
                Partition::apply(&mut slot, &write, now_ms);
                if let Some(kept) = slot {
                    self.sessions.insert(session.clone(), kept);
                }
            }
        }
    }
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Commit>,
    /// Taken from `commits`, not yet ended.
    in_flight: usize,
    /// Batches of which the sink is being told.
    telling: usize,
    /// Why nothing more is taken.
    closed: Option<String>,
    /// It was closed by a failure.
    failed: bool,
    /// Commits that came after that and whose refusal is not yet told.
    refused: bool,
    stop: bool,
}

struct Inner {
    store: Arc<RwLock<Store>>,
    queue: Mutex<Queue>,
    /// Something was queued, or the end came.
    wake: Condvar,
    /// A batch was told to the sink.
    told: Condvar,
    sink: Arc<dyn Sink>,
    clock: Clock,
    epoch: AtomicU64,
    commits: AtomicU64,
    batches: AtomicU64,
}

impl Inner {
    /// Completes up to `most` commits and tells the sink, outside all locks.
    fn complete(&self, most: usize) -> usize {
        let (batch, refused) = {
            let mut queue = self.queue.lock();
            let count = queue.commits.len().min(most);
            let batch: Vec<Commit> = queue.commits.drain(..count).collect();
            queue.in_flight += batch.len();
            queue.telling += 1;
            (batch, std::mem::take(&mut queue.refused).then(|| queue.closed.clone()).flatten())
        };
        let count = batch.len();
        if count > 0 {
            let now_ms = (self.clock)();
            let mut judge = Judge::default();
            let mut ended = Vec::with_capacity(count);
            {
                let mut store = self.store.write();
                for commit in batch {
                    ended.push((commit.ticket, run(&mut judge, &mut store, commit, now_ms)));
                }
            }
            let durable = ended.iter().filter(|(_, outcome)| *outcome == Outcome::Committed).count();
            self.commits.fetch_add(durable as u64, Ordering::Relaxed);
            self.batches.fetch_add(1, Ordering::Relaxed);
            self.queue.lock().in_flight -= count;
            self.sink.completed(&ended);
        }
        if let Some(cause) = refused {
            self.sink.poisoned(&Error::Poisoned { cause });
        }
        self.queue.lock().telling -= 1;
        self.told.notify_all();
        count
    }

    /// The engine's thread.
    fn work(&self) {
        loop {
            {
                let mut queue = self.queue.lock();
                while queue.commits.is_empty() && !queue.refused {
                    if queue.stop {
                        return;
                    }
                    self.wake.wait(&mut queue);
                }
            }
            self.complete(usize::MAX);
        }
    }
}

fn run(judge: &mut Judge, store: &mut Store, commit: Commit, now_ms: u64) -> Outcome {
    // The view is memory: it has no way to fail.
    let outcome = judge.judge(&commit, now_ms, store).unwrap_or(Outcome::Fenced);
    if outcome == Outcome::Committed {
        for write in commit.writes {
            store.apply(write, now_ms);
        }
    }
    outcome
}

/// The engine. [`Memory::open`] completes commits on a thread of its own; [`Memory::manual`] when it is told to.
pub struct Memory {
    inner: Arc<Inner>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Memory {
    /// An empty store, at epoch 1, with a thread that completes what is submitted.
    pub fn open(sink: Arc<dyn Sink>) -> Self {
        Self::open_at(sink, system_clock())
    }

    /// As [`Memory::open`], with a clock of the caller's.
    pub fn open_at(sink: Arc<dyn Sink>, clock: Clock) -> Self {
        Self::over(Arc::default(), sink, clock).running()
    }

    fn running(mut self) -> Self {
        let inner = self.inner.clone();
        self.thread = Some(thread::spawn(move || inner.work()));
        self
    }

    /// An empty store, at epoch 1, without a thread: commits stay queued until [`Memory::commit_next`]. With a clock that
    /// is a function of the caller's steps, everything about it is deterministic.
    pub fn manual(sink: Arc<dyn Sink>, clock: Clock) -> Self {
        Self::over(Arc::default(), sink, clock)
    }

    fn over(store: Arc<RwLock<Store>>, sink: Arc<dyn Sink>, clock: Clock) -> Self {
        let epoch = {
            let mut store = store.write();
            store.epoch += 1;
            store.epoch
        };
        let inner = Arc::new(Inner {
            store,
            queue: Mutex::default(),
            wake: Condvar::new(),
            told: Condvar::new(),
            sink,
            clock,
            epoch: AtomicU64::new(epoch),
            commits: AtomicU64::new(0),
            batches: AtomicU64::new(0),
        });
        Self { inner, thread: None }
    }

    /// Completes the `most` oldest queued commits (fewer, if there are not so many) in one batch, on this thread, and
    /// tells the sink. Returns how many ended.
    pub fn commit_next(&self, most: usize) -> usize {
        self.inner.complete(most)
    }

    /// Commits that are queued and not completed.
    pub fn pending(&self) -> usize {
        self.inner.queue.lock().commits.len()
    }

    /// What a kill does: drops everything that is not completed (its tickets are never told) and begins the next epoch,
    /// which it returns. The sink stays; see [`Memory::reopen`] for a new one.
    pub fn crash(&self) -> u64 {
        let mut queue = self.inner.queue.lock();
        queue.commits.clear();
        let mut store = self.inner.store.write();
        store.epoch += 1;
        self.inner.epoch.store(store.epoch, Ordering::Release);
        store.epoch
    }

    /// What a kill and a start do: this handle's uncompleted commits are dropped and it takes no more; the manual handle
    /// that is returned has what was completed, the next epoch and its own sink.
    #[must_use]
    pub fn reopen(&self, sink: Arc<dyn Sink>) -> Self {
        {
            let mut queue = self.inner.queue.lock();
            queue.commits.clear();
            queue.closed.get_or_insert_with(|| "the store was opened again".into());
            queue.failed = true;
        }
        Self::over(self.inner.store.clone(), sink, self.inner.clock.clone())
    }

    /// What a clean restart does: as [`Memory::reopen`], with a thread that completes what is submitted.
    #[must_use]
    pub fn reopen_running(&self, sink: Arc<dyn Sink>) -> Self {
        self.reopen(sink).running()
    }

    /// Another handle on the same opening, without its thread.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self { inner: self.inner.clone(), thread: None }
    }

    /// What a failed sync does: drops everything that is not completed, tells the sink, and takes no more.
    pub fn poison(&self, cause: &str) {
        {
            let mut queue = self.inner.queue.lock();
            queue.commits.clear();
            queue.closed.get_or_insert_with(|| cause.into());
            queue.failed = true;
            queue.refused = true;
        }
        if self.thread.is_some() {
            self.inner.wake.notify_all();
        } else {
            self.inner.complete(0);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.inner.queue.lock().stop = true;
        self.inner.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the memory engine's thread panicked");
        }
    }
}

impl Engine for Memory {
    fn epoch(&self) -> u64 {
        self.inner.epoch.load(Ordering::Acquire)
    }

    fn submit(&self, commit: Commit) {
        let mut queue = self.inner.queue.lock();
        if queue.closed.is_some() {
            queue.refused = true;
        } else {
            queue.commits.push_back(commit);
        }
        self.inner.wake.notify_one();
    }

    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
        let now_ms = (self.inner.clock)();
        Ok(self.inner.store.read().sessions.get(session).map(|kept| kept.stored(now_ms)))
    }

    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
        Ok(self.inner.store.read().sessions.get(session).and_then(|kept| kept.catch_up(after, max_bytes)))
    }

    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
        let store = self.inner.store.read();
        let row = store.rows.get(&(table, Bytes::copy_from_slice(key)));
        Ok(row.filter(|(_, expires)| !expired(*expires, now_ms)).map(|(value, _)| value.clone()))
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let start = after.map_or(prefix, |after| after.max(prefix));
        let store = self.inner.store.read();
        let rows = store.rows.range((table, Bytes::copy_from_slice(start))..);
        Ok(rows
            .take_while(|((t, key), _)| *t == table && key.starts_with(prefix))
            .filter(|((_, key), (_, expires))| !expired(*expires, now_ms) && after.is_none_or(|after| &key[..] > after))
            .take(limit)
            .map(|((_, key), (value, _))| (key.clone(), value.clone()))
            .collect())
    }

    fn close(&self) -> Result<(), Error> {
        let mut queue = self.inner.queue.lock();
        if queue.failed {
            return Err(Error::Poisoned { cause: queue.closed.clone().unwrap_or_default() });
        }
        queue.closed = Some("the store was closed".into());
        if self.thread.is_none() {
            drop(queue);
            self.inner.complete(usize::MAX);
            return Ok(());
        }
        while !queue.commits.is_empty() || queue.telling > 0 {
            self.inner.told.wait(&mut queue);
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        let queue = self.inner.queue.lock();
        Stats {
            commits: self.inner.commits.load(Ordering::Relaxed),
            syncs: self.inner.batches.load(Ordering::Relaxed),
            log_bytes: 0,
            log_backlog: 0,
            queued: (queue.commits.len() + queue.in_flight) as u64,
        }
    }
}
