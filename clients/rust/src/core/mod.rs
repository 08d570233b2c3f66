//! The client without I/O: what it says, in which order, and what it makes of what it hears. Never opens a socket, never
//! reads a clock, never draws a random number that was not seeded by the caller; the real client and the simulations
//! drive the very same code.
//!
//! How to drive it: call a `handle_*` method (or one of the application's), then
//! [`poll_command`](Core::poll_command) and [`poll_event`](Core::poll_event) until they are empty, hand what
//! [`poll_transmit`](Core::poll_transmit) gives to the link as fast as the link takes it, and call
//! [`handle_timeout`](Core::handle_timeout) at [`poll_timeout`](Core::poll_timeout). Times are milliseconds on any
//! clock that never goes back.
//!
//! What it promises, and how:
//! - *No gap, no duplicate.* A version that is not exactly one more than the last ends the connection; the next one
//!   resumes from the cursor.
//! - *No update lost.* Every own op stays in its session's queue until it is durable or refused. On a new connection all
//!   that are left are sent again, in order, with the same counters; the server knows those it has.
//! - *No update dropped.* What is refused because another device is active stays, as [`Core::unsent`], until the
//!   application sends it again or discards it.
//! - *No update twice.* (session, incarnation, counter) is the identity of an op; a counter is never used again, not
//!   after [`Core::export`] and [`Core::import`] either.

mod account;
mod apply;
mod backoff;
mod config;
mod connection;
mod event;
mod export;
mod queue;
mod receive;
mod request;
mod session;
mod snapshot;
mod unsent;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode, MAX_CLIENT_FRAME, Message, handshake,
    message::{self, Attached, Class, ConflictPolicy, DevicePolicy, Position, Scope},
};
use syncbridge_document::{Patch, Value};

pub use account::{Tokens, User};
pub use config::{After, Config, Limits, OnConflict, Times, UpdateDurability, UpdateOptions};
pub use event::{Disconnect, Event, Fault, LinkCommand, SessionEvent};
pub use export::{Export, ExportedOp, ExportedSession, ExportedUnsent, ImportError};
pub use request::{Failure, Purpose, Request, Response};
pub use unsent::UnsentUpdate;

use self::{
    account::Account,
    backoff::Backoff,
    connection::{Connection, Pulse},
    queue::{Body, Progress, Queue, Update},
    request::{Requests, failures},
    session::{Session, Subscription},
    snapshot::Assembly,
    unsent::Unsent,
};
use crate::{defaults, error::ServerError};

/// What the application asked for and cannot have. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `Core::subscribe` or `Core::create` comes first.
    #[error("the session is not subscribed to")]
    NotSubscribed,
    /// The session's first state has not come yet.
    #[error("the session's state is not here yet")]
    NotReady,
    /// The id is in use by this client.
    #[error("the session is already here")]
    AlreadyExists,
    /// The patch does not apply to the optimistic document.
    #[error("the patch does not apply: {0}")]
    DoesNotApply(String),
    /// The queue holds as many updates, or bytes of them, as it may.
    #[error("the queue of updates is full: {ops} updates, {bytes} bytes")]
    QueueFull {
        /// Updates that wait.
        ops: usize,
        /// Bytes of their patches.
        bytes: usize,
    },
    /// The server would not take a frame of this size.
    #[error("{bytes} bytes are too many for one message; at most {max} are taken")]
    TooLarge {
        /// What it would have.
        bytes: usize,
        /// What it may have.
        max: usize,
    },
    /// `After::Op` names an update that was never made, or was refused.
    #[error("update {0}, which this one builds on, was refused or never made")]
    UnknownDependency(u64),
    /// No update is kept as unsent under this counter.
    #[error("update {0} is not among the unsent ones")]
    NotUnsent(u64),
    /// It can only be said to a server, and there is none now.
    #[error("there is no connection")]
    Offline,
    /// It is the user's to ask, and nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
    /// As many as `Limits` allow are already there.
    #[error("{0} is the limit")]
    TooMany(usize),
}

