//! The index behind the log: what the log's older commits amount to, in redb. Written by one thread, in one transaction a
//! flush that also says which groups it covers; read by anybody. Every value carries a checksum of its own, bound to its
//! key, so that damage is one session's and never another's.

mod damage;
mod flush;
pub(super) mod keys;
mod paced;
mod pages;
mod read;
pub(super) mod rows;
pub(super) mod salvage;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::files::{damaged, io, private};
use crate::{Error, defaults::INDEX_CACHE_BYTES};
use damage::Damage;
pub(super) use damage::Range;
use paced::Paced;
use pages::Pages;
pub(super) use pages::Verdict;
pub(super) use read::{Readable, Snapshot};
pub use salvage::Salvaged;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Definition = TableDefinition::new("meta");
/// Everything of a session but its document: rows that are written together are neighbours and share pages, which halves
/// what a flush costs (`DESIGN.md`, "redb or fjall").
const SESSIONS: Definition = TableDefinition::new("sessions");
/// Apart, because a large value among small ones would be copied with each of them.
const DOCUMENTS: Definition = TableDefinition::new("documents");
const ROWS: Definition = TableDefinition::new("rows");
const EXPIRY: Definition = TableDefinition::new("expiry");
/// What cannot be read since an earlier damage (`damage.rs`).
const DAMAGED: Definition = TableDefinition::new("damaged");
/// The same as `meta` in another page: without it nothing of the index could be used.
const META_COPY: Definition = TableDefinition::new("meta_copy");

const TABLES: [Definition; 7] = [META, SESSIONS, DOCUMENTS, ROWS, EXPIRY, DAMAGED, META_COPY];

/// The kinds of rows. Those of the table `sessions` have their number behind the session in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// session → head.
    Head = 1,
    /// (session, first version) → a run of deltas.
    Deltas = 2,
    /// (session, user, incarnation) → high-water mark, time, count of answers.
    Incarnations = 3,
    /// (session, user, incarnation, seq of the flush) → a run of answers.
    Answers = 4,
    /// (session, seq of the flush) → writes, encoded, that could not be folded because the session's head is damaged.
    Quarantine = 5,
    /// `covered` → seq of the newest group that is in the index.
    Meta = 6,
    /// session → version and document of the newest checkpoint.
    Documents = 7,
    /// (table, key) → expiry and value.
    Rows = 8,
    /// (expiry, table, key) → nothing: what is to be looked at when.
    Expiry = 9,
    /// (table, first key) → first key behind: keys that cannot be read.
    Damaged = 10,
    /// As [`Kind::Meta`].
    MetaCopy = 11,
}

impl Kind {
    /// Where in [`TABLES`] rows of this kind are.
    pub fn table(self) -> usize {
        match self {
            Kind::Meta => 0,
            Kind::Head | Kind::Deltas | Kind::Incarnations | Kind::Answers | Kind::Quarantine => 1,
            Kind::Documents => 2,
            Kind::Rows => 3,
            Kind::Expiry => 4,
            Kind::Damaged => 5,
            Kind::MetaCopy => 6,
        }
    }
}

const COVERED: &[u8] = b"covered";

/// The index.
pub(super) struct Index {
    database: Database,
    path: PathBuf,
    damage: RwLock<Damage>,
}

/// An index that was opened.
pub(super) struct Opened {
    pub index: Index,
    /// It was damaged and has been built anew.
    pub salvaged: Option<Salvaged>,
}

impl Index {
    /// Makes an empty index.
    pub fn create(path: &Path) -> Result<(), Error> {
        let file = private().create_new(true).open(path).map_err(io("make", path))?;
        let database =
            Database::builder().create_with_backend(Paced::new(file)).map_err(|error| failed(path, error))?;
        let index = Self { database, path: path.to_path_buf(), damage: RwLock::default() };
        let transaction = index.begin()?;
        for (at, definition) in TABLES.into_iter().enumerate() {
            let mut table = transaction.open_table(definition).map_err(|error| index.failed(error))?;
            for kind in [Kind::Meta, Kind::MetaCopy].into_iter().filter(|kind| kind.table() == at) {
                let none = seal(kind, COVERED, 0u64.to_le_bytes().to_vec());
                table.insert(COVERED, none.as_slice()).map_err(|error| index.failed(error))?;
            }
        }
        transaction.commit().map_err(|error| index.failed(error))
    }

