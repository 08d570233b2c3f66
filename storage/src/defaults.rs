//! Every bound of the store with its arithmetic. Never read from the environment: what an operator may turn is in
//! [`crate::engine::embedded::Options`], whose defaults are these.

use std::time::Duration;

/// Answers that are kept for each incarnation in a session. A client that has 64 updates in flight and resends them all
/// after a reconnect needs 64; 1,024 leaves room for sixteen such windows. 1,024 × ~40 B = 40 KiB an incarnation.
pub const DEDUP_WINDOW: usize = 1024;

/// Incarnations that are kept for a session; above it the longest idle go first, a sixteenth at a time so that the work
/// is paid once in 625 new ones. 10,000 × 40 KiB = 400 MiB is the worst case of one session on disk.
pub const INCARNATIONS_KEPT: usize = 10_000;

/// What is left after the longest idle incarnations went: 10,000 − 10,000 / 16.
pub const INCARNATIONS_LEFT: usize = INCARNATIONS_KEPT - INCARNATIONS_KEPT / 16;

/// An incarnation that was idle this long is dropped: 30 days in milliseconds.
pub const INCARNATION_IDLE_MS: u64 = 30 * 24 * 3600 * 1000;

/// How often a session that is written to is searched for idle incarnations: once a day, in milliseconds. Reading the
/// rows of 10,000 incarnations takes about 10 ms, so it must not happen at every flush.
pub const INCARNATION_SWEEP_MS: u64 = 24 * 3600 * 1000;

/// Epoch starts that are kept for a session; a cursor of an older epoch is `TooOld`. 256 × 16 B = 4 KiB a session; one
/// restart a day is eight months.
pub const EPOCHS_KEPT: usize = 256;

/// Versions behind the newest checkpoint whose deltas are kept for catch-up and for finding conflicts.
pub const DELTAS_KEPT: u64 = 1_000;

/// Bytes of deltas behind the newest checkpoint that are kept even when they are more than [`DELTAS_KEPT`] versions: as
/// much as a topic's log in memory holds, so the store always reaches further back than the memory does.
pub const DELTA_BYTES_KEPT: usize = 64 << 10;

/// The most bytes of deltas behind the newest checkpoint. 1,000 deltas of a frame each (1 MiB) would be 1 GiB; behind
/// 4 MiB a client fetches the document instead.
pub const DELTA_BYTES_MAX: usize = 4 << 20;

/// Size of a log segment. At 60 MB/s of log (about 250,000 small updates a second) one is filled in a second; two spares
/// and two in use are 256 MiB of disk.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Segments that are kept for reuse instead of being deleted: one for the next roll-over, one while the index is behind.
pub const SPARE_SEGMENTS: usize = 2;

/// A group of commits is closed above this many bytes, so that no fdatasync carries more: 4 MiB take about 10 ms on a disk
/// of 400 MB/s, well inside the 50 ms between the newest accepted and the newest durable commit.
pub const GROUP_BYTES: usize = 4 << 20;

/// How far behind the group just before it, in bytes of log, a group says what groups touched: two pages of 4 KiB, so that it
/// is known what a page had to do with that is lost, wherever groups begin.
pub const NAMES_REACH: u64 = 8 << 10;

/// Bytes of such names in a group, besides those of the group just before it, which are always there: half of what the
/// smallest commits of one page could name, and less than a page, which is what the smallest sync writes anyway.
pub const NAMES_BYTES: usize = 2 << 10;

/// Bytes in memory that make the index thread write. 16 MiB are about 50,000 small updates: a hot session's are merged
/// into a few rows, and one index commit (a few ms) is spread over all of them.
pub const FLUSH_BYTES: usize = 16 << 20;

/// Bytes in memory above which the log's writer waits for the index: four flushes. What is replayed after a kill and what
/// memory is used for it are bounded by it.
pub const BACKLOG_BYTES: usize = 64 << 20;

/// After this long a few commits are flushed too, so that a quiet server's log is covered and its memory is free.
pub const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// Bytes of the index that are synced at a time while a flush is written: about 1 ms on a disk of 400 MB/s, so a commit's sync
/// waits for one such helping and not for the 10 to 40 MiB of a flush.
pub const INDEX_HELPING_BYTES: usize = 512 << 10;

/// Page cache of the index, in bytes.
pub const INDEX_CACHE_BYTES: usize = 64 << 20;

/// Deltas are put together in rows of about this size in the index: one row a flush for a hot session, and few enough
/// bytes to be read for a catch-up of a few versions.
pub const RUN_BYTES: usize = 64 << 10;

/// Rows whose time is over that one flush removes at most, unless it brought more than half as many that expire: a million
/// handoff codes a day are 58 a flush.
pub const EXPIRED_A_FLUSH: usize = 4096;

/// Epochs that a copy of a store skips, once to twice as many: more than the starts that a store sees.
pub const EPOCHS_SKIPPED: u64 = 1 << 20;

/// Rows that are read at once where all of a kind are gone through: 512 × ~200 B = 100 KiB.
pub const SCANNED_AT_ONCE: usize = 512;

/// Sessions whose newest (epoch, version) the writer remembers, so that it need not ask the index: twice this number
/// (two generations) × ~100 B = 12 MiB.
pub const HEADS_KEPT: usize = 64 << 10;
