//! Which item of one array became which of another: the same one, one that was edited, or one that was moved. Says
//! nothing about operations (`diff.rs`). It may be wrong about what a person meant, and never about what is there: the
//! pairs only make the difference short, whoever applies it gets the other array either way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::myers;
use crate::value::{Node, Value};

/// Members that name an item, as most programs call them: two objects with the same one are two states of one item.
const IDENTITIES: [&str; 4] = ["id", "_id", "uuid", "key"];

/// Values whose JSON text is shorter are not worth a `move`: in its place they are written again where they are now.
const SHORTEST_MOVE: usize = 24;

/// What became of the items.
#[derive(Default)]
pub(crate) struct Alignment {
    /// (old index, new index), increasing on both sides: items in the same order as before.
    pub pairs: Vec<Pair>,
    /// Items that stand elsewhere, in the order of the new index.
    pub moves: Vec<Pair>,
}

/// An item in both arrays.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub old: usize,
    pub new: usize,
    /// Exactly the same value.
    pub same: bool,
}

/// Aligns two arrays. A step of `work` is about a value looked at; when it ends, items are paired by their place.
pub(crate) fn align(before: &[Value], after: &[Value], work: &mut u64) -> Alignment {
    let most = before.len().min(after.len());
    let mut head = 0;
    while head < most && same(&before[head], &after[head], work) {
        head += 1;
    }
    let mut tail = 0;
    while tail < most - head && same(&before[before.len() - 1 - tail], &after[after.len() - 1 - tail], work) {
        tail += 1;
    }
    let mut found = Alignment { pairs: Vec::with_capacity(most), moves: Vec::new() };
    found.pairs.extend((0..head).map(|at| Pair { old: at, new: at, same: true }));
    let middle =
        Middle { old: &before[head..before.len() - tail], new: &after[head..after.len() - tail], offset: head };
    middle.align(&mut found, work);
    let ends = (before.len() - tail..before.len()).zip(after.len() - tail..);
    found.pairs.extend(ends.map(|(old, new)| Pair { old, new, same: true }));
    found
}

/// What is between the equal ends.
struct Middle<'v> {
    old: &'v [Value],
    new: &'v [Value],
    /// Where it begins, in both.
    offset: usize,
}

/// Items of the one array that stand in place of items of the other: ranges of their indexes in the middle.
struct Gap {
    old: (usize, usize),
    new: (usize, usize),
}

impl Middle<'_> {
    fn align(&self, found: &mut Alignment, work: &mut u64) {
        if self.old.is_empty() || self.new.is_empty() {
            return;
        }
        let mut kept = Vec::new();
        let mut moved = Moved::none(self);
        if (self.old.len(), self.new.len()) != (1, 1) {
            let hashes = hashes(self.old, work).zip(hashes(self.new, work));
            if let Some((old, new)) = hashes {
                kept = myers::kept(&old, &new, work);
                // Two values with one hash can differ: then they are no pair.
                kept.retain(|(x, y)| same(&self.old[*x], &self.new[*y], work));
                moved.find(self, &kept, &old, &new, work);
            }
        }
        let mut from = (0, 0);
        let end = (self.old.len(), self.new.len());
        for (x, y) in kept.into_iter().chain([end]) {
            self.gap(&Gap { old: (from.0, x), new: (from.1, y) }, &moved, found, work);
            if (x, y) != end {
                found.pairs.push(self.pair(x, y, true));
            }
            from = (x + 1, y + 1);
        }
        found.moves = moved.pairs;
        found.moves.sort_unstable_by_key(|pair| pair.new);
    }

    fn pair(&self, old: usize, new: usize, same: bool) -> Pair {
        Pair { old: old + self.offset, new: new + self.offset, same }
    }

    /// Pairs what was edited in a gap: by identity where there are any, the rest by place.
    fn gap(&self, gap: &Gap, moved: &Moved, found: &mut Alignment, work: &mut u64) {
        let old: Vec<usize> = (gap.old.0..gap.old.1).filter(|at| !moved.old[*at]).collect();
        let new: Vec<usize> = (gap.new.0..gap.new.1).filter(|at| !moved.new[*at]).collect();
        let mut kept = Vec::new();
        if !old.is_empty() && !new.is_empty() && (old.len(), new.len()) != (1, 1) {
            // An item without identity is like no other: odd numbers on this side, even on that, identities between.
            let of = |values: &[Value], at: usize, side: u64| {
                identity(&values[at]).map_or((at as u64) << 2 | side << 1, |identity| identity | 1)
            };
            let olds: Vec<u64> = old.iter().map(|at| of(self.old, *at, 0)).collect();
            let news: Vec<u64> = new.iter().map(|at| of(self.new, *at, 1)).collect();
            kept = myers::kept(&olds, &news, work);
        }
        let mut from = (0, 0);
        let end = (old.len(), new.len());
        for (x, y) in kept.into_iter().chain([end]) {
            for (old, new) in old[from.0..x].iter().zip(&new[from.1..y]) {
                found.pairs.push(self.pair(*old, *new, false));
            }
            if (x, y) != end {
                found.pairs.push(self.pair(old[x], new[y], false));
            }
            from = (x + 1, y + 1);
        }
    }
}

/// What stands elsewhere now.
struct Moved {
    old: Vec<bool>,
    new: Vec<bool>,
    pairs: Vec<Pair>,
}

impl Moved {
    fn none(middle: &Middle<'_>) -> Moved {
        Moved { old: vec![false; middle.old.len()], new: vec![false; middle.new.len()], pairs: Vec::new() }
    }

