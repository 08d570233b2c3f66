//! The only file that knows both sessions and storage: the commit queue, what waits for durability, how old the oldest
//! of it is, and what happens when the store fails.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use parking_lot::{Condvar, Mutex};
use syncbridge_storage::{Commit, Engine, Error, Outcome, Sink, Ticket, Write};
use tokio::sync::oneshot;

use crate::{
    admin::Metrics,
    defaults,
    hub::{Hub, Session},
    session::Now,
};

/// Bounds of the write-behind.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// New updates are `Busy` when the oldest uncommitted commit is this old, in milliseconds.
    pub busy_age_ms: u64,
    /// …or when this many commits are uncommitted,
    pub max_queued: usize,
    /// …or this many bytes of them.
    pub max_bytes: usize,
}

/// Who is told how a commit ended.
enum Waits {
    /// Nobody: a checkpoint.
    Nobody,
    /// A session's core: this commit of it.
    Session(Arc<Session>, u64),
    /// Who called [`Persist::commit`].
    Caller(oneshot::Sender<Outcome>),
}

struct Pending {
    waits: Waits,
    submitted_ms: u64,
    /// For the latency metric, which milliseconds are too coarse for.
    submitted: Instant,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    /// Ticket of `pending[0]`.
    first: Ticket,
    pending: VecDeque<Option<Pending>>,
    bytes: usize,
}

/// See the file's head.
pub struct Persist {
    engine: OnceLock<Arc<dyn Engine>>,
    hub: OnceLock<Weak<Hub>>,
    queue: Mutex<Queue>,
    empty: Condvar,
    bounds: Bounds,
    /// When the oldest uncommitted commit was submitted; `u64::MAX` when there is none.
    oldest_ms: AtomicU64,
    depth: AtomicUsize,
    bytes: AtomicUsize,
    metrics: Arc<Metrics>,
    poisoned: AtomicBool,
    cause: Mutex<Option<String>>,
    /// Where the time between submit and durable is told, in milliseconds.
    clock: fn() -> Now,
}

