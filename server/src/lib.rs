//! The SyncBridge server. `app.rs` wires the parts; `ARCHITECTURE.md` shows the way of one update through them.

pub mod secret;
pub mod transport;
