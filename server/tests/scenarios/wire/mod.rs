//! One connection as a device has it, over any link: messages in, messages out, nothing done by itself. It reads only
//! when it is asked to, so that it can be a device that does not.

pub mod quic;
pub mod websocket;
pub mod webtransport;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use syncbridge_codec::{
    Decoder, ErrorCode, Message,
    message::{self, Class, Position},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::replica::Replica;

/// Largest frame that is taken from a server: the document cap and what may be around it.
pub const MAX_FRAME: usize = (4 << 20) + (64 << 10);
/// Nothing that is waited for takes so long, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    Quic,
    WebTransport,
    WebSocket,
    Tls,
    Memory,
}

impl Via {
    /// What other devices are told.
    pub fn transport(self) -> message::Transport {
        match self {
            Self::Quic => message::Transport::Quic,
            Self::WebTransport => message::Transport::WebTransport,
            Self::WebSocket | Self::Tls => message::Transport::WebSocket,
            Self::Memory => message::Transport::Memory,
        }
    }
}

/// How a link ended: the error's number (0: nothing was wrong), where the link can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub code: Option<u32>,
    pub text: String,
}

/// The end of a connection, and what came before it.
#[derive(Debug)]
pub struct Ended {
    pub code: u32,
    pub control: Vec<Message>,
    pub session: Vec<Message>,
}

enum Link {
    Quic(Box<quic::Link>),
    WebTransport(Box<webtransport::Link>),
    WebSocket(Box<websocket::Link>),
    Memory(DuplexStream),
}

/// See the file's head.
pub struct Wire {
    link: Link,
    decoders: [Decoder; 2],
    queues: [VecDeque<Message>; 2],
    end: Option<End>,
    /// The next counter of each session.
    counters: HashMap<String, u64>,
    /// The newest place of each session that was heard of.
    heads: HashMap<String, Position>,
    /// What was sent and may be answered without its operations.
    sent: HashMap<(String, u64), message::Update>,
    next_request: u64,
}

impl Wire {
    pub async fn quic(server: SocketAddr, roots: rustls::RootCertStore) -> Self {
        Self::new(Link::Quic(Box::new(quic::Link::connect(server, roots).await)))
    }

    /// On a connection that was made already.
    pub fn over(link: quic::Link) -> Self {
        Self::new(Link::Quic(Box::new(link)))
    }

    pub async fn webtransport(server: SocketAddr, url: &str, hashes: Vec<String>) -> Self {
        Self::new(Link::WebTransport(Box::new(webtransport::Link::connect(server, url, hashes).await)))
    }

    pub async fn websocket(pipe: Box<dyn websocket::Pipe>) -> Self {
        Self::new(Link::WebSocket(Box::new(websocket::Link::connect(pipe).await)))
    }

    pub fn memory(pipe: DuplexStream) -> Self {
        Self::new(Link::Memory(pipe))
    }

    fn new(link: Link) -> Self {
        Self {
            link,
            decoders: [Decoder::new(MAX_FRAME), Decoder::new(MAX_FRAME)],
            queues: [VecDeque::new(), VecDeque::new()],
            end: None,
            counters: HashMap::new(),
            heads: HashMap::new(),
            sent: HashMap::new(),
            next_request: 1,
        }
    }

    // ---- sending ---------------------------------------------------------------------------------------------------

    pub async fn send(&mut self, message: impl Into<Message>) {
        self.try_send(message).await.expect("the link takes it");
    }

    pub async fn try_send(&mut self, message: impl Into<Message>) -> Result<(), End> {
        let message = message.into();
        if let Message::Update(update) = &message {
            self.sent.insert((update.session.to_string(), update.counter), update.clone());
        }
        self.send_raw(message.class(), message.to_frame()).await
    }

    /// Bytes that need be no frames.
    pub async fn send_raw(&mut self, class: Class, bytes: Bytes) -> Result<(), End> {
        let sending = async {
            match &mut self.link {
                Link::Quic(link) => link.send(class, bytes).await,
                Link::WebTransport(link) => link.send(class, bytes).await,
                Link::WebSocket(link) => link.send(bytes).await,
                Link::Memory(pipe) => {
                    pipe.write_all(&bytes).await.map_err(|error| End { code: None, text: error.to_string() })
                }
            }
        };
        tokio::time::timeout(PATIENCE, sending).await.expect("the server reads")
    }

    // ---- receiving -------------------------------------------------------------------------------------------------

