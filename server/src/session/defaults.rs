//! Every bound of one session's core, each with its arithmetic. Nothing in `session/` grows beyond what is named here.

use syncbridge_document::Limits;

/// What an operator may set, and tests do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What a document and a patch may be.
    pub document: Limits,
    /// See [`LOG_KEPT_BYTES`].
    pub log_kept_bytes: usize,
    /// See [`PRESENCE_GRACE_MS`].
    pub presence_grace_ms: u64,
    /// See [`PRESENCE_TTL_MS`].
    pub presence_ttl_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            document: Limits::default(),
            log_kept_bytes: LOG_KEPT_BYTES,
            presence_grace_ms: PRESENCE_GRACE_MS,
            presence_ttl_ms: PRESENCE_TTL_MS,
        }
    }
}

/// Delta frames kept in memory once they are durable, bytes: what a device missed while it was away for a moment.
/// 64 KiB × 10,000 loaded sessions = 640 MiB at the very worst; a session that nobody writes to has none.
pub const LOG_KEPT_BYTES: usize = 64 << 10;

/// Bytes of changes that may wait for the disk before updates get `Busy`. The age limit of the commit queue (25 ms) is
/// the rule that is met in practice; 16 MiB × 40 batches a second = 640 MiB/s is more than a disk takes.
pub const UNCOMMITTED_BYTES: usize = 16 << 20;

/// Commits that may wait for the disk before updates get `Busy`: 16,384 in 25 ms would be 655,000 updates a second.
pub const UNCOMMITTED_COMMITS: usize = 16_384;

/// Answers that may wait for the disk before updates get `Busy`; an answer is some 100 bytes, so 3 MiB.
pub const WITHHELD: usize = 32_768;

/// When to try again after the session's own limits said `Busy`: one batch of the disk.
pub const BUSY_RETRY_MS: u64 = 25;

/// Versions whose touched paths are kept; an older base overlaps everything.
pub const TOUCHES_VERSIONS: usize = 1_000;

/// Bytes of touched paths that are kept.
pub const TOUCHES_BYTES: usize = 256 << 10;

/// Paths named in a `Conflict`.
pub const CONFLICT_PATHS: usize = 16;

/// Longest pointer named in a `Conflict`, bytes; of a longer one its ancestor is named. 16 × 256 = 4 KiB a `Conflict`.
pub const CONFLICT_PATH_BYTES: usize = 256;

/// Incarnations of clients that a session remembers. About 250 bytes each without answers: 4 MiB. The longest idle one
/// gives way; a resend of its ops would then be new, so this must exceed the clients that write within a retry's time.
pub const INCARNATIONS: usize = 16_384;

/// Answers of all incarnations together, 24 bytes each: 6 MiB. Up to 256 incarnations have the full window of 1,024;
/// beyond, each has its share, at least [`ANSWERS_LEAST`].
pub const ANSWERS: usize = 262_144;

/// Answers that every incarnation has at least: more than a client has unanswered at a time.
pub const ANSWERS_LEAST: usize = 64;

/// Runs of counters that an incarnation was told to send again: one, and one more for each op among them that was
/// answered before. 64 × 16 bytes × 16,384 incarnations = 16 MiB at the very worst.
pub const OWED_RUNS: usize = 64;

/// An incarnation that was idle for so long is closed: 30 days.
pub const INCARNATION_IDLE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// Bytes of refusals kept for resends, all incarnations together. Most are 150 bytes: about 1,700 of them.
pub const REFUSALS_BYTES: usize = 256 << 10;

/// How long a device may be gone before the others are told.
pub const PRESENCE_GRACE_MS: u64 = 10_000;

/// A connection that was not heard of for so long is gone, even when nobody said so: three heartbeats of 30 s.
pub const PRESENCE_TTL_MS: u64 = 90_000;

/// Devices whose presence is told; the wire's `Presence` lists as many. About 200 bytes each: 200 KiB.
pub const PRESENCE_DEVICES: usize = 1_000;

/// Connections of one device that are counted.
pub const PRESENCE_CONNECTIONS: usize = 64;

/// Handoffs that the active device is asked about at a time. A person answers one after the other, and each is a dialogue
/// on their screen; about 300 bytes each.
pub const HANDOFF_QUESTIONS: usize = 8;

/// A checkpoint is due when the changes since the last have this many bytes, and [`CHECKPOINT_FACTOR`] × the document:
/// so loading replays at most that much, and checkpoints cost at most half of what the changes themselves do.
pub const CHECKPOINT_BYTES: usize = 64 << 10;

/// See [`CHECKPOINT_BYTES`].
pub const CHECKPOINT_FACTOR: usize = 2;

/// Patches of more text than this are parsed and applied off the shard.
pub const APPLY_IN_PLACE_BYTES: usize = 64 << 10;

/// Times that work off the shard may find the version changed before it is done under the lock.
pub const PREPARE_TRIES: u32 = 3;

/// Steps of work that a patch may take in place (a step is one to ten nanoseconds): about a millisecond at most.
pub const APPLY_IN_PLACE_WORK: u64 = 256 << 10;

/// Longest text of an error, bytes: what a peer sent may be quoted in it.
pub const ERROR_TEXT_BYTES: usize = 512;

/// Operations × bytes of the document up to which a patch for an older version is followed in place. An operation moves
/// or copies at most the children of one array, two bytes each: 4 Mi are some milliseconds at the very worst.
pub const FOLLOW_IN_PLACE_BYTES: usize = 4 << 20;

/// How long the answer to an idempotent request (JSON `id`, REST `Idempotency-Key`) is kept: 7 days. A row is about 100
/// bytes; 1,000 such requests a second for 7 days are 60 GB, so such a load belongs on the native protocol, whose dedup
/// window is bounded.
pub const KEYED_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
