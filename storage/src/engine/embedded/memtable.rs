//! Commits that are durable in the log and not yet in the index: what reads see first, and what the index thread takes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use crate::{Applied, Table, Write, rules::Head};

/// A row: `None` when it was removed, else its value and expiry.
pub(super) type Row = Option<(Bytes, Option<u64>)>;

/// A session's writes, in order, each with the time of its commit.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The head after them; `None` when the session is gone.
    pub head: Option<Head>,
    pub writes: Vec<(u64, Write)>,
}

/// Groups `first..=last_seq` of the log, by session and by row.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    pub sessions: HashMap<Arc<str>, Entry>,
    pub rows: BTreeMap<(Table, Bytes), Row>,
    /// About what it takes in memory.
    pub bytes: usize,
    /// Bytes of log that it stands for.
    pub log_bytes: u64,
    /// Seq of the newest group in it; 0 when it is empty.
    pub last_seq: u64,
    /// The newest commit's time.
    pub time_ms: u64,
}

impl Memtable {
    /// Adds a write of a commit. Returns the session whose head the caller now sets, if it was a session's write.
    pub fn push(&mut self, write: Write, time_ms: u64) -> Option<&mut Entry> {
        self.bytes += weight(&write);
        match write {
            Write::Put { table, key, value, expires_at_ms, .. } => {
                self.rows.insert((table, key), Some((value, expires_at_ms)));
                None
            }
            Write::Remove { table, key } => {
                self.rows.insert((table, key), None);
                None
            }
            Write::Create { ref session, .. }
            | Write::Delta { ref session, .. }
            | Write::Op { ref session, .. }
            | Write::Forget { ref session, .. }
            | Write::Meta { ref session, .. }
            | Write::Checkpoint { ref session, .. }
            | Write::DeleteSession { ref session, .. } => {
                if !self.sessions.contains_key(session) {
                    self.sessions.insert(session.clone(), Entry::default());
                }
                let entry = self.sessions.get_mut(session)?;
                entry.writes.push((time_ms, write));
                Some(entry)
            }
        }
    }
}

/// The session of a write.
pub(super) fn session(write: &Write) -> Option<&Arc<str>> {
    match write {
        Write::Create { session, .. }
        | Write::Delta { session, .. }
        | Write::Op { session, .. }
        | Write::Forget { session, .. }
        | Write::Meta { session, .. }
        | Write::Checkpoint { session, .. }
        | Write::DeleteSession { session, .. } => Some(session),
        Write::Put { .. } | Write::Remove { .. } => None,
    }
}

/// Bytes of a write in memory: its contents, and 256 for what holds them.
fn weight(write: &Write) -> usize {
    let op = |op: &Option<Applied>| op.as_ref().map_or(0, |op| op.answer.len());
    256 + match write {
        Write::Create { meta, document, op: made_by, .. } => meta.len() + document.len() + op(made_by),
        Write::Delta { change, op: made_by, .. } => change.len() + op(made_by),
        Write::Meta { meta, .. } => meta.len(),
        Write::Checkpoint { document, .. } => document.len(),
        Write::Op { op, .. } => op.answer.len(),
        Write::DeleteSession { .. } | Write::Forget { .. } => 0,
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Remove { key, .. } => key.len(),
    }
}

/// The table that takes commits, and the one that is being written to the index.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub active: Memtable,
    pub frozen: Option<Arc<Memtable>>,
}

impl Tables {
    /// About what both take in memory.
    pub fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// A session of which a write is here, newest first.
    pub fn entry(&self, session: &str) -> Option<&Entry> {
        let frozen = self.frozen.as_deref();
        [Some(&self.active), frozen].into_iter().flatten().find_map(|table| table.sessions.get(session))
    }

    /// A row, if it was written here.
    pub fn row(&self, key: &(Table, Bytes)) -> Option<Row> {
        let frozen = self.frozen.as_deref();
        [Some(&self.active), frozen].into_iter().flatten().find_map(|table| table.rows.get(key)).cloned()
    }
}
