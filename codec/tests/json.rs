//! The flat JSON form against the registry, the page `proto-spec/json.md` and the vectors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reference;

use std::{collections::BTreeSet, fmt::Write as _, fs, time::Instant};

use arbitrary::Unstructured;
use bytes::Bytes;
use reference::{proto_spec, registry, unhex};
use serde_json::Value;
use syncbridge_codec::{
    Decoder, Message,
    inspect::{Declaration, Field},
    json::{
        self, Error, Incoming, MAX_DEPTH, MAX_KEYS,
        table::{self, Absent, Form},
    },
    message::{DECLARATIONS, Direction},
};

fn native(frame: &[u8]) -> Message {
    let mut decoder = Decoder::new(1 << 24);
    decoder.push(Bytes::copy_from_slice(frame));
    Message::decode(decoder.next_frame().unwrap().unwrap()).unwrap().unwrap()
}

fn read(text: &str) -> Result<Message, Error> {
    Incoming::scan(text)?.message()
}

fn text(message: &Message) -> String {
    String::from_utf8(json::encode(message, &[]).to_vec()).unwrap()
}

fn record(name: &str) -> Option<&'static [Field]> {
    DECLARATIONS.iter().find_map(|(known, declaration)| match declaration {
        Declaration::Record(fields) if *known == name => Some(*fields),
        _ => None,
    })
}

/// The leaves of a message: its fields, or those of the records that lie in it.
fn leaves(fields: &[Field], prefix: &str) -> Vec<String> {
    let leaf = |field: &Field| {
        let path = format!("{prefix}{}", field.name);
        let shape = field.shape.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(field.shape);
        record(shape).map_or_else(|| vec![path.clone()], |fields| leaves(fields, &format!("{path}.")))
    };
    fields.iter().flat_map(leaf).collect()
}

#[test]
fn the_table_has_every_field_of_the_registry_once() {
    assert_eq!(
        registry().map(|row| row.name).collect::<Vec<_>>(),
        table::MESSAGES.iter().map(|row| row.name).collect::<Vec<_>>()
    );
    let kinds: BTreeSet<_> = table::MESSAGES.iter().map(|row| row.kind).collect();
    assert_eq!(kinds.len(), table::MESSAGES.len(), "a type names one message");
    let records = table::RECORDS.iter().map(|row| {
        let declared = DECLARATIONS.iter().find(|(name, _)| *name == row.name).unwrap().1;
        let Declaration::Record(fields) = declared else { panic!("{} is no record", row.name) };
        (row, fields)
    });
    let messages = table::MESSAGES.iter().map(|row| (row, reference::row(row.name).fields));
    for (row, fields) in messages.chain(records) {
        let mut declared = leaves(fields, "");
        let mut told: Vec<_> = row.fields.iter().map(|entry| entry.field.to_owned()).collect();
        declared.sort();
        told.sort();
        assert_eq!(told, declared, "{}", row.name);
        let keys: BTreeSet<_> = row.fields.iter().map(|entry| entry.key).collect();
        assert_eq!(keys.len(), row.fields.len(), "{}: a key means one field", row.name);
        assert!(row.fields.iter().all(|entry| entry.key.split('.').count() <= 2 && entry.key != "type"));
    }
}

#[test]
fn every_vector_goes_to_json_and_back_unchanged() {
    let mut count = 0;
    for row in registry() {
        let path = proto_spec().join(format!("vectors/valid/{}.json", row.name));
        let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let message = native(&unhex(case["frame"].as_str().unwrap()));
            let text = text(&message);
            let parsed: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert!(parsed.is_object());
            assert_eq!(read(&text).unwrap_or_else(|error| panic!("{error}: {text}")), message, "{}: {text}", row.name);
            count += 1;
        }
    }
    assert!(count > 200, "only {count} vectors");
}

#[test]
fn drawn_messages_go_to_json_and_back_unchanged() {
    let mut state = 7u64;
    let mut draw = || {
        let mut bytes = Vec::with_capacity(400);
        while bytes.len() < 400 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend(state.to_be_bytes());
        }
        bytes
    };
    for row in registry() {
        for _ in 0..200 {
            let fields = reference::any_fields(row.fields, &mut Unstructured::new(&draw())).unwrap();
            let message = native(&row.frame(&fields));
            assert_eq!(read(&text(&message)).unwrap(), message, "{fields}");
        }
    }
}

