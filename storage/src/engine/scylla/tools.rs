//! What an operator does with a store in a CQL database that no server has open: look whether it is whole, take everything
//! out, put it in, count. The entries are those of the embedded engine's tools, so a store can move from one to the other.
//! What a database does for itself (repair, backups) is not here.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::{
    Options, Scylla,
    chart::Who,
    database::{BUCKETS, Database, Face, Failure, Follows, Nonce, Pauses, Place, Value, Writes, nonce},
    rows::{self, Column, Kind, NewRow},
};
use crate::{
    Commit, Engine as _, EpochStart, Error, Outcome, Sink, StoredDelta, Table, Ticket, Write,
    defaults::{EPOCHS_SKIPPED, RUN_BYTES},
    engine::embedded::{encoding::table, tools::Entry},
    rules::expired,
};

/// Rows on their way to the database at a time.
const ON_THEIR_WAY: u64 = 1000;

/// Bytes of a session's rows that are sent at a time.
const STAGED: usize = 512 << 10;

/// Figures of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The last epoch that was begun.
    pub epoch: u64,
    /// Sessions.
    pub sessions: u64,
    /// What servers that live say they are reached by.
    pub servers: Vec<String>,
    /// Commits of several partitions that are not forgotten yet.
    pub transactions: u64,
    /// Name, rows, and bytes of keys and values of each table that has any.
    pub tables: Vec<(Table, u64, u64)>,
}

/// A row of a table; without a value: it is damaged.
struct Row {
    key: Bytes,
    value: Option<Bytes>,
    expires_at_ms: Option<u64>,
}

/// Hears of the rows of an import, and waits for them.
#[derive(Default)]
struct Counted {
    state: Mutex<(u64, Option<String>)>,
    told: Condvar,
}

impl Counted {
    /// Waits until all but `most` of `sent` commits have ended.
    fn wait(&self, sent: u64, most: u64) -> Result<(), Error> {
        let mut state = self.state.lock();
        while state.1.is_none() && sent - state.0 > most {
            self.told.wait(&mut state);
        }
        state.1.clone().map_or(Ok(()), |cause| Err(Error::Refused { what: "put rows in".into(), cause }))
    }
}

impl Sink for Counted {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let mut state = self.state.lock();
        state.0 += ended.len() as u64;
        if let Some((_, outcome)) = ended.iter().find(|(_, outcome)| *outcome != Outcome::Committed) {
            state.1 = Some(format!("a row ended as {outcome:?}"));
        }
        self.told.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        self.state.lock().1 = Some(error.to_string());
        self.told.notify_all();
    }
}

/// A store that no server has open.
pub struct Offline {
    engine: Scylla,
    sink: Arc<Counted>,
}

impl Offline {
    /// Opens the store as a server does, to finish what servers left half done.
    ///
    /// # Errors
    /// [`Error::Refused`] when a server lives, and as [`Scylla::open`].
    pub fn open(options: &Options) -> Result<Self, Error> {
        let sink: Arc<Counted> = Arc::default();
        let engine = Scylla::open(&Options { address: "a tool".into(), ..options.clone() }, sink.clone())?;
        let core = engine.core.clone();
        let alone = engine.wait("see whether a server lives", async move {
            let others: Vec<_> = core.db.servers().await?.into_iter().filter(|(id, _)| *id != core.me).collect();
            if let Some((_, address)) = others.first() {
                let cause = format!(
                    "a server lives, reached by {address:?}: stop all of them; one that was killed is over {:?} later",
                    core.lease.length
                );
                return Err(Failure::Store(Error::Refused { what: "work on the store".into(), cause }));
            }
            core.tidy(&mut std::collections::HashSet::new()).await
        });
        let offline = Self { engine, sink };
        match alone {
            Ok(()) => Ok(offline),
            Err(error) => offline.close().and(Err(error)),
        }
    }

    /// Ends; no server has to wait for this.
    ///
    /// # Errors
    /// As [`Scylla::open`].
    pub fn close(self) -> Result<(), Error> {
        self.engine.close()
    }