    /// Waits for bytes and takes the frames in them.
    async fn pump(&mut self) -> Result<(), End> {
        if let Some(end) = &self.end {
            return Err(end.clone());
        }
        let receiving = async {
            match &mut self.link {
                Link::Quic(link) => link.receive().await,
                Link::WebTransport(link) => link.receive().await,
                Link::WebSocket(link) => link.receive().await.map(|bytes| (Class::Control, bytes)),
                Link::Memory(pipe) => {
                    let mut bytes = BytesMut::with_capacity(64 << 10);
                    match pipe.read_buf(&mut bytes).await {
                        Ok(0) | Err(_) => Err(End { code: None, text: "end of file".to_owned() }),
                        Ok(_) => Ok((Class::Control, bytes.freeze())),
                    }
                }
            }
        };
        let (stream, bytes) = match tokio::time::timeout(PATIENCE, receiving).await.expect("something comes") {
            Ok(received) => received,
            Err(end) => {
                self.end = Some(end.clone());
                return Err(end);
            }
        };
        let has_streams = matches!(self.link, Link::Quic(_) | Link::WebTransport(_));
        let decoder = &mut self.decoders[usize::from(stream == Class::Session)];
        decoder.push(bytes);
        while let Some(frame) = decoder.next_frame().expect("the server frames well") {
            let message = Message::decode(frame).expect("the server says what is known").expect("to this version");
            assert!(!has_streams || message.class() == stream, "{} on the {stream:?} stream", message.name());
            self.queues[usize::from(message.class() == Class::Session)].push_back(message);
        }
        Ok(())
    }

    async fn next(&mut self, class: Class) -> Result<Message, End> {
        loop {
            if let Some(message) = self.queues[usize::from(class == Class::Session)].pop_front() {
                self.note(&message);
                return Ok(message);
            }
            self.pump().await?;
        }
    }

    /// The next message about sessions.
    pub async fn session(&mut self) -> Message {
        self.next(Class::Session).await.unwrap_or_else(|end| panic!("the link is over: {end:?}"))
    }

    /// The next message about the connection.
    pub async fn control(&mut self) -> Message {
        self.next(Class::Control).await.unwrap_or_else(|end| panic!("the link is over: {end:?}"))
    }

    /// The same, or how the link ended.
    pub async fn try_control(&mut self) -> Result<Message, End> {
        self.next(Class::Control).await
    }

    /// Reads until the server has ended the link.
    pub async fn ended(&mut self) -> Ended {
        let end = loop {
            if let Err(end) = self.pump().await {
                break end;
            }
        };
        let [control, session] = &mut self.queues;
        let said = control.iter().fold(None, |said, message| match message {
            Message::Close(close) => Some(close.code),
            Message::Refused(refused) => Some(refused.code),
            _ => said,
        });
        if let (Some(said), Some(code)) = (said, end.code) {
            assert_eq!(said, code, "what was said last is what the link ends with: {end:?}");
        }
        let code = said.or(end.code).unwrap_or_else(|| panic!("nobody said why the link ended: {end:?}"));
        Ended { code, control: control.drain(..).collect(), session: session.drain(..).collect() }
    }

    fn note(&mut self, message: &Message) {
        let (session, at) = match message {
            Message::Created(created) => {
                (&created.session, Position { epoch: created.epoch, version: created.version })
            }
            Message::Document(document) => (&document.session, document.at.clone()),
            Message::Reset(reset) => (&reset.session, reset.at.clone()),
            Message::Resumed(resumed) => (&resumed.session, Position { epoch: resumed.epoch, version: resumed.after }),
            Message::Delta(delta) => (&delta.session, delta.at.clone()),
            Message::Accepted(accepted) => (&accepted.session, accepted.at.clone()),
            Message::Conflict(conflict) => (&conflict.session, conflict.at.clone()),
            _ => return,
        };
        let head = self.heads.entry(session.to_string()).or_default();
        if (at.epoch, at.version) > (head.epoch, head.version) {
            *head = at;
        }
    }

    // ---- asking ----------------------------------------------------------------------------------------------------

    /// An id for a request.
    pub fn request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// The newest place of a session that was heard of.
    pub fn head(&self, session: &str) -> Position {
        self.heads.get(session).cloned().unwrap_or_default()
    }

    /// The next counter of a session, used up by this.
    pub fn counter(&mut self, session: &str) -> u64 {
        let counter = self.counters.entry(session.to_owned()).or_insert(0);
        *counter += 1;
        *counter
    }

    /// Makes a session of this state, with the default policies.
    pub async fn create(&mut self, session: &str, state: &str) -> Position {
        let counter = self.counter(session);
        self.create_as(message::Create { counter, ..create(session, state) }).await
    }

    /// Makes a session.
    pub async fn create_as(&mut self, create: message::Create) -> Position {
        let counter = create.counter;
        self.send(create).await;
        match self.session().await {
            Message::Created(created) if created.counter == counter => {
                Position { epoch: created.epoch, version: created.version }
            }
            other => panic!("no Created but {other:?}"),
        }
    }

    /// Subscribes without a cursor: the state.
    pub async fn subscribe(&mut self, session: &str) -> Replica {
        let id = self.request();
        self.subscribe_as(message::Subscribe { id, session: session.into(), ..Default::default() }).await
    }

