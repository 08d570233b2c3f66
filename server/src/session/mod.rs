//! The session core: one session's rules, commands in, effects out. It never awaits, never reads a clock, never draws a
//! random number and never sees a socket or a disk; `hub.rs` runs it under the session's lock and carries out its
//! effects before the lock is let go, so their order is the order that everybody sees.
//!
//! Read in this order: [`effect`] (what goes in and out), this file (a session's life), `update.rs` (the way of one
//! update), then the rules it asks, one file each: `dedup`, `owed` and
//! `keyed` (an op is applied once, in its client's order), `conflict`
//! (who touched what since), `work` (applying, here or off the shard), `acks` (what waits for the disk), `log` and
//! `epoch` (who can go on where it was), `presence`, `handoff` (another device becomes active).

pub mod amend;
pub mod change;
pub mod defaults;
pub mod effect;
pub mod epoch;
pub mod handoff;
pub mod keyed;
pub mod membership;
pub mod meta;
pub mod op;
pub mod work;

mod acks;
mod conflict;
mod dedup;
mod log;
mod owed;
mod presence;
mod update;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode,
    message::{self, Attached, Position, ResetReason, TopicKind, Transport},
};
use syncbridge_document::{Limits, Options, Patch, Value};
use syncbridge_storage::{self as storage, StoredSession};

use self::{
    acks::{Acks, Gets, Waiting},
    change::Change,
    conflict::History,
    dedup::{Ops, Record, Verdict},
    epoch::{Epochs, Place},
    keyed::KeyedOps,
    log::Log,
    presence::{Notice, Presence},
};
pub use self::{
    defaults::Bounds,
    effect::{ConnId, Effect, Now, Writer},
    keyed::Keyed,
    meta::{DeviceOf, Meta},
    op::{Base, Op, Target},
    presence::Present,
    work::{Preparation, Prepared},
};

/// One live session.
#[derive(Debug)]
pub struct Core {
    /// For storage.
    id: Arc<str>,
    /// The same, for frames.
    name: ByteString,
    meta: Meta,
    /// Times that `meta` was replaced.
    revision: u64,
    limits: Limits,
    document: Value,
    version: u64,
    epochs: Epochs,
    log: Log,
    history: History,
    ops: Ops,
    keyed: KeyedOps,
    acks: Acks,
    presence: Presence,
    questions: handoff::Questions,
    /// Bytes of the changes since the last checkpoint.
    since_checkpoint: usize,
    /// It was deleted: nobody finds it any more.
    deleted: bool,
}

/// How a device goes on from where it was. Decided under the lock; the caller registers the subscription under it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// These frames, then live.
    Live {
        /// The last version that the device has.
        after: u64,
        /// Native `Delta` frames of `after + 1` up to the current version.
        frames: Vec<Bytes>,
    },
    /// The changes after `after` and before `until` are in storage only: read them off the shard, in chunks as the link
    /// drains (`change::Change::stored_frame`), then ask again from there. All of them are durable.
    Store {
        /// The last version that the device has.
        after: u64,
        /// The first version that the log in memory has.
        until: u64,
    },
    /// It starts from a snapshot.
    Reset {
        /// Why.
        reason: ResetReason,
        /// With `Lost`: the last version of the cursor's epoch that was kept.
        last_kept: Option<u64>,
    },
}

/// Stored data that no session can be made of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session}: {what}")]
pub struct Damaged {
    /// The session's id.
    pub session: Arc<str>,
    /// What is wrong, and where.
    pub what: String,
}

