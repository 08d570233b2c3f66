//! The patch that leads from one document to another.
//!
//! Objects are compared member by member. In arrays equal ends are left alone and a shortest edit script (Myers 1986,
//! bounded) is found for the rest; what was deleted and inserted at the same place is paired and compared inside, so
//! that a changed field of an item stays a change of that field. New items at the end are appends. Where many small
//! operations would be longer than the whole, the whole is replaced.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::limits::Limits;
use crate::node::{Array, Object};
use crate::patch::{Operation, Patch};
use crate::pointer::{Pointer, push_part};
use crate::value::{Node, Value};

/// Differences between two arrays up to which an edit script is searched: its memory is the square, 0.5 MiB.
const MOST_EDITS: usize = 256;

/// Bytes that operations may have over the replacement of the whole: small changes keep small touches.
const SLACK: usize = 1024;

/// The patch with `patch.apply(before) == after`, exactly, and with at most 1,000 operations (the default of
/// [`Limits::operations`]).
///
/// Takes time in proportion to both documents; beyond a bound of work it replaces instead of searching.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Patch {
    let limits = Limits::default();
    let mut differ = Differ {
        operations: Vec::new(),
        bytes: 0,
        path: String::new(),
        work: limits.work,
        most_operations: limits.operations,
    };
    differ.values(before, after);
    Patch { operations: differ.operations }
}

struct Differ {
    operations: Vec<Operation>,
    /// Their JSON text.
    bytes: usize,
    /// Where we are.
    path: String,
    /// Steps left; at 0 everything counts as different.
    work: u64,
    most_operations: usize,
}

impl Differ {
    fn same(&mut self, a: &Value, b: &Value) -> bool {
        a.compare(b, true, &mut self.work).unwrap_or_else(|| {
            self.work = 0;
            false
        })
    }

    fn push(&mut self, operation: Operation) {
        self.bytes += operation.json_size() + 1;
        self.operations.push(operation);
    }

    fn here(&self) -> Pointer {
        Pointer::from(self.path.as_str())
    }

    /// Runs `inner` one part deeper.
    fn below(&mut self, part: &str, inner: impl FnOnce(&mut Differ)) {
        let length = self.path.len();
        push_part(&mut self.path, part);
        inner(self);
        self.path.truncate(length);
    }

    fn values(&mut self, before: &Value, after: &Value) {
        let (mark, bytes) = (self.operations.len(), self.bytes);
        let reshaped = match (&before.0, &after.0) {
            (Node::Array(a), Node::Array(b)) if Arc::ptr_eq(a, b) => return,
            (Node::Object(a), Node::Object(b)) if Arc::ptr_eq(a, b) => return,
            (Node::Array(a), Node::Array(b)) if self.work > 0 => self.arrays(a, b),
            (Node::Object(a), Node::Object(b)) if self.work > 0 => {
                self.objects(a, b);
                false
            }
            _ => {
                if !self.same(before, after) {
                    let path = self.here();
                    self.push(Operation::Replace { path, value: after.clone() });
                }
                return;
            }
        };
        let whole = Operation::Replace { path: self.here(), value: after.clone() };
        // An array whose items shift is touched as a whole anyway; elsewhere small operations are worth some bytes.
        let most = whole.json_size() * if reshaped { 1 } else { 2 } + if reshaped { 0 } else { SLACK };
        if self.bytes - bytes > most || self.operations.len() - mark > self.most_operations {
            self.operations.truncate(mark);
            self.bytes = bytes;
            self.push(whole);
        }
    }

    fn objects(&mut self, before: &Object, after: &Object) {
        for member in before.children() {
            match after.get(&member.name) {
                Some(value) => self.below(&member.name, |differ| differ.values(&member.value, value)),
                None => self.below(&member.name, |differ| {
                    let path = differ.here();
                    differ.push(Operation::Remove { path });
                }),
            }
        }
        for member in after.children() {
            if before.find(&member.name).is_err() {
                self.below(&member.name, |differ| {
                    let path = differ.here();
                    differ.push(Operation::Add { path, value: member.value.clone() });
                });
            }
        }
    }

    /// Returns whether items shift: not when some were only replaced or appended.
    fn arrays(&mut self, before: &Array, after: &Array) -> bool {
        let (before, after) = (before.children(), after.children());
        let most = before.len().min(after.len());
        let mut head = 0;
        while head < most && self.same(&before[head], &after[head]) {
            head += 1;
        }
        let mut tail = 0;
        while tail < most - head && self.same(&before[before.len() - 1 - tail], &after[after.len() - 1 - tail]) {
            tail += 1;
        }
        let (old, new) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
        let mut reshaped = false;
        // From the back, so that no index has shifted when it is used and each means what it does in `before`.
        for gap in self.gaps(old, new).into_iter().rev() {
            let (old_from, new_from) = (gap.old.0 + head, gap.new.0 + head);
            let (old_count, new_count) = (gap.old.1 - gap.old.0, gap.new.1 - gap.new.0);
            let paired = old_count.min(new_count);
            for at in (old_from + paired..old_from + old_count).rev() {
                reshaped = true;
                self.below(&at.to_string(), |differ| {
                    let path = differ.here();
                    differ.push(Operation::Remove { path });
                });
            }
            let added = &after[new_from + paired..new_from + new_count];
            if old_from + old_count == before.len() {
                for value in added {
                    self.below("-", |differ| {
                        let path = differ.here();
                        differ.push(Operation::Add { path, value: value.clone() });
                    });
                }
            } else {
                for value in added.iter().rev() {
                    reshaped = true;
                    self.below(&(old_from + paired).to_string(), |differ| {
                        let path = differ.here();
                        differ.push(Operation::Add { path, value: value.clone() });
                    });
                }
            }
            for at in 0..paired {
                self.below(&(old_from + at).to_string(), |differ| {
                    differ.values(&before[old_from + at], &after[new_from + at]);
                });
            }
        }
        reshaped
    }