impl Persist {
    /// A queue with nothing behind it yet; [`Persist::attach`] gives it the engine, [`Persist::serve`] the hub.
    pub fn new(bounds: Bounds, clock: fn() -> Now, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            engine: OnceLock::new(),
            hub: OnceLock::new(),
            queue: Mutex::default(),
            empty: Condvar::new(),
            bounds,
            oldest_ms: AtomicU64::new(u64::MAX),
            depth: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            metrics,
            poisoned: AtomicBool::new(false),
            cause: Mutex::new(None),
            clock,
        })
    }

    /// Gives the queue its engine, which was opened with this queue as its sink.
    pub fn attach(&self, engine: Arc<dyn Engine>) {
        assert!(self.engine.set(engine).is_ok(), "a queue has one engine");
    }

    /// Says who is told of durable commits.
    pub fn serve(&self, hub: &Arc<Hub>) {
        assert!(self.hub.set(Arc::downgrade(hub)).is_ok(), "a queue has one hub");
    }

    /// The engine, for reads.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        self.engine.get().expect("attached before anything is served")
    }

    /// Queues a commit; with whose it is and its number there, unless nobody waits for it. The caller holds the session's
    /// lock, so one session's commits are queued in their order.
    pub fn submit(&self, session: Option<(Arc<Session>, u64)>, writes: Vec<Write>, now: Now) {
        self.queue(session.map_or(Waits::Nobody, |(session, number)| Waits::Session(session, number)), writes, now);
    }

    /// Commits what belongs to no session (accounts, devices, tokens…): how it ended, once it did. `None`: the store
    /// failed, or does so before it is durable.
    pub fn commit(&self, writes: Vec<Write>, now: Now) -> impl Future<Output = Option<Outcome>> + Send + use<> {
        let (sender, ended) = oneshot::channel();
        if !self.poisoned.load(Ordering::Relaxed) {
            self.queue(Waits::Caller(sender), writes, now);
        }
        async { ended.await.ok() }
    }

    fn queue(&self, waits: Waits, writes: Vec<Write>, now: Now) {
        let bytes = writes.iter().map(size).sum();
        let mut queue = self.queue.lock();
        let ticket = queue.first + queue.pending.len() as u64;
        queue.pending.push_back(Some(Pending { waits, submitted_ms: now.mono_ms, submitted: Instant::now(), bytes }));
        queue.bytes += bytes;
        self.bytes.store(queue.bytes, Ordering::Relaxed);
        self.depth.store(queue.pending.len(), Ordering::Relaxed);
        if queue.pending.len() == 1 {
            self.oldest_ms.store(now.mono_ms, Ordering::Relaxed);
        }
        // Under the queue's lock, so that the engine sees tickets in their order.
        self.engine().submit(Commit { ticket, writes });
    }

    /// What the time is, for who has it from the beginning of a turn: on a busy machine that may be long ago, and what is
    /// accepted meanwhile would look younger than it is.
    pub fn time(&self, turn: Now) -> Now {
        let now = (self.clock)();
        if now.mono_ms > turn.mono_ms { now } else { turn }
    }

    /// Why an update cannot be taken at this time; `None` when it can.
    pub fn refusal(&self, now: Now) -> Option<Refusal> {
        if self.poisoned.load(Ordering::Relaxed) {
            return Some(Refusal::Failed);
        }
        let age = now.mono_ms.saturating_sub(self.oldest_ms.load(Ordering::Relaxed));
        (age >= self.bounds.busy_age_ms
            || self.depth.load(Ordering::Relaxed) >= self.bounds.max_queued
            || self.bytes.load(Ordering::Relaxed) >= self.bounds.max_bytes)
            .then(|| {
                let most = defaults::ms(defaults::BUSY_RETRY_MOST).max(self.bounds.busy_age_ms);
                // What stands still for long is asked for more rarely.
                Refusal::Busy { retry_after_ms: (age / 2).clamp(self.bounds.busy_age_ms, most) }
            })
    }

    /// (commits that are not durable, age of the oldest in milliseconds).
    pub fn backlog(&self, now: Now) -> (usize, u64) {
        let oldest = self.oldest_ms.load(Ordering::Relaxed);
        (self.depth.load(Ordering::Relaxed), now.mono_ms.saturating_sub(oldest))
    }

    /// What the store failed with, if it did.
    pub fn failure(&self) -> Option<String> {
        self.cause.lock().clone()
    }

    /// Waits until nothing is uncommitted; `false` when the store failed or the deadline came before that.
    pub fn flush(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        while !queue.pending.is_empty() && !self.poisoned.load(Ordering::Relaxed) {
            if self.empty.wait_until(&mut queue, deadline).timed_out() {
                break;
            }
        }
        queue.pending.is_empty()
    }

    /// Takes ended commits off the queue: (session, number, outcome) of each that a session waits for.
    fn take(&self, ended: &[(Ticket, Outcome)]) -> Vec<(Arc<Session>, u64, Outcome)> {
        let mut queue = self.queue.lock();
        let mut told: Vec<(Arc<Session>, u64, Outcome)> = Vec::with_capacity(ended.len());
        for (ticket, outcome) in ended {
            let index = ticket.checked_sub(queue.first).and_then(|index| usize::try_from(index).ok());
            if let Some(slot) = index.and_then(|index| queue.pending.get_mut(index))
                && let Some(pending) = slot.take()
            {
                queue.bytes -= pending.bytes;
                self.metrics.commit_latency.observe(pending.submitted.elapsed());
                match pending.waits {
                    Waits::Session(session, number) => told.push((session, number, *outcome)),
                    // Who does not wait any more does not want to know.
                    Waits::Caller(sender) => drop(sender.send(*outcome)),
                    Waits::Nobody => {}
                }
            }
        }
        while let Some(None) = queue.pending.front() {
            queue.pending.pop_front();
            queue.first += 1;
        }
        let oldest = queue.pending.front().and_then(Option::as_ref).map_or(u64::MAX, |pending| pending.submitted_ms);
        self.oldest_ms.store(oldest, Ordering::Relaxed);
        self.depth.store(queue.pending.len(), Ordering::Relaxed);
        self.bytes.store(queue.bytes, Ordering::Relaxed);
        if queue.pending.is_empty() {
            self.empty.notify_all();
        }
        told
    }
}

/// Bytes that a write brings to the disk, about.
fn size(write: &Write) -> usize {
    match write {
        Write::Create { meta, document, .. } => meta.len() + document.len(),
        Write::Delta { change, .. } => change.len(),
        Write::Meta { meta, .. } => meta.len(),
        Write::Checkpoint { document, .. } => document.len(),
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Op { .. } | Write::Forget { .. } | Write::DeleteSession { .. } | Write::Remove { .. } => 0,
    }
}

/// Why an update cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The disk is behind.
    Busy {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The store failed; an operator has to look.
    Failed,
}

impl Sink for Persist {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let mut told = self.take(ended);
        let Some(hub) = self.hub.get().and_then(Weak::upgrade) else { return };
        // One lock a session and batch: the newest commit stands for all before it. By topic, not by address: the order
        // in which sessions are told must be the same whenever a simulation is played again.
        told.sort_by_key(|(session, number, _)| (session.state_topic(), *number));
        let mut rest = told.iter().peekable();
        while let Some((session, number, outcome)) = rest.next() {
            if *outcome != Outcome::Committed {
                hub.lost(session, *outcome);
            } else if rest.peek().is_none_or(|(next, _, ended)| !Arc::ptr_eq(next, session) || ended != outcome) {
                hub.committed(session, *number, (self.clock)());
            }
        }
    }

    fn poisoned(&self, error: &Error) {
        tracing::error!(%error, "the store failed: nothing more is accepted until an operator has looked");
        *self.cause.lock() = Some(error.to_string());
        {
            let mut queue = self.queue.lock();
            self.poisoned.store(true, Ordering::Relaxed);
            for pending in queue.pending.iter_mut().flatten() {
                if let Waits::Caller(_) = pending.waits {
                    pending.waits = Waits::Nobody;
                }
            }
            self.empty.notify_all();
        }
        if let Some(hub) = self.hub.get().and_then(Weak::upgrade) {
            hub.poisoned();
        }
    }
}
