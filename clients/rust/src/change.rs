//! The stream of what happens in a session. Bounded: a reader that is too slow is told so and goes on with the newest;
//! the document itself is always current, whoever reads.

use syncbridge_codec::message::{Attached, Position, ResetReason, Role};
use syncbridge_document::{Patch, Value};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::error::{Refusal, ServerError};

/// Something that happened in a session.
#[derive(Debug, Clone)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// Where the session stands with it.
    pub at: Position,
    /// The optimistic document, as new as it was when this was told: it may be ahead of this change, never behind it.
    pub document: Option<Value>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// The server's state went one version on.
    Delta {
        /// How.
        patch: Patch,
        /// The device that did it; empty when this client did and the server only said so.
        device: String,
        /// Whether this client did it.
        own: bool,
        /// When, in milliseconds since 1970; for display only; 0 when it is not known.
        time_ms: u64,
    },
    /// The server's state was replaced.
    Reset {
        /// Why.
        reason: ResetReason,
        /// With `Lost`: the last version that the server kept.
        last_kept: Option<u64>,
    },
    /// The subscription goes on after a lost connection; what was missed follows, up to this version.
    Resumed {
        /// The session's version.
        version: u64,
    },
    /// The session was made.
    Created,
    /// An own update was applied.
    Accepted {
        /// Its counter.
        op: u64,
    },
    /// An own update is on the server's disk.
    Durable {
        /// Its counter.
        op: u64,
    },
    /// An own update has no effect and is no longer in the document. Refused with `not_active`, it and all that built on
    /// it are kept: `SessionHandle::unsent`.
    Refused {
        /// Its counter.
        op: u64,
        /// Its operations.
        patch: Option<Patch>,
        /// Why.
        refusal: Refusal,
    },
    /// Everything up to `at` is on the server's disk.
    DurableUpTo,
    /// Who is attached, whole.
    Presence {
        /// The devices.
        devices: Vec<Attached>,
        /// The active one.
        active_device: Option<String>,
    },
    /// A device attached.
    DeviceJoined(Attached),
    /// A device is gone.
    DeviceLeft {
        /// The device.
        device: String,
        /// Its user.
        user: String,
    },
    /// A device wants the session, and the active one is to say whether it may: `Client::answer_handoff`.
    HandoffRequested {
        /// Names the handoff in the answer.
        handoff: String,
        /// The user whose device wants it.
        user: String,
        /// The device that wants it.
        device: String,
        /// Without an answer by then (milliseconds since 1970) it is refused.
        expires_ms: u64,
    },
    /// Another device is the active one.
    HandoffCompleted {
        /// The handoff.
        handoff: String,
        /// The device that was active, if there was one.
        from: Option<String>,
        /// The user of the one that is.
        user: String,
        /// The one that is.
        device: String,
    },
    /// Somebody's role changed.
    AccessChanged {
        /// The user.
        user: String,
        /// What they may now; `None`: nothing.
        role: Option<Role>,
    },
    /// The session was deleted; `Ended` follows.
    Deleted,
    /// The subscription is over.
    Ended {
        /// What the server said.
        error: ServerError,
    },
    /// This reader was too slow and missed so many changes. The document of the next one contains them.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What happens in a session from the moment of `SessionHandle::changes` on.
#[derive(Debug)]
pub struct Changes {
    pub(crate) receiver: Receiver<Change>,
}

impl Changes {
    /// The next change; `None` when the session was left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        match self.receiver.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(missed)) => {
                let (at, document) = (Position::default(), None);
                Some(Change { kind: ChangeKind::Lagged { missed }, at, document })
            }
            Err(RecvError::Closed) => None,
        }
    }
}
