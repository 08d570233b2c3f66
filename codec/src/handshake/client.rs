//! The client's end: makes the `Hello` and understands what a server may answer. When to give up and when to come back
//! is the client's own business.

use bytestring::ByteString;

use super::{CAPABILITIES, Error, Limits};
use crate::{
    PROTOCOL_VERSION,
    error::ProtocolError,
    message::{Close, Cursor, Direction, Hello, Message, Pong, Refused, Scope, Welcome},
};

/// Smallest `max_client_frame` that a client can work with: a `Hello` with the longest token and ids fits.
const MIN_CLIENT_FRAME: usize = 16 << 10;

/// Waits for the answer to one `Hello`.
#[derive(Debug, Default)]
pub struct Client {
    answered: bool,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The connection stands.
    Welcome(Box<Established>),
    /// The server does not take it; the connection ends. [`Refused::retryable`] says whether trying again can help.
    Refused(Refused),
    /// Send this, and go on waiting.
    Reply(Pong),
    /// An earlier `Ping`'s answer; go on waiting.
    Pong(Pong),
    /// The server leaves without an answer.
    Closed(Close),
}

/// A connection that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The version that both speak.
    pub version: u32,
    /// The capabilities that both have.
    pub capabilities: u64,
    /// The connection's id, as logs and metrics of the server name it.
    pub connection: u64,
    /// The server's epoch.
    pub epoch: u64,
    /// Milliseconds since 1970; for display only.
    pub server_time_ms: u64,
    /// The user that the token named.
    pub user: ByteString,
    /// The device that the connection speaks for: the token's, else the one of `Hello`.
    pub device: ByteString,
    /// What both keep to. The decoder's cap is from here on `max_server_frame`, or what the client can afford.
    pub limits: Limits,
}

impl Client {
    /// Waits for the answer to a `Hello` made by [`Client::hello`].
    pub const fn new() -> Self {
        Self { answered: false }
    }

    /// A `Hello` with this crate's version and capabilities; the appended fields are the caller's to set.
    pub fn hello(token: ByteString, device: ByteString, incarnation: u128, scope: Scope, resume: Vec<Cursor>) -> Hello {
        Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            capabilities: CAPABILITIES,
            token,
            device,
            incarnation,
            scope,
            resume,
            ..Hello::default()
        }
    }

    /// Whether the answer has come: from then on messages are the connection's, not the handshake's.
    pub const fn is_done(&self) -> bool {
        self.answered
    }

    /// Takes the next message of the control stream (of the WebSocket).
    ///
    /// # Errors
    /// [`Error`] for what may not come before the answer, for a second answer, and for one that no server may give.
    pub fn receive(&mut self, message: Message) -> Result<Answer, Error> {
        message.expect_from(Direction::ToClient)?;
        let name = message.name();
        match message {
            Message::Ping(ping) => Ok(Answer::Reply(Pong { nonce: ping.nonce })),
            Message::Pong(pong) => Ok(Answer::Pong(pong)),
            Message::Close(close) => Ok(Answer::Closed(close)),
            Message::Welcome(welcome) if !self.answered => {
                self.answered = true;
                check(welcome).map(|established| Answer::Welcome(Box::new(established)))
            }
            Message::Refused(refused) if !self.answered => {
                self.answered = true;
                Ok(Answer::Refused(refused))
            }
            Message::Welcome(_) | Message::Refused(_) => {
                Err(ProtocolError::UnexpectedMessage { name, when: "twice" }.into())
            }
            _ => Err(ProtocolError::UnexpectedMessage { name, when: "before Welcome" }.into()),
        }
    }
}

fn check(welcome: Welcome) -> Result<Established, Error> {
    if welcome.version != PROTOCOL_VERSION {
        let version = welcome.version;
        return Err(ProtocolError::UnsupportedVersion { min: version, max: version }.into());
    }
    let limits = Limits::of(&welcome);
    if limits.max_client_frame < MIN_CLIENT_FRAME {
        return Err(Error::InvalidField { field: "max_client_frame", rule: "at least 16,384 bytes" });
    }
    if limits.max_server_frame == 0 {
        return Err(Error::InvalidField { field: "max_server_frame", rule: "at least 1 byte" });
    }
    if limits.heartbeat_ms == 0 {
        return Err(Error::InvalidField { field: "heartbeat_ms", rule: "at least 1 ms" });
    }
    Ok(Established {
        version: welcome.version,
        // A server that claims what was not offered gets nothing by it.
        capabilities: welcome.capabilities & CAPABILITIES,
        connection: welcome.connection,
        epoch: welcome.epoch,
        server_time_ms: welcome.server_time_ms,
        user: welcome.user,
        device: welcome.device,
        limits,
    })
}
