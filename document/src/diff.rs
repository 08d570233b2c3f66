//! The patch that leads from one document to another.
//!
//! Objects are compared member by member. The items of arrays are aligned first (`align.rs`), so that what was inserted,
//! removed, moved or edited somewhere in a list is told as just that, and a changed field of an item stays a change of
//! that field. New items at the end are appends. Where many small operations would be longer than the whole, or too much
//! work to follow, the whole is replaced.

use std::sync::Arc;

use crate::align::{Alignment, Pair, align};
use crate::apply::shifts;
use crate::limits::Limits;
use crate::node::{Array, Object};
use crate::patch::{Operation, Patch};
use crate::pointer::{Pointer, push_part};
use crate::value::{Node, Value};

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
        shifts: 0,
        most_shifts: limits.work / 2,
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
    /// Steps that whoever applies them takes for the items that shift.
    shifts: u64,
    /// Half of what a patch may take by default. Copying and comparing every value of the largest document is the other.
    most_shifts: u64,
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
        let (mark, bytes, shifts) = (self.operations.len(), self.bytes, self.shifts);
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
        let too_many = self.operations.len() - mark > self.most_operations || self.shifts > self.most_shifts;
        if too_many || self.bytes - bytes > most {
            self.operations.truncate(mark);
            (self.bytes, self.shifts) = (bytes, shifts);
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
        let Alignment { pairs, moves } = align(before, after, &mut self.work);
        let mut stays = vec![false; before.len()];
        let mut there = vec![false; after.len()];
        for pair in pairs.iter().chain(&moves) {
            (stays[pair.old], there[pair.new]) = (true, true);
        }
        let mut reshaped = !moves.is_empty();
        // From the back, so that no index has shifted when it is used.
        let mut length = before.len();
        for at in (0..before.len()).rev().filter(|at| !stays[*at]) {
            reshaped = true;
            self.shift(length, at);
            length -= 1;
            self.below(&at.to_string(), |differ| {
                let path = differ.here();
                differ.push(Operation::Remove { path });
            });
        }
        self.moves(&pairs, &moves, after.len());
        // From the front: what is before a new item is in its final place by then.
        let appended = there.iter().rposition(|there| *there).map_or(0, |last| last + 1);
        for (at, value) in after.iter().enumerate().filter(|(at, _)| !there[*at]) {
            let append = at >= appended;
            reshaped |= !append;
            self.shift(length, at);
            length += 1;
            let part = if append { "-".to_owned() } else { at.to_string() };
            self.below(&part, |differ| {
                let path = differ.here();
                differ.push(Operation::Add { path, value: value.clone() });
            });
        }
        for pair in pairs.iter().chain(&moves).filter(|pair| !pair.same) {
            self.below(&pair.new.to_string(), |differ| differ.values(&before[pair.old], &after[pair.new]));
        }
        reshaped
    }

    /// Brings the items that stay into their new order: each that was moved goes behind the one before it.
    fn moves(&mut self, pairs: &[Pair], moves: &[Pair], after: usize) {
        if moves.is_empty() {
            return;
        }
        // The new indexes of those that stay, in the order in which they stand.
        let mut stay: Vec<Pair> = pairs.iter().chain(moves).copied().collect();
        stay.sort_unstable_by_key(|pair| pair.old);
        let mut order: Vec<usize> = stay.into_iter().map(|pair| pair.new).collect();
        // Finding a place looks at them all, at four a step.
        let Some(left) = self.work.checked_sub((moves.len() * order.len()) as u64 / 4) else {
            self.shifts = u64::MAX;
            return;
        };
        self.work = left;
        let mut placed = vec![true; after];
        for moved in moves {
            placed[moved.new] = false;
        }
        for moved in moves {
            placed[moved.new] = true;
            let Some(from) = order.iter().position(|new| *new == moved.new) else { continue };
            order.remove(from);
            let to = order.iter().rposition(|new| placed[*new] && *new < moved.new).map_or(0, |before| before + 1);
            order.insert(to, moved.new);
            if from == to {
                continue;
            }
            self.shift(order.len(), from);
            self.shift(order.len(), to);
            let (mut source, mut path) = (self.path.clone(), self.path.clone());
            push_part(&mut source, &from.to_string());
            push_part(&mut path, &to.to_string());
            self.push(Operation::Move { from: source.into(), path: path.into() });
        }
    }

    /// Counts what an insertion or removal at `at` shifts.
    fn shift(&mut self, length: usize, at: usize) {
        self.shifts = self.shifts.saturating_add(shifts(length, at));
    }
}
