//! Reads of the index, all of one moment. Never sees what is still only in the log.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};

use super::{
    ANSWERS, COVERED, DELTAS, DOCUMENTS, Definition, INCARNATIONS, META, QUARANTINE, ROWS, SESSIONS, broken, failed,
    keys, rows, unseal,
};
use crate::{
    Error, StoredDelta, Table,
    engine::embedded::memtable::Row,
    partition::{Dedup, Partition},
};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The index at one moment.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    path: PathBuf,
    /// Seq of the newest group that is in it.
    pub covered: u64,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, path: PathBuf) -> Result<Self, Error> {
        let mut snapshot = Self { transaction, path, covered: 0 };
        if let Some(bytes) = snapshot.value(META, COVERED)? {
            let bytes = bytes.as_slice().try_into().map_err(|_| broken(META, COVERED))?;
            snapshot.covered = u64::from_le_bytes(bytes);
        }
        Ok(snapshot)
    }

    fn table(&self, table: Definition) -> Result<Rows, Error> {
        self.transaction.open_table(table).map_err(|error| failed(&self.path, error))
    }

    fn value(&self, table: Definition, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = self.table(table)?.get(key).map_err(|error| failed(&self.path, error))? else {
            return Ok(None);
        };
        unseal(table, key, sealed.value()).map(|value| Some(value.to_vec()))
    }

    /// Hands the rows of `table` from `start` to before `end` to `each`, in order, until it says `false`.
    fn each(
        &self,
        table: Definition,
        start: &[u8],
        end: Option<&[u8]>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let range = self.table(table)?.range::<&[u8]>(keys::within(start, end));
        for entry in range.map_err(|error| failed(&self.path, error))? {
            let (key, value) = entry.map_err(|error| failed(&self.path, error))?;
            if !each(key.value(), unseal(table, key.value(), value.value())?)? {
                break;
            }
        }
        Ok(())
    }

    /// A session's head.
    pub fn head(&self, session: &str) -> Result<Option<rows::Head>, Error> {
        let key = keys::session(session);
        let Some(value) = self.value(SESSIONS, &key)? else { return Ok(None) };
        rows::Head::decode(&value).map(Some).ok_or_else(|| broken(SESSIONS, &key))
    }

    /// A session with everything in its partition.
    pub fn partition(&self, session: &str) -> Result<Option<Partition>, Error> {
        let Some(head) = self.head(session)? else { return Ok(None) };
        let key = keys::session(session);
        let end = keys::after(&key);
        self.each(QUARANTINE, &key, end.as_deref(), |key, _| Err(broken(QUARANTINE, key)))?;
        let document = self.value(DOCUMENTS, &key)?.ok_or_else(|| broken(DOCUMENTS, &key))?;
        let (version, text) = rows::read_document(&document).ok_or_else(|| broken(DOCUMENTS, &key))?;
        if version != head.document_version {
            return Err(broken(DOCUMENTS, &key));
        }
        let mut partition = Partition::new(head.epoch, head.meta.clone(), Bytes::copy_from_slice(text));
        partition.version = head.version;
        partition.document_version = version;
        partition.deltas = VecDeque::from(self.runs(&key, &head, version, usize::MAX)?);
        partition.epochs.clone_from(&head.epochs);
        self.each(INCARNATIONS, &key, end.as_deref(), |row, value| {
            let (user, incarnation) = keys::of_incarnation(&key, row).ok_or_else(|| broken(INCARNATIONS, row))?;
            let kept = rows::Incarnation::decode(value).ok_or_else(|| broken(INCARNATIONS, row))?;
            let dedup = Dedup { high_water: kept.high_water, last_ms: kept.last_ms, ..Dedup::default() };
            partition.incarnations.insert((Arc::from(user), incarnation), dedup);
            Ok(true)
        })?;
        self.each(ANSWERS, &key, end.as_deref(), |row, value| {
            let (user, incarnation) = keys::of_incarnation(&key, row).ok_or_else(|| broken(ANSWERS, row))?;
            let dedup = partition.incarnations.get_mut(&(Arc::from(user), incarnation));
            let dedup = dedup.ok_or_else(|| broken(ANSWERS, row))?;
            let last_ms = dedup.last_ms;
            rows::read_answers(value, |counter, answer| dedup.record(counter, answer, last_ms))
                .ok_or_else(|| broken(ANSWERS, row))?;
            Ok(true)
        })?;
        Ok(Some(partition))
    }

    /// Deltas after version `after`, until `max_bytes` are passed; `None` when the first of them is not kept.
    pub fn deltas(
        &self,
        session: &str,
        head: &rows::Head,
        after: u64,
        max_bytes: usize,
    ) -> Result<Option<Vec<StoredDelta>>, Error> {
        if after >= head.version {
            return Ok(Some(Vec::new()));
        }
        if after + 1 < head.oldest {
            return Ok(None);
        }
        self.runs(&keys::session(session), head, after, max_bytes).map(Some)
    }

    fn runs(&self, session: &[u8], head: &rows::Head, after: u64, max_bytes: usize) -> Result<Vec<StoredDelta>, Error> {
        if after >= head.version {
            return Ok(Vec::new());
        }
        // The run that has `after + 1` is the last that begins at or before it.
        let wanted = keys::numbered(session, after + 1);
        let start = {
            let table = self.table(DELTAS)?;
            let mut range =
                table.range::<&[u8]>(session..=wanted.as_slice()).map_err(|error| failed(&self.path, error))?;
            let last = range.next_back().transpose().map_err(|error| failed(&self.path, error))?;
            last.map(|(key, _)| key.value().to_vec()).ok_or_else(|| broken(DELTAS, &wanted))?
        };
        let (mut taken, mut bytes) = (Vec::new(), 0usize);
        self.each(DELTAS, &start, keys::after(session).as_deref(), |key, value| {
            let first = keys::number(key).ok_or_else(|| broken(DELTAS, key))?;
            for delta in rows::read_run(first, value).ok_or_else(|| broken(DELTAS, key))? {
                if delta.version > after {
                    bytes += delta.change.len();
                    taken.push(delta);
                }
            }
            Ok(bytes <= max_bytes)
        })?;
        // Every version once, with none left out: a run that is missing altogether has no checksum to fail.
        let whole = taken.iter().zip(after + 1..).all(|(delta, version)| delta.version == version);
        if !whole || (bytes <= max_bytes && taken.last().map(|delta| delta.version) != Some(head.version)) {
            return Err(broken(DELTAS, &wanted));
        }
        Ok(taken)
    }

    /// A row: outer `None` when the index does not have it.
    pub fn row(&self, table: Table, key: &[u8]) -> Result<Row, Error> {
        let key = keys::row(table, key);
        let Some(value) = self.value(ROWS, &key)? else { return Ok(None) };
        let (expires_at_ms, value) = rows::read_row(&value).ok_or_else(|| broken(ROWS, &key))?;
        Ok(Some((Bytes::copy_from_slice(value), expires_at_ms)))
    }

    /// Rows of a table from `start` on whose keys begin with `prefix`, until `each` says `false`.
    pub fn rows(
        &self,
        table: Table,
        prefix: &[u8],
        start: &[u8],
        mut each: impl FnMut(&[u8], &[u8], Option<u64>) -> bool,
    ) -> Result<(), Error> {
        let end = keys::after(&keys::row(table, prefix));
        self.each(ROWS, &keys::row(table, start), end.as_deref(), |key, value| {
            let (expires_at_ms, value) = rows::read_row(value).ok_or_else(|| broken(ROWS, key))?;
            Ok(each(&key[1..], value, expires_at_ms))
        })
    }
}
