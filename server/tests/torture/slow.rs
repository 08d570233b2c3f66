//! One subscriber that never reads, among a hundred: it costs the server next to nothing, the others notice nothing, and
//! when it wakes it is told what it missed.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use syncbridge_codec::{
    Message,
    message::{Create, Position, Reset, ResetReason, Subscribe, Update},
};

use crate::support::{
    server::Setup,
    wire::{Heard, Via, Wire, hello},
    within,
};

const SUBSCRIBERS: usize = 100;
const UPDATES: u64 = 1_200;
/// Bytes of one update: all of them are 9.6 MB, more than two sockets' buffers hold.
const BYTES: usize = 8 << 10;
/// What the one may cost.
const ALLOWANCE: u64 = 64 << 20;

fn document(n: u64) -> String {
    format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(BYTES))
}

async fn subscribe(wire: &mut Wire) -> Reset {
    wire.send(Subscribe { id: 1, session: "s".into(), ..Subscribe::default() });
    wire.wait_for(|message| match message {
        Message::Reset(reset) => Some(reset),
        _ => None,
    })
    .await
}

/// Reads for ever, and says how far it is.
async fn read(mut wire: Wire, seen: Arc<AtomicU64>) {
    let mut at = 1;
    loop {
        match wire.next().await {
            Heard::Message(Message::Delta(delta)) => {
                assert_eq!(delta.at.version, at + 1);
                at = delta.at.version;
            }
            // On a crowded machine a reader may be slow as well.
            Heard::Message(Message::Reset(reset)) => {
                assert_eq!(reset.reason, ResetReason::Lagged);
                at = reset.at.version;
            }
            Heard::Message(_) => {}
            Heard::Ended(_) => return,
        }
        seen.store(at, Relaxed);
    }
}

/// The server's largest memory during the run. When one sleeps: it is woken at the end, and checked.
async fn run(folder: &Path, sleeps: bool) -> u64 {
    let setup = Setup::new(folder);
    let token = setup.token("ann", &[]);
    let server = setup.start();
    let (mut writer, _) = Wire::greeted(Via::WebSocket, server.clients, hello(&token, "writer", 1, Vec::new())).await;
    writer.send(Create { counter: 1, session: "s".into(), state: document(0).into(), ..Create::default() });
    writer.wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
    let mut sleeper = Wire::connect_with_small_buffer(server.clients).await;
    sleeper.greet(hello(&token, "sleeper", 2, Vec::new())).await;
    subscribe(&mut sleeper).await;
    let mut seen = Vec::new();
    let mut readers = tokio::task::JoinSet::new();
    let mut sleeper = Some(sleeper);
    for index in 0..SUBSCRIBERS {
        let wire = if index == 0 && !sleeps {
            sleeper.take().expect("there")
        } else if index == 0 {
            continue;
        } else {
            // One in ten by QUIC, whose packets cost a debug build more.
            let via = if index % 10 == 0 { Via::Quic } else { Via::WebSocket };
            let name = format!("r{index}");
            let (mut wire, _) = Wire::greeted(via, server.clients, hello(&token, &name, 2, Vec::new())).await;
            subscribe(&mut wire).await;
            wire
        };
        let at = Arc::new(AtomicU64::new(1));
        seen.push(Arc::clone(&at));
        readers.spawn(read(wire, at));
    }
    let mut most = 0;
    for n in 1..=UPDATES {
        let operations = format!(
            r#"[{{"op":"replace","path":"/n","value":{n}}},{{"op":"replace","path":"/text","value":"{}"}}]"#,
            "x".repeat(BYTES)
        );
        loop {
            writer.send(Update {
                counter: n + 1,
                session: "s".into(),
                base: Position { epoch: 1, version: n },
                operations: operations.clone().into(),
                ..Update::default()
            });
            let accepted = writer
                .wait_for(|message| match message {
                    Message::Accepted(accepted) => Some(accepted.at.version == n + 1),
                    Message::Error(error) if error.retryable => Some(false),
                    Message::Error(error) => panic!("{error:?}"),
                    _ => None,
                })
                .await;
            if accepted {
                break;
            }
        }
        // The others keep up, so what they cost is the same in both runs.
        while seen.iter().any(|at| at.load(Relaxed) + 4 < n) {
            tokio::task::yield_now().await;
        }
        if n.is_multiple_of(50) {
            most = most.max(server.resident());
        }
    }
    within("all are right", async {
        while seen.iter().any(|at| at.load(Relaxed) < UPDATES + 1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    most = most.max(server.resident());
    if let Some(mut sleeper) = sleeper {
        // What lay in the buffers comes first, in order, then the newest in place of all that it missed.
        let mut at = 1;
        let mut lagged = 0;
        while at < UPDATES + 1 {
            match sleeper.message().await {
                Message::Delta(delta) => {
                    assert_eq!(delta.at.version, at + 1);
                    at = delta.at.version;
                }
                Message::Reset(reset) => {
                    assert_eq!(reset.reason, ResetReason::Lagged);
                    assert!(reset.at.version > at);
                    at = reset.at.version;
                    lagged += 1;
                    assert_eq!(reset.state.expect("small"), document(at - 1));
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lagged > 0, "the kernel's buffers took everything: the test shows nothing");
    }
    most
}

#[tokio::test]
async fn one_subscriber_that_never_reads_costs_little_and_is_right_again_when_it_wakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let without = run(&folder.path().join("without"), false).await;
    let with = run(&folder.path().join("with"), true).await;
    println!("server memory at most {} KiB without, {} KiB with one that never reads", without / 1024, with / 1024);
    assert!(with <= without + ALLOWANCE, "{with} bytes with, {without} without");
}
