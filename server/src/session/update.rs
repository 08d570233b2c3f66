//! The way of one update through a session: was it seen → is it its turn → may this device write → does it build on
//! something refused → which version was it made for → apply, commit, tell. (Who may see the session at all is settled
//! before.) Everything that is refused here leaves the session as it was.
//!
//! Counter 0 is nobody's op (REST and flat JSON, where nothing is sent again under its counter): no record is kept of it.
//! That clients of the native protocol count from 1 is checked before (`shard/requests.rs`).
//!
//! A refusal for good is remembered: a resend gets the same, and what builds on it (`after`) is refused as well. A
//! refusal for now (`Busy` and its like) is not: the op comes again, and until then no later op of the same incarnation
//! is taken, else that one would raise the high water over it and it were lost. A client that gives such an op up sends
//! an empty patch (`[]`) under its counter; nothing else is expected from it, so nobody is locked out.

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode,
    message::{self, ConflictPolicy, Durability, Message, Position, TopicKind},
};
use syncbridge_document::{Applied, ApplyError, Options};
use syncbridge_storage as storage;

use super::{
    Core, Effect, Now, Preparation, Prepared, Writer,
    acks::{Gets, Waiting},
    change::Change,
    conflict::Clash,
    dedup::{Record, Verdict},
    defaults::{BUSY_RETRY_MS, UNCOMMITTED_BYTES, UNCOMMITTED_COMMITS, WITHHELD},
    epoch::Place,
    keyed::{Found, Keyed, Known, Recorded},
    op::{Base, Op},
    work::{Apply, Ready, Task, Tried, Work, apply_code, away, in_place, invalid_code, much_to_follow, stricter},
};

/// Why an update is not applied.
enum Refusal {
    Error(ErrorCode, String),
    Conflict(Clash),
}

/// What became of an update whose turn it was.
enum Outcome {
    /// With the operations as text, where they are not those that were sent.
    Applied(Applied, Option<Bytes>),
    Refused(Refusal),
    Away(Apply),
}

impl Core {
    /// One update. `Some`: it is for off the shard, and nothing has happened yet; run that there and come back with
    /// [`Core::update_prepared`]. Later updates of the same incarnation get `Busy` until then, so it is kind not to read
    /// on from that connection in the meantime.
    #[must_use = "work that is not done leaves the update unanswered"]
    pub fn update(&mut self, writer: &Writer, op: &Op, now: Now, out: &mut Vec<Effect>) -> Option<Preparation> {
        self.take(writer, op, Prepared { found: None, applied: None }, now, out)
    }

