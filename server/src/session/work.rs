//! What of an update is done off the shard: looking for its key in the store, and much work on the document.
//!
//! Applying an update's patch: in place under the session's lock when it is little work, else off the shard on a clone
//! of the document (which shares all of its structure), to be committed if the version still is the same.
//!
//! Two things make it much: a text of more than 64 KiB (reading it is most of the work), and a short patch that
//! turns out to be hostile, like a thousand shifts of a large array: it is tried with a small allowance first.
//! And finding what a patch touches means following it, so one of several operations on a large document that was made
//! for an older version goes off the shard too. An update of ordinary size touches the nodes on its paths only, however
//! large the document is.

use syncbridge_codec::{ErrorCode, message::ConflictPolicy};
use syncbridge_document::{Applied, ApplyError, Invalid, Limits, Options, Patch, Touches, Value};

use super::{
    defaults::{APPLY_IN_PLACE_BYTES, APPLY_IN_PLACE_WORK, FOLLOW_IN_PLACE_BYTES, PREPARE_TRIES},
    keyed::{Found, Read},
    op::{Op, Target},
};

/// Work to be done off the shard: [`Preparation::run`], then `Core::update_prepared` with what it gave.
#[derive(Debug)]
pub struct Preparation {
    pub(super) task: Task,
    /// What the store has of the op's key, once that is known.
    pub(super) found: Option<Found>,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Look for this key in the store.
    Find([u8; 32], Read),
    /// Apply the patch.
    Apply(Box<Apply>),
}

/// A patch that is to be read, or found, and applied.
#[derive(Debug)]
pub struct Apply {
    document: Value,
    version: u64,
    text: bytes::Bytes,
    target: Option<Target>,
    patch: Option<Patch>,
    lenient: bool,
    limits: Limits,
    tries: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Prepared {
    pub(super) found: Option<Found>,
    pub(super) applied: Option<Tried>,
}

/// A patch that was tried on one version of the document.
#[derive(Debug)]
pub struct Tried {
    version: u64,
    tries: u32,
    ready: Result<Ready, Invalid>,
}

/// A patch that was read, followed and applied.
#[derive(Debug)]
pub struct Ready {
    /// What was read.
    pub patch: Patch,
    /// Its text, where that was not sent.
    pub text: Option<bytes::Bytes>,
    /// What it touches in that version of the document.
    pub touches: Touches,
    /// That document with the patch applied.
    pub applied: Result<(Value, Applied), ApplyError>,
}

impl Preparation {
    /// Does it; `find` reads a row of idempotency keys. Blocks for as long as that takes: a read of the store, or some
    /// milliseconds a MiB.
    pub fn run(self, find: impl FnOnce(&[u8; 32]) -> Result<Option<bytes::Bytes>, ErrorCode>) -> Prepared {
        match self.task {
            Task::Find(key, read) => Prepared { found: Some(Found { row: find(&key), read }), applied: None },
            Task::Apply(apply) => Prepared { found: self.found, applied: Some(apply.run()) },
        }
    }
}

impl Apply {
    fn run(self) -> Tried {
        let Self { mut document, version, text, target, patch, lenient, limits, tries } = self;
        let (patch, text) = match (target, patch) {
            (Some(target), _) => {
                let patch = target.patch(&document);
                let text = patch.to_json().into();
                (Ok(patch), Some(text))
            }
            (None, Some(patch)) => (Ok(patch), None),
            (None, None) => (Patch::parse(&text, &limits), None),
        };
        let ready = patch.map(|patch| {
            let touches = patch.touches(&document);
            let options = Options { lenient, merge: false };
            let applied = patch.apply(&mut document, options, &limits).map(|applied| (document, applied));
            Ready { patch, text, touches, applied }
        });
        Tried { version, tries, ready }
    }
}

/// Where an update's patch stands.
pub enum Work {
    /// It was read, and is to be applied in place, with a small allowance.
    Small(Patch),
    /// It was read, and is to be applied in place whatever that takes.
    Bounded(Patch),
    /// It was applied to the current version.
    Done(Ready),
    /// It goes off the shard.
    Away(Apply),
}

impl Work {
    /// A look at an op that comes in, when the document stands at `version`.
    ///
    /// # Errors
    /// [`Invalid`] when it is not a patch.
    pub fn begin(op: &Op, document: &Value, version: u64, limits: &Limits) -> Result<Self, Invalid> {
        match &op.target {
            Some(target) if document.json_size() + target.size() > APPLY_IN_PLACE_BYTES => {
                Ok(Self::Away(away(None, op, document, version, limits)))
            }
            Some(target) => Ok(Self::Small(target.patch(document))),
            None if op.update.operations.len() > APPLY_IN_PLACE_BYTES => {
                Ok(Self::Away(away(None, op, document, version, limits)))
            }
            None => Patch::parse(&op.update.operations, limits).map(Self::Small),
        }
    }

