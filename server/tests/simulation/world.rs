//! Everything at once: clients, links, one server after another, and one random number generator that decides what
//! happens next. After each step the cheap rules hold; at quiet points all of them do.

use std::{collections::BTreeSet, sync::Arc};

use fastrand::Rng;
use syncbridge_client::{ConflictPolicy, Value};

use super::{
    clock,
    net::{Kind, Net},
    peer::{Fate, Peer},
    server::{Server, Setting},
    store::Books,
    trace,
};

pub const CLIENTS: usize = 20;
/// Sessions whose documents have a list for each client, in which its ops must stand once and in order; and one that is
/// made by whoever comes first, for all users, whose ops make their own places.
const SESSIONS: [(&str, bool); 4] = [("first", true), ("second", true), ("third", true), ("open", false)];
/// The first clients are one person's devices, the others somebody else's: those see the open session only.
const GUESTS: usize = 3;
/// Quiet points in the middle of a run.
const QUIET_POINTS: usize = 3;
/// Milliseconds within which everything comes to rest once nothing more goes wrong.
const REST_MS: u64 = 30_000;

pub struct World {
    rng: Rng,
    books: Arc<Books>,
    server: Server,
    net: Net,
    peers: Vec<Peer>,
    /// The disk completes nothing until then.
    stalled_until: u64,
    /// Nothing new is asked for and nothing goes wrong.
    resting: bool,
    draining: bool,
    seen: BTreeSet<&'static str>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        clock::reset();
        let mut rng = Rng::with_seed(seed);
        let setting = Setting::draw(&mut rng);
        let books = Arc::<Books>::default();
        let peers = (0..CLIENTS).map(|name| {
            let user = if name < CLIENTS - GUESTS { "person" } else { "guest" };
            Peer::new(name, user, &mut rng)
        });
        let peers = peers.collect();
        let server = Server::first(setting, &books);
        let mut world = Self {
            net: Net::new(rng.u64(..)),
            rng,
            books,
            server,
            peers,
            stalled_until: 0,
            resting: false,
            draining: false,
            seen: BTreeSet::new(),
        };
        world.make_sessions();
        world
    }

    fn make_sessions(&mut self) {
        for (number, (session, lists)) in SESSIONS.into_iter().enumerate() {
            if lists {
                let log: Vec<(String, Value)> =
                    (0..CLIENTS).map(|name| (name.to_string(), Value::from(Vec::<Value>::new()))).collect();
                let items = (0..4).map(|number| Value::from(number as u64)).collect::<Vec<_>>();
                let state = Value::from_members([
                    ("log", Value::from_members(log)),
                    ("all", Value::from(Vec::<Value>::new())),
                    ("array", Value::from(items)),
                    ("k", Value::object()),
                    ("big", Value::from("")),
                ]);
                let policies = [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Reject];
                let policy = policies[self.rng.usize(0..3)];
                self.peers[number].create(session, state, policy);
            }
        }
        // The open one is made by the first who subscribes.
        self.peers[3].subscribe("open");
        self.settle();
        for name in 0..CLIENTS {
            for (session, _) in SESSIONS {
                if Self::may(name, session) && self.rng.u8(0..3) > 0 {
                    self.peers[name].subscribe(session);
                }
            }
        }
    }

    fn may(peer: usize, session: &str) -> bool {
        session == "open" || peer < CLIENTS - GUESTS
    }

    /// Runs `steps` of everything, then brings it to rest and looks at all of it.
    pub fn run(&mut self, steps: usize) {
        for step in 1..=steps {
            self.step();
            if step % (steps / QUIET_POINTS).max(1) == 0 {
                self.rest();
            }
        }
        self.rest();
        self.restart_cleanly();
        self.rest();
    }

    /// What happened at all, so that a simulation in which nothing goes wrong any more is noticed.
    pub fn seen(&self) -> BTreeSet<&'static str> {
        self.peers.iter().flat_map(|peer| peer.seen.iter()).chain(&self.seen).copied().collect()
    }

    fn step(&mut self) {
        clock::advance(self.rng.u64(0..=2));
        self.something();
        self.disk();
        for _ in 0..self.rng.usize(0..3) {
            let shard = self.rng.usize(0..self.server.shards.len());
            self.server.drain_inbox(shard, self.rng.usize(1..32));
        }
        if self.rng.bool() {
            let shard = self.rng.usize(0..self.server.shards.len());
            self.server.flush(shard, &mut self.net, self.rng.usize(1..12));
        }
        if self.rng.bool() {
            self.server.work(&mut self.rng);
        }
        self.poll_links(false);
        for _ in 0..4 {
            let peer = self.rng.usize(0..CLIENTS);
            self.pump(peer);
        }
        self.tick();
    }

    fn something(&mut self) {
        let (peer, session) = (self.rng.usize(0..CLIENTS), SESSIONS[self.rng.usize(0..SESSIONS.len())]);
        match self.rng.u16(0..2_000) {
            0..=699 => self.peers[peer].edit(session.0, session.1, &mut self.rng),
            700..=739 if Self::may(peer, session.0) => {
                if self.rng.bool() {
                    self.peers[peer].unsubscribe(session.0);
                } else {
                    self.peers[peer].subscribe(session.0);
                }
            }
            740..=749 if Self::may(peer, session.0) => self.peers[peer].get(session.0),
            750..=789 => {
                if let Some(link) = self.peers[peer].link.and_then(|id| self.net.get(id)) {
                    link.cut(&mut self.rng);
                }
            }
            790..=794 => {
                if let Some(link) = self.peers[peer].link.and_then(|id| self.net.get(id)) {
                    link.stuck = true;
                }
            }
            795..=814 => self.peers[peer].asleep_until = clock::now().mono_ms + self.rng.u64(5..600),
            815..=824 => self.stalled_until = clock::now().mono_ms + self.rng.u64(5..80),
            825..=829 => self.peers[peer].reincarnate(&mut self.net, &mut self.rng),
            830..=831 => self.crash(),
            832 => self.restart_cleanly(),
            _ => {}
        }
    }

    fn disk(&mut self) {
        if self.resting || (clock::now().mono_ms >= self.stalled_until && self.rng.u8(0..3) == 0) {
            self.server.store.complete(self.rng.usize(1..16));
        }
    }

    /// The connections' tasks that were woken; all of them, or some.
    fn poll_links(&mut self, all: bool) {
        for id in self.net.ids() {
            let Some(link) = self.net.get(id) else { continue };
            let due = link.flag.is_up() || link.confirm_at.is_some_and(|at| at <= clock::now().mono_ms);
            if due && (all || self.rng.bool()) {
                self.server.poll(&mut self.net, id, &mut self.rng);
            }
        }
    }

    fn pump(&mut self, peer: usize) -> bool {
        let Self { peers, net, rng, books, server, resting, draining, .. } = self;
        let peer = &mut peers[peer];
        let now = clock::now().mono_ms;
        if peer.asleep_until > now {
            return false;
        }
        let came = peer.pump(net, books, rng);
        if peer.connect_at.is_some_and(|at| at <= now) {
            peer.connect_at = None;
            if *draining || (!*resting && rng.u8(0..8) == 0) {
                peer.core.handle_disconnected(now, None, "refused");
                return came;
            }
            let kind = Kind::ALL[rng.usize(0..4)];
            let room = if *resting {
                64 << 10
            } else if rng.bool() {
                rng.usize(64..1_000)
            } else {
                rng.usize(1_000..20_000)
            };
            trace::say(|| format!("client {} connects by {kind:?}, room {room}", peer.name));
            let id = net.make(kind, rng.usize(0..server.shards.len()), room);
            if let Some(link) = net.get(id).filter(|link| link.kind == Kind::Streams && rng.bool()) {
                link.confirm_at = Some(now + rng.u64(0..30));
            }
            server.open(net, id);
            peer.link = Some(id);
            peer.core.handle_connected(now);
        }
        came
    }

    fn tick(&mut self) {
        let before = self.server.hub.live();
        self.server.tick();
        if self.server.hub.live() < before {
            self.seen.insert("unloaded");
        }
    }

    /// `kill -9`: every link breaks, what was not durable is gone.
    fn crash(&mut self) {
        self.seen.insert("crashed");
        trace::say(|| "CRASH".into());
        self.server.store.complete(self.rng.usize(0..4));
        self.next_process();
    }

    /// SIGTERM: everything is flushed, everybody is told. Nobody loses anything.
    fn restart_cleanly(&mut self) {
        self.seen.insert("restarted");
        trace::say(|| "RESTART".into());
        self.server.drain();
        self.draining = true;
        let until = clock::now().mono_ms + 4 * crate::LINGER_MS;
        while !self.server.is_over() && clock::now().mono_ms < until {
            self.turn();
        }
        assert!(self.server.is_over(), "connections outlive their server's end");
        self.draining = false;
        while self.server.store.pending() > 0 {
            self.server.store.complete(64);
        }
        for peer in &mut self.peers {
            peer.must_resume(self.server.hub.epoch());
        }
        self.next_process();
    }

    fn next_process(&mut self) {
        self.server.next_process(&mut self.net, &mut self.rng);
        for (session, lists) in SESSIONS {
            if let Some(((_, document), _)) = self.server.documents(session, "person") {
                for peer in &self.peers {
                    peer.check_durable(session, &document, lists);
                }
            }
        }
    }

    /// A turn in which everybody gets on as far as possible.
    fn turn(&mut self) {
        clock::advance(5);
        self.server.store.complete(usize::MAX);
        for shard in 0..self.server.shards.len() {
            while self.server.drain_inbox(shard, 64) {}
            while self.server.flush(shard, &mut self.net, 64) {}
        }
        while self.server.work(&mut self.rng) {}
        self.poll_links(true);
        for peer in 0..CLIENTS {
            self.pump(peer);
        }
        self.tick();
    }

    /// Nothing more goes wrong: everybody gets on until nothing is open.
    fn settle(&mut self) {
        self.resting = true;
        for peer in 0..CLIENTS {
            self.peers[peer].asleep_until = 0;
            if let Some(link) = self.peers[peer].link.and_then(|id| self.net.get(id)) {
                // Not so narrow that large documents keep answers waiting.
                link.room = link.room.max(64 << 10);
                link.flag.raise();
            }
            if let Some(link) = self.peers[peer].link.and_then(|id| self.net.get(id)).filter(|link| link.stuck) {
                link.cut(&mut self.rng);
            }
        }
        let began = clock::now().mono_ms;
        let until = began + REST_MS;
        while !self.is_settled() {
            for peer in &mut self.peers {
                // Who slept may find its link dead; later nobody has a reason to.
                peer.expects_answers = clock::now().mono_ms > began + 20;
            }
            assert!(clock::now().mono_ms < until, "it does not come to rest: {}", self.unrest());
            self.turn();
            if let Some(peer) = self.peers.iter().position(|peer| peer.was_silenced) {
                panic!("client {peer} met silence: {}", self.unrest());
            }
        }
        for peer in &mut self.peers {
            peer.expects_answers = false;
        }
        self.resting = false;
    }

    fn is_settled(&mut self) -> bool {
        let idle = self.server.is_idle();
        // Who has not noticed yet that its link broke only believes that it is live.
        let Self { peers, net, .. } = &mut *self;
        let whole = |link: usize| net.get(link).is_some_and(|link| !link.broken && !link.server_gone);
        let linked = peers.iter().filter_map(|peer| peer.link).all(whole);
        idle && linked && self.peers.iter_mut().all(Peer::is_settled) && self.positions_agree()
    }

    fn positions_agree(&mut self) -> bool {
        SESSIONS.into_iter().all(|(session, _)| {
            let version = self.books.durable(session);
            self.peers
                .iter()
                .filter(|peer| peer.known.get(session).is_some_and(|known| known.wanted))
                .all(|peer| peer.core.server_state(session).is_some_and(|(_, at)| at.version == version))
        })
    }

    fn unrest(&mut self) -> String {
        let mut text = format!("server: {}", self.server.summary());
        for peer in &mut self.peers {
            let mut open = Vec::new();
            for (session, known) in &peer.known {
                let at = peer.core.server_state(session).map(|(_, at)| at.version);
                let (live, unconfirmed) = (peer.core.is_live(session), peer.core.unconfirmed(session));
                if unconfirmed > 0 || (known.wanted && (!live || at != Some(self.books.durable(session)))) {
                    open.push(format!(
                        "{session}: live {live}, unconfirmed {unconfirmed}, at {at:?} of {}",
                        self.books.durable(session)
                    ));
                }
            }
            if !open.is_empty() || !peer.is_settled() {
                let link = peer.link.and_then(|id| self.net.get(id));
                let mut link = link.map(|link| link.summary());
                if let Some((shard, index)) =
                    peer.link.and_then(|id| self.net.get(id)).map(|link| (link.shard, link.index))
                {
                    let conn = self.server.shards[shard].conn_mut(index);
                    link = conn.map(|conn| {
                        let subs: Vec<_> = conn
                            .subs
                            .iter()
                            .map(|sub| (&sub.session.id, sub.topic, sub.ring, sub.held, sub.durable))
                            .collect();
                        format!(
                            "{link:?}, busy {}, catching up {}, closing {:?}, to do {:?}, waiting {} B, blocked {}, dirty {}, {subs:?}",
                            conn.busy,
                            conn.catch_up.is_some(),
                            conn.closing,
                            conn.todo,
                            conn.outbox.bytes(),
                            conn.blocked,
                            conn.dirty
                        )
                    }).or(link);
                }
                let (name, connected) = (peer.name, peer.core.is_connected());
                text += &format!("\nclient {name}: connected {connected}, {open:?}, link {link:?}");
            }
        }
        text
    }

    /// A task that was polled and has nothing to do is not woken by its own poll.
    fn nobody_spins(&mut self) {
        for _ in 0..3 {
            self.poll_links(true);
        }
        for id in self.net.ids() {
            let woken = self.net.get(id).filter(|link| link.flag.is_up()).map(|link| link.summary());
            assert_eq!(woken, None, "its task goes round and round");
        }
    }

    /// All rules.
    fn rest(&mut self) {
        self.settle();
        for (session, lists) in SESSIONS {
            let Some(((version, document), (stored_version, stored))) = self.server.documents(session, "person") else {
                panic!("{session} is gone");
            };
            assert_eq!((version, &document), (stored_version, &stored), "{session}: the store makes another document");
            for peer in &mut self.peers {
                if let Some((replica, at)) = peer.core.server_state(session).filter(|_| peer.known[session].wanted) {
                    assert_eq!(at.version, version, "{session}: client {} is not up to date", peer.name);
                    assert_eq!(*replica, document, "{session}: client {} has another document", peer.name);
                    let shown = peer.core.document(session).cloned();
                    assert_eq!(shown.as_ref(), Some(&document), "{session}: client {} shows another", peer.name);
                }
                peer.check_ops(session, &document, lists);
            }
        }
        self.nobody_spins();
        let counted = self.server.hub.subscriptions();
        let held = self.server.subscriptions(&mut self.net);
        assert_eq!(counted, held, "subscriptions as the hub counts them, and as the shards have them");
        for peer in &mut self.peers {
            for op in peer.known.values_mut().flat_map(|known| known.ops.values_mut()) {
                if matches!(op.fate, Fate::Accepted(_)) && op.marker > 0 {
                    // It was in the document that the store has.
                    op.fate = Fate::Durable;
                }
            }
        }
    }
}
