//! The one table of the flat JSON form: which `type` a message has, and under which key each of its fields stands.
//! `proto-spec/json.md` shows it, and a test compares the two. Encoding and decoding know no message but by these rows.

/// A message, or a record inside of one.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its name in the registry.
    pub name: &'static str,
    /// Its `type`; empty for a record.
    pub kind: &'static str,
    /// Its fields, in the order in which they are written.
    pub fields: &'static [Entry],
}

/// A field.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its name in the registry; `at.version` is the field `version` of the record in `at`.
    pub field: &'static str,
    /// Its key; `delta.version` is the key `version` of the object at `delta`.
    pub key: &'static str,
    /// How its value is written.
    pub form: Form,
    /// What it is when the key is not there.
    pub absent: Absent,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By its type: text, numbers, `true` and `false`, a tag's name in small letters, lists and records. Numbers of 128
    /// bits are strings of digits.
    Plain,
    /// Bytes that are JSON text, spliced as they are. Bytes that are none stand in base64 under the key with `Base64`
    /// behind it.
    Json,
    /// Bytes, in base64.
    Base64,
    /// A durability: `false` (`Accepted`), `"notify"` or `true` (`Durable`).
    Durable,
}

/// What a field is when its key is not there. One that is just that is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It has to be there (an option may be `null`).
    Never,
    /// 0, false, empty, the first variant, an option that is absent.
    Default,
    /// The number 1.
    One,
    /// True.
    True,
}

const fn entry(field: &'static str, key: &'static str, form: Form, absent: Absent) -> Entry {
    Entry { field, key, form, absent }
}

/// Has to be there.
const fn must(field: &'static str, key: &'static str) -> Entry {
    entry(field, key, Form::Plain, Absent::Never)
}

/// May be missing.
const fn may(field: &'static str, key: &'static str) -> Entry {
    entry(field, key, Form::Plain, Absent::Default)
}

/// May be missing, and is true then.
const fn yes(field: &'static str, key: &'static str) -> Entry {
    entry(field, key, Form::Plain, Absent::True)
}

/// JSON that has to be there.
const fn json(field: &'static str, key: &'static str) -> Entry {
    entry(field, key, Form::Json, Absent::Never)
}

/// JSON that may be missing.
const fn may_json(field: &'static str, key: &'static str) -> Entry {
    entry(field, key, Form::Json, Absent::Default)
}

const fn row(name: &'static str, kind: &'static str, fields: &'static [Entry]) -> Row {
    Row { name, kind, fields }
}

