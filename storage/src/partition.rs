//! One session's data in memory and the rules for what of it is kept: what the memory engine holds, and what the embedded
//! engine puts together when it loads. Never decides whether a write is allowed (that is `rules`).

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    Applied, EpochStart, Incarnation, StoredDelta, StoredSession, Write,
    defaults::{
        DEDUP_WINDOW, DELTA_BYTES_KEPT, DELTA_BYTES_MAX, DELTAS_KEPT, EPOCHS_KEPT, INCARNATION_IDLE_MS,
        INCARNATIONS_KEPT, INCARNATIONS_LEFT,
    },
};

/// True when the oldest of the deltas behind the checkpoint may go: `versions` and `bytes` are what is left without it.
pub(crate) fn releasable(versions: u64, bytes: usize, oldest: usize) -> bool {
    (versions >= DELTAS_KEPT && bytes >= DELTA_BYTES_KEPT) || bytes + oldest > DELTA_BYTES_MAX
}

/// Notes that something was written in `epoch` on top of version `base`.
pub(crate) fn note_epoch(epochs: &mut Vec<EpochStart>, epoch: u64, base: u64) {
    if epochs.last().is_none_or(|last| last.epoch < epoch) {
        if epochs.len() >= EPOCHS_KEPT {
            epochs.drain(..=epochs.len() - EPOCHS_KEPT);
        }
        epochs.push(EpochStart { epoch, base });
    }
}

/// The dedup record of one incarnation.
#[derive(Debug, Default)]
pub(crate) struct Dedup {
    pub high_water: u64,
    pub last_ms: u64,
    pub answers: BTreeMap<u64, Bytes>,
}

impl Dedup {
    pub fn record(&mut self, counter: u64, answer: Bytes, time_ms: u64) {
        self.high_water = self.high_water.max(counter);
        self.last_ms = self.last_ms.max(time_ms);
        self.answers.insert(counter, answer);
        if self.answers.len() > DEDUP_WINDOW {
            self.answers.pop_first();
        }
    }
}

/// A session with everything in its partition.
#[derive(Debug)]
pub(crate) struct Partition {
    pub epoch: u64,
    pub version: u64,
    pub meta: Bytes,
    pub document: Bytes,
    pub document_version: u64,
    /// Contiguous; the last made `version`, unless there is none.
    pub deltas: VecDeque<StoredDelta>,
    pub epochs: Vec<EpochStart>,
    pub incarnations: HashMap<(Arc<str>, u128), Dedup>,
    /// Bytes of the deltas at or below `document_version`.
    behind: usize,
}

impl Partition {
    pub fn new(epoch: u64, meta: Bytes, document: Bytes) -> Self {
        Self {
            epoch,
            version: 1,
            meta,
            document,
            document_version: 1,
            deltas: VecDeque::new(),
            epochs: vec![EpochStart { epoch, base: 0 }],
            incarnations: HashMap::new(),
            behind: 0,
        }
    }

    /// Applies a write that the rules have let pass, made at `time_ms`.
    pub fn apply(slot: &mut Option<Self>, write: &Write, time_ms: u64) {
        match write {
            Write::Create { epoch, meta, document, op, .. } => {
                let mut made = Self::new(*epoch, meta.clone(), document.clone());
                made.record(op.as_ref(), time_ms);
                *slot = Some(made);
            }
            Write::DeleteSession { .. } => *slot = None,
            Write::Delta { epoch, version, change, op, .. } => {
                if let Some(session) = slot
                    && *version == session.version + 1
                {
                    session.enter(*epoch);
                    session.version = *version;
                    session.deltas.push_back(StoredDelta { version: *version, epoch: *epoch, change: change.clone() });
                    session.record(op.as_ref(), time_ms);
                }
            }
            Write::Op { epoch, op, .. } => {
                if let Some(session) = slot {
                    session.enter(*epoch);
                    session.record(Some(op), time_ms);
                }
            }
            Write::Forget { epoch, user, incarnation, .. } => {
                if let Some(session) = slot {
                    session.enter(*epoch);
                    session.incarnations.remove(&(user.clone(), *incarnation));
                }
            }
            Write::Meta { epoch, meta, .. } => {
                if let Some(session) = slot {
                    session.enter(*epoch);
                    session.meta = meta.clone();
                }
            }
            Write::Checkpoint { epoch, version, document, .. } => {
                if let Some(session) = slot {
                    session.enter(*epoch);
                    session.checkpoint(*version, document);
                }
            }
            Write::Put { .. } | Write::Remove { .. } => {}
        }
    }

