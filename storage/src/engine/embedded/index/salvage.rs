//! Builds a damaged index anew from every row that its own checksum confirms. What cannot be read is named, and its keys
//! become ranges in which nothing is called absent ([`super::damage`]). The damaged file is put aside, never deleted.

use std::path::{Path, PathBuf};

use redb::TableHandle as _;

use super::{
    COVERED, Index, Kind, Opened, TABLES, broken,
    damage::Range,
    keys,
    pages::{Item, Pages, Table},
    rows, seal, unseal,
};
use crate::{
    Error,
    engine::embedded::files::{damaged, io, sync_folder},
};

/// Bytes of a row's checksum.
const SUM: usize = 4;

/// Places that are named in one line.
const PLACES: usize = 8;

/// Bytes that are written between two commits.
const BATCH: usize = 16 << 20;

/// What was found damaged at a start, and where the damaged file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvaged {
    /// What did not match its checksum first.
    pub why: String,
    /// The damaged file as it was.
    pub aside: PathBuf,
    /// What could not be read, for people: each a range of keys and how many rows were there.
    pub lost: Vec<String>,
}

/// Builds the index at `path` anew; the old file goes to a new name in `aside`. Done or not begun when the power is lost.
pub(super) fn rebuild(path: &Path, aside: &Path, why: String) -> Result<Salvaged, Error> {
    let new = path.with_extension("rebuilt");
    let lost = copy(path, &new)?;
    let kept = put_aside(path, aside)?;
    std::fs::rename(&new, path).map_err(io("rename", &new))?;
    if let Some(folder) = path.parent() {
        sync_folder(folder)?;
    }
    Ok(Salvaged { why, aside: kept, lost })
}

/// Gives a file a second, lasting name in the folder `aside`.
pub(in crate::engine::embedded) fn put_aside(path: &Path, aside: &Path) -> Result<PathBuf, Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(aside).map_err(io("make", aside))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for number in 1u32.. {
        let kept = aside.join(format!("{number}-{name}"));
        match std::fs::hard_link(path, &kept) {
            Ok(()) => {
                sync_folder(aside)?;
                return Ok(kept);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io("put aside", path)(error)),
        }
    }
    Err(damaged(aside, "has no number left"))
}

/// Copies what can be read of the index at `from` into a new one at `to`; says what could not.
fn copy(from: &Path, to: &Path) -> Result<Vec<String>, Error> {
    let reading = Reading::open(from)?;
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", to)(error)),
        _ => {}
    }
    let covered = reading.covered()?;
    let mut filling = Filling::new(to)?;
    let mut lost = Vec::new();
    for kind in [Kind::Head, Kind::Documents, Kind::Rows, Kind::Damaged] {
        let mut ranges = Vec::new();
        let mut rows = reading.rows(kind);
        for read in rows.by_ref() {
            match read {
                Read::Row(kind, key, value) => filling.put(kind, &key, &value)?,
                Read::Lost(range) => ranges.push(range),
            }
        }
        let missing = reading.count(kind).saturating_sub(rows.rows);
        if missing == 0 {
            // Every row is there: what is damaged was nobody's.
            continue;
        }
        if kind == Kind::Damaged {
            return Err(damaged(from, "the list of what was damaged before"));
        }
        for range in &ranges {
            filling.put(Kind::Damaged, &range.key(), &range.value())?;
        }
        lost.push(describe(kind, missing, &ranges));
    }
    filling.finish(covered)?;
    Ok(lost)
}

/// What is missing in a table, for people.
pub(in crate::engine::embedded) fn describe(kind: Kind, missing: u64, ranges: &[Range]) -> String {
    let places: Vec<_> = ranges.iter().take(PLACES).map(Range::describe).collect();
    let more =
        if ranges.len() > PLACES { format!("; and {} more places", ranges.len() - PLACES) } else { String::new() };
    format!("{missing} rows of {}: {}{more}", TABLES[kind.table()].name(), places.join("; "))
}

/// An index file that is read without being opened.
pub(in crate::engine::embedded) struct Reading {
    pub pages: Pages,
    pub tables: Vec<Table>,
    path: PathBuf,
}

impl Reading {
    /// Reads the list of the tables.
    ///
    /// # Errors
    /// [`Error::Damaged`] when that cannot be had.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let pages = Pages::open(path)?;
        let (tables, unreadable) = pages.tables()?;
        if let Some(why) = unreadable {
            return Err(damaged(path, &format!("{why}, which lists the tables")));
        }
        Ok(Self { pages, tables, path: path.to_path_buf() })
    }

    fn table(&self, kind: Kind) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == TABLES[kind.table()].name())
    }

    /// Rows that the table should have.
    pub fn count(&self, kind: Kind) -> u64 {
        self.table(kind).and_then(|table| table.root).map_or(0, |root| root.rows)
    }

    /// Those that can be read, and between which there are others.
    pub fn rows(&self, kind: Kind) -> Readable<impl Iterator<Item = Item> + '_> {
        Readable::new(self.table(kind).map(|table| self.pages.rows(table)).into_iter().flatten(), kind)
    }

    /// Seq of the newest group that is in it.
    ///
    /// # Errors
    /// [`Error::Damaged`] when neither place that says so can be read.
    pub fn covered(&self) -> Result<u64, Error> {
        [Kind::Meta, Kind::MetaCopy]
            .into_iter()
            .find_map(|kind| {
                self.rows(kind).find_map(|read| match read {
                    Read::Row(_, key, value) if key == COVERED => value.try_into().ok().map(u64::from_le_bytes),
                    _ => None,
                })
            })
            .ok_or_else(|| damaged(&self.path, "how much of the log it has cannot be read"))
    }
}

