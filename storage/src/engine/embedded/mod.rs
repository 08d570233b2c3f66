//! The engine with a commit log of its own (`log/`) and an index behind it (`index/`); `storage/DESIGN.md` says what is
//! where and why. This file opens, reads and closes; it never decides what may be written (`rules`) nor when (`writer`).

pub(super) mod encoding;
mod failpoint;
pub mod faults;
mod files;
mod hash;
mod index;
mod indexer;
mod log;
mod memtable;
mod queue;
mod replay;
pub mod tools;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Clock, Scanned, system_clock};
use crate::{
    Commit, Engine, Error, Sink, Stats, StoredDelta, StoredSession, Table, Write,
    defaults::{BACKLOG_BYTES, FLUSH_AFTER, FLUSH_BYTES, SEGMENT_BYTES},
    partition::{Partition, limit},
    rules::{Head, expired},
};
use files::{ASIDE, Folder, INDEX, LOG, damaged, io};
use index::{Index, Opened, Readable, Snapshot};
use log::{Log, Spares, recover};
use memtable::{Memtable, Row, Tables};
use replay::Policy;

pub use index::Salvaged;
pub use log::recover::Torn;

/// What an operator may turn, and what a test may take the place of.
#[derive(Clone)]
pub struct Options {
    /// Size of a log segment, in bytes; at least 16 KiB are used.
    pub segment_bytes: u64,
    /// Bytes in memory that make the index thread write.
    pub flush_bytes: usize,
    /// Bytes in memory above which the log's writer waits for the index.
    pub backlog_bytes: usize,
    /// After this long a few commits are written to the index too.
    pub flush_after: Duration,
    /// The time of commits.
    pub clock: Clock,
    /// Failures of the disk, for tests.
    pub faults: Option<Arc<dyn faults::Faults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            flush_bytes: FLUSH_BYTES,
            backlog_bytes: BACKLOG_BYTES,
            flush_after: FLUSH_AFTER,
            clock: system_clock(),
            faults: None,
        }
    }
}

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Groups of commits that were read from the log because the index did not have them.
    pub groups: u64,
    /// The group at the end of the log that was dropped because it was not whole.
    pub torn: Option<Torn>,
    /// The index was damaged: what is refused since then.
    pub salvaged: Option<Salvaged>,
    /// Bytes of the log that had changed and are again what they were, for people.
    pub put_right: Vec<String>,
    /// Sessions and rows of which a change in the log cannot be read, for people: they are refused since then, until they are
    /// deleted, or the row written again.
    pub refused: Vec<String>,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    syncs: AtomicU64,
    log_bytes: AtomicU64,
    log_backlog: AtomicU64,
}

/// What the threads and the callers share.
struct Shared {
    options: Options,
    sink: Arc<dyn Sink>,
    queue: queue::Queue,
    signal: indexer::Signal,
    tables: RwLock<Tables>,
    /// Bytes in `tables`, for who does not want its lock.
    unflushed: AtomicUsize,
    /// `None` once closed.
    index: Mutex<Option<Arc<Index>>>,
    stats: Counters,
    failure: Mutex<Failure>,
}

/// The first failure.
#[derive(Default)]
struct Failure {
    cause: Option<String>,
    /// Not yet told to the sink: the writer does, so that nothing is completed after it.
    untold: Option<Error>,
}

impl Shared {
    fn index(&self) -> Result<Arc<Index>, Error> {
        self.index.lock().clone().ok_or_else(|| Error::Poisoned { cause: CLOSED.into() })
    }

    /// Poisons the engine: reads go on, nothing is written any more.
    fn fail(&self, error: Error) {
        tracing::error!(%error, "the store failed and takes nothing more");
        let cause = error.to_string();
        {
            let mut failure = self.failure.lock();
            if failure.cause.is_some() {
                return;
            }
            *failure = Failure { cause: Some(cause.clone()), untold: Some(error) };
        }
        self.queue.fail(&cause);
        self.signal.stop();
    }

    fn wake_index(&self) {
        if self.unflushed.load(Ordering::Acquire) >= self.options.flush_bytes {
            self.signal.due();
        }
    }