    /// What is between the items that stay, in order.
    fn gaps(&mut self, old: &[Value], new: &[Value]) -> Vec<Gap> {
        let whole = Gap { old: (0, old.len()), new: (0, new.len()) };
        if old.is_empty() && new.is_empty() {
            return Vec::new();
        }
        if old.is_empty() || new.is_empty() || (old.len() == 1 && new.len() == 1) {
            return vec![whole];
        }
        let Some(old_hashes) = self.hashes(old) else { return vec![whole] };
        let Some(new_hashes) = self.hashes(new) else { return vec![whole] };
        let Some(kept) = kept(&old_hashes, &new_hashes) else { return vec![whole] };
        let mut gaps = Vec::new();
        let (mut old_at, mut new_at) = (0, 0);
        let end = (old.len(), new.len());
        for (old_kept, new_kept) in kept.into_iter().chain([end]) {
            // Two values with one hash can differ: then they are no kept pair, and this gap grows over them.
            if (old_kept, new_kept) != end && !self.same(&old[old_kept], &new[new_kept]) {
                continue;
            }
            if old_at < old_kept || new_at < new_kept {
                gaps.push(Gap { old: (old_at, old_kept), new: (new_at, new_kept) });
            }
            (old_at, new_at) = (old_kept + 1, new_kept + 1);
        }
        gaps
    }

    fn hashes(&mut self, values: &[Value]) -> Option<Vec<u64>> {
        values
            .iter()
            .map(|value| {
                let mut hasher = DefaultHasher::new();
                hash(value, &mut hasher, &mut self.work)?;
                Some(hasher.finish())
            })
            .collect()
    }
}

/// Items of the one array that stand in place of items of the other: ranges of their indexes.
struct Gap {
    old: (usize, usize),
    new: (usize, usize),
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

/// The pairs of positions that a shortest edit script keeps, in order (E. Myers, "An O(ND) Difference Algorithm and Its
/// Variations", 1986, the greedy form). `None` when the two differ by more than `MOST_EDITS`.
fn kept(old: &[u64], new: &[u64]) -> Option<Vec<(usize, usize)>> {
    let most = MOST_EDITS.min(old.len() + new.len());
    // How far into `old` the paths on each diagonal (old index - new index) have come; diagonal 0 stands at `middle`.
    let middle = most + 1;
    let mut reached = vec![0_usize; 2 * middle + 1];
    let mut rounds = Vec::new();
    for edits in 0..=most {
        // What this round reads, kept for the way back: its diagonals and one more on either side.
        rounds.push(reached[middle - edits - 1..=middle + edits + 1].to_vec());
        for step in 0..=edits {
            // Diagonal + middle; `at + edits - middle` is 2 × step.
            let at = middle + 2 * step - edits;
            let mut x = came_from(&reached, at, step == 0, step == edits).1;
            let mut y = x + middle - at;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                x += 1;
                y += 1;
            }
            reached[at] = x;
            if x >= old.len() && y >= new.len() {
                return Some(way_back(&rounds, old.len(), new.len()));
            }
        }
    }
    None
}

/// From which neighbouring diagonal a path on the diagonal at `at` comes, and where it starts there: down from the one
/// above (an insertion) or right from the one below (a deletion), whichever has come further.
fn came_from(reached: &[usize], at: usize, lowest: bool, highest: bool) -> (usize, usize) {
    if lowest || (!highest && reached[at - 1] < reached[at + 1]) {
        (at + 1, reached[at + 1])
    } else {
        (at - 1, reached[at - 1] + 1)
    }
}

fn way_back(rounds: &[Vec<usize>], mut x: usize, mut y: usize) -> Vec<(usize, usize)> {
    let mut kept = Vec::new();
    for (edits, reached) in rounds.iter().enumerate().skip(1).rev() {
        // In a saved round diagonal 0 stands at edits + 1.
        let middle = edits + 1;
        let at = x + middle - y;
        let (from, start) = came_from(reached, at, at == 1, at == 2 * edits + 1);
        while x > start {
            x -= 1;
            y -= 1;
            kept.push((x, y));
        }
        x = reached[from];
        y = x + middle - from;
    }
    while x > 0 {
        x -= 1;
        kept.push((x, x));
    }
    kept.reverse();
    kept
}
