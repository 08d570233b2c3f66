//! What must be refused, and by which name: one case for each way in which a peer can break a layer.

use serde_json::{Value, json};
use syncbridge_codec::handshake::{MAX_AGENT, MAX_RESUME, MAX_TOKEN};

use crate::reference::{frame, hex, quic_varint, row, varint};

/// The cap of the cases that need one.
pub const MAX_FRAME: usize = 1 << 20;

/// Bytes that no frames are. Frames before the fault are whole: `frames` says how many.
pub fn frames() -> Vec<Value> {
    let case = |name: &str, bytes: Vec<u8>, frames: usize, error: &str| json!({"name": name, "bytes": hex(&bytes), "frames": frames, "error": error});
    let ping = frame(6, &[1]);
    let over = MAX_FRAME as u64 + 1;
    vec![
        case("a length of 0 has no room for a type", vec![0], 0, "malformed_frame"),
        case("a length of 0 in two bytes", vec![0x40, 0], 0, "malformed_frame"),
        case("a type of two bytes in a frame of one", vec![1, 0x40], 0, "malformed_frame"),
        case("a type of eight bytes in a frame of seven", [vec![7, 0xc0], vec![0; 6]].concat(), 0, "malformed_frame"),
        case("one byte more than the cap, refused at its length", quic_varint(over), 0, "frame_too_large"),
        case("the largest length there is", vec![0xff; 8], 0, "frame_too_large"),
        case("a whole frame, then a broken one", [ping, vec![0]].concat(), 1, "malformed_frame"),
    ]
}

