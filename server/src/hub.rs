//! The map of live sessions. Loads them, locks them, runs a core, and hands its effects out before the lock is
//! released: so inbox order = version order = commit order.

mod subscribe;

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use bytestring::ByteString;
use dashmap::DashMap;
use parking_lot::{Mutex, MutexGuard};
use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Position},
};
use syncbridge_document::Value;
use syncbridge_storage::{Engine, Outcome, Write};

pub use subscribe::{Request, Snapshot, Subscribed};

use crate::{
    admin::Metrics,
    auth::access::{self, Decision, Operation, Resource, Role},
    connection::Identity,
    fanout::{Event, TopicId},
    persist::{Persist, Refusal},
    session::{self, ConnId, Core, Effect, Meta, Now, Preparation, Prepared, Writer},
    shard::inbox::{Inbox, Item},
};

/// A session that is in memory.
#[derive(Debug)]
pub struct Session {
    /// Its id.
    pub id: Arc<str>,
    /// Its state topic; the notice topic is the next number.
    topic: TopicId,
    live: Mutex<Live>,
}

impl Session {
    /// The topic of its state.
    pub const fn state_topic(&self) -> TopicId {
        self.topic
    }

    /// The topic of its notices.
    pub const fn notice_topic(&self) -> TopicId {
        TopicId(self.topic.0 + 1)
    }
}

#[derive(Debug)]
struct Live {
    core: Core,
    /// What the connections of each shard subscribe to.
    interest: Vec<Interest>,
    /// The document as text, encoded once per version.
    text: Option<(u64, Bytes)>,
    /// It is no longer this server's, or its store failed: nothing it says is true any more.
    over: bool,
    used_ms: u64,
}

/// Subscriptions of one shard's connections.
#[derive(Debug, Clone, Copy, Default)]
struct Interest {
    state: u32,
    notices: u32,
    durable: u32,
}

/// What went wrong with a request, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The error.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault without a time to try again.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), retry_after_ms: None }
    }

    fn not_found(session: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no session {session:?} that you may see"))
    }
}

/// Bounds of the hub.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// A session that nobody uses leaves memory after this long.
    pub unload_after_ms: u64,
    /// Items that may wait in a shard's inbox before updates are `Busy`.
    pub max_inbox: usize,
    /// Connections that one user may have.
    pub max_connections: u32,
    /// The rules of the session core.
    pub session: session::Bounds,
}

/// See the file's head.
pub struct Hub {
    sessions: DashMap<Arc<str>, Arc<Session>>,
    /// Held while a session is made or loaded, by a stripe of its id: what is loaded cannot have been changed and
    /// unloaded in between.
    stripes: Vec<Mutex<()>>,
    inboxes: Vec<Arc<Inbox>>,
    persist: Arc<Persist>,
    checkpoints: std::sync::mpsc::SyncSender<Checkpoint>,
    topics: AtomicU64,
    /// Connections of each user.
    users: DashMap<Arc<str>, u32>,
    timers: Mutex<BinaryHeap<Reverse<Timer>>>,
    draining: AtomicBool,
    open: bool,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

struct Timer(u64, Weak<Session>);

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// A document that is to be written behind the log. It shares its structure with the live one.
pub struct Checkpoint {
    session: Arc<str>,
    epoch: u64,
    version: u64,
    document: Value,
}

thread_local! {
    /// Effects of one command; kept, so that a command allocates none.
    static EFFECTS: RefCell<Vec<Effect>> = const { RefCell::new(Vec::new()) };
}

const STRIPES: usize = 64;

impl Hub {
    /// A hub over `persist`, for shards with these inboxes. The receiver goes to [`Hub::write_checkpoints`].
    pub fn new(
        persist: &Arc<Persist>,
        inboxes: Vec<Arc<Inbox>>,
        open: bool,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, std::sync::mpsc::Receiver<Checkpoint>) {
        let (checkpoints, receiver) = std::sync::mpsc::sync_channel(crate::defaults::CHECKPOINT_QUEUE);
        let hub = Arc::new(Self {
            sessions: DashMap::new(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            inboxes,
            persist: Arc::clone(persist),
            checkpoints,
            topics: AtomicU64::new(0),
            users: DashMap::new(),
            timers: Mutex::default(),
            draining: AtomicBool::new(false),
            open,
            bounds,
            metrics,
        });
        persist.serve(&hub);
        (hub, receiver)
    }

    /// The store, for reads.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        self.persist.engine()
    }

