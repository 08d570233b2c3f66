//! What happens to sessions without a client's asking: commits become durable or do not, devices' time is over, sessions
//! that nobody uses leave memory, documents are written behind the log.

use std::{
    cmp::Reverse,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, Message, message};
use syncbridge_storage::{Outcome, Write};

use super::{Checkpoint, Fault, Hub, Live, Session};
use crate::{
    connection::Identity,
    persist::Persist,
    session::{Effect, Now},
    shard::inbox::Item,
};

/// When a session's core wants to be woken; ordered by time.
pub(super) struct Timer(pub u64, pub Weak<Session>);

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl Hub {
    /// Runs the presence timers that are due. Called by one shard, a few times a second.
    pub fn tick(&self, now: Now) {
        loop {
            let due = {
                let mut timers = self.timers.lock();
                match timers.peek() {
                    Some(Reverse(timer)) if timer.0 <= now.mono_ms => timers.pop(),
                    _ => None,
                }
            };
            let Some(Reverse(Timer(_, session))) = due else { return };
            if let Some(session) = session.upgrade() {
                self.run(&session, now, |live, out| self.arm(&session, live, now, out));
            }
        }
    }

    /// Runs the core's clock and sets the timer for the next time it wants to be woken.
    pub(super) fn arm(&self, session: &Arc<Session>, live: &mut Live, now: Now, out: &mut Vec<Effect>) {
        if let Some(at_ms) = live.core.tick(now, out) {
            self.timers.lock().push(Reverse(Timer(at_ms, Arc::downgrade(session))));
        }
    }

    /// Lets go of sessions that nobody uses. Called by one shard, every few seconds.
    pub fn unload_idle(&self, now: Now) {
        self.sessions.retain(|_, session| {
            // Nobody else holds it, and nobody can find it while its part of the map is locked.
            let stays = Arc::strong_count(session) > 1
                || session.live.try_lock().is_none_or(|live| {
                    live.interest.iter().any(|interest| interest.state > 0)
                        || !live.core.is_quiet()
                        || now.mono_ms.saturating_sub(live.used_ms) < self.bounds.unload_after_ms
                });
            if !stays {
                self.give_up(&session.id);
            }
            stays
        });
    }

    /// Writes checkpoints as they come, until every sender is gone. Blocks: has a thread of its own.
    pub fn write_checkpoints(persist: &Persist, receiver: &std::sync::mpsc::Receiver<Checkpoint>, clock: fn() -> Now) {
        while let Ok(checkpoint) = receiver.recv() {
            Self::write_checkpoint(persist, checkpoint, clock());
        }
    }

    /// Encodes one checkpoint and queues it. Takes milliseconds for megabytes.
    pub fn write_checkpoint(persist: &Persist, checkpoint: Checkpoint, now: Now) {
        let Checkpoint { session, epoch, version, document } = checkpoint;
        let write = Write::Checkpoint { session, epoch, version, document: document.to_json().into() };
        persist.submit(None, vec![write], now);
    }

    /// Subscriptions that the sessions in memory count, of all shards: (state, notices, durable). Equal to what the
    /// shards hold whenever their inboxes are empty.
    pub fn subscriptions(&self) -> (u64, u64, u64) {
        self.sessions.iter().fold((0, 0, 0), |sum, session| {
            session.live.lock().interest.iter().fold(sum, |(state, notices, durable), of| {
                (state + u64::from(of.state), notices + u64::from(of.notices), durable + u64::from(of.durable))
            })
        })
    }

    /// The session's commits up to `number` are durable.
    pub fn committed(&self, session: &Arc<Session>, number: u64, now: Now) {
        self.run(session, now, |live, out| live.core.committed(number, out));
    }

    /// The store took a commit of this session not: it belongs to somebody else, or the id was taken.
    pub fn lost(&self, session: &Arc<Session>, outcome: Outcome) {
        let fault = match outcome {
            Outcome::Disowned => Fault::moved(None),
            // Nobody asked for it to be made, or it was made long ago: it is the one that they meant.
            Outcome::Exists if session.live.lock().core.is_made_or_open() => Fault::moved(None),
            Outcome::Exists => Fault::new(ErrorCode::AlreadyExists, "the id is taken"),
            _ => Fault::new(ErrorCode::NotFound, "the session is not there any more as this server knew it"),
        };
        self.leave(session, &fault);
    }

    /// A session is no longer this server's: whoever waits for its commits, or is subscribed, is told, once.
    pub(super) fn leave(&self, session: &Arc<Session>, fault: &Fault) {
        let frame = Message::from(message::Error {
            session: Some(session.id.as_ref().into()),
            retry_after_ms: fault.retry_after_ms,
            address: fault.address.clone().unwrap_or_default(),
            ..message::Error::new(fault.code, fault.text.as_str())
        });
        let mut live = session.live.lock();
        if std::mem::replace(&mut live.over, true) {
            return;
        }
        self.metrics.sessions_lost.increment();
        tracing::warn!(session = &*session.id, why = fault.text, "a session left this server");
        self.sessions.remove_if(&session.id, |_, found| Arc::ptr_eq(found, session));
        let mut answers = Vec::new();
        live.core.abandon(fault.code, &mut answers);
        self.hand_out(session, &mut live, &mut answers, Now::default());
        let (topic, frame) = (session.state_topic(), frame.to_frame());
        let moved = fault.code == ErrorCode::Moved;
        for (inbox, _) in self.inboxes.iter().zip(&live.interest).filter(|(_, interest)| interest.state > 0) {
            inbox.push(if moved { Item::Moved(topic, frame.clone()) } else { Item::End(topic, frame.clone()) });
        }
    }

    /// What a member is told of a session that was deleted, durably; `None` when it was not, or for a stranger.
    pub fn deleted(&self, session: &Session, who: &Identity) -> Option<message::SessionDeleted> {
        let live = session.live.lock();
        let gone = live.over && live.core.is_deleted() && live.core.meta().role(&who.user).is_some();
        gone.then(|| message::SessionDeleted { session: session.id.as_ref().into() })
    }

    /// Ends every subscription of a session with this frame.
    pub(super) fn end_topic(&self, session: &Session, live: &Live, frame: &Bytes) {
        for (inbox, interest) in self.inboxes.iter().zip(&live.interest) {
            if interest.state > 0 {
                inbox.push(Item::End(session.state_topic(), frame.clone()));
            }
        }
    }

    /// The store failed. What waits for durability never gets it: say so instead of leaving it hanging.
    pub fn poisoned(&self) {
        for session in self.sessions.iter().map(|entry| Arc::clone(entry.value())).collect::<Vec<_>>() {
            self.run(&session, Now::default(), |live, out| live.core.abandon(ErrorCode::StorageFailed, out));
        }
    }
}