    /// Opens an index after every page of it was read and compared with its checksum. One that is damaged is built anew
    /// from what can be read; the damaged file goes to the folder `aside`.
    ///
    /// # Errors
    /// [`Error::Damaged`] when there is no saying what is lost.
    pub fn open(path: &Path, aside: &Path) -> Result<Opened, Error> {
        let verdict = Pages::open(path)?.verdict();
        let why = match verdict {
            Verdict::Whole => match Self::attach(path) {
                Err(Error::Damaged { what }) => what,
                opened => return opened,
            },
            Verdict::Damaged(why) => format!("{}: {why}", path.display()),
        };
        tracing::error!(why, "the index is damaged; it is built anew from what can be read");
        let salvaged = salvage::rebuild(path, aside, why)?;
        let Opened { index, .. } = Self::attach(path)?;
        Ok(Opened { index, salvaged: Some(salvaged) })
    }

    /// Opens an index that is believed to be whole.
    fn attach(path: &Path) -> Result<Opened, Error> {
        let file = private().open(path).map_err(io("open", path))?;
        // What the checksums of pages do not cover (sizes in the header) may still surprise redb.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut builder = Database::builder();
            builder.set_cache_size(INDEX_CACHE_BYTES);
            builder.create_with_backend(Paced::new(file))
        }));
        let database = match opened {
            Ok(opened) => opened.map_err(|error| failed(path, error))?,
            Err(_) => return Err(damaged(path, "redb cannot open it")),
        };
        let index = Self { database, path: path.to_path_buf(), damage: RwLock::default() };
        let mut ranges = Vec::new();
        let transaction = index.database.begin_read().map_err(|error| index.failed(error))?;
        match transaction.open_table(DAMAGED) {
            Ok(table) => {
                for row in table.iter().map_err(|error| index.failed(error))? {
                    let (key, value) = row.map_err(|error| index.failed(error))?;
                    let value = unseal(Kind::Damaged, key.value(), value.value())?;
                    let range = Range::read(key.value(), value);
                    ranges.push(range.ok_or_else(|| broken(Kind::Damaged, key.value()))?);
                }
            }
            Err(redb::TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(index.failed(error)),
        }
        *index.damage.write() = Damage::new(ranges);
        Ok(Opened { index, salvaged: None })
    }

    /// Begins a commit whose end is unmistakable on the disk: redb trusts the slot that the header names, which is what
    /// [`Pages::verdict`] goes by; and a start after a kill need not read everything to find free pages.
    fn begin(&self) -> Result<WriteTransaction, Error> {
        let mut transaction = self.database.begin_write().map_err(|error| self.failed(error))?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// What the index holds now.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        Snapshot::new(transaction, self.path.clone(), self.damage.read().clone())
    }

    fn failed(&self, error: impl Into<redb::Error>) -> Error {
        failed(&self.path, error)
    }
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(source) => io("use", path)(source),
        redb::Error::Corrupted(why) => damaged(path, &why),
        redb::Error::DatabaseAlreadyOpen => Error::Locked { path: path.display().to_string() },
        other => io("use", path)(std::io::Error::other(other)),
    }
}

/// A value with its checksum.
fn seal(kind: Kind, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(kind, key, &value);
    value.extend_from_slice(&sum.to_le_bytes());
    value
}

/// A value without its checksum, which is right; or what is damaged.
fn unseal<'a>(kind: Kind, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Error> {
    if let Some((value, sum)) = sealed.split_last_chunk::<4>()
        && checksum(kind, key, value).to_le_bytes() == *sum
    {
        return Ok(value);
    }
    Err(broken(kind, key))
}

fn checksum(kind: Kind, key: &[u8], value: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&[kind as u8]);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, key), value)
}

/// The error of a row that does not match its checksum or its form.
pub(super) fn broken(kind: Kind, key: &[u8]) -> Error {
    Error::Damaged { what: format!("{kind:?} in the index, key {}", key.escape_ascii()) }
}
