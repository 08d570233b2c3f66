//! A small, plainly correct server for the client's tests: it keeps the rules of proto-spec in the simplest way there is,
//! and remembers every document it ever had, so that tests can compare. Never used outside tests.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::needless_pass_by_value, reason = "messages are taken as they are decoded")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use syncbridge_client::ByteString;
use syncbridge_codec::{
    Decoder, ErrorCode, Message,
    message::{
        self, Class, ConflictPolicy, Cursor, Delta, Durability, Hello, Origin, Position, ResetReason, TopicKind,
    },
};
use syncbridge_document::{Limits, Options, Patch, Touches, Value};

/// Deltas that are kept for resuming: few, so that cursors get too old.
const KEPT: u64 = 60;
/// Documents above this many bytes go out in parts: few, so that they do.
const INLINE: usize = 300;
const PART: usize = 70;

#[derive(Debug, Clone)]
struct Entry {
    operations: Bytes,
    touches: Touches,
    origin: Origin,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Incarnation {
    high: u64,
    /// Counter → (version, commit).
    applied: BTreeMap<u64, (u64, u64)>,
    refused: BTreeMap<u64, Message>,
    /// Told to come again: they come in order, the lowest first, before any higher one. Skipped counters are not owed.
    owed: BTreeSet<u64>,
}

#[derive(Debug)]
enum Waiting {
    Accepted { version: u64, counter: u64, changed: bool },
    Durable,
}

#[derive(Debug)]
pub struct Session {
    /// The document of each version; version 1 is at 0.
    pub documents: Vec<Value>,
    log: Vec<Entry>,
    starts: Vec<(u64, u64)>,
    pub durable: u64,
    /// The only device that may write; `None`: all may.
    pub active: Option<ByteString>,
    incarnations: BTreeMap<u128, Incarnation>,
    commits: u64,
    durable_commit: u64,
    waiting: Vec<(u64, u64, Waiting)>,
}

impl Session {
    fn new(epoch: u64, state: Value) -> Self {
        Self {
            documents: vec![state],
            log: Vec::new(),
            starts: vec![(epoch, 0)],
            durable: 1,
            active: None,
            incarnations: BTreeMap::new(),
            commits: 0,
            durable_commit: 0,
            waiting: Vec::new(),
        }
    }

    pub fn version(&self) -> u64 {
        self.documents.len() as u64
    }

