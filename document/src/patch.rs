//! JSON Patch (RFC 6902): its operations, building them, writing them.

use std::fmt;

use crate::error::Invalid;
use crate::json;
use crate::limits::Limits;
use crate::patch_parse;
use crate::pointer::Pointer;
use crate::value::Value;

/// One operation (RFC 6902 §4).
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Sets a member, or inserts an item; at `/-` it appends.
    Add {
        /// Where.
        path: Pointer,
        /// What.
        value: Value,
    },
    /// Removes what is there.
    Remove {
        /// Where.
        path: Pointer,
    },
    /// Replaces what is there.
    Replace {
        /// Where.
        path: Pointer,
        /// By what.
        value: Value,
    },
    /// Removes what is at `from` and adds it at `path`.
    Move {
        /// Where from.
        from: Pointer,
        /// Where to, in the document without it.
        path: Pointer,
    },
    /// Adds what is at `from` at `path`.
    Copy {
        /// Where from.
        from: Pointer,
        /// Where to.
        path: Pointer,
    },
    /// Fails unless this value is there.
    Test {
        /// Where.
        path: Pointer,
        /// What is expected.
        value: Value,
    },
}

impl Operation {
    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Add { .. } => "add",
            Operation::Remove { .. } => "remove",
            Operation::Replace { .. } => "replace",
            Operation::Move { .. } => "move",
            Operation::Copy { .. } => "copy",
            Operation::Test { .. } => "test",
        }
    }

    /// The `path`.
    #[must_use]
    pub fn path(&self) -> &Pointer {
        match self {
            Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }
            | Operation::Move { path, .. }
            | Operation::Copy { path, .. }
            | Operation::Test { path, .. } => path,
        }
    }

    /// The `from` of a move or copy.
    #[must_use]
    pub fn from(&self) -> Option<&Pointer> {
        match self {
            Operation::Move { from, .. } | Operation::Copy { from, .. } => Some(from),
            _ => None,
        }
    }

    /// The `value` of an add, replace or test.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Operation::Add { value, .. } | Operation::Replace { value, .. } | Operation::Test { value, .. } => {
                Some(value)
            }
            _ => None,
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"op\":\"");
        out.extend_from_slice(self.name().as_bytes());
        if let Some(from) = self.from() {
            out.extend_from_slice(b"\",\"from\":");
            json::write_text(out, from.as_str());
            out.extend_from_slice(b",\"path\":");
        } else {
            out.extend_from_slice(b"\",\"path\":");
        }
        json::write_text(out, self.path().as_str());
        if let Some(value) = self.value() {
            out.extend_from_slice(b",\"value\":");
            value.write_json(out);
        }
        out.push(b'}');
    }

    /// About the bytes of its JSON text: exact but for escapes in pointers.
    pub(crate) fn json_size(&self) -> usize {
        let value = self.value().map_or(0, |value| value.json_size() + 9);
        let from = self.from().map_or(0, |from| from.as_str().len() + 10);
        19 + self.name().len() + self.path().as_str().len() + from + value
    }
}

/// An ordered list of operations, applied all or not at all.
#[derive(Clone, Default, PartialEq)]
pub struct Patch {
    pub(crate) operations: Vec<Operation>,
}

impl Patch {
    /// A patch that does nothing yet.
    #[must_use]
    pub const fn new() -> Patch {
        Patch { operations: Vec::new() }
    }

    /// Reads a JSON Patch: an array of operations with exactly one `op`, `path`, `from`, `value` where they belong.
    /// Other members are ignored, as RFC 6902 §4 asks.
    ///
    /// # Errors
    ///
    /// Each variant of [`Invalid`].
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Patch, Invalid> {
        patch_parse::patch(text, limits)
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let size = self.operations.iter().map(|operation| operation.json_size() + 1).sum::<usize>();
        let mut out = Vec::with_capacity(size + 2);
        out.push(b'[');
        for (at, operation) in self.operations.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            operation.write_json(&mut out);
        }
        out.push(b']');
        out
    }

    /// The operations in order.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether it has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// How many operations it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// This patch and then the other, as one. It may have more operations than a patch may be sent with.
    #[must_use]
    pub fn concat(mut self, then: Patch) -> Patch {
        self.operations.extend(then.operations);
        self
    }

    /// Sets a member, inserts an item, appends at `/-`. A text that is no pointer fails when the patch is applied.
    #[must_use]
    pub fn add(self, path: impl Into<Pointer>, value: impl Into<Value>) -> Patch {
        self.with(Operation::Add { path: path.into(), value: value.into() })
    }

    /// Removes what is at `path`.
    #[must_use]
    pub fn remove(self, path: impl Into<Pointer>) -> Patch {
        self.with(Operation::Remove { path: path.into() })
    }

    /// Replaces what is at `path`; `""` is the whole document.
    #[must_use]
    pub fn replace(self, path: impl Into<Pointer>, value: impl Into<Value>) -> Patch {
        self.with(Operation::Replace { path: path.into(), value: value.into() })
    }

    /// Moves what is at `from` to `path`.
    #[must_use]
    pub fn move_(self, from: impl Into<Pointer>, path: impl Into<Pointer>) -> Patch {
        self.with(Operation::Move { from: from.into(), path: path.into() })
    }

    /// Copies what is at `from` to `path`.
    #[must_use]
    pub fn copy(self, from: impl Into<Pointer>, path: impl Into<Pointer>) -> Patch {
        self.with(Operation::Copy { from: from.into(), path: path.into() })
    }

    /// Fails unless `value` is at `path`.
    #[must_use]
    pub fn test(self, path: impl Into<Pointer>, value: impl Into<Value>) -> Patch {
        self.with(Operation::Test { path: path.into(), value: value.into() })
    }

    /// One more operation.
    #[must_use]
    pub fn with(mut self, operation: Operation) -> Patch {
        self.operations.push(operation);
        self
    }
}

impl FromIterator<Operation> for Patch {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Patch {
        Patch { operations: operations.into_iter().collect() }
    }
}

/// The JSON text.
impl fmt::Debug for Patch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.to_json()))
    }
}
