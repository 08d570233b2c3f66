//! The vectors as they must lie in `proto-spec/vectors`, made by the second implementation alone.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use serde_json::{Map, Value, json};

use super::{broken, json_texts, samples::samples};
use crate::reference::{
    Row, any_fields, encode_fields, frame, hex, least_fields, most_fields, quic_varint, registry, row,
};

/// How many drawn cases each message has.
const DRAWN: u64 = 3;

/// Path below `proto-spec/vectors`, and content.
pub fn files() -> BTreeMap<String, Value> {
    let mut files: BTreeMap<String, Value> =
        registry().map(|row| (format!("valid/{}.json", row.name), message(row))).collect();
    for (path, value) in [
        ("valid/_evolution.json", json!({"cases": evolution()})),
        ("valid/_streams.json", json!({"cases": streams()})),
        ("valid/_json.json", json!({"cases": json_texts::texts()})),
        ("invalid/json.json", json!({"cases": json_texts::broken()})),
        ("valid/_websocket.json", json!({"max_message": 100, "cases": websockets()})),
        ("invalid/frames.json", json!({"max_frame": broken::MAX_FRAME, "cases": broken::frames()})),
        ("invalid/messages.json", json!({"cases": broken::messages()})),
        ("invalid/handshake.json", json!({"cases": broken::handshakes()})),
        ("invalid/websocket.json", json!({"max_message": 100, "cases": broken::websockets()})),
    ] {
        files.insert(path.to_owned(), value);
    }
    files
}

fn message(row: Row) -> Value {
    let case = |name: &str, fields: Value| json!({"name": name, "frame": hex(&row.frame(&fields)), "fields": fields});
    let mut cases: Vec<_> = samples()
        .into_iter()
        .filter(|(message, ..)| *message == row.name)
        .map(|(_, name, fields)| case(name, fields))
        .collect();
    cases.push(case("the least of every field", least_fields(row.fields)));
    cases.push(case("the most of every field", most_fields(row.fields)));
    for seed in 1..=DRAWN {
        let bytes = drawn(row.kind * DRAWN + seed);
        let fields = any_fields(row.fields, &mut Unstructured::new(&bytes)).unwrap();
        cases.push(case(&format!("drawn {seed}"), fields));
    }
    json!({"message": row.name, "type": row.kind, "cases": cases})
}

/// The same bytes for the same seed, for ever (xorshift64*).
fn drawn(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..400)
        .map(|_| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
        })
        .collect()
}

/// Frames of older and newer peers, and forms that are not the shortest: `frame` is what comes, `fields` what it means,
/// `message` is null for a type that is skipped.
fn evolution() -> Vec<Value> {
    let mut cases = Vec::new();
    for row in registry() {
        let most = most_fields(row.fields);
        let mut body = Vec::new();
        encode_fields(row.fields, &most, &mut body);
        cases.push(json!({
            "name": format!("{} with fields of a later version", row.name), "message": row.name,
            "frame": hex(&frame(row.kind, &[&body[..], b"\x07later"].concat())), "fields": most,
        }));
        let required = row.fields.iter().take_while(|field| !field.appended).count();
        for kept in required..row.fields.len() {
            let sent: Map<_, _> =
                row.fields[..kept].iter().map(|f| (f.name.to_owned(), most[f.name].clone())).collect();
            let mut body = Vec::new();
            encode_fields(row.fields, &Value::Object(sent.clone()), &mut body);
            let mut fields = least_fields(row.fields);
            fields.as_object_mut().unwrap().extend(sent);
            cases.push(json!({
                "name": format!("{} of a version without {}", row.name, row.fields[kept].name), "message": row.name,
                "frame": hex(&frame(row.kind, &body)), "fields": fields,
            }));
        }
    }
    let ping = json!({"nonce": "5"});
    for (name, bytes) in [
        ("a length in eight bytes", vec![0xc0, 0, 0, 0, 0, 0, 0, 2, 6, 5]),
        ("a type in four bytes", vec![5, 0x80, 0, 0, 6, 5]),
        ("a number in a wider form than it needs", vec![4, 6, 251, 5, 0]),
        ("a number in the widest form", [vec![18, 6, 254, 5], vec![0; 15]].concat()),
    ] {
        cases.push(json!({"name": name, "message": "Ping", "frame": hex(&bytes), "fields": ping}));
    }
    for (name, kind) in [("an odd type that nothing has", 0x1_0001), ("the largest odd type", (1 << 62) - 1)] {
        cases.push(
            json!({"name": name, "message": null, "frame": hex(&frame(kind, b"of a later version")), "fields": null}),
        );
    }
    cases
}

/// Several frames in one stream: `messages` is what comes out, types that are skipped left out.
fn streams() -> Vec<Value> {
    let case = |name: &str, bytes: Vec<u8>, messages: &[&str]| json!({"name": name, "bytes": hex(&bytes), "messages": messages});
    let example = |message: &str| {
        let fields = samples().into_iter().find(|(name, ..)| *name == message).map(|(.., fields)| fields).unwrap();
        row(message).frame(&fields)
    };
    let skipped = frame(0x1_0001, &[0; 100]);
    let open = ["StreamOpen", "Subscribe", "Update"];
    vec![
        case("one frame", example("Ping"), &["Ping"]),
        case("the beginning of a session stream", open.map(example).concat(), &open),
        case(
            "a type to be skipped between two messages",
            [example("Resumed"), skipped, example("Delta")].concat(),
            &["Resumed", "Delta"],
        ),
        case(
            "a snapshot in parts",
            ["Reset", "SnapshotBegin", "SnapshotPart", "SnapshotEnd", "Durable"].map(example).concat(),
            &["Reset", "SnapshotBegin", "SnapshotPart", "SnapshotEnd", "Durable"],
        ),
        case("a head of two bytes", [quic_varint(66), vec![8, 5], vec![0; 64]].concat(), &["Pong"]),
    ]
}

/// A client's WebSocket bytes and the events that they are.
fn websockets() -> Vec<Value> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let frame = |first: u8, payload: &[u8]| {
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
        [first, 0x80 | payload.len() as u8].into_iter().chain(mask).chain(masked).collect::<Vec<u8>>()
    };
    let case = |name: &str, bytes: &[Vec<u8>], events: Value| json!({"name": name, "bytes": hex(&bytes.concat()), "events": events});
    vec![
        case("RFC 6455 §5.7: a masked text", &[frame(0x81, b"Hello")], json!([["text", "Hello"]])),
        case(
            "a binary message with two frames in it",
            &[frame(0x82, &[2, 6, 1, 2, 8, 1])],
            json!([["binary", "020601020801"]]),
        ),
        case(
            "fragments with a ping between them",
            &[frame(0x01, b"\xe2"), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, b"\x82\xac")],
            json!([["ping", "3f"], ["text", "€"]]),
        ),
        case("an empty message", &[frame(0x82, b"")], json!([["binary", ""]])),
        case("a pong that nobody asked for", &[frame(0x8a, b"!")], json!([["pong", "21"]])),
        case("a message at the cap", &[frame(0x82, &[0; 100])], json!([["binary", "00".repeat(100)]])),
        case(
            "a close with code and reason; what follows is not read",
            &[frame(0x88, b"\x03\xe8bye"), frame(0x83, b"garbage")],
            json!([["close", 1000, "bye"]]),
        ),
        case("a close without a code", &[frame(0x88, b"")], json!([["close", null, ""]])),
    ]
}