    /// The server's epoch.
    pub fn epoch(&self) -> u64 {
        self.engine().epoch()
    }

    /// Sessions in memory.
    pub fn live(&self) -> usize {
        self.sessions.len()
    }

    /// The inbox of the shard that a connection lives on.
    fn inbox(&self, conn: ConnId) -> Option<&Arc<Inbox>> {
        self.inboxes.get(crate::shard::shard_of(conn))
    }

    /// A session that is in memory.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions.get(id).map(|session| Arc::clone(&session))
    }

    fn stripe(&self, id: &str) -> MutexGuard<'_, ()> {
        use std::hash::BuildHasher;
        let hash = self.sessions.hasher().hash_one(id);
        self.stripes[(hash % STRIPES as u64) as usize].lock()
    }

    fn load_in_stripe(&self, id: &str, now: Now) -> Result<Option<Arc<Session>>, Fault> {
        if let Some(session) = self.find(id) {
            return Ok(Some(session));
        }
        let Some(stored) = self.engine().load(id).map_err(|error| storage_fault(&error))? else { return Ok(None) };
        let id: Arc<str> = id.into();
        let core = Core::restore(Arc::clone(&id), stored, self.epoch(), self.bounds.session).map_err(|damaged| {
            tracing::error!(session = &*id, %damaged, "a stored session cannot be restored");
            Fault::new(ErrorCode::SessionDamaged, damaged.to_string())
        })?;
        let session = self.wrap(id, core, now);
        self.sessions.insert(Arc::clone(&session.id), Arc::clone(&session));
        Ok(Some(session))
    }

    fn wrap(&self, id: Arc<str>, core: Core, now: Now) -> Arc<Session> {
        Arc::new(Session {
            id,
            topic: TopicId(self.topics.fetch_add(2, Ordering::Relaxed)),
            live: Mutex::new(Live {
                core,
                interest: vec![Interest::default(); self.inboxes.len()],
                text: None,
                over: false,
                used_ms: now.mono_ms,
            }),
        })
    }

    /// Makes a session, or answers the resend of a `Create`. Blocks: never call it on a shard. The answer goes to the
    /// connection's inbox, once it is durable.
    ///
    /// # Errors
    /// [`Fault`] to answer at once.
    pub fn create(&self, conn: ConnId, who: &Identity, create: &message::Create, now: Now) -> Result<(), Fault> {
        self.accepting(now)?;
        let id: Arc<str> = if create.session.is_empty() {
            random_id().into()
        } else {
            if !syncbridge_codec::id::is_session(&create.session) {
                return Err(Fault::new(
                    ErrorCode::InvalidSessionId,
                    "a session id is 1 to 128 of A-Z a-z 0-9 . _ ~ : @ - and neither . nor ..",
                ));
            }
            (&*create.session).into()
        };
        let writer = Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn };
        let _stripe = self.stripe(&id);
        if let Some(session) = self.load_in_stripe(&id, now)? {
            // Ids are global: that one is taken is said to strangers too, and nothing else of it.
            self.run(&session, now, |live, out| live.core.create_again(&writer, create, now, out));
            return Ok(());
        }
        let state = Value::parse(&create.state, &self.bounds.session.document)
            .map_err(|invalid| Fault::new(ErrorCode::InvalidJson, invalid.to_string()))?;
        let meta = Meta::owned(&who.user, create.conflict, create.devices, &who.device);
        self.make(id, meta, state, &writer, create.counter, now);
        Ok(())
    }

    /// A session for somebody who addresses it. Under `--open` one that does not exist is made, empty, and open to every
    /// user. Blocks.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub fn load_or_open(
        &self,
        id: &str,
        who: &Identity,
        operation: Operation,
        now: Now,
    ) -> Result<Option<Arc<Session>>, Fault> {
        if let Some(session) = self.find(id) {
            return Ok(Some(session));
        }
        let _stripe = self.stripe(id);
        if let Some(session) = self.load_in_stripe(id, now)? {
            return Ok(Some(session));
        }
        let decision = access::may(&who.user, operation, Resource::Missing { open: self.open });
        if decision != Decision::AllowedOnceMade || !syncbridge_codec::id::is_session(id) {
            return Ok(None);
        }
        self.accepting(now)?;
        let meta = Meta::open(&who.user);
        // No connection waits for an answer, and counter 0 is nobody's op.
        let writer =
            Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn: ConnId(u64::MAX) };
        Ok(Some(self.make(id.into(), meta, Value::object(), &writer, 0, now)))
    }

    fn make(
        &self,
        id: Arc<str>,
        meta: Meta,
        state: Value,
        writer: &Writer<'_>,
        counter: u64,
        now: Now,
    ) -> Arc<Session> {
        let mut out = Vec::new();
        let core = Core::create(
            Arc::clone(&id),
            self.epoch(),
            meta,
            state,
            writer,
            counter,
            now,
            self.bounds.session,
            &mut out,
        );
        let session = self.wrap(id, core, now);
        // Locked before it can be found, so that its first commit is queued before any other.
        let mut live = session.live.lock();
        self.sessions.insert(Arc::clone(&session.id), Arc::clone(&session));
        self.hand_out(&session, &mut live, &mut out, now);
        drop(live);
        session
    }

    /// Whether new work is taken.
    fn accepting(&self, now: Now) -> Result<(), Fault> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Fault {
                code: ErrorCode::Busy,
                text: "the server is going down".into(),
                retry_after_ms: Some(crate::defaults::DRAIN_RETRY_MS),
            });
        }
        match self.persist.refusal(now) {
            None => Ok(()),
            Some(Refusal::Busy { retry_after_ms }) => Err(Fault {
                code: ErrorCode::Busy,
                text: "the disk is behind".into(),
                retry_after_ms: Some(retry_after_ms),
            }),
            Some(Refusal::Failed) => {
                Err(Fault::new(ErrorCode::StorageFailed, "the store failed; an operator has to look"))
            }
        }
    }

    /// Changes a document. The answer goes to the connection's inbox, in the session's order. `Some`: it is much work;
    /// run it off the shard and come back with [`Hub::update_prepared`].
    ///
    /// # Errors
    /// [`Fault`] when the writer may not.
    pub fn update(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        update: &message::Update,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        self.write(session, conn, who, update, None, now)
    }

    /// The same update, prepared. `Some`: the document had changed; once more.
    ///
    /// # Errors
    /// [`Fault`] when the writer may not, or no longer.
    pub fn update_prepared(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        update: &message::Update,
        prepared: Prepared,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        self.write(session, conn, who, update, Some(prepared), now)
    }

    fn write(
        &self,
        session: &Arc<Session>,
        conn: ConnId,
        who: &Identity,
        update: &message::Update,
        prepared: Option<Prepared>,
        now: Now,
    ) -> Result<Option<Preparation>, Fault> {
        let writer = Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn };
        let accepting = match self.inbox(conn) {
            Some(inbox) if inbox.len() > self.bounds.max_inbox => Err(Fault {
                code: ErrorCode::Busy,
                text: "the server is behind".into(),
                retry_after_ms: Some(crate::defaults::INBOX_RETRY_MS),
            }),
            _ => self.accepting(now),
        };
        self.run(session, now, |live, out| {
            Self::check(who, Operation::Update, session, live)?;
            if let Err(fault) = accepting {
                let retry_after_ms = fault.retry_after_ms.unwrap_or(crate::defaults::FAILED_RETRY_MS);
                live.core.refuse_busy(&writer, update, fault.code, retry_after_ms, now, out);
                return Ok(None);
            }
            Ok(match prepared {
                None => live.core.update(&writer, update, now, out),
                Some(prepared) => live.core.update_prepared(&writer, update, prepared, now, out),
            })
        })
    }

    /// A session's document, where it stands, and the active device.
    ///
    /// # Errors
    /// [`Fault`] when the asker may not.
    pub fn read(&self, session: &Arc<Session>, who: &Identity) -> Result<(Position, Value, Option<ByteString>), Fault> {
        let live = session.live.lock();
        Self::check(who, Operation::Get, session, &live)?;
        Ok((live.core.position(), live.core.document().clone(), live.core.active_device()))
    }

    /// Asks the one function that decides, about a session that is in memory.
    fn check(who: &Identity, operation: Operation, session: &Session, live: &Live) -> Result<(), Fault> {
        if live.over {
            return Err(Fault::not_found(&session.id));
        }
        match access::may(&who.user, operation, Resource::Session(live.core.meta())) {
            Decision::Allowed => Ok(()),
            Decision::Forbidden => Err(Fault::new(ErrorCode::Forbidden, "your role in this session does not allow it")),
            _ => Err(Fault::not_found(&session.id)),
        }
    }

    /// Runs one command on a session's core and hands its effects out, all under the session's lock.
    fn run<R>(&self, session: &Arc<Session>, now: Now, command: impl FnOnce(&mut Live, &mut Vec<Effect>) -> R) -> R {
        EFFECTS.with_borrow_mut(|out| {
            let mut live = session.live.lock();
            live.used_ms = now.mono_ms;
            let result = command(&mut live, out);
            self.hand_out(session, &mut live, out, now);
            result
        })
    }

    fn hand_out(&self, session: &Arc<Session>, live: &mut Live, effects: &mut Vec<Effect>, now: Now) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Event { topic, seq, frame, origin } => {
                    self.publish(session, live, topic, seq, frame, origin);
                }
                Effect::Answer { conn, frame } => {
                    if let Some(inbox) = self.inbox(conn) {
                        inbox.push(Item::Answer(conn, frame));
                    }
                }
                Effect::Commit { number, writes } => {
                    self.persist.submit(Some((Arc::clone(session), number)), writes, now);
                }
                Effect::Durable { frame, .. } => {
                    for (inbox, interest) in self.inboxes.iter().zip(&live.interest) {
                        if interest.durable > 0 {
                            inbox.push(Item::Durable(session.state_topic(), frame.clone()));
                        }
                    }
                }
            }
        }
        if let Some((version, document)) = live.core.checkpoint_due() {
            let (session, epoch) = (Arc::clone(&session.id), live.core.position().epoch);
            // A full queue is no loss: the next change finds it due again.
            if self.checkpoints.try_send(Checkpoint { session, epoch, version, document }).is_ok() {
                live.core.checkpoint_taken();
            }
        }
    }

    fn publish(
        &self,
        session: &Session,
        live: &Live,
        kind: message::TopicKind,
        seq: u64,
        frame: Bytes,
        origin: Option<(ConnId, Bytes)>,
    ) {
        let (topic, wanted): (_, fn(&Interest) -> u32) = match kind {
            message::TopicKind::State => (session.state_topic(), |interest| interest.state),
            message::TopicKind::Notice => (session.notice_topic(), |interest| interest.notices),
        };
        if kind == message::TopicKind::State {
            self.metrics.shards[0].accepted.increment();
        }
        let home = origin.as_ref().map(|(conn, _)| crate::shard::shard_of(*conn));
        let event = Arc::new(Event { topic, seq, frame, origin });
        for (shard, (inbox, interest)) in self.inboxes.iter().zip(&live.interest).enumerate() {
            // The writer's own shard hears of it in any case: the answer to the writer travels in the event.
            if wanted(interest) > 0 || home == Some(shard) {
                inbox.push(Item::Event(Arc::clone(&event)));
            }
        }
    }

    /// The session's commits up to `number` are durable.
    pub fn committed(&self, session: &Arc<Session>, number: u64, now: Now) {
        self.run(session, now, |live, out| live.core.committed(number, out));
    }

    /// The store took a commit of this session not: it belongs to somebody else, or the id was taken.
    pub fn lost(&self, session: &Arc<Session>, outcome: Outcome) {
        let (code, text) = match outcome {
            Outcome::Exists => (ErrorCode::AlreadyExists, "the id is taken"),
            _ => (ErrorCode::NotFound, "the session belongs to another server now"),
        };
        tracing::warn!(session = &*session.id, ?outcome, "a session left this server");
        let mut error = message::Error::new(code, text);
        error.session = Some(session.id.as_ref().into());
        let frame = Message::from(error).to_frame();
        let mut live = session.live.lock();
        live.over = true;
        self.sessions.remove_if(&session.id, |_, found| Arc::ptr_eq(found, session));
        let mut answers = Vec::new();
        live.core.abandon(code, &mut answers);
        self.hand_out(session, &mut live, &mut answers, Now::default());
        for (inbox, interest) in self.inboxes.iter().zip(&live.interest) {
            if interest.state > 0 {
                inbox.push(Item::End(session.state_topic(), frame.clone()));
            }
        }
    }

    /// The store failed. What waits for durability never gets it: say so instead of leaving it hanging.
    pub fn poisoned(&self) {
        for session in self.sessions.iter().map(|entry| Arc::clone(entry.value())).collect::<Vec<_>>() {
            self.run(&session, Now::default(), |live, out| live.core.abandon(ErrorCode::StorageFailed, out));
        }
    }

    /// Whether everything works; each reason why not, for `/ready`.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            complaints.push("draining".to_owned());
        }
        if let Some(cause) = self.persist.failure() {
            complaints.push(format!("storage failed: {cause}"));
        }
        complaints
    }

    /// Whether the server is going down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From here on nothing new is accepted.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Runs the presence timers that are due. Called by one shard, a few times a second.
    pub fn tick(&self, now: Now) {
        loop {
            let due = {
                let mut timers = self.timers.lock();
                match timers.peek() {
                    Some(Reverse(timer)) if timer.0 <= now.mono_ms => timers.pop(),
                    _ => None,
                }
            };
            let Some(Reverse(Timer(_, session))) = due else { return };
            if let Some(session) = session.upgrade() {
                self.run(&session, now, |live, out| self.arm(&session, live, now, out));
            }
        }
    }

    /// Runs the core's clock and sets the timer for the next time it wants to be woken.
    fn arm(&self, session: &Arc<Session>, live: &mut Live, now: Now, out: &mut Vec<Effect>) {
        if let Some(at_ms) = live.core.tick(now, out) {
            self.timers.lock().push(Reverse(Timer(at_ms, Arc::downgrade(session))));
        }
    }

    /// Lets go of sessions that nobody uses. Called by one shard, every few seconds.
    pub fn unload_idle(&self, now: Now) {
        self.sessions.retain(|_, session| {
            // Nobody else holds it, and nobody can find it while its part of the map is locked.
            Arc::strong_count(session) > 1
                || session.live.try_lock().is_none_or(|live| {
                    live.interest.iter().any(|interest| interest.state > 0)
                        || !live.core.is_quiet()
                        || now.mono_ms.saturating_sub(live.used_ms) < self.bounds.unload_after_ms
                })
        });
    }

    /// Writes checkpoints as they come, until every sender is gone. Blocks: has a thread of its own.
    pub fn write_checkpoints(persist: &Persist, receiver: &std::sync::mpsc::Receiver<Checkpoint>, clock: fn() -> Now) {
        while let Ok(checkpoint) = receiver.recv() {
            let Checkpoint { session, epoch, version, document } = checkpoint;
            let write = Write::Checkpoint { session, epoch, version, document: document.to_json().into() };
            persist.submit(None, vec![write], clock());
        }
    }

    /// A connection of this user was let in.
    ///
    /// # Errors
    /// [`Fault`] when the user has too many.
    pub fn connected(&self, user: &Arc<str>) -> Result<(), Fault> {
        let mut count = self.users.entry(Arc::clone(user)).or_insert(0);
        if *count >= self.bounds.max_connections {
            return Err(Fault::new(ErrorCode::LimitReached, "this user has too many connections"));
        }
        *count += 1;
        Ok(())
    }

    /// A connection that was let in is gone.
    pub fn disconnected(&self, user: &Arc<str>) {
        self.users.remove_if_mut(user, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

impl access::Members for Meta {
    fn role(&self, user: &str) -> Option<Role> {
        if &*self.owner == user { Some(Role::Owner) } else { self.everyone.then_some(Role::Editor) }
    }
}

fn storage_fault(error: &syncbridge_storage::Error) -> Fault {
    match error {
        syncbridge_storage::Error::Damaged { what } => Fault::new(ErrorCode::SessionDamaged, what.clone()),
        other => {
            tracing::error!(error = %other, "a read of the store failed");
            Fault::new(ErrorCode::StorageFailed, "the store cannot be read")
        }
    }
}

/// A session id with 128 random bits.
fn random_id() -> String {
    use base64::Engine as _;
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits).expect("the system has randomness");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bits)
}
