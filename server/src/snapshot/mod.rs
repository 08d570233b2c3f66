//! Snapshots: a session's document as it was, under a name of its own, for some days. What is equal is kept once
//! ([`tree`]); what is not needed any more goes by itself. Who may ask is settled before anything here is asked.

pub mod cut;
mod ledger;
mod row;
pub mod tree;

use std::sync::Arc;

use bytes::Bytes;
use ledger::{Entry, Ledger};
pub use row::{About, Id, Scope};
use syncbridge_codec::ErrorCode;
use syncbridge_document::Value;
use syncbridge_storage::{self as storage, Engine, Table, Write};

use crate::{
    hub::{Fault, Hub, off_shard},
    session::Now,
};

/// How many there may be, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long one is kept, milliseconds.
    pub ttl_ms: u64,
    /// How many a session has at most.
    pub max: usize,
}

/// A snapshot to be made.
#[derive(Debug, Clone)]
pub struct New {
    /// What is kept.
    pub document: Value,
    /// The version that the session had then.
    pub version: u64,
    /// What it is called, by whom.
    pub label: Option<String>,
    /// Who makes it.
    pub user: Arc<str>,
    /// On which device; empty: on none.
    pub device: Arc<str>,
}

/// See the file's head.
pub struct Snapshots {
    hub: Arc<Hub>,
    bounds: Bounds,
    clock: fn() -> Now,
    ledger: Ledger,
}

impl Snapshots {
    /// Of the sessions of a hub.
    pub fn new(hub: Arc<Hub>, bounds: Bounds, clock: fn() -> Now) -> Self {
        Self { hub, bounds, clock, ledger: Ledger::default() }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(self.hub.engine())
    }

    /// Makes a snapshot, in one commit with what `also` says of it: its id, durably. When the session has as many as it may,
    /// the oldest without a label gives way.
    ///
    /// # Errors
    /// [`Fault`]: all of them have a label (`limit_reached`), or the store is busy or failed.
    pub async fn make(
        &self,
        scope: &Scope,
        new: New,
        also: impl FnOnce(Id, &About) -> Vec<Write>,
    ) -> Result<(Id, About), Fault> {
        self.hub.caught_up(self.clock).await?;
        let now = (self.clock)();
        let id = Id::new(now.wall_ms);
        let expires_ms = now.wall_ms.saturating_add(self.bounds.ttl_ms);
        let entry = Entry { id, labelled: new.label.is_some(), expires_ms };
        let known = self.ledger.of(scope, &self.engine(), now.wall_ms).await?;
        // The place is taken before anything is done, so that no two are made for one.
        let place = known.take_place(entry, self.bounds.max, now.wall_ms).ok_or_else(|| {
            let what =
                format!("a session has at most {} snapshots, and all of this one's have a label", self.bounds.max);
            Fault::new(ErrorCode::LimitReached, what)
        })?;
        let (engine, of, ttl_ms) = (self.engine(), scope.clone(), self.bounds.ttl_ms);
        let (about, mut writes) = off_shard(move || {
            let text = new.document.to_json();
            let look = |hash: &tree::Hash| engine.get(Table::Chunk, &of.chunk(hash), now.wall_ms);
            let (root, rows) = tree::keep(&text, &look, now.wall_ms, ttl_ms).map_err(|error| unreadable(&error))?;
            let New { version, label, user, device, .. } = new;
            let about = About { created_ms: now.wall_ms, expires_ms, version, root, label, user, device };
            let mut writes = vec![put(Table::Snapshot, of.snapshot(id), about.encode(), expires_ms)];
            writes.extend(
                rows.into_iter().map(|row| put(Table::Chunk, of.chunk(&row.hash), row.value, row.expires_at_ms)),
            );
            Ok::<_, Fault>((about, writes))
        })
        .await??;
        writes.extend(place.given_up().map(|old| Write::Remove { table: Table::Snapshot, key: scope.snapshot(old) }));
        writes.extend(also(id, &about));
        self.commit(writes).await?;
        place.keep();
        Ok((id, about))
    }

