//! Commits on their way to the database: taken off their lanes, judged, written, told. One write in flight for each
//! partition, [`super::Options::in_flight`] for all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::{
    database::{Database, Failure, Nonce, Pauses, Place},
    known::{Known, Part},
    lanes::{Job, Lanes, Work},
    lease::Lease,
};
use crate::{
    Commit, Error, Outcome, Sink, Table, Write,
    engine::Clock,
    rules::{Head, Judge, Presence, View},
};

/// Partitions that are known; twice that number, in two generations.
const KNOWN: usize = 16 << 10;

type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

/// Partitions that this task alone may write.
pub(super) type Held = Vec<(Place, OwnedMutexGuard<Option<Known>>)>;

#[derive(Default)]
struct Memory {
    young: HashMap<Place, Slot>,
    old: HashMap<Place, Slot>,
}

#[derive(Default)]
struct Queue {
    lanes: Lanes,
    queued: u64,
    /// Batches of which the sink is being told.
    telling: usize,
    /// Why nothing more is taken.
    closed: Option<String>,
    failed: bool,
    /// A refusal that is not yet told.
    refused: bool,
}

/// See the file's head.
pub(super) struct Core {
    pub db: Database,
    /// This opening's name.
    pub me: Nonce,
    pub epoch: u64,
    pub clock: Clock,
    pub lease: Lease,
    pub patience: Duration,
    sink: Arc<dyn Sink>,
    permits: Semaphore,
    queue: Mutex<Queue>,
    /// Something ended.
    ended: Condvar,
    memory: Mutex<Memory>,
    runtime: tokio::runtime::Handle,
    commits: AtomicU64,
    flushes: AtomicU64,
    bytes: AtomicU64,
}

/// Where a write goes.
pub(super) fn place(write: &Write) -> Place {
    match write {
        Write::Create { session, .. }
        | Write::Delta { session, .. }
        | Write::Op { session, .. }
        | Write::Forget { session, .. }
        | Write::Meta { session, .. }
        | Write::Checkpoint { session, .. }
        | Write::DeleteSession { session, .. } => Place::Session(session.clone()),
        Write::Put { table, key, .. } | Write::Remove { table, key } => Place::of_row(*table, key),
    }
}

/// Bytes of a write, about.
fn size(write: &Write) -> usize {
    64 + match write {
        Write::Create { meta, document, .. } => meta.len() + document.len(),
        Write::Delta { change, .. } => change.len(),
        Write::Meta { meta, .. } => meta.len(),
        Write::Checkpoint { document, .. } => document.len(),
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Op { .. } | Write::Forget { .. } | Write::DeleteSession { .. } | Write::Remove { .. } => 0,
    }
}

/// The epoch that a session's write is made in.
const fn epoch_of(write: &Write) -> Option<u64> {
    match write {
        Write::Create { .. } | Write::Put { .. } | Write::Remove { .. } => None,
        Write::Delta { epoch, .. }
        | Write::Op { epoch, .. }
        | Write::Forget { epoch, .. }
        | Write::Meta { epoch, .. }
        | Write::Checkpoint { epoch, .. }
        | Write::DeleteSession { epoch, .. } => Some(*epoch),
    }
}

/// What commits are judged by.
struct Seen<'a>(&'a Held);

impl Seen<'_> {
    fn known(&self, place: &Place) -> Option<&Known> {
        self.0.iter().find(|(held, _)| held == place).and_then(|(_, known)| known.as_ref())
    }
}

impl View for Seen<'_> {
    fn head(&mut self, session: &Arc<str>) -> Result<Option<Head>, Error> {
        Ok(self.known(&Place::Session(session.clone())).and_then(Known::head))
    }
    fn presence(&mut self, table: Table, key: &bytes::Bytes) -> Result<Presence, Error> {
        Ok(self.known(&Place::of_row(table, key)).and_then(|known| known.presence(key)))
    }
    // What passed is applied to what is known, which is where the next commit looks.
    fn set_head(&mut self, _: &Arc<str>, _: Option<Head>) {}
    fn set_presence(&mut self, _: Table, _: &bytes::Bytes, _: Presence) {}
}

impl Core {
    pub fn new(
        db: Database,
        (me, epoch): (Nonce, u64),
        clock: Clock,
        (lease, patience): (Lease, Duration),
        sink: Arc<dyn Sink>,
        in_flight: usize,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            db,
            me,
            epoch,
            clock,
            lease,
            patience,
            sink,
            permits: Semaphore::new(in_flight),
            queue: Mutex::default(),
            ended: Condvar::new(),
            memory: Mutex::default(),
            runtime,
            commits: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// As [`crate::Engine::submit`].
    pub fn submit(self: &Arc<Self>, commit: Commit) {
        let mut places: Vec<Place> = commit.writes.iter().map(place).collect();
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            // Nothing to write, and told in its turn all the same.
            places.push(Place::Session("".into()));
        }
        let bytes = commit.writes.iter().map(size).sum();
        let job = Arc::new(Job { commit, places, bytes });
        let work = {
            let mut queue = self.queue.lock();
            if queue.closed.is_some() {
                if !std::mem::replace(&mut queue.refused, true) {
                    let core = self.clone();
                    self.runtime.spawn(async move { core.refuse() });
                }
                return;
            }
            queue.queued += 1;
            queue.lanes.enter(&job)
        };
        if let Some(work) = work {
            self.start(work);
        }
    }

