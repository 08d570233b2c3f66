//! A shard: one pinned current-thread runtime with its own listeners, connections, rings and timers. A connection lives
//! and dies on one shard; other threads reach it through the inbox only.

pub mod clock;
pub mod conn;
pub mod core;
mod echo;
pub mod flat;
mod flush;
mod held;
pub mod inbox;
pub mod job;
mod out;
pub mod pin;
mod receive;
mod requests;
pub mod routed;
pub mod runtime;
mod say;
mod survey;
mod task;
mod told;
mod wheel;

use crate::session::ConnId;

/// A connection's name: shard (8 bits), generation (24), place (32). A place is used again, a name practically never.
pub(crate) const fn conn_id(shard: usize, generation: u32, index: u32) -> ConnId {
    ConnId((shard as u64) << 56 | ((generation & 0x00ff_ffff) as u64) << 32 | index as u64)
}

/// The shard that a connection lives on.
pub(crate) const fn shard_of(conn: ConnId) -> usize {
    (conn.0 >> 56) as usize
}

/// Which use of its place a connection is.
pub(crate) const fn generation_of(conn: ConnId) -> u32 {
    (conn.0 >> 32) as u32 & 0x00ff_ffff
}

/// A connection's place in its shard.
pub(crate) const fn index_of(conn: ConnId) -> u32 {
    conn.0 as u32
}

#[cfg(test)]
mod moved_tests;
