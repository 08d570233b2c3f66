//! JSON Merge Patch (RFC 7396): one document laid over another. It gives the document that comes of it, never the
//! operations; those are for [`diff`](crate::diff()) to find, so that a merge is committed and told like any other change.

use std::sync::Arc;

use crate::node::{Member, Object};
use crate::value::{Node, Value};

/// More than any comparison of two documents that memory holds can take.
const UNBOUNDED: u64 = u64::MAX >> 1;

/// The document that comes of laying `patch` over `target`, as RFC 7396 §2 has it: objects are merged member by member
/// at every level, a `null` removes the member, everything else (arrays too) takes the old value's place.
///
/// What the patch leaves as it is stays shared with `target`, down to the very same document when nothing changes. It
/// cannot fail: the outcome is at most as deep as the deeper of the two and at most as long as both together. Takes time
/// in proportion to the patch and to the members of the objects that it reaches; recursive as deep as `patch` is.
///
/// `diff(target, &merge_patch(target, patch))` is the same change as a JSON Patch.
///
/// ```
/// use syncbridge_document::{Limits, Value, diff, merge_patch};
///
/// let limits = Limits::default();
/// let target = Value::parse(br#"{"title":"Plan","tags":["a"],"author":{"name":"Ada","mail":"a@b"}}"#, &limits)?;
/// let patch = Value::parse(br#"{"title":"Plans","author":{"mail":null}}"#, &limits)?;
/// let merged = merge_patch(&target, &patch);
/// assert_eq!(merged.to_json(), br#"{"author":{"name":"Ada"},"tags":["a"],"title":"Plans"}"#);
/// assert_eq!(
///     diff(&target, &merged).to_json(),
///     br#"[{"op":"remove","path":"/author/mail"},{"op":"replace","path":"/title","value":"Plans"}]"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn merge_patch(target: &Value, patch: &Value) -> Value {
    laid_over(target, patch).unwrap_or_else(|| target.clone())
}

/// `None` when nothing changes.
fn laid_over(target: &Value, patch: &Value) -> Option<Value> {
    match (&target.0, &patch.0) {
        (Node::Object(old), Node::Object(changes)) => members_laid_over(old, changes),
        (_, Node::Object(_)) => Some(as_new(patch)),
        // Each value of the patch is compared once, so the patch bounds the work.
        _ if target.compare(patch, true, &mut { UNBOUNDED }) == Some(true) => None,
        _ => Some(patch.clone()),
    }
}

/// Both sides are sorted by name, so one walk merges them.
fn members_laid_over(old: &Object, changes: &Object) -> Option<Value> {
    let mut members = Vec::new();
    // How many of the old ones have been taken over or left out.
    let mut taken = 0;
    let mut differs = false;
    for Member { name, value } in changes.children() {
        let found = old.find(name);
        let outcome = match found {
            Ok(_) if value.is_null() => None,
            Ok(at) => match laid_over(&old.children()[at].value, value) {
                None => continue,
                merged => merged,
            },
            Err(_) if value.is_null() => continue,
            Err(_) => Some(as_new(value)),
        };
        differs = true;
        let (Ok(at) | Err(at)) = found;
        members.extend_from_slice(&old.children()[taken..at]);
        taken = at + usize::from(found.is_ok());
        members.extend(outcome.map(|value| Member { name: Arc::clone(name), value }));
    }
    differs.then(|| {
        members.extend_from_slice(&old.children()[taken..]);
        Value::from_object(Object::new(members))
    })
}

/// What a value of the patch becomes where there was no object before.
fn as_new(patch: &Value) -> Value {
    without_nulls(patch).unwrap_or_else(|| patch.clone())
}

/// The value without the members of its objects that are `null`, arrays left alone; `None` when it has none.
fn without_nulls(value: &Value) -> Option<Value> {
    let Node::Object(object) = &value.0 else { return None };
    let mut members = Vec::new();
    let mut taken = 0;
    let mut differs = false;
    for (at, Member { name, value }) in object.children().iter().enumerate() {
        let kept = if value.is_null() {
            None
        } else {
            match without_nulls(value) {
                None => continue,
                kept => kept,
            }
        };
        differs = true;
        members.extend_from_slice(&object.children()[taken..at]);
        taken = at + 1;
        members.extend(kept.map(|value| Member { name: Arc::clone(name), value }));
    }
    differs.then(|| {
        members.extend_from_slice(&object.children()[taken..]);
        Value::from_object(Object::new(members))
    })
}
