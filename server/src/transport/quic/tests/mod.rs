//! Shards, links and certificates together, over real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod harness;
mod links;
mod migration;
mod resumption;
