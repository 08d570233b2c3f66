//! Writes a memtable into the index, in one transaction that also says that its groups are covered: so a flush that is cut
//! short happened not at all, and one that is done again changes nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{ReadableTable, Table as Open, WriteTransaction};

use super::{COVERED, Damage, Index, Kind, Range, TABLES, broken, failed, keys, rows, seal, unseal};
use crate::{
    Applied, Error, StoredDelta, Write,
    defaults::{
        DEDUP_WINDOW, DELTA_BYTES_MAX, DELTAS_KEPT, EXPIRED_A_FLUSH, INCARNATION_IDLE_MS, INCARNATION_SWEEP_MS,
        INCARNATIONS_KEPT, INCARNATIONS_LEFT, RUN_BYTES,
    },
    engine::embedded::{
        encoding::put_write,
        failpoint,
        faults::{Installed, Operation, check},
        files::io,
        log::names::Name,
        memtable::{Entry, Memtable, Row},
    },
    partition::{note_epoch, releasable},
    rules::expired,
};

impl Index {
    /// Writes `memtable`; durable, and covered, when this returns.
    pub fn flush(&self, memtable: &Memtable, faults: &Installed) -> Result<(), Error> {
        let transaction = self.begin()?;
        let damage = {
            let mut flush = Flush::new(self, &transaction, memtable)?;
            // In key order: neighbours share pages.
            let sorted: BTreeMap<_, _> = memtable.sessions.iter().collect();
            for (session, entry) in sorted {
                flush.session(session, entry)?;
            }
            for ((table, key), row) in &memtable.rows {
                flush.row(&keys::row(*table, key), row)?;
            }
            flush.expire()?;
            flush.note_damage()?;
            flush.cover()?;
            flush.damage
        };
        check(faults, Operation::IndexCommit).map_err(io("commit to", &self.path))?;
        failpoint::reach("index.folded");
        transaction.commit().map_err(|error| self.failed(error))?;
        *self.damage.write() = damage;
        Ok(())
    }
}

impl Index {
    /// Refuses these from now on, because groups of the log that had to do with them cannot be read; they are covered when
    /// this returns, up to `covered`. What the index has of a session stays, for a repair; of a row nothing may stay that
    /// may have been replaced since, such as a right that was taken away.
    pub fn refuse(&self, names: &[Name], covered: u64) -> Result<(), Error> {
        let memtable = Memtable { last_seq: covered, ..Memtable::default() };
        let transaction = self.begin()?;
        let damage = {
            let mut flush = Flush::new(self, &transaction, &memtable)?;
            for name in names {
                if let Name::Row(table, key) = name {
                    flush.remove(Kind::Rows, &keys::row(*table, key))?;
                }
            }
            flush.damage = flush.damage.with(names.iter().map(Range::of));
            flush.changed = true;
            flush.note_damage()?;
            flush.cover()?;
            flush.damage
        };
        transaction.commit().map_err(|error| self.failed(error))?;
        *self.damage.write() = damage;
        Ok(())
    }
}

/// A row: key, and value with its checksum.
type Sealed = (Vec<u8>, Vec<u8>);

/// One flush in progress.
struct Flush<'t> {
    index: &'t Index,
    tables: Vec<Open<'t, &'static [u8], &'static [u8]>>,
    seq: u64,
    time_ms: u64,
    /// What cannot be read, without what this flush removes.
    damage: Damage,
    /// That is not what it was.
    changed: bool,
    /// Rows of this flush that expire.
    expiring: usize,
}

