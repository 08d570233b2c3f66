//! The SyncBridge server. `app.rs` wires the parts; `ARCHITECTURE.md` shows the way of one update through them.

pub mod admin;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod connection;
pub mod control;
pub mod data;
pub mod defaults;
pub mod fanout;
pub mod handoff;
pub mod hub;
pub mod pages;
pub mod persist;
pub mod profile;
pub mod rest;
pub mod secret;
pub mod session;
pub mod shard;
pub mod snapshot;
pub mod transport;
