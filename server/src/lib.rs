//! The SyncBridge server. `app.rs` wires the parts; `ARCHITECTURE.md` shows the way of one update through them.

pub mod auth;
pub mod config;
pub mod connection;
pub mod defaults;
pub mod fanout;
pub mod hub;
pub mod persist;
pub mod secret;
pub mod session;
pub mod shard;
pub mod transport;
