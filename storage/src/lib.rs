//! What SyncBridge keeps: one trait, [`Engine`], and its engines (`engine/`), which all pass one shared suite.
//!
//! The store knows sessions, deltas, dedup records and named tables; it knows nothing of JSON, connections or tokens.
//! Who uses it (`server/src/persist.rs`, and nothing else) submits commits and is told when they are durable.
//! `storage/DESIGN.md` describes the files, the commit protocol and what is promised after each kind of crash.

use std::sync::Arc;

use bytes::Bytes;

/// A commit's name, chosen by who submits it; comes back in [`Sink::completed`].
pub type Ticket = u64;

/// The identity of an op inside a session's partition, with the answer that a resend gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The user who made it.
    pub user: Arc<str>,
    /// The client's incarnation.
    pub incarnation: u128,
    /// The op's counter.
    pub counter: u64,
    /// The recorded answer, opaque to the store.
    pub answer: Bytes,
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Makes a session. The whole commit is [`Outcome::Exists`] when the id is taken.
    Create {
        /// The session's id.
        session: Arc<str>,
        /// Its epoch.
        epoch: u64,
        /// Owner, members, policies: opaque to the store.
        meta: Bytes,
        /// The first document, JSON text; its version is 1.
        document: Bytes,
        /// The op that made it.
        op: Option<Applied>,
    },
    /// One change: version `version - 1` became `version`. [`Outcome::Fenced`] when the session is at a newer epoch.
    Delta {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
        /// The version that the change made.
        version: u64,
        /// The change, opaque to the store (what the server replays and applies).
        change: Bytes,
        /// The op that made it.
        op: Option<Applied>,
    },
    /// An op that changed nothing: its answer is kept like that of a `Delta`, and no version is made. Fenced like
    /// `Delta`. (Without the record, a resend after a crash could find another document and change it after all.)
    Op {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
        /// The op.
        op: Applied,
    },
    /// Lets go of everything kept of one incarnation in one session; nothing when there is none. Fenced like `Delta`.
    Forget {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
        /// The user.
        user: Arc<str>,
        /// The incarnation.
        incarnation: u128,
    },
    /// Replaces `meta`. Fenced like `Delta`.
    Meta {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
        /// The new meta.
        meta: Bytes,
    },
    /// The document at a version that deltas have already made: loading starts from it. Deltas at or below it stay
    /// readable for catch-up until `Retention` lets them go. Not a change; may be dropped by a crash without harm.
    Checkpoint {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
        /// The version.
        version: u64,
        /// The document, JSON text.
        document: Bytes,
    },
    /// Removes a session with everything in its partition. Fenced like `Delta`.
    DeleteSession {
        /// The session's id.
        session: Arc<str>,
        /// The epoch of who writes.
        epoch: u64,
    },
    /// Sets a row of a table.
    Put {
        /// The table.
        table: Table,
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// Milliseconds since 1970 after which the row is gone.
        expires_at_ms: Option<u64>,
        /// The whole commit is [`Outcome::Exists`] when the key is taken.
        if_absent: bool,
    },
    /// Removes a row of a table, if it is there.
    Remove {
        /// The table.
        table: Table,
        /// The key.
        key: Bytes,
    },
}

/// The named tables. Keys are bytes in lexicographic order; numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Accounts, by user id.
    User = 1,
    /// Password hashes, by user id; and the unique e-mail → user id.
    Credential = 2,
    /// Devices, by user id and device id.
    Device = 3,
    /// Refresh tokens and revoked families.
    Token = 4,
    /// Labelled snapshots, by session id and snapshot id.
    Snapshot = 5,
    /// Content-addressed parts of snapshots.
    Chunk = 6,
    /// Sessions of a user, by user id and session id.
    Membership = 7,
    /// Handoff codes and tokens.
    Handoff = 8,
    /// Idempotency keys.
    Idempotency = 9,
}

/// All or nothing: the writes of one commit become durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub ticket: Ticket,
    /// The writes, in order.
    pub writes: Vec<Write>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Committed,
    /// A unique id or key was taken; nothing of it was written.
    Exists,
    /// The session belongs to a newer epoch (or is gone); nothing of it was written.
    Fenced,
}

