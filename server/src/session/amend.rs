//! What changes about a session besides its document: members, policies, the active device, its end. In force at once;
//! told, to whoever asked and to everybody else, only when storage holds it.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::message::{self, Message, TopicKind};
use syncbridge_storage as storage;

use super::{
    Core, Effect, Meta,
    acks::{Gets, Waiting},
    effect::ConnId,
};

/// A notice that is told once a commit is durable; its place among the notices is that of the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untold {
    /// Another device is active.
    HandoffCompleted {
        /// The handoff's id.
        handoff: ByteString,
        /// The device that was active.
        from: Option<ByteString>,
        /// The user of the one that is.
        user: ByteString,
        /// The one that is.
        device: ByteString,
    },
    /// Somebody's role changed.
    AccessChanged {
        /// The user.
        user: ByteString,
        /// What they may now.
        role: Option<message::Role>,
    },
}

impl Core {
    /// Replaces what the session is besides its document, in one commit with `writes`. When that is durable the notices
    /// are told, then `conn` gets a `Durable`; when it fails, an `Error`.
    pub fn amend(
        &mut self,
        meta: Meta,
        writes: Vec<storage::Write>,
        notices: Vec<Untold>,
        conn: ConnId,
        out: &mut Vec<Effect>,
    ) {
        let (session, epoch) = (self.id.clone(), self.epochs.current());
        let mut all = vec![storage::Write::Meta { session, epoch, meta: meta.encode() }];
        all.extend(writes);
        self.meta = meta;
        self.revision += 1;
        let commit = self.acks.submit(self.version, 0);
        out.push(Effect::Commit { number: commit, writes: all });
        for notice in notices {
            self.acks.wait(commit, Waiting { conn, counter: 0, gets: Gets::Notice(Box::new(notice)) });
        }
        self.acks.wait(commit, Waiting { conn, counter: 0, gets: Gets::Durable });
    }

    /// Deletes the session, in one commit with `writes`. From now on nobody finds it; when that is durable all
    /// subscribers are told ([`Effect::Deleted`]), then `conn` gets a `Durable`.
    pub fn delete(&mut self, writes: Vec<storage::Write>, conn: ConnId, out: &mut Vec<Effect>) {
        let (session, epoch) = (self.id.clone(), self.epochs.current());
        let mut all = vec![storage::Write::DeleteSession { session, epoch }];
        all.extend(writes);
        self.deleted = true;
        let commit = self.acks.submit(self.version, 0);
        out.push(Effect::Commit { number: commit, writes: all });
        self.acks.wait(commit, Waiting { conn, counter: 0, gets: Gets::Deleted });
        self.acks.wait(commit, Waiting { conn, counter: 0, gets: Gets::Durable });
    }

    /// Whether it was deleted, durably or about to be.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The last frame that a subscriber gets of a session that was deleted.
    pub(super) fn deleted_frame(&self) -> Bytes {
        Message::from(message::SessionDeleted { session: self.name.clone() }).to_frame()
    }

    /// Tells a notice, at the next place. Somebody who is no member any more gets it as the last of the session.
    pub(super) fn tell(&mut self, notice: Untold, out: &mut Vec<Effect>) {
        let (session, seq) = (self.name.clone(), self.presence.next_seq());
        let removed = match &notice {
            Untold::AccessChanged { user, role: None } => Some(Arc::from(&**user)),
            _ => None,
        };
        let message: Message = match notice {
            Untold::HandoffCompleted { handoff, from, user, device } => {
                message::HandoffCompleted { session, seq, handoff, from, user, device }.into()
            }
            Untold::AccessChanged { user, role } => message::AccessChanged { session, seq, user, role }.into(),
        };
        let frame = message.to_frame();
        if let Some(user) = &removed {
            out.push(Effect::Removed { user: Arc::clone(user), last: frame.clone() });
        }
        out.push(Effect::Event { topic: TopicKind::Notice, seq, frame, origin: None, withheld: None });
        // Whoever is let in no more does not come back within the grace period either.
        let left = removed.map(|user| self.presence.expel(&self.name, &user)).unwrap_or_default();
        out.extend(left.into_iter().map(super::tell));
    }
}