    /// Finds the items that are gone in one place and there in another: the same, or with the same identity.
    fn find(&mut self, middle: &Middle<'_>, kept: &[(usize, usize)], old: &[u64], new: &[u64], work: &mut u64) {
        // What is kept, and what was moved, is out of the question.
        let (mut old_settled, mut new_settled) = (vec![false; old.len()], vec![false; new.len()]);
        let mut gaps = (vec![0_usize; old.len()], vec![0_usize; new.len()]);
        for (x, y) in kept {
            (old_settled[*x], new_settled[*y]) = (true, true);
        }
        number_gaps(&mut gaps.0, &old_settled);
        number_gaps(&mut gaps.1, &new_settled);
        let rest = |settled: &[bool]| (0..settled.len()).filter(|at| !settled[*at]).collect::<Vec<_>>();
        let exact = matched(&rest(&old_settled), &rest(&new_settled), |x| Some(old[x]), |y| Some(new[y]));
        for (x, y) in exact {
            if middle.old[x].json_size() >= SHORTEST_MOVE && same(&middle.old[x], &middle.new[y], work) {
                (old_settled[x], new_settled[y]) = (true, true);
                self.push(middle.pair(x, y, true), middle.offset);
            }
        }
        let edited = matched(
            &rest(&old_settled),
            &rest(&new_settled),
            |x| identity(&middle.old[x]),
            |y| identity(&middle.new[y]),
        );
        for (x, y) in edited {
            // In one gap it was edited where it stands; an identity that stayed in order is found there.
            if gaps.0[x] != gaps.1[y] && middle.old[x].json_size() >= SHORTEST_MOVE {
                self.push(middle.pair(x, y, false), middle.offset);
            }
        }
    }

    fn push(&mut self, pair: Pair, offset: usize) {
        self.old[pair.old - offset] = true;
        self.new[pair.new - offset] = true;
        self.pairs.push(pair);
    }
}

/// Numbers each item by how many settled ones are before it: items of one gap have one number on both sides.
fn number_gaps(numbers: &mut [usize], settled: &[bool]) {
    let mut gap = 0;
    for (number, settled) in numbers.iter_mut().zip(settled) {
        gap += usize::from(*settled);
        *number = gap;
    }
}

/// Pairs of indexes with one key that is once on either side.
fn matched(
    old: &[usize],
    new: &[usize],
    old_key: impl Fn(usize) -> Option<u64>,
    new_key: impl Fn(usize) -> Option<u64>,
) -> Vec<(usize, usize)> {
    let places = once(old, old_key);
    let mut pairs: Vec<(usize, usize)> =
        once(new, new_key).into_iter().filter_map(|(key, y)| Some(((*places.get(&key)?)?, y?))).collect();
    pairs.sort_unstable();
    pairs
}

/// Where each key stands; `None` when it does so more than once.
fn once(indexes: &[usize], key: impl Fn(usize) -> Option<u64>) -> HashMap<u64, Option<usize>> {
    let mut places = HashMap::new();
    for at in indexes {
        let Some(key) = key(*at) else { continue };
        match places.entry(key) {
            Entry::Vacant(place) => drop(place.insert(Some(*at))),
            Entry::Occupied(mut place) => drop(place.insert(None)),
        }
    }
    places
}

/// What names an item: the first member of `IDENTITIES` that it has, when that is a string or an integer.
fn identity(value: &Value) -> Option<u64> {
    let Node::Object(object) = &value.0 else { return None };
    let (name, value) = IDENTITIES.iter().find_map(|name| object.get(name).map(|value| (name, value)))?;
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    match &value.0 {
        Node::String { text, .. } => text.hash(&mut hasher),
        Node::Integer(number) => number.hash(&mut hasher),
        Node::Unsigned(number) => number.hash(&mut hasher),
        _ => return None,
    }
    Some(hasher.finish())
}

/// Exactly the same; where the work does not suffice to tell, it is not.
fn same(a: &Value, b: &Value, work: &mut u64) -> bool {
    a.compare(b, true, work).unwrap_or_else(|| {
        *work = 0;
        false
    })
}

fn hashes(values: &[Value], work: &mut u64) -> Option<Vec<u64>> {
    values
        .iter()
        .map(|value| {
            let mut hasher = DefaultHasher::new();
            hash(value, &mut hasher, work)?;
            Some(hasher.finish())
        })
        .collect()
}

/// Equal for values that are exactly the same. `None` when the work does not suffice.
fn hash(value: &Value, hasher: &mut DefaultHasher, work: &mut u64) -> Option<()> {
    *work = work.checked_sub(1)?;
    match &value.0 {
        Node::Null => 0_u8.hash(hasher),
        Node::Bool(value) => (1_u8, value).hash(hasher),
        Node::Integer(number) => (2_u8, number).hash(hasher),
        Node::Unsigned(number) => (3_u8, number).hash(hasher),
        Node::Float { value, .. } => (4_u8, value.to_bits()).hash(hasher),
        Node::String { text, .. } => {
            *work = work.checked_sub(text.len() as u64 / 16)?;
            (5_u8, text).hash(hasher);
        }
        Node::Array(array) => {
            (6_u8, array.children().len()).hash(hasher);
            for item in array.children() {
                hash(item, hasher, work)?;
            }
        }
        Node::Object(object) => {
            (7_u8, object.children().len()).hash(hasher);
            for member in object.children() {
                member.name.hash(hasher);
                hash(&member.value, hasher, work)?;
            }
        }
    }
    Some(())
}