/// Every message, in the registry's order.
pub const MESSAGES: &[Row] = &[
    row(
        "Hello",
        "auth",
        &[
            may("token", "token"),
            may("device", "deviceId"),
            entry("min_version", "minVersion", Form::Plain, Absent::One),
            entry("max_version", "maxVersion", Form::Plain, Absent::One),
            may("capabilities", "capabilities"),
            may("incarnation", "incarnation"),
            may("scope.kind", "scope.kind"),
            may("scope.id", "scope.id"),
            may("resume", "resume"),
            may("agent", "agent"),
            yes("resume_notices", "resumeNotices"),
            may("resume_durable", "resumeDurable"),
        ],
    ),
    row(
        "Welcome",
        "auth_ok",
        &[
            must("user", "userId"),
            must("device", "deviceId"),
            must("version", "version"),
            may("capabilities", "capabilities"),
            must("connection", "connectionId"),
            must("epoch", "epoch"),
            must("server_time_ms", "serverTime"),
            must("max_client_frame", "maxMessage"),
            must("max_server_frame", "maxServerMessage"),
            must("max_document", "maxDocument"),
            must("max_subscriptions", "maxSubscriptions"),
            must("heartbeat_ms", "heartbeatMs"),
        ],
    ),
    row(
        "Refused",
        "auth_error",
        &[
            must("name", "code"),
            must("code", "number"),
            must("text", "message"),
            must("retryable", "retryable"),
            may("retry_after_ms", "retryAfterMs"),
        ],
    ),
    row("Ping", "heartbeat", &[may("nonce", "timestamp")]),
    row("Pong", "heartbeat_ack", &[must("nonce", "timestamp")]),
    row(
        "Error",
        "error",
        &[
            may("answers", "id"),
            must("name", "code"),
            must("code", "number"),
            must("text", "message"),
            must("retryable", "retryable"),
            may("session", "sessionId"),
            may("op", "counter"),
            may("retry_after_ms", "retryAfterMs"),
            may("address", "address"),
        ],
    ),
    row(
        "Draining",
        "draining",
        &[must("reconnect_after_ms", "reconnectAfterMs"), must("window_ms", "windowMs"), may("address", "address")],
    ),
    row("Close", "close", &[may("code", "number"), may("text", "message")]),
    row("StreamOpen", "stream_open", &[must("class", "class")]),
    row(
        "Create",
        "create",
        &[
            may("counter", "counter"),
            may("session", "sessionId"),
            json("state", "state"),
            may("conflict", "policy.conflict"),
            may("devices", "policy.devices"),
        ],
    ),
    row(
        "Created",
        "created",
        &[may("counter", "counter"), must("session", "sessionId"), must("version", "version"), must("epoch", "epoch")],
    ),
    row("Get", "get", &[may("id", "id"), must("session", "sessionId")]),
    row(
        "Document",
        "document",
        &[
            may("id", "id"),
            must("session", "sessionId"),
            must("at.version", "version"),
            must("at.epoch", "epoch"),
            must("active_device", "activeDeviceId"),
            may_json("state", "state"),
        ],
    ),
    row(
        "Subscribe",
        "subscribe",
        &[
            may("id", "id"),
            must("session", "sessionId"),
            must("have.version", "lastVersion"),
            may("have.epoch", "epoch"),
            yes("notices", "notices"),
            may("durable", "durable"),
        ],
    ),
    row(
        "Resumed",
        "resumed",
        &[
            may("id", "id"),
            must("session", "sessionId"),
            must("after", "after"),
            must("version", "version"),
            must("epoch", "epoch"),
        ],
    ),
    row(
        "Reset",
        "state_sync",
        &[
            may("id", "id"),
            must("session", "sessionId"),
            must("at.version", "version"),
            must("at.epoch", "epoch"),
            must("reason", "reason"),
            may("last_kept", "lastKept"),
            may_json("state", "state"),
        ],
    ),
    row("Unsubscribe", "unsubscribe", &[may("id", "id"), must("session", "sessionId")]),
    row("Unsubscribed", "unsubscribed", &[may("id", "id"), must("session", "sessionId")]),
    row(
        "Update",
        "state_update",
        &[
            may("counter", "counter"),
            must("session", "sessionId"),
            must("base.version", "delta.version"),
            may("base.epoch", "delta.epoch"),
            json("operations", "delta.operations"),
            entry("durability", "durable", Form::Durable, Absent::Default),
            may("on_conflict", "onConflict"),
            may("after", "after"),
            yes("lenient", "lenient"),
        ],
    ),
    row(
        "Accepted",
        "state_ack",
        &[
            may("counter", "counter"),
            must("session", "sessionId"),
            must("at.version", "version"),
            must("at.epoch", "epoch"),
            must("durable", "durable"),
            must("changed", "changed"),
            may_json("operations", "delta.operations"),
        ],
    ),
    row(
        "Conflict",
        "conflict",
        &[
            may("counter", "counter"),
            must("session", "sessionId"),
            must("at.version", "version"),
            must("at.epoch", "epoch"),
            must("paths", "paths"),
        ],
    ),
    row(
        "Delta",
        "state_delta",
        &[
            must("session", "sessionId"),
            must("at.version", "version"),
            must("at.epoch", "epoch"),
            json("operations", "delta.operations"),
            must("device", "deviceId"),
            may("origin.incarnation", "origin.incarnation"),
            may("origin.counter", "origin.counter"),
            may("time_ms", "time"),
        ],
    ),
    row(
        "Durable",
        "durable",
        &[must("session", "sessionId"), must("at.version", "version"), must("at.epoch", "epoch")],
    ),
    row(
        "SnapshotBegin",
        "snapshot_begin",
        &[must("session", "sessionId"), must("at.version", "version"), must("at.epoch", "epoch"), must("size", "size")],
    ),
    row(
        "SnapshotPart",
        "snapshot_part",
        &[must("session", "sessionId"), must("offset", "offset"), entry("bytes", "bytes", Form::Base64, Absent::Never)],
    ),
    row("SnapshotEnd", "snapshot_end", &[must("session", "sessionId"), must("checksum", "checksum")]),
    row(
        "Presence",
        "presence",
        &[
            must("session", "sessionId"),
            must("seq", "seq"),
            must("active_device", "activeDeviceId"),
            must("devices", "devices"),
        ],
    ),
    row(
        "DeviceJoined",
        "device_joined",
        &[
            must("session", "sessionId"),
            must("seq", "seq"),
            must("device.device", "deviceId"),
            must("device.user", "userId"),
            must("device.transport", "transport"),
        ],
    ),
    row(
        "DeviceLeft",
        "device_left",
        &[must("session", "sessionId"), must("seq", "seq"), must("device", "deviceId"), must("user", "userId")],
    ),
    row("Lagged", "lagged", &[must("session", "sessionId"), must("from", "from"), must("to", "to")]),
    row(
        "Request",
        "request",
        &[
            may("id", "id"),
            may("method", "method"),
            must("path", "path"),
            may("headers", "headers"),
            may_json("body", "body"),
        ],
    ),
    row(
        "Response",
        "response",
        &[may("id", "id"), must("status", "status"), may("headers", "headers"), may_json("body", "body")],
    ),
    row(
        "HandoffRequested",
        "handoff_requested",
        &[
            must("session", "sessionId"),
            must("seq", "seq"),
            must("handoff", "handoffId"),
            must("user", "userId"),
            must("device", "deviceId"),
            must("expires_ms", "expiresAt"),
        ],
    ),
    row("HandoffAnswer", "handoff_answer", &[must("handoff", "handoffId"), must("accept", "accept")]),
    row(
        "HandoffCompleted",
        "handoff_completed",
        &[
            must("session", "sessionId"),
            must("seq", "seq"),
            must("handoff", "handoffId"),
            must("from", "fromDeviceId"),
            must("user", "userId"),
            must("device", "deviceId"),
        ],
    ),
    row("SessionDeleted", "session_deleted", &[must("session", "sessionId")]),
    row(
        "AccessChanged",
        "access_changed",
        &[must("session", "sessionId"), must("seq", "seq"), must("user", "userId"), must("role", "role")],
    ),
];

/// The records that stand as objects in a list. All others lie flat in their message.
pub const RECORDS: &[Row] = &[
    row(
        "Cursor",
        "",
        &[may("kind", "kind"), must("topic", "sessionId"), may("epoch", "epoch"), must("seq", "lastVersion")],
    ),
    row("Attached", "", &[must("device", "deviceId"), must("user", "userId"), must("transport", "transport")]),
    row("Header", "", &[must("name", "name"), must("value", "value")]),
];

/// How a tag's variant is written: in small letters, words parted by `_`. A method is written as in HTTP.
pub fn tag(of: &str, variant: &str) -> String {
    match (of, variant) {
        ("Method", _) => variant.to_ascii_uppercase(),
        ("Transport", _) => variant.to_ascii_lowercase(),
        _ => {
            let mut text = String::with_capacity(variant.len() + 4);
            for letter in variant.chars() {
                if letter.is_ascii_uppercase() && !text.is_empty() {
                    text.push('_');
                }
                text.push(letter.to_ascii_lowercase());
            }
            text
        }
    }
}
