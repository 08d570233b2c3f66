//! The server under simulation: everything real but sockets, threads and clocks. What the runtime does between those
//! (a shard's turns, a connection's task, work off the shards) is done here, step by step and in any order.

use std::{
    io,
    sync::{Arc, mpsc::Receiver},
    task::Waker,
};

use fastrand::Rng;
use syncbridge::{
    admin::Metrics,
    auth::access::Operation,
    connection::{Identity, Timing},
    defaults,
    hub::{self, Checkpoint, Hub},
    persist::{self, Persist},
    session::{self, ConnId},
    shard::{
        core::{Authenticate, Bounds, Shard, Shared, Wire},
        inbox::{Inbox, Item},
        job::{Done, Job},
    },
};
use syncbridge_codec::{
    Message,
    message::{self, Class},
};
use syncbridge_document::Value;
use syncbridge_storage::Engine;

use super::{
    clock,
    net::{Kind, Net},
    store::{Books, Store},
};

/// What differs between simulations.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub shards: usize,
    /// Bytes that a subscriber may lag behind.
    pub max_lag: usize,
    /// Bytes of a session's log that are kept when they are durable.
    pub log_kept_bytes: usize,
    pub max_cut: usize,
}

impl Setting {
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            shards: rng.usize(1..=2),
            max_lag: rng.usize(1_000..6_000),
            log_kept_bytes: rng.usize(200..4_000),
            max_cut: if rng.u8(0..4) == 0 { 4_000 } else { 64 << 20 },
        }
    }
}

/// `Welcome.heartbeat_ms`.
pub const HEARTBEAT_MS: u64 = 800;
const UNLOAD_AFTER_MS: u64 = 150;

pub struct Server {
    pub hub: Arc<Hub>,
    pub store: Arc<Store>,
    pub shards: Vec<Shard>,
    setting: Setting,
    persist: Arc<Persist>,
    checkpoints: Receiver<Checkpoint>,
    /// Work off the shards that has not begun, and what came of what has.
    jobs: Vec<(usize, ConnId, Identity, Job)>,
    done: Vec<(usize, ConnId, Done)>,
    ticked_ms: u64,
}

const CLASSES: [Class; 2] = [Class::Control, Class::Session];

impl Server {
    /// The first process, over an empty store.
    pub fn first(setting: Setting, books: &Arc<Books>) -> Self {
        let persist = Self::persist(setting);
        let store = Store::new(&persist, books);
        Self::over(setting, persist, store)
    }

    /// The next process: what was not completed is lost, and every link breaks.
    pub fn next_process(&mut self, net: &mut Net, rng: &mut Rng) {
        for id in net.ids() {
            if let Some(link) = net.get(id) {
                link.cut(rng);
                link.server_gone = true;
            }
            net.tidy(id);
        }
        let persist = Self::persist(self.setting);
        let store = self.store.reopen(&persist);
        *self = Self::over(self.setting, persist, store);
    }

    fn persist(setting: Setting) -> Arc<Persist> {
        let bounds = persist::Bounds {
            busy_age_ms: defaults::BUSY_AGE.as_millis() as u64,
            max_queued: 64,
            max_bytes: defaults::PERSIST_QUEUE_BYTES,
        };
        Persist::new(bounds, clock::now, Metrics::new(setting.shards))
    }

    fn over(setting: Setting, persist: Arc<Persist>, store: Store) -> Self {
        let store = Arc::new(store);
        let engine: Arc<dyn Engine> = store.clone();
        persist.attach(engine);
        let metrics = Metrics::new(setting.shards);
        let inboxes: Vec<Arc<Inbox>> = (0..setting.shards).map(|_| Arc::default()).collect();
        let bounds = hub::Bounds {
            unload_after_ms: UNLOAD_AFTER_MS,
            max_inbox: 1_000,
            max_sessions: 10_000,
            max_members: 1_000,
            max_connections: 10_000,
            session: session::Bounds {
                log_kept_bytes: setting.log_kept_bytes,
                presence_grace_ms: 100,
                presence_ttl_ms: 4 * HEARTBEAT_MS,
                ..session::Bounds::default()
            },
        };
        let (hub, checkpoints) = Hub::new(&persist, inboxes.clone(), true, bounds, Arc::clone(&metrics));
        let authenticate: Arc<Authenticate> = Arc::new(|hello, _| {
            let (user, device) = ((&*hello.token).into(), (&*hello.device).into());
            Ok(Identity { user, device, incarnation: hello.incarnation, session: None, family: None })
        });
        let shared = Shared {
            hub: Arc::clone(&hub),
            authenticate,
            timing: Timing { hello_ms: 2_000, auth_ms: Some(4_000), heartbeat_ms: HEARTBEAT_MS },
            bounds: Bounds {
                max_client_frame: 1 << 20,
                max_server_frame: defaults::MAX_DOCUMENT + defaults::FRAME_ABOVE_DOCUMENT,
                max_document: defaults::MAX_DOCUMENT,
                max_subscriptions: 1_000,
                max_lag: setting.max_lag,
                max_cut: setting.max_cut,
            },
            metrics,
        };
        let shards = inboxes.into_iter().enumerate();
        let shards = shards.map(|(index, inbox)| Shard::new(index, shared.clone(), inbox, clock::now())).collect();
        let ticked_ms = clock::now().mono_ms;
        Self { hub, store, shards, setting, persist, checkpoints, jobs: Vec::new(), done: Vec::new(), ticked_ms }
    }

