//! Everything of a store as a stream of entries, and back: what `export` and `import` are made of. Knows nothing of how the
//! entries are written down.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bytes::Bytes;

use super::{Nobody, Offline};
use crate::{
    Engine, EpochStart, Error, StoredDelta, Table,
    engine::embedded::{
        Embedded, Options, encoding,
        files::{Folder, INDEX, STORE, io, sync_folder},
        index::{
            Kind, Verdict, broken, keys,
            rows::{self, Head, Incarnation},
            salvage::{Filling, Read},
        },
        replay::Policy,
    },
};

/// A piece of a store. All of a session come after its [`Entry::Session`] and before the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A session.
    Session {
        /// Its id.
        id: String,
        /// Epoch of the newest commit.
        epoch: u64,
        /// Newest version.
        version: u64,
        /// The document's version.
        document_version: u64,
        /// The document.
        document: Bytes,
        /// Owner, members, policies.
        meta: Bytes,
        /// Starts of its epochs.
        epochs: Vec<EpochStart>,
        /// When it was last searched for idle clients, milliseconds since 1970.
        swept_ms: u64,
    },
    /// Changes, one after the other.
    Deltas(Vec<StoredDelta>),
    /// A client's incarnation.
    Client {
        /// The user.
        user: String,
        /// The incarnation.
        incarnation: u128,
        /// The highest counter that was applied.
        high_water: u64,
        /// When it was last heard of, milliseconds since 1970.
        last_ms: u64,
    },
    /// Answers to an incarnation.
    Answers {
        /// The user.
        user: String,
        /// The incarnation.
        incarnation: u128,
        /// Tells one such entry of an incarnation from another.
        run: u64,
        /// (counter, answer).
        answers: Vec<(u64, Bytes)>,
    },
    /// A row of a table.
    Row {
        /// The table.
        table: Table,
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Milliseconds since 1970 after which it is gone.
        expires_at_ms: Option<u64>,
    },
}

impl Offline {
    /// Hands everything of the store to `each`, whose memory is bounded by the largest row and document; returns the last
    /// epoch. The store is brought up to date first, as a start does.
    ///
    /// # Errors
    /// [`Error::Damaged`] when not everything can be read: then it is to be repaired first. What `each` returns.
    pub fn export<E: From<Error>>(
        folder: &Path,
        options: Options,
        mut each: impl FnMut(Entry) -> Result<(), E>,
    ) -> Result<u64, E> {
        let offline = Self::lock(folder)?;
        Embedded::open_folder(offline.folder, options, Arc::new(Nobody), Policy::Start)?.close()?;
        let offline = Self::lock(folder)?;
        let epoch = offline.folder.last_epoch()?.unwrap_or(0);
        let reading = super::check::whole(&offline)?;
        let mut documents = reading.rows(Kind::Documents);
        for read in reading.rows(Kind::Head) {
            let Read::Row(kind, key, value) = read else { return Err(unreadable(&offline).into()) };
            each(
                entry(kind, &key, &value, || match documents.next() {
                    Some(Read::Row(_, _, document)) => Some(document),
                    _ => None,
                })
                .ok_or_else(|| broken(kind, &key))?,
            )?;
        }
        for read in reading.rows(Kind::Rows) {
            let Read::Row(kind, key, value) = read else { return Err(unreadable(&offline).into()) };
            each(entry(kind, &key, &value, || None).ok_or_else(|| broken(kind, &key))?)?;
        }
        Ok(epoch)
    }
}

fn unreadable(offline: &Offline) -> Error {
    Error::Damaged { what: format!("{}: not everything can be read", offline.index().display()) }
}

/// A row as an entry. Heads and documents have the same order, so the next document is the head's.
fn entry(kind: Kind, key: &[u8], value: &[u8], document: impl FnOnce() -> Option<Vec<u8>>) -> Option<Entry> {
    let part = || keys::name(key).map(|name| keys::part(&keys::session(name), kind));
    Some(match kind {
        Kind::Head => {
            let head = Head::decode(value)?;
            let document = document()?;
            let (version, text) = rows::read_document(&document)?;
            if version != head.document_version {
                return None;
            }
            Entry::Session {
                id: keys::name(key)?.to_owned(),
                epoch: head.epoch,
                version: head.version,
                document_version: head.document_version,
                document: Bytes::copy_from_slice(text),
                meta: head.meta,
                epochs: head.epochs,
                swept_ms: head.swept_ms,
            }
        }
        Kind::Deltas => Entry::Deltas(rows::read_run(keys::number(key)?, value)?),
        Kind::Incarnations => {
            let (user, incarnation) = keys::of_incarnation(&part()?, key)?;
            let kept = Incarnation::decode(value)?;
            Entry::Client { user: user.to_owned(), incarnation, high_water: kept.high_water, last_ms: kept.last_ms }
        }
        Kind::Answers => {
            let (user, incarnation) = keys::of_incarnation(&part()?, key)?;
            let mut answers = Vec::new();
            rows::read_answers(value, |counter, answer| answers.push((counter, answer)))?;
            Entry::Answers { user: user.to_owned(), incarnation, run: keys::number(key)?, answers }
        }
        Kind::Rows => {
            let (table, row) = key.split_first()?;
            let (expires_at_ms, value) = rows::read_row(value)?;
            Entry::Row {
                table: encoding::table(*table)?,
                key: Bytes::copy_from_slice(row),
                value: Bytes::copy_from_slice(value),
                expires_at_ms,
            }
        }
        _ => return None,
    })
}

/// The session that is being put in.
struct Current {
    id: String,
    head: Head,
    next: Option<u64>,
    clients: BTreeMap<(String, u128), Incarnation>,
}

