//! Applying an update's patch: in place under the session's lock when it is little work, else off the shard on a clone
//! of the document (which shares all of its structure), to be committed if the version still is the same.
//!
//! Two things make it much: a text of more than 64 KiB (reading it is most of the work), and a short patch that
//! turns out to be hostile, like a thousand shifts of a large array: it is tried with a small allowance first.
//! And finding what a patch touches means following it, so one of several operations on a large document that was made
//! for an older version goes off the shard too. An update of ordinary size touches the nodes on its paths only, however
//! large the document is.

use syncbridge_codec::{
    ErrorCode,
    message::{ConflictPolicy, Update},
};
use syncbridge_document::{Applied, ApplyError, Invalid, Limits, Options, Patch, Touches, Value};

use super::defaults::{APPLY_IN_PLACE_BYTES, APPLY_IN_PLACE_WORK, FOLLOW_IN_PLACE_BYTES, PREPARE_TRIES};

/// Work to be done off the shard: [`Preparation::run`], then `Core::update_prepared` with what it gave.
#[derive(Debug)]
pub struct Preparation {
    document: Value,
    version: u64,
    text: bytes::Bytes,
    patch: Option<Patch>,
    lenient: bool,
    limits: Limits,
    tries: u32,
}

/// What was prepared, for one version of the document.
#[derive(Debug)]
pub struct Prepared {
    version: u64,
    tries: u32,
    ready: Result<Ready, Invalid>,
}

/// A patch that was read, followed and applied.
#[derive(Debug)]
pub struct Ready {
    /// What was read.
    pub patch: Patch,
    /// What it touches in that version of the document.
    pub touches: Touches,
    /// That document with the patch applied.
    pub applied: Result<(Value, Applied), ApplyError>,
}

impl Preparation {
    /// Reads the patch and applies it to the clone. Blocks for as long as that takes: some milliseconds a MiB.
    pub fn run(self) -> Prepared {
        let Self { mut document, version, text, patch, lenient, limits, tries } = self;
        let patch = patch.map_or_else(|| Patch::parse(&text, &limits), Ok);
        let ready = patch.map(|patch| {
            let touches = patch.touches(&document);
            let options = Options { lenient, merge: false };
            let applied = patch.apply(&mut document, options, &limits).map(|applied| (document, applied));
            Ready { patch, touches, applied }
        });
        Prepared { version, tries, ready }
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
    Away(Preparation),
}

impl Work {
    /// A look at an update that comes in, when the document stands at `version`.
    ///
    /// # Errors
    /// [`Invalid`] when it is not a patch.
    pub fn begin(update: &Update, document: &Value, version: u64, limits: &Limits) -> Result<Self, Invalid> {
        if update.operations.len() > APPLY_IN_PLACE_BYTES {
            return Ok(Self::Away(Preparation {
                document: document.clone(),
                version,
                text: update.operations.clone(),
                patch: None,
                lenient: update.lenient,
                limits: *limits,
                tries: 1,
            }));
        }
        Patch::parse(&update.operations, limits).map(Self::Small)
    }

    /// A look at an update that was prepared.
    ///
    /// # Errors
    /// [`Invalid`] when it is not a patch.
    pub fn go_on(
        prepared: Prepared,
        update: &Update,
        document: &Value,
        version: u64,
        limits: &Limits,
    ) -> Result<Self, Invalid> {
        let Prepared { version: prepared_for, tries, ready } = prepared;
        let ready = ready?;
        Ok(if prepared_for == version {
            Self::Done(ready)
        } else if tries >= PREPARE_TRIES {
            Self::Bounded(ready.patch)
        } else {
            Self::Away(Preparation { tries: tries + 1, ..away(ready.patch, update, document, version, limits) })
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

/// What was too much to do in place, to be done off the shard.
pub fn away(patch: Patch, update: &Update, document: &Value, version: u64, limits: &Limits) -> Preparation {
    Preparation {
        document: document.clone(),
        version,
        text: update.operations.clone(),
        patch: Some(patch),
        lenient: update.lenient,
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
