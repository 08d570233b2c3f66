//! The codec on the hot path: what one update costs when it is read, and one event when it is written. Fan-out writes
//! an event once for all its receivers, so none of this is paid by a delivery.
#![allow(missing_docs)] // criterion's macros make public items

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use syncbridge_benches::{delta, masked_updates, update};
use syncbridge_codec::{
    Decoder, MAX_CLIENT_FRAME, Message,
    websocket::{Event, Parser},
};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, message) in [("update", Message::from(update())), ("delta", Message::from(delta()))] {
        let mut out = BytesMut::with_capacity(4096);
        group.throughput(Throughput::Bytes(message.frame_size() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&message).write_frame(&mut out);
                black_box(&out);
            });
        });
    }
    group.finish();
}

/// Whole messages out of `bytes`; how many.
fn decode_all(bytes: Bytes) -> usize {
    let mut decoder = Decoder::new(MAX_CLIENT_FRAME);
    decoder.push(bytes);
    let mut count = 0;
    while let Some(frame) = decoder.next_frame().expect("valid frames") {
        black_box(Message::decode(frame).expect("a valid message"));
        count += 1;
    }
    count
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, message) in [("update", Message::from(update())), ("delta", Message::from(delta()))] {
        let frame = message.to_frame();
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| assert_eq!(decode_all(black_box(frame.clone())), 1)));
    }
    group.finish();
}

fn websocket(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket");
    for count in [1, 16] {
        let read = masked_updates(count);
        group.throughput(Throughput::Elements(count as u64));
        // Unmasking happens in place, so each turn needs bytes of its own.
        group.bench_function(format!("parse {count}"), |bencher| {
            let mut parser = Parser::new(MAX_CLIENT_FRAME);
            bencher.iter_batched_ref(
                || read.clone(),
                |read| {
                    let mut messages = 0;
                    let parsed =
                        parser.push(read, &mut |event| messages += usize::from(matches!(event, Event::Binary(_))));
                    assert_eq!((parsed, messages), (Ok(()), count));
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("parse and decode {count}"), |bencher| {
            let mut parser = Parser::new(MAX_CLIENT_FRAME);
            bencher.iter_batched_ref(
                || read.clone(),
                |read| {
                    let mut messages = 0;
                    let parsed = parser.push(read, &mut |event| {
                        if let Event::Binary(payload) = event {
                            messages += decode_all(Bytes::copy_from_slice(payload));
                        }
                    });
                    assert_eq!((parsed, messages), (Ok(()), count));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode, websocket);
criterion_main!(benches);
