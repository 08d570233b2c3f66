//! Writes `proto-spec/vectors/golden/bincode.json`: the fields of every case in `vectors/valid`, encoded by the crate
//! `bincode` =2.0.1 in its `standard` configuration, through structs of the same shape as the messages. Run it after a
//! message was added or grew: `cargo run --manifest-path tools/golden/Cargo.toml`. It shares no code with the codec.

use std::{error::Error, fs, path::Path};

use bincode::Encode;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

/// A number that JSON carries as a decimal string.
#[derive(Encode)]
struct Big<T>(T);

impl<'de, T: std::str::FromStr> Deserialize<'de> for Big<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(|_| D::Error::custom("not a decimal number"))
    }
}

/// Bytes that JSON carries as hexadecimal digits.
#[derive(Encode)]
struct Hex(Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        (0..text.len())
            .step_by(2)
            .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| D::Error::custom("not hexadecimal"))
    }
}

type U64 = Big<u64>;
type U128 = Big<u128>;

macro_rules! shapes {
    ($(enum $tag:ident { $($variant:ident),* })* $(struct $name:ident { $($field:ident: $type:ty),* })*) => {
        $(#[derive(Encode, Deserialize)] enum $tag { $($variant),* })*
        $(#[derive(Encode, Deserialize)] #[serde(deny_unknown_fields)] struct $name { $($field: $type),* })*

        fn encode(message: &str, fields: Value) -> Result<Vec<u8>, Box<dyn Error>> {
            match message {
                $(stringify!($name) => {
                    let value: $name = serde_json::from_value(fields)?;
                    Ok(bincode::encode_to_vec(value, bincode::config::standard())?)
                })*
                _ => Err(format!("{message} has no shape in tools/golden/src/main.rs").into()),
            }
        }
    };
}

shapes! {
    enum ScopeKind { User, Session, Machine }
    enum TopicKind { State, Notice }
    enum Durability { Accepted, Notify, Durable }
    enum ConflictPolicy { LastWriterWins, Merge, Reject }
    enum DevicePolicy { Many, Exclusive, Ask }
    enum ResetReason { Initial, Lost, TooOld, Lagged, UnknownEpoch }
    enum Transport { Quic, WebSocket, Json, WebTransport, Memory }
    enum Method { Get, Post, Put, Patch, Delete }
    enum Role { Viewer, Editor, Owner }

    struct Scope { kind: ScopeKind, id: String }
    struct Cursor { kind: TopicKind, topic: String, epoch: U64, seq: U64 }
    struct Position { epoch: U64, version: U64 }
    struct Origin { incarnation: U128, counter: U64 }
    struct Attached { device: String, user: String, transport: Transport }
    struct Header { name: String, value: String }

    struct Hello {
        min_version: u32, max_version: u32, capabilities: U64, token: String, device: String, incarnation: U128,
        scope: Scope, resume: Vec<Cursor>, agent: String, resume_notices: bool, resume_durable: bool
    }
    struct Welcome {
        version: u32, capabilities: U64, connection: U64, epoch: U64, server_time_ms: U64, user: String,
        max_client_frame: U64, max_server_frame: U64, max_document: U64, max_subscriptions: u32, heartbeat_ms: u32,
        device: String
    }
    struct Refused { code: u32, name: String, text: String, retryable: bool, retry_after_ms: Option<U64> }
    struct Ping { nonce: U64 }
    struct Pong { nonce: U64 }
    struct Error_ {
        code: u32, name: String, text: String, retryable: bool, answers: Option<U64>, session: Option<String>,
        op: Option<U64>, retry_after_ms: Option<U64>, address: String
    }
    struct Draining { reconnect_after_ms: U64, window_ms: U64, address: String }
    struct Close { code: u32, text: String }
    struct StreamOpen { class: u8 }
    struct Create { counter: U64, session: String, state: Hex, conflict: ConflictPolicy, devices: DevicePolicy }
    struct Created { counter: U64, session: String, epoch: U64, version: U64 }
    struct Get { id: U64, session: String }
    struct Document { id: U64, session: String, at: Position, state: Option<Hex>, active_device: Option<String> }
    struct Subscribe { id: U64, session: String, have: Option<Position>, notices: bool, durable: bool }
    struct Resumed { id: Option<U64>, session: String, epoch: U64, after: U64, version: U64 }
    struct Reset {
        id: Option<U64>, session: String, reason: ResetReason, at: Position, last_kept: Option<U64>, state: Option<Hex>
    }
    struct Unsubscribe { id: U64, session: String }
    struct Unsubscribed { id: U64, session: String }
    struct Update {
        counter: U64, session: String, base: Position, operations: Hex, durability: Durability,
        on_conflict: Option<ConflictPolicy>, after: Option<U64>, lenient: bool
    }
    struct Accepted {
        counter: U64, session: String, at: Position, durable: bool, operations: Option<Hex>, changed: bool
    }
    struct Conflict { counter: U64, session: String, at: Position, paths: Vec<String> }
    struct Delta {
        session: String, at: Position, operations: Hex, device: String, origin: Origin, time_ms: U64
    }
    struct Durable { session: String, at: Position }
    struct SnapshotBegin { session: String, at: Position, size: U64 }
    struct SnapshotPart { session: String, offset: U64, bytes: Hex }
    struct SnapshotEnd { session: String, checksum: u32 }
    struct Presence { session: String, seq: U64, devices: Vec<Attached>, active_device: Option<String> }
    struct DeviceJoined { session: String, seq: U64, device: Attached }
    struct DeviceLeft { session: String, seq: U64, device: String, user: String }
    struct Lagged { session: String, from: U64, to: U64 }
    struct Request { id: U64, method: Method, path: String, headers: Vec<Header>, body: Hex }
    struct Response { id: U64, status: u32, headers: Vec<Header>, body: Hex }
    struct HandoffRequested {
        session: String, seq: U64, handoff: String, user: String, device: String, expires_ms: U64
    }
    struct HandoffAnswer { handoff: String, accept: bool }
    struct HandoffCompleted {
        session: String, seq: U64, handoff: String, from: Option<String>, user: String, device: String
    }
    struct SessionDeleted { session: String }
    struct AccessChanged { session: String, seq: U64, user: String, role: Option<Role> }
}

fn main() -> Result<(), Box<dyn Error>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-spec/vectors");
    let mut paths: Vec<_> =
        fs::read_dir(vectors.join("valid"))?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('_')));
    paths.sort();
    let mut golden = Vec::new();
    for path in paths {
        let file: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let message = file["message"].as_str().ok_or("a file without a message")?;
        for case in file["cases"].as_array().ok_or("a file without cases")? {
            // `Error` is taken by the trait.
            let shape = if message == "Error" { "Error_" } else { message };
            let body = encode(shape, case["fields"].clone()).map_err(|error| format!("{message}: {error}"))?;
            let body: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
            golden.push(json!({"message": message, "fields": case["fields"], "body": body}));
        }
    }
    let count = golden.len();
    let file = json!({"made_by": "bincode 2.0.1, config::standard(), tools/golden", "cases": golden});
    fs::create_dir_all(vectors.join("golden"))?;
    fs::write(vectors.join("golden/bincode.json"), format!("{file:#}\n"))?;
    println!("{count} cases written");
    Ok(())
}
