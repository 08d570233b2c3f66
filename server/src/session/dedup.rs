//! An op is applied once: what is remembered of every client incarnation, and in which order its ops may come.
//!
//! The identity of an op is (session, user, incarnation, counter). Only *applied* ops need a record, committed with
//! their effect: a counter at or below the incarnation's high water that has none was refused, or is older than the
//! window; either way it is never applied. Refusals themselves are kept in memory, so that a resend is told the same.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use syncbridge_codec::wire::{Reader, Value, WireError};
use syncbridge_storage::{self as storage, DEDUP_WINDOW};

use super::{
    defaults::{ANSWERS, ANSWERS_LEAST, INCARNATION_IDLE_MS, INCARNATIONS, REFUSALS_BYTES},
    effect::Writer,
    owed::Owed,
};

/// A client incarnation of a user. The number comes first: it differs, so comparing seldom reaches the text.
pub type Key = (u128, Arc<str>);

/// The record of an applied op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its counter.
    pub counter: u64,
    /// The version that it made, or found when it changed nothing.
    pub version: u64,
    /// The commit that it is durable with; 0 when it was loaded.
    pub commit: u64,
}

/// What is known of an op that comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was never seen.
    New,
    /// It was applied.
    Applied(Record),
    /// It was refused, with this frame.
    Refused(Bytes),
    /// It is older than what is remembered, or was refused long ago. Never applied.
    Expired,
}

#[derive(Debug, Default)]
struct Incarnation {
    high_water: u64,
    /// Of applied ops, ascending by counter.
    answers: VecDeque<Record>,
    owed: Owed,
    /// When it last made something, milliseconds since 1970.
    used_ms: u64,
    /// The minute it stands under in `Ops::by_use`.
    indexed: Option<u64>,
    /// Storage has a row of it, or will.
    stored: bool,
}

/// The ops that a session remembers.
#[derive(Debug, Default)]
pub struct Ops {
    incarnations: BTreeMap<Key, Incarnation>,
    /// The longest idle first, to the minute.
    by_use: BTreeSet<(u64, Key)>,
    refusals: BTreeMap<(Key, u64), Bytes>,
    refusals_in_order: VecDeque<(Key, u64)>,
    refusals_bytes: usize,
    /// Dropped here and not yet in storage.
    dropped: Vec<Key>,
}

const MINUTE_MS: u64 = 60_000;

impl Ops {
    /// What storage kept.
    ///
    /// # Errors
    /// [`WireError`] when an answer is not one of ours.
    pub fn restore(stored: &[storage::Incarnation]) -> Result<Self, WireError> {
        let mut ops = Self::default();
        for row in stored {
            let mut incarnation = Incarnation { high_water: row.high_water, stored: true, ..Incarnation::default() };
            for (counter, answer) in &row.answers {
                let (version, used_ms) = decode_answer(answer.clone())?;
                incarnation.used_ms = incarnation.used_ms.max(used_ms);
                incarnation.answers.push_back(Record { counter: *counter, version, commit: 0 });
            }
            let minute = incarnation.used_ms / MINUTE_MS;
            incarnation.indexed = Some(minute);
            let key = (row.incarnation, row.user.clone());
            ops.make_room();
            ops.by_use.insert((minute, key.clone()));
            ops.incarnations.insert(key, incarnation);
        }
        Ok(ops)
    }

    /// What is known of an op.
    pub fn verdict(&self, writer: &Writer, counter: u64, wall_ms: u64) -> Verdict {
        let key = key(writer);
        let Some(incarnation) = self.incarnations.get(&key) else { return Verdict::New };
        if wall_ms.saturating_sub(incarnation.used_ms) >= INCARNATION_IDLE_MS {
            return Verdict::Expired;
        }
        if counter > incarnation.high_water {
            return Verdict::New;
        }
        if let Some(record) = incarnation.record(counter) {
            return Verdict::Applied(record);
        }
        self.refusals.get(&(key, counter)).map_or(Verdict::Expired, |frame| Verdict::Refused(frame.clone()))
    }

    /// Whether an op was applied, as far as it is remembered: what another one may build on.
    pub fn was_applied(&self, writer: &Writer, counter: u64) -> bool {
        self.incarnations.get(&key(writer)).is_some_and(|incarnation| incarnation.record(counter).is_some())
    }

