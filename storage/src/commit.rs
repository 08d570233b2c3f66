//! What is submitted: commits made of writes, and how they end. Never knows how an engine keeps them.

use std::sync::Arc;

use bytes::Bytes;

/// A commit's name, chosen by who submits it; comes back in [`crate::Sink::completed`].
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
    /// Makes a session at version 1. The whole commit is [`Outcome::Exists`] when the id is taken.
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
    /// One change: version `version - 1` became `version`. [`Outcome::Fenced`] when the session is at a newer epoch, is
    /// not there, or is not at `version - 1`.
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
    /// readable for catch-up until retention lets them go ([`crate::defaults::DELTAS_KEPT`] and its neighbours). Not a
    /// change; may be dropped by a crash without harm. Fenced like `Delta`, and when `version` is not yet made; one that is
    /// not newer than the last checkpoint changes nothing.
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
    /// Removes a session with everything in its partition. Fenced like `Delta`. Also the way to be rid of a session that
    /// is damaged.
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
        /// The whole commit is [`Outcome::Exists`] when the key is taken by a row that has not expired when it commits.
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

impl Write {
    /// The session that it is about; `None` for a row's.
    pub(crate) fn session(&self) -> Option<&Arc<str>> {
        match self {
            Self::Create { session, .. }
            | Self::Delta { session, .. }
            | Self::Op { session, .. }
            | Self::Forget { session, .. }
            | Self::Meta { session, .. }
            | Self::Checkpoint { session, .. }
            | Self::DeleteSession { session, .. } => Some(session),
            Self::Put { .. } | Self::Remove { .. } => None,
        }
    }

    /// The row that it is about; `None` for a session's.
    pub(crate) fn row(&self) -> Option<(Table, &Bytes)> {
        match self {
            Self::Put { table, key, .. } | Self::Remove { table, key } => Some((*table, key)),
            _ => None,
        }
    }
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

/// All or nothing: the writes of one commit become durable together. Each is checked against what the ones before it, and
/// every commit submitted before, would leave.
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
    /// The session belongs to a newer epoch, is gone, damaged, or at another version; nothing of it was written.
    Fenced,
    /// [`Outcome::Fenced`], because another process has taken the session from this one ([`crate::Engine::take`]): it is
    /// well, and elsewhere. Only of engines that several processes share.
    Disowned,
}
