//! The SyncBridge server. `app.rs` wires the parts; `ARCHITECTURE.md` shows the way of one update through them.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod data;
pub mod defaults;
pub mod rest;
pub mod secret;
