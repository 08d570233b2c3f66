//! What clients ask of a session: its core runs under its lock, and what comes of it is handed out before the lock is
//! released. So inbox order = version order = commit order.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock, atomic::Ordering},
};

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode,
    frame::Frames,
    message::{self, Position},
};
use syncbridge_document::Value;
use syncbridge_storage::Table;

use super::{Calls, Checkpoint, Fault, Hub, Interest, Live, Revoked, Session};
use crate::{
    auth::access::{self, Decision, Operation, Resource, Role},
    connection::Identity,
    defaults,
    fanout::Event,
    persist::Refusal,
    session::{ConnId, Effect, Meta, Now, Op, Preparation, Prepared, Writer},
    shard::{inbox::Item, shard_of},
};

thread_local! {
    /// Effects of one command; kept, so that a command allocates none.
    static EFFECTS: RefCell<Vec<Effect>> = const { RefCell::new(Vec::new()) };
}

/// A session at one moment.
#[derive(Debug, Clone)]
pub struct Moment {
    /// Its version.
    pub at: Position,
    /// Its document; shares its structure with the live one.
    pub document: Value,
    /// Drawn when it was made.
    pub born: u128,
}

impl Hub {
    /// Whether new work is taken.
    ///
    /// # Errors
    /// [`Fault`]: not now, or not any more.
    pub(crate) fn accepting(&self, now: Now) -> Result<(), Fault> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Fault::busy("the server is going down", defaults::DRAIN_RETRY_MS));
        }
        match self.persist.refusal(self.persist.time(now)) {
            None => self.certain(),
            Some(Refusal::Busy { retry_after_ms }) => Err(Fault::busy("the store is behind", retry_after_ms)),
            Some(Refusal::Failed) => {
                Err(Fault::new(ErrorCode::StorageFailed, "the store failed; an operator has to look"))
            }
        }
    }

    /// Changes a document. The answer goes to the connection's inbox, in the session's order. `Some`: there is something
    /// to do off the shard; do it ([`Hub::prepare`]) and come back with [`Hub::update_prepared`].
    ///
    /// # Errors
    /// [`Fault`] when the writer may not.
    pub fn update(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        op: &Op,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        self.write(session, conn, who, op, None, now)
    }

    /// What an update needs that is not for a shard. Blocks.
    pub fn prepare(&self, preparation: Preparation, now: Now) -> Prepared {
        preparation.run(|key| {
            self.engine().get(Table::Idempotency, key, now.wall_ms).map_err(|error| Fault::unreadable(&error).code)
        })
    }

    /// The same update, prepared. `Some`: there is more to do.
    ///
    /// # Errors
    /// [`Fault`] when the writer may not, or no longer.
    pub fn update_prepared(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        op: &Op,
        prepared: Prepared,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        self.write(session, conn, who, op, Some(prepared), now)
    }

    pub(super) fn write(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        op: &Op,
        prepared: Option<Prepared>,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        let writer = Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn };
        // Its stamp says when it was accepted.
        let now = self.persist.time(now);
        let accepting = match self.inbox(conn) {
            Some(inbox) if inbox.len() > self.bounds.max_inbox => {
                Err(Fault::busy("the server is behind", defaults::INBOX_RETRY_MS))
            }
            _ => self.accepting(now),
        };
        self.run(session, now, |live, out| {
            Self::check(who, Operation::Update, session, live)?;
            if let Err(fault) = accepting {
                let retry_after_ms = fault.retry_after_ms.unwrap_or(defaults::FAILED_RETRY_MS);
                live.core.refuse_busy(&writer, op, fault.code, retry_after_ms, now, out);
                return Ok(None);
            }
            Ok(match prepared {
                None => live.core.update(&writer, op, now, out),
                Some(prepared) => live.core.update_prepared(&writer, op, prepared, now, out),
            })
        })
    }

    /// A session's document, where it stands, and the active device.
    ///
    /// # Errors
    /// [`Fault`] when the asker may not.
    pub fn read(&self, session: &Arc<Session>, who: &Identity) -> Result<(Position, Value, Option<ByteString>), Fault> {
        let live = session.live.lock();
        Self::check(who, Operation::Get, session, &live)?;
        Ok((live.core.position(), live.core.document().clone(), live.core.active_device()))
    }

    /// What a session is at this moment, to who may do `operation` to it.
    ///
    /// # Errors
    /// [`Fault`] when the asker may not.
    pub fn moment(&self, session: &Arc<Session>, who: &Identity, operation: Operation) -> Result<Moment, Fault> {
        let live = session.live.lock();
        Self::check(who, operation, session, &live)?;
        let (at, document) = (live.core.position(), live.core.document().clone());
        Ok(Moment { at, document, born: live.core.meta().born })
    }

    /// Asks the one function that decides, about a session that is in memory.
    pub(super) fn check(who: &Identity, operation: Operation, session: &Session, live: &Live) -> Result<(), Fault> {
        if live.core.is_deleted() {
            return Err(Fault::not_found(&session.id));
        }
        if live.over {
            return Err(Fault::moved(None));
        }
        match access::may(&who.user, operation, Resource::Session(live.core.meta())) {
            Decision::Allowed => Ok(()),
            Decision::Forbidden => Err(Fault::new(ErrorCode::Forbidden, "your role in this session does not allow it")),
            _ => Err(Fault::not_found(&session.id)),
        }
    }

    /// Runs one command on a session's core and hands its effects out, all under the session's lock.
    pub(super) fn run<R>(
        &self,
        session: &Arc<Session>,
        now: Now,
        command: impl FnOnce(&mut Live, &mut Vec<Effect>) -> R,
    ) -> R {
        EFFECTS.with_borrow_mut(|out| {
            let mut live = session.live.lock();
            live.used_ms = now.mono_ms;
            let result = command(&mut live, out);
            self.hand_out(session, &mut live, out, now);
            result
        })
    }

    pub(super) fn hand_out(&self, session: &Arc<Session>, live: &mut Live, effects: &mut Vec<Effect>, now: Now) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Event { topic, seq, frame, origin, withheld } => {
                    if topic == message::TopicKind::State {
                        live.view = None;
                    }
                    self.publish(session, live, (topic, seq), frame, origin, withheld);
                }
                Effect::Answer { conn, frame } if Calls::has(conn) => self.calls.answer(conn, frame),
                Effect::Answer { conn, frame } => {
                    if let (Some(code), Some(metrics)) = (refusal(&frame), self.metrics.shards.get(shard_of(conn))) {
                        metrics.refused.of(code).increment();
                    }
                    if let Some(inbox) = self.inbox(conn) {
                        inbox.push(Item::Answer(conn, session.state_topic(), frame));
                    }
                }
                Effect::Commit { number, writes } => {
                    self.persist.submit(Some((Arc::clone(session), number)), writes, now);
                }
                Effect::Removed { user, last } => {
                    // In order with the events; who removed them waits until every shard has seen it (`members.rs`).
                    drop(self.revoke(Revoked::Member { session: Arc::clone(session), user, last }));
                }
                Effect::Deleted { frame } => {
                    live.over = true;
                    self.sessions.remove_if(&session.id, |_, found| Arc::ptr_eq(found, session));
                    self.end_topic(session, live, &frame);
                }
                Effect::Durable { frame, .. } => {
                    for (inbox, interest) in self.inboxes.iter().zip(&live.interest) {
                        if interest.durable > 0 {
                            inbox.push(Item::Durable(session.state_topic(), frame.clone()));
                        }
                    }
                }
            }
        }
        if let Some((version, document)) = live.core.checkpoint_due() {
            let (session, epoch) = (Arc::clone(&session.id), live.core.position().epoch);
            // A full queue is no loss: the next change finds it due again.
            if self.checkpoints.try_send(Checkpoint { session, epoch, version, document }).is_ok() {
                live.core.checkpoint_taken();
            }
        }
    }

    pub(super) fn publish(
        &self,
        session: &Session,
        live: &Live,
        (kind, seq): (message::TopicKind, u64),
        frame: Bytes,
        origin: Option<(ConnId, Bytes)>,
        withheld: Option<ConnId>,
    ) {
        let (topic, wanted): (_, fn(&Interest) -> u32) = match kind {
            message::TopicKind::State => (session.state_topic(), |interest| interest.state),
            message::TopicKind::Notice => (session.notice_topic(), |interest| interest.notices),
        };
        if kind == message::TopicKind::State {
            self.metrics.shards[0].accepted.increment();
        }
        let origin = match origin {
            Some((conn, accepted)) if Calls::has(conn) => {
                self.calls.answer(conn, accepted);
                None
            }
            origin => origin,
        };
        let home = origin.as_ref().map(|(conn, _)| shard_of(*conn));
        let event = Arc::new(Event { topic, seq, frame, origin, withheld, text: OnceLock::new() });
        for (shard, (inbox, interest)) in self.inboxes.iter().zip(&live.interest).enumerate() {
            // The writer's own shard hears of it in any case: the answer to the writer travels in the event.
            if wanted(interest) > 0 || home == Some(shard) {
                inbox.push(Item::Event(Arc::clone(&event)));
            }
        }
    }
}

impl access::Members for Meta {
    fn role(&self, user: &str) -> Option<Role> {
        self.members.get(user).map(|member| member.role).or_else(|| self.everyone.then_some(Role::Editor))
    }
}

/// The code of an `Error` among answers; all else is told from it by one byte.
fn refusal(frame: &Bytes) -> Option<ErrorCode> {
    // The type follows the length, whose first two bits say how long it is (RFC 9000 §16).
    let kind = frame.get(1 << (frame.first()? >> 6))?;
    if u64::from(*kind) != message::Error::KIND {
        return None;
    }
    let frame = Frames::new(frame.clone(), usize::MAX).next()?.ok()?;
    ErrorCode::from_number(message::Error::decode(frame.body).ok()?.code)
}
