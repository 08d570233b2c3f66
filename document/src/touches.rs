//! Which paths a patch touches, and when two patches that were made apart get in each other's way.
//!
//! # What an operation touches
//!
//! | operation | where | touches |
//! |---|---|---|
//! | add, replace | a member, the whole document | the *value* at its path |
//! | replace | an item | the *value* at its path |
//! | add | an array's `/-` | an *append* to the array |
//! | add | an array's index | the *shape* of the array |
//! | remove | a member | the *value* at its path |
//! | remove | an item | the *shape* of the array |
//! | move | | as remove at `from` and add at `path`; onto itself, a *reading* |
//! | copy | | a *reading* of `from`, and as add at `path` |
//! | test | | nothing: it is evaluated again instead |
//! | any | an item that this same patch appended | also the *length* of the array: its index counts on it |
//!
//! Objects that a lenient add makes on its way are not touched by themselves: two such adds with different ends go
//! together. Merged objects are touched where a member was added or replaced.
//!
//! # When two touches overlap
//!
//! Never when neither path is the other or lies inside it. Else, with "array" for an overlap that is a conflict under
//! every policy, because an index may mean another item by now:
//!
//! | one | other | other's path is the same | inside | around |
//! |---|---|---|---|---|
//! | value | value | overlap | overlap | overlap |
//! | value | reading | overlap | overlap | overlap |
//! | shape | shape | array | array | array |
//! | shape | value | array | array | array when the value is older, else overlap |
//! | shape | reading | array | array | overlap |
//! | shape | append | none | array | none |
//! | append | append | none | none | none |
//! | append | value, reading | overlap when the append is older, else none | none | as the same |
//! | length | append | array | none | none |
//! | length | any other | none | none | none |
//! | reading | reading | none | none | none |
//!
//! "Shape around which an append is done" reads: the array whose items shifted holds, in one of its items, the array
//! appended to. A newer change of shape below an older replaced value is a conflict since it names an index in an array
//! that is no longer there; the other way round the newer value simply stands in place of everything below it. A newer
//! append goes to the end of whatever array is there now; a newer value would silently undo an append.

use std::cmp::Ordering;
use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use crate::patch::Operation;
use crate::pointer::{self, Pointer, covers};
use crate::resolve::Place;

/// The paths a patch touches.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Touches {
    /// Sorted so that what lies inside a path follows it at once; no two alike.
    touches: Vec<Touch>,
}

/// Two changes of the same thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// What the newer patch touches, as a JSON Pointer.
    pub pointer: String,
    /// A conflict under every policy: one of the two changed the shape of an array, and indexes are not identities.
    pub array: bool,
}

/// One touched path: the first `end` bytes of a pointer, which is shared with the patch.
#[derive(Clone)]
struct Touch {
    pointer: Arc<str>,
    end: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Value,
    Shape,
    Append,
    Length,
    Reading,
}

impl PartialEq for Touch {
    fn eq(&self, other: &Touch) -> bool {
        self.kind == other.kind && self.path() == other.path()
    }
}

impl Eq for Touch {}

impl Touch {
    fn path(&self) -> &str {
        &self.pointer[..self.end as usize]
    }
}

impl Touches {
    /// Up to this many pairs are compared one by one; for more, one side is searched.
    const PAIRS: usize = 64;

    /// Whether it touches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.touches.is_empty()
    }

    /// Memory it holds, in bytes; pointers that it shares with a patch count in full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pointers = self.touches.iter().map(|touch| touch.pointer.len() + 2 * size_of::<usize>()).sum::<usize>();
        size_of::<Touches>() + self.touches.len() * size_of::<Touch>() + pointers
    }

    /// Where `newer`, which is to be applied, gets in the way of these older touches, which already were (though
    /// `newer` was made without knowing them). An array's overlap before any other. Not the same the other way round.
    ///
    /// For m and n touches at most min(m, n) × (parts of a pointer) × log(max(m, n)) comparisons, plus one for each
    /// pair of readings of the same value.
    #[must_use]
    pub fn overlap(&self, newer: &Touches) -> Option<Overlap> {
        let mut found = None;
        if self.touches.len() * newer.touches.len() <= Touches::PAIRS {
            for new in &newer.touches {
                for old in &self.touches {
                    if keep(&mut found, old, new) {
                        return found;
                    }
                }
            }
        } else if self.touches.len() >= newer.touches.len() {
            for new in &newer.touches {
                if self.related(new.path()).any(|old| keep(&mut found, old, new)) {
                    return found;
                }
            }
        } else {
            for old in &self.touches {
                if newer.related(old.path()).any(|new| keep(&mut found, old, new)) {
                    return found;
                }
            }
        }
        found
    }

    /// Every touch whose path is `path`, around it or inside it.
    fn related<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Touch> {
        let ends = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/').map(|(at, _)| at);
        let around = ends.flat_map(move |end| self.exactly(&path[..end]));
        let first = self.touches.partition_point(|touch| order(touch.path(), path) == Ordering::Less);
        around.chain(self.touches[first..].iter().take_while(move |touch| covers(path, touch.path())))
    }

    fn exactly(&self, path: &str) -> &[Touch] {
        let first = self.touches.partition_point(|touch| order(touch.path(), path) == Ordering::Less);
        let rest = &self.touches[first..];
        let count = rest.iter().take_while(|touch| touch.path() == path).count();
        &rest[..count]
    }
}