    /// Tells that commits came after the end.
    fn refuse(&self) {
        let cause = {
            let mut queue = self.queue.lock();
            queue.refused = false;
            queue.closed.clone().unwrap_or_default()
        };
        self.sink.poisoned(&Error::Poisoned { cause });
    }

    fn start(self: &Arc<Self>, work: Work) {
        let core = self.clone();
        self.runtime.spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = core.permits.acquire().await else { return };
            let (places, ended) = match work {
                Work::Batch(place) => {
                    let jobs = core.queue.lock().lanes.batch(&place);
                    let ended = core.batch(&place, &jobs).await;
                    (vec![place], ended)
                }
                Work::Transaction(job) => {
                    let ended = core.transaction(&job).await.map(|outcome| vec![(job.commit.ticket, outcome)]);
                    (job.places.clone(), ended)
                }
            };
            match ended {
                Ok(ended) => core.tell(&places, &ended),
                Err(failure) => core.fail(&failure.into_error("a commit")),
            }
        });
    }

    fn tell(self: &Arc<Self>, places: &[Place], ended: &[(crate::Ticket, Outcome)]) {
        let durable = ended.iter().filter(|(_, outcome)| *outcome == Outcome::Committed).count();
        {
            let mut queue = self.queue.lock();
            if queue.failed {
                return;
            }
            queue.queued = queue.queued.saturating_sub(ended.len() as u64);
            queue.telling += 1;
        }
        self.commits.fetch_add(durable as u64, Ordering::Relaxed);
        self.sink.completed(ended);
        let works = {
            let mut queue = self.queue.lock();
            queue.telling -= 1;
            queue.lanes.leave(places)
        };
        self.ended.notify_all();
        for work in works {
            self.start(work);
        }
    }

    /// Poison: nothing more is taken, nothing that waits is written.
    pub fn fail(&self, error: &Error) {
        {
            let mut queue = self.queue.lock();
            if std::mem::replace(&mut queue.failed, true) {
                return;
            }
            queue.closed = Some(error.to_string());
            queue.lanes.clear();
            queue.queued = 0;
        }
        self.sink.poisoned(error);
        self.ended.notify_all();
    }

    /// As [`crate::Engine::close`]; gives up when nothing has ended for `patience`.
    pub fn close(&self, patience: Duration) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        queue.closed.get_or_insert_with(|| "the store was closed".into());
        while (queue.queued > 0 || queue.telling > 0) && !queue.failed {
            if self.ended.wait_for(&mut queue, patience).timed_out() {
                drop(queue);
                self.fail(&Error::Unavailable {
                    what: "commits before the store was closed".into(),
                    cause: format!("nothing became durable for {patience:?}"),
                });
                queue = self.queue.lock();
            }
        }
        match &queue.closed {
            Some(cause) if queue.failed => Err(Error::Poisoned { cause: cause.clone() }),
            _ => Ok(()),
        }
    }

    pub fn stats(&self) -> crate::Stats {
        crate::Stats {
            commits: self.commits.load(Ordering::Relaxed),
            syncs: self.flushes.load(Ordering::Relaxed),
            log_bytes: self.bytes.load(Ordering::Relaxed),
            log_backlog: 0,
            queued: self.queue.lock().queued,
        }
    }

    fn slot(&self, place: &Place) -> Slot {
        let mut memory = self.memory.lock();
        if let Some(slot) = memory.young.get(place) {
            return slot.clone();
        }
        if memory.young.len() >= KNOWN {
            // A slot of the old generation that somebody still holds may get a twin. That costs a refused flip, no more:
            // the database decides.
            memory.old = std::mem::take(&mut memory.young);
        }
        let slot = memory.old.remove(place).unwrap_or_default();
        memory.young.insert(place.clone(), slot.clone());
        slot
    }

    /// Partitions, in the order in which they are given: sorted, so that no two who hold several wait for each other.
    pub async fn hold(&self, places: &[Place]) -> Held {
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push((place.clone(), self.slot(place).lock_owned().await));
        }
        held
    }

    /// Reads a partition, until it can be read and no transaction has it.
    pub async fn read(&self, place: &Place) -> Result<Known, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let read = match Known::read(&self.db, place, (self.clock)()).await {
                Ok(known) => match known.txn() {
                    None => return Ok(known),
                    Some(txn) => self.resolve(place, txn).await,
                },
                Err(failure) => Err(failure),
            };
            match read {
                Ok(()) => {}
                Err(Failure::Transient(cause)) => {
                    tracing::debug!(cause, ?place, "a partition cannot be read now");
                    pauses.wait().await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Judges commits and drafts what they write. A refusal is only believed of what was read just now: another server
    /// may have written since.
    pub async fn prepare(&self, held: &mut Held, jobs: &[Arc<Job>], now_ms: u64) -> Result<Vec<Outcome>, Failure> {
        let mut fresh = true;
        loop {
            for (place, known) in held.iter_mut() {
                if known.is_some() {
                    fresh = false;
                } else {
                    **known = Some(self.read(place).await?);
                }
            }
            self.look(held, jobs).await?;
            let mut judge = Judge::default();
            let mut outcomes = Vec::with_capacity(jobs.len());
            for job in jobs {
                let outcome = judge.judge(&job.commit, now_ms, &mut Seen(held)).map_err(Failure::Store)?;
                if outcome == Outcome::Committed {
                    for write in &job.commit.writes {
                        let at = place(write);
                        if let Some((_, known)) = held.iter_mut().find(|(place, _)| *place == at)
                            && let Some(known) = known.as_mut()
                        {
                            known.apply(write, self.me, now_ms);
                        }
                    }
                    outcomes.push(outcome);
                } else {
                    outcomes.push(self.exactly(held, &job.commit, outcome));
                }
            }
            if fresh || outcomes.iter().all(|outcome| *outcome == Outcome::Committed) {
                return Ok(outcomes);
            }
            for (_, known) in held.iter_mut() {
                **known = None;
            }
            fresh = true;
        }
    }

    /// Finds out which of the rows are there that must not be.
    async fn look(&self, held: &mut Held, jobs: &[Arc<Job>]) -> Result<(), Failure> {
        for write in jobs.iter().flat_map(|job| &job.commit.writes) {
            let Write::Put { table, key, if_absent: true, .. } = write else { continue };
            let at = Place::of_row(*table, key);
            let mut pauses = Pauses::new();
            for (place, known) in held.iter_mut().filter(|(place, _)| *place == at) {
                let Some(known) = known.as_mut() else { continue };
                while let Err(failure) = known.look(&self.db, place, key).await {
                    let Failure::Transient(cause) = failure else { return Err(failure) };
                    tracing::debug!(cause, ?place, "a row cannot be read now");
                    pauses.wait().await;
                }
            }
        }
        Ok(())
    }

    /// Tells a session that was taken since (by another server, be it that this one has it back by now) from a commit that
    /// was never right.
    fn exactly(&self, held: &mut Held, commit: &Commit, outcome: Outcome) -> Outcome {
        if outcome != Outcome::Fenced {
            return outcome;
        }
        for write in &commit.writes {
            let at = place(write);
            let chart = held.iter_mut().find(|(place, _)| *place == at).and_then(|(_, known)| known.as_mut()?.chart());
            if let (Some(epoch), Some(chart)) = (epoch_of(write), chart)
                && chart.live.is_some()
                && chart.fence.is_some_and(|fence| epoch < fence)
                && epoch >= self.epoch
            {
                return Outcome::Disowned;
            }
        }
        outcome
    }

    /// Writes commits of one partition as one batch; how each ended.
    async fn batch(&self, place: &Place, jobs: &[Arc<Job>]) -> Result<Vec<(crate::Ticket, Outcome)>, Failure> {
        let told = |outcomes: Vec<Outcome>| jobs.iter().map(|job| job.commit.ticket).zip(outcomes).collect();
        if let [job] = jobs
            && job.is_too_large()
        {
            return Ok(told(vec![Outcome::Fenced]));
        }
        let mut held = self.hold(std::slice::from_ref(place)).await;
        loop {
            let now_ms = (self.clock)();
            let outcomes = match self.prepare(&mut held, jobs, now_ms).await {
                Ok(outcomes) => outcomes,
                Err(Failure::Store(error @ Error::Damaged { .. })) => {
                    tracing::error!(%error, "commits met damaged data and are refused");
                    return Ok(told(vec![Outcome::Fenced; jobs.len()]));
                }
                Err(failure) => return Err(failure),
            };
            let [(place, slot)] = &mut held[..] else { return Ok(told(outcomes)) };
            let Some(mut known) = slot.take() else { return Ok(told(outcomes)) };
            if !known.is_touched() {
                **slot = Some(known);
                return Ok(told(outcomes));
            }
            if known.flip(&self.db, place, Part::Draft, now_ms).await? {
                self.flushes.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(jobs.iter().map(|job| job.bytes as u64).sum(), Ordering::Relaxed);
                **slot = Some(known);
                return Ok(told(outcomes));
            }
            tracing::debug!(?place, "another server wrote: judged again");
        }
    }
}
