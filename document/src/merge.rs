//! Merging one object into another, key by key: as strict operations, or at once when those would be too many.

use crate::node::{Member, Object};
use crate::patch::Operation;
use crate::pointer::Pointer;
use crate::value::{Node, Value};

/// More operations than there is room for.
pub(crate) struct TooMany;

/// What to do strictly so that the object at `path`, now `old`, takes over the members of `new`. Members that are
/// the same already are left alone.
pub(crate) fn operations(
    path: &Pointer,
    old: &Object,
    new: &Object,
    room: usize,
    work: &mut u64,
) -> Result<Vec<Operation>, TooMany> {
    let mut operations = Vec::new();
    collect(&mut operations, path, old, new, room, work)?;
    Ok(operations)
}

fn collect(
    operations: &mut Vec<Operation>,
    path: &Pointer,
    old: &Object,
    new: &Object,
    room: usize,
    work: &mut u64,
) -> Result<(), TooMany> {
    for member in new.children() {
        let Member { name, value } = member;
        let operation = match old.get(name) {
            None => Operation::Add { path: path.child(name), value: value.clone() },
            Some(Value(Node::Object(old))) if let Node::Object(new) = &value.0 => {
                collect(operations, &path.child(name), old, new, room, work)?;
                continue;
            }
            // Where comparing is too much work, it counts as different: that is only a needless operation.
            Some(old) if old.compare(value, true, work) == Some(true) => continue,
            Some(_) => Operation::Replace { path: path.child(name), value: value.clone() },
        };
        if operations.len() == room {
            return Err(TooMany);
        }
        operations.push(operation);
    }
    Ok(())
}

/// The object that comes of it. Recursive as deep as `new` is.
pub(crate) fn merged(old: &Object, new: &Object) -> Value {
    let mut members = old.children().to_vec();
    for Member { name, value } in new.children() {
        match old.find(name) {
            Ok(at) => {
                members[at].value = match (&old.children()[at].value.0, &value.0) {
                    (Node::Object(old), Node::Object(new)) => merged(old, new),
                    _ => value.clone(),
                };
            }
            // Behind the old ones, whose places must not change; `Object::new` sorts.
            Err(_) => members.push(Member { name: name.clone(), value: value.clone() }),
        }
    }
    Value::from_object(Object::new(members))
}
