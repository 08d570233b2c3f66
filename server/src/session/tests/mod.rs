//! A session with a store and some clients, for the tests of its rules (a file each) and
//! for the simulation of many of them at once (`simulation.rs`).

mod amending;
mod answers;
mod attendance;
mod concurrent;
mod conflicts;
mod handoffs;
mod keyed;
mod ops;
mod prepared;
mod resume;
mod simulation;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{
    Decoder, ErrorCode, Message,
    message::{self, ConflictPolicy, DevicePolicy, Durability, Position, TopicKind, Update},
};
use syncbridge_document::{Limits, Value};

use self::store::Store;
use super::*;

const MINUTE: u64 = 60_000;

/// Somebody who writes.
#[derive(Debug, Clone)]
struct Client {
    user: Arc<str>,
    device: Arc<str>,
    incarnation: u128,
    conn: ConnId,
}

impl Client {
    fn new(number: u64) -> Self {
        Self {
            user: format!("user{number}").into(),
            device: format!("device{number}").into(),
            incarnation: u128::from(number),
            conn: ConnId(number),
        }
    }

    fn on(&self, conn: u64) -> Self {
        Self { conn: ConnId(conn), ..self.clone() }
    }

    fn writer(&self) -> Writer<'_> {
        Writer { user: &self.user, device: &self.device, incarnation: self.incarnation, conn: self.conn }
    }
}

/// A session, its store, and the time.
struct Room {
    core: Core,
    store: Store,
    epoch: u64,
    now: Now,
}

fn value(json: &str) -> Value {
    Value::parse(json.as_bytes(), &Limits::default()).unwrap()
}

fn decode(frame: &Bytes) -> Message {
    let mut decoder = Decoder::new(64 << 20);
    decoder.push(frame.clone());
    let message = Message::decode(decoder.next_frame().unwrap().expect("a whole frame")).unwrap();
    assert_eq!(decoder.buffered(), 0, "one frame");
    message.expect("a known message")
}

fn op(counter: u64, version: u64, operations: &str) -> Update {
    Update {
        counter,
        session: "s".into(),
        base: Position { epoch: 1, version },
        operations: Bytes::copy_from_slice(operations.as_bytes()),
        ..Update::default()
    }
}

fn set(path: &str, value: &str) -> String {
    format!(r#"[{{"op":"add","path":"{path}","value":{value}}}]"#)
}

impl Room {
    /// A session that client 0 made in epoch 1, durable.
    fn new(document: &str) -> Self {
        Self::with(document, ConflictPolicy::LastWriterWins, DevicePolicy::Many)
    }

    fn with(document: &str, conflict: ConflictPolicy, devices: DevicePolicy) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_000 * MINUTE };
        let mut out = Vec::new();
        let maker = Client::new(0);
        let core = Core::create(
            "s".into(),
            1,
            Meta::owned(&maker.user, conflict, devices, &maker.device, 1),
            value(document),
            &maker.writer(),
            1,
            Vec::new(),
            now,
            Bounds::default(),
            &mut out,
        );
        let mut room = Self { core, store: Store::default(), epoch: 1, now };
        room.settle(&mut out);
        room.commit();
        room
    }

    fn settle(&mut self, out: &mut Vec<Effect>) {
        out.retain(|effect| match effect {
            Effect::Commit { number, writes } => {
                self.store.submit(*number, writes.clone());
                false
            }
            _ => true,
        });
    }

    /// One update; its effects but the commits, which go to the store and wait there.
    fn update(&mut self, client: &Client, update: &Update) -> Vec<Effect> {
        let mut out = Vec::new();
        let op = Op::from(update.clone());
        assert!(self.core.update(&client.writer(), &op, self.now, &mut out).is_none(), "no work for off the shard");
        self.settle(&mut out);
        out
    }

    /// What the client itself is told of its update.
    fn send(&mut self, client: &Client, update: &Update) -> Message {
        let effects = self.update(client, update);
        let mut told = told(&effects, client.conn);
        assert_eq!(told.len(), 1, "one answer: {told:?}");
        told.remove(0)
    }

    fn busy(&mut self, client: &Client, update: &Update) -> Message {
        let mut out = Vec::new();
        self.core.refuse_busy(&client.writer(), &update.clone().into(), ErrorCode::Busy, 40, self.now, &mut out);
        told(&out, client.conn).remove(0)
    }

    /// Everything under way becomes durable.
    fn commit(&mut self) -> Vec<Effect> {
        let mut out = Vec::new();
        while let Some(number) = self.store.commit() {
            self.core.committed(number, &mut out);
        }
        out
    }

    /// The process dies, the next one has the next epoch.
    fn crash(&mut self) {
        self.epoch += 1;
        self.reload();
    }

    /// The session is unloaded and loaded again by the same process.
    fn reload(&mut self) {
        let stored = self.store.crash().expect("it was durable once");
        self.core = Core::restore("s".into(), stored, self.epoch, Bounds::default()).unwrap();
    }

    fn json(&self) -> String {
        String::from_utf8(self.core.document().to_json()).unwrap()
    }

    fn version(&self) -> u64 {
        self.core.position().version
    }
}

/// What one connection is told by answers, and in place of its own events.
fn told(effects: &[Effect], conn: ConnId) -> Vec<Message> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Answer { conn: to, frame } if *to == conn => Some(frame),
        Effect::Event { origin: Some((to, frame)), .. } if *to == conn => Some(frame),
        _ => None,
    });
    frames.map(decode).collect()
}

/// The events of the state topic.
fn deltas(effects: &[Effect]) -> Vec<message::Delta> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Event { topic: TopicKind::State, frame, .. } => Some(frame),
        _ => None,
    });
    frames
        .map(|frame| match decode(frame) {
            Message::Delta(delta) => delta,
            other => panic!("{other:?} is no Delta"),
        })
        .collect()
}

fn accepted(message: &Message) -> &message::Accepted {
    match message {
        Message::Accepted(accepted) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

fn error(message: &Message) -> &'static str {
    match message {
        Message::Error(error) => ErrorCode::from_number(error.code).unwrap().name(),
        Message::Conflict(_) => "conflict",
        other => panic!("not refused: {other:?}"),
    }
}

fn durable(update: Update) -> Update {
    Update { durability: Durability::Durable, ..update }
}
