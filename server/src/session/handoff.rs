//! Another device becomes active. The one that was is fenced in the same moment, in memory; everybody is told, B among
//! them, when storage holds it. Until then A's session is A's: a process that dies before comes back with A active.
//!
//! Under the policy `ask` the active device is asked first, and its word is good for as long as it is active. Who asks,
//! how long it waits and what else a handoff does (codes, tokens) is not known here: `handoff/` does that.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode,
    message::{self, DevicePolicy, Message, TopicKind},
};
use syncbridge_storage as storage;

use super::{Core, DeviceOf, Effect, amend::Untold, defaults::HANDOFF_QUESTIONS, effect::ConnId};

/// Handoffs that the active device was asked about, by id.
#[derive(Debug, Default)]
pub struct Questions(BTreeMap<ByteString, Question>);

#[derive(Debug)]
struct Question {
    /// The `HandoffRequested` that was told.
    frame: Bytes,
    /// Who waits for the answer.
    conn: ConnId,
    /// Who let the session go.
    accepted: Option<DeviceOf>,
}

/// A session that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handoff {
    /// Its id.
    pub id: ByteString,
    /// The device that becomes active.
    pub to: DeviceOf,
    /// An active device whose word is not needed: it asks for this itself, or it is no more.
    pub unasked: Option<DeviceOf>,
}

/// Why a handoff cannot be, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The active device has to be asked; or it was, and another is active since.
    Unasked,
    /// Too many questions wait for an answer.
    Full,
}

impl Core {
    /// The device that has to let the session go before another may have it; `None`: nobody has to be asked.
    pub fn to_be_asked(&self, handoff: &Handoff) -> Option<&DeviceOf> {
        let active = self.meta.active.as_ref().filter(|_| self.meta.devices == DevicePolicy::Ask)?;
        let consented = self.questions.0.get(&handoff.id).and_then(|question| question.accepted.as_ref());
        let free = *active == handoff.to || handoff.unasked.as_ref() == Some(active) || consented == Some(active);
        (!free).then_some(active)
    }

    /// Asks the active device, by a notice to everybody. `conn` gets its `HandoffAnswer`. Asking again takes the place of
    /// the question before.
    ///
    /// # Errors
    /// [`Refusal::Full`].
    pub fn ask_handoff(
        &mut self,
        handoff: &Handoff,
        conn: ConnId,
        expires_ms: u64,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.questions.0.len() >= HANDOFF_QUESTIONS && !self.questions.0.contains_key(&handoff.id) {
            return Err(Refusal::Full);
        }
        let seq = self.presence.next_seq();
        let frame = Message::from(message::HandoffRequested {
            session: self.name.clone(),
            seq,
            handoff: handoff.id.clone(),
            user: (&*handoff.to.user).into(),
            device: (&*handoff.to.device).into(),
            expires_ms,
        })
        .to_frame();
        let question = Question { frame: frame.clone(), conn, accepted: None };
        self.questions.0.insert(handoff.id.clone(), question);
        out.push(Effect::Event { topic: TopicKind::Notice, seq, frame, origin: None, withheld: None });
        Ok(())
    }

    /// A device says whether a handoff may be. The first answer counts.
    ///
    /// # Errors
    /// `not_found` when there is nothing to answer, `not_active` when another device has to.
    pub fn answer_handoff(
        &mut self,
        user: &str,
        device: &str,
        answer: &message::HandoffAnswer,
        out: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        let open = self.questions.0.get_mut(&answer.handoff).filter(|question| question.accepted.is_none());
        let question = open.ok_or(ErrorCode::NotFound)?;
        let active = self.meta.active.as_ref().filter(|active| *active.user == *user && *active.device == *device);
        let active = active.ok_or(ErrorCode::NotActive)?;
        let (conn, frame) = (question.conn, Message::from(answer.clone()).to_frame());
        if answer.accept {
            question.accepted = Some(active.clone());
        } else {
            self.questions.0.remove(&answer.handoff);
        }
        out.push(Effect::Answer { conn, frame });
        Ok(())
    }

    /// Nobody waits for that answer any more.
    pub fn withdraw_handoff(&mut self, handoff: &str) {
        self.questions.0.remove(handoff);
    }

    /// The questions that wait for an answer, as they were told: for who comes while they do.
    pub fn open_questions(&self) -> Vec<Bytes> {
        let open = self.questions.0.values().filter(|question| question.accepted.is_none());
        open.map(|question| question.frame.clone()).collect()
    }

    /// Moves the session, in one commit with `writes`: from here on the policy fences the device that was active. When
    /// that is durable everybody is told, then `conn` gets a `Durable`; when it fails, an `Error`.
    ///
    /// # Errors
    /// [`Refusal::Unasked`]; nothing has happened then.
    pub fn hand_off(
        &mut self,
        handoff: &Handoff,
        writes: Vec<storage::Write>,
        conn: ConnId,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if self.to_be_asked(handoff).is_some() {
            return Err(Refusal::Unasked);
        }
        self.questions.0.remove(&handoff.id);
        let mut meta = self.meta.clone();
        let from = meta.active.replace(handoff.to.clone());
        let notice = Untold::HandoffCompleted {
            handoff: handoff.id.clone(),
            from: from.map(|from| (&*from.device).into()),
            user: (&*handoff.to.user).into(),
            device: (&*handoff.to.device).into(),
        };
        self.amend(meta, writes, vec![notice], conn, out);
        Ok(())
    }
}