    fn enter(&mut self, epoch: u64) {
        note_epoch(&mut self.epochs, epoch, self.version);
        self.epoch = epoch;
    }

    fn checkpoint(&mut self, version: u64, document: &Bytes) {
        if version <= self.document_version || version > self.version {
            return;
        }
        self.document = document.clone();
        let passed = self.document_version;
        self.document_version = version;
        self.behind += self.after(passed).take_while(|d| d.version <= version).map(|d| d.change.len()).sum::<usize>();
        while let Some(oldest) = self.deltas.front()
            && oldest.version <= version
        {
            let bytes = oldest.change.len();
            if !releasable(version - oldest.version, self.behind - bytes, bytes) {
                break;
            }
            self.behind -= bytes;
            self.deltas.pop_front();
        }
    }

    fn record(&mut self, op: Option<&Applied>, time_ms: u64) {
        let Some(op) = op else { return };
        let dedup = self.incarnations.entry((op.user.clone(), op.incarnation)).or_default();
        dedup.record(op.counter, op.answer.clone(), time_ms);
        if self.incarnations.len() > INCARNATIONS_KEPT {
            let mut by_age: Vec<_> =
                self.incarnations.iter().map(|(key, dedup)| (dedup.last_ms, key.clone())).collect();
            by_age.sort_unstable();
            by_age.truncate(by_age.len() - INCARNATIONS_LEFT);
            for (_, key) in by_age {
                self.incarnations.remove(&key);
            }
        }
    }

    /// Deltas after `version`, oldest first.
    pub fn after(&self, version: u64) -> impl Iterator<Item = &StoredDelta> {
        let first = self.deltas.front().map_or(0, |delta| delta.version);
        let skip = (version + 1).saturating_sub(first);
        self.deltas.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX))
    }

    /// As [`crate::Engine::deltas`].
    pub fn catch_up(&self, after: u64, max_bytes: usize) -> Option<Vec<StoredDelta>> {
        if after >= self.version {
            return Some(Vec::new());
        }
        if self.deltas.front().is_none_or(|oldest| oldest.version > after + 1) {
            return None;
        }
        Some(limit(self.after(after), max_bytes))
    }

    /// The session as it is loaded at `now_ms`.
    pub fn stored(&self, now_ms: u64) -> StoredSession {
        let mut incarnations: Vec<Incarnation> = self
            .incarnations
            .iter()
            .filter(|(_, dedup)| now_ms.saturating_sub(dedup.last_ms) <= INCARNATION_IDLE_MS)
            .map(|((user, incarnation), dedup)| Incarnation {
                user: user.clone(),
                incarnation: *incarnation,
                high_water: dedup.high_water,
                answers: dedup.answers.iter().map(|(counter, answer)| (*counter, answer.clone())).collect(),
            })
            .collect();
        incarnations.sort_by(|a, b| (&a.user, a.incarnation).cmp(&(&b.user, b.incarnation)));
        StoredSession {
            epoch: self.epoch,
            version: self.version,
            meta: self.meta.clone(),
            document: self.document.clone(),
            document_version: self.document_version,
            deltas: self.after(self.document_version).cloned().collect(),
            epochs: self.epochs.clone(),
            incarnations,
        }
    }
}

/// The first deltas of `deltas` until `max_bytes` are collected; at least one.
pub(crate) fn limit<'a>(deltas: impl Iterator<Item = &'a StoredDelta>, max_bytes: usize) -> Vec<StoredDelta> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for delta in deltas {
        if !taken.is_empty() && bytes + delta.change.len() > max_bytes {
            break;
        }
        bytes += delta.change.len();
        taken.push(delta.clone());
    }
    taken
}
