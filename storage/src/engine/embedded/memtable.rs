//! Commits that are durable in the log and not yet in the index: what reads see first, and what the index thread takes.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::hash::Map;
use crate::{Applied, Table, Write, rules::Head};

/// A row: `None` when it was removed, else its value and expiry.
pub(super) type Row = Option<(Bytes, Option<u64>)>;

/// A session's writes.
#[derive(Debug)]
pub(super) struct Entry {
    /// The head after them; `None` when the session is gone.
    pub head: Option<Head>,
    /// In order: each commit's, with its time.
    commits: Vec<(u64, Vec<Write>)>,
}

/// Groups `first..=last_seq` of the log, by session and by row.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    pub sessions: Map<Arc<str>, Entry>,
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

impl Entry {
    /// Its writes, in order, each with the time of its commit.
    pub fn writes(&self) -> impl Iterator<Item = (u64, &Write)> {
        self.commits.iter().flat_map(|(time_ms, writes)| writes.iter().map(|write| (*time_ms, write)))
    }
}

impl Memtable {
    /// Adds the writes of a commit, after which the sessions in them have the heads that `head` says.
    pub fn push(&mut self, writes: Vec<Write>, time_ms: u64, head: impl Fn(&str) -> Option<Head>) {
        self.bytes += writes.iter().map(weight).sum::<usize>();
        if let Some((first, rest)) = writes.split_first()
            && let Some(session) = first.session()
            && rest.iter().all(|write| write.session() == Some(session))
        {
            // Nearly always. What the submitter allocated stays as it is, and is freed by who writes the index.
            self.push_session(&session.clone(), writes, time_ms, head);
            return;
        }
        for write in writes {
            match write {
                Write::Put { table, key, value, expires_at_ms, .. } => {
                    self.rows.insert((table, key), Some((value, expires_at_ms)));
                }
                Write::Remove { table, key } => {
                    self.rows.insert((table, key), None);
                }
                write => {
                    if let Some(session) = write.session().cloned() {
                        self.push_session(&session, vec![write], time_ms, &head);
                    }
                }
            }
        }
    }

    fn push_session(
        &mut self,
        session: &Arc<str>,
        writes: Vec<Write>,
        time_ms: u64,
        head: impl Fn(&str) -> Option<Head>,
    ) {
        let head = head(session);
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.head = head;
            entry.commits.push((time_ms, writes));
        } else {
            self.sessions.insert(session.clone(), Entry { head, commits: vec![(time_ms, writes)] });
        }
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