/// Notes an overlap of two touches, if they do; true when nothing worse can be found.
fn keep(found: &mut Option<Overlap>, old: &Touch, new: &Touch) -> bool {
    match relate(old, new) {
        Some(true) => {
            *found = Some(Overlap { pointer: new.path().to_owned(), array: true });
            true
        }
        Some(false) => {
            found.get_or_insert_with(|| Overlap { pointer: new.path().to_owned(), array: false });
            false
        }
        None => false,
    }
}

/// The second table above: whether the two overlap, and whether it is an array's.
fn relate(old: &Touch, new: &Touch) -> Option<bool> {
    // Each is true when the paths are the same.
    let old_covers = covers(old.path(), new.path());
    let new_covers = covers(new.path(), old.path());
    if !old_covers && !new_covers {
        return None;
    }
    let same = old_covers && new_covers;
    match (old.kind, new.kind) {
        (Kind::Length, Kind::Append) | (Kind::Append, Kind::Length) => same.then_some(true),
        (Kind::Length, _)
        | (_, Kind::Length)
        | (Kind::Reading, Kind::Reading)
        | (Kind::Append | Kind::Value | Kind::Reading, Kind::Append) => None,
        (Kind::Shape | Kind::Value, Kind::Shape) => Some(true),
        (Kind::Shape, Kind::Append) => (old_covers && !same).then_some(true),
        (Kind::Append, Kind::Shape) => (new_covers && !same).then_some(true),
        (Kind::Append, Kind::Value | Kind::Reading) => new_covers.then_some(false),
        (Kind::Shape, Kind::Value | Kind::Reading) => Some(old_covers),
        (Kind::Reading, Kind::Shape) => Some(new_covers),
        (Kind::Value, Kind::Value | Kind::Reading) | (Kind::Reading, Kind::Value) => Some(false),
    }
}

/// By parts, so that what lies inside a path follows it with nothing between.
fn order(a: &str, b: &str) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { u16::from(byte) + 1 };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

impl fmt::Debug for Touches {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.touches.iter().map(|touch| (touch.kind, touch.path()))).finish()
    }
}

/// Notes touches while a patch is applied, before each edit.
pub(crate) struct Recorder {
    touches: Vec<Touch>,
    /// The arrays this patch has appended to, and at which index what it appended begins.
    tails: Vec<Tail>,
}

struct Tail {
    array: Touch,
    begin: usize,
}

impl Recorder {
    pub fn with_capacity(operations: usize) -> Recorder {
        Recorder { touches: Vec::with_capacity(operations), tails: Vec::new() }
    }

    /// How many there are; for `made_parents`.
    pub fn mark(&self) -> usize {
        self.touches.len()
    }

    /// An add at a place.
    pub fn add(&mut self, path: &Pointer, place: &Place<'_, '_>) {
        self.counts_on_length(path, true);
        match place {
            Place::Root(_) | Place::Member { .. } => self.push(path, path.as_str().len(), Kind::Value),
            Place::Item { array, append: true, .. } => {
                self.push(path, path.parent_end(), Kind::Append);
                self.appended(path, array.children().len());
            }
            Place::Item { at, .. } => {
                self.push(path, path.parent_end(), Kind::Shape);
                let counts_on_length = self.tail(path).is_some_and(|tail| {
                    let beyond = *at > tail.begin;
                    tail.begin += usize::from(!beyond);
                    beyond
                });
                if counts_on_length {
                    self.push(path, path.parent_end(), Kind::Length);
                }
            }
        }
    }

    /// Remembers that the patch appended to an array that had `length` items.
    fn appended(&mut self, path: &Pointer, length: usize) {
        if self.tail(path).is_none() {
            self.tails.push(Tail { array: touch(path, path.parent_end(), Kind::Length), begin: length });
        }
    }

    /// A value replaced.
    pub fn replace(&mut self, path: &Pointer) {
        self.look(path);
        self.push(path, path.as_str().len(), Kind::Value);
    }

    /// A value removed.
    pub fn remove(&mut self, path: &Pointer, place: &Place<'_, '_>) {
        self.look(path);
        if let Place::Item { at, .. } = place {
            self.push(path, path.parent_end(), Kind::Shape);
            if let Some(tail) = self.tail(path) {
                tail.begin -= usize::from(*at < tail.begin);
            }
        } else {
            self.push(path, path.as_str().len(), Kind::Value);
        }
    }

