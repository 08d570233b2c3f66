//! The pages of `proto-spec/` say what the registry says: every message, field, type, tag and error, no more and no less,
//! and every example in hexadecimal is what the codec makes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reference;

use std::{collections::BTreeMap, fs, path::Path};

use reference::{proto_spec, registry, to_json, unhex};
use serde_json::Value;
use syncbridge_codec::{
    Blame, Decoder, ErrorCode, Message,
    handshake::{MAX_AGENT, MAX_RESUME, MAX_TOKEN},
    inspect::{Declaration, Field},
    message::{Class, DECLARATIONS, Direction},
    varint,
    wire::{MAX_ITEMS, Reader, Value as _},
};

fn page(name: &str) -> String {
    fs::read_to_string(proto_spec().join(name)).unwrap_or_else(|error| panic!("proto-spec/{name}: {error}"))
}

/// What stands under each heading of this level, up to the next heading of it or a higher one.
fn sections(page: &str, level: usize) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::new();
    let mut current = None;
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let hashes = line.bytes().take_while(|byte| *byte == b'#').count();
        if !fenced && (1..=level).contains(&hashes) {
            current = (hashes == level).then(|| line[level..].trim().to_owned());
        } else if let Some(heading) = &current {
            let text: &mut String = sections.entry(heading.clone()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    sections
}

/// The rows of every table whose head is `head`, cells trimmed and without backquotes.
fn rows(text: &str, head: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let (mut rows, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        if inside && line.starts_with("|---") {
            continue;
        }
        if inside && line.starts_with('|') {
            rows.push(cells(line));
        } else {
            inside = line == head;
        }
    }
    rows
}

/// What stands in the fenced blocks of this language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A Rust type as the pages write it.
fn spec_type(shape: &str) -> String {
    let inner = |prefix: &str| shape.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>')).map(spec_type);
    match shape {
        "ByteString" => "text".to_owned(),
        "Bytes" => "bytes".to_owned(),
        _ => inner("Option<")
            .map(|inner| format!("{inner}?"))
            .or_else(|| inner("Vec<").map(|inner| format!("[{inner}]")))
            .unwrap_or_else(|| shape.to_owned()),
    }
}

/// Compares a table of fields with the declared ones; every field has to say what it means.
fn assert_fields(owner: &str, text: &str, fields: &[Field]) {
    let rows = rows(text, "| field | type | meaning |");
    assert!(rows.iter().all(|row| row.len() == 3 && !row[2].is_empty()), "{owner}: a field without a meaning");
    let said: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let declared: Vec<_> = fields
        .iter()
        .map(|field| {
            let appended = if field.appended { ", appended" } else { "" };
            (field.name.to_owned(), spec_type(field.shape) + appended)
        })
        .collect();
    assert_eq!(said, declared, "{owner}");
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "client → server",
        Direction::ToClient => "server → client",
        Direction::Both => "either way",
    }
}

const fn class(class: Class) -> &'static str {
    match class {
        Class::Control => "control",
        Class::Session => "session",
    }
}

#[test]
fn messages_md_lists_exactly_the_registry() {
    let page = page("messages.md");
    let said = rows(&page, "| type | message | direction | stream | in short |");
    let said: Vec<_> = said.iter().map(|row| row[..4].to_vec()).collect();
    let declared: Vec<_> = registry()
        .map(|row| {
            let link = format!("[{}](#{})", row.name, row.name.to_lowercase());
            vec![format!("0x{:02X}", row.kind), link, direction(row.direction).into(), class(row.class).into()]
        })
        .collect();
    assert_eq!(said, declared);

    let messages = sections(&sections(&page, 2)["Messages"], 3);
    let mut names: Vec<_> = messages.keys().map(String::as_str).collect();
    names.sort_by_key(|name| reference::row(name).kind);
    assert_eq!(names, registry().map(|row| row.name).collect::<Vec<_>>());
    for row in registry() {
        let text = &messages[row.name];
        let skip = if row.kind & 1 == 1 { " · may be skipped by who does not know it" } else { "" };
        let first = format!("`0x{:02X}` · {} · {} stream{skip}", row.kind, direction(row.direction), class(row.class));
        assert_eq!(text.lines().find(|line| !line.is_empty()), Some(&*first), "{}", row.name);
        assert_fields(row.name, text, row.fields);
    }
}

#[test]
fn every_message_has_an_example_that_the_codec_makes() {
    let messages = sections(&sections(&page("messages.md"), 2)["Messages"], 3);
    for row in registry() {
        let text = &messages[row.name];
        let (hex, json) = (blocks(text, "hex"), blocks(text, "json"));
        assert_eq!((hex.len(), json.len()), (1, 1), "{} has one example", row.name);
        let frame = unhex(&hex[0]);
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(frame.clone().into());
        let message = Message::decode(decoder.next_frame().unwrap().unwrap()).unwrap().unwrap();
        assert_eq!(decoder.buffered(), 0);
        assert_eq!(message.name(), row.name);
        let fields: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!(to_json(&message.node()), fields, "{}", row.name);
        assert_eq!(message.to_frame(), frame, "{}", row.name);
        let vectors = fs::read_to_string(proto_spec().join(format!("vectors/valid/{}.json", row.name))).unwrap();
        let vectors: Value = serde_json::from_str(&vectors).unwrap();
        assert_eq!(vectors["cases"][0]["frame"], reference::hex(&frame), "the example is the first vector");
    }
}

