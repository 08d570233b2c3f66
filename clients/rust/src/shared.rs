//! What the handles and the driver share: the core behind one short lock, and who waits for what. Never awaits while it
//! holds the lock, never touches a link.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytestring::ByteString;
use syncbridge_codec::ErrorCode;
use tokio::{
    sync::{Notify, broadcast, oneshot, watch},
    time::Instant,
};

use crate::{
    change::{Change, ChangeKind},
    config::Document,
    core::{Core, Disconnect, Event, Failure, Response, SessionEvent, Tokens, UpdateDurability},
    defaults,
    error::{Error, Refusal, ServerError},
    status::{Phase, Status},
    transport::{ConnectError, Connector, Via},
    update::OpState,
};

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) wake: Notify,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) tokens: watch::Sender<Option<Tokens>>,
    pub(crate) connector: Arc<Connector>,
    /// Where the server is, as an authority (RFC 3986 §3.2).
    pub(crate) authority: ByteString,
    origin: Instant,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) core: Core,
    pub(crate) sessions: HashMap<ByteString, Entry>,
    ops: HashMap<(ByteString, u64), Waiter>,
    gets: HashMap<u64, oneshot::Sender<Result<Document, Error>>>,
    asked: HashMap<u64, oneshot::Sender<Result<Response, Error>>>,
    pub(crate) closing: bool,
    /// Why the last attempt failed, for `Client::connect`.
    pub(crate) last_failure: Option<ConnectError>,
}

/// A session that handles look at.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) handles: usize,
    pub(crate) changes: broadcast::Sender<Change>,
    /// Whether its first state is here, or why it never will be.
    pub(crate) ready: watch::Sender<Readiness>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    Waiting,
    Ready,
    Ended(ServerError),
    Closed,
}

#[derive(Debug)]
struct Waiter {
    state: watch::Sender<OpState>,
    /// `Durable` never comes for it.
    forgotten_when_accepted: bool,
}

