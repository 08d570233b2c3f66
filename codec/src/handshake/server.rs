//! The server's end: what may come before `Hello`, and what a `Hello` may hold. Who may come in is not decided here.

use std::collections::HashSet;

use bytestring::ByteString;

use super::{CAPABILITIES, Error, Limits, MAX_AGENT, MAX_RESUME, MAX_TOKEN};
use crate::{
    PROTOCOL_VERSION,
    error::ProtocolError,
    id,
    message::{self, Close, Cursor, Direction, Hello, Message, Pong, Scope, ScopeKind, Welcome},
};

/// Waits for one `Hello`.
#[derive(Debug, Default)]
pub struct Server {
    said_hello: bool,
}

/// What the server does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and go on waiting.
    Reply(Pong),
    /// Answer this by REST's routes, for nobody in particular, and go on waiting.
    Ask(message::Request),
    /// Decide: answer with [`Request::welcome`], or with a `Refused` and the end of the connection.
    Decide(Box<Request>),
    /// The client left before it said `Hello`.
    Closed(Close),
}

/// A `Hello` whose fields are in bounds: what the server has to decide on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The version that both speak.
    pub version: u32,
    /// The capabilities that both have.
    pub capabilities: u64,
    /// The access token, at most [`MAX_TOKEN`] bytes; may be empty.
    pub token: ByteString,
    /// The device that the client says it is; a token's own device beats it.
    pub device: ByteString,
    /// The client's incarnation.
    pub incarnation: u128,
    /// What the connection is for.
    pub scope: Scope,
    /// Topics to go on with: at most [`MAX_RESUME`], each once.
    pub resume: Vec<Cursor>,
    /// Whether resumed sessions bring notices.
    pub resume_notices: bool,
    /// Whether resumed sessions bring cumulative `Durable`.
    pub resume_durable: bool,
    /// Name and version of the client, one line, for people; may be empty.
    pub agent: ByteString,
}

/// What the server adds to a request that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The connection's id.
    pub connection: u64,
    /// The server's epoch.
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub server_time_ms: u64,
    /// The user that the token named.
    pub user: ByteString,
    /// The device that the connection speaks for.
    pub device: ByteString,
    /// What both keep to.
    pub limits: Limits,
}

impl Server {
    /// Waits for a `Hello`.
    pub const fn new() -> Self {
        Self { said_hello: false }
    }

    /// Whether `Hello` has come: from then on messages are the connection's, not the handshake's.
    pub const fn is_done(&self) -> bool {
        self.said_hello
    }

    /// Takes the next message of the control stream (of the WebSocket).
    ///
    /// # Errors
    /// [`Error`] for what may not come before `Hello`, for a second `Hello`, and for fields out of bounds: answer with
    /// [`Error::refused`] and end the connection.
    pub fn receive(&mut self, message: Message) -> Result<Step, Error> {
        message.expect_from(Direction::ToServer)?;
        let name = message.name();
        match message {
            Message::Ping(ping) => Ok(Step::Reply(Pong { nonce: ping.nonce })),
            Message::Request(request) => Ok(Step::Ask(request)),
            Message::Close(close) => Ok(Step::Closed(close)),
            Message::Hello(hello) if !self.said_hello => {
                self.said_hello = true;
                check(hello, false).map(|request| Step::Decide(Box::new(request)))
            }
            Message::Hello(_) => Err(ProtocolError::UnexpectedMessage { name, when: "twice" }.into()),
            _ => Err(ProtocolError::UnexpectedMessage { name, when: "before Hello" }.into()),
        }
    }
}

impl Request {
    /// What `auth` of the flat JSON form asks: a [`Hello`], which need not name a device there.
    ///
    /// # Errors
    /// [`Error`] for fields out of bounds.
    pub fn json(hello: Hello) -> Result<Self, Error> {
        check(hello, true)
    }

    /// The answer of a server that takes the request.
    pub fn welcome(&self, grant: Grant) -> Welcome {
        Welcome {
            version: self.version,
            capabilities: self.capabilities,
            connection: grant.connection,
            epoch: grant.epoch,
            server_time_ms: grant.server_time_ms,
            user: grant.user,
            max_client_frame: grant.limits.max_client_frame as u64,
            max_server_frame: grant.limits.max_server_frame as u64,
            max_document: grant.limits.max_document,
            max_subscriptions: grant.limits.max_subscriptions,
            heartbeat_ms: grant.limits.heartbeat_ms,
            device: grant.device,
        }
    }
}

fn check(hello: Hello, device_optional: bool) -> Result<Request, Error> {
    if !(hello.min_version..=hello.max_version).contains(&PROTOCOL_VERSION) {
        return Err(ProtocolError::UnsupportedVersion { min: hello.min_version, max: hello.max_version }.into());
    }
    require(hello.token.len() <= MAX_TOKEN, "token", "at most 4,096 bytes")?;
    let nameless = device_optional && hello.device.is_empty();
    require(nameless || id::is_device(&hello.device), "device", "1 to 128 bytes without control characters")?;
    require(
        hello.agent.len() <= MAX_AGENT && id::is_plain(&hello.agent),
        "agent",
        "at most 256 bytes without control characters",
    )?;
    match hello.scope.kind {
        ScopeKind::User => require(hello.scope.id.is_empty(), "scope.id", "empty for the scope of a user")?,
        ScopeKind::Session => session(&hello.scope.id, "scope.id")?,
        ScopeKind::Machine => {
            require(id::is_machine(&hello.scope.id), "scope.id", "1 to 128 bytes without control characters")?;
        }
    }
    if hello.resume.len() > MAX_RESUME {
        return Err(Error::TooManyCursors { count: hello.resume.len() });
    }
    let mut topics = HashSet::with_capacity(hello.resume.len());
    for cursor in &hello.resume {
        session(&cursor.topic, "resume.topic")?;
        require(topics.insert((cursor.kind, &cursor.topic)), "resume", "each topic once")?;
    }
    Ok(Request {
        version: PROTOCOL_VERSION,
        capabilities: hello.capabilities & CAPABILITIES,
        token: hello.token,
        device: hello.device,
        incarnation: hello.incarnation,
        scope: hello.scope,
        resume: hello.resume,
        resume_notices: hello.resume_notices,
        resume_durable: hello.resume_durable,
        agent: hello.agent,
    })
}

const fn require(holds: bool, field: &'static str, rule: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::InvalidField { field, rule }) }
}

fn session(id: &str, field: &'static str) -> Result<(), Error> {
    if id::is_session(id) { Ok(()) } else { Err(Error::InvalidSessionId { field }) }
}