    /// The snapshots of a session after `after`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`Fault`] when they cannot be read.
    pub async fn list(&self, scope: &Scope, after: Option<Id>, limit: usize) -> Result<Vec<(Id, About)>, Fault> {
        let (engine, scope, now) = (self.engine(), scope.clone(), (self.clock)());
        off_shard(move || {
            let after = after.map(|id| scope.snapshot(id));
            let rows = engine.scan(Table::Snapshot, scope.prefix(), after.as_deref(), limit, now.wall_ms);
            rows.map_err(|error| unreadable(&error))?.into_iter().map(|(key, row)| entry(&key, row)).collect()
        })
        .await?
    }

    /// What removes all snapshots of a session, with whatever ends it. Nobody finds its chunks any more; they go when their
    /// time is over.
    ///
    /// # Errors
    /// [`Fault`] when they cannot be read.
    pub async fn removal(&self, scope: &Scope) -> Result<Vec<Write>, Fault> {
        let known = self.ledger.of(scope, &self.engine(), (self.clock)().wall_ms).await?;
        let remove = |id| Write::Remove { table: Table::Snapshot, key: scope.snapshot(id) };
        Ok(known.ids().into_iter().map(remove).collect())
    }

    /// A snapshot with its document's text; `None`: there is none of that id.
    ///
    /// # Errors
    /// [`Fault`]: it is damaged, or cannot be read.
    pub async fn read(&self, scope: &Scope, id: Id) -> Result<Option<(About, Vec<u8>)>, Fault> {
        let (engine, scope, now) = (self.engine(), scope.clone(), (self.clock)());
        off_shard(move || {
            let row =
                engine.get(Table::Snapshot, &scope.snapshot(id), now.wall_ms).map_err(|error| unreadable(&error))?;
            let Some(row) = row else { return Ok(None) };
            let about = About::decode(row).map_err(|malformed| damaged(id, &malformed))?;
            let look = |hash: &tree::Hash| engine.get(Table::Chunk, &scope.chunk(hash), now.wall_ms);
            match tree::read(&about.root, &look) {
                Ok(text) => Ok(Some((about, text))),
                Err(tree::Unreadable::Storage(error)) => Err(unreadable(&error)),
                Err(why @ tree::Unreadable::Damaged(_)) => Err(damaged(id, &why)),
            }
        })
        .await?
    }

    /// Removes a snapshot, durably; whether there was one. Its chunks go when their time is over.
    ///
    /// # Errors
    /// [`Fault`] when the store is busy or failed.
    pub async fn remove(&self, scope: &Scope, id: Id) -> Result<bool, Fault> {
        self.hub.caught_up(self.clock).await?;
        let now = (self.clock)();
        let known = self.ledger.of(scope, &self.engine(), now.wall_ms).await?;
        if !known.has(id, now.wall_ms) {
            return Ok(false);
        }
        self.commit(vec![Write::Remove { table: Table::Snapshot, key: scope.snapshot(id) }]).await?;
        known.forget(id);
        Ok(true)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), Fault> {
        match self.hub.persist().commit(writes, (self.clock)()).await {
            Some(storage::Outcome::Committed) => Ok(()),
            outcome => {
                tracing::error!(?outcome, "a snapshot's commit failed");
                Err(Fault::new(ErrorCode::StorageFailed, "the store failed; an operator has to look"))
            }
        }
    }
}

fn put(table: Table, key: Bytes, value: Bytes, expires_at_ms: u64) -> Write {
    Write::Put { table, key, value, expires_at_ms: Some(expires_at_ms), if_absent: false }
}

fn entry(key: &[u8], row: Bytes) -> Result<(Id, About), Fault> {
    let id = Id::of_key(key).ok_or_else(|| Fault::new(ErrorCode::SessionDamaged, "a snapshot's key is damaged"))?;
    Ok((id, About::decode(row).map_err(|malformed| damaged(id, &malformed))?))
}

fn damaged(id: Id, why: &dyn std::fmt::Display) -> Fault {
    tracing::error!(snapshot = %id, %why, "a snapshot is damaged");
    Fault::new(ErrorCode::SessionDamaged, format!("the snapshot {id} is damaged: {why}"))
}

fn unreadable(error: &storage::Error) -> Fault {
    tracing::error!(%error, "snapshots cannot be read");
    let code = match error {
        storage::Error::Damaged { .. } => ErrorCode::SessionDamaged,
        _ => ErrorCode::StorageFailed,
    };
    Fault::new(code, "the store cannot read it")
}
