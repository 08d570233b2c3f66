//! The vectors of `proto-spec/vectors`: what every implementation in every language reads. Here the codec reads them, and
//! they are compared with what the second implementation makes. To write them anew, after a change of the registry:
//! `SYNCBRIDGE_WRITE_VECTORS=1 cargo test -p syncbridge-codec --test vectors`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "vectors/broken.rs"]
mod broken;
#[path = "vectors/generate.rs"]
mod generate;
#[path = "vectors/json.rs"]
mod json_texts;
mod reference;
#[path = "vectors/samples.rs"]
mod samples;

use std::{collections::BTreeSet, fs};

use bytes::Bytes;
use reference::{hex, proto_spec, registry, row, to_json, unhex};
use serde_json::{Value, json};
use syncbridge_codec::{
    Decoder, ErrorCode, Frame, Message, ProtocolError,
    handshake::{Client, Error, Server},
    websocket::{Event, Parser},
    wire::WireError,
};

fn file(path: &str) -> Value {
    let path = proto_spec().join("vectors").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases(path: &str) -> Vec<Value> {
    let Value::Array(cases) = file(path)["cases"].take() else { panic!("{path} has no cases") };
    assert!(!cases.is_empty(), "{path} is empty");
    cases
}

fn bytes(case: &Value, key: &str) -> Vec<u8> {
    unhex(case[key].as_str().unwrap())
}

/// Everything in `stream`, whole frames only, each decoded; and the error that ended it.
fn read(stream: &[u8], chunk: usize) -> (Vec<Option<Message>>, usize, Result<(), ProtocolError>) {
    let (mut decoder, mut messages, mut frames) = (Decoder::new(broken::MAX_FRAME), Vec::new(), 0);
    for chunk in stream.chunks(chunk.max(1)) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    frames += 1;
                    match Message::decode(frame) {
                        Ok(message) => messages.push(message),
                        Err(error) => return (messages, frames, Err(error)),
                    }
                }
                Ok(None) => break,
                Err(error) => return (messages, frames, Err(error)),
            }
        }
    }
    assert_eq!(decoder.buffered(), 0, "an unfinished frame is left");
    (messages, frames, Ok(()))
}

fn read_one(frame: &[u8]) -> Result<Option<Message>, ProtocolError> {
    let (mut messages, frames, result) = read(frame, frame.len());
    result?;
    assert_eq!((frames, messages.len()), (1, 1));
    Ok(messages.remove(0))
}

#[test]
fn the_vectors_are_those_of_this_registry() {
    let folder = proto_spec().join("vectors");
    let files = generate::files();
    for (path, value) in &files {
        let text = format!("{value:#}\n");
        let place = folder.join(path);
        if std::env::var_os("SYNCBRIDGE_WRITE_VECTORS").is_some() {
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, &text).unwrap();
        }
        assert_eq!(
            fs::read_to_string(&place).ok(),
            Some(text),
            "{path}: see the head of this file for how to write it"
        );
    }
    for kind in ["valid", "invalid"] {
        for entry in fs::read_dir(folder.join(kind)).unwrap() {
            let path = format!("{kind}/{}", entry.unwrap().file_name().to_str().unwrap());
            assert!(files.contains_key(&path), "{path} belongs to no message");
        }
    }
}

#[test]
fn every_message_is_read_and_written_as_its_vectors_say() {
    for row in registry() {
        let path = format!("valid/{}.json", row.name);
        assert_eq!(file(&path)["type"], row.kind);
        let cases = cases(&path);
        assert!(cases.len() >= 5, "{} has too few", row.name);
        for case in cases {
            let frame = bytes(&case, "frame");
            let message = read_one(&frame).unwrap().unwrap();
            assert_eq!(
                (message.name(), to_json(&message.node())),
                (row.name, case["fields"].clone()),
                "{}",
                case["name"]
            );
            assert_eq!(hex(&message.to_frame()), hex(&frame), "{}: {}", row.name, case["name"]);
        }
    }
}

