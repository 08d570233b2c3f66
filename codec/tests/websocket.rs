//! RFC 6455 framing: the RFC's own examples, every chunking, every rule a hostile peer may break.

use bytes::BytesMut;
use proptest::prelude::*;
use syncbridge_codec::websocket::{
    Error, Event, MAX_HEADER, Opcode, Parser, accept_key, header_size, write_client_frame, write_close, write_frame,
    write_header, write_pong,
};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An [`Event`] that outlives the bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Binary(Vec<u8>),
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

fn read_with(parser: &mut Parser, bytes: &[u8], seen: &mut Vec<Seen>) -> Result<(), Error> {
    parser.push(&mut bytes.to_vec(), &mut |event| seen.push(event.into()))
}

fn read(bytes: &[u8]) -> (Vec<Seen>, Result<(), Error>) {
    let mut seen = Vec::new();
    let result = read_with(&mut Parser::new(1 << 20), bytes, &mut seen);
    (seen, result)
}

fn read_in_chunks(bytes: &[u8], size: usize) -> (Vec<Seen>, Result<(), Error>) {
    let (mut parser, mut seen) = (Parser::new(1 << 20), Vec::new());
    let result = bytes.chunks(size.max(1)).try_for_each(|chunk| read_with(&mut parser, chunk, &mut seen));
    (seen, result)
}

/// A masked frame, with the first byte's flags as given.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    write_client_frame(&mut out, Opcode::Binary, MASK, payload);
    out[0] = first;
    out.to_vec()
}