    /// Waits while memory is full.
    fn wait_for_index(&self) -> Result<(), Error> {
        let room = || self.unflushed.load(Ordering::Acquire) < self.options.backlog_bytes;
        if !room() {
            self.signal.wait(room);
        }
        self.failed()
    }

    fn failed(&self) -> Result<(), Error> {
        match &self.failure.lock().cause {
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// The tables and the index at one moment: what `collect` takes from the tables that the index does not cover, and the
    /// index. The index is opened under the tables' lock, so nothing is in neither.
    fn view<T>(&self, collect: impl Fn(&Memtable, &mut T), mut into: T) -> Result<(T, Snapshot), Error> {
        let index = self.index()?;
        let tables = self.tables.read();
        let snapshot = index.snapshot()?;
        let frozen = tables.frozen.as_deref();
        for table in [frozen, Some(&tables.active)].into_iter().flatten() {
            // The flush of the frozen table may have ended without its being forgotten yet.
            if table.last_seq > snapshot.covered {
                collect(table, &mut into);
            }
        }
        Ok((into, snapshot))
    }

    fn head(&self, session: &str) -> Result<Option<Head>, Error> {
        if let Some(entry) = self.tables.read().entry(session) {
            return Ok(entry.head);
        }
        // Between the two, a flush may end; then the index has it.
        self.indexed(session)
    }

    fn row(&self, table: Table, key: &Bytes) -> Result<Row, Error> {
        if let Some(row) = self.tables.read().row(&(table, key.clone())) {
            return Ok(row);
        }
        self.index()?.snapshot()?.row(table, key)
    }

    /// True when something that the commit builds on cannot be read.
    fn meets_damage(&self, commit: &Commit) -> bool {
        commit.writes.iter().any(|write| {
            let met = match write {
                Write::Put { table, key, .. } | Write::Remove { table, key } => self.row(*table, key).map(drop),
                write => write.session().map_or(Ok(()), |session| self.indexed(session).map(drop)),
            };
            matches!(met, Err(Error::Damaged { .. }))
        })
    }

    /// The head as the index has it.
    fn indexed(&self, session: &str) -> Result<Option<Head>, Error> {
        let head = self.index()?.snapshot()?.head(session)?;
        Ok(head.map(|head| Head { epoch: head.epoch, version: head.version }))
    }

    /// A session's writes that the index does not have, each with its time, and the index.
    fn writes(&self, session: &str) -> Result<(Vec<(u64, Write)>, Snapshot), Error> {
        let collect = |table: &Memtable, into: &mut Vec<_>| {
            into.extend(
                table
                    .sessions
                    .get(session)
                    .into_iter()
                    .flat_map(|entry| entry.writes().map(|(at, write)| (at, write.clone()))),
            );
        };
        self.view(collect, Vec::new())
    }
}

/// The session: the index's part of it, and what came since.
fn fold(snapshot: &Snapshot, session: &str, writes: &[(u64, Write)]) -> Result<Option<Partition>, Error> {
    // What is replaced need not be readable.
    let first = writes.iter().rposition(|(_, write)| replaces(write));
    let mut partition = if first.is_some() { None } else { snapshot.partition(session)? };
    for (time_ms, write) in &writes[first.unwrap_or(0)..] {
        Partition::apply(&mut partition, write, *time_ms);
    }
    Ok(partition)
}

/// True of a write that leaves nothing of the session before it.
fn replaces(write: &Write) -> bool {
    matches!(write, Write::Create { .. } | Write::DeleteSession { .. })
}

const CLOSED: &str = "the store was closed";

/// The engine.
pub struct Embedded {
    shared: Arc<Shared>,
    epoch: u64,
    recovery: Recovery,
    running: Mutex<Option<Running>>,
    writer: Option<JoinHandle<()>>,
}

/// What ends with [`Engine::close`].
struct Running {
    indexer: JoinHandle<()>,
    spares: Arc<Spares>,
    folder: Folder,
}

impl Embedded {
    /// Opens the store in `folder`, making it if it is not there: recovers the log, brings the index up to date, and begins
    /// the next epoch, durably.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Format`], [`Error::Damaged`] when something durable is missing or unreadable, and
    /// [`Error::Io`].
    pub fn open(folder: &Path, options: Options, sink: Arc<dyn Sink>) -> Result<Self, Error> {
        Self::open_folder(Folder::open(folder)?, options, sink, Policy::Start)
    }

    fn open_folder(folder: Folder, options: Options, sink: Arc<dyn Sink>, policy: Policy) -> Result<Self, Error> {
        let mut options = options;
        failpoint::sizes(&mut options);
        options.segment_bytes = options.segment_bytes.max(16 << 10).next_multiple_of(4096);
        let log_folder = folder.path.join(LOG);
        let index_path = folder.path.join(INDEX);
        let last_epoch = folder.last_epoch()?;
        match (last_epoch, index_path.exists()) {
            (Some(_), false) => return Err(damaged(&index_path, "is missing")),
            (_, true) => {}
            (None, false) => {
                // Under another name until it is whole.
                let new = index_path.with_extension("new");
                match std::fs::remove_file(&new) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io("remove", &new)(error));
                    }
                    _ => Index::create(&new)?,
                }
                std::fs::rename(&new, &index_path).map_err(io("rename", &new))?;
                files::sync_folder(&folder.path)?;
            }
        }
        let Opened { index, salvaged } = Index::open(&index_path, &folder.path.join(ASIDE))?;
        if let Some(Salvaged { lost, aside, .. }) = &salvaged {
            let aside = aside.display();
            tracing::error!(?lost, %aside, "what the index has lost is refused as damaged; everything else is served");
        }
        let index = Arc::new(index);
        let covered = index.snapshot()?.covered;
        if last_epoch.is_none() && (covered > 0 || recover::any(&log_folder)?) {
            return Err(damaged(&folder.path, "there are commits, but the file that says the epoch is missing"));
        }
        let shared = Arc::new(Shared {
            options,
            sink,
            queue: queue::Queue::default(),
            signal: indexer::Signal::default(),
            tables: RwLock::default(),
            unflushed: AtomicUsize::new(0),
            index: Mutex::new(Some(index)),
            stats: Counters::default(),
            failure: Mutex::default(),
        });
        let spares = Arc::new(Spares::open(&log_folder, shared.options.segment_bytes)?);
        match replay::replay(&shared, &folder, &spares, (last_epoch, covered), policy) {
            Ok((log, epoch, recovery)) => {
                Self::start(shared, folder, spares, log, epoch, Recovery { salvaged, ..recovery })
            }
            Err(error) => {
                spares.stop();
                Err(error)
            }
        }
    }

    fn start(
        shared: Arc<Shared>,
        folder: Folder,
        spares: Arc<Spares>,
        log: Log,
        epoch: u64,
        recovery: Recovery,
    ) -> Result<Self, Error> {
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.into())
                .spawn(run)
                .map_err(|source| Error::Io { what: format!("start the thread {name}"), source })
        };
        let full = log.full();
        let of_indexer = shared.clone();
        let indexer = spawn("log-index", Box::new(move || indexer::run(&of_indexer, &full)))?;
        let of_writer = shared.clone();
        let writer =
            spawn("log-writer", Box::new(move || writer::run(&of_writer, log, writer::Known::new(&of_writer))))?;
        let running = Mutex::new(Some(Running { indexer, spares, folder }));
        Ok(Self { shared, epoch, recovery, running, writer: Some(writer) })
    }

    /// What the start found.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl Engine for Embedded {
    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn submit(&self, commit: Commit) {
        self.shared.queue.submit(commit);
    }

    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
        let now_ms = (self.shared.options.clock)();
        let (writes, snapshot) = self.shared.writes(session)?;
        Ok(fold(&snapshot, session, &writes)?.map(|partition| partition.stored(now_ms)))
    }

    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
        let (writes, snapshot) = self.shared.writes(session)?;
        if writes.iter().any(|(_, write)| replaces(write)) {
            return Ok(fold(&snapshot, session, &writes)?.and_then(|kept| kept.catch_up(after, max_bytes)));
        }
        let Some(head) = snapshot.head(session)? else { return Ok(None) };
        let Some(mut deltas) = snapshot.deltas(session, &head, after, max_bytes)? else { return Ok(None) };
        if deltas.last().map_or(after, |last| last.version) >= head.version {
            deltas.extend(writes.into_iter().filter_map(|(_, write)| match write {
                Write::Delta { epoch, version, change, .. } if version > after.max(head.version) => {
                    Some(StoredDelta { version, epoch, change })
                }
                _ => None,
            }));
        }
        Ok(Some(limit(deltas.iter(), max_bytes)))
    }

    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
        let row = self.shared.row(table, &Bytes::copy_from_slice(key))?;
        Ok(row.filter(|(_, expires_at_ms)| !expired(*expires_at_ms, now_ms)).map(|(value, _)| value))
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
        let wanted = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let from = (table, Bytes::copy_from_slice(start));
        let collect = |memtable: &Memtable, into: &mut BTreeMap<Bytes, Row>| {
            let rows = memtable.rows.range(from.clone()..);
            let rows = rows.take_while(|((of, key), _)| *of == table && key.starts_with(prefix));
            into.extend(rows.map(|((_, key), row)| (key.clone(), row.clone())));
        };
        let (newer, snapshot) = self.shared.view(collect, BTreeMap::new())?;
        let mut found = Vec::new();
        snapshot.rows(table, prefix, start, |key, value, expires_at_ms| {
            if found.len() < limit && wanted(key) && !newer.contains_key(key) && !expired(expires_at_ms, now_ms) {
                found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            }
            found.len() < limit
        })?;
        found.extend(newer.into_iter().filter(|(key, _)| wanted(key)).filter_map(|(key, row)| {
            let (value, expires_at_ms) = row?;
            (!expired(expires_at_ms, now_ms)).then_some((key, value))
        }));
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    fn scan_readable(
        &self,
        table: Table,
        prefix: &[u8],
        now_ms: u64,
        each: &mut dyn FnMut(Scanned),
    ) -> Result<(), Error> {
        let from = (table, Bytes::copy_from_slice(prefix));
        let collect = |memtable: &Memtable, into: &mut BTreeMap<Bytes, Row>| {
            let rows = memtable.rows.range(from.clone()..);
            let rows = rows.take_while(|((of, key), _)| *of == table && key.starts_with(prefix));
            into.extend(rows.map(|((_, key), row)| (key.clone(), row.clone())));
        };
        let (newer, snapshot) = self.shared.view(collect, BTreeMap::new())?;
        snapshot.readable(table, prefix, |found| match found {
            Readable::Row(key, value, expires_at_ms) => {
                if !newer.contains_key(key) && !expired(expires_at_ms, now_ms) {
                    each(Scanned::Row(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                }
            }
            Readable::Not { from, to } => {
                let one = to.is_some_and(|to| to.strip_prefix(from) == Some(&[0]));
                // What was written since is known.
                if !(one && newer.contains_key(from)) {
                    let to = to.map(Bytes::copy_from_slice);
                    each(Scanned::Unreadable { from: Bytes::copy_from_slice(from), to });
                }
            }
        })?;
        for (key, row) in newer {
            if let Some((value, expires_at_ms)) = row
                && !expired(expires_at_ms, now_ms)
            {
                each(Scanned::Row(key, value));
            }
        }
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        let mut running = self.running.lock();
        if let Some(Running { indexer, spares, folder }) = running.take() {
            self.shared.queue.drain(CLOSED);
            self.shared.signal.stop();
            if indexer.join().is_err() {
                self.shared.fail(Error::Poisoned { cause: "the index thread panicked".into() });
            }
            spares.stop();
            *self.shared.index.lock() = None;
            // Last: the folder stays locked until nothing writes to it.
            drop(folder);
        }
        self.shared.failed()
    }

    fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commits: read(&self.shared.stats.commits),
            syncs: read(&self.shared.stats.syncs),
            log_bytes: read(&self.shared.stats.log_bytes),
            log_backlog: read(&self.shared.stats.log_backlog),
            queued: self.shared.queue.queued(),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store was closed without everything being durable");
        }
        self.shared.queue.stop();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
    }
}
