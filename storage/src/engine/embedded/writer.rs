//! The one thread that writes the log: takes what queued while the last sync ran, judges it, writes it as one group, syncs
//! once, lets reads see it and tells the sink. Waits for nothing but work and, when far ahead, the index.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::{
    Shared,
    encoding::{put_number, put_write},
    failpoint,
    hash::{Map, random},
    log::{Log, names::Touched},
};
use crate::{
    Commit, Error, Outcome, Table, Ticket, Write,
    defaults::{GROUP_BYTES, HEADS_KEPT},
    rules::{Head, Judge, Presence, View},
};

/// What the writer checks commits against: its own memory of heads, then what reads see.
pub(super) struct Known<'a> {
    shared: &'a Shared,
    /// Heads, the youngest generation and the one before; `None` is a session that is gone.
    young: Map<Arc<str>, Option<Head>>,
    old: Map<Arc<str>, Option<Head>>,
    /// Rows of the group that is being put together.
    rows: Map<(Table, Bytes), Presence>,
}

impl<'a> Known<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        Self { shared, young: Map::default(), old: Map::default(), rows: Map::default() }
    }

    /// The group that was judged is seen by reads: what is only remembered here may be forgotten.
    pub fn published(&mut self) {
        self.rows.clear();
        if self.young.len() >= HEADS_KEPT {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl View for Known<'_> {
    fn head(&mut self, session: &Arc<str>) -> Result<Option<Head>, Error> {
        if let Some(head) = self.young.get(session) {
            return Ok(*head);
        }
        let head = match self.old.get(session) {
            Some(head) => *head,
            None => self.shared.head(session)?,
        };
        self.young.insert(session.clone(), head);
        Ok(head)
    }

    fn presence(&mut self, table: Table, key: &Bytes) -> Result<Presence, Error> {
        if let Some(presence) = self.rows.get(&(table, key.clone())) {
            return Ok(*presence);
        }
        Ok(self.shared.row(table, key)?.map(|(_, expires_at_ms)| expires_at_ms))
    }

    fn set_head(&mut self, session: &Arc<str>, head: Option<Head>) {
        match self.young.get_mut(session) {
            Some(known) => *known = head,
            None => drop(self.young.insert(session.clone(), head)),
        }
    }

    fn set_presence(&mut self, table: Table, key: &Bytes, presence: Presence) {
        self.rows.insert((table, key.clone()), presence);
    }
}

/// Lets reads see a group's commits.
pub(super) fn publish(
    shared: &Shared,
    known: &mut Known,
    commits: impl Iterator<Item = Vec<Write>>,
    seq: u64,
    time_ms: u64,
    log_bytes: u64,
) {
    let mut tables = shared.tables.write();
    let active = &mut tables.active;
    for writes in commits {
        active.push(writes, time_ms, |session| known.young.get(session).copied().flatten());
    }
    active.last_seq = seq;
    active.time_ms = active.time_ms.max(time_ms);
    active.log_bytes += log_bytes;
    shared.unflushed.store(tables.bytes(), Ordering::Release);
    drop(tables);
    known.published();
}

/// A group in the making, and the memory for it.
struct Group {
    /// Room for the header, and the payload.
    buffer: Vec<u8>,
    touched: Touched,
    /// The writes of those that passed.
    commits: Vec<Vec<Write>>,
    ended: Vec<(Ticket, Outcome)>,
}

impl Group {
    fn new() -> Self {
        Self { buffer: Vec::new(), touched: Touched::new(random()), commits: Vec::new(), ended: Vec::new() }
    }

    /// Judges and encodes commits off the front of `pending` until the group is full.
    fn fill(
        &mut self,
        log: &Log,
        pending: &mut VecDeque<Commit>,
        judge: &mut Judge,
        known: &mut Known,
        now_ms: u64,
    ) -> Result<(), Error> {
        log.prepare(&mut self.buffer);
        self.touched.clear();
        self.ended.clear();
        while self.buffer.len() < GROUP_BYTES
            && let Some(commit) = pending.pop_front()
        {
            let outcome = judge.judge(&commit, now_ms, known)?;
            self.ended.push((commit.ticket, outcome));
            if outcome == Outcome::Committed {
                put_number(&mut self.buffer, commit.writes.len() as u64);
                for write in &commit.writes {
                    put_write(&mut self.buffer, write);
                    self.touched.add(write);
                }
                self.commits.push(commit.writes);
            }
        }
        Ok(())
    }
}

/// The thread.
pub(super) fn run(shared: &Shared, mut log: Log, mut known: Known) {
    let mut pending = VecDeque::new();
    let (mut judge, mut group) = (Judge::default(), Group::new());
    while shared.queue.take(&mut pending, shared) {
        while !pending.is_empty() {
            if let Err(error) = shared
                .wait_for_index()
                .and_then(|()| commit(shared, &mut log, &mut known, &mut judge, &mut group, &mut pending))
            {
                // Whether what was written is on the disk, nobody knows: nothing is tried again, and nobody is told that
                // it is durable.
                pending.clear();
                shared.fail(error);
            }
        }
    }
}

fn commit(
    shared: &Shared,
    log: &mut Log,
    known: &mut Known,
    judge: &mut Judge,
    group: &mut Group,
    pending: &mut VecDeque<Commit>,
) -> Result<(), Error> {
    let now_ms = (shared.options.clock)();
    group.fill(log, pending, judge, known, now_ms)?;
    let durable = group.commits.len();
    if durable > 0 {
        failpoint::reach("log.append");
        let (seq, bytes) = log.append(&mut group.buffer, &group.touched, now_ms, durable as u32)?;
        failpoint::reach("log.written");
        log.sync()?;
        failpoint::reach("log.synced");
        shared.stats.syncs.fetch_add(1, Ordering::Relaxed);
        shared.stats.commits.fetch_add(durable as u64, Ordering::Relaxed);
        shared.stats.log_bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.stats.log_backlog.fetch_add(bytes, Ordering::Relaxed);
        publish(shared, known, group.commits.drain(..), seq, now_ms, bytes);
        shared.wake_index();
    } else {
        known.published();
    }
    shared.queue.ended(group.ended.len());
    shared.sink.completed(&group.ended);
    if group.ended.len() > 1 {
        // Who was just told may have more to submit, and a sync is dear: let them go first, once.
        std::thread::yield_now();
    }
    Ok(())
}