#[test]
fn the_accept_key_is_the_one_of_the_rfc() {
    assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn the_examples_of_the_rfc_are_read_and_written() {
    let masked_hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(&masked_hello), (vec![Seen::Text("Hello".into())], Ok(())));
    let mut out = BytesMut::new();
    write_client_frame(&mut out, Opcode::Text, MASK, b"Hello");
    assert_eq!(out[..], masked_hello);

    let plain_hello = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    let mut out = Vec::new();
    write_frame(&mut out, Opcode::Text, b"Hello");
    assert_eq!(out, plain_hello);
    let mut seen = Vec::new();
    let mut client = Parser::for_client(1 << 10);
    read_with(&mut client, &plain_hello, &mut seen).unwrap();
    // Unmasked fragments "Hel" and "lo", with a ping between them.
    let fragments = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x80, 0x02, 0x6c, 0x6f];
    read_with(&mut client, &fragments, &mut seen).unwrap();
    let hello = || Seen::Text("Hello".into());
    assert_eq!(seen, [hello(), Seen::Ping(b"Hello".into()), hello()]);

    assert_eq!(
        read(&[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]),
        (vec![Seen::Pong(b"Hello".into())], Ok(()))
    );
    let mut out = Vec::new();
    write_header(&mut out, Opcode::Binary, 256);
    assert_eq!(out, [0x82, 0x7e, 0x01, 0x00]);
    out.clear();
    write_header(&mut out, Opcode::Binary, 65536);
    assert_eq!(out, [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn sizes_at_each_border_of_the_length_forms_round_trip() {
    for len in [0, 1, 125, 126, 127, 65534, 65535, 65536, 65537] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut frame = BytesMut::new();
        write_client_frame(&mut frame, Opcode::Binary, MASK, &payload);
        assert_eq!(frame.len(), header_size(len) + 4 + len);
        assert_eq!(read(&frame), (vec![Seen::Binary(payload.clone())], Ok(())), "{len} bytes");
        assert_eq!(read_in_chunks(&frame, 1000), read(&frame));
        let mut plain = Vec::new();
        write_frame(&mut plain, Opcode::Binary, &payload);
        assert_eq!(plain.len(), header_size(len) + len);
        assert!(header_size(len) <= MAX_HEADER);
    }
}

/// A stream with everything in it that is allowed.
fn lively() -> Vec<u8> {
    let mut out = raw(0x81, "plain tëxt".as_bytes());
    out.extend(raw(0x82, &[7; 130]));
    out.extend(raw(0x01, &"frag € mented 𝄞".as_bytes()[..6]));
    out.extend(raw(0x89, b"are you there"));
    out.extend(raw(0x00, &"frag € mented 𝄞".as_bytes()[6..18]));
    out.extend(raw(0x00, b""));
    out.extend(raw(0x8a, b""));
    out.extend(raw(0x80, &"frag € mented 𝄞".as_bytes()[18..]));
    out.extend(raw(0x82, b""));
    out.extend(raw(0x02, b""));
    out.extend(raw(0x80, b""));
    out.extend(raw(0x88, b"\x03\xe8bye"));
    out.extend(b"what follows a close is not read");
    out
}

#[test]
fn every_split_point_gives_the_same_events() {
    let stream = lively();
    let expected = vec![
        Seen::Text("plain tëxt".into()),
        Seen::Binary(vec![7; 130]),
        Seen::Ping(b"are you there".into()),
        Seen::Pong(vec![]),
        Seen::Text("frag € mented 𝄞".into()),
        Seen::Binary(vec![]),
        Seen::Binary(vec![]),
        Seen::Close(Some(1000), "bye".into()),
    ];
    assert_eq!(read(&stream), (expected.clone(), Ok(())));
    for first in 0..stream.len() {
        for second in (first..stream.len()).step_by(7) {
            let (mut parser, mut seen) = (Parser::new(1 << 20), Vec::new());
            for part in [&stream[..first], &stream[first..second], &stream[second..]] {
                read_with(&mut parser, part, &mut seen).unwrap();
            }
            assert_eq!(seen, expected, "split at {first} and {second}");
        }
    }
    assert_eq!(read_in_chunks(&stream, 1).0, expected);
}

#[test]
fn a_whole_frame_is_handed_out_where_it_lies() {
    let mut scratch = raw(0x82, b"where am I");
    let range = scratch.as_ptr_range();
    let mut borrowed = false;
    Parser::new(100)
        .push(&mut scratch, &mut |event| {
            borrowed = matches!(event, Event::Binary(bytes) if range.contains(&bytes.as_ptr()));
        })
        .unwrap();
    assert!(borrowed);
}

#[test]
fn an_idle_parser_is_small_and_holds_nothing() {
    assert!(size_of::<Parser>() <= 24, "{} bytes", size_of::<Parser>());
    let (mut parser, mut seen) = (Parser::new(1 << 20), Vec::new());
    for cut in 1..raw(0x82, &[1; 300]).len() {
        let frame = raw(0x82, &[1; 300]);
        read_with(&mut parser, &frame[..cut], &mut seen).unwrap();
        assert!(parser.buffered() > 0, "cut at {cut}");
        read_with(&mut parser, &frame[cut..], &mut seen).unwrap();
        assert_eq!(parser.buffered(), 0, "cut at {cut}");
    }
    read_with(&mut parser, &raw(0x02, b""), &mut seen).unwrap();
    assert!(parser.buffered() > 0, "an open message counts, even without a byte");
}

fn refused(bytes: &[u8], code: u16) {
    let (_, result) = read(bytes);
    assert_eq!(result.map_err(Error::close_code), Err(code), "{bytes:02x?}");
    let (_, result) = read_in_chunks(bytes, 1);
    assert_eq!(result.map_err(Error::close_code), Err(code), "byte by byte: {bytes:02x?}");
}

#[test]
fn broken_framing_is_1002() {
    for first in [0xc2, 0xa2, 0x92, 0xf2] {
        refused(&raw(first, b"reserved bits"), 1002);
    }
    for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
        refused(&raw(0x80 | opcode, b"unknown opcode"), 1002);
    }
    for control in [0x08, 0x09, 0x0a] {
        refused(&raw(control, b"x"), 1002);
        refused(&raw(0x80 | control, &[0; 126]), 1002);
    }
    refused(&[0x82, 0x01, b'x'], 1002);
    refused(&raw(0x80, b"a continuation of nothing"), 1002);
    refused(&raw(0x00, b"a continuation of nothing"), 1002);
    refused(&[raw(0x01, b"a"), raw(0x81, b"b")].concat(), 1002);
    refused(&[raw(0x02, b"a"), raw(0x02, b"b")].concat(), 1002);
    // Lengths that are not in their shortest form, and one with the highest bit set.
    refused(&[0x82, 0xfe, 0x00, 0x7d, 0, 0, 0, 0], 1002);
    refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 1002);
    refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 1002);
    let mut seen = Vec::new();
    let masked_by_a_server = read_with(&mut Parser::for_client(100), &raw(0x82, b"x"), &mut seen);
    assert_eq!(masked_by_a_server.map_err(Error::close_code), Err(1002));
}

