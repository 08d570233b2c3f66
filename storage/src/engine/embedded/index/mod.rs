//! The index behind the log: what the log's older commits amount to, in redb. Written by one thread, in one transaction a
//! flush that also says which groups it covers; read by anybody. Every value carries a checksum of its own, bound to its
//! key, so that damage is one session's and never another's.

mod flush;
mod keys;
mod read;
mod rows;

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};

use super::files::{damaged, io, private};
use crate::{Error, defaults::INDEX_CACHE_BYTES};
pub(super) use read::Snapshot;

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Definition = TableDefinition::new("meta");
/// Everything of a session but its document: rows that are written together are neighbours and share pages, which halves
/// what a flush costs (`DESIGN.md`, "redb or fjall").
const SESSIONS: Definition = TableDefinition::new("sessions");
/// Apart, because a large value among small ones would be copied with each of them.
const DOCUMENTS: Definition = TableDefinition::new("documents");
const ROWS: Definition = TableDefinition::new("rows");
const EXPIRY: Definition = TableDefinition::new("expiry");

const TABLES: [Definition; 5] = [META, SESSIONS, DOCUMENTS, ROWS, EXPIRY];

/// The kinds of rows. Those of the table `sessions` have their number behind the session in the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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
}

impl Kind {
    /// Where in [`TABLES`] rows of this kind are.
    fn table(self) -> usize {
        match self {
            Kind::Meta => 0,
            Kind::Head | Kind::Deltas | Kind::Incarnations | Kind::Answers | Kind::Quarantine => 1,
            Kind::Documents => 2,
            Kind::Rows => 3,
            Kind::Expiry => 4,
        }
    }
}

const COVERED: &[u8] = b"covered";

/// The index.
pub(super) struct Index {
    database: Database,
    path: PathBuf,
}

impl Index {
    /// Opens the index, or makes an empty one.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = private().create(true).truncate(false).open(path).map_err(io("open", path))?;
        let mut builder = Database::builder();
        builder.set_cache_size(INDEX_CACHE_BYTES);
        let database = builder.create_file(file).map_err(|error| failed(path, error))?;
        let index = Self { database, path: path.to_path_buf() };
        index.make_tables()?;
        Ok(index)
    }

    fn make_tables(&self) -> Result<(), Error> {
        let transaction = self.database.begin_write().map_err(|error| self.failed(error))?;
        for table in TABLES {
            transaction.open_table(table).map_err(|error| self.failed(error))?;
        }
        transaction.commit().map_err(|error| self.failed(error))
    }

    /// What the index holds now.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let transaction = self.database.begin_read().map_err(|error| self.failed(error))?;
        Snapshot::new(transaction, self.path.clone())
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
fn broken(kind: Kind, key: &[u8]) -> Error {
    Error::Damaged { what: format!("{kind:?} in the index, key {}", key.escape_ascii()) }
}
