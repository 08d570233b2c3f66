//! What a core is told and what it wants done: who writes, what time it is, effects. Nothing here does anything.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::message::TopicKind;
use syncbridge_storage as storage;

/// A connection, as the hub names it; opaque here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// The time, as the caller read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds of a clock that never goes back: for deadlines.
    pub mono_ms: u64,
    /// Milliseconds since 1970: for people, and for what outlives the process.
    pub wall_ms: u64,
}

/// Who sends an op, and where the answer goes.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The user.
    pub user: &'a Arc<str>,
    /// The device; empty for a call without one.
    pub device: &'a Arc<str>,
    /// The client's incarnation. What it makes never conflicts with itself.
    pub incarnation: u128,
    /// The connection.
    pub conn: ConnId,
}

/// What the hub does before it lets go of the session's lock, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// An item of one of the session's topics, for every interested shard.
    Event {
        /// The topic.
        topic: TopicKind,
        /// Its place there: the last event's + 1.
        seq: u64,
        /// The whole native frame, encoded once.
        frame: Bytes,
        /// The connection that made it, and the `Accepted` frame that it gets in the event's place.
        origin: Option<(ConnId, Bytes)>,
        /// The connection that made it, when its answer is withheld: flat JSON is not told of its own changes.
        withheld: Option<ConnId>,
    },
    /// A frame for one connection, after every event so far.
    Answer {
        /// The connection.
        conn: ConnId,
        /// The whole native frame.
        frame: Bytes,
    },
    /// Writes that storage gets as one commit. When it is durable: `Core::committed(number)`.
    Commit {
        /// 1, 2, … in this core. Not the version: some commits make none.
        number: u64,
        /// The writes.
        writes: Vec<storage::Write>,
    },
    /// A user is no member any more, durably: their subscriptions end with this frame, and what they were not given yet
    /// they are not given any more.
    Removed {
        /// The user.
        user: Arc<str>,
        /// The whole native frame.
        last: Bytes,
    },
    /// The session is deleted, durably: every subscriber gets this frame, and its subscription is over.
    Deleted {
        /// The whole native frame.
        frame: Bytes,
    },
    /// Everything up to `version` is durable. Subscribers that asked for every `Durable` get the frame; who asked for
    /// one update's alone gets it as an `Answer`. Being cumulative, getting it twice does no harm.
    Durable {
        /// The newest durable version.
        version: u64,
        /// The whole native `Durable` frame.
        frame: Bytes,
    },
}
