//! Arrays and objects: children in one vector, with the length as JSON text and the height kept up to date, so that
//! limits are checked before anything is built. Objects are sorted by name (by bytes), which makes every text and
//! every comparison deterministic.

use std::mem;
use std::sync::Arc;

use crate::edit::{Edit, Taken, edit};
use crate::json;
use crate::value::Value;

pub(crate) type Array = Container<Value>;
pub(crate) type Object = Container<Member>;

/// A named value of an object.
#[derive(Clone)]
pub(crate) struct Member {
    pub name: Arc<str>,
    pub value: Value,
}

/// What a container holds: items or members.
pub(crate) trait Child: Clone {
    fn value(&self) -> &Value;
    fn value_mut(&mut self) -> &mut Value;
    fn into_parts(self) -> (Option<Arc<str>>, Value);
    /// `name` is there exactly for members.
    fn from_parts(name: Option<Arc<str>>, value: Value) -> Self;
    /// Bytes of JSON text, the comma before or after it left out.
    fn json_size(&self) -> usize;
}

impl Child for Value {
    fn value(&self) -> &Value {
        self
    }
    fn value_mut(&mut self) -> &mut Value {
        self
    }
    fn into_parts(self) -> (Option<Arc<str>>, Value) {
        (None, self)
    }
    fn from_parts(_: Option<Arc<str>>, value: Value) -> Value {
        value
    }
    fn json_size(&self) -> usize {
        Value::json_size(self)
    }
}

impl Child for Member {
    fn value(&self) -> &Value {
        &self.value
    }
    fn value_mut(&mut self) -> &mut Value {
        &mut self.value
    }
    fn into_parts(self) -> (Option<Arc<str>>, Value) {
        (Some(self.name), self.value)
    }
    fn from_parts(name: Option<Arc<str>>, value: Value) -> Member {
        Member { name: name.unwrap_or_default(), value }
    }
    fn json_size(&self) -> usize {
        json::text_size(&self.name) + 1 + self.value.json_size()
    }
}

/// The children of an array or an object.
#[derive(Clone)]
pub(crate) struct Container<C> {
    children: Vec<C>,
    size: usize,
    height: u32,
}

impl<C: Child> Container<C> {
    fn from_children(mut children: Vec<C>) -> Container<C> {
        children.shrink_to_fit();
        let commas = children.len().saturating_sub(1);
        let size = children.iter().map(Child::json_size).sum::<usize>() + 2 + commas;
        let height = 1 + children.iter().map(|child| child.value().height()).max().unwrap_or(0);
        Container { children, size, height }
    }

    pub fn children(&self) -> &[C] {
        &self.children
    }

    /// Bytes of JSON text.
    pub fn json_size(&self) -> usize {
        self.size
    }

    /// Containers inside each other, this one included.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Carries `change` out at `position`, or further down when there are `deeper` positions. All ancestors grow by
    /// `growth` bytes. Positions come from `resolve`, so they exist. Adds to `scanned` how many children were looked at.
    pub fn edit(&mut self, position: u32, deeper: &[u32], change: Edit, growth: isize, scanned: &mut u64) -> Taken {
        let position = position as usize;
        self.size = self.size.wrapping_add_signed(growth);
        match change {
            Edit::Insert { name, value } if deeper.is_empty() => {
                self.height = self.height.max(1 + value.height());
                self.children.insert(position, C::from_parts(name, value));
                Taken::Nothing
            }
            Edit::Remove if deeper.is_empty() => {
                let (name, value) = self.children.remove(position).into_parts();
                self.lowered(value.height(), 0, scanned);
                Taken::Child { name, value }
            }
            change => {
                let child = self.children[position].value_mut();
                let before = child.height();
                let taken = edit(child, deeper, change, growth, scanned);
                let after = child.height();
                if after >= before {
                    self.height = self.height.max(1 + after);
                } else {
                    self.lowered(before, after, scanned);
                }
                taken
            }
        }
    }

    /// A child's height went down. Only when it was a highest one the others have to be asked; the first that is as
    /// high ends the search.
    fn lowered(&mut self, before: u32, after: u32, scanned: &mut u64) {
        if before + 1 < self.height || before == 0 {
            return;
        }
        let mut highest = after;
        for child in &self.children {
            *scanned += 1;
            highest = highest.max(child.value().height());
            if highest >= before {
                return;
            }
        }
        self.height = highest + 1;
    }
}

impl Array {
    pub fn new(items: Vec<Value>) -> Array {
        Container::from_children(items)
    }
}

impl Object {
    /// Members in any order; of several with one name the last stays.
    pub fn new(mut members: Vec<Member>) -> Object {
        if !members.is_sorted_by(|a, b| a.name < b.name) {
            members.sort_by(|a, b| a.name.cmp(&b.name));
            // `dedup_by` removes the later one of a pair: swap first, so that it is the later one that stays.
            members.dedup_by(|later, earlier| {
                let same = later.name == earlier.name;
                if same {
                    mem::swap(later, earlier);
                }
                same
            });
        }
        Container::from_children(members)
    }

    /// Where the member is, or where it would be inserted.
    pub fn find(&self, name: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|member| (*member.name).cmp(name))
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(name).ok().map(|at| &self.children[at].value)
    }
}
