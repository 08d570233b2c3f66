//! Every message with any values, against the second implementation; every stream of frames at every split point.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reference;

use arbitrary::Unstructured;
use bytes::Bytes;
use proptest::prelude::*;
use reference::{any_fields, registry, to_json};
use syncbridge_codec::{Decoder, Frame, Message, ProtocolError, frame::Frames};

fn decode(frame: Vec<u8>) -> Message {
    let mut decoder = Decoder::new(1 << 20);
    decoder.push(frame.into());
    let frame = decoder.next_frame().unwrap().expect("a whole frame");
    assert_eq!(decoder.buffered(), 0);
    Message::decode(frame).unwrap().expect("a known message")
}

/// Everything that comes out of `chunks`, pushed one by one.
fn cut<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Result<(), ProtocolError>, usize) {
    let (mut decoder, mut frames) = (Decoder::new(1 << 16), Vec::new());
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error), decoder.buffered()),
            }
        }
    }
    (frames, Ok(()), decoder.buffered())
}

proptest! {
    #[test]
    fn every_message_with_any_values_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        for (at, row) in registry().enumerate() {
            // Each message begins elsewhere in the bytes: what has used them up draws only zeros.
            let mut from = Unstructured::new(&bytes[(at * 37).min(bytes.len())..]);
            let fields = any_fields(row.fields, &mut from).unwrap();
            let frame = row.frame(&fields);
            let message = decode(frame.clone());
            prop_assert_eq!(message.kind(), row.kind);
            prop_assert_eq!(message.name(), row.name);
            prop_assert_eq!((message.direction(), message.class()), (row.direction, row.class));
            prop_assert_eq!(to_json(&message.node()), fields);
            prop_assert_eq!(message.frame_size(), frame.len());
            prop_assert_eq!(&message.to_frame()[..], &frame[..]);
        }
    }

    #[test]
    fn a_stream_is_the_same_in_any_chunks(
        bodies in proptest::collection::vec((0u64..70_000, proptest::collection::vec(any::<u8>(), 0..300)), 0..8),
        sizes in proptest::collection::vec(1usize..100, 1..20),
        tail in proptest::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut stream: Vec<u8> = bodies.iter().flat_map(|(kind, body)| reference::frame(*kind, body)).collect();
        stream.extend(tail);
        let whole = cut([&stream[..]]);
        let (mut rest, mut chunks) = (&stream[..], Vec::new());
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&cut(chunks), &whole);
        for ((kind, body), frame) in bodies.iter().zip(&whole.0) {
            prop_assert_eq!((*kind, &body[..]), (frame.kind, &frame.body[..]));
        }
        for at in 0..=stream.len().min(200) {
            prop_assert_eq!(&cut([&stream[..at], &stream[at..]]), &whole, "split at {}", at);
        }
    }

    #[test]
    fn chunks_that_wait_are_read_in_order(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 0..8), size in 1usize..50,
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| reference::frame(6, body)).collect();
        let mut decoder = Decoder::new(1 << 16);
        stream.chunks(size).for_each(|chunk| decoder.push(Bytes::copy_from_slice(chunk)));
        prop_assert_eq!(decoder.buffered(), stream.len());
        for body in bodies {
            prop_assert_eq!(decoder.next_frame().unwrap().unwrap().body, body);
        }
        prop_assert_eq!(decoder.next_frame(), Ok(None));
        prop_assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn a_frame_inside_a_chunk_shares_its_memory_and_the_decoder_lets_go_of_it() {
    let chunk = Bytes::from([reference::frame(6, b"one"), reference::frame(6, b"two")].concat());
    let range = chunk.as_ptr_range();
    let mut decoder = Decoder::new(100);
    decoder.push(chunk);
    for expected in [&b"one"[..], b"two"] {
        let frame = decoder.next_frame().unwrap().unwrap();
        assert_eq!(frame.body, expected);
        assert!(range.contains(&frame.body.as_ptr()));
    }
    let chunk = Bytes::from(reference::frame(6, b"one"));
    decoder.push(chunk.clone());
    drop(decoder.next_frame().unwrap());
    assert!(chunk.is_unique(), "a chunk that is used up is not held");
    let (head, rest) = chunk.split_at(2);
    let rest = Bytes::copy_from_slice(rest);
    decoder.push(Bytes::copy_from_slice(head));
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(rest.clone());
    assert_eq!(decoder.next_frame().unwrap().unwrap().body, &b"one"[..]);
    assert!(rest.is_unique(), "nor is one whose bytes were copied");
}

#[test]
fn the_cap_counts_type_and_body_and_can_be_moved() {
    let fits = reference::frame(6, &[0; 9]);
    let mut decoder = Decoder::new(10);
    decoder.push(fits.clone().into());
    assert!(decoder.next_frame().unwrap().is_some());
    decoder.set_max(9);
    decoder.push(fits.clone().into());
    let error = ProtocolError::FrameTooLarge { length: 10, max: 9 };
    assert_eq!(decoder.next_frame(), Err(error.clone()));
    decoder.push(fits.into());
    assert_eq!(decoder.next_frame(), Err(error), "what failed stays failed");
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_frame_that_is_too_long_is_refused_at_its_length() {
    let length = reference::quic_varint(11);
    assert!(matches!(cut([&length[..]]).1, Ok(())), "11 bytes are taken by a decoder of 64 KiB");
    let mut decoder = Decoder::new(10);
    decoder.push(length.into());
    assert_eq!(decoder.next_frame(), Err(ProtocolError::FrameTooLarge { length: 11, max: 10 }));
}

#[test]
fn a_websocket_message_holds_whole_frames_and_at_least_one() {
    let frames = |bytes: &[u8]| Frames::new(Bytes::copy_from_slice(bytes), 100).collect::<Result<Vec<_>, _>>();
    let two = [reference::frame(6, &[1]), reference::frame(8, &[1])].concat();
    assert_eq!(frames(&two).unwrap().iter().map(|frame| frame.kind).collect::<Vec<_>>(), [6, 8]);
    for bad in [&b""[..], &two[..two.len() - 1], &[0x40], &[0x00]] {
        assert!(matches!(frames(bad), Err(ProtocolError::MalformedFrame { .. })), "{bad:02x?}");
    }
    assert!(matches!(frames(&reference::frame(6, &[0; 100])), Err(ProtocolError::FrameTooLarge { .. })));
    let mut cut_short = Frames::new(Bytes::copy_from_slice(&two[..4]), 100);
    assert!(cut_short.next().unwrap().is_ok());
    assert!(cut_short.next().unwrap().is_err());
    assert!(cut_short.next().is_none(), "nothing follows an error");
}

#[test]
fn numbers_are_unique_and_in_order() {
    let kinds: Vec<u64> = registry().map(|row| row.kind).collect();
    assert!(kinds.is_sorted_by(|a, b| a < b));
    let codes: Vec<u32> = syncbridge_codec::ErrorCode::ALL.iter().map(|code| *code as u32).collect();
    assert!(codes.is_sorted_by(|a, b| a < b));
    for code in syncbridge_codec::ErrorCode::ALL {
        assert_eq!(syncbridge_codec::ErrorCode::from_number(*code as u32), Some(*code));
        assert!((4100..4900).contains(&code.close_code()));
        assert!(!(4400..4500).contains(&code.close_code()), "44xx belongs to the flat JSON form");
    }
}
