//! The SyncBridge server. ARCHITECTURE.md shows how the modules hang together.

pub mod session;
