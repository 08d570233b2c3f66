//! Applying a patch: each operation is settled on the immutable document (can it be done, is it allowed, what does it
//! cost), then carried out in place; when a later one fails, the edits are taken back in reverse.

use crate::edit::{Edit, edit};
use crate::error::ApplyError;
use crate::json;
use crate::limits::Limits;
use crate::merge;
use crate::patch::{Operation, Patch};
use crate::pointer::{Parts, Pointer, covers};
use crate::resolve::{Miss, Place, resolve};
use crate::touches::{Recorder, Touches};
use crate::value::{Node, Value};

/// How a patch is read. Whatever the options, replicas then apply what came of it strictly ([`Applied::effective`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `add` makes missing parents: objects, and an array where the pointer ends in `/-`. Only what is missing is
    /// made: below `null`, another scalar or an array without that index it fails as ever.
    pub lenient: bool,
    /// An `add` or `replace` of an object by an object merges them key by key, at every level; members that only the
    /// old one has stay. Everything else is as ever: the last writer wins.
    pub merge: bool,
}

impl Options {
    /// RFC 6902 and nothing else.
    pub const STRICT: Options = Options { lenient: false, merge: false };
    /// What the live protocol's `lenient` flag means.
    pub const LENIENT: Options = Options { lenient: true, merge: false };
}

/// What came of a patch.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Whether some operation changed something; exactly, so that replacing `1` by `1.0` is a change and replacing `1`
    /// by `1` is none. (Adding a member and removing it again counts as a change.)
    pub changed: bool,
    /// The strict patch with the same result, when it is not the one that was sent.
    pub effective: Option<Patch>,
    /// The paths it touched.
    pub touches: Touches,
}

impl Patch {
    /// Applies the patch, whole or not at all: after an error the document is as it was.
    ///
    /// # Errors
    ///
    /// Each variant of [`ApplyError`].
    pub fn apply(&self, document: &mut Value, options: Options, limits: &Limits) -> Result<Applied, ApplyError> {
        let operations = self.operations.len();
        if operations > limits.operations {
            return Err(ApplyError::TooManyOperations { operations, limit: limits.operations });
        }
        let mut run = Run::new(document, self, options, limits);
        for (index, operation) in self.operations.iter().enumerate() {
            run.index = index;
            run.undoable = index + 1 < operations;
            if let Err(error) = run.operation(operation) {
                run.roll_back(0);
                return Err(error);
            }
        }
        let Run { changed, effective, touches, .. } = run;
        // A merge that found no room falls back to the whole object, which can be what was sent.
        let effective = effective.map(|operations| Patch { operations }).filter(|effective| effective != self);
        Ok(Applied { changed, effective, touches: touches.finish() })
    }

    /// The paths it would touch on this document, missing parents made. An operation that cannot be applied touches
    /// the paths it names.
    #[must_use]
    pub fn touches(&self, document: &Value) -> Touches {
        let limits = Limits { work: Limits::default().work, ..Limits::trusted() };
        let mut copy = document.clone();
        let mut run = Run::new(&mut copy, self, Options::LENIENT, &limits);
        for (index, operation) in self.operations.iter().enumerate() {
            run.index = index;
            run.undoable = true;
            // What nobody looks at afterwards need not be carried out: most patches have one operation.
            run.dry = index + 1 == self.operations.len();
            let mark = run.undo.len();
            if run.operation(operation).is_err() {
                run.roll_back(mark);
                run.touches.guess(operation);
            }
        }
        run.touches.finish()
    }
}

/// A patch under way.
struct Run<'a> {
    document: &'a mut Value,
    patch: &'a Patch,
    options: Options,
    limits: &'a Limits,
    /// Steps left.
    work: u64,
    /// The operation at hand.
    index: usize,
    /// Whether something can still fail after the next edit.
    undoable: bool,
    /// Whether edits are only settled, not carried out.
    dry: bool,
    /// Where the pointer at hand leads: a buffer, reused.
    positions: Vec<u32>,
    undo: Vec<Undo>,
    /// The positions of all undos, one after the other.
    undo_positions: Vec<u32>,
    changed: bool,
    /// The strict operations so far, once they differ from those that were sent.
    effective: Option<Vec<Operation>>,
    touches: Recorder,
}

