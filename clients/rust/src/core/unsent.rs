//! Own updates that were refused because another device is the active one, with all that built on them. They are no longer
//! in the optimistic document and nothing sends them by itself; they are kept, whatever happens to connection and
//! subscription, until the application sends or discards them. They count towards the bounds of the queue, so that
//! nothing has to be dropped.

use syncbridge_codec::message::{ConflictPolicy, Durability};
use syncbridge_document::Patch;

use super::{
    config::{OnConflict, UpdateDurability, UpdateOptions},
    queue::Update,
};

/// An update that waits for its device to be active again, or for the application to think better of it.
#[derive(Debug, Clone, PartialEq)]
pub struct UnsentUpdate {
    /// The counter under which it was refused.
    pub counter: u64,
    /// Its operations.
    pub patch: Patch,
    /// How it was sent.
    pub options: UpdateOptions,
}

/// Those of one session, in counter order.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    updates: Vec<UnsentUpdate>,
    bytes: usize,
}

impl Unsent {
    pub(super) fn keep(&mut self, counter: u64, update: &Update) {
        let options = UpdateOptions {
            durability: match update.durability {
                Durability::Accepted => UpdateDurability::Accepted,
                Durability::Notify => UpdateDurability::Notify,
                Durability::Durable => UpdateDurability::Durable,
            },
            on_conflict: match update.on_conflict {
                Some(ConflictPolicy::Reject) => OnConflict::Reject,
                Some(ConflictPolicy::Merge) => OnConflict::Merge,
                Some(ConflictPolicy::LastWriterWins) | None => OnConflict::SessionPolicy,
            },
            lenient: update.lenient,
            ..UpdateOptions::default()
        };
        self.restore(UnsentUpdate { counter, patch: update.patch.clone(), options });
    }

    /// Puts one in its place.
    pub(super) fn restore(&mut self, update: UnsentUpdate) {
        self.bytes += size(&update);
        let at = self.updates.partition_point(|other| other.counter < update.counter);
        self.updates.insert(at, update);
    }

    pub(super) fn take(&mut self, counter: u64) -> Option<UnsentUpdate> {
        let at = self.updates.iter().position(|update| update.counter == counter)?;
        let update = self.updates.remove(at);
        self.bytes -= size(&update);
        Some(update)
    }

    pub(super) fn all(&self) -> &[UnsentUpdate] {
        &self.updates
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn size(update: &UnsentUpdate) -> usize {
    update.patch.to_json().len()
}