    /// Hands everything of the store to `each`, whose memory is bounded by the largest session; returns the last epoch.
    ///
    /// # Errors
    /// [`Error::Damaged`] when not everything can be read. What `each` returns.
    pub fn export<E: From<Error>>(&self, mut each: impl FnMut(Entry) -> Result<(), E>) -> Result<u64, E> {
        self.sessions(|_, read| read?.into_iter().try_for_each(&mut each))?;
        for table in (0..=u8::MAX).filter_map(table) {
            for bucket in 0..BUCKETS {
                for row in self.rows(table, bucket)? {
                    let Row { key, value, expires_at_ms } = row;
                    let value = value.ok_or_else(|| rows::broken(table, &key))?;
                    each(Entry::Row { table, key, value, expires_at_ms })?;
                }
            }
        }
        Ok(self.engine.core.epoch)
    }

    /// Reads every session and every row and hands what is damaged to `found`; returns how many sessions are whole.
    ///
    /// # Errors
    /// As [`Scylla::open`].
    pub fn check(&self, found: &mut dyn FnMut(String)) -> Result<u64, Error> {
        let mut whole = 0;
        self.sessions(|id, read| {
            match read {
                Ok(_) => whole += 1,
                Err(Error::Damaged { what }) => found(format!("session {id:?}: {what}")),
                Err(error) => return Err(error),
            }
            Ok::<_, Error>(())
        })?;
        for table in (0..=u8::MAX).filter_map(table) {
            for bucket in 0..BUCKETS {
                for row in self.rows(table, bucket)?.into_iter().filter(|row| row.value.is_none()) {
                    found(format!("row {} of table {table:?}: it does not match its checksum", row.key.escape_ascii()));
                }
            }
        }
        Ok(whole)
    }

    /// Counts.
    ///
    /// # Errors
    /// As [`Scylla::open`].
    pub fn stats(&self) -> Result<Figures, Error> {
        let mut figures = Figures { epoch: self.engine.core.epoch, ..Figures::default() };
        for table in (0..=u8::MAX).filter_map(table) {
            let (mut rows, mut bytes) = (0, 0);
            for bucket in 0..BUCKETS {
                for Row { key, value, .. } in self.rows(table, bucket)? {
                    rows += 1;
                    bytes += (key.len() + value.map_or(0, |value| value.len())) as u64;
                }
            }
            if rows > 0 {
                figures.tables.push((table, rows, bytes));
            }
        }
        let core = self.engine.core.clone();
        let (sessions, servers, transactions) = self.engine.wait("count", async move {
            let (mut sessions, mut transactions) = (0, 0);
            let see = |(_, life): (String, Option<i64>)| {
                sessions += u64::from(life.is_some());
                true
            };
            core.db.each(&core.db.statements.lives, vec![], see).await?;
            let see = |(_, _): (Bytes, Option<i64>)| {
                transactions += 1;
                true
            };
            core.db.each(&core.db.statements.transactions, vec![], see).await?;
            let others = core.db.servers().await?.into_iter().filter(|(id, _)| *id != core.me);
            Ok((sessions, others.map(|(_, address)| address).collect(), transactions))
        })?;
        Ok(Figures { sessions, servers, transactions, ..figures })
    }

