//! The bodies of the codec's fuzz targets in `fuzz/`: what must hold whatever a peer sends. The tests below drive the same
//! functions on stable, with mutated vectors. Compiled only for tests and with the feature `fuzzing`; panics are its way
//! to speak.

use bytes::Bytes;

use crate::{
    Decoder, Frame, Message, ProtocolError,
    frame::Frames,
    handshake::{Answer, Client, Grant, Limits, MAX_RESUME, MAX_TOKEN, Server, Step},
    id, json, varint,
    websocket::{self, Event, Parser},
};

/// The cap of the targets: small, so that a fuzzer finds it.
const MAX: usize = 4096;

fn cut(bytes: &[u8], chunk: usize) -> (Vec<Frame>, Result<(), ProtocolError>) {
    let (mut decoder, mut frames) = (Decoder::new(MAX), Vec::new());
    for chunk in bytes.chunks(chunk.max(1)) {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.buffered(), 0, "a decoder that failed holds nothing");
                    assert_eq!(decoder.next_frame(), Err(error.clone()));
                    return (frames, Err(error));
                }
            }
        }
        assert!(decoder.buffered() < MAX + 8, "at most one unfinished frame is held");
    }
    (frames, Ok(()))
}

/// A stream of frames: the first byte is the size of the chunks. Any chunks give the same frames, and what comes out is
/// what went in.
pub fn frames(data: &[u8]) {
    let Some((chunk, stream)) = data.split_first() else { return };
    let whole = cut(stream, stream.len());
    assert_eq!(cut(stream, usize::from(*chunk)), whole);
    // The same as the frames of one WebSocket message, but that a message ends with a whole frame.
    let mut message = Frames::new(Bytes::copy_from_slice(stream), MAX);
    for frame in &whole.0 {
        assert_eq!(message.next().as_ref(), Some(&Ok(frame.clone())));
    }
    match &whole.1 {
        Err(error) => assert_eq!(message.next(), Some(Err(error.clone()))),
        Ok(()) => assert!(message.next().is_none_or(|end| matches!(end, Err(ProtocolError::MalformedFrame { .. })))),
    }
    let mut at = 0;
    for frame in &whole.0 {
        let (length, head) = varint::read(&stream[at..]).expect("a frame has a length");
        let (kind, size) = varint::read(&stream[at + head..]).expect("a frame has a type");
        assert_eq!(kind, frame.kind);
        assert_eq!(size + frame.body.len(), length as usize);
        at += head + length as usize;
        assert_eq!(stream[..at][at - frame.body.len()..], frame.body[..]);
    }
}

/// One message: the first byte is the type, the rest the body. What decodes, encodes and decodes to the same, in exactly
/// the size that was said.
pub fn messages(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let frame = Frame { kind: u64::from(*kind), body: Bytes::copy_from_slice(body) };
    let Ok(Some(message)) = Message::decode(frame) else { return };
    let written = message.to_frame();
    assert_eq!(written.len(), message.frame_size());
    let mut decoder = Decoder::new(usize::MAX);
    decoder.push(written);
    let frame = decoder.next_frame().expect("our own frame is right").expect("and whole");
    assert_eq!(decoder.buffered(), 0);
    let again = Message::decode(frame).expect("our own message is right").expect("and known");
    assert_eq!(again, message);
    assert_eq!(again.node(), message.node());
}

/// A text of flat JSON. What decodes is written as a text that decodes to the same, and to the same native body.
pub fn json(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(incoming) = json::Incoming::scan(text) else { return };
    // Looked at before anything is known of the rest: whatever they say, they do not panic.
    let _ = (incoming.heartbeat(), incoming.kind(), incoming.raw("notices"));
    if let Ok(Some(id)) = incoming.id() {
        assert!(id.len() <= json::MAX_ID);
    }
    let Ok(message) = incoming.message() else { return };
    let written = json::encode(&message, &[]);
    let written = str::from_utf8(&written).expect("our own text is UTF-8");
    let again = json::Incoming::scan(written).expect("our own text is an object").message();
    let again = again.unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, message, "{written}");
    assert_eq!(again.to_frame(), message.to_frame());
}

/// What a client sends on a WebSocket: the first byte is the size of the chunks. Any chunks give the same events.
pub fn websocket(data: &[u8]) {
    let Some((chunk, stream)) = data.split_first() else { return };
    let read = |chunk: usize| {
        let (mut parser, mut events, mut closed) = (Parser::new(MAX), Vec::new(), false);
        for chunk in stream.chunks(chunk.max(1)) {
            let pushed = parser.push(&mut chunk.to_vec(), &mut |event| {
                assert!(!closed, "nothing comes after a close");
                closed = matches!(event, Event::Close { .. });
                if let Event::Binary(bytes) | Event::Ping(bytes) | Event::Pong(bytes) = event {
                    assert!(bytes.len() <= MAX);
                }
                events.push(format!("{event:?}"));
            });
            assert!(parser.buffered() <= MAX + 14 + websocket::MAX_CONTROL);
            if let Err(error) = pushed {
                assert_eq!(parser.buffered(), 0, "a parser that failed holds nothing");
                return (events, Some(error.close_code()));
            }
        }
        (events, None)
    };
    assert_eq!(read(stream.len()), read(usize::from(*chunk)));
}

