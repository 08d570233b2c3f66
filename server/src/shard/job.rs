//! What a connection waits for that may block: reads of the store, and the encoding of large documents. A job runs off
//! the shard; the connection goes on, in order, when it is done.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, message};

use crate::{
    connection::{Command, Identity},
    defaults::CATCH_UP_BYTES,
    fanout::Form,
    hub::{Fault, Hub, Request, Session, Snapshot},
    session::{ConnId, Now, Op, Preparation, Prepared, change::Change},
};

/// A subscription that goes on with what the store has.
#[derive(Debug)]
pub struct CatchUp {
    /// The session.
    pub session: Arc<Session>,
    /// What was asked.
    pub request: Request,
    /// The last version that was put into the outbox.
    pub after: u64,
    /// The session's epoch.
    pub epoch: u64,
}

/// Something that may block.
#[derive(Debug)]
pub enum Job {
    /// Find the session that a command addresses.
    Load(String, Command),
    /// Make a session.
    Create(message::Create),
    /// Apply a large patch, or look for the op's key.
    Prepare(Arc<Session>, Box<Op>, Box<Preparation>),
    /// Read what a subscription lacks.
    Read(Box<CatchUp>),
    /// Encode a document that a held subscription begins with.
    Reset(Box<Snapshot>),
    /// Encode a document that was asked for once, by the request with this id.
    Document(u64, Box<Snapshot>),
}

/// What came of a [`Job`].
#[derive(Debug)]
pub enum Done {
    /// The session, if there is one, and the command to go on with.
    Loaded(Command, String, Result<Option<Arc<Session>>, Fault>),
    /// The answer is on its way, or this.
    Created(u64, String, Result<(), Fault>),
    /// The update to go on with.
    Prepared(Arc<Session>, Box<Op>, Box<Prepared>),
    /// Frames, in order; none: they are no longer kept.
    Read(Box<CatchUp>, Result<Option<Vec<Bytes>>, Fault>),
    /// What follows, or is, the `Reset`, in the connection's form.
    Reset(Arc<Session>, Vec<Bytes>),
    /// The answer to this request about this session, in the connection's form.
    Document(Arc<Session>, u64, Vec<Bytes>),
}

impl Job {
    /// Does it. Blocks.
    pub fn run(self, hub: &Hub, conn: ConnId, who: &Identity, now: Now) -> Done {
        match self {
            Self::Load(id, command) => {
                let found = hub.load_or_open(&id, who, command.operation(), now);
                Done::Loaded(command, id, found)
            }
            Self::Create(create) => {
                let result = hub.create(conn, who, &create, now);
                Done::Created(create.counter, create.session.to_string(), result)
            }
            Self::Prepare(session, op, preparation) => {
                Done::Prepared(session, op, Box::new(hub.prepare(*preparation, now)))
            }
            Self::Read(mut catch_up) => {
                let result = read(hub, &mut catch_up);
                Done::Read(catch_up, result)
            }
            Self::Reset(snapshot) => {
                let frames = snapshot.encode();
                Done::Reset(snapshot.session, frames)
            }
            Self::Document(id, snapshot) => {
                let mut frames = Vec::new();
                if snapshot.form == Form::Native {
                    frames.push(snapshot.head.to_frame());
                }
                frames.extend(snapshot.encode());
                Done::Document(snapshot.session, id, frames)
            }
        }
    }
}

fn read(hub: &Hub, catch_up: &mut CatchUp) -> Result<Option<Vec<Bytes>>, Fault> {
    let session = &catch_up.session.id;
    let stored = hub
        .engine()
        .deltas(session, catch_up.after, CATCH_UP_BYTES)
        .map_err(|error| Fault::unreadable_session(&error))?;
    let Some(stored) = stored else { return Ok(None) };
    let mut frames = Vec::with_capacity(stored.len());
    for delta in stored {
        let change = Change::from_stored(delta.change).map_err(|malformed| {
            let what = format!("session {session:?}, version {}: {malformed}", delta.version);
            Fault::new(ErrorCode::SessionDamaged, what)
        })?;
        catch_up.after = delta.version;
        frames.push(change.frame());
    }
    Ok(Some(frames))
}
