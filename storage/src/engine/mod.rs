//! The trait that every engine implements, and the engines, one folder or file each.

pub mod embedded;
pub mod memory;
pub mod scylla;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::{Commit, Error, Outcome, StoredDelta, StoredSession, Table, Taken, Ticket, defaults::SCANNED_AT_ONCE};

/// Is told how commits end. Called from the engine's own thread; must not block.
pub trait Sink: Send + Sync {
    /// Commits that ended, in the order in which they were submitted (per session, where the engine has partitions).
    fn completed(&self, ended: &[(Ticket, Outcome)]);
    /// The engine failed and is poisoned: nothing that is not yet `completed` ever will be, and nothing more is taken. Told
    /// once with the first failure, and again, with [`Error::Poisoned`], after commits that came later.
    fn poisoned(&self, error: &Error);
}

/// A store. All reads may block: call them off the shards. Reads see every completed commit.
pub trait Engine: Send + Sync {
    /// This process's epoch: greater than that of every process before it, durable before `open` returned.
    fn epoch(&self) -> u64;
    /// Queues a commit. Never blocks on I/O. Commits that touch one session are applied in the order of `submit`. The queue
    /// has no bound of its own: who submits watches [`Stats::queued`] and the age of its oldest commit.
    ///
    /// After a failure or [`Engine::close`] the commit is dropped, and [`Sink::poisoned`] tells.
    fn submit(&self, commit: Commit);
    /// A session with everything needed to go on with it; incarnations that were idle for 30 days are not there.
    ///
    /// # Errors
    /// [`Error::Damaged`] when this session's data fails its checksum; other sessions are not affected.
    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error>;
    /// What the server keeps of a session: [`StoredSession::meta`] alone. Unlike the whole of it this can be read while
    /// another server writes to the session all the time.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn meta(&self, session: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.load(session)?.map(|stored| stored.meta))
    }
    /// Changes after version `after`, oldest first, until `max_bytes` are collected (at least one, if there is one).
    /// `None` when the change that made `after + 1` is no longer kept, or the session is not there; empty when nothing is
    /// newer than `after`.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error>;
    /// A row. Rows that have expired at `now_ms` (it is later than their `expires_at_ms`) are not there.
    ///
    /// # Errors
    /// [`Error`] when it cannot be read.
    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error>;
    /// At most `limit` rows whose keys begin with `prefix` and lie after `after`, in key order.
    ///
    /// # Errors
    /// [`Error`] when they cannot be read.
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Bytes)>, Error>;
    /// Every row whose key begins with `prefix`, in no order, for who has to go on without those that cannot be read: of
    /// them, `each` gets the keys. What commits meanwhile may be among them or not.
    ///
    /// # Errors
    /// [`Error`] when the table cannot be read at all.
    fn scan_readable(
        &self,
        table: Table,
        prefix: &[u8],
        now_ms: u64,
        each: &mut dyn FnMut(Scanned),
    ) -> Result<(), Error> {
        let mut after: Option<Bytes> = None;
        loop {
            let rows = self.scan(table, prefix, after.as_deref(), SCANNED_AT_ONCE, now_ms)?;
            after = rows.last().map(|(key, _)| key.clone());
            let last = rows.len() < SCANNED_AT_ONCE;
            for (key, value) in rows {
                each(Scanned::Row(key, value));
            }
            if last {
                return Ok(());
            }
        }
    }
    /// Makes this process the owner of a session, before it is loaded, if no other that lives is: then writes of an older
    /// epoch are refused by the store, whoever makes them. An engine that one process has alone owns everything. A session
    /// that is not there belongs to whoever makes it.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn take(&self, session: &str, at_least: u64) -> Result<Taken, Error> {
        let _ = session;
        Ok(Taken::Owned { epoch: at_least })
    }
    /// Gives up what [`Engine::take`] took, so that another process need not wait until this one is gone. Everything
    /// submitted for it must have ended. Nothing happens if it is another's by now.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn release(&self, session: &str) -> Result<(), Error> {
        let _ = session;
        Ok(())
    }
    /// Whether other processes have the same store open, so that sessions have to be taken and what is unique is only
    /// known once it is committed.
    fn is_shared(&self) -> bool {
        false
    }
    /// Whether other processes still have to leave this one's sessions alone. When it is `false` they may take them at any
    /// moment: what is in memory may be old, and nothing new should be accepted. Cheap; ask often.
    fn is_owner(&self) -> bool {
        true
    }
    /// How often [`Engine::is_owner`] became true again after others could have taken sessions: what was taken before the
    /// last time has to be taken again before it is believed. Cheap; ask often.
    fn lapses(&self) -> u64 {
        0
    }
    /// Waits until everything submitted has ended and its [`Sink`] was told, then closes. Later commits are refused by
    /// poison. Closing again is fine.
    ///
    /// # Errors
    /// [`Error`] when something submitted could not be made durable.
    fn close(&self) -> Result<(), Error>;
    /// Figures for metrics.
    fn stats(&self) -> Stats;
}

/// What [`Engine::scan_readable`] comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanned {
    /// A row: key and value.
    Row(Bytes, Bytes),
    /// Keys among which there is or was a row that cannot be read.
    Unreadable {
        /// The first.
        from: Bytes,
        /// The first behind them; `None`: all that begin with the prefix.
        to: Option<Bytes>,
    },
}

/// Figures of an engine since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that are durable.
    pub commits: u64,
    /// Times the disk was asked to make something durable.
    pub syncs: u64,
    /// Bytes appended to the log.
    pub log_bytes: u64,
    /// Bytes of log that no checkpoint covers yet.
    pub log_backlog: u64,
    /// Commits queued and not ended.
    pub queued: u64,
}

/// Where an engine takes the time of a commit from, in milliseconds since 1970: for what expires and what is idle.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
