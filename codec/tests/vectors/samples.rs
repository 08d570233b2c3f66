//! What is said in one plausible life of a session `todo`: the worked examples of `proto-spec/messages.md`, first of
//! each message's vectors.

use serde_json::{Value, json};

use crate::reference::hex;

fn text(json: &str) -> String {
    hex(json.as_bytes())
}

/// (message, what it shows, fields). The first of a message is its example.
pub fn samples() -> Vec<(&'static str, &'static str, Value)> {
    let incarnation = "311460252834953029184390482357843";
    let set_done = text(r#"[{"op":"replace","path":"/items/0/done","value":true}]"#);
    let document = text(r#"{"items":[{"text":"milk","done":false}]}"#);
    let at = |version: u64| json!({"epoch": "3", "version": version.to_string()});
    let phone = json!({"device": "phone", "user": "ann", "transport": "Quic"});
    let laptop = json!({"device": "laptop", "user": "ann", "transport": "WebSocket"});
    vec![
        (
            "Hello",
            "a phone comes back to one session",
            json!({
                "min_version": 1, "max_version": 1, "capabilities": "0", "token": "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
                "device": "phone", "incarnation": incarnation, "scope": {"kind": "User", "id": ""},
                "resume": [{"kind": "State", "topic": "todo", "epoch": "3", "seq": "41"}],
                "agent": "syncbridge-rust/0.1.0", "resume_notices": true, "resume_durable": false,
            }),
        ),
        (
            "Hello",
            "a browser tab bound to one session, without a token, under --open",
            json!({
                "min_version": 1, "max_version": 2, "capabilities": "1", "token": "", "device": "tab-7f",
                "incarnation": "1", "scope": {"kind": "Session", "id": "todo"}, "resume": [], "agent": "",
                "resume_notices": false, "resume_durable": false,
            }),
        ),
        (
            "Hello",
            "state and notices of one session are two topics",
            json!({
                "min_version": 1, "max_version": 1, "capabilities": "0", "token": "t", "device": "Åse’s phone",
                "incarnation": "340282366920938463463374607431768211455", "scope": {"kind": "User", "id": ""},
                "resume": [
                    {"kind": "State", "topic": "todo", "epoch": "3", "seq": "41"},
                    {"kind": "Notice", "topic": "todo", "epoch": "3", "seq": "7"},
                ],
                "agent": "", "resume_notices": true, "resume_durable": true,
            }),
        ),
        (
            "Welcome",
            "the defaults of a server",
            json!({
                "version": 1, "capabilities": "0", "connection": "70000", "epoch": "3",
                "server_time_ms": "1767225600000", "user": "ann", "max_client_frame": "1048576",
                "max_server_frame": "4259840", "max_document": "4194304", "max_subscriptions": 1000,
                "heartbeat_ms": 20000, "device": "phone",
            }),
        ),
        (
            "Refused",
            "a token that is no longer valid",
            json!({
                "code": 201, "name": "token_expired", "text": "the token expired 12 s ago", "retryable": false,
                "retry_after_ms": null,
            }),
        ),
        (
            "Refused",
            "a server that goes down",
            json!({
                "code": 301, "name": "draining", "text": "the server is going down", "retryable": true,
                "retry_after_ms": "2500",
            }),
        ),
        ("Ping", "a heartbeat", json!({"nonce": "1"})),
        ("Ping", "a nonce of eight bytes", json!({"nonce": "1767225600123456789"})),
        ("Pong", "the answer to a heartbeat", json!({"nonce": "1"})),
        (
            "Error",
            "an update that has to wait",
            json!({
                "code": 300, "name": "busy", "text": "the commit queue is full", "retryable": true, "answers": null,
                "session": "todo", "op": "18", "retry_after_ms": "30", "address": "",
            }),
        ),
        (
            "Error",
            "a request for a session that there is not",
            json!({
                "code": 203, "name": "not_found", "text": "no such session", "retryable": false, "answers": "5",
                "session": "shopping", "op": null, "retry_after_ms": null, "address": "",
            }),
        ),
        (
            "Error",
            "an update that builds on a refused one",
            json!({
                "code": 206, "name": "dependency_refused", "text": "update 19 was refused", "retryable": false,
                "answers": null, "session": "todo", "op": "20", "retry_after_ms": null, "address": "",
            }),
        ),
        (
            "Error",
            "a session that another server has",
            json!({
                "code": 304, "name": "moved", "text": "another server has the session", "retryable": true,
                "answers": "6", "session": "todo", "op": null, "retry_after_ms": "1000",
                "address": "10.0.0.2:7400",
            }),
        ),
        (
            "Draining",
            "come back to the same address, spread over five seconds",
            json!({"reconnect_after_ms": "1000", "window_ms": "5000", "address": ""}),
        ),
        (
            "Draining",
            "go to another address",
            json!({"reconnect_after_ms": "0", "window_ms": "2000", "address": "[2001:db8::1]:7400"}),
        ),
        ("Close", "nothing is wrong", json!({"code": 0, "text": "bye"})),
        ("Close", "the client does not read", json!({"code": 303, "text": "1 MiB is waiting for you"})),
        ("StreamOpen", "the session stream", json!({"class": 1})),
        (
            "Create",
            "a session with a first document",
            json!({
                "counter": "1", "session": "todo", "state": document, "conflict": "LastWriterWins", "devices": "Many",
            }),
        ),
        (
            "Create",
            "the server chooses the id",
            json!({
                "counter": "2", "session": "", "state": text("null"), "conflict": "Reject", "devices": "Exclusive",
            }),
        ),
        ("Created", "the first version", json!({"counter": "1", "session": "todo", "epoch": "3", "version": "1"})),
        ("Get", "a document, once", json!({"id": "4", "session": "todo"})),
        (
            "Document",
            "a small document",
            json!({"id": "4", "session": "todo", "at": at(41), "state": document, "active_device": "phone"}),
        ),
        (
            "Document",
            "a document above 64 KiB: parts follow",
            json!({"id": "4", "session": "todo", "at": at(41), "state": null, "active_device": null}),
        ),
        (
            "Subscribe",
            "from a place on, with presence",
            json!({"id": "6", "session": "todo", "have": at(41), "notices": true, "durable": false}),
        ),
        (
            "Subscribe",
            "from the newest state on",
            json!({"id": "300", "session": "todo", "have": null, "notices": false, "durable": true}),
        ),
        (
            "Resumed",
            "versions 42 and 43 follow",
            json!({"id": "6", "session": "todo", "epoch": "3", "after": "41", "version": "43"}),
        ),
        (
            "Resumed",
            "a cursor of Hello, in a newer epoch, with nothing to catch up",
            json!({"id": null, "session": "todo", "epoch": "4", "after": "43", "version": "43"}),
        ),
        (
            "Reset",
            "a first subscription",
            json!({
                "id": "6", "session": "todo", "reason": "Initial", "at": at(43), "last_kept": null, "state": document,
            }),
        ),
        (
            "Reset",
            "versions 42 and 43 were lost in a crash",
            json!({
                "id": null, "session": "todo", "reason": "Lost", "at": {"epoch": "4", "version": "41"},
                "last_kept": "41", "state": document,
            }),
        ),
        (
            "Reset",
            "a slow reader gets the newest state, in parts",
            json!({
                "id": null, "session": "todo", "reason": "Lagged", "at": at(9000), "last_kept": null, "state": null,
            }),
        ),
        ("Unsubscribe", "enough", json!({"id": "7", "session": "todo"})),
        ("Unsubscribed", "nothing follows", json!({"id": "7", "session": "todo"})),
        (
            "Update",
            "an item is done",
            json!({
                "counter": "18", "session": "todo", "base": at(41), "operations": set_done, "durability": "Notify",
                "on_conflict": null, "after": null, "lenient": false,
            }),
        ),
        (
            "Update",
            "optimistic, durable, built on an update that is still under way",
            json!({
                "counter": "19", "session": "todo", "base": at(41), "operations": set_done, "durability": "Durable",
                "on_conflict": "Reject", "after": "18", "lenient": true,
            }),
        ),
        (
            "Accepted",
            "version 42, not durable yet",
            json!({
                "counter": "18", "session": "todo", "at": at(42), "durable": false, "operations": null, "changed": true,
            }),
        ),
        (
            "Accepted",
            "what was applied differs from what was sent",
            json!({
                "counter": "19", "session": "todo", "at": at(44), "durable": true,
                "operations": text(r#"[{"op":"add","path":"/log/-","value":1}]"#), "changed": true,
            }),
        ),
        (
            "Accepted",
            "an update that changed nothing",
            json!({
                "counter": "20", "session": "todo", "at": at(44), "durable": false, "operations": null,
                "changed": false,
            }),
        ),
        (
            "Conflict",
            "somebody else wrote there",
            json!({"counter": "19", "session": "todo", "at": at(44), "paths": ["/items/0/done", "/items/0"]}),
        ),
        (
            "Delta",
            "the laptop checked an item",
            json!({
                "session": "todo", "at": at(42), "operations": set_done, "device": "laptop",
                "origin": {"incarnation": incarnation, "counter": "18"}, "time_ms": "1767225600123",
            }),
        ),
        ("Durable", "everything up to version 42", json!({"session": "todo", "at": at(42)})),
        ("SnapshotBegin", "100,000 bytes follow", json!({"session": "todo", "at": at(9000), "size": "100000"})),
        ("SnapshotPart", "the beginning", json!({"session": "todo", "offset": "0", "bytes": document})),
        ("SnapshotPart", "the second part", json!({"session": "todo", "offset": "65536", "bytes": text("]}")})),
        (
            "SnapshotEnd",
            "CRC-32C of the 40 bytes of the example in SnapshotPart",
            json!({"session": "todo", "checksum": 837_435_690}),
        ),
        (
            "Presence",
            "two devices are there",
            json!({"session": "todo", "seq": "7", "devices": [phone, laptop], "active_device": "phone"}),
        ),
        ("Presence", "nobody is there", json!({"session": "todo", "seq": "0", "devices": [], "active_device": null})),
        ("DeviceJoined", "the laptop came", json!({"session": "todo", "seq": "8", "device": laptop})),
        ("DeviceLeft", "the phone is gone", json!({"session": "todo", "seq": "9", "device": "phone", "user": "ann"})),
        ("Lagged", "notices 10 to 14 were dropped", json!({"session": "todo", "from": "10", "to": "14"})),
        (
            "Request",
            "a snapshot with a label",
            json!({
                "id": "8", "method": "Post", "path": "/sessions/todo/snapshot",
                "headers": [{"name": "content-type", "value": "application/json"}],
                "body": text(r#"{"metadata":{"label":"before lunch"}}"#),
            }),
        ),
        (
            "Request",
            "the devices of a session",
            json!({"id": "9", "method": "Get", "path": "/sessions/todo/devices", "headers": [], "body": text("")}),
        ),
        (
            "Response",
            "no such session",
            json!({
                "id": "9", "status": 404, "headers": [{"name": "content-type", "value": "application/problem+json"}],
                "body": text(r#"{"type":"about:blank","status":404,"code":"not_found"}"#),
            }),
        ),
        (
            "HandoffRequested",
            "the laptop asks",
            json!({
                "session": "todo", "seq": "15", "handoff": "h-7", "user": "ann", "device": "laptop",
                "expires_ms": "1767225660000",
            }),
        ),
        ("HandoffAnswer", "let it go", json!({"handoff": "h-7", "accept": true})),
        (
            "HandoffCompleted",
            "from the phone to the laptop",
            json!({
                "session": "todo", "seq": "16", "handoff": "h-7", "from": "phone", "user": "ann", "device": "laptop",
            }),
        ),
        ("SessionDeleted", "gone", json!({"session": "todo"})),
        (
            "AccessChanged",
            "bob may change it",
            json!({"session": "todo", "seq": "17", "user": "bob", "role": "Editor"}),
        ),
        ("AccessChanged", "bob may no more", json!({"session": "todo", "seq": "18", "user": "bob", "role": null})),
    ]
}
