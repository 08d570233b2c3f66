//! Several real servers on one real Cassandra, and one server whose database goes away: what clients are told, and what
//! the store holds afterwards.

#[path = "../support/mod.rs"]
mod support;

mod app;
mod takeovers;
