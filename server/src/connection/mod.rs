//! One connection's side of the protocol, sans-IO: what may come when, what a message asks for, when silence is too
//! long. It knows no session, no socket and no clock; the shard carries out what it asks.

use std::{net::IpAddr, sync::Arc};

use bytestring::ByteString;
use syncbridge_codec::{
    Message, ProtocolError,
    handshake::{self, Server},
    message::{self, Class, Pong, Transport},
};

use crate::{auth::access::Operation, session::Now};

/// Who a connection speaks for, once its token is checked.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user.
    pub user: Arc<str>,
    /// The device: the token's, else the one of `Hello`.
    pub device: Arc<str>,
    /// The client's incarnation.
    pub incarnation: u128,
    /// The one session that the connection is for, if it is for one.
    pub session: Option<Arc<str>>,
    /// The login that its token came of; `None` for tokens that came of none.
    pub family: Option<Arc<str>>,
}

/// What a message asks the shard to do.
#[derive(Debug)]
pub enum Command {
    /// Check the credentials, then [`Core::welcome`] or refuse.
    Hello(Box<handshake::Request>),
    /// Make a session.
    Create(message::Create),
    /// Send a document once.
    Get(message::Get),
    /// Subscribe, or move a subscription.
    Subscribe(Subscription),
    /// End a subscription.
    Unsubscribe(message::Unsubscribe),
    /// Change a document. What names the update in its answer when it has no counter.
    Update(message::Update, u64),
    /// Say whether a handoff may be.
    AnswerHandoff(message::HandoffAnswer),
    /// Ask this of REST's routes.
    Request(message::Request),
    /// The client ends the connection.
    Close,
}

impl Command {
    /// The session that it is about.
    pub const fn session(&self) -> Option<&ByteString> {
        match self {
            Self::Create(create) => Some(&create.session),
            Self::Get(get) => Some(&get.session),
            Self::Subscribe(subscription) => Some(&subscription.asked.session),
            Self::Unsubscribe(unsubscribe) => Some(&unsubscribe.session),
            Self::Update(update, _) => Some(&update.session),
            Self::AnswerHandoff(_) | Self::Hello(_) | Self::Request(_) | Self::Close => None,
        }
    }

    /// What it is to be allowed to do to its session. (A request's route asks for itself.)
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Create(_) => Operation::Create,
            Self::Update(..) => Operation::Update,
            Self::AnswerHandoff(_) => Operation::AnswerHandoff,
            Self::Subscribe(_) | Self::Unsubscribe(_) => Operation::Subscribe,
            Self::Get(_) | Self::Hello(_) | Self::Request(_) | Self::Close => Operation::Get,
        }
    }

    /// Whether it may be carried out though it may be the replay of an earlier first flight (QUIC 0-RTT).
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Hello(_) | Self::Get(_) | Self::Subscribe(_) | Self::Close)
    }
}

/// A subscription that is asked for, and what of its beginning is told.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// What is asked.
    pub asked: message::Subscribe,
    /// The request's id; `None` for a cursor of `Hello`, and for flat JSON that named none.
    pub id: Option<u64>,
    /// Whether `Resumed` is said.
    pub resumed: bool,
    /// Whether notices begin with the list of devices.
    pub list: bool,
}

impl Subscription {
    /// One whose beginning is told in full.
    pub const fn new(asked: message::Subscribe, id: Option<u64>) -> Self {
        Self { asked, id, resumed: true, list: true }
    }
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
    Fresh(Server),
    /// Flat JSON without `auth`: whether anything was said yet.
    Nobody(bool),
    /// `Hello` came; its token is being checked.
    Greeted,
    Ready(Box<Identity>),
}

/// Timings that every connection of a server shares, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// From the first byte to a whole `Hello`; in flat JSON, to the first message.
    pub hello_ms: u64,
    /// In flat JSON, from the first byte to `auth`. None: for as long as something is heard, once something was said.
    pub auth_ms: Option<u64>,
    /// What `Welcome` asks of the client; three times as long in silence ends the connection.
    pub heartbeat_ms: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Core {
    state: State,
    transport: Transport,
    peer: IpAddr,
    began_ms: u64,
    /// When something last came, or the connection began.
    heard_ms: u64,
}