    /// A value read, to be copied.
    pub fn read(&mut self, path: &Pointer) {
        self.look(path);
        self.push(path, path.as_str().len(), Kind::Reading);
    }

    /// A value looked at: nothing, unless it lies in what this patch appended.
    pub fn look(&mut self, path: &Pointer) {
        self.counts_on_length(path, false);
    }

    /// Notes that the patch counts on the lengths of arrays that it appended to. An item inserted at the end of what
    /// `path` says is not there yet: whether that index counts is for `add` to say.
    fn counts_on_length(&mut self, path: &Pointer, insert: bool) {
        for tail in &self.tails {
            let array = tail.array.path();
            if !covers(array, path.as_str()) || array.len() == path.as_str().len() {
                continue;
            }
            let below = &path.as_str()[array.len() + 1..];
            let part = below.split('/').next().unwrap_or(below);
            if insert && part.len() == below.len() {
                continue;
            }
            if pointer::index(part).is_some_and(|at| at >= tail.begin) {
                self.touches.push(tail.array.clone());
            }
        }
    }

    /// The touch at `mark` was of new parents: it is the added value's, `path`, that counts.
    pub fn made_parents(&mut self, mark: usize, path: &Pointer) {
        self.touches.truncate(mark);
        self.guess_add(path);
        if path.as_str().ends_with("/-") {
            self.appended(path, 0);
        }
    }

    /// What an operation that cannot be applied would touch.
    pub fn guess(&mut self, operation: &Operation) {
        match operation {
            Operation::Test { .. } => return,
            Operation::Copy { from, .. } => self.push(from, from.as_str().len(), Kind::Reading),
            Operation::Move { from, .. } => self.push(from, from.as_str().len(), Kind::Value),
            _ => {}
        }
        self.guess_add(operation.path());
    }

    fn guess_add(&mut self, path: &Pointer) {
        if path.as_str().ends_with("/-") {
            self.push(path, path.parent_end(), Kind::Append);
        } else {
            self.push(path, path.as_str().len(), Kind::Value);
        }
    }

    fn push(&mut self, path: &Pointer, end: usize, kind: Kind) {
        self.touches.push(touch(path, end, kind));
    }

    /// What this patch appended to the array that `path` leads into.
    fn tail(&mut self, path: &Pointer) -> Option<&mut Tail> {
        let array = &path.as_str()[..path.parent_end()];
        self.tails.iter_mut().find(|tail| tail.array.path() == array)
    }

    pub fn finish(self) -> Touches {
        let mut touches = self.touches;
        if touches.len() > 1 {
            touches.sort_unstable_by(|a, b| order(a.path(), b.path()).then(a.kind.cmp(&b.kind)));
            touches.dedup();
        }
        // Kept for as long as the history of versions is: without what tests and repeats did not need.
        touches.shrink_to_fit();
        Touches { touches }
    }
}

fn touch(path: &Pointer, end: usize, kind: Kind) -> Touch {
    // A pointer comes from a text that memory holds; beyond 4 GiB, the whole document stands for it.
    Touch { pointer: path.0.clone(), end: u32::try_from(end).unwrap_or(0), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(rng: &mut fastrand::Rng, most: usize) -> Touches {
        const KINDS: [Kind; 5] = [Kind::Value, Kind::Shape, Kind::Append, Kind::Length, Kind::Reading];
        // Characters before and after `/`, so that the order by parts is needed.
        const PARTS: [&str; 6] = ["", "a", "a!", "a0", "b", "\u{1}"];
        let mut recorder = Recorder::with_capacity(0);
        for _ in 0..rng.usize(..most) {
            let mut text = String::new();
            for _ in 0..rng.usize(..6) {
                text.push('/');
                text.push_str(PARTS[rng.usize(..PARTS.len())]);
            }
            recorder.push(&Pointer::from(text), 0, KINDS[rng.usize(..KINDS.len())]);
            if let Some(touch) = recorder.touches.last_mut() {
                touch.end = touch.pointer.len() as u32;
            }
        }
        recorder.finish()
    }

    #[test]
    fn searching_finds_what_comparing_every_pair_finds() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut searched, mut found) = (0, [0; 3]);
        for case in 0..20_000 {
            let (older, newer) = (random(&mut rng, 30), random(&mut rng, if case % 2 == 0 { 6 } else { 40 }));
            let mut expected = None;
            for old in &older.touches {
                for new in &newer.touches {
                    expected = expected.max(relate(old, new));
                }
            }
            let overlap = older.overlap(&newer);
            assert_eq!(overlap.as_ref().map(|overlap| overlap.array), expected, "{older:?} and {newer:?}");
            searched += usize::from(older.touches.len() * newer.touches.len() > Touches::PAIRS);
            found[expected.map_or(0, |array| 1 + usize::from(array))] += 1;
        }
        assert!(searched > 5_000 && found.iter().all(|count| *count > 500), "{searched} {found:?}");
    }
}
