//! What an engine remembers of a session's partition so that it can write without reading: where it stands and which rows
//! it has, never their contents. Turns commits that passed into the rows of one batch. A chart is right as long as the
//! partition has the head that the chart has; the database says so with each batch.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    database::{Database, Face, Follows, Nonce, Place, Value, Writes, nonce},
    rows::{self, Column, Kind},
};
use crate::{
    Applied, EpochStart, Write,
    defaults::{
        DEDUP_WINDOW, INCARNATION_IDLE_MS, INCARNATION_SWEEP_MS, INCARNATIONS_KEPT, INCARNATIONS_LEFT, RUN_BYTES,
    },
    partition::{note_epoch, releasable},
    rules::Head,
};

/// An incarnation of a user's client.
pub(super) type Who = (Arc<str>, u128);

/// A row of deltas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub last: u64,
    pub bytes: usize,
}

/// A row of answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answers {
    pub number: u64,
    pub low: u64,
    pub high: u64,
    pub count: usize,
}

/// The answers of one incarnation.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub last_ms: u64,
    pub rows: VecDeque<Answers>,
}

/// A session that is there.
#[derive(Debug)]
pub(super) struct Live {
    pub life: i64,
    pub epoch: u64,
    pub version: u64,
    pub document: Bytes,
    pub document_version: u64,
    pub epochs: Vec<EpochStart>,
    pub runs: VecDeque<Run>,
    pub incarnations: HashMap<Who, Kept>,
    /// Number of the next row of answers.
    pub next: u64,
    /// When idle incarnations were last looked for.
    pub swept_ms: u64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Chart {
    pub head: Option<Nonce>,
    pub txn: Option<Nonce>,
    pub fence: Option<u64>,
    pub owner: Option<Nonce>,
    pub live: Option<Live>,
}

/// What commits that passed have changed since the chart was right.
#[derive(Default)]
pub(super) struct Draft {
    /// Lives that ended.
    ended: Vec<i64>,
    runs: Vec<(u64, u64, usize, Vec<u8>)>,
    answers: HashMap<Who, (u64, Vec<(u64, Bytes)>)>,
    /// Rows that go: kind, name, and the newest that goes.
    gone: Vec<(Kind, Bytes, u64)>,
    document: Option<Bytes>,
    meta: Option<Bytes>,
    epochs: bool,
    /// The session's life began in this draft: nothing of it is in the database.
    begun: bool,
    /// Something is to be written.
    pub touched: bool,
}

impl Chart {
    pub fn face(&self) -> Face {
        Face {
            txn: self.txn,
            fence: self.fence,
            owner: self.owner,
            life: self.live.as_ref().map(|live| live.life),
            epoch: self.live.as_ref().map(|live| live.epoch),
            version: self.live.as_ref().map(|live| live.version),
        }
    }

    pub const fn follows(&self) -> Follows {
        Follows { head: self.head, fence: self.fence }
    }

    /// What the next write is judged against.
    pub fn judged(&self) -> Option<Head> {
        self.live.as_ref().map(|live| Head { epoch: live.epoch.max(self.fence.unwrap_or(0)), version: live.version })
    }

    /// Applies a write that passed, made by server `me` at `now_ms`.
    pub fn apply(&mut self, write: &Write, me: Nonce, now_ms: u64, draft: &mut Draft) {
        draft.touched = true;
        match write {
            Write::Create { epoch, meta, document, op, .. } => {
                self.enter(*epoch, me);
                let life = i64::from_le_bytes(nonce()[..8].try_into().unwrap_or_default());
                self.live = Some(Live {
                    life,
                    epoch: *epoch,
                    version: 1,
                    document: Bytes::new(),
                    document_version: 1,
                    epochs: vec![EpochStart { epoch: *epoch, base: 0 }],
                    runs: VecDeque::new(),
                    incarnations: HashMap::new(),
                    next: 1,
                    swept_ms: now_ms,
                });
                let ended = std::mem::take(&mut draft.ended);
                *draft = Draft {
                    ended,
                    document: Some(document.clone()),
                    meta: Some(meta.clone()),
                    epochs: true,
                    begun: true,
                    touched: true,
                    ..Draft::default()
                };
                self.record(op.as_ref(), now_ms, draft);
            }
            Write::DeleteSession { .. } => {
                let mut ended = std::mem::take(&mut draft.ended);
                ended.extend(self.live.take().filter(|_| !draft.begun).map(|live| live.life));
                (self.fence, self.owner) = (None, None);
                *draft = Draft { ended, touched: true, ..Draft::default() };
            }
            Write::Delta { epoch, version, change, op, .. } => {
                self.note(*epoch, me, draft);
                let Some(live) = &mut self.live else { return };
                live.version = *version;
                match draft.runs.last_mut() {
                    Some((_, last, bytes, run)) if *bytes + change.len() <= RUN_BYTES => {
                        *last = *version;
                        *bytes += change.len();
                        rows::put_delta(run, *epoch, change);
                    }
                    _ => {
                        let mut run = Vec::with_capacity(change.len() + 16);
                        rows::put_delta(&mut run, *epoch, change);
                        draft.runs.push((*version, *version, change.len(), run));
                    }
                }
                self.record(op.as_ref(), now_ms, draft);
            }
            Write::Op { epoch, op, .. } => {
                self.note(*epoch, me, draft);
                self.record(Some(op), now_ms, draft);
            }
            Write::Forget { epoch, user, incarnation, .. } => {
                self.note(*epoch, me, draft);
                self.forget(&(user.clone(), *incarnation), draft);
            }
            Write::Meta { epoch, meta, .. } => {
                self.note(*epoch, me, draft);
                draft.meta = Some(meta.clone());
            }
            Write::Checkpoint { epoch, version, document, .. } => {
                self.note(*epoch, me, draft);
                let Some(live) = &mut self.live else { return };
                if *version > live.document_version && *version <= live.version {
                    live.document_version = *version;
                    draft.document = Some(document.clone());
                }
            }
            Write::Put { .. } | Write::Remove { .. } => {}
        }
    }

