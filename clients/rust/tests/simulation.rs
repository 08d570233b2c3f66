//! Many cores against one plainly correct server, all in one thread on a virtual clock: bytes come in any chunking, links
//! break at any byte, the server crashes and forgets what was not on disk. After every run nothing may be missing,
//! nothing may be twice, and all copies must be equal. A seed that fails is printed: `SEED=n cargo test simulation`.

mod model;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::Server;
use syncbridge_client::{
    After, ByteString, ErrorCode, OnConflict, Patch, RequestError, UpdateDurability, UpdateOptions, Value,
    core::{Config, Core, Disconnect, Event, LinkCommand, SessionEvent, Times},
};
use syncbridge_codec::message::{Class, ConflictPolicy, DevicePolicy};

const SESSIONS: [&str; 2] = ["alpha", "beta"];
const STATE: &str = r#"{"log":[],"k0":0,"k1":0,"k2":0,"box":{}}"#;

/// A link: bytes on their way, by stream.
#[derive(Debug)]
struct Wire {
    id: u64,
    two_streams: bool,
    to_server: [VecDeque<u8>; 2],
    to_client: [VecDeque<u8>; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Accepted,
    Durable,
    Refused,
    /// Refused because another device was active, and kept.
    Unsent,
}

#[derive(Debug)]
struct Made {
    /// What it appended; `None` for an update that may clash.
    token: Option<String>,
    durability: UpdateDurability,
    fate: Fate,
    /// It was made once more after it was unsent: its place among the others says nothing.
    again: bool,
}

struct Client {
    name: usize,
    core: Core,
    wire: Option<Wire>,
    made: BTreeMap<(ByteString, u64), Made>,
    tokens: u64,
}

struct World {
    now: u64,
    rng: fastrand::Rng,
    server: Server,
    clients: Vec<Client>,
    crashes: u64,
    /// Updates that were unsent and made once more.
    resent: u64,
}

fn index(class: Class) -> usize {
    usize::from(class == Class::Session)
}

impl World {
    fn new(seed: u64, clients: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut server = Server::new(rng.u64(..));
        for id in SESSIONS {
            server.add_session(id, STATE);
        }
        server.busy_percent = rng.u8(0..10);
        let clients = (0..clients).map(|name| {
            let mut config = Config::new(format!("device-{name}"), rng.u128(..));
            config.times = Times { backoff_cap: 400, ..Times::default() };
            config.durable = rng.bool();
            let mut core = Core::new(config, rng.u64(..));
            for id in SESSIONS {
                core.subscribe(id, 0).expect("room for two");
            }
            Client { name, core, wire: None, made: BTreeMap::new(), tokens: 0 }
        });
        let clients = clients.collect();
        Self { now: 0, rng, server, clients, crashes: 0, resent: 0 }
    }

