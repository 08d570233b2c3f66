//! The map of live sessions, and who shares it. `make.rs`: how a session comes into memory; `work.rs`: what clients ask of
//! it; `ask.rs`, `calls.rs`: the same, asked by no connection; `view.rs`: what REST shows of it; `quota.rs`: how many a
//! user may make; `members.rs`: who may do what; `handoff.rs`: another device becomes active; `subscribe.rs`: how a
//! subscription begins; `revoke.rs`: how it is ended; `care.rs`: what happens to it without anybody's asking;
//! `ownership.rs`: which server has it;
//! `survey.rs`: what operators see; `gather.rs`: waiting
//! for every shard.

mod ask;
mod calls;
mod care;
mod gather;
mod handoff;
mod make;
mod members;
mod ownership;
mod quota;
mod revoke;
mod subscribe;
pub mod survey;
mod view;
mod work;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytestring::ByteString;
use care::Timer;
use dashmap::DashMap;
use ownership::Ownership;
use parking_lot::Mutex;
use quota::Quotas;
use syncbridge_codec::ErrorCode;
use syncbridge_document::{Limits, Value};
use syncbridge_storage::Engine;

pub use ask::{Updated, off_shard};
pub use calls::{Call, Calls};
pub use handoff::{Bound, Question};
pub(crate) use make::random;
pub use members::Who;
pub use revoke::{Revocation, Revoked};
pub use subscribe::{Request, Snapshot, Subscribed};
pub use view::{Large, Shown, View, conflict_name, devices_name};
pub use work::Moment;

use crate::{
    admin::Metrics,
    auth::seen::Seen,
    connection::Identity,
    defaults,
    fanout::TopicId,
    persist::Persist,
    session::{self, ConnId, Core, Now, epoch},
    shard::inbox::Inbox,
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
    /// The session as REST shows it, its document's text in it: made once a version.
    view: Option<view::Kept>,
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

/// A running client: (user, device, incarnation).
type Client = (Arc<str>, Arc<str>, u128);

/// What went wrong with a request, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The error.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
    /// With [`ErrorCode::Moved`]: the server that has it, if that is known.
    pub address: Option<ByteString>,
}

impl Fault {
    /// A fault without a time to try again.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), retry_after_ms: None, address: None }
    }

    /// The same may be tried again after so long.
    pub fn busy(text: impl Into<String>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(ErrorCode::Busy, text) }
    }

    /// Rows that are no session's own cannot be read. Logged, for the client can do nothing about it.
    pub(crate) fn unreadable(error: &syncbridge_storage::Error) -> Self {
        if let syncbridge_storage::Error::Unavailable { .. } = error {
            tracing::warn!(%error, "a read of the store failed");
            return Self::busy("the database is not available", defaults::STORE_RETRY_MS);
        }
        tracing::error!(%error, "a read of the store failed");
        Self::new(ErrorCode::StorageFailed, "the store cannot be read")
    }

    /// The same of what belongs to one session: damage is that session's, and named.
    pub(crate) fn unreadable_session(error: &syncbridge_storage::Error) -> Self {
        match error {
            syncbridge_storage::Error::Damaged { what } => Self::new(ErrorCode::SessionDamaged, what.clone()),
            other => Self::unreadable(other),
        }
    }

    pub(crate) fn not_found(session: &str) -> Self {
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
    /// Sessions that one user may have made.
    pub max_sessions: usize,
    /// Members that one session may have.
    pub max_members: usize,
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
    /// The one connection of each running client.
    clients: DashMap<Client, ConnId>,
    /// Requests that no connection makes.
    calls: Arc<Calls>,
    /// Devices that came and went.
    seen: Seen,
    /// Sessions that each user has made.
    quotas: Quotas,
    /// Sessions that this process has deleted.
    deletions: AtomicU64,
    /// Bytes of large views that are kept.
    large_views: Arc<AtomicUsize>,
    /// Sessions whose active device is asked about a handoff, by the handoff's id.
    asked: DashMap<ByteString, Arc<Session>>,
    timers: Mutex<BinaryHeap<Reverse<Timer>>>,
    /// What is known of whose the sessions are, when others share the store.
    ownership: Option<Ownership>,
    draining: AtomicBool,
    open: bool,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

/// A document that is to be written behind the log. It shares its structure with the live one.
pub struct Checkpoint {
    session: Arc<str>,
    epoch: u64,
    version: u64,
    document: Value,
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
        let (checkpoints, receiver) = std::sync::mpsc::sync_channel(defaults::CHECKPOINT_QUEUE);
        let hub = Arc::new(Self {
            sessions: DashMap::new(),
            stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            inboxes,
            persist: Arc::clone(persist),
            checkpoints,
            topics: AtomicU64::new(0),
            users: DashMap::new(),
            clients: DashMap::new(),
            calls: Arc::default(),
            seen: Seen::default(),
            quotas: Quotas::default(),
            deletions: AtomicU64::new(0),
            large_views: Arc::default(),
            asked: DashMap::new(),
            timers: Mutex::default(),
            ownership: persist.engine().is_shared().then(Ownership::default),
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

    /// The first epoch of this process.
    pub fn epoch(&self) -> u64 {
        epoch::of_process(self.engine().epoch())
    }

    /// The epoch of a session that is made now: above any that a session deleted before ever had.
    pub(super) fn epoch_now(&self) -> u64 {
        self.epoch() + self.deletions.load(Ordering::Acquire)
    }

    /// Limits of documents and patches.
    pub const fn limits(&self) -> &Limits {
        &self.bounds.session.document
    }

    /// The calls under way.
    pub const fn calls(&self) -> &Arc<Calls> {
        &self.calls
    }

    /// Devices that came and went, for who writes that down.
    pub const fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The commit queue, for what belongs to no session.
    pub const fn persist(&self) -> &Arc<Persist> {
        &self.persist
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

    /// Whether everything works; each reason why not, for `/ready`.
    pub fn complaints(&self, now: Now) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            complaints.push("draining".to_owned());
        }
        if let Some(cause) = self.persist.failure() {
            complaints.push(format!("storage failed: {cause}"));
        }
        let (waiting, age_ms) = self.persist.backlog(now);
        if waiting > 0 && age_ms >= defaults::ms(defaults::READY_AGE) {
            complaints.push(format!("storage is behind: {waiting} commits wait, the oldest for {age_ms} ms"));
        }
        if !self.is_certain() {
            complaints.push("ownership: the lease ended, and what was taken meanwhile is not known yet".to_owned());
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

    /// The connection is known to be no replay: it takes the place of an earlier one of the same running client, which
    /// is dead to that client and ends.
    pub fn take_over(&self, who: &Identity, conn: ConnId) {
        let former = self.clients.insert(client(who), conn);
        if let Some(former) = former.filter(|former| *former != conn) {
            self.disconnect(former, ErrorCode::Replaced, "the client has a newer connection");
        }
    }

    /// A connection that was let in is gone.
    pub fn disconnected(&self, who: &Identity, conn: ConnId) {
        self.clients.remove_if(&client(who), |_, current| *current == conn);
        self.users.remove_if_mut(&who.user, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }
}

fn client(who: &Identity) -> Client {
    (Arc::clone(&who.user), Arc::clone(&who.device), who.incarnation)
}
