//! How many snapshots a session has, known without reading them each time, and exact when several are made at once: a
//! place is taken before a snapshot is written, and given back when that fails. Only this process writes snapshots, so
//! what was read once stays true.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;
use syncbridge_storage::{Engine, Table};
use tokio::sync::OnceCell;

use super::{Id, Scope, entry};
use crate::{
    defaults::SNAPSHOT_LEDGER,
    hub::{Fault, off_shard},
};

/// A snapshot, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub id: Id,
    /// Whether it has a label: then it gives way after all that have none.
    pub labelled: bool,
    /// Until when it is there.
    pub expires_ms: u64,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Ledger {
    sessions: DashMap<Scope, Arc<OnceCell<Arc<Known>>>>,
}

/// The snapshots of one session.
#[derive(Debug, Default)]
pub struct Known {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Those that are there.
    kept: Vec<Entry>,
    /// Those that are being written; none of them gives way.
    coming: Vec<Id>,
}

/// A place for one snapshot. Dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    known: Arc<Known>,
    entry: Entry,
    given_up: Option<Entry>,
    kept: bool,
}

impl Ledger {
    /// The snapshots of a session, read when they are not known.
    pub async fn of(&self, scope: &Scope, engine: &Arc<dyn Engine>, now_ms: u64) -> Result<Arc<Known>, Fault> {
        if self.sessions.len() >= SNAPSHOT_LEDGER {
            // Who holds one is using it; the others are read again when they are asked for.
            self.sessions.retain(|_, cell| {
                Arc::strong_count(cell) > 1 || cell.get().is_some_and(|known| Arc::strong_count(known) > 1)
            });
        }
        let cell = Arc::clone(&self.sessions.entry(scope.clone()).or_default());
        let known = cell
            .get_or_try_init(|| async {
                let (engine, scope) = (Arc::clone(engine), scope.clone());
                off_shard(move || read(&*engine, &scope, now_ms)).await?
            })
            .await?;
        Ok(Arc::clone(known))
    }
}

fn read(engine: &dyn Engine, scope: &Scope, now_ms: u64) -> Result<Arc<Known>, Fault> {
    const AT_ONCE: usize = 256;
    let mut kept = Vec::new();
    let mut after = None;
    loop {
        let rows = engine
            .scan(Table::Snapshot, scope.prefix(), after.as_deref(), AT_ONCE, now_ms)
            .map_err(|error| Fault::unreadable_session(&error))?;
        let last = rows.len() < AT_ONCE;
        after = rows.last().map(|(key, _)| key.clone());
        for (key, row) in rows {
            let (id, about) = entry(&key, row)?;
            kept.push(Entry { id, labelled: about.label.is_some(), expires_ms: about.expires_ms });
        }
        if last {
            return Ok(Arc::new(Known { entries: Mutex::new(Entries { kept, ..Entries::default() }) }));
        }
    }
}

impl Known {
    /// Takes a place, under an id after all others'; `None` when `max` are being made.
    pub fn take_place(self: &Arc<Self>, labelled: bool, expires_ms: u64, max: usize, now_ms: u64) -> Option<Place> {
        let mut entries = self.entries.lock();
        entries.kept.retain(|entry| now_ms <= entry.expires_ms);
        let mut given_up = None;
        if entries.kept.len() + entries.coming.len() >= max {
            let oldest = (0..entries.kept.len()).min_by_key(|at| (entries.kept[*at].labelled, entries.kept[*at].id))?;
            given_up = Some(entries.kept.swap_remove(oldest));
        }
        let latest = entries.kept.iter().map(|entry| entry.id).chain(entries.coming.iter().copied()).max();
        let entry = Entry { id: Id::after(latest.max(given_up.map(|entry| entry.id)), now_ms), labelled, expires_ms };
        entries.coming.push(entry.id);
        Some(Place { known: Arc::clone(self), entry, given_up, kept: false })
    }

    /// Whether there is one of this id.
    pub fn has(&self, id: Id, now_ms: u64) -> bool {
        self.entries.lock().kept.iter().any(|entry| entry.id == id && now_ms <= entry.expires_ms)
    }

    /// All that are there.
    pub fn ids(&self) -> Vec<Id> {
        self.entries.lock().kept.iter().map(|entry| entry.id).collect()
    }

    /// A snapshot was removed.
    pub fn forget(&self, id: Id) {
        self.entries.lock().kept.retain(|entry| entry.id != id);
    }
}

impl Place {
    /// What the snapshot is called.
    pub fn id(&self) -> Id {
        self.entry.id
    }

    /// The snapshot that gives way to this one, to be removed with the same commit.
    pub fn given_up(&self) -> Option<Id> {
        self.given_up.map(|entry| entry.id)
    }

    /// The snapshot was written.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.known.entries.lock();
        let id = self.entry.id;
        entries.coming.retain(|coming| *coming != id);
        if self.kept {
            entries.kept.push(self.entry);
        } else {
            entries.kept.extend(self.given_up);
        }
    }
}