#[test]
fn a_close_is_checked() {
    refused(&raw(0x88, b"\x03"), 1002);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        refused(&raw(0x88, &code.to_be_bytes()), 1002);
    }
    for code in [1000u16, 1001, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4100, 4999] {
        assert_eq!(read(&raw(0x88, &code.to_be_bytes())).0, [Seen::Close(Some(code), String::new())]);
    }
    refused(&raw(0x88, b"\x03\xe8\xff"), 1007);
    assert_eq!(read(&raw(0x88, b"")).0, [Seen::Close(None, String::new())]);
}

#[test]
fn bad_utf8_is_1007_as_soon_as_it_is_certain() {
    refused(&raw(0x81, b"\xff"), 1007);
    refused(&raw(0x81, b"cut short \xe2\x82"), 1007);
    refused(&[raw(0x01, b"cut short \xe2"), raw(0x80, b"\x82")].concat(), 1007);
    refused(&[raw(0x01, b"\xed"), raw(0x00, b"\xa0"), raw(0x80, b"\x80")].concat(), 1007);
    // The fault shows in the first fragment, so the second is not waited for.
    refused(&raw(0x01, b"\xf4\x90"), 1007);
    let (mut parser, mut seen) = (Parser::new(100), Vec::new());
    let frame = raw(0x81, b"ab\xc0\xafcd");
    let fault = 6 + 3;
    read_with(&mut parser, &frame[..fault - 1], &mut seen).unwrap();
    assert_eq!(read_with(&mut parser, &frame[fault - 1..fault], &mut seen), Err(Error::NotUtf8));
}

#[test]
fn a_message_above_the_cap_is_1009_before_its_bytes_are_kept() {
    let mut seen = Vec::new();
    let read_capped = |bytes: &[u8], seen: &mut Vec<Seen>| {
        let mut parser = Parser::new(10);
        let result = read_with(&mut parser, bytes, seen);
        assert!(result.is_ok() || parser.buffered() == 0);
        result.map_err(Error::close_code)
    };
    assert_eq!(read_capped(&raw(0x82, &[0; 10]), &mut seen), Ok(()));
    assert_eq!(read_capped(&raw(0x82, &[0; 11]), &mut seen), Err(1009));
    assert_eq!(read_capped(&[raw(0x02, &[0; 6]), raw(0x80, &[0; 4])].concat(), &mut seen), Ok(()));
    assert_eq!(read_capped(&[raw(0x02, &[0; 6]), raw(0x80, &[0; 5])].concat(), &mut seen), Err(1009));
    // A length near 2^63 is refused at the header: nothing is reserved for it.
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert_eq!(read_capped(&huge, &mut seen), Err(1009));
    assert_eq!(read_capped(&[raw(0x02, &[0; 6]), [&[0x80], &huge[1..]].concat()].concat(), &mut seen), Err(1009));
}