    /// A writer of `epoch` is the owner from here on.
    fn enter(&mut self, epoch: u64, me: Nonce) {
        if self.fence.is_none_or(|fence| fence < epoch) {
            self.fence = Some(epoch);
            self.owner = Some(me);
        }
    }

    fn note(&mut self, epoch: u64, me: Nonce, draft: &mut Draft) {
        self.enter(epoch, me);
        if let Some(live) = &mut self.live {
            let newest = live.epochs.last().map(|start| start.epoch);
            note_epoch(&mut live.epochs, epoch, live.version);
            draft.epochs |= live.epochs.last().map(|start| start.epoch) != newest;
            live.epoch = epoch;
        }
    }

    fn record(&mut self, op: Option<&Applied>, now_ms: u64, draft: &mut Draft) {
        let (Some(op), Some(live)) = (op, &mut self.live) else { return };
        let who = (op.user.clone(), op.incarnation);
        live.incarnations.entry(who.clone()).or_default().last_ms = now_ms;
        let (at, answers) = draft.answers.entry(who).or_default();
        *at = now_ms;
        answers.push((op.counter, op.answer.clone()));
        if answers.len() > 2 * DEDUP_WINDOW {
            rows::newest(answers);
        }
        if live.incarnations.len() > INCARNATIONS_KEPT {
            let mut by_age: Vec<_> = live.incarnations.iter().map(|(who, kept)| (kept.last_ms, who.clone())).collect();
            by_age.sort_unstable();
            by_age.truncate(by_age.len() - INCARNATIONS_LEFT);
            for (_, who) in by_age {
                self.forget(&who, draft);
            }
        }
    }

    fn forget(&mut self, who: &Who, draft: &mut Draft) {
        let Some(live) = &mut self.live else { return };
        draft.answers.remove(who);
        if let Some(kept) = live.incarnations.remove(who)
            && let Some(last) = kept.rows.back()
        {
            draft.gone.push((Kind::Answers, rows::answers_name(who), last.number));
        }
    }