/// A handshake: frames for a server and, the same, for a client. What a server would decide on is in bounds, and a client
/// understands the answer.
pub fn handshake(data: &[u8]) {
    let (mut server, mut client) = (Server::new(), Client::new());
    for frame in cut(data, data.len()).0 {
        let Ok(Some(message)) = Message::decode(frame) else { return };
        // Whatever a client makes of it, it does not panic.
        let _ = client.receive(message.clone());
        match server.receive(message) {
            Ok(Step::Decide(request)) => {
                assert!(server.is_done());
                assert!(request.resume.len() <= MAX_RESUME && request.token.len() <= MAX_TOKEN);
                assert!(id::is_device(&request.device));
                assert!(request.resume.iter().all(|cursor| id::is_session(&cursor.topic)));
                let limits = Limits {
                    max_client_frame: 1 << 20,
                    max_server_frame: 1 << 20,
                    max_document: 1 << 20,
                    max_subscriptions: 1,
                    heartbeat_ms: 1,
                };
                let welcome = request.welcome(Grant {
                    connection: 1,
                    epoch: 1,
                    server_time_ms: 1,
                    user: "user".into(),
                    device: request.device.clone(),
                    limits,
                });
                let answer = Client::new().receive(welcome.into());
                assert!(matches!(answer, Ok(Answer::Welcome(established)) if established.limits == limits));
            }
            Ok(Step::Reply(_) | Step::Ask(_) | Step::Closed(_)) => {}
            Err(error) => {
                let refused = error.refused();
                assert_eq!(refused.code, error.code() as u32);
                assert!(refused.text.len() < 200, "a refusal does not echo what it refuses");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Target = fn(&[u8]);

    /// Every run of hexadecimal bytes in the vectors below this folder.
    fn corpus(folder: &str) -> Vec<Vec<u8>> {
        fn collect(value: &serde_json::Value, out: &mut Vec<Vec<u8>>) {
            match value {
                serde_json::Value::String(text) if text.len() % 2 == 0 && text.len() < 8192 => {
                    let byte = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
                    out.extend((0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>());
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
                serde_json::Value::Object(fields) => fields.values().for_each(|value| collect(value, out)),
                _ => {}
            }
        }
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-spec/vectors").join(folder);
        let mut out = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            collect(&serde_json::from_str(&text).unwrap(), &mut out);
        }
        assert!(out.len() > 50, "the vectors hold bytes");
        out
    }

    /// A drawn number; the same row for the same start.
    struct Drawn(u64);

    impl Drawn {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % below.max(1) as u64) as usize
        }
    }

    /// Changes a few bytes of a good input: the kinds of change a fuzzer makes.
    fn mutate(bytes: &mut Vec<u8>, other: &[u8], drawn: &mut Drawn) {
        for _ in 0..=drawn.next(4) {
            let at = drawn.next(bytes.len());
            match drawn.next(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << drawn.next(8),
                1 if !bytes.is_empty() => bytes[at] = *[0, 1, 250, 251, 254, 255].get(drawn.next(6)).unwrap_or(&127),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => bytes.insert(at, drawn.next(256) as u8),
                4 => bytes.truncate(at),
                5 => bytes.extend_from_slice(other),
                _ => drop(bytes.splice(at..at, other.iter().copied().take(16))),
            }
        }
    }

    /// Good input for each target, as it wants it.
    fn drive(target: Target, prefix: Option<u8>, strip_head: bool, rounds: usize) {
        let corpus: Vec<_> = ["valid", "invalid"].into_iter().flat_map(corpus).collect();
        let mut drawn = Drawn(0x5eed);
        for round in 0..rounds {
            for (at, bytes) in corpus.iter().enumerate() {
                let mut bytes = bytes.clone();
                if strip_head && let Some((_, head)) = varint::read(&bytes) {
                    bytes.drain(..head);
                }
                if round > 0 {
                    let other = &corpus[(at + drawn.next(corpus.len())) % corpus.len()];
                    mutate(&mut bytes, other, &mut drawn);
                }
                if let Some(prefix) = prefix {
                    bytes.insert(0, prefix.wrapping_add(round as u8));
                }
                target(&bytes);
            }
        }
    }

    #[test]
    fn mutated_vectors_break_no_rule_of_frames() {
        drive(frames, Some(1), false, 600);
    }

    #[test]
    fn mutated_vectors_break_no_rule_of_messages() {
        drive(messages, None, true, 1000);
    }

    #[test]
    fn mutated_texts_break_no_rule_of_json() {
        let text = |bytes: Vec<u8>| {
            let mut decoder = Decoder::new(usize::MAX);
            decoder.push(bytes.into());
            let message = Message::decode(decoder.next_frame().ok()??).ok()??;
            Some(json::encode(&message, &[]).to_vec())
        };
        let texts: Vec<_> = corpus("valid").into_iter().filter_map(text).collect();
        assert!(texts.len() > 50, "the vectors hold messages");
        let mut drawn = Drawn(0x5eed);
        for round in 0..600 {
            for (at, text) in texts.iter().enumerate() {
                let mut text = text.clone();
                if round > 0 {
                    mutate(&mut text, &texts[(at + drawn.next(texts.len())) % texts.len()], &mut drawn);
                }
                json(&text);
            }
        }
    }

    #[test]
    fn mutated_vectors_break_no_rule_of_websocket() {
        drive(websocket, Some(1), false, 600);
    }

    #[test]
    fn mutated_vectors_break_no_rule_of_the_handshake() {
        drive(handshake, None, false, 600);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn arbitrary_bytes_break_no_rule(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            for target in [frames as Target, messages, json, websocket, handshake] {
                target(&data);
            }
        }
    }
}
