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
    let pages = Pages::open(from)?;
    let (tables, unreadable) = pages.tables()?;
    if let Some(why) = unreadable {
        return Err(damaged(from, &format!("{why}, which lists the tables")));
    }
    match std::fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", to)(error)),
        _ => {}
    }
    let find = |kind: Kind| tables.iter().find(|table| table.name == TABLES[kind.table()].name());
    let covered = [Kind::Meta, Kind::MetaCopy].into_iter().find_map(|kind| {
        let mut rows = pages.rows(find(kind)?);
        rows.find_map(|item| match item {
            Item::Row { key, value, .. } if key == COVERED => {
                unseal(kind, &key, &value).ok()?.try_into().ok().map(u64::from_le_bytes)
            }
            _ => None,
        })
    });
    let Some(covered) = covered else { return Err(damaged(from, "how much of the log it has is not readable")) };
    let mut filling = Filling::new(to)?;
    let mut lost = Vec::new();
    for kind in [Kind::Head, Kind::Documents, Kind::Rows, Kind::Damaged] {
        let Some(table) = find(kind) else { continue };
        let (ranges, rows) = readable(&pages, table, kind, |kind, key, value| filling.put(kind, key, value))?;
        if rows > 0 && kind == Kind::Damaged {
            return Err(damaged(from, "the list of what was damaged before"));
        }
        for range in &ranges {
            filling.put(Kind::Damaged, &range.key(), &range.value())?;
        }
        if let Some((first, more)) = ranges.split_first() {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more places", more.len()) };
            lost.push(format!("{rows} rows of {}, {}{more}", table.name, first.describe()));
        }
    }
    filling.finish(covered)?;
    Ok(lost)
}

/// Hands every row of a table that its checksum confirms to `each`; returns between which keys there were others, and how
/// many.
pub(in crate::engine::embedded) fn readable(
    pages: &Pages,
    table: &Table,
    kind: Kind,
    mut each: impl FnMut(Kind, &[u8], &[u8]) -> Result<(), Error>,
) -> Result<(Vec<Range>, u64), Error> {
    let place = u8::try_from(kind.table()).unwrap_or(u8::MAX);
    let mut ranges = Vec::new();
    let mut rows = 0;
    let mut last: Option<Vec<u8>> = None;
    let mut open = false;
    // The smallest key behind `key`.
    let behind = |key: &Option<Vec<u8>>| key.as_ref().map_or_else(Vec::new, |key| [key.as_slice(), &[0]].concat());
    for item in pages.rows(table) {
        let good = match &item {
            Item::Row { key, value, .. } => keys::kind(kind, key).and_then(|kind| {
                // Order is a checksum, too.
                let follows = last.as_ref().is_none_or(|last| last < key);
                let value = unseal(kind, key, value).ok().filter(|_| follows)?;
                Some((kind, key, value))
            }),
            Item::Gap { .. } => None,
        };
        let Some((kind, key, value)) = good else {
            open = true;
            continue;
        };
        if std::mem::take(&mut open) {
            ranges.push(Range { table: place, from: behind(&last), to: Some(key.clone()) });
        }
        each(kind, key, value)?;
        rows += 1;
        last = Some(key.clone());
    }
    if open {
        ranges.push(Range { table: place, from: behind(&last), to: None });
    }
    let missing = table.root.map_or(0, |root| root.rows).saturating_sub(rows);
    if missing == 0 {
        // Every row is there: what is damaged was nobody's.
        ranges.clear();
    }
    Ok((ranges, missing))
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
