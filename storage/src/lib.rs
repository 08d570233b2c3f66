//! What SyncBridge keeps: one trait, [`Engine`], and its engines (`engine/`), which all pass one shared suite.
//!
//! The store knows sessions, deltas, dedup records and named tables; it knows nothing of JSON, connections or tokens.
//! Who uses it (`server/src/persist.rs`, and nothing else) submits commits and is told when they are durable.
//! `storage/DESIGN.md` describes the files, the commit protocol and what is promised after each kind of crash.

pub mod commit;
pub mod defaults;
pub mod engine;
pub mod error;
mod partition;
mod rules;
pub mod session;

pub use commit::{Applied, Commit, Outcome, Table, Ticket, Write};
pub use defaults::{DEDUP_WINDOW, EPOCHS_KEPT};
pub use engine::{Engine, Scanned, Sink, Stats};
pub use error::Error;
pub use session::{EpochStart, Incarnation, StoredDelta, StoredSession, Taken};
