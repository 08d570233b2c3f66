//! One connection's side of the protocol, sans-IO: what may come when, what a message asks for, when silence is too
//! long. It knows no session, no socket and no clock; the shard carries out what it asks.

use std::sync::Arc;

use syncbridge_codec::{
    Message, ProtocolError,
    message::{self, Class, Direction, Pong, Transport},
};

use crate::session::Now;

/// Who a connection speaks for, once its token is checked.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user.
    pub user: Arc<str>,
    /// The device: the token's, else the one of `Hello`.
    pub device: Arc<str>,
    /// The client's incarnation.
    pub incarnation: u128,
}

/// What a message asks the shard to do.
#[derive(Debug)]
pub enum Command {
    /// Check the credentials, then [`Core::welcome`] or refuse.
    Hello(Box<message::Hello>),
    /// Make a session.
    Create(message::Create),
    /// Send a document once.
    Get(message::Get),
    /// Subscribe, or move a subscription.
    Subscribe(message::Subscribe),
    /// A cursor of `Hello`: subscribe, and answer without a request id.
    Resume(message::Subscribe),
    /// End a subscription.
    Unsubscribe(message::Unsubscribe),
    /// Change a document.
    Update(message::Update),
    /// The client ends the connection.
    Close,
}

/// What came of a message.
#[derive(Debug)]
pub enum Step {
    /// Nothing is to be done.
    Nothing,
    /// Say this.
    Reply(Message),
    /// Do this.
    Do(Command),
}

#[derive(Debug)]
enum State {
    /// `Hello` has not come.
    Fresh,
    /// `Hello` came; its token is being checked.
    Greeted,
    Ready(Box<Identity>),
}

/// Timings that every connection of a server shares, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From the first byte to a whole `Hello`.
    pub hello_ms: u64,
    /// What `Welcome` asks of the client; three times as long in silence ends the connection.
    pub heartbeat_ms: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Core {
    state: State,
    transport: Transport,
    /// When something last came, or the connection began.
    heard_ms: u64,
}

impl Core {
    /// A connection that begins now.
    pub const fn new(transport: Transport, now: Now) -> Self {
        Self { state: State::Fresh, transport, heard_ms: now.mono_ms }
    }

    /// What the connection runs over.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Who it speaks for; `None` before `Welcome`.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.state {
            State::Ready(identity) => Some(identity),
            _ => None,
        }
    }

    /// Takes one message; `class` is the QUIC stream it came on, `None` where there is one pipe for all.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`] when it may not come here or now.
    pub fn receive(&mut self, message: Message, class: Option<Class>, now: Now) -> Result<Step, ProtocolError> {
        let unexpected = |when| Err(ProtocolError::UnexpectedMessage { name: message.name(), when });
        self.heard_ms = now.mono_ms;
        if message.direction() == Direction::ToClient {
            return unexpected("from a client");
        }
        if class.is_some_and(|class| class != message.class()) {
            return unexpected("on this stream");
        }
        match (&self.state, message) {
            (_, Message::Ping(ping)) => Ok(Step::Reply(Pong { nonce: ping.nonce }.into())),
            (_, Message::Pong(_)) => Ok(Step::Nothing),
            (_, Message::Close(_)) => Ok(Step::Do(Command::Close)),
            (State::Fresh, Message::Hello(hello)) => {
                self.state = State::Greeted;
                Ok(Step::Do(Command::Hello(Box::new(hello))))
            }
            (State::Fresh, message) => {
                Err(ProtocolError::UnexpectedMessage { name: message.name(), when: "before Hello" })
            }
            (_, Message::Create(create)) => Ok(Step::Do(Command::Create(create))),
            (_, Message::Get(get)) => Ok(Step::Do(Command::Get(get))),
            (_, Message::Subscribe(subscribe)) => Ok(Step::Do(Command::Subscribe(subscribe))),
            (_, Message::Unsubscribe(unsubscribe)) => Ok(Step::Do(Command::Unsubscribe(unsubscribe))),
            (_, Message::Update(update)) => Ok(Step::Do(Command::Update(update))),
            (_, message) => Err(ProtocolError::UnexpectedMessage { name: message.name(), when: "after Hello" }),
        }
    }

    /// The token was good: the connection speaks for `identity` from here on.
    pub fn welcome(&mut self, identity: Identity) {
        self.state = State::Ready(Box::new(identity));
    }

    /// When the connection has been silent for too long, in monotonic milliseconds.
    pub const fn deadline_ms(&self, timing: Timing) -> u64 {
        match self.state {
            State::Ready(_) => self.heard_ms + 3 * timing.heartbeat_ms,
            _ => self.heard_ms + timing.hello_ms,
        }
    }
}
