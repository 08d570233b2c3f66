//! The flat JSON form against the registry, the page `proto-spec/json.md` and the vectors.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reference;

use std::{collections::BTreeSet, fs, time::Instant};

use arbitrary::Unstructured;
use bytes::Bytes;
use reference::{proto_spec, registry, unhex};
use serde_json::Value;
use syncbridge_codec::{
    Decoder, Message,
    inspect::{Declaration, Field},
    json::{self, Error, Incoming, MAX_DEPTH, MAX_KEYS, table},
    message::{self, DECLARATIONS},
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

/// The leaves of a message: its fields, or those of the records that lie in it.
fn leaves(fields: &[Field], prefix: &str) -> Vec<String> {
    let record = |shape: &str| {
        let shape = shape.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(shape);
        DECLARATIONS.iter().find_map(|(name, declaration)| match declaration {
            Declaration::Record(fields) if *name == shape => Some(*fields),
            _ => None,
        })
    };
    let leaf = |field: &Field| {
        let path = format!("{prefix}{}", field.name);
        record(field.shape).map_or_else(|| vec![path.clone()], |fields| leaves(fields, &format!("{path}.")))
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
