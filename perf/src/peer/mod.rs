//! The servers that are compared. A peer knows how to start one server and which dialect it speaks; a new rival is one
//! file here, and one in `dialect/` when it speaks a protocol of its own.

pub mod bare;
mod floor;
mod syncbridge;

pub use floor::Floor;
pub use syncbridge::SyncBridge;

use crate::{
    dialect::{Dialect, Topic},
    error::Result,
    place::Placement,
    process::Server,
};

/// A server that can be started and spoken to.
pub trait Peer {
    /// Its name in reports.
    fn name(&self) -> String;

    /// Starts one, empty.
    ///
    /// # Errors
    /// When it does not become ready.
    fn start(&self, place: Placement) -> Result<Server>;

    /// How clients speak to it about `topic`.
    fn dialect(&self, topic: &Topic) -> Box<dyn Dialect>;
}
