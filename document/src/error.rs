//! What can be wrong with a text (`Invalid`) and with a patch on a document (`ApplyError`), in words for people.

use thiserror::Error;

use crate::pointer::Pointer;

/// A text that is no document or no patch within the limits. The sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Not JSON: bad syntax, invalid UTF-8, a lone surrogate, a number out of range, or something after the value.
    #[error("not JSON: {reason}")]
    Json {
        /// What the JSON reader said, with line and column.
        reason: String,
    },
    /// More containers inside each other than allowed.
    #[error("nested deeper than {limit} levels")]
    Depth {
        /// [`Limits::depth`](crate::Limits::depth).
        limit: usize,
    },
    /// More operations than allowed.
    #[error("a patch may have at most {limit} operations")]
    Operations {
        /// [`Limits::operations`](crate::Limits::operations).
        limit: usize,
    },
    /// JSON, but not a JSON Patch.
    #[error("not a JSON Patch: {}{reason}", at(*.index))]
    Patch {
        /// The operation, counted from 0; `None` when the whole is no array.
        index: Option<usize>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `path` or `from` that is no JSON Pointer (RFC 6901) within the limits.
    #[error("operation {index}: `{pointer}` is no JSON Pointer: {reason}")]
    Pointer {
        /// The operation, counted from 0.
        index: usize,
        /// As sent.
        pointer: Pointer,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Longer than allowed, as text or as the document it stands for.
    #[error("{bytes} bytes of JSON, where at most {limit} are allowed")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
}

fn at(index: Option<usize>) -> String {
    index.map_or_else(String::new, |index| format!("operation {index}: "))
}

/// A patch that cannot be applied to this document. The document is as it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A pointer that leads nowhere in this document.
    #[error("operation {index}: `{path}` cannot be followed: {reason}")]
    PathNotFound {
        /// The operation, counted from 0.
        index: usize,
        /// The pointer, whole.
        path: Pointer,
        /// Where it ends.
        reason: &'static str,
    },
    /// A `test` whose value is another.
    #[error("operation {index}: the value at `{path}` is not the one that was tested for")]
    TestFailed {
        /// The operation, counted from 0.
        index: usize,
        /// What was tested.
        path: Pointer,
    },
    /// A `move` into the very value that moves.
    #[error("operation {index}: `{from}` cannot move into itself, to `{path}`")]
    IntoItself {
        /// The operation, counted from 0.
        index: usize,
        /// What should move.
        from: Pointer,
        /// Where to.
        path: Pointer,
    },
    /// A `remove` of the whole document, which is always some value.
    #[error("operation {index}: the whole document cannot be removed, only replaced")]
    RemoveRoot {
        /// The operation, counted from 0.
        index: usize,
    },
    /// The document would become longer than allowed.
    #[error("operation {index}: the document would have {bytes} bytes of JSON, where at most {limit} are allowed")]
    DocumentTooLarge {
        /// The operation, counted from 0.
        index: usize,
        /// What it would have.
        bytes: usize,
        /// What it may have.
        limit: usize,
    },
    /// The document would nest deeper than allowed.
    #[error("operation {index}: the document would be nested deeper than {limit} levels")]
    TooDeep {
        /// The operation, counted from 0.
        index: usize,
        /// [`Limits::depth`](crate::Limits::depth).
        limit: usize,
    },
    /// More operations than allowed; only patches that were built, not parsed, get this far.
    #[error("a patch may have at most {limit} operations, this one has {operations}")]
    TooManyOperations {
        /// What it has.
        operations: usize,
        /// [`Limits::operations`](crate::Limits::operations).
        limit: usize,
    },
    /// Copies, shifts and comparisons beyond [`Limits::work`](crate::Limits::work).
    #[error("operation {index}: the patch is too much work; send it in parts")]
    TooMuchWork {
        /// The operation, counted from 0.
        index: usize,
    },
}

impl ApplyError {
    /// The operation that failed, counted from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        match self {
            ApplyError::PathNotFound { index, .. }
            | ApplyError::TestFailed { index, .. }
            | ApplyError::IntoItself { index, .. }
            | ApplyError::RemoveRoot { index }
            | ApplyError::DocumentTooLarge { index, .. }
            | ApplyError::TooDeep { index, .. }
            | ApplyError::TooMuchWork { index } => Some(*index),
            ApplyError::TooManyOperations { .. } => None,
        }
    }
}
