//! Reads of the index, all of one moment. Never sees what is still only in the log.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTableMetadata as _};

use super::{COVERED, Damage, Kind, TABLES, broken, failed, keys, pages::Item, rows, unseal};
use crate::{
    Error, StoredDelta, Table,
    engine::embedded::memtable::Row,
    partition::{Dedup, Partition},
};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What [`Snapshot::readable`] comes by.
pub(crate) enum Readable<'a> {
    /// A row: key, value, expiry.
    Row(&'a [u8], &'a [u8], Option<u64>),
    /// Keys of which nobody knows, from one to before another.
    Not {
        /// The first.
        from: &'a [u8],
        /// The first behind them; `None`: all that begin with the prefix.
        to: Option<&'a [u8]>,
    },
}

/// The index at one moment.
pub(crate) struct Snapshot {
    transaction: ReadTransaction,
    path: PathBuf,
    damage: Damage,
    /// Seq of the newest group that is in it.
    pub covered: u64,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, path: PathBuf, damage: Damage) -> Result<Self, Error> {
        let mut snapshot = Self { transaction, path, damage, covered: 0 };
        // Without it an index is not an empty one, but one of which nobody knows what it has.
        let bytes = snapshot.value(Kind::Meta, COVERED)?.ok_or_else(|| broken(Kind::Meta, COVERED))?;
        let bytes = bytes.as_slice().try_into().map_err(|_| broken(Kind::Meta, COVERED))?;
        snapshot.covered = u64::from_le_bytes(bytes);
        Ok(snapshot)
    }

    fn table(&self, kind: Kind) -> Result<Rows, Error> {
        self.transaction.open_table(TABLES[kind.table()]).map_err(|error| failed(&self.path, error))
    }

    fn value(&self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = self.table(kind)?.get(key).map_err(|error| failed(&self.path, error))? else {
            return self.damage.absent(kind, key).map(|()| None);
        };
        unseal(kind, key, sealed.value()).map(|value| Some(value.to_vec()))
    }

    /// Hands the rows of a kind from `start` to before `end` to `each`, in order, until it says `false`.
    fn each(
        &self,
        kind: Kind,
        start: &[u8],
        end: Option<&[u8]>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let gap = self.damage.first(kind, start, end);
        let range = self.table(kind)?.range::<&[u8]>(keys::within(start, end));
        for entry in range.map_err(|error| failed(&self.path, error))? {
            let (key, value) = entry.map_err(|error| failed(&self.path, error))?;
            if let Some(gap) = gap.filter(|gap| *gap <= key.value()) {
                return Err(broken(kind, gap));
            }
            if !each(key.value(), unseal(kind, key.value(), value.value())?)? {
                return Ok(());
            }
        }
        gap.map_or(Ok(()), |gap| Err(broken(kind, gap)))
    }

    /// Hands the rows of a session's part to `each`, with the part's key.
    fn each_of(
        &self,
        kind: Kind,
        session: &[u8],
        mut each: impl FnMut(&[u8], &[u8], &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let part = keys::part(session, kind);
        self.each(kind, &part, keys::after(&part).as_deref(), |row, value| each(&part, row, value))
    }

    /// All rows of the table of `kind` as they are stored, and how many there should be.
    pub fn items(&self, kind: Kind) -> Result<(impl Iterator<Item = Item> + use<>, u64), Error> {
        let table = self.table(kind)?;
        let count = table.len().map_err(|error| failed(&self.path, error))?;
        let range = table.range::<&[u8]>(..).map_err(|error| failed(&self.path, error))?;
        let items = range.map(|entry| match entry {
            Ok((key, value)) => Item::Row { key: key.value().to_vec(), value: value.value().to_vec(), trusted: true },
            Err(_) => Item::Gap { offset: 0 },
        });
        Ok((items, count))
    }

    /// A session's head.
    pub fn head(&self, session: &str) -> Result<Option<rows::Head>, Error> {
        let session = keys::session(session);
        self.damage.session(&session)?;
        let key = keys::part(&session, Kind::Head);
        let Some(value) = self.value(Kind::Head, &key)? else { return Ok(None) };
        rows::Head::decode(&value).map(Some).ok_or_else(|| broken(Kind::Head, &key))
    }

    /// A session with everything in its partition.
    pub fn partition(&self, session: &str) -> Result<Option<Partition>, Error> {
        let Some(head) = self.head(session)? else { return Ok(None) };
        let key = keys::session(session);
        self.each_of(Kind::Quarantine, &key, |_, row, _| Err(broken(Kind::Quarantine, row)))?;
        let document = self.value(Kind::Documents, &key)?.ok_or_else(|| broken(Kind::Documents, &key))?;
        let (version, text) = rows::read_document(&document).ok_or_else(|| broken(Kind::Documents, &key))?;
        if version != head.document_version {
            return Err(broken(Kind::Documents, &key));
        }
        let mut partition = Partition::new(head.epoch, head.meta.clone(), Bytes::copy_from_slice(text));
        partition.version = head.version;
        partition.document_version = version;
        partition.deltas = VecDeque::from(self.runs(&key, &head, version, usize::MAX)?);
        partition.epochs.clone_from(&head.epochs);
        let mut answers = 0;
        self.each_of(Kind::Incarnations, &key, |part, row, value| {
            let (user, incarnation) = keys::of_incarnation(part, row).ok_or_else(|| broken(Kind::Incarnations, row))?;
            let kept = rows::Incarnation::decode(value).ok_or_else(|| broken(Kind::Incarnations, row))?;
            let dedup = Dedup { high_water: kept.high_water, last_ms: kept.last_ms, ..Dedup::default() };
            answers += kept.answers;
            partition.incarnations.insert((Arc::from(user), incarnation), dedup);
            Ok(true)
        })?;
        self.each_of(Kind::Answers, &key, |part, row, value| {
            let (user, incarnation) = keys::of_incarnation(part, row).ok_or_else(|| broken(Kind::Answers, row))?;
            let dedup = partition.incarnations.get_mut(&(Arc::from(user), incarnation));
            let dedup = dedup.ok_or_else(|| broken(Kind::Answers, row))?;
            let last_ms = dedup.last_ms;
            let count = rows::answers_count(value).filter(|count| *count <= answers);
            answers -= count.ok_or_else(|| broken(Kind::Answers, row))?;
            rows::read_answers(value, |counter, answer| dedup.record(counter, answer, last_ms))
                .ok_or_else(|| broken(Kind::Answers, row))?;
            Ok(true)
        })?;
        // A row that is missing altogether has no checksum to fail.
        if partition.incarnations.len() as u64 != head.incarnations {
            return Err(broken(Kind::Incarnations, &key));
        }
        if answers > 0 {
            return Err(broken(Kind::Answers, &key));
        }
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
        let part = keys::part(session, Kind::Deltas);
        let wanted = keys::numbered(&part, after + 1);
        let start = {
            let table = self.table(Kind::Deltas)?;
            let mut range =
                table.range::<&[u8]>(part.as_slice()..=wanted.as_slice()).map_err(|error| failed(&self.path, error))?;
            let last = range.next_back().transpose().map_err(|error| failed(&self.path, error))?;
            last.map(|(key, _)| key.value().to_vec()).ok_or_else(|| broken(Kind::Deltas, &wanted))?
        };
        let (mut taken, mut bytes) = (Vec::new(), 0usize);
        self.each(Kind::Deltas, &start, keys::after(&part).as_deref(), |key, value| {
            let first = keys::number(key).ok_or_else(|| broken(Kind::Deltas, key))?;
            for delta in rows::read_run(first, value).ok_or_else(|| broken(Kind::Deltas, key))? {
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
            return Err(broken(Kind::Deltas, &wanted));
        }
        Ok(taken)
    }

    /// A row: outer `None` when the index does not have it.
    pub fn row(&self, table: Table, key: &[u8]) -> Result<Row, Error> {
        let key = keys::row(table, key);
        let Some(value) = self.value(Kind::Rows, &key)? else { return Ok(None) };
        let (expires_at_ms, value) = rows::read_row(&value).ok_or_else(|| broken(Kind::Rows, &key))?;
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
        self.each(Kind::Rows, &keys::row(table, start), end.as_deref(), |key, value| {
            let (expires_at_ms, value) = rows::read_row(value).ok_or_else(|| broken(Kind::Rows, key))?;
            Ok(each(&key[1..], value, expires_at_ms))
        })
    }
}

impl Snapshot {
    /// Rows of a table whose keys begin with `prefix`, and the keys of those that cannot be read.
    pub fn readable(&self, table: Table, prefix: &[u8], mut each: impl FnMut(Readable)) -> Result<(), Error> {
        let start = keys::row(table, prefix);
        let end = keys::after(&start);
        let opened = self.table(Kind::Rows)?;
        let range = opened.range::<&[u8]>(keys::within(&start, end.as_deref()));
        for entry in range.map_err(|error| failed(&self.path, error))? {
            let (key, value) = entry.map_err(|error| failed(&self.path, error))?;
            let (key, row) = (key.value(), unseal(Kind::Rows, key.value(), value.value()));
            match row.ok().and_then(rows::read_row) {
                Some((expires_at_ms, value)) => each(Readable::Row(&key[1..], value, expires_at_ms)),
                None => each(Readable::Not { from: &key[1..], to: Some(&[&key[1..], &[0]].concat()) }),
            }
        }
        for (from, to) in self.damage.within(Kind::Rows, &start, end.as_deref()) {
            each(Readable::Not { from: &from[1..], to: to.map(|to| &to[1..]) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::embedded::index::{Index, salvage::Filling};

    /// Opens an index with one session whose rows count one client and `answers` answers of it; which rows there are is
    /// for `rows` to say.
    fn load(answers: u64, rows: impl Fn(&mut Filling, &[u8])) -> Result<Option<Partition>, Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index");
        let mut filling = Filling::new(&path)?;
        let key = keys::session("s");
        let head = rows::Head {
            epoch: 1,
            version: 1,
            document_version: 1,
            meta: Bytes::new(),
            epochs: Vec::new(),
            oldest: 2,
            kept: 0,
            behind: 0,
            incarnations: 1,
            swept_ms: 0,
        };
        filling.put(Kind::Head, &keys::part(&key, Kind::Head), &head.encode())?;
        filling.put(Kind::Documents, &key, &rows::document(1, b"{}"))?;
        if answers > 0 {
            let client = rows::Incarnation { high_water: 2, last_ms: 0, answers };
            let row = keys::incarnation(&keys::part(&key, Kind::Incarnations), "u", 7);
            filling.put(Kind::Incarnations, &row, &client.encode())?;
        }
        rows(&mut filling, &key);
        filling.finish(1)?;
        Index::open(&path, folder.path())?.index.snapshot()?.partition("s")
    }

    fn answer(filling: &mut Filling, session: &[u8]) {
        let client = keys::incarnation(&keys::part(session, Kind::Answers), "u", 7);
        let answers = rows::answers(&[(2, Bytes::from_static(b"answer"))]);
        filling.put(Kind::Answers, &keys::numbered(&client, 1), &answers).expect("written");
    }

    #[test]
    fn a_session_lacks_what_its_rows_count_and_is_damaged() {
        assert!(load(1, answer).expect("whole").is_some());
        assert!(matches!(load(0, |_, _| {}), Err(Error::Damaged { .. })), "the client's row is missing");
        assert!(matches!(load(1, |_, _| {}), Err(Error::Damaged { .. })), "its answers are missing");
        assert!(matches!(load(2, answer), Err(Error::Damaged { .. })), "one of them is missing");
    }
}
