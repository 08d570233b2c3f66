//! Fan-out, sans-IO: which bytes of which topic a connection gets next. Never makes a system call and never allocates
//! for a delivery; `shard/` does the sending.

mod ring;

use bytes::Bytes;

pub use ring::{Ring, Slot};

use crate::session::ConnId;

/// A topic of a live session, unique in this process and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u64);

/// One encoded item of a topic, shared by all shards that are interested in it.
#[derive(Debug)]
pub struct Event {
    /// The topic.
    pub topic: TopicId,
    /// Its place; one more than the event before it.
    pub seq: u64,
    /// The whole native frame.
    pub frame: Bytes,
    /// The connection that caused it, and the frame that stands in its stream in place of `frame`.
    pub origin: Option<(ConnId, Bytes)>,
}