#[test]
fn older_and_newer_peers_are_understood() {
    let cases = cases("valid/_evolution.json");
    for case in &cases {
        let message = read_one(&bytes(case, "frame")).unwrap();
        let expected = case["message"].as_str();
        assert_eq!(message.as_ref().map(Message::name), expected, "{}", case["name"]);
        assert_eq!(message.map_or(Value::Null, |message| to_json(&message.node())), case["fields"], "{}", case["name"]);
    }
    for row in registry() {
        let of_this = cases
            .iter()
            .filter(|case| case["message"] == row.name && case["name"].as_str().unwrap().contains(row.name));
        let appended = row.fields.iter().filter(|field| field.appended).count();
        assert_eq!(of_this.count(), 1 + appended, "{}", row.name);
    }
}

#[test]
fn streams_give_their_messages_in_any_chunks() {
    for case in cases("valid/_streams.json") {
        let stream = bytes(&case, "bytes");
        for chunk in 1..=stream.len() {
            let (messages, _, result) = read(&stream, chunk);
            assert_eq!(result, Ok(()));
            let names: Vec<_> = messages.iter().flatten().map(Message::name).collect();
            assert_eq!(json!(names), case["messages"], "{} in chunks of {chunk}", case["name"]);
        }
    }
}

#[test]
fn broken_frames_are_refused_by_name() {
    let mut seen = BTreeSet::new();
    assert_eq!(file("invalid/frames.json")["max_frame"], broken::MAX_FRAME);
    for case in cases("invalid/frames.json") {
        for chunk in [1, 3, usize::MAX] {
            let (_, frames, result) = read(&bytes(&case, "bytes"), chunk);
            let error = result.expect_err(case["name"].as_str().unwrap());
            assert_eq!((json!(frames), json!(error.code().name())), (case["frames"].clone(), case["error"].clone()));
            seen.insert(error.code().name());
        }
    }
    assert_eq!(seen, BTreeSet::from(["frame_too_large", "malformed_frame"]));
}

#[test]
fn broken_messages_are_refused_by_name() {
    let (mut codes, mut details, mut truncated) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for case in cases("invalid/messages.json") {
        let error = read_one(&bytes(&case, "frame")).expect_err(case["name"].as_str().unwrap());
        let detail = match &error {
            ProtocolError::MalformedMessage { name, source } => {
                if *source == WireError::Truncated {
                    truncated.insert(*name);
                }
                Some(match source {
                    WireError::Truncated => "truncated",
                    WireError::OutOfRange => "out_of_range",
                    WireError::NotUtf8 => "not_utf8",
                })
            }
            _ => None,
        };
        assert_eq!(
            (json!(error.code().name()), json!(detail)),
            (case["error"].clone(), case["detail"].clone()),
            "{}",
            case["name"]
        );
        codes.insert(error.code().name());
        details.extend(detail);
    }
    assert_eq!(codes, BTreeSet::from(["malformed_message", "unknown_message"]));
    assert_eq!(details, BTreeSet::from(["not_utf8", "out_of_range", "truncated"]));
    assert_eq!(truncated, registry().map(|row| row.name).collect());
}

#[test]
fn broken_handshakes_are_refused_by_name() {
    let mut seen = BTreeSet::new();
    for case in cases("invalid/handshake.json") {
        let (mut server, mut client) = (Server::new(), Client::new());
        let frames = case["frames"].as_array().unwrap();
        for (at, frame) in frames.iter().enumerate() {
            let message = read_one(&unhex(frame.as_str().unwrap())).unwrap().unwrap();
            let result: Result<(), Error> = match case["to"].as_str() {
                Some("server") => server.receive(message).map(drop),
                Some("client") => client.receive(message).map(drop),
                other => panic!("nobody is {other:?}"),
            };
            if at + 1 < frames.len() {
                assert_eq!(result, Ok(()), "{}: frame {at}", case["name"]);
            } else {
                let error = result.expect_err(case["name"].as_str().unwrap());
                assert_eq!(error.code().name(), case["error"], "{}", case["name"]);
                seen.insert(error.code().name());
            }
        }
    }
    let all = ["invalid_field", "invalid_session_id", "limit_reached", "unexpected_message", "unsupported_version"];
    assert_eq!(seen, BTreeSet::from(all));
}

