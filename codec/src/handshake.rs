//! How a connection begins, sans-IO, for both ends: `Hello`, then `Welcome` or `Refused`. It says which messages may
//! come before that and what their fields may hold; it never looks into a token, draws an id or reads a clock.
//!
//! [`Server`] turns a `Hello` into a [`Request`] for the server to decide on; [`Client`] turns the answer into
//! [`Established`]. `proto-spec/handshake.md` is the authority.

mod client;
mod server;

pub use client::{Answer, Client, Established};
pub use server::{Grant, Request, Server, Step};

use crate::{
    error::{ErrorCode, ProtocolError},
    message::{Refused, Welcome},
};

/// Cursors that one `Hello` may carry: the subscriptions a connection may have.
pub const MAX_RESUME: usize = 1_000;
/// Longest token, in bytes: a signed JWT with the longest ids in it is about 700.
pub const MAX_TOKEN: usize = 4 << 10;
/// Longest `Hello.agent`, in bytes.
pub const MAX_AGENT: usize = 256;
/// The capabilities of this crate. No bit has a meaning yet; `proto-spec/handshake.md` says which are spoken for.
pub const CAPABILITIES: u64 = 0;

/// The figures of `Welcome` that both ends keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame (type + body, bytes) that the server takes.
    pub max_client_frame: usize,
    /// Largest frame that the server sends.
    pub max_server_frame: usize,
    /// Largest document, bytes of JSON.
    pub max_document: u64,
    /// Sessions that one connection may subscribe to.
    pub max_subscriptions: u32,
    /// Silence of three times this long ends the connection, either way.
    pub heartbeat_ms: u32,
}

impl Limits {
    /// What a `Welcome` says. A frame size beyond what this machine can address is the largest it can.
    pub fn of(welcome: &Welcome) -> Self {
        Self {
            max_client_frame: usize::try_from(welcome.max_client_frame).unwrap_or(usize::MAX),
            max_server_frame: usize::try_from(welcome.max_server_frame).unwrap_or(usize::MAX),
            max_document: welcome.max_document,
            max_subscriptions: welcome.max_subscriptions,
            heartbeat_ms: welcome.heartbeat_ms,
        }
    }
}

/// Why a handshake cannot go on. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The peer broke the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A field of `Hello` or `Welcome` holds what it may not.
    #[error("{field}: {rule}")]
    InvalidField {
        /// The field's name.
        field: &'static str,
        /// What it may hold.
        rule: &'static str,
    },
    /// An id that no session can have, in the scope or in a cursor.
    #[error("{field}: not an id that a session can have")]
    InvalidSessionId {
        /// The field's name.
        field: &'static str,
    },
    /// More cursors than [`MAX_RESUME`].
    #[error("{count} cursors; at most {MAX_RESUME} are taken")]
    TooManyCursors {
        /// How many there were.
        count: usize,
    },
}

impl Error {
    /// The code that the peer is told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Protocol(error) => error.code(),
            Self::InvalidField { .. } => ErrorCode::InvalidField,
            Self::InvalidSessionId { .. } => ErrorCode::InvalidSessionId,
            Self::TooManyCursors { .. } => ErrorCode::LimitReached,
        }
    }

    /// What a server answers before it ends the connection.
    pub fn refused(&self) -> Refused {
        Refused::new(self.code(), self.to_string())
    }
}
