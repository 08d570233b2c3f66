//! What newer versions touched, and whether an update made for an older one gets in their way.
//! Never decides what then happens: the policy does (`work.rs`).

use std::{collections::VecDeque, sync::Arc};

use bytestring::ByteString;
use syncbridge_document::Touches;

use super::{
    defaults::{CONFLICT_PATH_BYTES, CONFLICT_PATHS, TOUCHES_BYTES, TOUCHES_VERSIONS},
    effect::Writer,
};

/// The touched paths of the newest versions, without a gap.
#[derive(Debug)]
pub struct History {
    /// The version of `entries[0]`; of the next when there is none.
    first: u64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    user: Arc<str>,
    incarnation: u128,
    touches: Touches,
}

/// How an update and the versions since its base get in each other's way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clash {
    /// JSON pointers that clash, at most [`CONFLICT_PATHS`].
    pub paths: Vec<ByteString>,
    /// Whether array indexes are concerned, which no policy can save.
    pub array: bool,
    /// The versions since are not all known any more: it may clash everywhere.
    pub everything: bool,
}

impl History {
    /// No touches known of a session at `version`.
    pub fn new(version: u64) -> Self {
        Self { first: version + 1, entries: VecDeque::new(), bytes: 0 }
    }

    /// Adds the touches of the next version.
    pub fn push(&mut self, user: Arc<str>, incarnation: u128, touches: Touches) {
        self.bytes += touches.bytes();
        self.entries.push_back(Entry { user, incarnation, touches });
        while self.entries.len() > TOUCHES_VERSIONS || self.bytes > TOUCHES_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.touches.bytes();
            self.first += 1;
        }
    }

    /// What an update that touches `touches` clashes with in the versions after `base`. A base that is `None`, or older
    /// than what is kept, overlaps everything. What the same incarnation made is never in its own way.
    pub fn clash(&self, touches: &Touches, base: Option<u64>, writer: &Writer) -> Option<Clash> {
        let Some(skip) = base.and_then(|base| (base + 1).checked_sub(self.first)) else {
            return everything(touches);
        };
        let mut clash: Option<Clash> = None;
        for newer in self.entries.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            if newer.incarnation == writer.incarnation && newer.user == *writer.user {
                continue;
            }
            let Some(overlap) = newer.touches.overlap(touches) else { continue };
            let clash = clash.get_or_insert_default();
            clash.array |= overlap.array;
            let path = shorten(&overlap.pointer);
            if clash.paths.len() < CONFLICT_PATHS && !clash.paths.iter().any(|known| *known == path) {
                clash.paths.push(path.into());
            }
        }
        clash
    }
}

/// The clash of touches with versions that are not known: whatever would clash with itself. Appends do not.
fn everything(touches: &Touches) -> Option<Clash> {
    let overlap = touches.overlap(touches)?;
    Some(Clash { paths: vec![shorten(&overlap.pointer).into()], array: overlap.array, everything: true })
}

/// The pointer, or the longest ancestor that is short enough.
fn shorten(pointer: &str) -> &str {
    if pointer.len() <= CONFLICT_PATH_BYTES {
        return pointer;
    }
    let cut = pointer.bytes().take(CONFLICT_PATH_BYTES + 1).rposition(|byte| byte == b'/');
    &pointer[..cut.unwrap_or(0)]
}
