//! Random documents and patches from a seed. Small alphabets, so that paths meet; many arrays, since they are where
//! patches go wrong.
#![allow(dead_code, clippy::similar_names, reason = "each test file uses some of it")]

use fastrand::Rng;
use syncbridge_document::{Patch, Pointer, Value};

pub const NAMES: &[&str] = &["a", "b", "c", "0", "1", "-", "", "m~n", "x/y", "é"];

/// A scalar. No two are equal but of different kinds, since the oracle does not know that 1 is 1.0.
pub fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..12) {
        0 => Value::null(),
        1 => Value::from(rng.bool()),
        2 => Value::from(f64::from(rng.i32(-40..40)) + 0.5),
        3 => Value::from(u64::MAX - u64::from(rng.u8(..2))),
        4 => Value::from(["", "a", "\"\\", "\n\u{1}", "é€😀"][rng.usize(..5)]),
        _ => Value::from(rng.i32(-2..12)),
    }
}

/// A value at most `depth` deep; mostly arrays when `arrays`.
pub fn value(rng: &mut Rng, depth: usize, arrays: bool) -> Value {
    if depth == 0 || rng.u8(..4) == 0 {
        return scalar(rng);
    }
    let length = rng.usize(..6);
    if rng.u8(..10) < if arrays { 7 } else { 4 } {
        (0..length).map(|_| value(rng, depth - 1, arrays)).collect()
    } else {
        Value::from_members((0..length).map(|_| (NAMES[rng.usize(..NAMES.len())], value(rng, depth - 1, arrays))))
    }
}

/// A document: no scalar.
pub fn document(rng: &mut Rng, arrays: bool) -> Value {
    let length = rng.usize(1..6);
    if arrays && rng.bool() {
        (0..length + 4).map(|_| value(rng, 2, arrays)).collect()
    } else {
        Value::from_members((0..length).map(|_| (NAMES[rng.usize(..NAMES.len())], value(rng, 3, arrays))))
    }
}

/// A pointer that follows the document for some parts, and then often goes one further or wrong.
pub fn pointer(rng: &mut Rng, document: &Value, wrong: bool) -> Pointer {
    let mut here = document;
    let mut path = Pointer::from("");
    while rng.u8(..8) > 0 {
        if let Some(items) = here.as_array() {
            let beyond = wrong && rng.u8(..8) == 0;
            let at = rng.usize(..items.len() + 1 + usize::from(beyond));
            match items.get(at) {
                Some(item) => {
                    path = path.child(&at.to_string());
                    here = item;
                }
                None if rng.bool() => return path.child("-"),
                None => return path.child(&at.to_string()),
            }
        } else if let Some(mut members) = here.as_object() {
            let at = rng.usize(..=members.len());
            if let Some((name, value)) = members.nth(at) {
                path = path.child(name);
                here = value;
            } else {
                path = path.child(NAMES[rng.usize(..NAMES.len())]);
                if !wrong || rng.bool() {
                    return path;
                }
                return path.child(["a", "-", "0", "01"][rng.usize(..4)]);
            }
        } else {
            return if wrong && rng.u8(..8) == 0 { path.child("a") } else { path };
        }
    }
    path
}

/// What a generated patch may hold.
#[derive(Clone, Copy)]
pub struct Kinds {
    pub tests: bool,
    pub wrong: bool,
    pub most: usize,
}

/// A patch for this document; its later operations are made for what the earlier ones left.
pub fn patch(rng: &mut Rng, document: &Value, kinds: Kinds) -> Patch {
    let limits = syncbridge_document::Limits::default();
    let mut patch = Patch::new();
    let mut now = document.clone();
    for _ in 0..rng.usize(1..=kinds.most) {
        let path = pointer(rng, &now, kinds.wrong);
        let one = Patch::new();
        let one = match rng.u8(..10) {
            0..3 => one.add(path, value(rng, 2, true)),
            3 | 4 => one.remove(path),
            5 => one.replace(path, value(rng, 2, true)),
            6 => one.move_(pointer(rng, &now, kinds.wrong), path),
            7 => one.copy(pointer(rng, &now, kinds.wrong), path),
            _ if kinds.tests => {
                let found = now.pointer(path.as_str()).cloned();
                let expected = if rng.u8(..6) > 0 { found } else { None };
                one.test(path, expected.unwrap_or_else(|| scalar(rng)))
            }
            _ => one.add(path, scalar(rng)),
        };
        let applied = one.apply(&mut now, syncbridge_document::Options::STRICT, &limits);
        // Mostly operations that work, or hardly any longer patch would.
        if applied.is_ok() || (kinds.wrong && rng.u8(..4) == 0) {
            patch = patch.concat(one);
        }
    }
    patch
}

/// A patch that moves, copies, edits and names the items of the arrays of a document, as people rearrange lists.
pub fn rearrangement(rng: &mut Rng, document: &Value) -> Patch {
    let limits = syncbridge_document::Limits::default();
    let mut patch = Patch::new();
    let mut now = document.clone();
    for edit in 0..rng.usize(1..8) {
        let array = (0..8).map(|_| pointer(rng, &now, false)).find_map(|path| {
            let count = now.pointer(path.as_str())?.as_array()?.len();
            Some((path, count))
        });
        let Some((path, count)) = array else { continue };
        let mut index = || path.child(&rng.usize(..=count).to_string());
        let (from, to) = (index(), index());
        let item = Value::from_members([("id", Value::from(rng.i32(..6))), ("text", Value::from("what it says here"))]);
        let one = match rng.u8(..6) {
            0 | 1 => Patch::new().move_(from, to),
            2 => Patch::new().copy(from, to),
            3 => Patch::new().add(to, item),
            4 => Patch::new().add(to.child("text"), edit as u64),
            _ => Patch::new().remove(from),
        };
        if one.apply(&mut now, syncbridge_document::Options::STRICT, &limits).is_ok() {
            patch = patch.concat(one);
        }
    }
    patch
}