    /// The rows of what changed, as a batch behind the partition's next head; the chart is then right for that head.
    pub fn writes(&mut self, place: &Place, db: &Database, now_ms: u64, mut draft: Draft) -> Writes {
        let mut writes = Writes::default();
        let with_key = |rest: Vec<Value>| [place.key(), rest].concat();
        let statements = &db.statements;
        for life in draft.ended.drain(..) {
            writes.push(&statements.delete_life, with_key(vec![Value::Big(life)]));
        }
        if draft.touched && self.live.is_none() {
            // The columns of a session that is gone.
            writes.push(&statements.set_meta, [vec![Value::Null], place.key()].concat());
            writes.push(&statements.set_epochs, [vec![Value::Null], place.key()].concat());
            writes.push(&statements.set_document, [vec![Value::Null, Value::Null], place.key()].concat());
            return writes;
        }
        if now_ms.saturating_sub(self.live.as_ref().map_or(now_ms, |live| live.swept_ms)) >= INCARNATION_SWEEP_MS {
            self.sweep(now_ms, &mut draft);
        }
        let Some(live) = &mut self.live else { return writes };
        let of_life = live.life;
        let insert = |writes: &mut Writes, row: rows::NewRow| {
            writes.push(&statements.insert, with_key(row.values(of_life)));
        };
        if let Some(meta) = draft.meta {
            let meta = rows::seal_column(Column::Meta, place.id(), &meta);
            writes.push(&statements.set_meta, [vec![Value::Blob(meta)], place.key()].concat());
        }
        if draft.epochs {
            let epochs = rows::seal_column(Column::Epochs, place.id(), &rows::epochs(&live.epochs));
            writes.push(&statements.set_epochs, [vec![Value::Blob(epochs)], place.key()].concat());
        }
        for (first, last, bytes, value) in draft.runs {
            live.runs.push_back(Run { last, bytes });
            insert(
                &mut writes,
                rows::NewRow {
                    kind: Kind::Run,
                    name: Bytes::new(),
                    number: last,
                    low: first,
                    high: last,
                    count: bytes,
                    at: 0,
                    value,
                },
            );
        }
        for (who, (at, mut answers)) in draft.answers {
            rows::newest(&mut answers);
            let kept = live.incarnations.entry(who.clone()).or_default();
            let low = answers.first().map_or(0, |(counter, _)| *counter);
            let high = answers.last().map_or(0, |(counter, _)| *counter);
            let row = Answers { number: live.next, low, high, count: answers.len() };
            live.next += 1;
            kept.rows.push_back(row);
            // A row goes when the ones behind it have as many answers as are kept, all of later ops.
            let mut behind: usize = kept.rows.iter().map(|row| row.count).sum();
            let mut last_gone = None;
            while let Some(oldest) = kept.rows.front() {
                behind -= oldest.count;
                if behind < DEDUP_WINDOW || kept.rows.iter().skip(1).any(|row| row.low <= oldest.high) {
                    break;
                }
                last_gone = Some(oldest.number);
                kept.rows.pop_front();
            }
            if let Some(last) = last_gone {
                draft.gone.push((Kind::Answers, rows::answers_name(&who), last));
            }
            insert(
                &mut writes,
                rows::NewRow {
                    kind: Kind::Answers,
                    name: rows::answers_name(&who),
                    number: row.number,
                    low,
                    high,
                    count: row.count,
                    at,
                    value: rows::answers(&answers),
                },
            );
        }
        if let Some(document) = draft.document {
            if !draft.begun {
                draft.gone.push((Kind::Document, live.document.clone(), i64::MAX.cast_unsigned()));
            }
            live.document = Bytes::copy_from_slice(&nonce());
            writes.push(
                &statements.set_document,
                [vec![Value::Blob(live.document.clone()), Value::number(live.document_version)], place.key()].concat(),
            );
            for (number, piece) in (0..).zip(rows::pieces(&document)) {
                insert(
                    &mut writes,
                    rows::NewRow {
                        kind: Kind::Document,
                        name: live.document.clone(),
                        number,
                        low: 0,
                        high: 0,
                        count: piece.len(),
                        at: 0,
                        value: piece.to_vec(),
                    },
                );
            }
            draft.gone.extend(live.release().map(|last| (Kind::Run, Bytes::new(), last)));
        }
        for (kind, name, last) in draft.gone {
            let values = vec![Value::Big(of_life), Value::Tiny(kind as i8), Value::Blob(name), Value::number(last)];
            writes.push(&statements.delete_rows, with_key(values));
        }
        writes
    }

    fn sweep(&mut self, now_ms: u64, draft: &mut Draft) {
        let Some(live) = &mut self.live else { return };
        live.swept_ms = now_ms;
        let idle = |kept: &Kept| now_ms.saturating_sub(kept.last_ms) > INCARNATION_IDLE_MS;
        let over: Vec<Who> =
            live.incarnations.iter().filter(|(_, kept)| idle(kept)).map(|(who, _)| who.clone()).collect();
        for who in over {
            self.forget(&who, draft);
        }
    }
}

impl Live {
    /// Lets go of the runs of deltas that retention does not keep; the newest version in them.
    fn release(&mut self) -> Option<u64> {
        let behind_it = self.runs.iter().filter(|run| run.last <= self.document_version);
        let mut behind: usize = behind_it.map(|run| run.bytes).sum();
        let mut last = None;
        while let Some(oldest) = self.runs.front()
            && oldest.last <= self.document_version
            && releasable(self.document_version - oldest.last, behind - oldest.bytes, oldest.bytes)
        {
            behind -= oldest.bytes;
            last = Some(oldest.last);
            self.runs.pop_front();
        }
        last
    }
}
impl rows::NewRow {
    /// What `insert` binds behind the session's key, in a session of this life.
    pub(super) fn values(self, life: i64) -> Vec<Value> {
        vec![
            Value::Big(life),
            Value::Tiny(self.kind as i8),
            Value::Blob(self.name.clone()),
            Value::number(self.number),
            Value::number(self.low),
            Value::number(self.high),
            Value::Int(i32::try_from(self.count).unwrap_or(i32::MAX)),
            Value::number(self.at),
            Value::Blob(self.sealed()),
        ]
    }
}
