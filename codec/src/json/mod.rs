//! The flat JSON form: one object a message, for who speaks no frames, and for people. `proto-spec/json.md` is the
//! authority. It adds nothing to the native form and leaves nothing out: one table ([`table`]) says how each message is
//! written, both ways. Never builds a tree of what it does not understand: documents and patches pass as text.
//!
//! Read in this order: [`table`] (what is said), `scan` (what JSON is), `encode`, `decode`.

mod decode;
mod encode;
mod plan;
mod scan;
pub mod table;

pub use decode::Incoming;
pub use encode::encode;
pub use scan::{MAX_DEPTH, MAX_KEYS};

use crate::error::{ErrorCode, ProtocolError};

/// Longest `id` that a client may give, bytes of its JSON.
pub const MAX_ID: usize = 256;
/// What stands behind a key whose value should be JSON and is none.
const BASE64: &str = "Base64";

/// Why a text is no message. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON.
    #[error("not JSON, at byte {at}: {what}")]
    Syntax {
        /// Bytes before it.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Values lie too deep in each other.
    #[error("more than {} levels of nesting", scan::MAX_DEPTH)]
    TooDeep,
    /// A key stands twice in an object.
    #[error("the key {0:?} stands twice in one object")]
    Duplicate(String),
    /// An object with too many keys, or an array with too many items.
    #[error("too many keys or items")]
    TooManyKeys,
    /// Something other than an object.
    #[error("a message is one JSON object")]
    NotAnObject,
    /// No `type`, or one that is no string.
    #[error("`type` is missing, or is no string")]
    NoType,
    /// A `type` that no message has.
    #[error("there is no message of type {0:?}")]
    UnknownType(String),
    /// A field that is missing, or not what it should be.
    #[error("`{key}`: {what}")]
    Field {
        /// Its key.
        key: &'static str,
        /// What is wrong, or what it should be.
        what: &'static str,
    },
    /// The fields are right one by one and no message together.
    #[error("{0}")]
    Message(#[from] ProtocolError),
}

impl Error {
    /// The code that the peer is told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Syntax { .. } | Self::TooDeep | Self::Duplicate(_) | Self::TooManyKeys => ErrorCode::InvalidJson,
            Self::NotAnObject | Self::NoType => ErrorCode::MalformedMessage,
            Self::UnknownType(_) => ErrorCode::UnknownMessage,
            Self::Field { .. } => ErrorCode::InvalidField,
            Self::Message(error) => error.code(),
        }
    }
}