    /// A look at an op that was tried. A target is looked at anew when the version has changed: what leads there has too.
    ///
    /// # Errors
    /// [`Invalid`] when it is not a patch.
    pub fn go_on(tried: Tried, op: &Op, document: &Value, version: u64, limits: &Limits) -> Result<Self, Invalid> {
        let Tried { version: tried_for, tries, ready } = tried;
        let ready = ready?;
        Ok(if tried_for == version {
            Self::Done(ready)
        } else if tries >= PREPARE_TRIES {
            Self::Bounded(op.target.as_ref().map_or(ready.patch, |target| target.patch(document)))
        } else {
            Self::Away(Apply { tries: tries + 1, ..away(Some(ready.patch), op, document, version, limits) })
        })
    }
}

/// Whether finding what a patch touches may be much work: all but the last operation are really carried out.
pub fn much_to_follow(patch: &Patch, document: &Value) -> bool {
    patch.len() > 1 && patch.len().saturating_mul(document.json_size()) > FOLLOW_IN_PLACE_BYTES
}

/// A small allowance for work in place.
pub fn in_place(limits: &Limits) -> Limits {
    Limits { work: limits.work.min(APPLY_IN_PLACE_WORK), ..*limits }
}

/// What is too much to do in place, to be done off the shard.
pub fn away(patch: Option<Patch>, op: &Op, document: &Value, version: u64, limits: &Limits) -> Apply {
    Apply {
        document: document.clone(),
        version,
        text: op.update.operations.clone(),
        target: op.target.clone(),
        patch,
        lenient: op.update.lenient,
        limits: *limits,
        tries: 1,
    }
}

/// The stricter of two policies.
pub fn stricter(session: ConflictPolicy, update: Option<ConflictPolicy>) -> ConflictPolicy {
    let strictness = |policy| match policy {
        ConflictPolicy::LastWriterWins => 0,
        ConflictPolicy::Merge => 1,
        ConflictPolicy::Reject => 2,
    };
    match update {
        Some(update) if strictness(update) > strictness(session) => update,
        _ => session,
    }
}

/// The protocol's name for what is wrong with a text.
pub fn invalid_code(invalid: &Invalid) -> ErrorCode {
    match invalid {
        Invalid::Json { .. } | Invalid::Depth { .. } => ErrorCode::InvalidJson,
        Invalid::TooLarge { .. } => ErrorCode::DocumentTooLarge,
        _ => ErrorCode::InvalidPatch,
    }
}

/// The protocol's name for why a patch cannot be applied.
pub fn apply_code(error: &ApplyError) -> ErrorCode {
    match error {
        ApplyError::PathNotFound { .. } => ErrorCode::PathNotFound,
        ApplyError::TestFailed { .. } => ErrorCode::TestFailed,
        ApplyError::DocumentTooLarge { .. } => ErrorCode::DocumentTooLarge,
        ApplyError::TooDeep { .. } => ErrorCode::InvalidJson,
        _ => ErrorCode::InvalidPatch,
    }
}
