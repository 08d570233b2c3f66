//! What the core tells: the application ([`Event`]), the owner of the link ([`LinkCommand`]), and why a connection was
//! ended ([`Disconnect`]). Never holds state of its own.

use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode, ProtocolError, handshake,
    message::{Attached, Origin, Position, ResetReason, Role},
};
use syncbridge_document::{Patch, Value};

use super::{Failure, Response, Tokens};
use crate::error::{Refusal, ServerError};

/// Something that the application should know. Take all of them after each call of a `handle_*` method.
#[derive(Debug, Clone)]
pub enum Event {
    /// `Welcome` came: this connection works.
    Connected {
        /// The connection's id, as in the server's log.
        connection: u64,
        /// The user that the token named.
        user: ByteString,
        /// The device that the connection speaks for.
        device: ByteString,
    },
    /// The connection is gone; another attempt follows by itself.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// When the next attempt is made, on the clock that is passed to the core.
        retry_at: u64,
    },
    /// No further attempt is made: the server does not take this client (its token, its version) or another connection
    /// took its place. `Core::restart` tries again.
    Stopped {
        /// What the server said.
        error: ServerError,
    },
    /// The tokens are these from here on: somebody signed in, or they were renewed. Whoever keeps tokens keeps the newest.
    SignedIn {
        /// The tokens.
        tokens: Box<Tokens>,
    },
    /// Nobody is signed in, and nothing connects before somebody is.
    SignedOut {
        /// Why, when it was not asked for.
        error: Option<ServerError>,
    },
    /// The answer to `Core::request`.
    Answered {
        /// The request.
        request: u64,
        /// The answer.
        answer: Result<Response, Failure>,
    },
    /// The server is going down; the client goes on elsewhere by itself.
    Draining {
        /// When this client reconnects.
        reconnect_at: u64,
    },
    /// The server reported something that belongs to no request.
    Warning {
        /// What it said.
        error: ServerError,
    },
    /// Something happened in a session.
    Session {
        /// The session's id.
        session: ByteString,
        /// What.
        event: SessionEvent,
    },
    /// The answer to `Core::get`.
    Document {
        /// The request.
        request: u64,
        /// The session's id.
        session: ByteString,
        /// Where the document stands.
        at: Position,
        /// The document.
        document: Value,
        /// The active device, if there is one.
        active_device: Option<ByteString>,
    },
    /// `Core::get` failed.
    GetFailed {
        /// The request.
        request: u64,
        /// What the server said.
        error: ServerError,
    },
}

/// Something that happened in one session, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum SessionEvent {
    /// The server's state was replaced by a snapshot.
    Reset {
        /// Why.
        reason: ResetReason,
        /// Where the snapshot stands.
        at: Position,
        /// With `Lost`: the last version that the server kept. Own updates above it are sent again by themselves.
        last_kept: Option<u64>,
    },
    /// The subscription goes on where it was after a lost connection; what was missed follows.
    Resumed {
        /// The place.
        at: Position,
        /// The session's version at that moment.
        version: u64,
    },
    /// One change of the server's state.
    Changed {
        /// The version that it made.
        at: Position,
        /// What changed.
        patch: Patch,
        /// The device that made it.
        device: ByteString,
        /// The op that made it.
        origin: Origin,
        /// Whether this client made it.
        own: bool,
        /// When, in milliseconds since 1970; for display only; 0 when it is not known.
        time_ms: u64,
    },
    /// The session was made.
    Created {
        /// The op.
        counter: u64,
        /// Where it stands.
        at: Position,
    },
    /// An own update was applied. Comes again, with another place, when the server lost it in a crash and it was sent
    /// and applied once more.
    Accepted {
        /// The op.
        counter: u64,
        /// The version that it made.
        at: Position,
    },
    /// An own update is on the server's disk.
    Durable {
        /// The op.
        counter: u64,
        /// The version that it made.
        at: Position,
    },
    /// An own update has no effect; the optimistic document no longer contains it. Refused with `not_active`, it and all
    /// that built on it are kept as unsent.
    Refused {
        /// The op.
        counter: u64,
        /// Its operations, so that the application can keep or change them.
        patch: Option<Patch>,
        /// Why.
        refusal: Refusal,
    },
    /// Everything of the session up to here is on the server's disk.
    DurableUpTo {
        /// The place.
        at: Position,
    },
    /// Who is attached, whole.
    Presence {
        /// The devices.
        devices: Vec<Attached>,
        /// The active one, if there is one.
        active_device: Option<ByteString>,
    },
    /// A device attached.
    DeviceJoined(Attached),
    /// A device is gone and did not come back within the grace period.
    DeviceLeft {
        /// The device.
        device: ByteString,
        /// Its user.
        user: ByteString,
    },
    /// A device wants the session, and the active one is to say whether it may: `Core::answer_handoff`.
    HandoffRequested {
        /// Names the handoff in the answer.
        handoff: ByteString,
        /// The user whose device wants it.
        user: ByteString,
        /// The device that wants it.
        device: ByteString,
        /// Without an answer by then (milliseconds since 1970) it is refused.
        expires_ms: u64,
    },
    /// Another device is the active one.
    HandoffCompleted {
        /// The handoff.
        handoff: ByteString,
        /// The device that was active, if there was one.
        from: Option<ByteString>,
        /// The user of the one that is.
        user: ByteString,
        /// The one that is.
        device: ByteString,
    },
    /// Somebody's role changed. When it was one's own and nothing is left of it, `Ended` follows.
    AccessChanged {
        /// The user.
        user: ByteString,
        /// What they may now; `None`: nothing.
        role: Option<Role>,
    },
    /// The session was deleted; `Ended` follows.
    Deleted,
    /// Notices were dropped because this client was too slow; `Presence` follows.
    NoticesLagged,
    /// The subscription is over: the server refused it or took it back. What was not answered is refused.
    Ended {
        /// What the server said.
        error: ServerError,
    },
}

