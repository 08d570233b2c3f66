//! The Rust client of SyncBridge.
pub mod core;
pub mod defaults;
mod error;
pub mod transport;

pub use error::{Refusal, ServerError};
