//! Where tests make the disk fail. In production nothing is installed and each check is one branch.

use std::{io, sync::Arc};

/// What the engine is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Write a group of this many bytes to the log.
    LogWrite(usize),
    /// Make the log durable.
    LogSync,
    /// Begin the next segment.
    Roll,
    /// Commit to the index.
    IndexCommit,
}

/// What a test wants to happen instead.
#[derive(Debug)]
pub enum Fault {
    /// The operation fails before it did anything.
    Fails(io::Error),
    /// Of a [`Operation::LogWrite`], this many bytes are written, then it fails.
    Short(usize, io::Error),
}

/// Asked before each operation.
pub trait Faults: Send + Sync {
    /// `None` lets the operation happen.
    fn before(&self, operation: Operation) -> Option<Fault>;
}

pub(super) type Installed = Option<Arc<dyn Faults>>;

/// Asks the installed faults; a short write counts as a failure.
pub(super) fn check(faults: &Installed, operation: Operation) -> io::Result<()> {
    match faults.as_ref().and_then(|faults| faults.before(operation)) {
        None => Ok(()),
        Some(Fault::Fails(error) | Fault::Short(_, error)) => Err(error),
    }
}
