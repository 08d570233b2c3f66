//! The load client against servers that lie: whatever is wrong must end the run.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::{Crowd, Load, Pace, Sample, Violation};
use crate::{
    dialect::{Dialect, Heard, Opened, Place, Role},
    error::{Context, Error, Result},
};

/// A protocol of single bytes: a publish is one byte, and so is an event: its place.
struct Bytewise;

impl Dialect for Bytewise {
    fn create(&self, _: SocketAddr, _: u32) -> Result<()> {
        Ok(())
    }

    fn open(&self, server: SocketAddr, _: &Role) -> Result<Opened> {
        let stream = TcpStream::connect(server).context("connecting")?;
        Ok(Opened { stream, rest: Vec::new(), at: Place::default(), heartbeat_ms: 0 })
    }

    fn publish(&self, _: u32, counter: u64, _: Place, out: &mut Vec<u8>) {
        out.push(counter as u8);
    }

    fn heartbeat(&self, _: &mut Vec<u8>) {}

    fn hear(&self, bytes: &[u8], heard: &mut Vec<Heard>, _: &mut Vec<u8>) -> Result<usize> {
        heard.extend(bytes.iter().map(|seq| match *seq {
            b'S' => Heard::Snapshot { seq: 9 },
            seq => Heard::Event { seq: u64::from(seq), publisher: 0, counter: u64::from(seq) },
        }));
        Ok(bytes.len())
    }
}

/// Runs one publisher and one subscriber; `lie` turns a publish into what publisher and subscriber are sent.
fn run(lie: fn(u8) -> [Vec<u8>; 2]) -> Result<u64> {
    // One event, due at once; the second would be due long after the end.
    play(Pace::Open { per_second: 0.01 }, lie).map(|sample| sample.deliveries)
}

fn play(pace: Pace, lie: fn(u8) -> [Vec<u8>; 2]) -> Result<Sample> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = thread::spawn(move || {
        let [mut publisher, mut subscriber] = [(); 2].map(|()| listener.accept().expect("a client").0);
        let mut publish = [0];
        while publisher.read_exact(&mut publish).is_ok() {
            let [own, other] = lie(publish[0]);
            // The client may be gone already: it is the client's judgement that counts.
            if publisher.write_all(&own).and_then(|()| subscriber.write_all(&other)).is_err() {
                break;
            }
        }
    });
    let mut load = Load::open(Box::new(Bytewise), address, Crowd::one_user(1, 1)).expect("both connect");
    let result = load.run(pace, Duration::from_millis(200));
    drop(load);
    server.join().expect("the server does not panic");
    result
}

#[test]
fn an_honest_server_passes_and_every_delivery_is_counted() {
    assert_eq!(run(|publish| [vec![publish], vec![publish]]).expect("honest"), 2);
}

#[test]
fn every_event_that_was_due_is_published_however_late_the_server() {
    // Five were due at 0, 40, … 160 ms, and the first answer takes longer than the run.
    let result = play(Pace::Open { per_second: 25.0 }, |publish| {
        if publish == 1 {
            thread::sleep(Duration::from_millis(250));
        }
        [vec![publish], vec![publish]]
    });
    let sample = result.expect("late is not wrong");
    assert_eq!((sample.published, sample.deliveries), (5, 10));
    assert!(sample.latency_us(1.0) >= 250_000.0, "the wait of the late ones counts");
}

#[test]
fn a_skipped_event_is_a_gap() {
    let error = run(|publish| [vec![publish], vec![publish + 1]]).expect_err("a gap");
    assert!(matches!(error, Error::Violation(Violation::Gap { connection: 1, lacks: 1, got: 2 })), "{error}");
}

#[test]
fn an_event_that_comes_twice_is_a_duplicate() {
    let error = run(|publish| [vec![publish, publish], vec![publish]]).expect_err("a duplicate");
    assert!(matches!(error, Error::Violation(Violation::Duplicate { connection: 0, at: 1, got: 1 })), "{error}");
}

#[test]
fn a_snapshot_in_place_of_events_ends_the_run() {
    let error = run(|publish| [vec![publish], vec![b'S']]).expect_err("a reset");
    assert!(matches!(error, Error::Violation(Violation::Reset { connection: 1, seq: 9 })), "{error}");
}