    /// The same update, prepared. `Some`: there is more to do off the shard. After three times it is done in place.
    #[must_use = "work that is not done leaves the update unanswered"]
    pub fn update_prepared(
        &mut self,
        writer: &Writer,
        op: &Op,
        prepared: Prepared,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Preparation> {
        self.take(writer, op, prepared, now, out)
    }

    /// The server cannot take this update now (`code`: busy, rate limited, storage failed…). One that was answered
    /// before gets its answer all the same.
    pub fn refuse_busy(
        &mut self,
        writer: &Writer,
        op: &Op,
        code: ErrorCode,
        retry_after_ms: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if !self.answer_again(writer, op, now, out) {
            self.ops.told_to_wait(writer, op.update.counter, now.wall_ms);
            let frame = self.error(code, "the server is busy", op.answers(), Some(retry_after_ms));
            out.push(Effect::Answer { conn: writer.conn, frame });
        }
    }

    fn take(
        &mut self,
        writer: &Writer,
        op: &Op,
        prepared: Prepared,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Preparation> {
        if self.answer_again(writer, op, now, out) {
            return None;
        }
        let Prepared { found, applied } = prepared;
        if let Some(keyed) = &op.keyed {
            let Some(found) = &found else {
                let task = Task::Find(keyed.key, self.keyed.begin_read());
                return Some(Preparation { task, found: None });
            };
            if self.answer_recorded(writer, op, keyed, found, out) {
                return None;
            }
        }
        let counter = op.update.counter;
        if let Some(text) = self.not_now(writer, counter) {
            self.ops.told_to_wait(writer, counter, now.wall_ms);
            let frame = self.error(ErrorCode::Busy, &text, op.answers(), Some(BUSY_RETRY_MS));
            out.push(Effect::Answer { conn: writer.conn, frame });
            return None;
        }
        match self.judge(writer, op, applied) {
            Outcome::Away(apply) => {
                self.ops.told_to_wait(writer, counter, now.wall_ms);
                return Some(Preparation { task: Task::Apply(Box::new(apply)), found });
            }
            Outcome::Refused(refusal) => self.refuse(writer, op, refusal, now, out),
            Outcome::Applied(applied, _) if !applied.changed => self.keep(writer, op, now, out),
            Outcome::Applied(applied, text) => self.change(writer, op, applied, text, now, out),
        }
        None
    }

    /// Answers an op that memory knows. Whether it does.
    fn answer_again(&mut self, writer: &Writer, op: &Op, now: Now, out: &mut Vec<Effect>) -> bool {
        let counter = op.update.counter;
        if let Some(keyed) = &op.keyed {
            match self.keyed.known(keyed) {
                Known::Nothing => {}
                Known::Applied(record) => {
                    self.accept(writer, op, record, None, out);
                    return true;
                }
                Known::Mismatch => {
                    self.answer_mismatch(writer, op.answers(), out);
                    return true;
                }
            }
        }
        if counter == 0 {
            return false;
        }
        let frame = match self.ops.verdict(writer, counter, now.wall_ms) {
            Verdict::New => return false,
            Verdict::Refused(frame) => frame,
            Verdict::Expired => {
                self.error(ErrorCode::OpExpired, "the answer to this op is no longer kept", counter, None)
            }
            Verdict::Applied(record) => {
                self.accept(writer, op, record, None, out);
                return true;
            }
        };
        out.push(Effect::Answer { conn: writer.conn, frame });
        true
    }

    /// Answers an op that the store knows by its key. Whether it does. What is recorded of an earlier session of this id
    /// is not about this one.
    fn answer_recorded(
        &mut self,
        writer: &Writer,
        op: &Op,
        keyed: &Keyed,
        found: &Found,
        out: &mut Vec<Effect>,
    ) -> bool {
        let counter = op.update.counter;
        let recorded = match &found.row {
            Ok(None) => return false,
            Ok(Some(row)) => Recorded::read(row).and_then(|row| Ok((row.version()?, row))),
            Err(code) => {
                let frame = self.error(*code, "the store cannot be read", op.answers(), None);
                out.push(Effect::Answer { conn: writer.conn, frame });
                return true;
            }
        };
        match recorded {
            Ok((_, recorded)) if recorded.born != self.meta.born => return false,
            Ok((version, recorded)) if recorded.body == keyed.body => {
                let record = Record { counter, version, commit: 0 };
                self.accept(writer, op, record, None, out);
            }
            Ok(_) => self.answer_mismatch(writer, op.answers(), out),
            Err(error) => {
                let frame = self.error(ErrorCode::SessionDamaged, &error.to_string(), op.answers(), None);
                out.push(Effect::Answer { conn: writer.conn, frame });
            }
        }
        true
    }

    fn answer_mismatch(&self, writer: &Writer, answers: u64, out: &mut Vec<Effect>) {
        let frame = self.error(ErrorCode::IdMismatch, "the id was used for another request", answers, None);
        out.push(Effect::Answer { conn: writer.conn, frame });
    }

    /// Why an op cannot be taken now.
    fn not_now(&self, writer: &Writer, counter: u64) -> Option<String> {
        if let Some(first) = self.ops.must_wait_for(writer, counter) {
            return Some(format!("op {first} was told to come again, and comes first"));
        }
        let (commits, bytes) = self.acks.under_way();
        let full = commits >= UNCOMMITTED_COMMITS || bytes >= UNCOMMITTED_BYTES || self.acks.waiting() >= WITHHELD;
        full.then(|| "too much of this session waits for the disk".to_owned())
    }

    fn judge(&mut self, writer: &Writer, op: &Op, tried: Option<Tried>) -> Outcome {
        match self.judge_base(writer, op) {
            Err(refusal) => Outcome::Refused(refusal),
            Ok(base) => {
                let limits = &self.limits;
                let work = match tried {
                    None => Work::begin(op, &self.document, self.version, limits),
                    Some(tried) => Work::go_on(tried, op, &self.document, self.version, limits),
                };
                match work {
                    Ok(work) => self.apply(writer, op, base, work),
                    Err(invalid) => Outcome::Refused(Refusal::Error(invalid_code(&invalid), invalid.to_string())),
                }
            }
        }
    }

    /// The version that the update was made for, `None` when that is not in this session's history; or why it may not
    /// be applied whatever it says.
    fn judge_base(&self, writer: &Writer, op: &Op) -> Result<Option<u64>, Refusal> {
        let update = &op.update;
        let error = |code, text: String| Err(Refusal::Error(code, text));
        if self.meta.fences(writer.user, writer.device) {
            return error(ErrorCode::NotActive, "only the active device may write".into());
        }
        match update.after {
            Some(after) if after >= update.counter => {
                return error(ErrorCode::InvalidField, "`after` names a later op, or this one".into());
            }
            Some(after) if !self.ops.was_applied(writer, after) => {
                return error(ErrorCode::DependencyRefused, format!("it builds on op {after}, which was not applied"));
            }
            _ => {}
        }
        let Position { epoch, version } = self.position();
        match &op.base {
            Base::Now => return Ok(Some(version)),
            Base::OneOf(any) if any.contains(&self.position()) => return Ok(Some(version)),
            Base::OneOf(_) => {
                return error(
                    ErrorCode::PreconditionFailed,
                    format!("the session is at version {version} of epoch {epoch}"),
                );
            }
            Base::Given => {}
        }
        if update.base.version == 0 {
            return error(ErrorCode::InvalidField, "versions begin with 1".into());
        }
        match self.epochs.place(&update.base, self.version) {
            Place::Kept(version) => Ok(Some(version)),
            Place::Lost { .. } | Place::TooOld | Place::Unknown => Ok(None),
            Place::Ahead => {
                error(ErrorCode::VersionAhead, format!("the session is at version {version} of epoch {epoch}"))
            }
        }
    }

    /// Applies the patch, if nothing stands against it. Patches apply all or not at all, and what was applied is always
    /// committed, so the document is changed in place.
    fn apply(&mut self, writer: &Writer, op: &Op, base: Option<u64>, work: Work) -> Outcome {
        let update = &op.update;
        let stale = base != Some(self.version);
        let clash = match &work {
            Work::Small(patch) if stale && much_to_follow(patch, &self.document) => {
                return Outcome::Away(away(Some(patch.clone()), op, &self.document, self.version, &self.limits));
            }
            Work::Small(patch) | Work::Bounded(patch) if stale => {
                self.history.clash(&patch.touches(&self.document), base, writer)
            }
            Work::Done(ready) if stale => self.history.clash(&ready.touches, base, writer),
            _ => None,
        };
        let policy = stricter(self.meta.conflict, update.on_conflict);
        let merge = match &clash {
            None => false,
            Some(clash) if clash.array || policy == ConflictPolicy::Reject => {
                return Outcome::Refused(Refusal::Conflict(clash.clone()));
            }
            Some(_) => policy == ConflictPolicy::Merge,
        };
        let options = Options { lenient: update.lenient, merge };
        let mut text = None;
        let applied = match work {
            Work::Away(apply) => return Outcome::Away(apply),
            Work::Done(ready) if !merge => ready.applied.map(|(document, applied)| {
                self.document = document;
                text = ready.text;
                applied
            }),
            Work::Done(Ready { patch, .. }) | Work::Bounded(patch) => {
                text = op.target.is_some().then(|| patch.to_json().into());
                patch.apply(&mut self.document, options, &self.limits)
            }
            Work::Small(patch) => {
                text = op.target.is_some().then(|| patch.to_json().into());
                let allowance = in_place(&self.limits);
                match patch.apply(&mut self.document, options, &allowance) {
                    Err(ApplyError::TooMuchWork { .. }) if allowance.work < self.limits.work => {
                        return Outcome::Away(away(Some(patch), op, &self.document, self.version, &self.limits));
                    }
                    applied => applied,
                }
            }
        };
        match (applied, clash) {
            (Ok(applied), _) => {
                let text = applied.effective.as_ref().map(|patch| patch.to_json().into()).or(text);
                Outcome::Applied(applied, text)
            }
            // It was right for its base: what came in between took its ground away.
            (Err(ApplyError::PathNotFound { .. } | ApplyError::TestFailed { .. }), Some(clash))
                if !clash.everything =>
            {
                Outcome::Refused(Refusal::Conflict(clash))
            }
            (Err(error), _) => Outcome::Refused(Refusal::Error(apply_code(&error), error.to_string())),
        }
    }

    fn refuse(&mut self, writer: &Writer, op: &Op, refusal: Refusal, now: Now, out: &mut Vec<Effect>) {
        let frame = match refusal {
            Refusal::Error(code, text) => self.error(code, &text, op.answers(), None),
            Refusal::Conflict(clash) => Message::from(message::Conflict {
                counter: op.answers(),
                session: self.name.clone(),
                at: self.position(),
                paths: clash.paths,
            })
            .to_frame(),
        };
        self.ops.refused(writer, op.update.counter, frame.clone(), now.wall_ms);
        out.push(Effect::Answer { conn: writer.conn, frame });
    }

    /// The update changed nothing: no version, no event, but a record, so that a resend changes nothing either.
    fn keep(&mut self, writer: &Writer, op: &Op, now: Now, out: &mut Vec<Effect>) {
        let counter = op.update.counter;
        let (session, epoch) = (self.id.clone(), self.epochs.current());
        let mut record = Record { counter, version: self.version, commit: self.acks.last() };
        if counter > 0 || op.keyed.is_some() {
            record.commit = self.acks.submit(self.version, 0);
            let mut rows = Vec::new();
            if counter > 0 {
                let op = self.ops.applied(writer, record, now.wall_ms);
                rows.push(storage::Write::Op { session, epoch, op });
            }
            self.commit(record, rows, op, now, out);
        }
        self.accept(writer, op, record, None, out);
    }

    /// The update made a version. `differing`: what was applied, where that is not what was sent.
    fn change(
        &mut self,
        writer: &Writer,
        op: &Op,
        applied: Applied,
        differing: Option<Bytes>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let update = &op.update;
        self.version += 1;
        let at = self.position();
        let change = Change::encode(
            &(&**writer.user).into(),
            &message::Delta {
                session: self.name.clone(),
                at: at.clone(),
                operations: differing.clone().unwrap_or_else(|| update.operations.clone()),
                device: (&**writer.device).into(),
                origin: origin(writer, update.counter),
                time_ms: now.wall_ms,
            },
        );
        let commit = self.acks.submit(self.version, change.size());
        let record = Record { counter: update.counter, version: self.version, commit };
        let answer = (update.counter > 0).then(|| self.ops.applied(writer, record, now.wall_ms));
        self.history.push(writer.user.clone(), writer.incarnation, applied.touches);
        self.since_checkpoint += change.size();
        let frame = change.frame();
        self.log.push(frame.clone());
        let write = storage::Write::Delta {
            session: self.id.clone(),
            epoch: at.epoch,
            version: at.version,
            change: change.stored(),
            op: answer,
        };
        self.commit(record, vec![write], op, now, out);
        self.accept(writer, op, record, Some((frame, differing)), out);
    }

    /// Hands an op's commit out, with what has to be recorded beside its effect.
    fn commit(&mut self, record: Record, mut writes: Vec<storage::Write>, op: &Op, now: Now, out: &mut Vec<Effect>) {
        if let Some(keyed) = &op.keyed {
            writes.push(keyed.row_of_update(self.meta.born, record.version, now.wall_ms));
            self.keyed.applied(keyed, record);
        }
        for (incarnation, user) in self.ops.take_dropped() {
            let (session, epoch) = (self.id.clone(), self.epochs.current());
            writes.push(storage::Write::Forget { session, epoch, user, incarnation });
        }
        out.push(Effect::Commit { number: record.commit, writes });
    }

    /// Answers an op that was applied, now or (`event` is `None`) before, as its durability asks. `event` is the frame of
    /// its `Delta`, and its operations where they differ from those sent.
    fn accept(
        &mut self,
        writer: &Writer,
        op: &Op,
        record: Record,
        event: Option<(Bytes, Option<Bytes>)>,
        out: &mut Vec<Effect>,
    ) {
        let Record { version, commit, .. } = record;
        let (update, counter) = (&op.update, op.answers());
        let durable = self.acks.is_durable(commit);
        let withheld = update.durability == Durability::Durable && !durable;
        let (event, operations) = event.unzip();
        let accepted = Message::from(message::Accepted {
            counter,
            session: self.name.clone(),
            at: Position { epoch: self.epochs.current(), version },
            durable: durable || withheld,
            operations: operations.flatten(),
            changed: event.is_some(),
        })
        .to_frame();
        let conn = writer.conn;
        let origin = if withheld {
            self.withhold(commit, conn, counter, accepted);
            None
        } else {
            Some((conn, accepted))
        };
        match (event, origin) {
            (Some(frame), origin) => {
                let withheld = withheld.then_some(conn);
                out.push(Effect::Event { topic: TopicKind::State, seq: version, frame, origin, withheld });
            }
            (None, Some((conn, frame))) => out.push(Effect::Answer { conn, frame }),
            (None, None) => {}
        }
        if update.durability == Durability::Notify && !durable {
            self.acks.wait(commit, Waiting { conn, counter, gets: Gets::Durable });
        }
    }
}

/// Who made a change, as the others are told. Nobody's op has no origin.
fn origin(writer: &Writer, counter: u64) -> message::Origin {
    if counter == 0 { message::Origin::default() } else { message::Origin { incarnation: writer.incarnation, counter } }
}