    pub fn document(&self) -> &Value {
        &self.documents[self.documents.len() - 1]
    }
}

enum Place {
    Kept(u64),
    Lost(u64),
    Ahead,
    Unknown,
}

#[derive(Debug)]
struct Connection {
    decoders: [Decoder; 2],
    two_streams: bool,
    hello: Option<Hello>,
    /// Came on the session stream before `Hello`.
    held: VecDeque<Message>,
    /// Session → whether every `Durable` is wanted.
    subscribed: BTreeMap<ByteString, bool>,
    out: [BytesMut; 2],
}

/// The server.
#[derive(Debug)]
pub struct Server {
    pub epoch: u64,
    pub sessions: BTreeMap<ByteString, Session>,
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    /// Updates are answered with `Busy` this often, in percent.
    pub busy_percent: u8,
    /// `Hello`s are answered with this.
    pub refusal: Option<ErrorCode>,
    pub heartbeat_ms: u32,
    /// [`Server::commit`] does nothing.
    pub forget_disk: bool,
    rng: fastrand::Rng,
}

impl Server {
    pub fn new(seed: u64) -> Self {
        Self {
            epoch: 1,
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            busy_percent: 0,
            refusal: None,
            heartbeat_ms: 20_000,
            forget_disk: false,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn add_session(&mut self, id: &str, state: &str) {
        let state = Value::parse(state.as_bytes(), &Limits::default()).expect("a document");
        self.sessions.insert(id.into(), Session::new(self.epoch, state));
    }

    // Connections.

    pub fn connect(&mut self, two_streams: bool) -> u64 {
        self.last_connection += 1;
        let decoder = || Decoder::new(1 << 20);
        let connection = Connection {
            decoders: [decoder(), decoder()],
            two_streams,
            hello: None,
            held: VecDeque::new(),
            subscribed: BTreeMap::new(),
            out: [BytesMut::new(), BytesMut::new()],
        };
        self.connections.insert(self.last_connection, connection);
        self.last_connection
    }

    pub fn disconnect(&mut self, id: u64) {
        self.connections.remove(&id);
        for session in self.sessions.values_mut() {
            session.waiting.retain(|(connection, ..)| *connection != id);
        }
    }

    pub fn is_connected(&self, id: u64) -> bool {
        self.connections.contains_key(&id)
    }

    pub fn output(&mut self, id: u64, class: Class) -> Bytes {
        let index = usize::from(class == Class::Session);
        self.connections.get_mut(&id).map_or_else(Bytes::new, |connection| connection.out[index].split().freeze())
    }

    pub fn bytes(&mut self, id: u64, class: Class, bytes: Bytes) {
        let index = usize::from(class == Class::Session);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.decoders[index].push(bytes);
        while let Some(connection) = self.connections.get_mut(&id) {
            let Some(frame) = connection.decoders[index].next_frame().expect("clients keep to framing") else { return };
            let message = Message::decode(frame).expect("clients send messages").expect("known ones");
            message.expect_from(message::Direction::ToServer).expect("of clients");
            if connection.two_streams {
                message.expect_on(class).expect("on their stream");
            }
            if connection.hello.is_none() && message.class() == Class::Session {
                connection.held.push_back(message);
                continue;
            }
            self.receive(id, message);
        }
    }

    fn send(&mut self, id: u64, message: impl Into<Message>) {
        let message = message.into();
        if let Some(connection) = self.connections.get_mut(&id) {
            let index = usize::from(connection.two_streams && message.class() == Class::Session);
            message.write_frame(&mut connection.out[index]);
        }
    }

    fn error(code: ErrorCode, session: &ByteString, op: Option<u64>, answers: Option<u64>) -> message::Error {
        let retry_after_ms = (code == ErrorCode::Busy).then_some(5);
        let session = Some(session.clone());
        message::Error { session, op, answers, retry_after_ms, ..message::Error::new(code, "model") }
    }

    fn receive(&mut self, id: u64, message: Message) {
        match message {
            Message::Hello(hello) => self.hello(id, hello),
            Message::Ping(ping) => self.send(id, message::Pong { nonce: ping.nonce }),
            Message::Pong(_) | Message::StreamOpen(_) => {}
            Message::Close(_) => self.disconnect(id),
            Message::Create(create) => self.create(id, create),
            Message::Get(get) => match self.sessions.get(&get.session) {
                None => self.send(id, Self::error(ErrorCode::NotFound, &get.session, None, Some(get.id))),
                Some(session) => {
                    let at = Position { epoch: self.epoch, version: session.version() };
                    let text = Bytes::from(session.document().to_json());
                    let state = (text.len() <= INLINE).then(|| text.clone());
                    let in_parts = state.is_none();
                    let (session, request) = (get.session, get.id);
                    let head = message::Document { id: request, session, at, state, active_device: None };
                    let (session, at) = (head.session.clone(), head.at.clone());
                    self.send(id, head);
                    if in_parts {
                        self.parts(id, &session, &at, &text);
                    }
                }
            },
            Message::Subscribe(subscribe) => {
                let message::Subscribe { id: request, session, have, durable, .. } = subscribe;
                self.subscribe(id, Some(request), &session, have, durable);
            }
            Message::Unsubscribe(unsubscribe) => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.subscribed.remove(&unsubscribe.session);
                }
                let message::Unsubscribe { id: request, session } = unsubscribe;
                self.send(id, message::Unsubscribed { id: request, session });
            }
            Message::Update(update) => self.update(id, &update),
            other => panic!("a client sent {}", other.name()),
        }
    }

