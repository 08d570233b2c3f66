//! Several real servers on one real Cassandra, and one server whose database goes away: what clients are told, and what
//! the store holds afterwards.

#[path = "../support/mod.rs"]
mod support;

mod app;
mod away;
mod proxy;
#[path = "../service/http.rs"]
#[allow(dead_code, reason = "the tests of one server use more of it")]
mod rest;
mod shared;
mod takeovers;

/// A database and its servers are all that this machine should do at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
