//! What can go wrong, by who has to act: the server's errors with the protocol's numbers and names, why an update was
//! refused, and what the caller did wrong. Never a panic, never text alone.

use std::fmt;

use bytestring::ByteString;
use syncbridge_codec::{ErrorCode, message::Position};

/// An error as the server named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The error's number; see `proto-spec/errors.md`.
    pub number: u32,
    /// Its stable name.
    pub name: ByteString,
    /// For people.
    pub text: ByteString,
    /// Whether trying again can help.
    pub retryable: bool,
    /// When to try again, if the server said so.
    pub retry_after_ms: Option<u64>,
}

impl ServerError {
    /// The code, if this version of the client knows it.
    pub const fn code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.number)
    }

    /// An error that the client itself finds, under the code that the server would use.
    pub fn of(code: ErrorCode, text: impl Into<ByteString>) -> Self {
        Self {
            number: code as u32,
            name: ByteString::from_static(code.name()),
            text: text.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.number)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for ServerError {}

/// Why an update (or the making of a session) has no effect. Its own operations come with the event, so nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Others changed the same paths in between.
    #[error("conflict at version {} on {}", at.version, list(paths))]
    Conflict {
        /// Where the session stood.
        at: Position,
        /// JSON pointers of the paths that clash, at most 16.
        paths: Vec<ByteString>,
    },
    /// An update that this one builds on was refused.
    #[error("dependency_refused (206): update {on} was refused")]
    Dependency {
        /// The counter of that update.
        on: u64,
    },
    /// The server said no.
    #[error(transparent)]
    Error(ServerError),
}

impl Refusal {
    /// The protocol's code.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Conflict { .. } => None,
            Self::Dependency { .. } => Some(ErrorCode::DependencyRefused),
            Self::Error(error) => error.code(),
        }
    }

    /// The stable name of the protocol; `conflict` for a conflict.
    pub fn name(&self) -> &str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Dependency { .. } => ErrorCode::DependencyRefused.name(),
            Self::Error(error) => &error.name,
        }
    }
}

fn list(paths: &[ByteString]) -> String {
    if paths.is_empty() { "unnamed paths".to_owned() } else { paths.join(", ") }
}

/// Why a call of the client failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No link could be made.
    #[error("cannot connect: {0}")]
    Connect(#[from] crate::transport::ConnectError),
    /// The server said no.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// An update has no effect.
    #[error(transparent)]
    Refused(Refusal),
    /// The caller asked for what cannot be.
    #[error(transparent)]
    Request(#[from] crate::core::RequestError),
    /// A value is no JSON, or not of the type that was asked for.
    #[error("the document does not fit the type: {0}")]
    Json(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// The connection was lost, or could not be made, before the answer came. What was asked may have been done.
    #[error("the connection was lost before the answer came")]
    Disconnected,
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
    /// The server answered with what this client cannot read.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// The protocol's code, where the server gave one.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server(error) => error.code(),
            Self::Refused(refusal) => refusal.code(),
            _ => None,
        }
    }
}