/// Every error that the codec itself can make has a vector in one of the tests above, which assert what they saw.
#[test]
fn every_error_of_the_codec_is_covered() {
    let covered = |error: &ProtocolError| match error {
        ProtocolError::MalformedFrame { .. } | ProtocolError::FrameTooLarge { .. } => "invalid/frames.json",
        ProtocolError::UnknownMessage { .. } | ProtocolError::MalformedMessage { .. } => "invalid/messages.json",
        ProtocolError::UnexpectedMessage { .. } | ProtocolError::UnsupportedVersion { .. } => "invalid/handshake.json",
    };
    for error in [
        ProtocolError::MalformedFrame { length: 0 },
        ProtocolError::FrameTooLarge { length: 0, max: 0 },
        ProtocolError::UnknownMessage { kind: 0 },
        ProtocolError::MalformedMessage { name: "", source: WireError::Truncated },
        ProtocolError::UnexpectedMessage { name: "", when: "" },
        ProtocolError::UnsupportedVersion { min: 0, max: 0 },
    ] {
        let path = covered(&error);
        assert!(cases(path).iter().any(|case| case["error"] == error.code().name()), "{error:?} is not in {path}");
    }
    for case in ["invalid/frames.json", "invalid/messages.json", "invalid/handshake.json"].into_iter().flat_map(cases) {
        let known = ErrorCode::ALL.iter().any(|code| case["error"] == code.name());
        assert!(known, "{} is not an error", case["error"]);
    }
}

fn events(bytes: &[u8], chunk: usize, max: usize) -> (Vec<Value>, Option<u16>) {
    let (mut parser, mut seen) = (Parser::new(max), Vec::new());
    for chunk in bytes.chunks(chunk.max(1)) {
        let pushed = parser.push(&mut chunk.to_vec(), &mut |event| {
            seen.push(match event {
                Event::Binary(bytes) => json!(["binary", hex(bytes)]),
                Event::Text(text) => json!(["text", text]),
                Event::Ping(bytes) => json!(["ping", hex(bytes)]),
                Event::Pong(bytes) => json!(["pong", hex(bytes)]),
                Event::Close { code, reason } => json!(["close", code, reason]),
            });
        });
        if let Err(error) = pushed {
            return (seen, Some(error.close_code()));
        }
    }
    (seen, None)
}

#[test]
fn websocket_bytes_give_their_events_in_any_chunks() {
    let max = file("valid/_websocket.json")["max_message"].as_u64().unwrap() as usize;
    for case in cases("valid/_websocket.json") {
        let bytes = bytes(&case, "bytes");
        for chunk in 1..=bytes.len() {
            let (seen, error) = events(&bytes, chunk, max);
            assert_eq!((Value::Array(seen), error), (case["events"].clone(), None), "{}", case["name"]);
        }
    }
}

#[test]
fn broken_websocket_bytes_are_closed_with_their_code() {
    let max = file("invalid/websocket.json")["max_message"].as_u64().unwrap() as usize;
    let mut seen = BTreeSet::new();
    for case in cases("invalid/websocket.json") {
        let bytes = bytes(&case, "bytes");
        for chunk in 1..=bytes.len() {
            let (_, error) = events(&bytes, chunk, max);
            assert_eq!(json!(error), case["close"], "{} in chunks of {chunk}", case["name"]);
            seen.extend(error);
        }
    }
    assert_eq!(seen, BTreeSet::from([1002, 1007, 1009]));
}

#[test]
fn every_sample_belongs_to_a_message() {
    for (message, name, fields) in samples::samples() {
        let frame = row(message).frame(&fields);
        assert_eq!(read_one(&frame).unwrap().unwrap().name(), message, "{name}");
    }
    for row in registry() {
        assert!(samples::samples().iter().any(|(message, ..)| *message == row.name), "{} has no example", row.name);
    }
}

#[test]
fn bodies_are_those_of_bincode_itself() {
    let mut seen = BTreeSet::new();
    for case in cases("golden/bincode.json") {
        let row = row(case["message"].as_str().unwrap());
        let frame = Frame { kind: row.kind, body: bytes(&case, "body").into() };
        let message = Message::decode(frame.clone()).unwrap().unwrap();
        assert_eq!(to_json(&message.node()), case["fields"], "{}", row.name);
        let mut written = Decoder::new(usize::MAX);
        written.push(message.to_frame());
        assert_eq!(written.next_frame(), Ok(Some(frame)), "{}", row.name);
        seen.insert(row.name);
    }
    assert_eq!(seen, registry().map(|row| row.name).collect(), "run tools/golden again");
}