/// Counts since the core was made. `gaps`, `duplicates` and `divergences` are 0 as long as the server keeps the rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections that reached `Welcome`.
    pub connections: u64,
    /// Versions that were skipped.
    pub gaps: u64,
    /// Versions that came twice.
    pub duplicates: u64,
    /// Changes that did not fit the client's copy.
    pub divergences: u64,
    /// All faults of the server, those above included.
    pub faults: u64,
    /// Subscriptions that went on from a cursor.
    pub resumed: u64,
    /// Snapshots that replaced the state.
    pub resets: u64,
    /// Of them, those after a crash that lost versions.
    pub lost: u64,
    /// Updates that were sent, resends included.
    pub updates_sent: u64,
}

#[derive(Debug)]
enum Link {
    /// No link. `None`: none is wanted.
    Offline {
        retry_at: Option<u64>,
    },
    Connecting,
    On(Box<Connection>),
}

#[derive(Debug)]
struct Drain {
    at: u64,
    address: Option<ByteString>,
}

#[derive(Debug)]
struct Get {
    session: ByteString,
    /// The head of an answer whose document comes in parts.
    loading: Option<(Assembly, Option<ByteString>)>,
}

/// The client without I/O; see the module.
#[derive(Debug)]
pub struct Core {
    config: Config,
    rng: fastrand::Rng,
    link: Link,
    backoff: Backoff,
    drain: Option<Drain>,
    /// Where the next attempt goes: the server that has what this client wants.
    elsewhere: Option<ByteString>,
    /// Sessions by id: a tree, so that a seed decides the order of everything.
    sessions: BTreeMap<ByteString, Session>,
    /// The newest counter of sessions that were left: a counter is never used again.
    counters: BTreeMap<ByteString, u64>,
    /// What is unsent in sessions that were left.
    unsent: BTreeMap<ByteString, Unsent>,
    gets: BTreeMap<u64, Get>,
    account: Account,
    asked: Requests,
    last_id: u64,
    control: VecDeque<Message>,
    requests: VecDeque<Message>,
    /// Sessions that may have an op to send.
    ready: VecDeque<ByteString>,
    /// When to look at a session again: after `Busy`, or because an answer is due.
    alarms: BTreeSet<(u64, ByteString)>,
    events: VecDeque<Event>,
    commands: VecDeque<LinkCommand>,
    stats: Stats,
}

impl Core {
    /// A core that connects as soon as [`Core::handle_timeout`] is called for the first time. The seed decides its
    /// random choices: pauses before reconnecting, and nothing else.
    pub fn new(config: Config, seed: u64) -> Self {
        let backoff = Backoff::new(config.times.backoff_base, config.times.backoff_cap);
        let account = Account::new(&config);
        let mut events = VecDeque::new();
        let retry_at = account.signed_in.then_some(0);
        if !account.signed_in {
            events.push_back(Event::SignedOut { error: None });
        }
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            link: Link::Offline { retry_at },
            backoff,
            drain: None,
            elsewhere: None,
            sessions: BTreeMap::new(),
            counters: BTreeMap::new(),
            unsent: BTreeMap::new(),
            gets: BTreeMap::new(),
            account,
            asked: Requests::default(),
            last_id: 0,
            control: VecDeque::new(),
            requests: VecDeque::new(),
            ready: VecDeque::new(),
            alarms: BTreeSet::new(),
            events,
            commands: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    // For the application.

    /// Makes a session, now or once connected, and subscribes to it. Updates may follow at once. The caller draws the id
    /// (128 random bits will do), so that a resend makes no second session. `Created` and `Durable` events carry the
    /// returned counter.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was done.
    pub fn create(
        &mut self,
        session: impl Into<ByteString>,
        state: Value,
        conflict: ConflictPolicy,
        devices: DevicePolicy,
    ) -> Result<u64, RequestError> {
        let id = session.into();
        if self.sessions.contains_key(&id) {
            return Err(RequestError::AlreadyExists);
        }
        let text = Bytes::from(state.to_json());
        self.check_size(text.len())?;
        self.enter(&id)?;
        let Some(entry) = self.sessions.get_mut(&id) else { return Err(RequestError::NotSubscribed) };
        let body = Body::Create { state: state.clone(), text, conflict, devices };
        let counter = entry.push(body, state);
        self.list(&id);
        Ok(counter)
    }

    /// Subscribes to a session, now and on every later connection. `Reset` tells when its state is here.
    ///
    /// # Errors
    /// [`RequestError::TooMany`].
    pub fn subscribe(&mut self, session: impl Into<ByteString>, now: u64) -> Result<(), RequestError> {
        let id = session.into();
        self.enter(&id)?;
        self.ask(&id, now);
        Ok(())
    }

    /// Leaves a session once its own updates are answered. Events of it that come until then are still told.
    pub fn unsubscribe(&mut self, session: &str, now: u64) {
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.wanted = false;
            let id = entry.id.clone();
            self.tidy(&id, now);
        }
    }