    fn hello(&mut self, id: u64, hello: Hello) {
        if let Some(code) = self.refusal {
            self.send(id, message::Refused::new(code, "model"));
            return;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        assert!(connection.hello.is_none(), "Hello comes once");
        let held = std::mem::take(&mut connection.held);
        connection.hello = Some(hello.clone());
        self.send(
            id,
            message::Welcome {
                version: 1,
                capabilities: 0,
                connection: id,
                epoch: self.epoch,
                server_time_ms: 0,
                user: "user".into(),
                max_client_frame: 1 << 20,
                max_server_frame: 4 << 20,
                max_document: 4 << 20,
                max_subscriptions: 1_000,
                heartbeat_ms: self.heartbeat_ms,
                device: hello.device.clone(),
            },
        );
        for Cursor { kind, topic, epoch, seq } in hello.resume {
            assert_eq!(kind, TopicKind::State);
            self.subscribe(id, None, &topic, Some(Position { epoch, version: seq }), hello.resume_durable);
        }
        for message in held {
            self.receive(id, message);
        }
    }

    fn create(&mut self, id: u64, create: message::Create) {
        let Some(incarnation) = self.incarnation(id) else { return };
        let message::Create { counter, session, state, .. } = create;
        let made = self.sessions.get(&session).map(|made| {
            let by_this = made.incarnations.get(&incarnation).is_some_and(|ops| ops.applied.contains_key(&counter));
            (by_this, made.version())
        });
        match made {
            Some((true, version)) => {
                let epoch = self.epoch;
                self.send(id, message::Created { counter, session, epoch, version });
            }
            Some((false, _)) => self.send(id, Self::error(ErrorCode::AlreadyExists, &session, Some(counter), None)),
            None => {
                let state = Value::parse(&state, &Limits::default()).expect("clients send documents");
                let mut made = Session::new(self.epoch, state);
                let ops = made.incarnations.entry(incarnation).or_default();
                (ops.high, _) = (counter, ops.applied.insert(counter, (1, 0)));
                self.sessions.insert(session.clone(), made);
                let epoch = self.epoch;
                self.send(id, message::Created { counter, session, epoch, version: 1 });
            }
        }
    }

    fn incarnation(&self, id: u64) -> Option<u128> {
        Some(self.connections.get(&id)?.hello.as_ref()?.incarnation)
    }

    // Subscriptions.

    fn place(session: &Session, place: &Position) -> Place {
        let current = session.starts[session.starts.len() - 1].0;
        if place.epoch >= current {
            let known = place.epoch == current && place.version <= session.version();
            return if known { Place::Kept(place.version) } else { Place::Ahead };
        }
        let next = session.starts.partition_point(|(epoch, _)| *epoch <= place.epoch);
        match session.starts.get(next) {
            _ if next == 0 => Place::Unknown,
            Some((_, base)) if place.version > *base => Place::Lost(*base),
            _ => Place::Kept(place.version),
        }
    }

    fn subscribe(&mut self, id: u64, request: Option<u64>, name: &ByteString, have: Option<Position>, durable: bool) {
        let epoch = self.epoch;
        let Some(session) = self.sessions.get(name) else {
            return self.send(id, Self::error(ErrorCode::NotFound, name, None, request));
        };
        let version = session.version();
        let reset = match have.as_ref().map(|have| Self::place(session, have)) {
            None => Err((ResetReason::Initial, None)),
            Some(Place::Kept(after)) if version - after <= KEPT => Ok(after),
            Some(Place::Kept(_)) => Err((ResetReason::TooOld, None)),
            Some(Place::Lost(last_kept)) => Err((ResetReason::Lost, Some(last_kept))),
            Some(Place::Ahead | Place::Unknown) => Err((ResetReason::UnknownEpoch, None)),
        };
        match reset {
            Err((reason, last_kept)) => self.reset(id, request, name, reason, last_kept),
            Ok(after) => {
                let missed: Vec<_> = (after + 1..=version).filter_map(|at| delta(session, name, at)).collect();
                self.send(id, message::Resumed { id: request, session: name.clone(), epoch, after, version });
                for delta in missed {
                    self.send(id, delta);
                }
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.subscribed.insert(name.clone(), durable);
        }
    }

    fn reset(&mut self, id: u64, request: Option<u64>, name: &ByteString, reason: ResetReason, last_kept: Option<u64>) {
        let session = &self.sessions[name];
        let at = Position { epoch: self.epoch, version: session.version() };
        let text = Bytes::from(session.document().to_json());
        let state = (text.len() <= INLINE).then(|| text.clone());
        let in_parts = state.is_none();
        let (session, place) = (name.clone(), at.clone());
        self.send(id, message::Reset { id: request, session, reason, at, last_kept, state });
        if in_parts {
            self.parts(id, name, &place, &text);
        }
    }

    fn parts(&mut self, id: u64, name: &ByteString, at: &Position, text: &Bytes) {
        let session = name.clone();
        self.send(id, message::SnapshotBegin { session, at: at.clone(), size: text.len() as u64 });
        for (index, part) in text.chunks(PART).enumerate() {
            let (session, offset) = (name.clone(), (index * PART) as u64);
            self.send(id, message::SnapshotPart { session, offset, bytes: Bytes::copy_from_slice(part) });
        }
        self.send(id, message::SnapshotEnd { session: name.clone(), checksum: crc32c::crc32c(text) });
    }

    /// Some subscriber was too slow: the newest state in place of every delta.
    pub fn lag(&mut self, id: u64) {
        let names: Vec<_> =
            self.connections.get(&id).map(|c| c.subscribed.keys().cloned().collect()).unwrap_or_default();
        for name in names {
            self.reset(id, None, &name, ResetReason::Lagged, None);
        }
    }

    // Updates.

    fn update(&mut self, id: u64, update: &message::Update) {
        let Some(incarnation) = self.incarnation(id) else { return };
        let device = self.connections.get(&id).and_then(|connection| Some(connection.hello.as_ref()?.device.clone()));
        let (name, counter) = (update.session.clone(), update.counter);
        let busy = self.rng.u8(0..100) < self.busy_percent;
        let epoch = self.epoch;
        let Some(session) = self.sessions.get_mut(&name) else {
            return self.send(id, Self::error(ErrorCode::NotFound, &name, Some(counter), None));
        };
        let ops = session.incarnations.entry(incarnation).or_default();
        if let Some((version, commit)) = ops.applied.get(&counter).copied() {
            let durable = commit <= session.durable_commit;
            if update.durability == Durability::Durable && !durable {
                let waiting = Waiting::Accepted { version, counter, changed: false };
                return session.waiting.push((id, commit, waiting));
            }
            if update.durability == Durability::Notify && !durable {
                session.waiting.push((id, commit, Waiting::Durable));
            }
            let at = Position { epoch, version };
            let accepted = message::Accepted { counter, session: name, at, durable, operations: None, changed: false };
            return self.send(id, accepted);
        }
        if counter <= ops.high {
            let refused = ops.refused.get(&counter).cloned();
            let expired = || Self::error(ErrorCode::OpExpired, &name, Some(counter), None).into();
            return self.send(id, refused.unwrap_or_else(expired));
        }
        if ops.owed.first().is_some_and(|first| counter > *first) || busy {
            ops.owed.insert(counter);
            return self.send(id, Self::error(ErrorCode::Busy, &name, Some(counter), None));
        }
        ops.owed.remove(&counter);
        ops.high = counter;
        let fenced = session.active.is_some() && session.active != device;
        let judged = if fenced { Err(Ok(ErrorCode::NotActive)) } else { judge(session, incarnation, update) };
        match judged {
            Err(refusal) => {
                let message: Message = match refusal {
                    Ok(code) => Self::error(code, &name, Some(counter), None).into(),
                    Err(path) => {
                        let at = Position { epoch, version: session.version() };
                        message::Conflict { counter, session: name, at, paths: vec![path.into()] }.into()
                    }
                };
                if let Some(ops) = session.incarnations.get_mut(&incarnation) {
                    ops.refused.insert(counter, message.clone());
                }
                self.send(id, message);
            }
            Ok((document, applied)) => self.apply(id, incarnation, update, document, applied),
        }
    }

    fn apply(
        &mut self,
        id: u64,
        incarnation: u128,
        update: &message::Update,
        document: Value,
        applied: syncbridge_document::Applied,
    ) {
        let (name, counter, epoch) = (update.session.clone(), update.counter, self.epoch);
        let Some(session) = self.sessions.get_mut(&name) else { return };
        session.commits += 1;
        let commit = session.commits;
        let changed = applied.changed;
        let effective = applied.effective.map(|patch| Bytes::from(patch.to_json()));
        if changed {
            session.documents.push(document);
            session.log.push(Entry {
                operations: effective.clone().unwrap_or_else(|| update.operations.clone()),
                touches: applied.touches,
                origin: Origin { incarnation, counter },
                epoch,
            });
        }
        let version = session.version();
        if let Some(ops) = session.incarnations.get_mut(&incarnation) {
            ops.applied.insert(counter, (version, commit));
        }
        let withheld = update.durability == Durability::Durable;
        if withheld {
            session.waiting.push((id, commit, Waiting::Accepted { version, counter, changed }));
        } else if update.durability == Durability::Notify {
            session.waiting.push((id, commit, Waiting::Durable));
        }
        let event = if changed { delta(session, &name, version) } else { None };
        if let Some(delta) = event {
            let subscribers = self.connections.iter().filter(|(_, c)| c.subscribed.contains_key(&name));
            let others = subscribers.map(|(id, _)| *id).filter(|other| withheld || *other != id);
            for other in others.collect::<Vec<_>>() {
                self.send(other, delta.clone());
            }
        }
        if !withheld {
            let at = Position { epoch, version };
            let operations = effective;
            self.send(id, message::Accepted { counter, session: name, at, durable: false, operations, changed });
        }
    }

    /// Everything is on disk.
    pub fn commit(&mut self) {
        if self.forget_disk {
            return;
        }
        let epoch = self.epoch;
        let mut out: Vec<(u64, Message)> = Vec::new();
        for (name, session) in &mut self.sessions {
            let news = session.durable != session.version() || session.durable_commit != session.commits;
            (session.durable, session.durable_commit) = (session.version(), session.commits);
            let durable = message::Durable { session: name.clone(), at: Position { epoch, version: session.durable } };
            for (id, _, waiting) in session.waiting.drain(..) {
                out.push(match waiting {
                    Waiting::Durable => (id, durable.clone().into()),
                    Waiting::Accepted { version, counter, changed } => {
                        let (session, at) = (name.clone(), Position { epoch, version });
                        let accepted =
                            message::Accepted { counter, session, at, durable: true, operations: None, changed };
                        (id, accepted.into())
                    }
                });
            }
            if news {
                let wanted = self.connections.iter().filter(|(_, c)| c.subscribed.get(name) == Some(&true));
                out.extend(wanted.map(|(id, _)| (*id, durable.clone().into())));
            }
        }
        for (id, message) in out {
            self.send(id, message);
        }
    }

    /// The process dies: what was not on disk is gone, and so are all connections. Another one takes over.
    pub fn crash(&mut self) {
        self.connections.clear();
        self.epoch += 1;
        for session in self.sessions.values_mut() {
            session.waiting.clear();
            session.documents.truncate(session.durable as usize);
            session.log.truncate(session.durable as usize - 1);
            let durable = session.durable_commit;
            for ops in session.incarnations.values_mut() {
                ops.applied.retain(|_, (_, commit)| *commit <= durable);
                ops.refused.clear();
                ops.owed.clear();
                ops.high = ops.applied.keys().next_back().copied().unwrap_or(0);
            }
            session.starts.push((self.epoch, session.durable));
        }
    }

    /// The process ends after everything is on disk.
    pub fn restart(&mut self) {
        self.commit();
        self.crash();
    }
}

fn delta(session: &Session, name: &ByteString, version: u64) -> Option<Delta> {
    let entry = session.log.get(version as usize - 2)?;
    Some(Delta {
        session: name.clone(),
        at: Position { epoch: entry.epoch, version },
        operations: entry.operations.clone(),
        device: "device".into(),
        origin: entry.origin.clone(),
        time_ms: 0,
    })
}

/// What came of an update: the new document, or the code or the path that it is refused for.
type Judgement = Result<(Value, syncbridge_document::Applied), Result<ErrorCode, String>>;

fn judge(session: &Session, incarnation: u128, update: &message::Update) -> Judgement {
    let limits = Limits::default();
    let ops = &session.incarnations[&incarnation];
    if update.after.is_some_and(|after| !ops.applied.contains_key(&after)) {
        return Err(Ok(ErrorCode::DependencyRefused));
    }
    let base = match Server::place(session, &update.base) {
        Place::Kept(version) => Some(version),
        Place::Ahead => return Err(Ok(ErrorCode::VersionAhead)),
        Place::Lost(_) | Place::Unknown => None,
    };
    let patch = Patch::parse(&update.operations, &limits).map_err(|_| Ok(ErrorCode::InvalidPatch))?;
    let touches = patch.touches(session.document());
    let since = match base {
        Some(version) => &session.log[version as usize - 1..],
        None => &session.log[..],
    };
    let mut theirs = since.iter().filter(|entry| entry.origin.incarnation != incarnation);
    let clash = theirs.find_map(|entry| entry.touches.overlap(&touches));
    let clash = clash.filter(|clash| clash.array || update.on_conflict == Some(ConflictPolicy::Reject));
    if let Some(clash) = clash {
        return Err(Err(clash.pointer));
    }
    if base.is_none() && !patch.is_empty() {
        return Err(Err(String::new()));
    }
    let mut document = session.document().clone();
    let options = Options { lenient: update.lenient, merge: false };
    match patch.apply(&mut document, options, &limits) {
        Ok(applied) => Ok((document, applied)),
        Err(_) => Err(Ok(ErrorCode::PathNotFound)),
    }
}