impl Core {
    /// Makes a session, at version 1. Its `Created` is withheld until storage holds it. Counter 0 is nobody's op: it is
    /// not recorded. `more` goes into the same commit.
    #[expect(clippy::too_many_arguments, reason = "all that a new session is made of, once")]
    pub fn create(
        id: Arc<str>,
        epoch: u64,
        meta: Meta,
        document: Value,
        writer: &Writer,
        counter: u64,
        more: Vec<storage::Write>,
        now: Now,
        bounds: Bounds,
        out: &mut Vec<Effect>,
    ) -> Self {
        let mut core = Self::new(id, meta, &bounds, document, 1, Epochs::first(epoch));
        core.acks = Acks::new(0);
        let text = Bytes::from(core.document.to_json());
        let commit = core.acks.submit(1, text.len());
        let record = Record { counter, version: 1, commit };
        let op = (counter > 0).then(|| core.ops.applied(writer, record, now.wall_ms));
        let created = core.created(counter);
        core.withhold(commit, writer.conn, counter, created);
        let (session, meta) = (core.id.clone(), core.meta.encode());
        let mut all = vec![storage::Write::Create { session, epoch, meta, document: text, op }];
        all.extend(more);
        out.push(Effect::Commit { number: commit, writes: all });
        core
    }

    /// Goes on with a session that storage kept. `epoch` is this process's first; a session that was made in this process
    /// keeps its own.
    ///
    /// # Errors
    /// [`Damaged`] when what was stored does not fit together, or belongs to a newer process.
    pub fn restore(id: Arc<str>, stored: StoredSession, epoch: u64, bounds: Bounds) -> Result<Self, Damaged> {
        let session = Arc::clone(&id);
        let damaged = |what: String| Damaged { session: Arc::clone(&session), what };
        if epoch::process_of(stored.epoch) > epoch::process_of(epoch) {
            return Err(damaged(format!("it is at epoch {}, this process at {epoch}", stored.epoch)));
        }
        // What was accepted once is taken as it is: limits may have been lowered since.
        let trusted = Limits::trusted();
        let meta = Meta::decode(stored.meta).map_err(|error| damaged(format!("meta: {error}")))?;
        let document =
            Value::parse(&stored.document, &trusted).map_err(|error| damaged(format!("document: {error}")))?;
        let epochs = Epochs::restore(&stored.epochs, stored.version, epoch);
        let mut core = Self::new(id, meta, &bounds, document, stored.document_version, epochs);
        for delta in stored.deltas {
            let expected = core.version + 1;
            if delta.version != expected {
                return Err(damaged(format!("change {expected} is missing, {} follows", delta.version)));
            }
            core.replay(delta.change, &trusted).map_err(|what| damaged(format!("change {expected}: {what}")))?;
        }
        if core.version != stored.version {
            return Err(damaged(format!("it ends at version {} of {}", core.version, stored.version)));
        }
        core.acks = Acks::new(core.version);
        core.log.trim(core.version);
        core.ops = Ops::restore(&stored.incarnations).map_err(|error| damaged(format!("answers: {error}")))?;
        Ok(core)
    }

    fn new(id: Arc<str>, meta: Meta, bounds: &Bounds, document: Value, version: u64, epochs: Epochs) -> Self {
        Self {
            name: ByteString::from(&*id),
            id,
            meta,
            revision: 0,
            limits: bounds.document,
            document,
            version,
            epochs,
            log: Log::new(version, bounds.log_kept_bytes),
            history: History::new(version),
            ops: Ops::default(),
            keyed: KeyedOps::default(),
            acks: Acks::new(version),
            presence: Presence::new(bounds),
            questions: handoff::Questions::default(),
            since_checkpoint: 0,
            deleted: false,
        }
    }

    fn replay(&mut self, stored: Bytes, limits: &Limits) -> Result<(), String> {
        let change = Change::from_stored(stored).map_err(|error| error.to_string())?;
        let (user, delta) = change.decode().map_err(|error| error.to_string())?;
        let patch = Patch::parse(&delta.operations, limits).map_err(|error| error.to_string())?;
        let applied = patch.apply(&mut self.document, Options::STRICT, limits).map_err(|error| error.to_string())?;
        self.version += 1;
        self.since_checkpoint += change.size();
        self.log.push(change.frame());
        self.history.push(Arc::from(&*user), delta.origin.incarnation, applied.touches);
        Ok(())
    }

