//! What hostile bytes may cost: never more memory than the cap, and only as much as has really come. Counted by an
//! allocator of our own, which is why this is a test binary of its own, and one that may say `unsafe`.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reference;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::Bytes;
use syncbridge_codec::{
    Decoder, Message,
    handshake::{MAX_RESUME, Server},
    websocket::{Opcode, Parser, write_client_frame},
};

/// Counts what its thread holds. Tests run on threads of their own, so they do not see each other.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize, size: usize) {
    // A thread that is ending has no counters any more; nothing is measured there.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
    });
}

// SAFETY: every call goes to the system's allocator with the arguments it came with; counting allocates nothing, as the
// counters are constants that need no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed(), layout.size());
        // SAFETY: the caller's promise is the same as the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed(), 0);
        // SAFETY: as above; the pointer came from `alloc`, so from the system's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work`: (most that it held at once, largest single allocation), in bytes. Growing counts both the old and the
/// new memory, as `realloc` is made of both here.
fn cost<T>(work: impl FnOnce() -> T) -> (usize, usize, T) {
    let before = LIVE.get();
    PEAK.set(before);
    LARGEST.set(0);
    let result = work();
    (usize::try_from(PEAK.get() - before).unwrap(), LARGEST.get(), result)
}

const CAP: usize = 1 << 20;

#[test]
fn the_allocator_counts() {
    let (peak, largest, kept) = cost(|| vec![0u8; 1000]);
    assert_eq!((peak, largest, kept.len()), (1000, 1000, 1000));
}

#[test]
fn a_length_alone_costs_nothing() {
    let (peak, _, mut decoder) = cost(|| {
        let mut decoder = Decoder::new(CAP);
        decoder.push(Bytes::from_static(&[0x80, 0x10, 0, 0, 0x22, 1]));
        assert_eq!(decoder.next_frame(), Ok(None));
        decoder
    });
    assert!(peak <= 64, "{peak} bytes for six");
    assert_eq!(decoder.next_frame(), Ok(None));
}

#[test]
fn a_frame_costs_what_has_come_and_never_more_than_the_cap() {
    let frame = Bytes::from(reference::frame(6, &vec![0; CAP - 1]));
    for chunk in [1000, 1024, 65_536, 100_000] {
        let (peak, largest, ()) = cost(|| {
            let mut decoder = Decoder::new(CAP);
            for at in (0..frame.len()).step_by(chunk) {
                // A slice of what is there already: only the decoder's own memory is counted.
                decoder.push(frame.slice(at..frame.len().min(at + chunk)));
                if at + chunk < frame.len() {
                    assert_eq!(decoder.next_frame(), Ok(None));
                }
            }
            let whole = decoder.next_frame().unwrap().unwrap();
            assert_eq!(whole.body.len(), CAP - 1);
        });
        assert!(largest <= CAP + 8, "one allocation of {largest}, in chunks of {chunk}");
        // While it grows for the last time, the smaller memory is held as well.
        assert!(peak <= CAP + CAP / 2 + 64, "{peak} held, in chunks of {chunk}");
    }
}

#[test]
fn many_small_chunks_that_wait_cost_their_own_size() {
    let (peak, ..) = cost(|| {
        let byte = Bytes::from_static(&[1]);
        let mut decoder = Decoder::new(CAP);
        for _ in 0..10_000 {
            decoder.push(byte.clone());
        }
        assert_eq!(decoder.buffered(), 10_000);
    });
    assert!(peak <= 10_000 * 2 * size_of::<Bytes>() * 2, "{peak} held");
}

/// A body as long as the cap, made to become as large as it can in memory.
fn dense(kind: u64, head: &[u8], item: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let whole = (CAP - head.len() - 16) / item.len();
    [1, 100, 4095, 4096, 4097, whole, CAP, usize::MAX >> 1]
        .into_iter()
        .map(|announced| {
            let items = item.repeat(announced.min(whole));
            (kind, [head, &reference::varint(announced as u128), &items].concat())
        })
        .collect()
}