/// What [`Readable`] comes by.
pub(in crate::engine::embedded) enum Read {
    /// A row that its checksum confirms: kind, key, value.
    Row(Kind, Vec<u8>, Vec<u8>),
    /// Keys between two such rows, or before or behind all of them, where there was something that cannot be read.
    Lost(Range),
}

/// The rows of a table that their checksums confirm, and what is between them.
pub(in crate::engine::embedded) struct Readable<I> {
    items: I,
    kind: Kind,
    last: Option<Vec<u8>>,
    lost: bool,
    held: Option<Read>,
    /// Rows so far.
    pub rows: u64,
}

impl<I: Iterator<Item = Item>> Readable<I> {
    /// Of the table of `kind`.
    pub fn new(items: I, kind: Kind) -> Self {
        Self { items, kind, last: None, lost: false, held: None, rows: 0 }
    }

    fn range(&self, to: Option<Vec<u8>>) -> Read {
        // The smallest key behind the last.
        let from = self.last.as_ref().map_or_else(Vec::new, |key| [key.as_slice(), &[0]].concat());
        Read::Lost(Range { table: u8::try_from(self.kind.table()).unwrap_or(u8::MAX), from, to })
    }
}

impl<I: Iterator<Item = Item>> Iterator for Readable<I> {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        if self.held.is_some() {
            return self.held.take();
        }
        for item in self.items.by_ref() {
            let Item::Row { key, mut value, .. } = item else {
                self.lost = true;
                continue;
            };
            // Order is a checksum, too.
            let follows = self.last.as_ref().is_none_or(|last| *last < key);
            let kind = keys::kind(self.kind, &key).filter(|kind| follows && unseal(*kind, &key, &value).is_ok());
            let Some(kind) = kind else {
                self.lost = true;
                continue;
            };
            value.truncate(value.len() - SUM);
            let lost = std::mem::take(&mut self.lost).then(|| self.range(Some(key.clone())));
            self.rows += 1;
            self.last = Some(key.clone());
            let row = Read::Row(kind, key, value);
            let Some(lost) = lost else { return Some(row) };
            self.held = Some(row);
            return Some(lost);
        }
        std::mem::take(&mut self.lost).then(|| self.range(None))
    }
}

/// A new index that is filled in batches.
pub(in crate::engine::embedded) struct Filling {
    index: Index,
    transaction: Option<redb::WriteTransaction>,
    bytes: usize,
}

impl Filling {
    /// An empty index at `path`.
    pub fn new(path: &Path) -> Result<Self, Error> {
        Index::create(path)?;
        let Opened { index, .. } = Index::attach(path)?;
        Ok(Self { index, transaction: None, bytes: 0 })
    }

    /// Sets a row; one that expires is noted in the table for that, too.
    pub fn put(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if kind == Kind::Rows {
            let (expires_at_ms, _) = rows::read_row(value).ok_or_else(|| broken(kind, key))?;
            if let Some(at_ms) = expires_at_ms {
                self.insert(Kind::Expiry, &keys::expiry(at_ms, key), &[])?;
            }
        }
        self.insert(kind, key, value)?;
        if self.bytes > BATCH { self.commit() } else { Ok(()) }
    }

    fn insert(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let sealed = seal(kind, key, value.to_vec());
        self.bytes += key.len() + sealed.len();
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => self.index.begin()?,
        };
        {
            let table = transaction.open_table(TABLES[kind.table()]);
            let mut table = table.map_err(|error| self.index.failed(error))?;
            table.insert(key, sealed.as_slice()).map_err(|error| self.index.failed(error))?;
        }
        self.transaction = Some(transaction);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        match self.transaction.take() {
            Some(transaction) => transaction.commit().map_err(|error| self.index.failed(error)),
            None => Ok(()),
        }
    }

    /// Says up to which group of the log the index has everything, and closes it; durable when this returns.
    pub fn finish(mut self, covered: u64) -> Result<(), Error> {
        // Twice: so both of redb's slots lead to a whole index, and the loss of one loses nothing.
        for _ in 0..2 {
            for kind in [Kind::Meta, Kind::MetaCopy] {
                self.insert(kind, COVERED, &covered.to_le_bytes())?;
            }
            self.commit()?;
        }
        Ok(())
    }
}