    /// The counter that must come first, when this one may not come yet.
    pub fn must_wait_for(&self, writer: &Writer, counter: u64) -> Option<u64> {
        if counter == 0 {
            return None;
        }
        let first = self.incarnations.get(&key(writer))?.owed.first()?;
        (counter > first).then_some(first)
    }

    /// An op was told to come again later.
    pub fn told_to_wait(&mut self, writer: &Writer, counter: u64, wall_ms: u64) {
        if counter == 0 {
            return;
        }
        self.used(writer, wall_ms).owed.add(counter);
    }

    /// An op was applied. The record is for the same commit as its effect.
    pub fn applied(&mut self, writer: &Writer, record: Record, wall_ms: u64) -> storage::Applied {
        let incarnation = self.used(writer, wall_ms);
        incarnation.settle(record.counter);
        incarnation.stored = true;
        incarnation.answers.push_back(record);
        let window = self.window();
        if let Some(incarnation) = self.incarnations.get_mut(&key(writer)) {
            while incarnation.answers.len() > window {
                incarnation.answers.pop_front();
            }
        }
        storage::Applied {
            user: writer.user.clone(),
            incarnation: writer.incarnation,
            counter: record.counter,
            answer: encode_answer(record.version, wall_ms),
        }
    }

    /// An op was refused for good.
    pub fn refused(&mut self, writer: &Writer, counter: u64, frame: Bytes, wall_ms: u64) {
        if counter == 0 {
            return;
        }
        self.used(writer, wall_ms).settle(counter);
        let at = (key(writer), counter);
        self.refusals_bytes += frame.len();
        self.refusals_in_order.push_back(at.clone());
        self.refusals.insert(at, frame);
        while self.refusals_bytes > REFUSALS_BYTES
            && let Some(oldest) = self.refusals_in_order.pop_front()
        {
            self.refusals_bytes -= self.refusals.remove(&oldest).map_or(0, |frame| frame.len());
        }
    }

    /// Incarnations that gave way since the last call: storage lets go of them in the next commit.
    pub fn take_dropped(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.dropped)
    }

    /// Incarnations that are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.incarnations.len()
    }

    /// Answers that one incarnation may have: all of the window while there are few, a fair share when there are many.
    fn window(&self) -> usize {
        (ANSWERS / self.incarnations.len().max(1)).clamp(ANSWERS_LEAST, DEDUP_WINDOW)
    }

    fn used(&mut self, writer: &Writer, wall_ms: u64) -> &mut Incarnation {
        let key = key(writer);
        if !self.incarnations.contains_key(&key) {
            self.make_room();
        }
        let incarnation = self.incarnations.entry(key.clone()).or_default();
        incarnation.used_ms = incarnation.used_ms.max(wall_ms);
        let minute = incarnation.used_ms / MINUTE_MS;
        if incarnation.indexed != Some(minute) {
            if let Some(before) = incarnation.indexed.replace(minute) {
                self.by_use.remove(&(before, key.clone()));
            }
            self.by_use.insert((minute, key));
        }
        incarnation
    }

    fn make_room(&mut self) {
        while self.incarnations.len() >= INCARNATIONS
            && let Some((_, idle)) = self.by_use.pop_first()
        {
            let stored = self.incarnations.remove(&idle).is_some_and(|incarnation| incarnation.stored);
            // What finds no room here stays in storage until the session is loaded again, and then gives way again.
            if stored && self.dropped.len() < INCARNATIONS {
                self.dropped.push(idle);
            }
        }
    }
}

impl Incarnation {
    fn record(&self, counter: u64) -> Option<Record> {
        let at = self.answers.binary_search_by_key(&counter, |record| record.counter).ok()?;
        self.answers.get(at).copied()
    }

    /// An op was applied or refused: the next one that is owed may come.
    fn settle(&mut self, counter: u64) {
        self.high_water = self.high_water.max(counter);
        self.owed.come(counter);
    }
}

fn key(writer: &Writer) -> Key {
    (writer.incarnation, writer.user.clone())
}

/// The stored answer: version, then when. Grows at its end only.
fn encode_answer(version: u64, wall_ms: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(version.size() + wall_ms.size());
    version.write(&mut out);
    wall_ms.write(&mut out);
    out.freeze()
}

fn decode_answer(bytes: Bytes) -> Result<(u64, u64), WireError> {
    let mut from = Reader::new(bytes);
    Ok((Value::read(&mut from)?, Value::read(&mut from)?))
}
