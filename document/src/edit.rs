//! The three ways in which a document changes, each with its inverse. Nothing here can fail: whether an edit is
//! possible and allowed is settled before, on the immutable document (`resolve`).

use std::mem;
use std::sync::Arc;

use crate::value::{Node, Value};

/// A change at the end of a path of positions.
pub(crate) enum Edit {
    /// A new child before the one that stands at the last position. `name` for an object's.
    Insert { name: Option<Arc<str>>, value: Value },
    /// The child at the last position goes.
    Remove,
    /// The value at the last position, or the whole document, is exchanged.
    Swap(Value),
}

/// What an edit took out.
pub(crate) enum Taken {
    Nothing,
    Child { name: Option<Arc<str>>, value: Value },
    Value(Value),
}

impl Taken {
    /// The edit that undoes the one that gave this.
    pub fn inverse(self) -> Edit {
        match self {
            Taken::Nothing => Edit::Remove,
            Taken::Child { name, value } => Edit::Insert { name, value },
            Taken::Value(value) => Edit::Swap(value),
        }
    }
}

/// Carries `change` out. Copies the nodes on the way that others hold as well, and only those.
pub(crate) fn edit(value: &mut Value, positions: &[u32], change: Edit, growth: isize, scanned: &mut u64) -> Taken {
    match (&mut value.0, positions, change) {
        (Node::Array(array), [position, deeper @ ..], change) => {
            Arc::make_mut(array).edit(*position, deeper, change, growth, scanned)
        }
        (Node::Object(object), [position, deeper @ ..], change) => {
            Arc::make_mut(object).edit(*position, deeper, change, growth, scanned)
        }
        (_, [], Edit::Swap(new)) => Taken::Value(mem::replace(value, new)),
        _ => unreachable!("positions lead through containers: they were resolved on this very document"),
    }
}