    /// What is done every so often, since the last call.
    pub fn tick(&mut self) {
        let now = clock::now();
        let before = std::mem::replace(&mut self.ticked_ms, now.mono_ms);
        let passed = |every: u64| before / every != now.mono_ms / every;
        if passed(250) {
            self.hub.tick(now);
        }
        if passed(1_000) {
            for shard in &mut self.shards {
                shard.set_now(now);
                shard.tick();
            }
        }
        if passed(100) {
            self.hub.unload_idle(now);
        }
    }

    /// A shard, at the present time.
    pub fn shard(&mut self, index: usize) -> &mut Shard {
        let shard = &mut self.shards[index];
        shard.set_now(clock::now());
        shard
    }

    /// Takes a link in.
    pub fn open(&mut self, net: &mut Net, id: usize) {
        let Some(link) = net.get(id) else { return };
        link.index = self.shard(link.shard).open(&link.kind.arrival(id, link.confirm_at.is_none()));
        link.flag.raise();
    }

    /// What a shard is told.
    pub fn drain_inbox(&mut self, shard: usize, most: usize) -> bool {
        self.shard(shard).drain_inbox(most)
    }

    /// What a shard sends, and what it wants done elsewhere.
    pub fn flush(&mut self, shard: usize, wire: &mut impl Wire, budget: usize) -> bool {
        let more = self.shard(shard).flush(wire, budget);
        self.take_jobs(shard);
        more
    }

    fn take_jobs(&mut self, shard: usize) {
        while let Some((id, who, job)) = self.shard(shard).next_job() {
            self.jobs.push((shard, id, who, job));
        }
    }

    /// Begins or ends some work off the shards; whether there was any.
    pub fn work(&mut self, rng: &mut Rng) -> bool {
        if let Ok(checkpoint) = self.checkpoints.try_recv() {
            Hub::write_checkpoint(&self.persist, checkpoint, clock::now());
        }
        if !self.jobs.is_empty() && (self.done.is_empty() || rng.bool()) {
            let (shard, id, who, job) = self.jobs.swap_remove(rng.usize(0..self.jobs.len()));
            let done = job.run(&self.hub, id, &who, clock::now());
            self.done.push((shard, id, done));
            return true;
        }
        if self.done.is_empty() {
            return false;
        }
        let (shard, id, done) = self.done.swap_remove(rng.usize(0..self.done.len()));
        self.shard(shard).finish(id, done);
        self.take_jobs(shard);
        true
    }

    /// One poll of a connection's own task, as `shard/task.rs` does it.
    pub fn poll(&mut self, net: &mut Net, id: usize, rng: &mut Rng) {
        let Some(link) = net.get(id).filter(|link| !link.server_gone && link.index != u32::MAX) else { return };
        link.flag.take();
        let (shard, index, kind, waker) = (link.shard, link.index, link.kind, link.waker());
        if link.server_shut.is_some() || self.turn(net, id, (shard, index, kind), &waker, rng) {
            let over = net.get(id).is_some_and(|link| link.server_shut.is_none() || link.client_gone);
            if over {
                self.remove(net, id);
            }
        }
        self.take_jobs(shard);
        net.tidy(id);
    }

    /// Whether the server's side is done with the link.
    fn turn(
        &mut self,
        net: &mut Net,
        id: usize,
        (shard, index, kind): (usize, u32, Kind),
        waker: &Waker,
        rng: &mut Rng,
    ) -> bool {
        loop {
            let Some(conn) = self.shard(shard).conn_mut(index) else { return true };
            match &mut conn.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            if conn.aborted {
                return true;
            }
            let (closing, writes) = (conn.closing, conn.fd < 0 || conn.blocked);
            let mut sent_all = true;
            if writes {
                match self.send(net, id, (shard, index, kind)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent_all = false,
                    Err(_) => return true,
                }
            }
            let Some(link) = net.get(id) else { return true };
            if let Some(ending) = closing {
                if sent_all && self.shard(shard).is_sent(index) {
                    link.server_shut = Some(ending.code());
                    return true;
                }
                return false;
            }
            if link.confirm_at.is_some_and(|at| at <= clock::now().mono_ms) {
                link.confirm_at = None;
                self.shard(shard).confirm(index);
            }
            let Some(conn) = self.shard(shard).conn_mut(index) else { return true };
            if !conn.wants_read() {
                return false;
            }
            let streams = if conn.core.is_ready() { kind.streams() } else { 1 };
            let stream = rng.usize(0..streams);
            let stream = if streams == 2 && link.up[stream].is_empty() { 1 - stream } else { stream };
            let size = link.up[stream].len();
            if size == 0 || link.stuck {
                // An end is noticed when everything before it was read.
                return link.client_gone && !link.stuck;
            }
            let size = if rng.bool() { size } else { rng.usize(1..=size) };
            let mut chunk = link.up[stream].split_to(size);
            match kind {
                Kind::Streams => self.shard(shard).receive_chunk(index, CLASSES[stream], chunk.freeze()),
                _ => self.shard(shard).receive(index, &mut chunk),
            }
        }
    }