    /// Reads all sessions, one after the other; those that are gone are left out.
    fn sessions<E: From<Error>>(
        &self,
        mut each: impl FnMut(&str, Result<Vec<Entry>, Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = Some(scylla::response::PagingState::start());
        while let Some(at) = state {
            let core = self.engine.core.clone();
            let work = async move { core.db.page::<(String, Option<i64>)>(&core.db.statements.lives, at).await };
            let (ids, next) = self.engine.wait("list the sessions", work)?;
            state = next;
            for (id, life) in ids {
                if life.is_none() {
                    continue;
                }
                let (core, place) = (self.engine.core.clone(), Place::Session(id.as_str().into()));
                let name = id.clone();
                let read = self.engine.wait("read a session", async move {
                    while let Some(txn) = core.db.statics(&place).await?.face.txn {
                        core.resolve(&place, txn).await?;
                    }
                    core.db.entries(&place, &name, (core.clock)()).await
                });
                each(&id, read)?;
            }
        }
        Ok(())
    }

    /// The rows of one bucket.
    fn rows(&self, table: Table, bucket: u16) -> Result<Vec<Row>, Error> {
        let core = self.engine.core.clone();
        self.engine.wait("read rows", async move {
            let (place, now_ms) = (Place::Rows(table, bucket), (core.clock)());
            let mut found = Vec::new();
            let values = [place.key(), vec![Value::Blob(Bytes::new())]].concat();
            let see = |(key, value, expires): (Bytes, Option<Bytes>, Option<i64>)| {
                let expires_at_ms = expires.map(i64::cast_unsigned);
                let value = rows::open_row(table, &key, expires_at_ms, &value.unwrap_or_default());
                if value.is_none() || !expired(expires_at_ms, now_ms) {
                    found.push(Row { key, value, expires_at_ms });
                }
                true
            };
            core.db.each(&core.db.statements.scan_from, values, see).await?;
            Ok(found)
        })
    }

    /// Begins an import into a store that has nothing. Until it is finished, no server starts on it.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is something, and as [`Scylla::open`].
    pub fn import(self) -> Result<Import, Error> {
        let core = self.engine.core.clone();
        let begun = self.engine.wait("begin an import", async move {
            let (sessions, _) = core
                .db
                .page::<(String, Option<i64>)>(&core.db.statements.lives, scylla::response::PagingState::start())
                .await?;
            let (rows, _) =
                core.db.page::<(i8,)>(&core.db.statements.any_row, scylla::response::PagingState::start()).await?;
            if !sessions.is_empty() || !rows.is_empty() {
                let cause = "there is something in it: name a keyspace that is empty".to_owned();
                return Err(Failure::Store(Error::Refused { what: "begin an import".into(), cause }));
            }
            core.db.run_once(&core.db.statements.begin_import, vec![]).await
        });
        match begun {
            Ok(_) => Ok(Import { store: self, current: None, sent: 0 }),
            Err(error) => self.close().and(Err(error)),
        }
    }
}

/// The session that is being put in: its rows are there, and nobody sees them until its columns are.
struct Current {
    place: Place,
    life: i64,
    epoch: u64,
    version: u64,
    document: Nonce,
    document_version: u64,
    meta: Bytes,
    epochs: Vec<EpochStart>,
    /// The first change, and the one that has to follow.
    deltas: Option<(u64, u64)>,
    clients: BTreeMap<Who, u64>,
    next_answers: u64,
    staged: Writes,
}

/// A store in the making.
pub struct Import {
    store: Offline,
    current: Option<Current>,
    /// Commits of rows so far.
    sent: u64,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::Damaged { what: what.into() }
}

impl Import {
    /// Puts an entry in.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot stand where it does, and as [`Scylla::open`].
    pub fn put(&mut self, entry: Entry) -> Result<(), Error> {
        match entry {
            Entry::Session { id, epoch, version, document_version, document, meta, epochs, .. } => {
                self.end_session()?;
                if document_version > version || epochs.len() > crate::EPOCHS_KEPT {
                    return Err(wrong(format!("session {id:?} does not fit together")));
                }
                let mut current = Current {
                    place: Place::Session(id.as_str().into()),
                    life: i64::from_le_bytes(nonce()[..8].try_into().unwrap_or_default()),
                    epoch,
                    version,
                    document: nonce(),
                    document_version,
                    meta,
                    epochs,
                    deltas: None,
                    clients: BTreeMap::new(),
                    next_answers: 1,
                    staged: Writes::default(),
                };
                let name = Bytes::copy_from_slice(&current.document);
                for (number, piece) in (0..).zip(rows::pieces(&document)) {
                    let row = NewRow {
                        kind: Kind::Document,
                        name: name.clone(),
                        number,
                        low: 0,
                        high: 0,
                        count: piece.len(),
                        at: 0,
                        value: piece.to_vec(),
                    };
                    self.stage(&mut current, row)?;
                }
                self.current = Some(current);
                Ok(())
            }
            Entry::Row { table, key, value, expires_at_ms } => {
                self.end_session()?;
                self.sent += 1;
                let put = Write::Put { table, key, value, expires_at_ms, if_absent: false };
                self.store.engine.submit(Commit { ticket: self.sent, writes: vec![put] });
                self.store.sink.wait(self.sent, ON_THEIR_WAY)
            }
            part => {
                let Some(mut current) = self.current.take() else {
                    return Err(wrong("a part of a session before any session"));
                };
                let done = self.part(&mut current, part);
                self.current = Some(current);
                done
            }
        }
    }

