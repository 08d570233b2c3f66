//! What is asked of a session's document: the wire's `Update`, and what only REST and the flat JSON form can add to it.
//! The native protocol's own updates are an [`Op`] with nothing added.

use syncbridge_codec::message::{Position, Update};
use syncbridge_document::{Patch, Value, diff, merge_patch};

use super::keyed::Keyed;

/// A change that is asked for.
#[derive(Debug, Clone)]
pub struct Op {
    /// The update. With a `target` its `operations` are empty, and unless `base` is [`Base::Given`] so is its `base`.
    pub update: Update,
    /// It is idempotent under this key.
    pub keyed: Option<Keyed>,
    /// What the document is to become, when that is not said by operations.
    pub target: Option<Target>,
    /// Which version it is made for.
    pub base: Base,
    /// What names nobody's op (counter 0) in its answer. Not part of it.
    pub tag: u64,
}

impl Op {
    /// What names it in its answer: its counter, or what the asker calls it.
    pub const fn answers(&self) -> u64 {
        if self.update.counter > 0 { self.update.counter } else { self.tag }
    }
}

impl From<Update> for Op {
    fn from(update: Update) -> Self {
        Self { update, keyed: None, target: None, base: Base::Given, tag: 0 }
    }
}

/// What a document is to become.
#[derive(Debug, Clone)]
pub enum Target {
    /// This.
    Whole(Value),
    /// What RFC 7396 makes of it with this.
    Merge(Value),
}

impl Target {
    /// The operations that lead there from `document`.
    pub fn patch(&self, document: &Value) -> Patch {
        match self {
            Self::Whole(value) => diff(document, value),
            Self::Merge(patch) => diff(document, &merge_patch(document, patch)),
        }
    }

    /// About how much there is to look at, bytes of JSON text.
    pub fn size(&self) -> usize {
        match self {
            Self::Whole(value) | Self::Merge(value) => value.json_size(),
        }
    }
}

/// Which version an op is made for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Base {
    /// `update.base`.
    #[default]
    Given,
    /// Whatever the session is at when it is applied.
    Now,
    /// One of these, at which the session must stand (`If-Match`).
    OneOf(Vec<Position>),
}
