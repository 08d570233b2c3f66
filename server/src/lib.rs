//! The SyncBridge server: one live session on all of a person's devices.

pub mod config;
pub mod defaults;
