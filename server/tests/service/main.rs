//! The service as its users meet it: REST, flat JSON and the native protocol together, against a server in this process
//! (or the real binary where a process matters). One binary, one module a subject.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::similar_names, clippy::needless_pass_by_value, clippy::format_collect, clippy::type_complexity)]

#[path = "../support/mod.rs"]
mod support;

mod host;
mod http;
mod raw;

mod accounts;
mod basics;
mod client;
mod console;
mod frame;
mod handoff;
mod handoff_ways;
mod hostile;
mod json;
mod matrix;
mod members;
mod pages;
mod sessions;
mod snapshots;
mod story;
mod together;