/// A store in the making.
pub struct Import {
    folder: Folder,
    filling: Filling,
    current: Option<Current>,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::Damaged { what: what.into() }
}

impl Import {
    /// Begins a store in a folder that has none.
    ///
    /// # Errors
    /// [`Error::Io`] when there is one.
    pub fn begin(folder: &Path) -> Result<Self, Error> {
        let folder = Folder::open(folder)?;
        for name in [STORE, INDEX] {
            let path = folder.path.join(name);
            if path.exists() {
                return Err(io("make", &path)(std::io::ErrorKind::AlreadyExists.into()));
            }
        }
        let new = folder.path.join("index.imported");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &new)(error)),
            _ => {}
        }
        Ok(Self { filling: Filling::new(&new)?, folder, current: None })
    }

    /// Puts an entry in.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot stand where it does; [`Error::Io`].
    pub fn put(&mut self, entry: Entry) -> Result<(), Error> {
        match entry {
            Entry::Session { id, epoch, version, document_version, document, meta, epochs, swept_ms } => {
                self.end_session()?;
                if document_version > version || epochs.len() > crate::EPOCHS_KEPT {
                    return Err(wrong(format!("session {id:?} does not fit together")));
                }
                let key = keys::session(&id);
                self.filling.put(Kind::Documents, &key, &rows::document(document_version, &document))?;
                let head = Head {
                    epoch,
                    version,
                    document_version,
                    meta,
                    epochs,
                    oldest: version + 1,
                    kept: 0,
                    behind: 0,
                    incarnations: 0,
                    swept_ms,
                };
                self.current = Some(Current { id, head, next: None, clients: BTreeMap::new() });
                Ok(())
            }
            Entry::Row { table, key, value, expires_at_ms } => {
                self.end_session()?;
                self.filling.put(Kind::Rows, &keys::row(table, &key), &rows::row(&value, expires_at_ms))
            }
            part => self.part(part),
        }
    }

    fn part(&mut self, entry: Entry) -> Result<(), Error> {
        let Some(current) = &mut self.current else { return Err(wrong("a part of a session before any session")) };
        let key = keys::session(&current.id);
        match entry {
            Entry::Deltas(deltas) => {
                let Some(first) = deltas.first().map(|delta| delta.version) else { return Ok(()) };
                let follow = deltas.iter().zip(first..).all(|(delta, version)| delta.version == version);
                if !follow || current.next.is_some_and(|next| next != first) {
                    return Err(wrong(format!("changes of session {:?} do not follow each other", current.id)));
                }
                if current.next.is_none() {
                    current.head.oldest = first;
                }
                current.next = Some(first + deltas.len() as u64);
                for delta in &deltas {
                    let bytes = delta.change.len() as u64;
                    current.head.kept += bytes;
                    current.head.behind += if delta.version <= current.head.document_version { bytes } else { 0 };
                }
                let row = keys::numbered(&keys::part(&key, Kind::Deltas), first);
                self.filling.put(Kind::Deltas, &row, &rows::run(&deltas))
            }
            Entry::Client { user, incarnation, high_water, last_ms } => {
                current.clients.insert((user, incarnation), Incarnation { high_water, last_ms, answers: 0 });
                Ok(())
            }
            Entry::Answers { user, incarnation, run, answers } => {
                let part = keys::incarnation(&keys::part(&key, Kind::Answers), &user, incarnation);
                let Some(client) = current.clients.get_mut(&(user, incarnation)) else {
                    return Err(wrong(format!(
                        "answers of session {:?} to a client that it does not have",
                        current.id
                    )));
                };
                client.answers += answers.len() as u64;
                self.filling.put(Kind::Answers, &keys::numbered(&part, run), &rows::answers(&answers))
            }
            Entry::Session { .. } | Entry::Row { .. } => Err(wrong("not a part of a session")),
        }
    }

    fn end_session(&mut self) -> Result<(), Error> {
        let Some(Current { id, mut head, next, clients }) = self.current.take() else { return Ok(()) };
        if next.unwrap_or(head.version + 1) != head.version + 1 || head.oldest > head.document_version + 1 {
            return Err(wrong(format!("session {id:?} lacks changes")));
        }
        let key = keys::session(&id);
        head.incarnations = clients.len() as u64;
        for ((user, incarnation), client) in clients {
            let row = keys::incarnation(&keys::part(&key, Kind::Incarnations), &user, incarnation);
            self.filling.put(Kind::Incarnations, &row, &client.encode())?;
        }
        self.filling.put(Kind::Head, &keys::part(&key, Kind::Head), &head.encode())
    }

    /// Ends; the next server that starts on it begins an epoch above `epoch`.
    ///
    /// # Errors
    /// As [`Import::put`].
    pub fn finish(mut self, epoch: u64) -> Result<(), Error> {
        self.end_session()?;
        self.filling.finish(0)?;
        publish(&self.folder, "index.imported", epoch)
    }
}

/// Gives a filled index its name in a folder that has none, and says that this is a copy of another store.
pub(super) fn publish(folder: &Folder, filled: &str, epoch: u64) -> Result<(), Error> {
    let path = folder.path.join(filled);
    folder.mark_copy()?;
    folder.set_epoch(epoch)?;
    std::fs::rename(&path, folder.path.join(INDEX)).map_err(io("rename", &path))?;
    sync_folder(&folder.path)
}

/// The verdict that export needs: everything is there.
pub(super) fn all_there(verdict: Verdict) -> Result<(), Error> {
    match verdict {
        Verdict::Whole => Ok(()),
        Verdict::Damaged(what) => Err(Error::Damaged { what }),
    }
}