#[test]
fn no_body_costs_more_than_the_cap() {
    let mut bodies = Vec::new();
    // Hello's cursors, the shortest item a list can have; Conflict's paths; Presence's devices.
    bodies.extend(dense(0x00, &[1, 1, 0, 0, 1, b'd', 0, 0, 0], &[0, 0, 0, 0]));
    bodies.extend(dense(0x26, &[0, 0, 0, 0], &[0]));
    bodies.extend(dense(0x33, &[0, 0], &[0, 0, 0]));
    for row in reference::registry() {
        let mut most = Vec::new();
        reference::encode_fields(row.fields, &reference::most_fields(row.fields), &mut most);
        for at in 0..most.len() {
            for byte in [0, 250, 251, 252, 253, 254, 255] {
                let mut body = most.clone();
                body[at] = byte;
                bodies.push((row.kind, body));
            }
        }
    }
    let (mut worst, mut decoded) = (0, 0);
    for (kind, body) in bodies {
        let body = Bytes::from(body);
        let (peak, _, result) = cost(|| Message::decode(syncbridge_codec::Frame { kind, body }));
        worst = worst.max(peak);
        decoded += usize::from(result.is_ok());
    }
    assert!(worst <= CAP, "{worst} bytes for one body");
    assert!(worst > 100_000 && decoded > 100, "the bodies were meant to be worse: {worst} bytes, {decoded} decoded");
}

#[test]
fn the_largest_hello_costs_less_than_the_cap() {
    let cursors: Vec<_> = (0..MAX_RESUME)
        .map(|n| serde_json::json!({"kind": "State", "topic": format!("s{n}"), "epoch": "1", "seq": "1"}))
        .collect();
    let row = reference::row("Hello");
    let mut fields = reference::least_fields(row.fields);
    fields["min_version"] = 1.into();
    fields["max_version"] = 1.into();
    fields["device"] = "d".into();
    fields["resume"] = cursors.into();
    let frame = Bytes::from(row.frame(&fields));
    let (peak, _, step) = cost(|| {
        let mut decoder = Decoder::new(CAP);
        decoder.push(frame);
        let message = Message::decode(decoder.next_frame().unwrap().unwrap()).unwrap().unwrap();
        Server::new().receive(message)
    });
    assert!(step.is_ok());
    assert!(peak <= CAP / 2, "{peak} bytes");
}

#[test]
fn a_websocket_message_costs_what_has_come_and_never_more_than_the_cap() {
    const MAX: usize = 1 << 16;
    let mask = [1, 2, 3, 4];
    let mut streams = Vec::new();
    // One frame; fragments of one byte; a header that announces the cap and sends little.
    let mut one = bytes::BytesMut::new();
    write_client_frame(&mut one, Opcode::Binary, mask, &vec![0; MAX]);
    streams.push((one.to_vec(), MAX + MAX / 2));
    let mut fragments = bytes::BytesMut::new();
    write_client_frame(&mut fragments, Opcode::Binary, mask, b"x");
    fragments[0] = 0x02;
    for _ in 1..MAX {
        let at = fragments.len();
        write_client_frame(&mut fragments, Opcode::Continuation, mask, b"x");
        fragments[at] = 0x00;
    }
    streams.push((fragments.to_vec(), MAX + MAX / 2));
    streams.push((one[..40].to_vec(), 1024));
    for (stream, bound) in streams {
        for chunk in [7, 1000, MAX] {
            let mut again = stream.clone();
            let (peak, largest, parser) = cost(|| {
                let mut parser = Parser::new(MAX);
                for part in again.chunks_mut(chunk) {
                    parser.push(part, &mut |_| {}).unwrap();
                }
                parser
            });
            assert!(largest <= MAX, "one allocation of {largest}");
            assert!(peak < bound + 512, "{peak} held, in chunks of {chunk}");
            let idle = parser.buffered() == 0;
            let before = LIVE.get();
            drop(parser);
            assert_eq!(idle, before == LIVE.get(), "an idle parser holds nothing");
        }
    }
}
