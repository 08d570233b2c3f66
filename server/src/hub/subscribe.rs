//! Subscribing: (document, seq, registration of interest) are taken under one lock, and the subscription's beginning
//! is put into the shard's own inbox there, so that it lies exactly between the events before it and those after.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{
    Message, SNAPSHOT_PART, json,
    message::{self, Position, ResetReason, Transport},
};
use syncbridge_document::Value;

use super::{Fault, Hub, Live, Session};
use crate::{
    auth::access::Operation,
    connection::Identity,
    fanout::Form,
    session::{ConnId, Now, Resume},
    shard::{core::Activation, inbox::Item},
};

/// A subscription that is asked for.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Debug, Clone)]
pub struct Request {
    /// The request's id; `None` for a cursor of `Hello` and when the server resets by itself.
    pub id: Option<u64>,
    /// What the client has.
    pub have: Option<Position>,
    /// Whether notices are wanted.
    pub notices: bool,
    /// Whether they begin with the list of devices.
    pub list: bool,
    /// Whether every `Durable` is wanted.
    pub durable: bool,
    /// What the connection runs over, for the other devices.
    pub transport: Transport,
    /// Whether the others are told; not while all that came may be a replay (QUIC 0-RTT).
    pub present: bool,
    /// Why it is reset, when it has to be whatever `have` says.
    pub reset: Option<ResetReason>,
    /// `Resumed` was said already: this goes on with what the store had.
    pub continued: bool,
    /// The shard counts this connection's interest already.
    pub counted: bool,
}

/// How a subscription begins.
#[derive(Debug)]
pub enum Subscribed {
    /// Its beginning lies in the shard's inbox.
    Live,
    /// So it does, but the connection's events are held until [`Snapshot::encode`] ran (off the shard).
    Held(Box<Snapshot>),
    /// The events after this version have to be read from the store first (off the shard), until the log's first.
    Store {
        /// The last version that the client has.
        after: u64,
        /// The session's version now.
        version: u64,
        /// The session's epoch.
        epoch: u64,
    },
}

/// A large document that has to be encoded off the shard.
#[derive(Debug)]
pub struct Snapshot {
    /// The session.
    pub session: Arc<Session>,
    /// Where the document stands.
    pub at: Position,
    /// The document.
    pub document: Value,
    /// The `Reset` or `Document` that it belongs to.
    pub head: Message,
    /// What the connection reads.
    pub form: Form,
}

impl Snapshot {
    /// In native form `SnapshotBegin`, `SnapshotPart`…, `SnapshotEnd`, which follow the head; in JSON the head, whole. Takes
    /// milliseconds for megabytes.
    pub fn encode(&self) -> Vec<Bytes> {
        let text = Bytes::from(self.document.to_json());
        if self.form == Form::Json {
            let mut head = self.head.clone();
            match &mut head {
                Message::Reset(reset) => reset.state = Some(text),
                Message::Document(document) => document.state = Some(text),
                _ => {}
            }
            return vec![json::encode(&head, &[])];
        }
        let session = bytestring::ByteString::from(self.session.id.as_ref());
        let begin = message::SnapshotBegin { session: session.clone(), at: self.at.clone(), size: text.len() as u64 };
        let mut frames = vec![Message::from(begin).to_frame()];
        let mut offset = 0;
        while offset < text.len() {
            let bytes = text.slice(offset..(offset + SNAPSHOT_PART).min(text.len()));
            let part = message::SnapshotPart { session: session.clone(), offset: offset as u64, bytes };
            offset += part.bytes.len();
            frames.push(Message::from(part).to_frame());
        }
        let end = message::SnapshotEnd { session, checksum: crc32c::crc32c(&text) };
        frames.push(Message::from(end).to_frame());
        frames
    }
}

