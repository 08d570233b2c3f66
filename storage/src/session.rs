//! What is read back of a session. Never knows where it was kept.

use std::sync::Arc;

use bytes::Bytes;

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
    /// (counter, answer) of the last ops that were applied, at most [`crate::DEDUP_WINDOW`], ascending.
    pub answers: Vec<(u64, Bytes)>,
}

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
    /// Starts of the epochs in which something was committed, ascending, at most [`crate::EPOCHS_KEPT`].
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

/// Whose a session is, after one wanted to take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// This process's.
    Owned {
        /// What its writes are made in from now on: at least what was asked for, and above every epoch that another owner
        /// had.
        epoch: u64,
    },
    /// Another's, who lives.
    Held {
        /// Where that one says it is reached.
        address: String,
    },
}
