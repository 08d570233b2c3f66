//! JSON documents that share structure, and JSON Patch (RFC 6902) on them.
//!
//! The server's sessions and the client's optimistic view both stand on this crate, so that the same patch comes to the
//! same document on either side. It knows no versions, users, frames, clocks or I/O.
//!
//! - [`Value`]: an immutable tree whose clone is one reference count; an edit copies the nodes on its path, and none
//!   where nobody else holds them. It always knows its length as JSON text and how deep it is.
//! - [`Patch`]: RFC 6902, read strictly, applied all or nothing, with bounded work ([`Limits`]).
//! - [`Touches`]: which paths a patch changes, and whether two patches made apart get in each other's way.
//! - [`diff()`]: the patch from one document to another.
//! - [`merge_patch()`]: RFC 7396, one document laid over another.
//!
//! ```
//! use syncbridge_document::{Limits, Options, Patch, Value};
//!
//! let limits = Limits::default();
//! let mut document = Value::parse(br#"{"todo":["bread"]}"#, &limits)?;
//! let patch = Patch::parse(br#"[{"op":"add","path":"/todo/-","value":"milk"}]"#, &limits)?;
//! let applied = patch.apply(&mut document, Options::STRICT, &limits)?;
//! assert!(applied.changed);
//! assert_eq!(document.to_json(), br#"{"todo":["bread","milk"]}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod align;
mod apply;
mod diff;
mod edit;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::missing_panics_doc, reason = "panics are its way to speak")]
pub mod fuzzing;
mod json;
mod limits;
mod merge;
mod merge_patch;
mod myers;
mod node;
mod parse;
mod patch;
mod patch_parse;
mod pointer;
mod resolve;
mod serde_bridge;
mod touches;
mod value;

pub use apply::{Applied, Options};
pub use diff::diff;
pub use error::{ApplyError, Invalid};
pub use limits::Limits;
pub use merge_patch::merge_patch;
pub use patch::{Operation, Patch};
pub use pointer::Pointer;
pub use touches::{Overlap, Touches};
pub use value::Value;