    /// Changes a session's document: at once in the optimistic document, at the server when connected. The returned
    /// counter names the update in `Accepted`, `Durable` and `Refused`.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub fn update(&mut self, session: &str, patch: Patch, options: &UpdateOptions) -> Result<u64, RequestError> {
        let text = Bytes::from(patch.to_json());
        self.check_size(text.len())?;
        let limits = self.config.limits;
        let entry = self.sessions.get_mut(session).filter(|entry| entry.wanted).ok_or(RequestError::NotSubscribed)?;
        let ops = entry.queue.len() + entry.unsent.all().len();
        let bytes = entry.queue.bytes() + entry.unsent.bytes();
        if ops >= limits.queue_ops || bytes + text.len() > limits.queue_bytes {
            return Err(RequestError::QueueFull { ops, bytes });
        }
        let mut document = entry.document().cloned().ok_or(RequestError::NotReady)?;
        let tested = apply::tested(&document, &patch);
        let touches = apply::apply(&mut document, &patch, options.lenient).map_err(RequestError::DoesNotApply)?.touches;
        let mut on = match options.after {
            After::Nothing => Vec::new(),
            After::All => entry.queue.dependencies(|_| true),
            After::Overlapping | After::Op(_) => entry.queue.dependencies(|older| {
                older.touches.overlap(&touches).is_some() || older.touches.overlap(&tested).is_some()
            }),
        };
        if let After::Op(counter) = options.after {
            if counter == 0 || counter > entry.queue.last() || entry.queue.was_refused(counter) {
                return Err(RequestError::UnknownDependency(counter));
            }
            if entry.queue.get(counter).is_some_and(|op| op.update().is_some()) && !on.contains(&counter) {
                on.push(counter);
            }
        }
        let update = Update {
            patch,
            text,
            touches,
            base: entry.have(),
            durability: options.durability.into(),
            on_conflict: options.on_conflict.into(),
            lenient: options.lenient,
            after: on.first().copied(),
            awaits: on.into_iter().skip(1).collect(),
            named: None,
        };
        let counter = entry.push(Body::Update(Box::new(update)), document);
        let id = entry.id.clone();
        self.list(&id);
        Ok(counter)
    }

    /// Own updates of a session that were refused because another device is active, in counter order. Also of a session
    /// that was left.
    pub fn unsent(&self, session: &str) -> &[UnsentUpdate] {
        let entry = self.sessions.get(session).map(|entry| &entry.unsent);
        entry.or_else(|| self.unsent.get(session)).map_or(&[], Unsent::all)
    }

    /// Makes an unsent update once more, for the document as it is now; its new counter. With an error it stays unsent.
    ///
    /// # Errors
    /// [`RequestError::NotUnsent`]; and as [`Core::update`].
    pub fn resend(&mut self, session: &str, counter: u64) -> Result<u64, RequestError> {
        let entry = self.sessions.get_mut(session).filter(|entry| entry.wanted).ok_or(RequestError::NotSubscribed)?;
        let unsent = entry.unsent.take(counter).ok_or(RequestError::NotUnsent(counter))?;
        let made = self.update(session, unsent.patch.clone(), &unsent.options);
        if made.is_err()
            && let Some(entry) = self.sessions.get_mut(session)
        {
            entry.unsent.restore(unsent);
        }
        made
    }

    /// Drops an unsent update: what it was, if there was one.
    pub fn discard(&mut self, session: &str, counter: u64) -> Option<UnsentUpdate> {
        let entry = self.sessions.get_mut(session).map(|entry| &mut entry.unsent);
        let unsent = entry.or_else(|| self.unsent.get_mut(session))?;
        let dropped = unsent.take(counter);
        self.unsent.retain(|_, unsent| !unsent.all().is_empty());
        dropped
    }

    /// Says whether a session may go to the device that asks for it (`HandoffRequested`). What comes of it is told by
    /// `HandoffCompleted`, or by a `Warning` when there is nothing to answer.
    ///
    /// # Errors
    /// [`RequestError::Offline`].
    pub fn answer_handoff(&mut self, handoff: impl Into<ByteString>, accept: bool) -> Result<(), RequestError> {
        if !self.is_connected() {
            return Err(RequestError::Offline);
        }
        self.requests.push_back(message::HandoffAnswer { handoff: handoff.into(), accept }.into());
        Ok(())
    }

    /// Asks for a session's document once, without subscribing. `Event::Document` or `Event::GetFailed` answers; asked
    /// again by itself after a lost connection.
    ///
    /// # Errors
    /// [`RequestError::TooMany`].
    pub fn get(&mut self, session: impl Into<ByteString>) -> Result<u64, RequestError> {
        if self.gets.len() >= self.config.limits.gets {
            return Err(RequestError::TooMany(self.config.limits.gets));
        }
        let (id, session) = (self.next_id(), session.into());
        if self.is_greeted() {
            self.requests.push_back(message::Get { id, session: session.clone() }.into());
        }
        self.gets.insert(id, Get { session, loading: None });
        Ok(id)
    }

    /// The optimistic document: the server's state with the own unanswered updates on top; `None` before the first
    /// state.
    pub fn document(&mut self, session: &str) -> Option<&Value> {
        self.sessions.get_mut(session)?.document()
    }

    /// Grows whenever [`Core::document`] may have changed.
    pub fn revision(&self, session: &str) -> Option<u64> {
        self.sessions.get(session).map(Session::revision)
    }

    /// The server's state as this client has it, and its place.
    pub fn server_state(&self, session: &str) -> Option<(&Value, &Position)> {
        let replica = self.sessions.get(session)?.replica.as_ref()?;
        Some((&replica.document, &replica.at))
    }

    /// Who is attached to a session, as far as notices told; and the active device.
    pub fn presence(&self, session: &str) -> Option<(&[Attached], Option<&ByteString>)> {
        let presence = self.sessions.get(session)?.presence();
        Some((&presence.devices, presence.active_device.as_ref()))
    }

    /// Own ops of a session that are not answered (and whether each is left out of the optimistic document because it
    /// no longer applies), in counter order.
    pub fn pending(&mut self, session: &str) -> Vec<(u64, bool)> {
        let Some(entry) = self.sessions.get_mut(session) else { return Vec::new() };
        let _ = entry.document();
        let pending = entry.queue.iter().filter(|op| op.progress == Progress::Pending);
        let pending = pending.filter(|op| !matches!(op.body, Body::GivenUp));
        pending.map(|op| (op.counter, op.skipped)).collect()
    }

    /// Own ops of a session that are not known durable, those of [`Core::pending`] included.
    pub fn unconfirmed(&self, session: &str) -> usize {
        self.sessions.get(session).map_or(0, |entry| entry.queue.len())
    }

    /// Whether the state of a session is here and events come.
    pub fn is_live(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(|entry| entry.subscription == Subscription::Live)
    }

    /// Whether `Welcome` came on the present connection.
    pub fn is_connected(&self) -> bool {
        matches!(&self.link, Link::On(connection) if connection.established.is_some())
    }

    /// Counts since the core was made.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// What the core was told about itself.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Connects again after `Stopped` or [`Core::close`]; at once if a pause before reconnecting runs. Not while nobody is
    /// signed in.
    pub fn restart(&mut self, now: u64) {
        if let Link::Offline { retry_at } = &mut self.link
            && self.account.signed_in
        {
            *retry_at = Some(now);
            self.backoff.reset();
        }
    }

    /// Ends the connection for good. The queues stay, for [`Core::export`] or [`Core::restart`].
    pub fn close(&mut self) {
        if !matches!(self.link, Link::Offline { .. }) {
            self.hang_up(0, ByteString::new());
        }
        self.reset_link();
        self.link = Link::Offline { retry_at: None };
    }

    // For the owner of the link.

    /// A link stands: `Hello` goes out, or what comes before it. Also when a link begins anew under the same core, as after
    /// a refused 0-RTT.
    pub fn handle_connected(&mut self, now: u64) {
        self.reset_link();
        self.link = Link::On(Box::new(Connection::new(now, self.config.limits.max_server_frame)));
        self.check_tokens(now);
        self.proceed(now);
    }

    /// Says `Hello`, and what need not wait for its answer.
    fn greet(&mut self, now: u64) {
        let Link::On(connection) = &mut self.link else { return };
        (connection.greeted, connection.since) = (true, now);
        let mut resume = Vec::new();
        for entry in self.sessions.values_mut() {
            if let Some(cursor) = entry.cursor() {
                (entry.subscription, entry.asked_at) = (Subscription::Resuming, now);
                resume.push(cursor);
                self.alarms.insert((now + self.config.times.answer, entry.id.clone()));
            }
        }
        let Config { token, device, incarnation, agent, notices, durable, .. } = &self.config;
        let hello = handshake::Client::hello(token.clone(), device.clone(), *incarnation, Scope::default(), resume);
        self.control.push_back(
            message::Hello { agent: agent.clone(), resume_notices: *notices, resume_durable: *durable, ..hello }.into(),
        );
        // Requests need not wait for `Welcome`; updates wait for their session's `Resumed` or `Reset`, which says
        // whether the place that they were made for is still true.
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.ask(&id, now);
            self.list(&id);
        }
        for (id, get) in &self.gets {
            self.requests.push_back(message::Get { id: *id, session: get.session.clone() }.into());
        }
    }

    /// The link broke, or could not be made. `code` is the protocol's number that the server ended it with, if it did
    /// (the QUIC application error code; the WebSocket close code less 4000): its last message may not have arrived.
    pub fn handle_disconnected(&mut self, now: u64, code: Option<u32>, reason: impl Into<ByteString>) {
        match self.link {
            Link::Offline { .. } => return,
            Link::Connecting => self.fail_requests(true),
            Link::On(_) => {}
        }
        let text = reason.into();
        match code.and_then(ErrorCode::from_number) {
            Some(code) => self.ended(now, ServerError::of(code, text), None),
            None => self.lost(now, Disconnect::Link(text), None),
        }
    }

    /// Bytes came, in any chunking. On QUIC each stream has its own class; on WebSocket all is `Control`.
    pub fn handle_bytes(&mut self, now: u64, class: Class, bytes: Bytes) {
        let Link::On(connection) = &mut self.link else { return };
        connection.heard(now, class, bytes);
        loop {
            // A message may have ended the connection.
            let Link::On(connection) = &mut self.link else { return };
            match connection.next_message(class) {
                Ok(Some(message)) => {
                    if let Err(fault) = self.receive(now, class, message) {
                        return self.fault(now, fault);
                    }
                }
                Ok(None) => return,
                Err(error) => return self.fault(now, error.into()),
            }
        }
    }

    /// The time of [`Core::poll_timeout`] has come. Harmless at any other time.
    pub fn handle_timeout(&mut self, now: u64) {
        if self.drain.as_ref().is_some_and(|drain| drain.at <= now) && matches!(self.link, Link::On(_)) {
            self.hang_up(0, ByteString::from_static("draining"));
            self.lost(now, Disconnect::Draining, None);
        }
        let Times { handshake, pong, .. } = self.config.times;
        match &mut self.link {
            Link::Offline { retry_at: Some(at) } if *at <= now => {
                self.link = Link::Connecting;
                let elsewhere = self.elsewhere.take();
                let address = self.drain.take().and_then(|drain| drain.address).or(elsewhere);
                self.commands.push_back(LinkCommand::Connect { address });
            }
            Link::On(connection) => match connection.pulse(now, handshake, pong) {
                Pulse::Fine => {}
                Pulse::Ping(nonce) => self.control.push_back(message::Ping { nonce }.into()),
                Pulse::Dead => {
                    self.hang_up(ErrorCode::TimedOut as u32, ByteString::from_static("silence"));
                    self.lost(now, Disconnect::Silent, None);
                }
            },
            Link::Offline { .. } | Link::Connecting => {}
        }
        self.check_tokens(now);
        while let Some((at, id)) = self.alarms.pop_first() {
            if at > now {
                self.alarms.insert((at, id));
                break;
            }
            self.on_alarm(now, &id);
        }
    }

    /// When [`Core::handle_timeout`] is to be called; `None`: not before something else happens.
    pub fn poll_timeout(&self) -> Option<u64> {
        let Times { handshake, pong, .. } = self.config.times;
        let link = match &self.link {
            Link::Offline { retry_at } => *retry_at,
            Link::Connecting => None,
            Link::On(connection) => Some(connection.pulse_at(handshake, pong)),
        };
        let drain = self.drain.as_ref().filter(|_| matches!(self.link, Link::On(_))).map(|drain| drain.at);
        let alarm = self.alarms.first().map(|(at, _)| *at);
        [link, drain, alarm, self.check_tokens_at()].into_iter().flatten().min()
    }

    /// The next frame for streams of this class; `None` when there is nothing to say. Ask for it only when the link
    /// takes it: what is not asked for yet stays in the queues, where it is bounded.
    pub fn poll_transmit(&mut self, now: u64, class: Class) -> Option<Bytes> {
        let Link::On(connection) = &mut self.link else { return None };
        let message = match class {
            Class::Control => self.control.pop_front(),
            Class::Session => self.requests.pop_front().or_else(|| {
                while let Some(id) = self.ready.pop_front() {
                    let Some(entry) = self.sessions.get_mut(&id) else { continue };
                    if let Some(message) = entry.next_message(self.config.limits.unconfirmed_ops) {
                        self.stats.updates_sent += 1;
                        // One op a turn, so that a session with many does not hold up the others.
                        self.ready.push_back(id);
                        return Some(message);
                    }
                    entry.is_listed = false;
                }
                None
            }),
        }?;
        connection.said(now);
        Some(message.to_frame())
    }

    /// The next thing that the owner of the link has to do.
    pub fn poll_command(&mut self) -> Option<LinkCommand> {
        self.commands.pop_front()
    }

    /// The next thing that the application should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    // Within.

    /// Whether `Hello` went out on the present connection.
    fn is_greeted(&self) -> bool {
        matches!(&self.link, Link::On(connection) if connection.greeted)
    }

    const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Largest frame that the server takes, bytes.
    fn max_frame(&self) -> usize {
        let established = match &self.link {
            Link::On(connection) => connection.established.as_ref(),
            Link::Offline { .. } | Link::Connecting => None,
        };
        established.map_or(MAX_CLIENT_FRAME, |established| established.limits.max_client_frame)
    }

    fn check_size(&self, text: usize) -> Result<(), RequestError> {
        let max = self.max_frame().saturating_sub(defaults::UPDATE_OVERHEAD);
        if text > max { Err(RequestError::TooLarge { bytes: text, max }) } else { Ok(()) }
    }

    /// Makes sure that the session is among those that the application wants.
    fn enter(&mut self, id: &ByteString) -> Result<(), RequestError> {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.wanted = true;
            return Ok(());
        }
        let left = self.unsent.len() - usize::from(self.unsent.contains_key(id));
        if self.sessions.len() + left >= self.config.limits.sessions {
            return Err(RequestError::TooMany(self.config.limits.sessions));
        }
        let queue = Queue::after(self.counters.remove(id).unwrap_or(0));
        let mut session = Session::new(id.clone(), queue);
        session.unsent = self.unsent.remove(id).unwrap_or_default();
        self.sessions.insert(id.clone(), session);
        Ok(())
    }

    /// Forgets a session, but not its counter, nor what is unsent.
    fn leave(&mut self, id: &ByteString) {
        if let Some(entry) = self.sessions.remove(id)
            && entry.queue.last() > 0
        {
            self.counters.insert(entry.id.clone(), entry.queue.last());
            if !entry.unsent.all().is_empty() {
                self.unsent.insert(entry.id, entry.unsent);
            }
        }
    }

    /// Lists a session as one that may have something to send.
    fn list(&mut self, id: &ByteString) {
        if let Some(entry) = self.sessions.get_mut(id)
            && !entry.is_listed
            && matches!(&self.link, Link::On(connection) if connection.greeted)
        {
            entry.is_listed = true;
            self.ready.push_back(id.clone());
        }
    }

    /// Asks for a session's events, if there is a connection and the session has none.
    fn ask(&mut self, id: &ByteString, now: u64) {
        if !self.is_greeted() {
            return;
        }
        let request = self.next_id();
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if entry.is_unmade() || !matches!(entry.subscription, Subscription::Idle | Subscription::Leaving { .. }) {
            return;
        }
        (entry.subscription, entry.asked_at) = (Subscription::Asked { id: request }, now);
        self.alarms.insert((now + self.config.times.answer, id.clone()));
        self.requests.push_back(
            message::Subscribe {
                id: request,
                session: id.clone(),
                have: entry.have(),
                notices: self.config.notices,
                durable: self.config.durable,
            }
            .into(),
        );
    }

    /// After anything happened to a session: lists it, and leaves it when nobody needs it any more.
    fn tidy(&mut self, id: &ByteString, now: u64) {
        self.list(id);
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if entry.wanted || !entry.queue.is_empty() {
            return;
        }
        match (&self.link, entry.subscription) {
            (Link::On(_), Subscription::Live | Subscription::Loading | Subscription::Asked { .. }) => {
                self.last_id += 1;
                (entry.subscription, entry.asked_at) = (Subscription::Leaving { id: self.last_id }, now);
                self.alarms.insert((now + self.config.times.answer, id.clone()));
                self.requests.push_back(message::Unsubscribe { id: self.last_id, session: id.clone() }.into());
            }
            // Its answer is awaited first.
            (Link::On(_), Subscription::Leaving { .. } | Subscription::Resuming) => {}
            _ => self.leave(id),
        }
    }

    fn on_alarm(&mut self, now: u64, id: &ByteString) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if entry.retry_at.is_some_and(|at| at <= now) {
            entry.retry_at = None;
            self.ask(id, now);
            self.list(id);
            return;
        }
        let waits = matches!(
            entry.subscription,
            Subscription::Asked { .. } | Subscription::Resuming | Subscription::Leaving { .. }
        );
        if waits && entry.asked_at + self.config.times.answer <= now {
            let session = id.clone();
            self.fault(now, Fault::Unanswered { session });
        }
    }

    /// Does without the server for a while, for this session.
    fn pause(&mut self, now: u64, id: &ByteString, retry_after: Option<u64>) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        // The ops behind a busy one are answered with it; together they are one round.
        let rounds = entry.busy_rounds.min(16);
        if entry.retry_at.is_none() {
            entry.busy_rounds += 1;
        }
        let least = retry_after.unwrap_or_else(|| (defaults::BUSY_BASE_MS << rounds).min(defaults::BUSY_CAP_MS));
        // Spread, or all that were refused together come back together.
        let at = now + least + self.rng.u64(0..=least / 4 + 1);
        if entry.retry_at.is_none_or(|before| before < at) {
            entry.retry_at = Some(at);
            self.alarms.insert((at, id.clone()));
        }
    }

    /// The server broke the protocol: reconnect and ask again.
    fn fault(&mut self, now: u64, fault: Fault) {
        self.stats.faults += 1;
        match &fault {
            Fault::Gap { session, .. } => {
                self.stats.gaps += 1;
                self.doubt(&session.clone());
            }
            Fault::Duplicate { session, .. } => {
                self.stats.duplicates += 1;
                self.doubt(&session.clone());
            }
            Fault::Diverged { session, .. } => {
                self.stats.divergences += 1;
                self.doubt(&session.clone());
            }
            Fault::Protocol(_) | Fault::Handshake(_) | Fault::Snapshot(_) | Fault::Unanswered { .. } => {}
        }
        self.hang_up(fault.code() as u32, ByteString::from(fault.to_string()));
        self.lost(now, Disconnect::Fault(fault), None);
    }

    /// A replica that does not go together with what the server says is fetched anew.
    fn doubt(&mut self, id: &ByteString) {
        if let Some(entry) = self.sessions.get_mut(id) {
            entry.distrusted = true;
        }
    }

    fn hang_up(&mut self, code: u32, text: ByteString) {
        let last = Message::from(message::Close { code, text: text.clone() }).to_frame();
        self.commands.push_back(LinkCommand::Disconnect { code, text, last });
    }

    /// Forgets everything that belongs to one user: what is not answered is refused.
    fn forget_sessions(&mut self, error: &ServerError) {
        for id in self.sessions.keys().cloned().collect::<Vec<_>>() {
            let Some(entry) = self.sessions.get_mut(&id) else { continue };
            let mut told = Vec::new();
            entry.end(error, &mut told);
            entry.unsent = Unsent::default();
            self.tell(&id, told);
            self.leave(&id);
        }
        self.unsent.clear();
        for request in std::mem::take(&mut self.gets).into_keys() {
            self.events.push_back(Event::GetFailed { request, error: error.clone() });
        }
    }

    /// Forgets everything that belongs to one connection.
    fn reset_link(&mut self) {
        self.fail_requests(false);
        self.control.clear();
        self.requests.clear();
        self.ready.clear();
        self.alarms.clear();
        for get in self.gets.values_mut() {
            get.loading = None;
        }
        for entry in self.sessions.values_mut() {
            entry.on_link_lost();
        }
        let unwanted = self.sessions.values().filter(|entry| !entry.wanted && entry.queue.is_empty());
        for id in unwanted.map(|entry| entry.id.clone()).collect::<Vec<_>>() {
            self.leave(&id);
        }
    }

    fn lost(&mut self, now: u64, reason: Disconnect, retry_after: Option<u64>) {
        if let Link::On(connection) = &self.link
            && connection.established.is_some()
            && now.saturating_sub(connection.since) >= self.config.times.stable_after
        {
            self.backoff.reset();
        }
        self.reset_link();
        if !self.account.signed_in && !self.asks_as_nobody() {
            self.link = Link::Offline { retry_at: None };
            self.events.push_back(Event::SignedOut { error: None });
            return;
        }
        let pause = self.backoff.next(&mut self.rng).max(retry_after.unwrap_or(0));
        let retry_at = self.drain.as_ref().map_or(now + pause, |drain| drain.at.max(now));
        self.link = Link::Offline { retry_at: Some(retry_at) };
        self.events.push_back(Event::Disconnected { reason, retry_at });
    }

    /// The server does not take this client: no further attempt.
    fn stop(&mut self, error: ServerError) {
        self.reset_link();
        self.link = Link::Offline { retry_at: None };
        let failed = self.asked.fail(|_| true);
        self.events.extend(failures(failed, &Failure::Server(error.clone())));
        self.events.push_back(Event::Stopped { error });
    }
}