impl Shared {
    pub(crate) fn new(core: Core, connector: Connector, authority: ByteString, tokens: Option<Tokens>) -> Self {
        let state = State {
            core,
            sessions: HashMap::new(),
            ops: HashMap::new(),
            gets: HashMap::new(),
            asked: HashMap::new(),
            closing: false,
            last_failure: None,
        };
        Self {
            state: Mutex::new(state),
            wake: Notify::new(),
            status: watch::Sender::new(Status { phase: Phase::Connecting, since: Instant::now() }),
            tokens: watch::Sender::new(tokens),
            connector: Arc::new(connector),
            authority,
            origin: Instant::now(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of one holder must not take all others with it: every change under the lock is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The core's clock.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_millis(at)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.status.send_replace(Status { phase, since: Instant::now() });
    }

    /// Passes on everything that the core has to tell.
    pub(crate) fn tell(&self, state: &mut State, via: Option<Via>) {
        while let Some(event) = state.core.poll_event() {
            match event {
                Event::Connected { connection, user, device } => {
                    let via = via.unwrap_or(Via::Memory);
                    self.set_phase(Phase::Connected {
                        via,
                        connection,
                        user: user.to_string(),
                        device: device.to_string(),
                    });
                }
                Event::Disconnected { reason, retry_at } => {
                    let retry_at = self.instant(retry_at);
                    self.set_phase(Phase::Waiting { reason, retry_at });
                }
                Event::Stopped { error } => self.set_phase(Phase::Stopped { error }),
                Event::Draining { reconnect_at } => tracing::info!(at = reconnect_at, "the server is going down"),
                Event::Warning { error } => tracing::warn!(%error, "the server reported an error"),
                Event::Session { session, event } => state.session_event(&session, event),
                Event::Document { request, at, document, active_device, .. } => {
                    let active_device = active_device.map(|device| device.to_string());
                    state.answer_get(request, Ok(Document { at, value: document, active_device }));
                }
                Event::GetFailed { request, error } => state.answer_get(request, Err(Error::Server(error))),
                Event::SignedIn { tokens } => {
                    self.tokens.send_replace(Some(*tokens));
                }
                Event::SignedOut { error } => {
                    self.tokens.send_replace(None);
                    self.set_phase(Phase::SignedOut { error });
                }
                Event::Answered { request, answer } => {
                    if let Some(waiter) = state.asked.remove(&request) {
                        // Who asked may have stopped waiting.
                        let _ = waiter.send(answer.map_err(Error::from));
                    }
                }
            }
        }
    }
}

impl State {
    /// Looks at a session from one more handle.
    pub(crate) fn attach(&mut self, id: &ByteString) -> &mut Entry {
        let is_ready = self.core.document(id).is_some();
        let entry = self.sessions.entry(id.clone()).or_insert_with(|| Entry {
            handles: 0,
            changes: broadcast::Sender::new(defaults::CHANGES),
            ready: watch::Sender::new(if is_ready { Readiness::Ready } else { Readiness::Waiting }),
        });
        if matches!(*entry.ready.borrow(), Readiness::Ended(_)) {
            // It is asked for again.
            entry.ready.send_replace(if is_ready { Readiness::Ready } else { Readiness::Waiting });
        }
        entry.handles += 1;
        entry
    }

    /// A handle is gone; with the last one the session is left.
    pub(crate) fn detach(&mut self, id: &ByteString, now: u64) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        entry.handles -= 1;
        if entry.handles == 0 {
            self.sessions.remove(id);
            self.core.unsubscribe(id, now);
        }
    }

    /// What becomes of an op.
    pub(crate) fn watch_op(
        &mut self,
        id: &ByteString,
        counter: u64,
        durability: UpdateDurability,
    ) -> watch::Receiver<OpState> {
        let (state, receiver) = watch::channel(OpState::Pending);
        let forgotten_when_accepted = durability == UpdateDurability::Accepted;
        self.ops.insert((id.clone(), counter), Waiter { state, forgotten_when_accepted });
        receiver
    }

    pub(crate) fn watch_get(&mut self, request: u64) -> oneshot::Receiver<Result<Document, Error>> {
        let (sender, receiver) = oneshot::channel();
        self.gets.insert(request, sender);
        receiver
    }

    pub(crate) fn watch_request(&mut self, request: u64) -> oneshot::Receiver<Result<Response, Error>> {
        let (sender, receiver) = oneshot::channel();
        self.asked.insert(request, sender);
        receiver
    }

    /// Nobody waits for it any more.
    pub(crate) fn cancel(&mut self, request: u64, now: u64) {
        // What is answered is known to nobody here.
        if self.asked.remove(&request).is_some() {
            self.core.cancel(request, now);
        }
    }

    fn answer_get(&mut self, request: u64, answer: Result<Document, Error>) {
        if let Some(waiter) = self.gets.remove(&request) {
            // Who asked may have stopped waiting.
            let _ = waiter.send(answer);
        }
    }

    fn op(&mut self, id: &ByteString, counter: u64, state: OpState) {
        let key = (id.clone(), counter);
        let Some(waiter) = self.ops.get(&key) else { return };
        let is_last = match &state {
            OpState::Accepted(_) => waiter.forgotten_when_accepted,
            OpState::Durable(_) | OpState::Refused(_) => true,
            OpState::Pending | OpState::Closed => false,
        };
        waiter.state.send_replace(state);
        if is_last {
            self.ops.remove(&key);
        }
    }

    fn session_event(&mut self, id: &ByteString, event: SessionEvent) {
        let mut place = None;
        let kind = match event {
            SessionEvent::Reset { reason, at, last_kept } => {
                place = Some(at);
                ChangeKind::Reset { reason, last_kept }
            }
            SessionEvent::Resumed { at, version } => {
                place = Some(at);
                ChangeKind::Resumed { version }
            }
            SessionEvent::Changed { at, patch, device, own, time_ms, .. } => {
                place = Some(at);
                ChangeKind::Delta { patch, device: device.to_string(), own, time_ms }
            }
            SessionEvent::Created { counter, at } => {
                self.op(id, counter, OpState::Accepted(at.clone()));
                place = Some(at);
                ChangeKind::Created
            }
            SessionEvent::Accepted { counter, at } => {
                self.op(id, counter, OpState::Accepted(at.clone()));
                place = Some(at);
                ChangeKind::Accepted { op: counter }
            }
            SessionEvent::Durable { counter, at } => {
                self.op(id, counter, OpState::Durable(at.clone()));
                place = Some(at);
                ChangeKind::Durable { op: counter }
            }
            SessionEvent::Refused { counter, patch, refusal } => {
                self.op(id, counter, OpState::Refused(refusal.clone()));
                ChangeKind::Refused { op: counter, patch, refusal }
            }
            SessionEvent::DurableUpTo { at } => {
                place = Some(at);
                ChangeKind::DurableUpTo
            }
            SessionEvent::Presence { devices, active_device } => {
                ChangeKind::Presence { devices, active_device: active_device.map(|device| device.to_string()) }
            }
            SessionEvent::DeviceJoined(device) => ChangeKind::DeviceJoined(device),
            SessionEvent::DeviceLeft { device, user } => {
                ChangeKind::DeviceLeft { device: device.to_string(), user: user.to_string() }
            }
            SessionEvent::HandoffRequested { handoff, user, device, expires_ms } => ChangeKind::HandoffRequested {
                handoff: handoff.to_string(),
                user: user.to_string(),
                device: device.to_string(),
                expires_ms,
            },
            SessionEvent::HandoffCompleted { handoff, from, user, device } => ChangeKind::HandoffCompleted {
                handoff: handoff.to_string(),
                from: from.map(|from| from.to_string()),
                user: user.to_string(),
                device: device.to_string(),
            },
            SessionEvent::AccessChanged { user, role } => ChangeKind::AccessChanged { user: user.to_string(), role },
            SessionEvent::Deleted => ChangeKind::Deleted,
            SessionEvent::NoticesLagged => return,
            SessionEvent::Ended { error } => ChangeKind::Ended { error },
        };
        let document = self.core.document(id).cloned();
        let at = place.or_else(|| self.core.server_state(id).map(|(_, at)| at.clone())).unwrap_or_default();
        let Some(entry) = self.sessions.get(id) else { return };
        match &kind {
            ChangeKind::Ended { error } => {
                entry.ready.send_replace(Readiness::Ended(error.clone()));
            }
            _ if document.is_some() => {
                entry.ready.send_if_modified(|ready| {
                    let news = *ready != Readiness::Ready;
                    *ready = Readiness::Ready;
                    news
                });
            }
            _ => {}
        }
        // Nobody may be listening; a reader that is too slow is told `Lagged` by the channel.
        let _ = entry.changes.send(Change { kind, at, document });
    }

    /// The client is closed: whoever waits is told.
    pub(crate) fn finish(&mut self) {
        for (_, waiter) in self.ops.drain() {
            waiter.state.send_replace(OpState::Closed);
        }
        for (_, waiter) in self.gets.drain() {
            let _ = waiter.send(Err(Error::Closed));
        }
        for (_, waiter) in self.asked.drain() {
            let _ = waiter.send(Err(Error::Closed));
        }
        for entry in self.sessions.values() {
            entry.ready.send_replace(Readiness::Closed);
        }
        self.sessions.clear();
    }
}

impl From<&Disconnect> for Error {
    fn from(reason: &Disconnect) -> Self {
        match reason {
            Disconnect::Server(error) => Self::Server(error.clone()),
            reason => Self::Server(ServerError::of(ErrorCode::TimedOut, reason.to_string())),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Server(error) => Self::Server(error),
            Failure::Disconnected => Self::Disconnected,
            Failure::SignedOut => Self::SignedOut,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
