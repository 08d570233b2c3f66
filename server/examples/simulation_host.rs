//! The server of the simulation (`tests/simulation`) for clients in other languages: the real shards, hub, sessions and
//! commit queue, without sockets, threads and clocks, driven over standard input and output. Every line in is one step and
//! is answered with one line. Whoever drives it decides the seed, the time, what gets through and what breaks; the same
//! lines give the same answers. `clients/typescript/test/simulation` does.
//!
//! Development only: it trusts its input, and ends with a panic when that is wrong.

// Fails by panicking, as the tests do with which it shares its modules; they use more of them than this.
#![allow(clippy::unwrap_used, clippy::struct_excessive_bools, dead_code, missing_docs, unreachable_pub)]

#[path = "../tests/simulation/clock.rs"]
mod clock;
#[path = "../tests/simulation/net.rs"]
mod net;
#[path = "../tests/simulation/server.rs"]
mod server;
#[path = "../tests/simulation/store.rs"]
mod store;

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead, Write, stdin, stdout},
    sync::Arc,
};

use fastrand::Rng;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use self::{
    net::{Kind, Net},
    server::{Server, Setting},
    store::Books,
};

/// One line in. What is left out does not happen; what is there happens in the order of the fields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Step {
    /// Begins anew: an empty store, no links.
    seed: Option<u64>,
    /// Milliseconds that pass.
    advance: u64,
    /// The process is killed: what was not durable is gone.
    crash: bool,
    /// The process is asked to end: everybody is told. `over` says when everybody has gone.
    drain: bool,
    /// The next process begins with everything durable.
    restart: bool,
    /// Links that begin: name, bytes that may wait towards the client.
    open: Vec<(String, usize)>,
    /// Bytes to the server, hexadecimal.
    up: Vec<(String, String)>,
    /// Links that break.
    cut: Vec<String>,
    /// Links that the client has let go.
    gone: Vec<String>,
    /// How much the server does: so many times something of everything.
    turns: usize,
    /// The server does all that there is to do, and the disk completes everything.
    settle: bool,
    /// How many bytes of each link reach the client, at most.
    take: Vec<(String, usize)>,
    /// Sessions whose documents are asked for.
    documents: Vec<String>,
}

struct World {
    rng: Rng,
    server: Server,
    net: Net,
    links: HashMap<String, usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        clock::reset();
        let mut rng = Rng::with_seed(seed);
        let setting = Setting::draw(&mut rng);
        let server = Server::first(setting, &Arc::<Books>::default());
        Self { net: Net::new(rng.u64(..)), rng, server, links: HashMap::new() }
    }

    fn step(&mut self, step: &Step) -> Json {
        clock::advance(step.advance);
        if step.crash {
            self.server.store.complete(self.rng.usize(0..4));
            self.server.next_process(&mut self.net, &mut self.rng);
        }
        if step.drain {
            self.server.drain();
        }
        if step.restart {
            while self.server.store.pending() > 0 {
                self.server.store.complete(64);
            }
            self.server.next_process(&mut self.net, &mut self.rng);
        }
        for (name, room) in &step.open {
            let shard = self.rng.usize(0..self.server.shards.len());
            let id = self.net.make(Kind::Pipe, shard, *room);
            self.server.open(&mut self.net, id);
            self.links.insert(name.clone(), id);
        }
        for (name, bytes) in &step.up {
            if let Some(link) = self.net.get(self.links[name]).filter(|link| !link.client_gone) {
                link.up[0].extend_from_slice(&unhex(bytes));
                link.flag.raise();
            }
        }
        for name in &step.cut {
            if let Some(link) = self.net.get(self.links[name]) {
                link.cut(&mut self.rng);
            }
        }
        for name in &step.gone {
            let id = self.links[name];
            if let Some(link) = self.net.get(id) {
                (link.client_gone, link.released) = (true, true);
                link.flag.raise();
            }
            self.net.tidy(id);
            self.links.remove(name);
        }
        for _ in 0..step.turns {
            self.turn();
        }
        if step.settle {
            self.settle();
        }
        self.server.tick();
        let taken: Vec<Json> = step.take.iter().map(|(name, most)| self.take(name, *most)).collect();
        let documents: Vec<Json> = step.documents.iter().map(|session| self.documents(session)).collect();
        json!({
            "now": clock::now().mono_ms,
            "epoch": self.server.hub.epoch(),
            "over": self.server.is_over(),
            "idle": self.server.is_idle(),
            "taken": taken,
            "documents": documents,
        })
    }

    /// Something of everything, in any order.
    fn turn(&mut self) {
        if self.rng.u8(0..3) == 0 {
            self.server.store.complete(self.rng.usize(1..16));
        }
        let shard = self.rng.usize(0..self.server.shards.len());
        self.server.drain_inbox(shard, self.rng.usize(1..32));
        let shard = self.rng.usize(0..self.server.shards.len());
        self.server.flush(shard, &mut self.net, self.rng.usize(1..12));
        self.server.work(&mut self.rng);
        for id in self.net.ids() {
            if self.net.get(id).is_some_and(|link| link.flag.is_up()) && self.rng.bool() {
                self.server.poll(&mut self.net, id, &mut self.rng);
            }
        }
    }

    /// Everybody gets on as far as possible.
    fn settle(&mut self) {
        for id in self.net.ids() {
            if let Some(link) = self.net.get(id) {
                link.room = link.room.max(64 << 10);
                link.flag.raise();
            }
        }
        self.server.store.complete(usize::MAX);
        for shard in 0..self.server.shards.len() {
            while self.server.drain_inbox(shard, 64) {}
            while self.server.flush(shard, &mut self.net, 64) {}
        }
        while self.server.work(&mut self.rng) {}
        for id in self.net.ids() {
            self.server.poll(&mut self.net, id, &mut self.rng);
        }
    }

    /// What reaches the client, and whether the link is at its end after that.
    fn take(&mut self, name: &str, most: usize) -> Json {
        let Some(link) = self.links.get(name).and_then(|id| self.net.get(*id)) else {
            return json!({ "bytes": "", "end": true, "code": null });
        };
        let size = link.down[0].len().min(most);
        let bytes = link.down[0].split_to(size);
        if size > 0 {
            link.flag.raise();
        }
        json!({ "bytes": hex(&bytes), "end": link.is_at_end(), "code": link.server_shut })
    }

    /// A session's document as it is now, and as the store makes it.
    fn documents(&self, session: &str) -> Json {
        let Some(((version, live), (stored_version, stored))) = self.server.documents(session, "person") else {
            return Json::Null;
        };
        let parse = |value: &syncbridge_document::Value| serde_json::from_slice::<Json>(&value.to_json()).unwrap();
        json!({ "version": version, "live": parse(&live), "storedVersion": stored_version, "stored": parse(&stored) })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn main() {
    let mut world = World::new(0);
    let mut out = stdout().lock();
    for line in stdin().lock().lines() {
        let step: Step = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(seed) = step.seed {
            world = World::new(seed);
        }
        let answer = world.step(&step);
        writeln!(out, "{answer}").unwrap();
        out.flush().unwrap();
    }
}