/// How to take one edit back.
struct Undo {
    /// Where its positions begin in `undo_positions`.
    positions: usize,
    change: Edit,
    growth: isize,
}

impl<'a> Run<'a> {
    fn new(document: &'a mut Value, patch: &'a Patch, options: Options, limits: &'a Limits) -> Run<'a> {
        Run {
            document,
            patch,
            options,
            limits,
            work: limits.work,
            index: 0,
            undoable: true,
            dry: false,
            positions: Vec::new(),
            undo: Vec::new(),
            undo_positions: Vec::new(),
            changed: false,
            effective: None,
            touches: Recorder::with_capacity(patch.operations.len()),
        }
    }

    fn operation(&mut self, operation: &Operation) -> Result<(), ApplyError> {
        match operation {
            Operation::Add { path, value } => {
                if self.options.merge && self.merge(path, value)? {
                    return Ok(());
                }
                if let Some(end) = self.missing_parent(path) {
                    return self.add_with_parents(path, end, value);
                }
                self.add(path, value.clone())?;
            }
            Operation::Replace { path, value } => {
                if self.options.merge && self.merge(path, value)? {
                    return Ok(());
                }
                self.replace(path, value.clone())?;
            }
            Operation::Remove { path } => self.remove(path)?,
            Operation::Move { from, path } => self.move_value(from, path)?,
            Operation::Copy { from, path } => {
                let value = self.existing(from)?;
                self.touches.read(from);
                self.add(path, value)?;
            }
            Operation::Test { path, value } => {
                let place = resolve(self.document, path, &mut self.positions, &mut 0);
                let found = place.ok().and_then(|place| place.value());
                let Some(found) = found else { return Err(self.absent(path)) };
                let equal = found.compare(value, false, &mut self.work);
                self.touches.look(path);
                match equal {
                    Some(true) => {}
                    Some(false) => return Err(ApplyError::TestFailed { index: self.index, path: path.clone() }),
                    None => return Err(ApplyError::TooMuchWork { index: self.index }),
                }
            }
        }
        if let Some(effective) = &mut self.effective {
            effective.push(operation.clone());
        }
        Ok(())
    }

    /// Puts `value` at `path`, as RFC 6902 §4.1 has it.
    fn add(&mut self, path: &Pointer, value: Value) -> Result<(), ApplyError> {
        let mut cost = 0;
        let place = match resolve(self.document, path, &mut self.positions, &mut cost) {
            Ok(place) => place,
            Err(miss) => return Err(self.not_found(path, &miss)),
        };
        self.touches.add(path, &place);
        let size = value.json_size().cast_signed();
        let (name, named, length, at) = match place {
            Place::Root(old) => {
                let old = old.clone();
                return self.swap(&old, value, cost);
            }
            Place::Member { object, found: true, at, .. } => {
                let old = object.children()[at].value.clone();
                return self.swap(&old, value, cost);
            }
            Place::Member { object, name, at, .. } => {
                let named = json::text_size(&name).cast_signed() + 1;
                (Some(name.into()), named, object.children().len(), at)
            }
            Place::Item { array, at, .. } => (None, 0, array.children().len(), at),
        };
        let growth = size + named + isize::from(length > 0);
        self.admit(growth, value.height(), cost + shifts(length, at))?;
        self.changed = true;
        self.commit(Edit::Insert { name, value }, growth);
        Ok(())
    }

    /// Exchanges the value that stands at `path`.
    fn replace(&mut self, path: &Pointer, value: Value) -> Result<(), ApplyError> {
        let mut cost = 0;
        let place = match resolve(self.document, path, &mut self.positions, &mut cost) {
            Ok(place) => place,
            Err(miss) => return Err(self.not_found(path, &miss)),
        };
        let Some(old) = place.value().cloned() else { return Err(self.absent(path)) };
        self.touches.replace(path);
        self.swap(&old, value, cost)
    }

    /// Exchanges `old`, which the positions lead to, for `value`.
    fn swap(&mut self, old: &Value, value: Value, cost: u64) -> Result<(), ApplyError> {
        let growth = value.json_size().cast_signed().wrapping_sub_unsigned(old.json_size());
        self.admit(growth, value.height(), cost)?;
        let same = old.compare(&value, true, &mut self.work).ok_or(ApplyError::TooMuchWork { index: self.index })?;
        self.changed |= !same;
        self.commit(Edit::Swap(value), growth);
        Ok(())
    }

    /// Takes out what is at `path`.
    fn remove(&mut self, path: &Pointer) -> Result<(), ApplyError> {
        let mut cost = 0;
        let place = match resolve(self.document, path, &mut self.positions, &mut cost) {
            Ok(place) => place,
            Err(miss) => return Err(self.not_found(path, &miss)),
        };
        let (named, length, at) = match &place {
            Place::Root(_) => return Err(ApplyError::RemoveRoot { index: self.index }),
            Place::Member { object, name, at, .. } => (json::text_size(name) + 1, object.children().len(), *at),
            Place::Item { array, at, .. } => (0, array.children().len(), *at),
        };
        let Some(old) = place.value() else { return Err(self.absent(path)) };
        let growth = 0_isize.wrapping_sub_unsigned(old.json_size() + named + usize::from(length > 1));
        self.touches.remove(path, &place);
        self.admit(growth, 0, cost + shifts(length, at))?;
        self.changed = true;
        self.commit(Edit::Remove, growth);
        Ok(())
    }

    fn move_value(&mut self, from: &Pointer, path: &Pointer) -> Result<(), ApplyError> {
        let value = self.existing(from)?;
        if from == path {
            self.touches.read(from);
            return Ok(());
        }
        if covers(from.as_str(), path.as_str()) {
            return Err(ApplyError::IntoItself { index: self.index, from: from.clone(), path: path.clone() });
        }
        let (undoable, dry) = (self.undoable, self.dry);
        self.undoable = true;
        self.dry = false;
        self.remove(from)?;
        self.undoable = undoable;
        self.dry = dry;
        self.add(path, value)
    }

    /// Where the name of the first missing object on the way to `path` ends, when the options ask for it to be made.
    fn missing_parent(&mut self, path: &Pointer) -> Option<usize> {
        if !self.options.lenient {
            return None;
        }
        match resolve(self.document, path, &mut self.positions, &mut 0) {
            Err(Miss::Parent { end }) => Some(end),
            _ => None,
        }
    }

    /// Adds `value` inside new objects, as one strict operation; the first new one's name ends at `end` in `path`.
    fn add_with_parents(&mut self, path: &Pointer, end: usize, value: &Value) -> Result<(), ApplyError> {
        // Before anything is built: what is too deep to build is too deep to drop.
        if path.depth() > self.limits.depth {
            return Err(ApplyError::TooDeep { index: self.index, limit: self.limits.depth });
        }
        let mut names = Vec::new();
        let mut parts = Parts::new(&path.as_str()[end..]);
        while let Some(part) = parts.next() {
            match part {
                Ok(part) if part.name != "-" || part.last => names.push(part.name),
                Ok(_) => return Err(self.not_found(path, &Miss::Nowhere("there is nothing at `-`"))),
                Err(()) => return Err(self.not_found(path, &Miss::Nowhere("it is no JSON Pointer"))),
            }
        }
        let mut nested = value.clone();
        for name in names.into_iter().rev() {
            nested = if name == "-" { Value::from(vec![nested]) } else { Value::from_members([(&*name, nested)]) };
        }
        let top = Pointer::from(&path.as_str()[..end]);
        let mark = self.touches.mark();
        self.add(&top, nested.clone())?;
        self.touches.made_parents(mark, path);
        self.effective().push(Operation::Add { path: top, value: nested });
        Ok(())
    }

    /// Merges `value` into the object at `path`; false when this is no matter of two objects.
    fn merge(&mut self, path: &Pointer, value: &Value) -> Result<bool, ApplyError> {
        let Ok(place) = resolve(self.document, path, &mut self.positions, &mut 0) else { return Ok(false) };
        let (Some(Value(Node::Object(old))), Node::Object(new)) = (place.value(), &value.0) else { return Ok(false) };
        let before = self.effective.as_ref().map_or(self.index, Vec::len);
        let after = self.patch.operations.len() - self.index - 1;
        let room = self.limits.operations.saturating_sub(before + after);
        let operations = match merge::operations(path, old, new, room, &mut self.work) {
            Ok(operations) => operations,
            Err(merge::TooMany) => {
                vec![Operation::Replace { path: path.clone(), value: merge::merged(old, new) }]
            }
        };
        self.undoable = true;
        for operation in &operations {
            match operation {
                Operation::Add { path, value } => self.add(path, value.clone())?,
                Operation::Replace { path, value } => self.replace(path, value.clone())?,
                _ => unreachable!("merging adds and replaces"),
            }
        }
        self.effective().extend(operations);
        Ok(true)
    }

    /// The strict operations so far, to append to.
    fn effective(&mut self) -> &mut Vec<Operation> {
        self.effective.get_or_insert_with(|| self.patch.operations[..self.index].to_vec())
    }

    /// The value at `from`, for a move or a copy.
    fn existing(&mut self, from: &Pointer) -> Result<Value, ApplyError> {
        match resolve(self.document, from, &mut self.positions, &mut 0) {
            Ok(place) => place.value().cloned().ok_or_else(|| self.absent(from)),
            Err(miss) => Err(self.not_found(from, &miss)),
        }
    }

    /// Whether the document may grow by `growth` bytes, have a value of this height at the positions, and whether
    /// there is work left for it.
    fn admit(&mut self, growth: isize, height: u32, cost: u64) -> Result<(), ApplyError> {
        let index = self.index;
        let bytes = self.document.json_size().saturating_add_signed(growth);
        let limit = self.limits.document_bytes;
        if growth > 0 && bytes > limit {
            return Err(ApplyError::DocumentTooLarge { index, bytes, limit });
        }
        let limit = self.limits.depth;
        if height > 0 && self.positions.len() + height as usize > limit {
            return Err(ApplyError::TooDeep { index, limit });
        }
        self.work = self.work.checked_sub(cost).ok_or(ApplyError::TooMuchWork { index })?;
        Ok(())
    }

    /// Carries an admitted edit out at the positions.
    fn commit(&mut self, change: Edit, growth: isize) {
        if self.dry {
            return;
        }
        let mut scanned = 0;
        let taken = edit(self.document, &self.positions, change, growth, &mut scanned);
        self.work = self.work.saturating_sub(scanned);
        if self.undoable {
            let positions = self.undo_positions.len();
            self.undo_positions.extend_from_slice(&self.positions);
            self.undo.push(Undo { positions, change: taken.inverse(), growth: -growth });
        }
    }

    /// Takes back all edits but the first `kept`.
    fn roll_back(&mut self, kept: usize) {
        while self.undo.len() > kept {
            if let Some(Undo { positions, change, growth }) = self.undo.pop() {
                edit(self.document, &self.undo_positions[positions..], change, growth, &mut 0);
                self.undo_positions.truncate(positions);
            }
        }
    }

    fn absent(&self, path: &Pointer) -> ApplyError {
        self.not_found(path, &Miss::Nowhere("nothing is there"))
    }

    fn not_found(&self, path: &Pointer, miss: &Miss) -> ApplyError {
        let reason = match miss {
            Miss::Nowhere(reason) => reason,
            Miss::Parent { .. } => "an object on the way has no such member",
        };
        ApplyError::PathNotFound { index: self.index, path: path.clone(), reason }
    }
}

/// Steps for the children that stand behind `at` and shift by one; moving eight costs about as much as a step.
pub(crate) fn shifts(length: usize, at: usize) -> u64 {
    (length.saturating_sub(at) / 8) as u64
}
