//! The store of the simulation: the real memory engine, which completes commits when it is told to, with books of what
//! was submitted and what is durable. What the clients are told is held against these books.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncbridge::persist::Persist;
use syncbridge_storage::{
    Commit, Engine, Error, Outcome, Sink, Stats, StoredDelta, StoredSession, Table, Ticket, Write,
    engine::memory::Memory,
};

use super::clock;

/// Versions by session.
pub type Versions = BTreeMap<Arc<str>, u64>;

#[derive(Debug, Default)]
struct Pages {
    /// Of each commit that has not ended: the versions that it makes.
    under_way: HashMap<Ticket, Vec<(Arc<str>, u64)>>,
    submitted: Versions,
    durable: Versions,
    /// Of each session: what was durable when a process began.
    kept: BTreeMap<Arc<str>, Vec<u64>>,
}

/// What was submitted and what is durable, over all lives of the server.
#[derive(Debug, Default)]
pub struct Books(Mutex<Pages>);

impl Books {
    /// The newest durable version of a session; 0 when there is none.
    pub fn durable(&self, session: &str) -> u64 {
        self.0.lock().durable.get(session).copied().unwrap_or(0)
    }

    /// Whether a process of the server ever began with this version of the session.
    pub fn began_with(&self, session: &str, version: u64) -> bool {
        self.0.lock().kept.get(session).is_some_and(|kept| kept.contains(&version))
    }

    fn submit(&self, commit: &Commit) {
        let mut pages = self.0.lock();
        let mut versions = Vec::new();
        for write in &commit.writes {
            let (session, version) = match write {
                Write::Create { session, .. } => (session, 1),
                Write::Delta { session, version, .. } => (session, *version),
                _ => continue,
            };
            let before = pages.submitted.insert(Arc::clone(session), version).unwrap_or(0);
            assert_eq!(before + 1, version, "session {session}: a version was skipped on its way to the store");
            versions.push((Arc::clone(session), version));
        }
        pages.under_way.insert(commit.ticket, versions);
    }

    fn ended(&self, ended: &[(Ticket, Outcome)]) {
        let mut pages = self.0.lock();
        for (ticket, outcome) in ended {
            assert_eq!(*outcome, Outcome::Committed, "one server alone is never fenced");
            for (session, version) in pages.under_way.remove(ticket).expect("a commit ends once") {
                pages.durable.insert(session, version);
            }
        }
    }

    fn restart(&self) {
        let mut pages = self.0.lock();
        pages.under_way.clear();
        pages.submitted = pages.durable.clone();
        for (session, version) in pages.durable.clone() {
            pages.kept.entry(session).or_default().push(version);
        }
    }
}

/// Writes the books before the server is told.
struct Teller {
    persist: Arc<Persist>,
    books: Arc<Books>,
}

impl Sink for Teller {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        self.books.ended(ended);
        self.persist.completed(ended);
    }

    fn poisoned(&self, error: &Error) {
        self.persist.poisoned(error);
    }
}

/// See the file's head.
pub struct Store {
    memory: Memory,
    books: Arc<Books>,
}

impl Store {
    /// An empty store.
    pub fn new(persist: &Arc<Persist>, books: &Arc<Books>) -> Self {
        let memory = Memory::manual(teller(persist, books), Arc::new(|| clock::now().wall_ms));
        Self { memory, books: Arc::clone(books) }
    }

    /// What the next process finds: everything that was completed.
    pub fn reopen(&self, persist: &Arc<Persist>) -> Self {
        self.books.restart();
        Self { memory: self.memory.reopen(teller(persist, &self.books)), books: Arc::clone(&self.books) }
    }

    /// Completes the oldest commits.
    pub fn complete(&self, most: usize) -> usize {
        self.memory.commit_next(most)
    }

    /// Commits that are not completed.
    pub fn pending(&self) -> usize {
        self.memory.pending()
    }
}

fn teller(persist: &Arc<Persist>, books: &Arc<Books>) -> Arc<dyn Sink> {
    Arc::new(Teller { persist: Arc::clone(persist), books: Arc::clone(books) })
}

impl Engine for Store {
    fn epoch(&self) -> u64 {
        self.memory.epoch()
    }

    fn submit(&self, commit: Commit) {
        self.books.submit(&commit);
        self.memory.submit(commit);
    }

    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
        self.memory.load(session)
    }

    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
        // Small reads, so that catching up takes several.
        self.memory.deltas(session, after, max_bytes.min(2_000))
    }

    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
        self.memory.get(table, key, now_ms)
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.memory.scan(table, prefix, after, limit, now_ms)
    }

    fn close(&self) -> Result<(), Error> {
        self.memory.close()
    }

    fn stats(&self) -> Stats {
        self.memory.stats()
    }
}