    /// Does what the core asks for and takes down what it tells.
    fn settle(&mut self, name: usize) {
        loop {
            let client = &mut self.clients[name];
            if let Some(command) = client.core.poll_command() {
                if let Some(wire) = client.wire.take() {
                    self.server.disconnect(wire.id);
                }
                if let LinkCommand::Connect { .. } = command {
                    if self.rng.u8(0..10) < 3 {
                        client.core.handle_disconnected(self.now, None, "no way");
                    } else {
                        let two_streams = self.rng.bool();
                        let id = self.server.connect(two_streams);
                        client.wire = Some(Wire {
                            id,
                            two_streams,
                            to_server: Default::default(),
                            to_client: Default::default(),
                        });
                        client.core.handle_connected(self.now);
                    }
                }
                continue;
            }
            match client.core.poll_event() {
                Some(Event::Session { session, event }) => client.told(&session, event),
                Some(Event::Disconnected { reason: Disconnect::Fault(fault), .. }) => panic!("client {name}: {fault}"),
                Some(Event::Stopped { error }) => panic!("client {name} was stopped: {error}"),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn cut(&mut self, name: usize) {
        if let Some(wire) = self.clients[name].wire.take() {
            self.server.disconnect(wire.id);
            self.clients[name].core.handle_disconnected(self.now, None, "cut");
            self.settle(name);
        }
    }

    /// Lets the server's answers reach the wires; links of a crashed server break.
    fn exchange(&mut self) {
        for name in 0..self.clients.len() {
            let Some(wire) = &mut self.clients[name].wire else { continue };
            if self.server.is_connected(wire.id) {
                for class in [Class::Control, Class::Session] {
                    wire.to_client[index(class)].extend(self.server.output(wire.id, class));
                }
            } else {
                self.cut(name);
            }
        }
    }

    /// Takes frames from the core onto the wire.
    fn speak(&mut self, name: usize, frames: usize) {
        let client = &mut self.clients[name];
        let Some(wire) = &mut client.wire else { return };
        for _ in 0..frames {
            for class in [Class::Control, Class::Session] {
                if let Some(frame) = client.core.poll_transmit(self.now, class) {
                    let stream = if wire.two_streams { index(class) } else { 0 };
                    wire.to_server[stream].extend(frame);
                }
            }
        }
    }

    /// Brings up to so many bytes to the server, and to the client.
    fn deliver(&mut self, name: usize, most: usize) {
        for class in [Class::Control, Class::Session] {
            let Some(wire) = &mut self.clients[name].wire else { return };
            let id = wire.id;
            let bytes = take(&mut wire.to_server[index(class)], most);
            self.server.bytes(id, class, bytes);
            self.exchange();
            let Some(wire) = &mut self.clients[name].wire else { return };
            let bytes = take(&mut wire.to_client[index(class)], most);
            if !bytes.is_empty() {
                self.clients[name].core.handle_bytes(self.now, class, bytes);
                self.settle(name);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        for name in 0..self.clients.len() {
            let core = &mut self.clients[name].core;
            if core.poll_timeout().is_some_and(|at| at <= self.now) {
                core.handle_timeout(self.now);
                self.settle(name);
            }
        }
    }

    fn update(&mut self, name: usize) {
        let id = SESSIONS[self.rng.usize(0..SESSIONS.len())];
        let client = &mut self.clients[name];
        if client.core.document(id).is_none() {
            return;
        }
        let value = |text: &str| Value::from(text);
        let kind = self.rng.u8(0..10);
        let mut token = None;
        let mut options = UpdateOptions::default();
        let patch = match kind {
            0..5 => {
                client.tokens += 1;
                let text = format!("{}-{}", client.name, client.tokens);
                let patch = Patch::new().add("/log/-", value(&text));
                token = Some(text);
                patch
            }
            5..7 => Patch::new().add(format!("/k{}", self.rng.u8(0..3)), value("set")),
            7 => Patch::new().add(format!("/box/{}", self.rng.u8(0..3)), Value::object()),
            8 => {
                options.lenient = true;
                Patch::new().add(format!("/box/{}/deep/er", self.rng.u8(0..3)), value("lenient"))
            }
            _ => Patch::new()
                .test("/k0", client.core.document(id).and_then(|d| d.pointer("/k0")).cloned().unwrap_or_default())
                .add("/k1", value("tested")),
        };
        options.durability = *self
            .rng
            .choice(&[
                UpdateDurability::Accepted,
                UpdateDurability::Notify,
                UpdateDurability::Notify,
                UpdateDurability::Durable,
            ])
            .expect("some");
        options.on_conflict = *self.rng.choice(&[OnConflict::Reject, OnConflict::SessionPolicy]).expect("some");
        if self.rng.u8(0..10) == 0 && token.is_none() {
            options.after = After::All;
        }
        // What does not apply to the optimistic document was never made.
        if let Ok(counter) = client.core.update(id, patch, &options) {
            let made = Made { token, durability: options.durability, fate: Fate::Open, again: false };
            assert!(client.made.insert((id.into(), counter), made).is_none(), "a counter was used twice");
        }
    }

    /// Another device becomes the active one of a session, or all may write.
    fn hand_off(&mut self) {
        let id = SESSIONS[self.rng.usize(0..SESSIONS.len())];
        let to = self.rng.usize(0..=self.clients.len());
        let active = (to < self.clients.len()).then(|| format!("device-{to}").into());
        self.server.sessions.get_mut(id).expect("a session").active = active;
    }

    /// Makes what is unsent once more, as far as it still applies; drops the rest.
    fn resend(&mut self, name: usize) {
        let client = &mut self.clients[name];
        for id in SESSIONS {
            for unsent in client.core.unsent(id).to_vec() {
                let old = client.made.get_mut(&(id.into(), unsent.counter)).expect("an own op");
                assert_eq!(old.fate, Fate::Unsent);
                let (token, durability) = (old.token.take(), old.durability);
                match client.core.resend(id, unsent.counter) {
                    Ok(counter) => {
                        self.resent += 1;
                        let made = Made { token, durability, fate: Fate::Open, again: true };
                        assert!(client.made.insert((id.into(), counter), made).is_none(), "a counter was used twice");
                    }
                    Err(RequestError::DoesNotApply(_)) => {
                        assert_eq!(token, None, "an append always applies");
                        assert_eq!(client.core.discard(id, unsent.counter), Some(unsent));
                    }
                    Err(error) => panic!("client {name}: {error}"),
                }
            }
        }
    }

    fn step(&mut self) {
        let name = self.rng.usize(0..self.clients.len());
        match self.rng.u16(0..1_000) {
            0..150 => self.update(name),
            150..160 => self.cut(name),
            160..200 => {
                self.server.commit();
                self.exchange();
            }
            200..202 => {
                self.crashes += 1;
                self.server.crash();
                self.exchange();
            }
            202..204 => {
                self.server.restart();
                self.exchange();
            }
            204..208 => {
                if let Some(wire) = &self.clients[name].wire {
                    self.server.lag(wire.id);
                    self.exchange();
                }
            }
            208..210 => self.hand_off(),
            210..215 => self.resend(name),
            215..500 => {
                let frames = self.rng.usize(1..4);
                self.speak(name, frames);
            }
            _ => {
                let most = if self.rng.bool() { self.rng.usize(1..20) } else { 10_000 };
                self.deliver(name, most);
            }
        }
        let ms = self.rng.u64(0..10);
        self.pass(ms);
        self.check();
    }

    /// What must hold at every moment.
    fn check(&self) {
        for client in &self.clients {
            let stats = client.core.stats();
            assert_eq!(
                (stats.gaps, stats.duplicates, stats.divergences, stats.faults),
                (0, 0, 0, 0),
                "client {}",
                client.name
            );
            for id in SESSIONS {
                let Some((document, at)) = client.core.server_state(id) else { continue };
                if client.core.is_live(id) {
                    let server = &self.server.sessions[id];
                    assert!(at.version <= server.version(), "client {} is ahead of {id}", client.name);
                    assert_eq!(
                        document,
                        &server.documents[at.version as usize - 1],
                        "client {} differs in {id}",
                        client.name
                    );
                }
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.clients.iter().all(|client| {
            SESSIONS.iter().all(|id| {
                client.core.is_live(id)
                    && client.core.unconfirmed(id) == 0
                    && client.core.unsent(id).is_empty()
                    && client
                        .core
                        .server_state(id)
                        .is_some_and(|(_, at)| at.version == self.server.sessions[*id].version())
            })
        })
    }

    /// No more trouble: everything that can still happen happens.
    fn finish(&mut self) {
        self.server.busy_percent = 0;
        self.server.sessions.values_mut().for_each(|session| session.active = None);
        for _ in 0..3_000 {
            if self.is_quiet() {
                return;
            }
            for name in 0..self.clients.len() {
                self.resend(name);
                self.speak(name, 20);
                self.deliver(name, usize::MAX);
            }
            self.server.commit();
            self.exchange();
            self.pass(20);
            self.check();
        }
        for client in &mut self.clients {
            for id in SESSIONS {
                let pending = client.core.pending(id);
                eprintln!(
                    "client {} in {id}: live {}, {} unconfirmed, pending {pending:?}",
                    client.name,
                    client.core.is_live(id),
                    client.core.unconfirmed(id)
                );
            }
        }
        panic!("not quiet after a minute without trouble");
    }

    fn verdict(&mut self) {
        for name in 0..self.clients.len() {
            for id in SESSIONS {
                let server = self.server.sessions[id].document().clone();
                assert_eq!(self.clients[name].core.document(id), Some(&server), "client {name}: the view of {id}");
            }
        }
        for client in &self.clients {
            for id in SESSIONS {
                let log = self.server.sessions[id].document().pointer("/log").and_then(Value::as_array).expect("a log");
                let log: Vec<&str> = log.iter().filter_map(Value::as_str).collect();
                let mut before = None;
                for ((session, counter), made) in &client.made {
                    if session != id {
                        continue;
                    }
                    assert_ne!(made.fate, Fate::Open, "client {}: op {counter} was never answered", client.name);
                    let Some(token) = &made.token else { continue };
                    let places: Vec<_> =
                        log.iter().enumerate().filter(|(_, found)| *found == token).map(|(at, _)| at).collect();
                    assert!(places.len() <= 1, "{token} was applied {} times", places.len());
                    // Appends clash with nothing, so none may be refused; only what asked for no more than `Accepted` may
                    // be lost, and only in a crash.
                    assert_ne!(made.fate, Fate::Refused, "{token}, op {counter}, was refused");
                    let may_be_lost = made.durability == UpdateDurability::Accepted && self.crashes > 0;
                    assert!(!places.is_empty() || may_be_lost, "{token} is lost");
                    assert_ne!(made.fate, Fate::Unsent, "{token} is unsent, and nobody knows it");
                    if made.again {
                        continue;
                    }
                    assert!(places.is_empty() || before < places.first().copied(), "{token} overtook an earlier one");
                    before = places.first().copied().or(before);
                }
            }
        }
    }
}

impl Client {
    fn told(&mut self, session: &ByteString, event: SessionEvent) {
        let (counter, fate) = match event {
            SessionEvent::Accepted { counter, .. } => (counter, Fate::Accepted),
            SessionEvent::Durable { counter, .. } => (counter, Fate::Durable),
            SessionEvent::Refused { counter, refusal, .. } => {
                let kept = self.core.unsent(session).iter().any(|unsent| unsent.counter == counter);
                assert!(
                    kept || refusal.code() != Some(ErrorCode::NotActive),
                    "client {}: {counter} dropped",
                    self.name
                );
                (counter, if kept { Fate::Unsent } else { Fate::Refused })
            }
            SessionEvent::Ended { error } => panic!("client {}: {session} ended: {error}", self.name),
            _ => return,
        };
        let made = self.made.get_mut(&(session.clone(), counter)).expect("only own ops are told of");
        assert!(
            !matches!(made.fate, Fate::Durable | Fate::Refused | Fate::Unsent),
            "client {}: op {counter} of {session} was {:?}, then {fate:?}",
            self.name,
            made.fate
        );
        made.fate = fate;
    }
}

fn take(from: &mut VecDeque<u8>, most: usize) -> Bytes {
    from.drain(..most.min(from.len())).collect()
}

fn run(seed: u64, clients: usize, steps: usize) -> World {
    let mut world = World::new(seed, clients);
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    world.verdict();
    world
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..count).collect(),
    }
}

/// Runs the seeds, and names the one that fails.
fn simulate(seeds: &[u64], clients: usize, steps: usize) -> [u64; 5] {
    let mut seen = [0; 5];
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(*seed, clients, steps));
        let world = outcome.unwrap_or_else(|_| {
            panic!("seed {seed} failed: SEED={seed} cargo test -p syncbridge-client --test simulation")
        });
        seen[4] += world.resent;
        for client in &world.clients {
            let stats = client.core.stats();
            for (count, more) in seen.iter_mut().zip([stats.connections, stats.resumed, stats.resets, stats.lost]) {
                *count += more;
            }
        }
    }
    seen
}

#[test]
fn eight_clients_lose_nothing_and_do_nothing_twice_whatever_breaks() {
    let seeds = seeds(200);
    let [connections, resumed, resets, lost, resent] = simulate(&seeds, 8, 1_000);
    if seeds.len() > 1 {
        // The run is worth something only if the trouble really happened.
        assert!(
            connections > 1_000 && resumed > 1_000 && resets > 1_000 && lost > 100 && resent > 1_000,
            "{connections} {resumed} {resets} {lost} {resent}"
        );
    }
}

#[test]
fn twenty_clients_for_ten_thousand_steps_end_with_equal_replicas() {
    simulate(&seeds(4), 20, 10_000);
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let trace = |seed| {
        let world = run(seed, 4, 500);
        let stats: Vec<_> = world.clients.iter().map(|client| client.core.stats()).collect();
        (stats, world.now, world.server.sessions["alpha"].document().to_json())
    };
    assert_eq!(trace(7), trace(7));
}

#[test]
fn a_session_made_offline_is_made_once_and_its_updates_follow() {
    for seed in 0..500 {
        let mut world = World::new(seed, 2);
        let state = Value::parse(STATE.as_bytes(), &syncbridge_document::Limits::default()).expect("a document");
        let core = &mut world.clients[0].core;
        core.create("offline", state, ConflictPolicy::default(), DevicePolicy::default()).expect("free");
        for n in 0..5_u64 {
            core.update("offline", Patch::new().add("/log/-", Value::from(n)), &UpdateOptions::default())
                .expect("it applies");
        }
        for counter in 1..=6 {
            let made = Made { token: None, durability: UpdateDurability::Notify, fate: Fate::Open, again: false };
            world.clients[0].made.insert(("offline".into(), counter), made);
        }
        for _ in 0..300 {
            world.step();
        }
        world.finish();
        for _ in 0..3_000 {
            if world.clients[0].core.unconfirmed("offline") == 0 {
                break;
            }
            world.speak(0, 5);
            world.deliver(0, usize::MAX);
            world.server.commit();
            world.exchange();
            world.pass(20);
        }
        let made = world.server.sessions["offline"].document().pointer("/log").cloned().expect("a log");
        assert_eq!(made.to_json(), b"[0,1,2,3,4]", "seed {seed}");
        let mut made = world.clients[0].made.iter().filter(|((session, _), _)| session == "offline");
        assert!(made.all(|(_, made)| made.fate == Fate::Durable), "seed {seed}");
    }
}