/// What the owner of the link has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkCommand {
    /// Connect; then call `handle_connected`, or `handle_disconnected` when that fails.
    Connect {
        /// HOST:PORT that a draining server named; `None`: the configured one.
        address: Option<ByteString>,
    },
    /// Send `last` if that is possible at once, then end the link. No `handle_disconnected` is needed.
    Disconnect {
        /// The number to end the link with (QUIC application error code; 4000 + it on WebSocket).
        code: u32,
        /// For people.
        text: ByteString,
        /// The frame `Close`.
        last: bytes::Bytes,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    /// The link could not be made or broke.
    #[error("the link broke: {0}")]
    Link(ByteString),
    /// The link stands and nothing comes.
    #[error("no sign of life from the server")]
    Silent,
    /// The server ended it.
    #[error("the server ended the connection: {0}")]
    Server(ServerError),
    /// The next connection begins with signing in.
    #[error("signing in")]
    SigningIn,
    /// The server drains, and its window has come.
    #[error("the server is going down")]
    Draining,
    /// Another server has what this client wants, and it goes there.
    #[error("going to another server: {0}")]
    Moved(ServerError),
    /// The server broke the protocol.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// How the server broke the protocol. The client reconnects and asks for the session anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A frame or a message is broken.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// `Welcome` came where it may not, or holds what it may not.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    /// A version was skipped.
    #[error("session {session}: version {expected} should have come, {got} came")]
    Gap {
        /// The session.
        session: ByteString,
        /// The version after the client's.
        expected: u64,
        /// The version that came.
        got: u64,
    },
    /// A version came twice.
    #[error("session {session}: version {got} came after {have}")]
    Duplicate {
        /// The session.
        session: ByteString,
        /// The client's version.
        have: u64,
        /// The version that came.
        got: u64,
    },
    /// A change does not fit the client's copy of the document.
    #[error("session {session}: version {version} does not apply: {text}")]
    Diverged {
        /// The session.
        session: ByteString,
        /// The version.
        version: u64,
        /// Why.
        text: String,
    },
    /// A snapshot in parts is broken.
    #[error("{0}")]
    Snapshot(&'static str),
    /// A request was not answered.
    #[error("session {session}: no answer to a subscription")]
    Unanswered {
        /// The session.
        session: ByteString,
    },
}

impl Fault {
    /// The code that the server is told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Protocol(error) => error.code(),
            Self::Handshake(error) => error.code(),
            Self::Gap { .. } | Self::Duplicate { .. } => ErrorCode::UnexpectedMessage,
            Self::Diverged { .. } | Self::Snapshot(_) => ErrorCode::MalformedMessage,
            Self::Unanswered { .. } => ErrorCode::TimedOut,
        }
    }
}