impl Core {
    /// A connection that begins now, from `peer`.
    pub const fn new(transport: Transport, peer: IpAddr, now: Now) -> Self {
        let state = match transport {
            Transport::Json => State::Nobody(false),
            _ => State::Fresh(Server::new()),
        };
        Self { state, transport, peer, began_ms: now.mono_ms, heard_ms: now.mono_ms }
    }

    /// Whether it speaks flat JSON.
    pub const fn is_json(&self) -> bool {
        matches!(self.transport, Transport::Json)
    }

    /// Something was said in flat JSON.
    pub fn spoke(&mut self) {
        if matches!(self.state, State::Nobody(_)) {
            self.state = State::Nobody(true);
        }
    }

    /// What the connection runs over.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Where it came from. (A QUIC client that moves on since keeps the address that it came with.)
    pub const fn peer(&self) -> IpAddr {
        self.peer
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
    /// [`handshake::Error`] when it may not come here or now, or a `Hello` holds what it may not. Before `Welcome` the
    /// client is told by `Refused`.
    pub fn receive(&mut self, message: Message, class: Option<Class>) -> Result<Step, handshake::Error> {
        if class.is_some_and(|class| class != message.class()) {
            return Err(unexpected(&message, "on this stream"));
        }
        if let State::Fresh(server) = &mut self.state {
            return Ok(match server.receive(message)? {
                handshake::Step::Reply(pong) => Step::Reply(pong.into()),
                handshake::Step::Ask(request) => Step::Do(Command::Request(request)),
                handshake::Step::Closed(_) => Step::Do(Command::Close),
                handshake::Step::Decide(request) => {
                    self.state = State::Greeted;
                    Step::Do(Command::Hello(request))
                }
            });
        }
        Ok(Step::Do(match message {
            Message::Ping(ping) => return Ok(Step::Reply(Pong { nonce: ping.nonce }.into())),
            Message::Pong(_) => return Ok(Step::Nothing),
            Message::Close(_) => Command::Close,
            Message::Create(create) => Command::Create(create),
            Message::Get(get) => Command::Get(get),
            Message::Subscribe(subscribe) => {
                let id = Some(subscribe.id);
                Command::Subscribe(Subscription::new(subscribe, id))
            }
            Message::Unsubscribe(unsubscribe) => Command::Unsubscribe(unsubscribe),
            Message::Update(update) => Command::Update(update, 0),
            Message::HandoffAnswer(answer) => Command::AnswerHandoff(answer),
            Message::Request(request) => Command::Request(request),
            // In flat JSON who somebody is may be said at any time; the shard sees what to make of it.
            Message::Hello(hello) if self.is_json() => Command::Hello(Box::new(handshake::Request::json(hello)?)),
            message => return Err(unexpected(&message, "here")),
        }))
    }

    /// Whether the client was let in.
    pub const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// The token was good: the connection speaks for `identity` from here on.
    pub fn welcome(&mut self, identity: Identity) {
        self.state = State::Ready(Box::new(identity));
    }

    /// Bytes came, or something that the client asked for went on.
    pub const fn alive(&mut self, now: Now) {
        self.heard_ms = now.mono_ms;
    }

    /// When the connection has been silent for too long, in monotonic milliseconds.
    pub const fn deadline_ms(&self, timing: Timing) -> u64 {
        match (&self.state, timing.auth_ms) {
            (State::Nobody(true), Some(auth_ms)) => self.began_ms + auth_ms,
            (State::Ready(_) | State::Nobody(true), _) => self.heard_ms + 3 * timing.heartbeat_ms,
            // Nothing that comes prolongs the time for `Hello`.
            _ => self.began_ms + timing.hello_ms,
        }
    }
}

fn unexpected(message: &Message, when: &'static str) -> handshake::Error {
    ProtocolError::UnexpectedMessage { name: message.name(), when }.into()
}
