//! Everything that ends a scenario. The harness never goes on after one: a figure with an error in it is no figure.

use std::io;

use crate::load::Violation;

/// Short for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a scenario ended without a figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The server broke the protocol, refused, or closed.
    #[error("the server {0}")]
    Server(String),
    /// A delivery was missing, doubled or wrong.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// Nothing moved for too long.
    #[error("stalled: {0}")]
    Stalled(String),
    /// The server could not be started or stopped.
    #[error("{0}")]
    Process(String),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Unsupported(String),
}

/// Says what was being done when a system call failed.
pub trait Context<T> {
    /// Adds `what` to the error.
    ///
    /// # Errors
    /// The same one, with `what`.
    fn context(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| Error::Io { what: what.into(), source: error.into() })
    }
}