/// What a session's writes amount to.
#[derive(Default)]
struct Fold<'a> {
    /// What the index had of it goes first.
    cleared: bool,
    head: Option<rows::Head>,
    document: Option<&'a Bytes>,
    deltas: Vec<StoredDelta>,
    /// Incarnations of which nothing older than `ops` is kept.
    forgotten: Vec<(&'a str, u128)>,
    ops: Vec<(u64, &'a Applied)>,
}

impl<'t> Flush<'t> {
    fn new(index: &'t Index, transaction: &'t WriteTransaction, memtable: &Memtable) -> Result<Self, Error> {
        let tables = TABLES.iter().map(|table| transaction.open_table(*table)).collect::<Result<_, _>>();
        let tables = tables.map_err(|error| index.failed(error))?;
        let damage = index.damage.read().clone();
        Ok(Self {
            index,
            tables,
            seq: memtable.last_seq,
            time_ms: memtable.time_ms,
            damage,
            changed: false,
            expiring: 0,
        })
    }

    fn put(&mut self, kind: Kind, key: &[u8], value: Vec<u8>) -> Result<(), Error> {
        let sealed = seal(kind, key, value);
        self.tables[kind.table()]
            .insert(key, sealed.as_slice())
            .map(drop)
            .map_err(|error| failed(&self.index.path, error))
    }

    fn remove(&mut self, kind: Kind, key: &[u8]) -> Result<(), Error> {
        self.tables[kind.table()].remove(key).map(drop).map_err(|error| failed(&self.index.path, error))
    }

    fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = self.tables[kind.table()].get(key).map_err(|error| failed(&self.index.path, error))?;
        match found {
            Some(sealed) => unseal(kind, key, sealed.value()).map(|value| Some(value.to_vec())),
            None => self.damage.absent(kind, key).map(|()| None),
        }
    }

    /// Says that the groups up to this flush are in the index.
    fn cover(&mut self) -> Result<(), Error> {
        for kind in [Kind::Meta, Kind::MetaCopy] {
            self.put(kind, COVERED, self.seq.to_le_bytes().to_vec())?;
        }
        Ok(())
    }

    /// Nothing from `start` to before `end` is there: that is known now, even if it was not before.
    fn gone(&mut self, kind: Kind, start: &[u8], end: Option<&[u8]>) {
        if let Some(damage) = self.damage.without(kind.table(), start, end) {
            self.damage = damage;
            self.changed = true;
        }
    }

    /// Writes down what cannot be read, if that changed.
    fn note_damage(&mut self) -> Result<(), Error> {
        if self.changed {
            self.remove_all(Kind::Damaged, &[])?;
            for range in self.damage.clone().0.iter() {
                self.put(Kind::Damaged, &range.key(), range.value())?;
            }
        }
        Ok(())
    }

    /// The first `limit` rows whose keys begin with `prefix`.
    fn first(&self, kind: Kind, prefix: &[u8], limit: usize) -> Result<Vec<Sealed>, Error> {
        let end = keys::after(prefix);
        let range = self.tables[kind.table()]
            .range::<&[u8]>(keys::within(prefix, end.as_deref()))
            .map_err(|error| failed(&self.index.path, error))?;
        let mut found = Vec::new();
        for entry in range.take(limit) {
            let (key, sealed) = entry.map_err(|error| failed(&self.index.path, error))?;
            found.push((key.value().to_vec(), sealed.value().to_vec()));
        }
        Ok(found)
    }

    fn remove_all(&mut self, kind: Kind, prefix: &[u8]) -> Result<(), Error> {
        let end = keys::after(prefix);
        self.tables[kind.table()]
            .retain_in::<&[u8], _>(keys::within(prefix, end.as_deref()), |_, _| false)
            .map_err(|error| failed(&self.index.path, error))
    }

    fn session(&mut self, name: &str, entry: &Entry) -> Result<(), Error> {
        let key = keys::session(name);
        match self.fold(&key, entry).and_then(|fold| self.write(&key, fold)) {
            Err(error @ Error::Damaged { .. }) => {
                // Nothing durable is thrown away: it waits, as it is, for who repairs or deletes the session.
                tracing::error!(session = name, %error, "a damaged session's writes are put into quarantine");
                let mut writes = Vec::new();
                for (_, write) in entry.writes() {
                    put_write(&mut writes, write);
                }
                self.put(Kind::Quarantine, &keys::numbered(&keys::part(&key, Kind::Quarantine), self.seq), writes)
            }
            done => done,
        }
    }

    fn fold<'a>(&self, key: &[u8], entry: &'a Entry) -> Result<Fold<'a>, Error> {
        let mut fold = Fold::default();
        // A head that is replaced or removed anyway need not be readable.
        let replaced = |(_, write): (u64, &Write)| matches!(write, Write::Create { .. } | Write::DeleteSession { .. });
        let replaced = entry.writes().any(replaced);
        if !replaced {
            self.damage.session(key)?;
        }
        if !replaced && let Some(value) = self.get(Kind::Head, &keys::part(key, Kind::Head))? {
            fold.head = Some(rows::Head::decode(&value).ok_or_else(|| broken(Kind::Head, key))?);
        }
        for (time_ms, write) in entry.writes() {
            fold.apply(time_ms, write);
        }
        Ok(fold)
    }

    fn write(&mut self, key: &[u8], fold: Fold) -> Result<(), Error> {
        if fold.cleared {
            // All parts at once: they are neighbours.
            self.remove_all(Kind::Head, key)?;
            self.remove(Kind::Documents, key)?;
            let end = keys::after(key);
            self.gone(Kind::Head, key, end.as_deref());
            self.gone(Kind::Documents, key, end.as_deref());
        }
        let Some(mut head) = fold.head else { return Ok(()) };
        if let Some(document) = fold.document {
            self.put(Kind::Documents, key, rows::document(head.document_version, document))?;
        }
        let part = keys::part(key, Kind::Deltas);
        let mut deltas = fold.deltas.as_slice();
        while let Some(first) = deltas.first() {
            let mut bytes = 0;
            let fits = deltas.iter().take_while(|delta| {
                bytes += delta.change.len();
                bytes <= RUN_BYTES
            });
            let (run, rest) = deltas.split_at(fits.count().max(1));
            self.put(Kind::Deltas, &keys::numbered(&part, first.version), rows::run(run))?;
            deltas = rest;
        }
        self.release(key, &mut head)?;
        self.forget(key, &mut head, &fold.forgotten)?;
        self.answers(key, &mut head, &fold.ops)?;
        self.put(Kind::Head, &keys::part(key, Kind::Head), head.encode())
    }

    /// Lets go of the oldest runs behind the checkpoint.
    fn release(&mut self, key: &[u8], head: &mut rows::Head) -> Result<(), Error> {
        let part = keys::part(key, Kind::Deltas);
        while head.document_version.saturating_sub(head.oldest) >= DELTAS_KEPT || head.behind > DELTA_BYTES_MAX as u64 {
            let Some((run, sealed)) = self.first(Kind::Deltas, &part, 1)?.pop() else { return Ok(()) };
            let (count, bytes) =
                rows::run_size(unseal(Kind::Deltas, &run, &sealed)?).ok_or_else(|| broken(Kind::Deltas, &run))?;
            let first = keys::number(&run).ok_or_else(|| broken(Kind::Deltas, &run))?;
            let last = first + count.saturating_sub(1);
            let versions = head.document_version.saturating_sub(last);
            let left = usize::try_from(head.behind.saturating_sub(bytes)).unwrap_or(usize::MAX);
            if last > head.document_version || !releasable(versions, left, usize::try_from(bytes).unwrap_or(usize::MAX))
            {
                return Ok(());
            }
            self.remove(Kind::Deltas, &run)?;
            head.oldest = last + 1;
            head.kept = head.kept.saturating_sub(bytes);
            head.behind = head.behind.saturating_sub(bytes);
        }
        Ok(())
    }

    /// Removes incarnations; what is removed need not be readable.
    fn forget(&mut self, key: &[u8], head: &mut rows::Head, forgotten: &[(&str, u128)]) -> Result<(), Error> {
        for (user, incarnation) in forgotten {
            let row = keys::incarnation(&keys::part(key, Kind::Incarnations), user, *incarnation);
            if !self.first(Kind::Incarnations, &row, 1)?.is_empty() {
                self.remove(Kind::Incarnations, &row)?;
                let answers = keys::incarnation(&keys::part(key, Kind::Answers), user, *incarnation);
                self.remove_all(Kind::Answers, &answers)?;
                head.incarnations = head.incarnations.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Records the ops, and lets go of incarnations that are idle or too many.
    fn answers(&mut self, key: &[u8], head: &mut rows::Head, ops: &[(u64, &Applied)]) -> Result<(), Error> {
        let mut by_incarnation: BTreeMap<_, Vec<(u64, &Applied)>> = BTreeMap::new();
        for (time_ms, op) in ops {
            by_incarnation.entry((&*op.user, op.incarnation)).or_default().push((*time_ms, op));
        }
        let (part, answers_part) = (keys::part(key, Kind::Incarnations), keys::part(key, Kind::Answers));
        for ((user, incarnation), ops) in by_incarnation {
            let answers = keys::incarnation(&answers_part, user, incarnation);
            let incarnation = keys::incarnation(&part, user, incarnation);
            let mut kept = rows::Incarnation::default();
            if let Some(value) = self.get(Kind::Incarnations, &incarnation)? {
                kept = rows::Incarnation::decode(&value).ok_or_else(|| broken(Kind::Incarnations, &incarnation))?;
            } else {
                head.incarnations += 1;
            }
            let run: Vec<(u64, Bytes)> = ops[ops.len().saturating_sub(DEDUP_WINDOW)..]
                .iter()
                .map(|(_, op)| (op.counter, op.answer.clone()))
                .collect();
            for (time_ms, op) in &ops {
                kept.high_water = kept.high_water.max(op.counter);
                kept.last_ms = kept.last_ms.max(*time_ms);
            }
            kept.answers += run.len() as u64;
            self.put(Kind::Answers, &keys::numbered(&answers, self.seq), rows::answers(&run))?;
            while kept.answers > DEDUP_WINDOW as u64 {
                let Some((oldest, sealed)) = self.first(Kind::Answers, &answers, 1)?.pop() else { break };
                let value = unseal(Kind::Answers, &oldest, &sealed)?;
                let count = rows::answers_count(value).ok_or_else(|| broken(Kind::Answers, &oldest))?;
                if kept.answers - count.min(kept.answers) < DEDUP_WINDOW as u64 {
                    break;
                }
                self.remove(Kind::Answers, &oldest)?;
                kept.answers -= count;
            }
            self.put(Kind::Incarnations, &incarnation, kept.encode())?;
        }
        let due = self.time_ms.saturating_sub(head.swept_ms) > INCARNATION_SWEEP_MS;
        if due || head.incarnations > INCARNATIONS_KEPT as u64 {
            self.sweep(key, head)?;
        }
        Ok(())
    }

    fn sweep(&mut self, key: &[u8], head: &mut rows::Head) -> Result<(), Error> {
        let mut by_age = Vec::new();
        let (part, answers) = (keys::part(key, Kind::Incarnations), keys::part(key, Kind::Answers));
        for (row, sealed) in self.first(Kind::Incarnations, &part, usize::MAX)? {
            let value = unseal(Kind::Incarnations, &row, &sealed)?;
            let kept = rows::Incarnation::decode(value).ok_or_else(|| broken(Kind::Incarnations, &row))?;
            by_age.push((kept.last_ms, row));
        }
        by_age.sort_unstable();
        let too_many = if by_age.len() > INCARNATIONS_KEPT { by_age.len() - INCARNATIONS_LEFT } else { 0 };
        let idle = by_age.partition_point(|(last_ms, _)| self.time_ms.saturating_sub(*last_ms) > INCARNATION_IDLE_MS);
        let goes = too_many.max(idle);
        for (_, row) in &by_age[..goes] {
            self.remove(Kind::Incarnations, row)?;
            self.remove_all(Kind::Answers, &[&answers, &row[part.len()..]].concat())?;
        }
        head.incarnations = (by_age.len() - goes) as u64;
        head.swept_ms = self.time_ms;
        Ok(())
    }

    fn row(&mut self, key: &[u8], row: &Row) -> Result<(), Error> {
        let before = match self.get(Kind::Rows, key) {
            Ok(before) => before.as_deref().and_then(rows::read_row).and_then(|(expires_at_ms, _)| expires_at_ms),
            // What is replaced need not be readable.
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let after = row.as_ref().and_then(|(_, expires_at_ms)| *expires_at_ms);
        if let Some(at_ms) = before.filter(|_| before != after) {
            // Or a row that is renewed all the time leaves an entry each time.
            self.remove(Kind::Expiry, &keys::expiry(at_ms, key))?;
        }
        // What it is, one knows now.
        self.gone(Kind::Rows, key, Some(&[key, &[0]].concat()));
        let Some((value, _)) = row else {
            return self.remove(Kind::Rows, key);
        };
        if let Some(at_ms) = after {
            self.expiring += 1;
            self.put(Kind::Expiry, &keys::expiry(at_ms, key), Vec::new())?;
        }
        self.put(Kind::Rows, key, rows::row(value, after))
    }

    /// Removes rows whose time is over. An entry may be of a row that was written again since: its own expiry counts.
    fn expire(&mut self) -> Result<(), Error> {
        // More than came, or the store grows with what is long over.
        let most = EXPIRED_A_FLUSH.max(2 * self.expiring);
        for (entry, _) in self.first(Kind::Expiry, &[], most)? {
            let (at_ms, key) = entry.split_first_chunk().ok_or_else(|| broken(Kind::Expiry, &entry))?;
            if !expired(Some(u64::from_be_bytes(*at_ms)), self.time_ms) {
                break;
            }
            let gone = match self.get(Kind::Rows, key) {
                Ok(None) => false,
                Ok(Some(row)) => {
                    let (expires_at_ms, _) = rows::read_row(&row).ok_or_else(|| broken(Kind::Rows, key))?;
                    expired(expires_at_ms, self.time_ms)
                }
                Err(Error::Damaged { .. }) => true,
                Err(error) => return Err(error),
            };
            if gone {
                self.remove(Kind::Rows, key)?;
            }
            self.remove(Kind::Expiry, &entry)?;
        }
        Ok(())
    }
}

impl<'a> Fold<'a> {
    fn apply(&mut self, time_ms: u64, write: &'a Write) {
        match write {
            Write::Create { epoch, meta, document, op, .. } => {
                *self = Fold { cleared: true, document: Some(document), ..Fold::default() };
                let mut head = rows::Head {
                    epoch: *epoch,
                    version: 1,
                    document_version: 1,
                    meta: meta.clone(),
                    epochs: Vec::new(),
                    oldest: 2,
                    kept: 0,
                    behind: 0,
                    incarnations: 0,
                    swept_ms: time_ms,
                };
                note_epoch(&mut head.epochs, *epoch, 0);
                self.head = Some(head);
                self.ops.extend(op.iter().map(|op| (time_ms, op)));
            }
            Write::DeleteSession { .. } => *self = Fold { cleared: true, ..Fold::default() },
            Write::Delta { epoch, version, change, op, .. } => {
                let Some(head) = &mut self.head else { return };
                if *version != head.version + 1 {
                    return;
                }
                note_epoch(&mut head.epochs, *epoch, head.version);
                (head.epoch, head.version) = (*epoch, *version);
                head.kept += change.len() as u64;
                self.deltas.push(StoredDelta { version: *version, epoch: *epoch, change: change.clone() });
                self.ops.extend(op.iter().map(|op| (time_ms, op)));
            }
            Write::Meta { epoch, meta, .. } => {
                let Some(head) = &mut self.head else { return };
                note_epoch(&mut head.epochs, *epoch, head.version);
                head.epoch = *epoch;
                head.meta = meta.clone();
            }
            Write::Checkpoint { epoch, version, document, .. } => {
                let Some(head) = &mut self.head else { return };
                note_epoch(&mut head.epochs, *epoch, head.version);
                head.epoch = *epoch;
                if *version > head.document_version && *version <= head.version {
                    head.document_version = *version;
                    self.document = Some(document);
                    self.count_behind();
                }
            }
            Write::Op { epoch, op, .. } => {
                let Some(head) = &mut self.head else { return };
                note_epoch(&mut head.epochs, *epoch, head.version);
                head.epoch = *epoch;
                self.ops.push((time_ms, op));
            }
            Write::Forget { epoch, user, incarnation, .. } => {
                let Some(head) = &mut self.head else { return };
                note_epoch(&mut head.epochs, *epoch, head.version);
                head.epoch = *epoch;
                self.ops.retain(|(_, op)| op.user != *user || op.incarnation != *incarnation);
                self.forgotten.push((user, *incarnation));
            }
            Write::Put { .. } | Write::Remove { .. } => {}
        }
    }

    /// Counts the bytes behind the checkpoint anew: all but those of the deltas above it. Of these, what an earlier flush
    /// wrote is not known one by one; then the count stays too low, which keeps more, until the next checkpoint.
    fn count_behind(&mut self) {
        let Some(head) = &mut self.head else { return };
        let known = self.deltas.first().map_or(head.version, |delta| delta.version - 1);
        if head.document_version < known {
            return;
        }
        let from = usize::try_from(head.document_version - known).unwrap_or(usize::MAX).min(self.deltas.len());
        let above: usize = self.deltas[from..].iter().map(|delta| delta.change.len()).sum();
        head.behind = head.kept - (above as u64).min(head.kept);
    }
}