impl Hub {
    /// Subscribes a connection, or moves its subscription.
    ///
    /// # Errors
    /// [`Fault`] when the asker may not.
    pub fn subscribe(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        request: &Request,
        now: Now,
    ) -> Result<Subscribed, Fault> {
        self.run(session, now, |live, out| {
            Self::check(who, Operation::Subscribe, session, live)?;
            let resume = match request.reset {
                Some(reason) => Resume::Reset { reason, last_kept: None },
                None => live.core.resume(request.have.as_ref()),
            };
            let at = live.core.position();
            let mut prelude = Vec::new();
            let mut held = None;
            match resume {
                Resume::Store { after, .. } => {
                    return Ok(Subscribed::Store { after, version: at.version, epoch: at.epoch });
                }
                Resume::Live { after, frames } => {
                    if !request.continued {
                        prelude.push(resumed(session, request.id, after, &at));
                    }
                    prelude.extend(frames);
                }
                Resume::Reset { reason, last_kept } => {
                    if let Some(metrics) = self.metrics.shards.get(crate::shard::shard_of(conn)) {
                        metrics.resets.of(reason).increment();
                    }
                    let form = if request.transport == Transport::Json { Form::Json } else { Form::Native };
                    let reset = Message::from(message::Reset {
                        id: request.id,
                        session: session.id.as_ref().into(),
                        reason,
                        at: at.clone(),
                        last_kept,
                        state: text(session, live),
                    });
                    let whole = matches!(&reset, Message::Reset(reset) if reset.state.is_some());
                    // In JSON one too large for here comes whole, once it is encoded.
                    if whole || form == Form::Native {
                        prelude.push(reset.to_frame());
                    }
                    if !whole {
                        let (session, document) = (Arc::clone(session), live.core.document().clone());
                        held = Some(Snapshot { session, at, document, head: reset, form });
                    }
                }
            }
            // The join is told before the subscription begins: the newcomer reads itself in the list, not as news.
            if request.present {
                live.core.attach(conn, &who.user, &who.device, request.transport, now, out);
                self.arm(session, live, now, out);
            }
            self.hand_out(session, live, out, now);
            let notices = request.notices.then(|| {
                let list = request.list.then(|| Message::from(live.core.presence()).to_frame());
                list.into_iter().chain(live.core.open_questions()).collect()
            });
            let shard = crate::shard::shard_of(conn);
            if !request.counted {
                let interest = &mut live.interest[shard];
                interest.state += 1;
                interest.notices += u32::from(request.notices);
                interest.durable += u32::from(request.durable);
            }
            self.inboxes[shard].push(Item::Activate(Box::new(Activation {
                conn,
                session: Arc::clone(session),
                prelude,
                notices,
                held: held.is_some(),
                durable: request.durable,
            })));
            Ok(held.map_or(Subscribed::Live, |snapshot| Subscribed::Held(Box::new(snapshot))))
        })
    }

    /// A connection's subscription is over: it was removed from the shard's rings. `gone`: so is the connection, and what
    /// is withheld for it is dropped.
    pub fn unsubscribe(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        notices: bool,
        durable: bool,
        gone: bool,
        now: Now,
    ) {
        self.run(session, now, |live, out| {
            let interest = &mut live.interest[crate::shard::shard_of(conn)];
            interest.state -= 1;
            interest.notices -= u32::from(notices);
            interest.durable -= u32::from(durable);
            if gone {
                live.core.forget(conn, now);
            } else {
                live.core.detach(conn, now);
            }
            self.arm(session, live, now, out);
        });
    }

    /// A subscribed connection is there, now that it is known to be no replay.
    pub fn attach(&self, session: &Arc<Session>, conn: ConnId, who: &Identity, transport: Transport, now: Now) {
        self.run(session, now, |live, out| {
            live.core.attach(conn, &who.user, &who.device, transport, now, out);
            self.arm(session, live, now, out);
        });
    }

    /// Where a session stands.
    pub fn position(&self, session: &Session) -> Position {
        session.live.lock().core.position()
    }

    /// A subscribed connection was heard of.
    pub fn touch(&self, session: &Arc<Session>, conn: ConnId, now: Now) {
        session.live.lock().core.touch(conn, now);
    }
}

/// `Resumed`, as the connection is told once.
pub(super) fn resumed(session: &Session, id: Option<u64>, after: u64, at: &Position) -> Bytes {
    let resumed =
        message::Resumed { id, session: session.id.as_ref().into(), epoch: at.epoch, after, version: at.version };
    Message::from(resumed).to_frame()
}

/// The document as text when it is small enough to be sent in one piece; encoded once per version.
fn text(session: &Session, live: &mut Live) -> Option<Bytes> {
    if live.core.document().json_size() > SNAPSHOT_PART {
        return None;
    }
    Some(super::view::small(session, live).text())
}