/// Whole frames that no messages are.
pub fn messages() -> Vec<Value> {
    let case = |name: &str, kind: u64, body: &[u8], error: &str, detail: Option<&str>| json!({"name": name, "frame": hex(&frame(kind, body)), "error": error, "detail": detail});
    let bad = |name: &str, message: &str, body: &[u8], detail: &str| {
        case(name, row(message).kind, body, "malformed_message", Some(detail))
    };
    let mut cases = vec![
        case("the first even type that nothing has", 0x1_0000, b"", "unknown_message", None),
        case("the largest even type", (1 << 62) - 2, b"anything", "unknown_message", None),
        bad("a body without its field", "Ping", b"", "truncated"),
        bad("a number that ends early", "Ping", &[253, 1, 2, 3], "truncated"),
        bad("a number that announces 255", "Ping", &[255], "out_of_range"),
        bad("a number above 64 bits", "Ping", &[&[254][..], &[0xff; 16]].concat(), "out_of_range"),
        bad("a number above 32 bits", "Close", &varint(1 << 32), "out_of_range"),
        bad("text longer than the body", "Close", &[0, 5, b'b', b'y', b'e'], "truncated"),
        bad(
            "text that announces 2^64 - 1 bytes",
            "Close",
            &[&[0][..], &varint(u128::from(u64::MAX))].concat(),
            "truncated",
        ),
        bad("text that is not UTF-8", "Close", &[0, 2, 0xc0, 0xaf], "not_utf8"),
        bad("text with a lone surrogate", "Close", &[0, 3, 0xed, 0xa0, 0x80], "not_utf8"),
        bad("an option that is neither there nor absent", "Subscribe", &[1, 1, b's', 2], "out_of_range"),
        bad("a truth value of 2", "Subscribe", &[1, 1, b's', 0, 2, 0], "out_of_range"),
        bad("a tag that nothing has", "Reset", &[0, 1, b's', 99], "out_of_range"),
        bad("a list longer than the body", "Conflict", &[1, 1, b's', 1, 1, 9, 0], "truncated"),
        bad(
            "a list of 4,097",
            "Conflict",
            &[&[1, 1, b's', 1, 1][..], &varint(4097), &[0; 4097]].concat(),
            "out_of_range",
        ),
        bad("an appended field that is cut", "Draining", &[0, 0, 4, b'h'], "truncated"),
    ];
    // A required field may not be missing from any message: its example without its last required byte.
    for row in crate::reference::registry() {
        let least = crate::reference::least_fields(row.fields);
        let required: Value = row
            .fields
            .iter()
            .filter(|field| !field.appended)
            .map(|field| (field.name.to_owned(), least[field.name].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut body = Vec::new();
        crate::reference::encode_fields(row.fields, &required, &mut body);
        body.pop();
        cases.push(bad(&format!("{} without its last required field", row.name), row.name, &body, "truncated"));
    }
    cases
}

/// Frames that come one after the other to an end that waits for the handshake; the last one is refused.
pub fn handshakes() -> Vec<Value> {
    let case = |name: &str, to: &str, messages: &[(&str, Value)], error: &str| {
        let frames: Vec<_> = messages.iter().map(|(name, fields)| hex(&row(name).frame(fields))).collect();
        json!({"name": name, "to": to, "frames": frames, "error": error})
    };
    let sample = |message: &str| {
        let all = super::samples::samples();
        all.into_iter().find(|(name, ..)| *name == message).map(|(.., fields)| fields).unwrap()
    };
    let with = |message: &str, field: &str, value: Value| {
        let mut fields = sample(message);
        fields[field] = value;
        (message.to_owned(), fields)
    };
    let hello = |field: &str, value: Value| with("Hello", field, value).1;
    let refused = |name: &str, field: &str, value: Value, error: &str| {
        case(name, "server", &[("Hello", hello(field, value))], error)
    };
    let cursor = |n: usize| json!({"kind": "State", "topic": format!("s{n}"), "epoch": "1", "seq": "1"});
    let welcome = |name: &str, field: &str, value: Value, error: &str| {
        case(name, "client", &[("Welcome", with("Welcome", field, value).1)], error)
    };
    let ping = ("Ping", json!({"nonce": "1"}));
    vec![
        refused("only newer versions", "min_version", json!(2), "unsupported_version"),
        refused("only older versions", "max_version", json!(0), "unsupported_version"),
        refused("no device", "device", json!(""), "invalid_field"),
        refused("a device of 129 bytes", "device", json!("x".repeat(129)), "invalid_field"),
        refused("a device of two lines", "device", json!("a\nb"), "invalid_field"),
        refused("a token that is too long", "token", json!("x".repeat(MAX_TOKEN + 1)), "invalid_field"),
        refused("an agent that is too long", "agent", json!("x".repeat(MAX_AGENT + 1)), "invalid_field"),
        refused("a user's scope with an id", "scope", json!({"kind": "User", "id": "ann"}), "invalid_field"),
        refused("a machine's scope without an id", "scope", json!({"kind": "Machine", "id": ""}), "invalid_field"),
        refused(
            "a session's scope with an id of no session",
            "scope",
            json!({"kind": "Session", "id": ".."}),
            "invalid_session_id",
        ),
        refused(
            "a cursor of no session",
            "resume",
            json!([{"kind": "State", "topic": "a/b", "epoch": "1", "seq": "1"}]),
            "invalid_session_id",
        ),
        refused("a topic twice", "resume", json!([cursor(1), cursor(1)]), "invalid_field"),
        refused("1,001 cursors", "resume", (0..=MAX_RESUME).map(cursor).collect(), "limit_reached"),
        case("a request before Hello", "server", &[("Get", sample("Get"))], "unexpected_message"),
        case("a Pong before Hello", "server", &[ping.clone(), ("Pong", json!({"nonce": "1"}))], "unexpected_message"),
        case(
            "Hello twice",
            "server",
            &[ping.clone(), ("Hello", sample("Hello")), ("Hello", sample("Hello"))],
            "unexpected_message",
        ),
        case("what only a server may say", "server", &[("Welcome", sample("Welcome"))], "unexpected_message"),
        case("what only a client may say", "client", &[("Hello", sample("Hello"))], "unexpected_message"),
        case("an event before Welcome", "client", &[ping, ("Delta", sample("Delta"))], "unexpected_message"),
        case(
            "Welcome twice",
            "client",
            &[("Welcome", sample("Welcome")), ("Welcome", sample("Welcome"))],
            "unexpected_message",
        ),
        welcome("a version that was not offered", "version", json!(2), "unsupported_version"),
        welcome("frames too small for a Hello", "max_client_frame", json!("16383"), "invalid_field"),
        welcome("no frames at all", "max_server_frame", json!("0"), "invalid_field"),
        welcome("no heartbeat", "heartbeat_ms", json!(0), "invalid_field"),
    ]
}

/// A client's bytes that break RFC 6455, with a cap of 100 bytes a message, and the code of the close that answers.
pub fn websockets() -> Vec<Value> {
    let frame = |first: u8, payload: &[u8]| {
        assert!(payload.len() < 126);
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat()
    };
    let case = |name: &str, bytes: &[u8], close: u16| json!({"name": name, "bytes": hex(bytes), "close": close});
    vec![
        case("a frame that is not masked", &[0x82, 1, 0], 1002),
        case("a reserved bit", &frame(0xc2, b"x"), 1002),
        case("an opcode that is not known", &frame(0x83, b"x"), 1002),
        case("a ping in fragments", &frame(0x09, b"x"), 1002),
        case("a ping of 126 bytes", &[0x89, 0xfe, 0, 126], 1002),
        case("a continuation of nothing", &frame(0x80, b"x"), 1002),
        case("a message inside another", &[frame(0x02, b"x"), frame(0x82, b"y")].concat(), 1002),
        case("a length that is not in its shortest form", &[0x82, 0xfe, 0, 125, 0, 0, 0, 0], 1002),
        case("a length with its highest bit set", &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002),
        case("half a close code", &frame(0x88, &[3]), 1002),
        case("a close code that may not be sent", &frame(0x88, &1005u16.to_be_bytes()), 1002),
        case("text that is not UTF-8", &frame(0x81, &[0xff]), 1007),
        case("text that ends inside a character", &[frame(0x01, &[0xe2]), frame(0x80, &[0x82])].concat(), 1007),
        case("a close reason that is not UTF-8", &frame(0x88, &[3, 0xe8, 0xff]), 1007),
        case("a message of 101 bytes", &frame(0x82, &[0; 101]), 1009),
        case("fragments of 101 bytes", &[frame(0x02, &[0; 60]), frame(0x80, &[0; 41])].concat(), 1009),
    ]
}