// ---- the page ------------------------------------------------------------------------------------------------------

/// What the page says of a value.
fn value(of: &[Field], entry: &table::Entry) -> String {
    let (mut fields, mut shape) = (of, "");
    for part in entry.field.split('.') {
        shape = fields.iter().find(|field| field.name == part).unwrap().shape;
        let inner = shape.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(shape);
        fields = record(inner).unwrap_or_default();
    }
    match entry.form {
        Form::Json => "JSON".to_owned(),
        Form::Base64 => "base64".to_owned(),
        Form::Durable => "`false`, `\"notify\"` or `true`".to_owned(),
        Form::Plain => plain(shape),
    }
}

fn plain(shape: &str) -> String {
    let inner = |prefix: &str| shape.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(inner) = inner("Option<") {
        return format!("{} or `null`", plain(inner));
    }
    if let Some(inner) = inner("Vec<") {
        return format!("list of {}", plain(inner));
    }
    match shape {
        "u8" | "u32" | "u64" => "number".to_owned(),
        "u128" => "string of digits".to_owned(),
        "bool" => "`true` or `false`".to_owned(),
        "ByteString" => "string".to_owned(),
        name => match DECLARATIONS.iter().find(|(known, _)| *known == name).unwrap().1 {
            Declaration::Record(_) => format!("[{name}](#{})", name.to_lowercase()),
            Declaration::Tag(variants) => variants
                .iter()
                .map(|(variant, _)| format!("`\"{}\"`", table::tag(name, variant)))
                .collect::<Vec<_>>()
                .join(" "),
        },
    }
}

fn section(row: &table::Row, fields: &[Field], head: &str) -> String {
    let mut text = format!("{head}\n\n| key | field | value | when it is missing |\n|---|---|---|---|\n");
    for entry in row.fields {
        let missing = match entry.absent {
            Absent::Never => "—",
            Absent::Default => "nothing, 0, the first",
            Absent::One => "1",
            Absent::True => "`true`",
        };
        writeln!(text, "| `{}` | `{}` | {} | {missing} |", entry.key, entry.field, value(fields, entry)).unwrap();
    }
    text
}

/// Each section of the page stands there as the table has it, in its order, and there is no other.
#[test]
fn json_md_shows_exactly_the_table() {
    let mut expected = Vec::new();
    for row in table::MESSAGES {
        let of = reference::row(row.name);
        let direction = match of.direction {
            Direction::ToServer => "client → server",
            Direction::ToClient => "server → client",
            Direction::Both => "either way",
        };
        let link = format!("[{}](messages.md#{})", row.name, row.name.to_lowercase());
        expected.push(section(row, of.fields, &format!("### {}\n\n{link} · {direction}", row.kind)));
    }
    for row in table::RECORDS {
        expected.push(section(row, record(row.name).unwrap(), &format!("### {}\n\nA record in a list", row.name)));
    }
    let path = proto_spec().join("json.md");
    let page = fs::read_to_string(&path).unwrap();
    let (prose, _) = page.split_once("## The table\n").expect("the page has the table");
    let whole = format!("{prose}## The table\n\n{}", expected.join("\n"));
    if std::env::var_os("SYNCBRIDGE_WRITE_VECTORS").is_some() {
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), whole, "SYNCBRIDGE_WRITE_VECTORS=1 writes the table anew");
}

/// `valid/_json.json`: texts as other implementations write them, and the native frame that says the same.
#[test]
fn texts_of_the_vectors_are_read_and_written_as_they_stand() {
    let path = proto_spec().join("vectors/valid/_json.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    for case in vectors["cases"].as_array().unwrap() {
        let message = native(&unhex(case["frame"].as_str().unwrap()));
        assert_eq!(message.name(), case["message"], "{}", case["name"]);
        assert_eq!(serde_json::from_str::<Value>(&text(&message)).unwrap(), case["json"], "{}", case["name"]);
        // Documents keep the order of their keys, which this file does not: so it is compared as JSON again.
        let back = read(&case["json"].to_string()).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text(&back)).unwrap(), case["json"], "{}", case["name"]);
        seen.insert(message.name());
    }
    assert_eq!(seen, registry().map(|row| row.name).collect(), "every message has a text");
}

