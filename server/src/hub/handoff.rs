//! Handoffs of sessions in memory: the active device is asked, answers, and another device becomes active. What lets
//! somebody hand off at all (codes, tokens) is `handoff/`'s.

use std::sync::Arc;

use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Position},
};
use syncbridge_document::Value;
use syncbridge_storage::Write;

use super::{Call, Fault, Hub, Session, ownership::Found};
use crate::{
    auth::access::Operation,
    connection::Identity,
    session::{
        DeviceOf, Meta, Now,
        handoff::{Handoff, Refusal},
    },
};

/// What an offer of a handoff is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Which session of that id.
    pub born: u128,
    /// Which membership of who offers it; 0: none, the session is open to everybody.
    pub since: u64,
}

/// A question to the active device of a session. Resolves to whether the session may go. Dropping it withdraws it.
pub struct Question {
    hub: Arc<Hub>,
    session: Arc<Session>,
    handoff: ByteString,
    answer: Call,
}

impl Hub {
    /// A session that exists. Blocks when it is not in memory.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub fn existing(&self, id: &str, now: Now) -> Result<Option<Arc<Session>>, Fault> {
        if let Some(session) = self.find(id) {
            return Ok(Some(session));
        }
        let _stripe = self.stripe(id);
        match self.load_in_stripe(id, now)? {
            Found::Here(session) => Ok(Some(session)),
            Found::Elsewhere(address) => Err(Fault::moved(Some(address))),
            Found::Nowhere => Ok(None),
        }
    }

    /// The active device, for somebody who wants to take its place.
    ///
    /// # Errors
    /// [`Fault`] when they may not.
    pub fn active_device(&self, session: &Arc<Session>, who: &Identity) -> Result<Option<DeviceOf>, Fault> {
        let live = session.live.lock();
        Self::check(who, Operation::TakeHandoff, session, &live)?;
        Ok(live.core.meta().active.clone())
    }

    /// What an offer of `who`'s is bound to.
    ///
    /// # Errors
    /// [`Fault`] when they may not offer it, or nothing new is accepted.
    pub fn offer_handoff(&self, session: &Arc<Session>, who: &Identity, now: Now) -> Result<Bound, Fault> {
        self.accepting(now)?;
        let live = session.live.lock();
        Self::check(who, Operation::OfferHandoff, session, &live)?;
        let meta = live.core.meta();
        let since = meta.members.get(&who.user).map_or(0, |member| member.since);
        Ok(Bound { born: meta.born, since })
    }

    /// The device that has to let the session go before this handoff may be, if there is one, and whether one of its
    /// connections is there.
    ///
    /// # Errors
    /// [`Fault`]: who takes it over may not.
    pub fn to_be_asked(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        handoff: &Handoff,
    ) -> Result<Option<(DeviceOf, bool)>, Fault> {
        let live = session.live.lock();
        Self::check(who, Operation::TakeHandoff, session, &live)?;
        let active = live.core.to_be_asked(handoff).cloned();
        Ok(active.map(|active| {
            let there = live.core.is_attached(&active);
            (active, there)
        }))
    }

    /// Asks the active device.
    ///
    /// # Errors
    /// [`Fault`]: who takes it over may not, or too many ask already.
    pub fn ask_handoff(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        handoff: &Handoff,
        expires_ms: u64,
        now: Now,
    ) -> Result<Question, Fault> {
        let answer = self.calls().begin();
        self.run(session, now, |live, out| {
            Self::check(who, Operation::TakeHandoff, session, live)?;
            live.core
                .ask_handoff(handoff, answer.conn, expires_ms, out)
                .map_err(|_| Fault::new(ErrorCode::LimitReached, "too many devices want this session at a time"))
        })?;
        self.asked.insert(handoff.id.clone(), Arc::clone(session));
        Ok(Question { hub: Arc::clone(self), session: Arc::clone(session), handoff: handoff.id.clone(), answer })
    }

    /// A device says whether a handoff may be. What comes of it is told by `HandoffCompleted`.
    ///
    /// # Errors
    /// [`Fault`]: there is nothing to answer, or nothing that this device may answer.
    pub fn answer_handoff(&self, who: &Identity, answer: &message::HandoffAnswer, now: Now) -> Result<(), Fault> {
        let nothing = || Fault::new(ErrorCode::NotFound, "there is no such handoff that waits for an answer of yours");
        let session = self.asked.get(&answer.handoff).map(|session| Arc::clone(&session)).ok_or_else(nothing)?;
        if who.session.as_ref().is_some_and(|only| **only != *session.id) {
            return Err(nothing());
        }
        self.run(&session, now, |live, out| {
            Self::check(who, Operation::AnswerHandoff, &session, live).map_err(|fault| match fault.code {
                // The words of every other unknown handoff: a stranger learns nothing.
                ErrorCode::NotFound => nothing(),
                _ => fault,
            })?;
            live.core.answer_handoff(&who.user, &who.device, answer, out).map_err(|code| match code {
                ErrorCode::NotActive => Fault::new(code, "only the active device may answer"),
                _ => nothing(),
            })
        })
    }

    /// Makes another device active, in one commit with what `check` gives. Resolves when that is durable and everybody was
    /// told, to where the session stood in the moment in which it moved. `None`: the active device has to be asked first.
    ///
    /// # Errors
    /// [`Fault`]: who takes it over may not, or what `check` says; then nothing has changed.
    pub async fn hand_off(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        handoff: &Handoff,
        now: Now,
        check: impl FnOnce(&Meta) -> Result<Vec<Write>, Fault>,
    ) -> Result<Option<(Position, Value)>, Fault> {
        self.accepting(now)?;
        let call = self.calls().begin();
        let moved = self.run(session, now, |live, out| {
            Self::check(who, Operation::TakeHandoff, session, live)?;
            if live.core.to_be_asked(handoff).is_some() {
                return Ok(Err(Refusal::Unasked));
            }
            let writes = check(live.core.meta())?;
            let there = (live.core.position(), live.core.document().clone());
            Ok(live.core.hand_off(handoff, writes, call.conn, out).map(|()| there))
        })?;
        match moved {
            Ok(there) => call.await.map(|_| Some(there)),
            Err(_) => Ok(None),
        }
    }
}

impl Question {
    /// Whether the session may go.
    ///
    /// # Errors
    /// [`Fault`] when the session left this server.
    pub async fn answer(&mut self) -> Result<bool, Fault> {
        match (&mut self.answer).await? {
            Message::HandoffAnswer(answer) => Ok(answer.accept),
            other => {
                tracing::error!(message = other.name(), "a handoff's question was answered with something else");
                Err(Fault::new(ErrorCode::Internal, "the question was answered with something else"))
            }
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.hub.asked.remove(&self.handoff);
        self.session.live.lock().core.withdraw_handoff(&self.handoff);
    }
}