#[test]
fn records_and_tags_are_described_as_declared() {
    let page = page("messages.md");
    let parts = sections(&page, 2);
    let (records, tags) = (sections(&parts["Records"], 3), sections(&parts["Tags"], 3));
    let mut described: Vec<_> = records.keys().chain(tags.keys()).map(String::as_str).collect();
    let mut declared: Vec<_> = DECLARATIONS.iter().map(|(name, _)| *name).collect();
    described.sort_unstable();
    declared.sort_unstable();
    assert_eq!(described, declared);
    for (name, declaration) in DECLARATIONS {
        match declaration {
            Declaration::Record(fields) => assert_fields(name, &records[*name], fields),
            Declaration::Tag(variants) => {
                let rows = rows(&tags[*name], "| variant | number | meaning |");
                let said: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
                let declared: Vec<_> =
                    variants.iter().map(|(variant, number)| ((*variant).to_owned(), number.to_string())).collect();
                assert_eq!(said, declared, "{name}");
            }
        }
    }
}

#[test]
fn errors_md_lists_exactly_the_registry() {
    let rows = rows(&page("errors.md"), "| number | name | blame | retryable | fatal | HTTP | meaning |");
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let declared: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| {
            let blame = match code.blame() {
                Blame::Peer => "peer",
                Blame::Refused => "refused",
                Blame::Busy => "busy",
                Blame::Server => "server",
            };
            let number = (*code as u32).to_string();
            let (retryable, fatal) = (yes(code.retryable()), yes(code.fatal()));
            vec![number, code.name().to_owned(), blame.to_owned(), retryable, fatal, code.http_status().to_string()]
        })
        .collect();
    assert!(rows.iter().all(|row| row.len() == 7 && !row[6].is_empty()), "an error without a meaning");
    assert_eq!(rows.iter().map(|row| row[..6].to_vec()).collect::<Vec<_>>(), declared);
}

#[test]
fn the_numbers_of_framing_md_are_read_and_written_as_it_says() {
    let page = page("framing.md");
    let parts = sections(&page, 2);
    let frames = rows(&parts["Frames"], "| bytes | value |");
    assert_eq!(frames.len(), 4);
    for row in frames {
        let (bytes, value) = (unhex(&row[0]), row[1].parse::<u64>().unwrap());
        assert_eq!(varint::read(&bytes), Some((value, bytes.len())));
        let mut out = Vec::new();
        varint::write(&mut out, value);
        assert_eq!(out, bytes);
        assert_eq!(varint::size(value), bytes.len());
    }
    let numbers = rows(&parts["Types"], "| bytes | value |");
    assert_eq!(numbers.len(), 7);
    for row in numbers {
        let (bytes, value) = (unhex(&row[0]), row[1].parse::<u128>().unwrap());
        assert_eq!(u128::read(&mut Reader::new(bytes.clone().into())), Ok(value));
        let mut out = Vec::new();
        value.write(&mut out);
        assert_eq!(out, bytes);
        assert_eq!(value.size(), bytes.len());
    }
}

#[test]
fn the_frame_that_framing_md_takes_apart_is_the_example_of_update() {
    let rows = rows(&sections(&page("framing.md"), 2)["A frame, byte by byte"], "| bytes | what |");
    let joined: Vec<u8> = rows.iter().flat_map(|row| unhex(&row[0])).collect();
    let messages = sections(&sections(&page("messages.md"), 2)["Messages"], 3);
    assert_eq!(joined, unhex(&blocks(&messages["Update"], "hex")[0]));
}

#[test]
fn the_bounds_on_the_pages_are_those_of_the_codec() {
    let said = |name: &str, number: usize| {
        let digits = number.to_string();
        let mut grouped = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        assert!(page(name).contains(&grouped), "{name} does not say {grouped}");
    };
    said("framing.md", MAX_ITEMS);
    said("framing.md", syncbridge_codec::MAX_CLIENT_FRAME);
    said("handshake.md", MAX_TOKEN);
    said("handshake.md", MAX_RESUME);
    said("handshake.md", MAX_AGENT);
    said("handshake.md", syncbridge_codec::id::MAX_LEN);
    said("messages.md", syncbridge_codec::SNAPSHOT_PART);
    let alpn = std::str::from_utf8(syncbridge_codec::ALPN).unwrap();
    assert!(page("transports.md").contains(&format!("ALPN `{alpn}`")));
    assert!(page("transports.md").contains(syncbridge_codec::WEBSOCKET_SUBPROTOCOL));
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    let names =
        ["framing.md", "handshake.md", "messages.md", "errors.md", "transports.md", "json.md", "vectors/README.md"];
    let anchors = |page: &Path| -> Vec<String> {
        let anchor = |line: &str| {
            let kept = |c: &char| c.is_alphanumeric() || *c == '-' || *c == ' ';
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(kept)
                .collect::<String>()
                .replace(' ', "-")
        };
        fs::read_to_string(page).unwrap().lines().filter(|line| line.starts_with('#')).map(anchor).collect()
    };
    let mut count = 0;
    for name in names {
        let text = page(name);
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let from = proto_spec().join(name);
            let target = if file.is_empty() { from } else { from.parent().unwrap().join(file) };
            assert!(target.exists(), "{name}: {link}");
            assert!(anchor.is_empty() || anchors(&target).iter().any(|known| known == anchor), "{name}: {link}");
            count += 1;
        }
    }
    assert!(count > 40, "only {count} links were found");
}
