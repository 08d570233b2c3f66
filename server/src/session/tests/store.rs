//! A store as small as it can be: what the trait of `storage` promises of one session, with commits that end when the
//! test says so, and a crash that loses the others.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use syncbridge_storage::{Applied, DEDUP_WINDOW, EpochStart, Incarnation, StoredDelta, StoredSession, Write};

#[derive(Debug, Default)]
pub struct Store {
    under_way: VecDeque<(u64, Vec<Write>)>,
    kept: Option<StoredSession>,
    /// Rows of tables, by their keys.
    rows: BTreeMap<Bytes, Bytes>,
    /// Every change ever committed; `kept.deltas` begins at the checkpoint.
    all: Vec<StoredDelta>,
}

impl Store {
    pub fn submit(&mut self, number: u64, writes: Vec<Write>) {
        self.under_way.push_back((number, writes));
    }

    /// A write that no core waits for, behind everything that is under way.
    pub fn append(&mut self, write: Write) {
        match self.under_way.back_mut() {
            Some((_, writes)) => writes.push(write),
            None => self.apply(write),
        }
    }

    /// The next commit becomes durable. Its number.
    pub fn commit(&mut self) -> Option<u64> {
        let (number, writes) = self.under_way.pop_front()?;
        for write in writes {
            self.apply(write);
        }
        Some(number)
    }

    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What a process that starts now finds.
    pub fn crash(&mut self) -> Option<StoredSession> {
        self.under_way.clear();
        self.kept.clone()
    }

    /// A row that is durable.
    pub fn row(&self, key: &[u8]) -> Option<Bytes> {
        self.rows.get(key).cloned()
    }

    pub fn version(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.version)
    }

    /// The changes after `after` and before `until`.
    pub fn changes(&self, after: u64, until: u64) -> Vec<Bytes> {
        let wanted = self.all.iter().filter(|delta| delta.version > after && delta.version < until);
        wanted.map(|delta| delta.change.clone()).collect()
    }

    pub fn has_op(&self, user: &str, incarnation: u128, counter: u64) -> bool {
        self.kept.iter().flat_map(|kept| &kept.incarnations).any(|row| {
            *row.user == *user
                && row.incarnation == incarnation
                && row.answers.iter().any(|(known, _)| *known == counter)
        })
    }

    fn kept(&mut self) -> &mut StoredSession {
        self.kept.as_mut().expect("the session was created first")
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Create { epoch, meta, document, op, .. } => {
                assert!(self.kept.is_none(), "created twice");
                self.kept = Some(StoredSession {
                    epoch,
                    version: 1,
                    meta,
                    document,
                    document_version: 1,
                    deltas: Vec::new(),
                    epochs: vec![EpochStart { epoch, base: 0 }],
                    incarnations: Vec::new(),
                });
                if let Some(op) = op {
                    self.op(op);
                }
            }
            Write::Delta { epoch, version, change, op, .. } => {
                self.begin(epoch);
                assert_eq!(version, self.kept().version + 1, "storage gets every version once, in order");
                self.kept().version = version;
                self.kept().deltas.push(StoredDelta { version, epoch, change });
                let delta = self.kept().deltas.last().cloned();
                self.all.extend(delta);
                if let Some(op) = op {
                    self.op(op);
                }
            }
            Write::Op { epoch, op, .. } => {
                self.begin(epoch);
                self.op(op);
            }
            Write::Forget { user, incarnation, .. } => {
                self.kept().incarnations.retain(|row| (&row.user, row.incarnation) != (&user, incarnation));
            }
            Write::Checkpoint { version, document, .. } => {
                let kept = self.kept();
                assert!(version <= kept.version, "a checkpoint of a version that is not there");
                kept.deltas.retain(|delta| delta.version > version);
                (kept.document, kept.document_version) = (document, version);
            }
            Write::Meta { epoch, meta, .. } => {
                self.begin(epoch);
                self.kept().meta = meta;
            }
            Write::Put { key, value, .. } => drop(self.rows.insert(key, value)),
            Write::Remove { key, .. } => drop(self.rows.remove(&key)),
            Write::DeleteSession { .. } => self.kept = None,
        }
    }

    fn begin(&mut self, epoch: u64) {
        let kept = self.kept();
        assert!(epoch >= kept.epoch, "a write of an old epoch");
        if epoch > kept.epoch {
            kept.epochs.push(EpochStart { epoch, base: kept.version });
            kept.epoch = epoch;
        }
    }

    fn op(&mut self, op: Applied) {
        let Applied { user, incarnation, counter, answer } = op;
        let rows = &mut self.kept().incarnations;
        let at = rows.iter().position(|row| (&row.user, row.incarnation) == (&user, incarnation));
        let at = at.unwrap_or_else(|| {
            let user: Arc<str> = user.clone();
            rows.push(Incarnation { user, incarnation, high_water: 0, answers: Vec::new() });
            rows.len() - 1
        });
        let row = &mut rows[at];
        assert!(counter > row.high_water, "op {counter} was recorded before");
        row.high_water = counter;
        row.answers.push((counter, answer));
        if row.answers.len() > DEDUP_WINDOW {
            row.answers.remove(0);
        }
    }
}