    /// Subscribes without a cursor: the state.
    pub async fn subscribe_as(&mut self, subscribe: message::Subscribe) -> Replica {
        let mut replica = Replica::new(&subscribe.session);
        let id = subscribe.id;
        self.send(subscribe).await;
        let first = self.follow(&mut replica).await;
        let Message::Reset(reset) = first else { panic!("no Reset but {first:?}") };
        assert_eq!((reset.id, reset.reason), (Some(id), message::ResetReason::Initial));
        replica
    }

    /// Takes the next message about sessions into the replica.
    pub async fn follow(&mut self, replica: &mut Replica) -> Message {
        let message = self.session().await;
        let operations = match &message {
            Message::Accepted(accepted) => {
                self.sent.get(&(accepted.session.to_string(), accepted.counter)).map(|sent| sent.operations.clone())
            }
            _ => None,
        };
        replica.take(&message, operations.as_ref());
        // A document in parts is taken whole.
        while replica.is_partial() {
            let part = self.session().await;
            replica.take(&part, None);
        }
        message
    }

    /// Follows until the replica has this version.
    pub async fn follow_to(&mut self, replica: &mut Replica, version: u64) {
        while replica.at.version < version {
            self.follow(replica).await;
        }
        assert_eq!(replica.at.version, version);
    }

    /// An update for the newest version that was heard of, with the next counter.
    pub fn update(&mut self, session: &str, operations: &str) -> message::Update {
        message::Update {
            counter: self.counter(session),
            session: session.into(),
            base: self.head(session),
            operations: Bytes::copy_from_slice(operations.as_bytes()),
            ..Default::default()
        }
    }

    /// Sends an update, again while the server is busy, and waits for its answer. For writers that do not subscribe.
    pub async fn ask(&mut self, update: message::Update) -> Message {
        loop {
            self.send(update.clone()).await;
            let answer = self.session().await;
            match &answer {
                Message::Error(error) if error.code == ErrorCode::Busy as u32 => {
                    assert_eq!(error.op, Some(update.counter));
                    tokio::time::sleep(Duration::from_millis(error.retry_after_ms.unwrap_or(10))).await;
                }
                _ => return answer,
            }
        }
    }

    /// Changes a session and waits until that is accepted. For writers that do not subscribe.
    pub async fn write(&mut self, session: &str, operations: &str) -> message::Accepted {
        let update = self.update(session, operations);
        match self.ask(update).await {
            Message::Accepted(accepted) => accepted,
            other => panic!("no Accepted but {other:?}"),
        }
    }

    /// The same for a writer that subscribes.
    pub async fn write_as_subscriber(&mut self, replica: &mut Replica, operations: &str) -> message::Accepted {
        let update = message::Update { base: replica.at.clone(), ..self.update(&replica.session.clone(), operations) };
        let counter = update.counter;
        self.send(update.clone()).await;
        loop {
            match self.follow(replica).await {
                Message::Accepted(accepted) if accepted.counter == counter => return accepted,
                Message::Error(error) if error.code == ErrorCode::Busy as u32 => {
                    tokio::time::sleep(Duration::from_millis(error.retry_after_ms.unwrap_or(10))).await;
                    self.send(update.clone()).await;
                }
                Message::Delta(_) | Message::Durable(_) => {}
                other => panic!("no Accepted but {other:?}"),
            }
        }
    }

    /// Returns when everything that was sent before has been read: an answer that only comes in its order.
    /// What came before it about sessions is returned.
    pub async fn settle(&mut self, session: &str) -> Vec<Message> {
        let id = self.request();
        self.send(message::Get { id, session: session.into() }).await;
        let mut before = Vec::new();
        loop {
            match self.session().await {
                Message::Document(document) if document.id == id => return before,
                other => before.push(other),
            }
        }
    }

    // ---- ending ----------------------------------------------------------------------------------------------------

    /// Ends the link in good order.
    pub async fn close(mut self) {
        // It may be over already.
        let _ = self.try_send(message::Close::default()).await;
        match self.link {
            Link::Quic(link) => link.close().await,
            Link::WebTransport(link) => link.close().await,
            Link::WebSocket(link) => link.close().await,
            Link::Memory(_) => {}
        }
    }

    /// Moves to another local port, as a phone does that changes networks.
    pub fn rebind(&self) {
        let endpoint = match &self.link {
            Link::Quic(link) => &link.endpoint,
            Link::WebTransport(link) => &link.endpoint,
            Link::WebSocket(_) | Link::Memory(_) => panic!("such a link cannot move"),
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        endpoint.rebind(socket).expect("another port");
    }

    /// Nothing is said or heard any more, and the server is not told.
    pub fn fall_silent(&self) {
        match &self.link {
            Link::Quic(link) => link.fall_silent(),
            Link::WebTransport(link) => link.fall_silent(),
            Link::WebSocket(_) | Link::Memory(_) => {}
        }
    }
}

/// A request to make a session, with the default policies.
pub fn create(session: &str, state: &str) -> message::Create {
    let state = Bytes::copy_from_slice(state.as_bytes());
    message::Create { counter: 1, session: session.into(), state, ..Default::default() }
}