    fn send(&mut self, net: &mut Net, id: usize, (shard, index, kind): (usize, u32, Kind)) -> io::Result<()> {
        if kind == Kind::Streams {
            return self.send_streams(net, id, shard, index);
        }
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            self.shard(shard).output(index, &mut bytes);
            if bytes.is_empty() {
                return Ok(());
            }
            let sent = net.write(id, 0, &bytes)?;
            self.shard(shard).sent(index, sent);
        }
    }

    fn send_streams(&mut self, net: &mut Net, id: usize, shard: usize, index: u32) -> io::Result<()> {
        loop {
            let mut blocked = false;
            for stream in 0..2 {
                while let Some(mut chunk) = net.get(id).and_then(|link| link.queues[stream].pop_front()) {
                    match net.write(id, stream, &chunk) {
                        Ok(sent) => {
                            let rest = chunk.split_off(sent);
                            if let Some(link) = net.get(id).filter(|_| !rest.is_empty()) {
                                link.queues[stream].push_front(rest);
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            if let Some(link) = net.get(id) {
                                link.queues[stream].push_front(chunk);
                            }
                            blocked = true;
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            if blocked {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let Some(link) = net.get(id) else { return Err(io::ErrorKind::BrokenPipe.into()) };
            if !self.shard(shard).output_frames(index, &mut link.queues) {
                return Ok(());
            }
        }
    }

    fn remove(&mut self, net: &mut Net, id: usize) {
        let Some(link) = net.get(id) else { return };
        link.server_gone = true;
        let (shard, index) = (link.shard, link.index);
        self.shard(shard).remove(index);
    }

    /// Clients are told to go; nothing new is accepted.
    pub fn drain(&mut self) {
        self.hub.drain();
        let told = message::Draining { reconnect_after_ms: 20, window_ms: 50, address: bytestring::ByteString::new() };
        let told = Message::from(told).to_frame();
        for shard in &self.shards {
            shard.inbox().push(Item::Drain(told.clone()));
        }
    }

    /// Whether everybody was told and has gone.
    pub fn is_over(&self) -> bool {
        self.shards.iter().all(Shard::is_over)
    }

    /// Whether nothing waits to be done, but for what clients send.
    pub fn is_idle(&self) -> bool {
        self.jobs.is_empty()
            && self.done.is_empty()
            && self.store.pending() == 0
            && self.shards.iter().all(|shard| shard.inbox().is_empty() && !shard.has_work())
    }

    /// For people: what waits.
    pub fn summary(&self) -> String {
        let shards: Vec<_> = self.shards.iter().map(|shard| (shard.inbox().len(), shard.has_work())).collect();
        let (jobs, done, pending) = (self.jobs.len(), self.done.len(), self.store.pending());
        format!("{jobs} jobs, {done} done, {pending} commits, (inbox, work) of the shards {shards:?}")
    }

    /// Subscriptions as the shards' connections have them, as [`Hub::subscriptions`] counts them.
    pub fn subscriptions(&mut self, links: &mut Net) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        for id in links.ids() {
            let Some(link) = links.get(id).filter(|link| !link.server_gone && link.index != u32::MAX) else { continue };
            let Some(conn) = self.shards[link.shard].conn_mut(link.index) else { continue };
            for sub in &conn.subs {
                if sub.topic == sub.session.state_topic() {
                    sum.0 += 1;
                    sum.2 += u64::from(sub.durable);
                } else {
                    sum.1 += 1;
                }
            }
        }
        sum
    }

    /// The document of a session and its version, as it is now, and as the store makes it.
    pub fn documents(&self, session: &str, user: &str) -> Option<((u64, Value), (u64, Value))> {
        let who = Identity { user: user.into(), device: "checker".into(), incarnation: 0, session: None, family: None };
        let found = self.hub.load_or_open(session, &who, Operation::Get, clock::now());
        let live = found.expect("the store can be read")?;
        let (at, document, _) = self.hub.read(&live, &who).expect("its own user may read it");
        let stored = self.store.load(session).expect("the store can be read")?;
        let version = stored.version;
        let again = session::Core::restore(session.into(), stored, u64::MAX, session::Bounds::default())
            .expect("what was stored fits together");
        Some(((at.version, document), (version, again.document().clone())))
    }
}
