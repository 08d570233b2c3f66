//! Following a pointer through a document without changing it: where it ends, what stands there, and what an edit
//! there would cost.

use std::borrow::Cow;
use std::sync::Arc;

use crate::node::{Array, Object};
use crate::pointer::{self, Parts, Pointer};
use crate::value::{Node, Value};

/// Where a pointer ends.
pub(crate) enum Place<'d, 'p> {
    /// The whole document.
    Root(&'d Value),
    /// A member, there or not yet there.
    Member { object: &'d Object, name: Cow<'p, str>, found: bool, at: usize },
    /// An item, or the place after the last.
    Item { array: &'d Array, at: usize, append: bool },
}

impl<'d> Place<'d, '_> {
    /// The value that stands there.
    pub fn value(&self) -> Option<&'d Value> {
        match self {
            Place::Root(value) => Some(value),
            Place::Member { object, found: true, at, .. } => Some(&object.children()[*at].value),
            Place::Member { .. } => None,
            Place::Item { array, at, .. } => array.children().get(*at),
        }
    }
}

/// Why a pointer leads nowhere.
pub(crate) enum Miss {
    /// It is missing, it cannot be there.
    Nowhere(&'static str),
    /// A member on the way is missing; the rest of the pointer, from that member on, could be made.
    Parent {
        /// Where the missing member's name ends in the pointer.
        end: usize,
    },
}

/// Follows `pointer`, leaving in `positions` the child positions on its way and adding to `copies` how many children an
/// edit there would have to copy because their container is shared.
pub(crate) fn resolve<'d, 'p>(
    document: &'d Value,
    pointer: &'p Pointer,
    positions: &mut Vec<u32>,
    copies: &mut u64,
) -> Result<Place<'d, 'p>, Miss> {
    const NO_POINTER: Miss = Miss::Nowhere("it is no JSON Pointer");
    positions.clear();
    let mut parts = Parts::new(pointer.as_str());
    let mut value = document;
    let mut shared = false;
    while let Some(part) = parts.next() {
        let part = part.map_err(|()| NO_POINTER)?;
        match &value.0 {
            Node::Object(object) => {
                shared |= Arc::strong_count(object) > 1;
                if shared {
                    *copies += object.children().len() as u64;
                }
                let found = object.find(&part.name);
                let at = found.unwrap_or_else(|at| at);
                positions.push(at as u32);
                if part.last {
                    return Ok(Place::Member { object, name: part.name, found: found.is_ok(), at });
                }
                if found.is_err() {
                    return Err(Miss::Parent { end: part.end });
                }
                value = &object.children()[at].value;
            }
            Node::Array(array) => {
                shared |= Arc::strong_count(array) > 1;
                if shared {
                    *copies += array.children().len() as u64;
                }
                let append = part.name == "-";
                let length = array.children().len();
                let at = if append {
                    length
                } else {
                    pointer::index(&part.name).ok_or(Miss::Nowhere("an array is indexed by a number or `-`"))?
                };
                positions.push(u32::try_from(at).map_err(|_| Miss::Nowhere("the index is beyond the array"))?);
                if part.last {
                    if at > length {
                        return Err(Miss::Nowhere("the index is beyond the array"));
                    }
                    return Ok(Place::Item { array, at, append });
                }
                value = array.children().get(at).ok_or(Miss::Nowhere("the index is beyond the array"))?;
            }
            _ => return Err(Miss::Nowhere("it goes on below a value that is no object or array")),
        }
    }
    Ok(Place::Root(value))
}