#[test]
fn a_parser_that_failed_says_so_again_and_hands_out_nothing() {
    let (mut parser, mut seen) = (Parser::new(100), Vec::new());
    let bytes = [raw(0x82, b"before"), raw(0x83, b"fault"), raw(0x82, b"after")].concat();
    assert!(matches!(read_with(&mut parser, &bytes, &mut seen), Err(Error::Protocol(_))));
    assert!(matches!(read_with(&mut parser, &raw(0x82, b"more"), &mut seen), Err(Error::Protocol(_))));
    assert_eq!(seen, [Seen::Binary(b"before".into())]);
}

#[test]
fn closes_and_pongs_are_never_longer_than_a_control_frame() {
    let mut out = Vec::new();
    write_close(&mut out, Some(4300), &"€".repeat(100));
    assert_eq!(out[..2], [0x88, 2 + 123]);
    let mut seen = Vec::new();
    read_with(&mut Parser::for_client(10), &out, &mut seen).unwrap();
    assert_eq!(seen, [Seen::Close(Some(4300), "€".repeat(41))]);
    out.clear();
    write_close(&mut out, None, "ignored");
    assert_eq!(out, [0x88, 0]);
    out.clear();
    write_pong(&mut out, &[1; 125]);
    assert_eq!(out.len(), 2 + 125);
}

#[test]
fn a_flood_of_one_byte_fragments_is_read_in_linear_time() {
    let count = 1 << 17;
    let mut stream = raw(0x02, b"x");
    for _ in 0..count {
        stream.extend(raw(0x00, b"x"));
    }
    stream.extend(raw(0x80, b"x"));
    let begun = std::time::Instant::now();
    assert_eq!(read(&stream), (vec![Seen::Binary(vec![b'x'; count + 2])], Ok(())));
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "quadratic would take far longer");
}

/// What a client may send, in one message each, and how it is to be cut into fragments and chunks.
#[derive(Debug, Clone)]
enum Said {
    Data { text: bool, payload: String, cuts: Vec<usize>, pings: bool },
    Ping(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (any::<bool>(), "\\PC{0,60}", proptest::collection::vec(0usize..200, 0..4), any::<bool>())
            .prop_map(|(text, payload, cuts, pings)| Said::Data { text, payload, cuts, pings }),
        proptest::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
    ]
}

proptest! {
    #[test]
    fn messages_in_any_fragments_and_chunks_arrive_as_they_were_said(
        script in proptest::collection::vec(said(), 1..6), mask: [u8; 4], chunk in 1usize..40,
    ) {
        let (mut stream, mut expected) = (BytesMut::new(), Vec::new());
        for said in script {
            match said {
                Said::Ping(payload) => {
                    write_client_frame(&mut stream, Opcode::Ping, mask, &payload);
                    expected.push(Seen::Ping(payload));
                }
                Said::Data { text, payload, mut cuts, pings } => {
                    for cut in &mut cuts {
                        *cut = (*cut).min(payload.len());
                    }
                    cuts.sort_unstable();
                    cuts.push(payload.len());
                    let (mut from, last) = (0, cuts.len() - 1);
                    for (at, cut) in cuts.into_iter().enumerate() {
                        let opcode = match (at, text) {
                            (0, true) => Opcode::Text,
                            (0, false) => Opcode::Binary,
                            _ => Opcode::Continuation,
                        };
                        let start = stream.len();
                        write_client_frame(&mut stream, opcode, mask, &payload.as_bytes()[from..cut]);
                        if at < last {
                            stream[start] &= 0x7f;
                            if pings {
                                write_client_frame(&mut stream, Opcode::Ping, mask, b"between");
                                expected.push(Seen::Ping(b"between".to_vec()));
                            }
                        }
                        from = cut;
                    }
                    expected.push(if text { Seen::Text(payload) } else { Seen::Binary(payload.into_bytes()) });
                }
            }
        }
        let (seen, result) = read_in_chunks(&stream, chunk);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(read(&stream).0, expected);
    }
}