/// Is told how commits end. Called from the engine's own thread; must not block.
pub trait Sink: Send + Sync {
    /// Commits that ended, in the order in which they were submitted (per session, where the engine has partitions).
    fn completed(&self, ended: &[(Ticket, Outcome)]);
    /// The engine failed and is poisoned: nothing that is not yet `completed` ever will be, and nothing more is taken.
    fn poisoned(&self, error: &Error);
}

/// The start of an epoch of one session: versions above `base` were made in `epoch` or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: u64,
    /// The last version of the epoch before.
    pub base: u64,
}

/// What is kept of one client incarnation in one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// The user.
    pub user: Arc<str>,
    /// The incarnation.
    pub incarnation: u128,
    /// The highest counter that was applied.
    pub high_water: u64,
    /// (counter, answer) of the last ops that were applied, at most [`DEDUP_WINDOW`], ascending.
    pub answers: Vec<(u64, Bytes)>,
}

/// Answers that are kept for each incarnation in a session.
pub const DEDUP_WINDOW: usize = 1024;
/// Epoch starts that are kept for a session; a cursor of an older epoch is `TooOld`.
pub const EPOCHS_KEPT: usize = 256;

/// A session as it is loaded: `document` at `document_version`, then `deltas` up to `version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Epoch of the newest commit.
    pub epoch: u64,
    /// Newest version.
    pub version: u64,
    /// Owner, members, policies.
    pub meta: Bytes,
    /// JSON text of the checkpoint.
    pub document: Bytes,
    /// The checkpoint's version.
    pub document_version: u64,
    /// Changes of `document_version + 1 ..= version`, in order.
    pub deltas: Vec<StoredDelta>,
    /// Starts of the epochs in which something was committed, ascending, at most [`EPOCHS_KEPT`].
    pub epochs: Vec<EpochStart>,
    /// Dedup records.
    pub incarnations: Vec<Incarnation>,
}

/// One change as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelta {
    /// The version that it made.
    pub version: u64,
    /// The epoch in which it was made.
    pub epoch: u64,
    /// The change.
    pub change: Bytes,
}

/// A store. All reads may block: call them off the shards. Reads see every completed commit.
pub trait Engine: Send + Sync {
    /// This process's epoch: greater than that of every process before it, durable before `open` returned.
    fn epoch(&self) -> u64;
    /// Queues a commit. Never blocks on I/O. Commits that touch one session are applied in the order of `submit`.
    fn submit(&self, commit: Commit);
    /// A session with everything needed to go on with it.
    ///
    /// # Errors
    /// [`Error::Damaged`] when this session's data fails its checksum; other sessions are not affected.
    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error>;
    /// Changes after version `after`, oldest first, until `max_bytes` are collected (at least one, if there is one).
    /// `None` when the change that made `after + 1` is no longer kept.
    ///
    /// # Errors
    /// As [`Engine::load`].
    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error>;
    /// A row. Rows that have expired at `now_ms` are not there.
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
    /// Waits until everything submitted is durable, then closes. Later commits are refused by poison.
    ///
    /// # Errors
    /// [`Error`] when something submitted could not be made durable.
    fn close(&self) -> Result<(), Error>;
    /// Figures for metrics.
    fn stats(&self) -> Stats;
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
    /// Commits queued and not durable.
    pub queued: u64,
}

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no. After a failed write or sync of the log the engine is poisoned.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the file's name.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Something read back does not match its checksum or its form.
    #[error("damaged: {what}")]
    Damaged {
        /// Which file or session, and where.
        what: String,
    },
    /// Another process has the folder open.
    #[error("the data folder is in use by another process: {path}")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The files are of a version that this program does not know.
    #[error("the data folder has format {found}; this program reads {known}")]
    Format {
        /// The version found.
        found: u32,
        /// The version known.
        known: u32,
    },
    /// An earlier failure closed the engine.
    #[error("the store is closed after an earlier failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
}