    fn part(&self, current: &mut Current, entry: Entry) -> Result<(), Error> {
        match entry {
            Entry::Deltas(deltas) => {
                let Some(first) = deltas.first().map(|delta| delta.version) else { return Ok(()) };
                let follow = deltas.iter().zip(first..).all(|(delta, version)| delta.version == version);
                if !follow || current.deltas.is_some_and(|(_, next)| next != first) {
                    return Err(wrong(format!("changes of {:?} do not follow each other", current.place)));
                }
                let oldest = current.deltas.map_or(first, |(oldest, _)| oldest);
                current.deltas = Some((oldest, first + deltas.len() as u64));
                let (mut run, mut from, mut bytes) = (Vec::new(), first, 0);
                for (at, StoredDelta { version, epoch, change }) in deltas.iter().enumerate() {
                    rows::put_delta(&mut run, *epoch, change);
                    bytes += change.len();
                    if bytes >= RUN_BYTES || at + 1 == deltas.len() {
                        let value = std::mem::take(&mut run);
                        let row = NewRow {
                            kind: Kind::Run,
                            name: Bytes::new(),
                            number: *version,
                            low: from,
                            high: *version,
                            count: bytes,
                            at: 0,
                            value,
                        };
                        self.stage(current, row)?;
                        (from, bytes) = (version + 1, 0);
                    }
                }
                Ok(())
            }
            Entry::Client { user, incarnation, last_ms, .. } => {
                current.clients.insert((user.into(), incarnation), last_ms);
                Ok(())
            }
            Entry::Answers { user, incarnation, mut answers, .. } => {
                let who: Who = (user.into(), incarnation);
                let Some(at) = current.clients.get(&who).copied() else {
                    return Err(wrong(format!("answers of {:?} to a client that it does not have", current.place)));
                };
                rows::newest(&mut answers);
                let row = NewRow {
                    kind: Kind::Answers,
                    name: rows::answers_name(&who),
                    number: current.next_answers,
                    low: answers.first().map_or(0, |(counter, _)| *counter),
                    high: answers.last().map_or(0, |(counter, _)| *counter),
                    count: answers.len(),
                    at,
                    value: rows::answers(&answers),
                };
                current.next_answers += 1;
                self.stage(current, row)
            }
            Entry::Session { .. } | Entry::Row { .. } => Err(wrong("not a part of a session")),
        }
    }

    /// Sends rows of a session that is not there yet.
    fn stage(&self, current: &mut Current, row: NewRow) -> Result<(), Error> {
        let values = row.values(current.life);
        let insert = &self.store.engine.core.db.statements.insert;
        current.staged.push(insert, [current.place.key(), values].concat());
        if current.staged.bytes < STAGED { Ok(()) } else { self.send(current) }
    }

    fn send(&self, current: &mut Current) -> Result<(), Error> {
        let (core, staged) = (self.store.engine.core.clone(), std::mem::take(&mut current.staged));
        self.store.engine.wait("put a session's rows in", async move { core.db.insert_all(staged).await })
    }

    fn end_session(&mut self) -> Result<(), Error> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let (oldest, next) = current.deltas.unwrap_or((current.version + 1, current.version + 1));
        if next != current.version + 1 || oldest > current.document_version + 1 {
            return Err(wrong(format!("{:?} lacks changes", current.place)));
        }
        self.send(&mut current)?;
        let core = self.store.engine.core.clone();
        let applied = self.store.engine.wait("put a session in", async move {
            let (statements, place) = (&core.db.statements, &current.place);
            let document = vec![Value::nonce(Some(current.document)), Value::number(current.document_version)];
            let mut writes = Writes::default();
            let meta = rows::seal_column(Column::Meta, place.id(), &current.meta);
            let epochs = rows::seal_column(Column::Epochs, place.id(), &rows::epochs(&current.epochs));
            writes.push(&statements.set_meta, [vec![Value::Blob(meta)], place.key()].concat());
            writes.push(&statements.set_epochs, [vec![Value::Blob(epochs)], place.key()].concat());
            writes.push(&statements.set_document, [document, place.key()].concat());
            // Nobody's, until a server takes it.
            let face = Face {
                txn: None,
                fence: Some(current.epoch),
                owner: None,
                life: Some(current.life),
                epoch: Some(current.epoch),
                version: Some(current.version),
            };
            core.db.flip_session(place, Follows::default(), nonce(), &face, writes).await
        })?;
        if applied { Ok(()) } else { Err(wrong("a session is there twice")) }
    }