/// `invalid/json.json`: bytes of a text message that are none, and the error that says so.
#[test]
fn broken_texts_are_refused_by_name() {
    let path = proto_spec().join("vectors/invalid/json.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut codes = BTreeSet::new();
    for case in vectors["cases"].as_array().unwrap() {
        let error = read(case["text"].as_str().unwrap()).expect_err(case["name"].as_str().unwrap());
        assert_eq!(error.code().name(), case["error"], "{}: {error}", case["name"]);
        codes.insert(error.code().name());
    }
    assert_eq!(codes, BTreeSet::from(["invalid_field", "invalid_json", "malformed_message", "unknown_message"]));
}

#[test]
fn what_a_client_may_leave_out_is_what_the_table_says() {
    let update = read(r#"{"type":"state_update","sessionId":"s","delta":{"version":1,"operations":[]}}"#).unwrap();
    let Message::Update(update) = update else { panic!("{update:?}") };
    assert!(update.lenient && update.counter == 0 && update.base.epoch == 0 && update.on_conflict.is_none());
    let subscribe =
        read(r#"{"type":"subscribe","sessionId":"s","lastVersion":null,"epoch":7,"more":{"x":[1]}}"#).unwrap();
    let Message::Subscribe(subscribe) = subscribe else { panic!("{subscribe:?}") };
    assert!(subscribe.notices && subscribe.have.is_none() && !subscribe.durable);
    let hello = read(r#"{"type":"auth"}"#).unwrap();
    let Message::Hello(hello) = hello else { panic!("{hello:?}") };
    assert_eq!((hello.min_version, hello.max_version, hello.resume_notices), (1, 1, true));
}

#[test]
fn documents_pass_as_they_were_written() {
    for state in
        ["null", "1.0", "1e400", "18446744073709551616", r#"{"b":1, "a":[ ],"b":2}"#, r#""\ud834\udd1e \u00e9""#]
    {
        let text = format!(r#"{{"type":"create","state": {state} }}"#);
        let Message::Create(create) = read(&text).unwrap() else { panic!("{text}") };
        assert_eq!(create.state, state);
        assert!(self::text(&create.into()).contains(state));
    }
}

#[test]
fn depth_and_keys_are_bounded_exactly() {
    let nested = |depth: usize| {
        let inside = depth - 1;
        format!(r#"{{"type":"create","state":{}{}}}"#, "[".repeat(inside), "]".repeat(inside))
    };
    assert!(read(&nested(MAX_DEPTH + 1)).is_ok(), "the message's own level does not count");
    let deeper = format!(r#"{{"type":"create","state":{}1{}}}"#, "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    assert_eq!(read(&deeper), Err(Error::TooDeep));
    let keys = |count: usize| {
        let more = (2..count).map(|n| format!(r#","k{n}":1"#)).collect::<Vec<_>>().concat();
        format!(r#"{{"type":"create","state":1{more}}}"#)
    };
    assert!(read(&keys(MAX_KEYS)).is_ok());
    assert_eq!(read(&keys(MAX_KEYS + 1)), Err(Error::TooManyKeys));
}

#[test]
fn every_prefix_and_every_flipped_bit_of_a_text_is_read_without_a_panic_and_in_no_time() {
    let began = Instant::now();
    let text = r#"{"type":"state_update","id":"\u00e9\"x","sessionId":"s","delta":{"operations":[{"op":"add","path":"/a","value":[1.5e-3,true,null,{}]}],"version":12},"durable":"notify","onConflict":"merge"}"#;
    assert!(read(text).is_ok());
    for end in 0..text.len() {
        if let Some(prefix) = text.get(..end) {
            assert!(read(prefix).is_err(), "{prefix}");
        }
    }
    let mut bytes = text.as_bytes().to_vec();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Ok(message) = read(text)
            {
                assert_eq!(read(&self::text(&message)).as_ref(), Ok(&message), "{text}");
            }
            bytes[at] ^= 1 << bit;
        }
    }
    let hostile = [
        "[".repeat(1 << 20),
        format!("{{\"a\":{}", "{\"a\":".repeat(1 << 17)),
        format!("{{\"type\":\"{}\"", "\\u0041".repeat(1 << 17)),
        format!("{{{}}}", "\"k\":1,".repeat(1 << 17)),
        format!("{{\"a\":{}}}", "1".repeat(1 << 20)),
        format!("{{\"a\":\"{}\"}}", "\\\\".repeat(1 << 19)),
    ];
    for text in &hostile {
        assert!(read(text).is_err());
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