    /// A `Create` of this session that came again, or of somebody who wants the same id. A resend gets the answer of
    /// the first, once that is durable; anybody else `already_exists`.
    pub fn create_again(&mut self, writer: &Writer, create: &message::Create, now: Now, out: &mut Vec<Effect>) {
        let counter = create.counter;
        match self.ops.verdict(writer, counter, now.wall_ms) {
            Verdict::Applied(record) if record.version == 1 => {
                let frame = self.created(counter);
                if self.acks.is_durable(record.commit) {
                    out.push(Effect::Answer { conn: writer.conn, frame });
                } else {
                    self.withhold(record.commit, writer.conn, counter, frame);
                }
            }
            _ => {
                let frame = self.error(ErrorCode::AlreadyExists, "the session's id is taken", counter, None);
                out.push(Effect::Answer { conn: writer.conn, frame });
            }
        }
    }

    /// The document as it is.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Where the document stands.
    pub fn position(&self) -> Position {
        Position { epoch: self.epochs.current(), version: self.version }
    }

    /// The newest durable version.
    pub fn durable(&self) -> u64 {
        self.acks.version()
    }

    /// Whether whoever addresses it means a session that is there: it is durable, or was made by being addressed.
    pub fn is_made_or_open(&self) -> bool {
        self.durable() > 0 || self.meta.everyone
    }

    /// Owner, policies, active device.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Grows each time [`Core::meta`] changes.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the session can be unloaded: nothing under way, nobody waiting, nobody attached.
    pub fn is_quiet(&self) -> bool {
        self.acks.under_way().0 == 0 && self.acks.waiting() == 0 && self.presence.is_empty()
    }

    /// How a device that is at `have` goes on.
    pub fn resume(&self, have: Option<&Position>) -> Resume {
        let reset = |reason, last_kept| Resume::Reset { reason, last_kept };
        let Some(have) = have.filter(|have| have.version > 0) else { return reset(ResetReason::Initial, None) };
        match self.epochs.place(have, self.version) {
            Place::Kept(after) => match self.log.after(after) {
                Some(frames) => Resume::Live { after, frames },
                None => Resume::Store { after, until: self.log.first() },
            },
            Place::Lost { last_kept } => reset(ResetReason::Lost, Some(last_kept)),
            Place::TooOld => reset(ResetReason::TooOld, None),
            Place::Ahead | Place::Unknown => reset(ResetReason::UnknownEpoch, None),
        }
    }

    /// Storage holds every commit up to `number`: what was withheld for them is answered, who asked is told.
    pub fn committed(&mut self, number: u64, out: &mut Vec<Effect>) {
        let before = self.acks.version();
        let waited = self.acks.committed(number);
        self.keyed.committed(number.min(self.acks.last()));
        let at = Position { epoch: self.epochs.current(), version: self.acks.version() };
        let durable = message::Message::from(message::Durable { session: self.name.clone(), at }).to_frame();
        let mut told = Vec::new();
        for Waiting { conn, gets, .. } in waited {
            match gets {
                Gets::Frame(frame) => out.push(Effect::Answer { conn, frame }),
                Gets::Durable => told.push(conn),
                Gets::Notice(notice) => self.tell(*notice, out),
                Gets::Deleted => out.push(Effect::Deleted { frame: self.deleted_frame() }),
            }
        }
        told.sort_unstable();
        told.dedup();
        out.extend(told.into_iter().map(|conn| Effect::Answer { conn, frame: durable.clone() }));
        if self.acks.version() > before {
            self.log.trim(self.acks.version());
            out.push(Effect::Durable { version: self.acks.version(), frame: durable });
        }
    }

    /// Storage will hold nothing of what is under way (it is poisoned, or refused the commit): all who wait are told
    /// `code`. What this core says from here on is not true any more; the caller drops it.
    pub fn abandon(&mut self, code: ErrorCode, out: &mut Vec<Effect>) {
        let failed = self.acks.failed().into_iter();
        for Waiting { conn, counter, .. } in failed.filter(|one| matches!(one.gets, Gets::Frame(_) | Gets::Durable)) {
            let frame = self.error(code, "the change could not be made durable", counter, None);
            out.push(Effect::Answer { conn, frame });
        }
    }

    /// The document and its version, when a checkpoint is due (`storage::Write::Checkpoint`, after the commit of that
    /// version; making its text is work for off the shard). Losing one does no harm.
    pub fn checkpoint_due(&self) -> Option<(u64, Value)> {
        let most = (self.document.json_size() * defaults::CHECKPOINT_FACTOR).max(defaults::CHECKPOINT_BYTES);
        (self.since_checkpoint > most).then(|| (self.version, self.document.clone()))
    }

