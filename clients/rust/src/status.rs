//! How the connection is, for people and for tests. Never more than the newest: watch it, do not count on every step.

use tokio::time::Instant;

use crate::{core::Disconnect, error::ServerError, transport::Via};

/// How the connection is, and since when.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// When that began.
    pub since: Instant,
}

/// What the connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// A link is being made.
    Connecting,
    /// The server has welcomed this client.
    Connected {
        /// By what.
        via: Via,
        /// The connection's id, as in the server's log.
        connection: u64,
        /// The user that the token named.
        user: String,
        /// The device that the connection speaks for.
        device: String,
    },
    /// The connection is gone or could not be made; the next attempt comes by itself.
    Waiting {
        /// Why.
        reason: Disconnect,
        /// When the next attempt is made.
        retry_at: Instant,
    },
    /// The server does not take this client; no attempt is made until `Client::reconnect`.
    Stopped {
        /// What the server said.
        error: ServerError,
    },
    /// Nobody is signed in; no attempt is made until somebody is.
    SignedOut {
        /// What the server said, when the login ended by itself.
        error: Option<ServerError>,
    },
    /// `Client::close` was called, or the last handle was dropped.
    Closed,
}

impl Status {
    /// What the client is connected by, if it is.
    pub const fn via(&self) -> Option<Via> {
        match &self.phase {
            Phase::Connected { via, .. } => Some(*via),
            _ => None,
        }
    }
}