    /// Ends; the next server that starts on it begins an epoch far above `epoch`, so that no cursor of the store that was
    /// exported is taken for one of this.
    ///
    /// # Errors
    /// As [`Import::put`].
    pub fn finish(mut self, epoch: u64) -> Result<(), Error> {
        self.end_session()?;
        self.store.sink.wait(self.sent, 0)?;
        let core = self.store.engine.core.clone();
        self.store.engine.wait("finish the import", async move {
            let target = epoch
                + EPOCHS_SKIPPED
                + u64::from_le_bytes(nonce()[..8].try_into().unwrap_or_default()) % EPOCHS_SKIPPED;
            core.db.raise_epoch(target).await?;
            core.db.run_once(&core.db.statements.end_import, vec![]).await.map(drop)
        })?;
        self.store.close()
    }
}

impl Database {
    /// Servers that live, and what they are reached by.
    async fn servers(&self) -> Result<Vec<(Nonce, String)>, Failure> {
        let (rows, _) = self
            .page::<(Bytes, Option<String>)>(&self.statements.servers, scylla::response::PagingState::start())
            .await?;
        rows.into_iter()
            .map(|(id, address)| Ok((super::database::to_nonce(&id)?, address.unwrap_or_default())))
            .collect()
    }

    /// Makes the last epoch at least this.
    async fn raise_epoch(&self, target: u64) -> Result<(), Failure> {
        let mut pauses = Pauses::new();
        loop {
            let rows = self.run(&self.statements.epoch, vec![]).await?.into_rows_result()?;
            let last = rows.maybe_first_row::<(Option<i64>,)>()?.and_then(|(epoch,)| epoch).unwrap_or(0);
            if last.cast_unsigned() >= target
                || self.run_once(&self.statements.next_epoch, vec![Value::number(target), Value::Big(last)]).await?
            {
                return Ok(());
            }
            pauses.wait().await;
        }
    }

    /// A session as entries: itself, every change that is kept, its clients, and the answers to them.
    async fn entries(&self, place: &Place, id: &str, now_ms: u64) -> Result<Vec<Entry>, Failure> {
        let Some((session, deltas, clients)) = self.whole(place, now_ms).await? else { return Ok(Vec::new()) };
        let mut entries = vec![Entry::Session {
            id: id.to_owned(),
            epoch: session.epoch,
            version: session.version,
            document_version: session.document_version,
            document: session.document,
            meta: session.meta,
            epochs: session.epochs,
            swept_ms: 0,
        }];
        let mut run: Vec<StoredDelta> = Vec::new();
        let mut bytes = 0;
        for delta in deltas {
            bytes += delta.change.len();
            if bytes > RUN_BYTES && !run.is_empty() {
                entries.push(Entry::Deltas(std::mem::take(&mut run)));
                bytes = delta.change.len();
            }
            run.push(delta);
        }
        if !run.is_empty() {
            entries.push(Entry::Deltas(run));
        }
        for ((user, incarnation), kept) in &clients {
            entries.push(Entry::Client {
                user: user.as_ref().to_owned(),
                incarnation: *incarnation,
                high_water: kept.high_water,
                last_ms: kept.last_ms,
            });
        }
        for ((user, incarnation), kept) in clients {
            let answers = kept.answers.into_iter().collect();
            entries.push(Entry::Answers { user: user.as_ref().to_owned(), incarnation, run: 1, answers });
        }
        Ok(entries)
    }
}