    /// That checkpoint is being written: the next is counted from here.
    pub fn checkpoint_taken(&mut self) {
        self.since_checkpoint = 0;
    }

    /// A device's connection attaches; the others are told, unless the device was here already or a moment ago.
    pub fn attach(
        &mut self,
        conn: ConnId,
        user: &str,
        device: &str,
        transport: Transport,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let device = (user.into(), device.into());
        let notice = self.presence.attach(&self.name, conn, device, transport, now.mono_ms);
        out.extend(notice.map(tell));
    }

    /// A connection unsubscribes. Its device has left when it does not come back within the grace period.
    pub fn detach(&mut self, conn: ConnId, now: Now) {
        self.presence.detach(conn, now.mono_ms);
    }

    /// A connection was heard of.
    pub fn touch(&mut self, conn: ConnId, now: Now) {
        self.presence.touch(conn, now.mono_ms);
    }

    /// A connection is gone: it detaches, and what is withheld for it is dropped.
    pub fn forget(&mut self, conn: ConnId, now: Now) {
        self.detach(conn, now);
        self.acks.forget(conn);
    }

    /// Tells of devices whose time is over. Returns when to call again, in `mono_ms`; `None` when there is no need, or
    /// when a call that was asked for before comes early enough. Attaching and detaching may bring that time forward:
    /// call it after them too.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Effect>) -> Option<u64> {
        let (notices, next) = self.presence.tick(&self.name, now.mono_ms);
        out.extend(notices.into_iter().map(tell));
        next
    }

    /// Whether a connection of this device is attached, or was a moment ago.
    pub fn is_attached(&self, device: &DeviceOf) -> bool {
        self.presence.has(&device.user, &device.device)
    }

    /// Who is attached, at the place of the last notice.
    pub fn presence(&self) -> message::Presence {
        message::Presence {
            session: self.name.clone(),
            seq: self.presence.seq(),
            devices: self.presence.list(),
            active_device: self.active_device(),
        }
    }

    /// Who is attached, when they were last heard of, and whether theirs is the active device.
    pub fn attendance(&self, now: Now) -> Vec<(Present, bool)> {
        let active = self.meta.active.as_ref();
        let is_active = |Attached { user, device, .. }: &Attached| {
            active.is_some_and(|active| *active.user == **user && *active.device == **device)
        };
        let with_active = |present: Present| {
            let active = is_active(&present.device);
            (present, active)
        };
        self.presence.seen(now).into_iter().map(with_active).collect()
    }

    /// The active device's id, if there is one.
    pub fn active_device(&self) -> Option<ByteString> {
        self.meta.active.as_ref().map(|active| ByteString::from(&*active.device))
    }

    fn created(&self, counter: u64) -> Bytes {
        let Position { epoch, version } = self.position();
        message::Message::from(message::Created { counter, session: self.name.clone(), epoch, version }).to_frame()
    }

    fn withhold(&mut self, commit: u64, conn: ConnId, counter: u64, frame: Bytes) {
        self.acks.wait(commit, Waiting { conn, counter, gets: Gets::Frame(frame) });
    }

    /// The frame of an `Error` that answers an op.
    fn error(&self, code: ErrorCode, text: &str, counter: u64, retry_after_ms: Option<u64>) -> Bytes {
        let text = &text[..text.floor_char_boundary(defaults::ERROR_TEXT_BYTES)];
        message::Message::from(message::Error {
            session: Some(self.name.clone()),
            op: Some(counter),
            retry_after_ms,
            ..message::Error::new(code, text)
        })
        .to_frame()
    }
}

fn tell(notice: Notice) -> Effect {
    let (seq, message): (_, message::Message) = match notice {
        Notice::Joined(joined) => (joined.seq, joined.into()),
        Notice::Left(left) => (left.seq, left.into()),
    };
    Effect::Event { topic: TopicKind::Notice, seq, frame: message.to_frame(), origin: None, withheld: None }
}
