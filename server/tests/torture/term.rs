//! SIGTERM under load: nothing accepted is lost, whoever is connected is told, the exit code says that all is well, and
//! after it every cursor goes on.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use syncbridge_codec::{
    ErrorCode, Message,
    message::{Create, Cursor, Durability, Get, Position, TopicKind, Update},
};

use crate::{
    support::{
        server::Setup,
        wire::{End, Heard, Via, Wire, hello},
        within,
    },
    truth::{append, log},
};

const STOPS: u64 = 10;
const SESSION: &str = "s";

/// What one client heard until the end.
struct Heir {
    accepted: Vec<(String, u64)>,
    place: Option<Position>,
    draining: bool,
    close: Option<u32>,
    end: End,
}

/// Writes as fast as it is answered, until the server ends the connection. Busy and draining ops are given up.
async fn write(mut wire: Wire, name: String, subscribed: bool, answered: Arc<AtomicU64>) -> Heir {
    let mut heir =
        Heir { accepted: Vec::new(), place: None, draining: false, close: None, end: End::Broken(String::new()) };
    if subscribed {
        wire.send(syncbridge_codec::message::Subscribe { id: 1, session: SESSION.into(), ..Default::default() });
    }
    let send = |wire: &Wire, counter: u64| {
        wire.send(Update {
            counter,
            session: SESSION.into(),
            base: Position { epoch: 1, version: 1 },
            operations: append(&format!("{name}.{counter}")).into(),
            durability: [Durability::Accepted, Durability::Notify, Durability::Durable]
                [usize::try_from(counter % 3).expect("small")],
            ..Update::default()
        });
    };
    let mut counter = 0;
    for _ in 0..16 {
        counter += 1;
        send(&wire, counter);
    }
    loop {
        match wire.next().await {
            Heard::Message(Message::Accepted(accepted)) => {
                answered.fetch_add(1, Relaxed);
                heir.accepted.push((format!("{name}.{}", accepted.counter), accepted.at.version));
                if subscribed && heir.place.as_ref().is_none_or(|place| place.version < accepted.at.version) {
                    heir.place = Some(accepted.at);
                }
                counter += 1;
                send(&wire, counter);
            }
            Heard::Message(Message::Delta(delta)) => heir.place = Some(delta.at),
            Heard::Message(Message::Reset(reset)) => heir.place = Some(reset.at),
            Heard::Message(Message::Error(error)) => {
                assert!(error.retryable, "{error:?}");
                if !heir.draining {
                    // Later counters have to wait for this one.
                    send(&wire, error.op.expect("an update"));
                }
            }
            Heard::Message(Message::Draining(_)) => heir.draining = true,
            Heard::Message(Message::Close(close)) => heir.close = Some(close.code),
            Heard::Message(_) => {}
            Heard::Ended(end) => {
                heir.end = end;
                return heir;
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_under_load_loses_nothing_and_tells_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::new(&folder.path().join("data"));
    let token = setup.token("ann", &[]);
    let mut places: Vec<Option<Position>> = Vec::new();
    let mut all = BTreeSet::new();
    for stop in 0..STOPS {
        let server = setup.start();
        let resume = |place: &Position| Cursor {
            kind: TopicKind::State,
            topic: SESSION.into(),
            epoch: place.epoch,
            seq: place.version,
        };
        // After a clean stop every cursor replays.
        for (index, place) in places.iter().flatten().enumerate() {
            let via = Via::BOTH[index % 2];
            let (mut wire, _) = Wire::greeted(via, server.clients, hello(&token, "back", 1, vec![resume(place)])).await;
            let resumed = wire
                .wait_for(|message| match message {
                    Message::Resumed(resumed) => Some(resumed),
                    Message::Reset(reset) => panic!("{place:?} was reset: {:?}", reset.reason),
                    _ => None,
                })
                .await;
            assert_eq!(resumed.after, place.version);
            let mut next = place.version;
            while next < resumed.version {
                next += 1;
                let version = wire
                    .wait_for(|message| match message {
                        Message::Delta(delta) => Some(delta.at.version),
                        _ => None,
                    })
                    .await;
                assert_eq!(version, next);
            }
        }
        let (mut control, _) =
            Wire::greeted(Via::WebSocket, server.clients, hello(&token, "control", 1, Vec::new())).await;
        if stop == 0 {
            control.send(Create {
                counter: 1,
                session: SESSION.into(),
                state: r#"{"log":[]}"#.into(),
                ..Create::default()
            });
            control.wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
        } else {
            control.send(Get { id: 1, session: SESSION.into() });
            let mut text = Vec::new();
            loop {
                match control.message().await {
                    Message::Document(document) => {
                        if let Some(state) = document.state {
                            break text.extend_from_slice(&state);
                        }
                    }
                    Message::SnapshotPart(part) => text.extend_from_slice(&part.bytes),
                    Message::SnapshotEnd(_) => break,
                    _ => {}
                }
            }
            let there: BTreeSet<String> = log(&text).into_iter().collect();
            let lost: Vec<_> = all.difference(&there).collect();
            assert!(lost.is_empty(), "accepted before stop {stop}, and lost: {lost:?}");
        }
        let answered = Arc::new(AtomicU64::new(0));
        let mut clients = Vec::new();
        for index in 0..4 {
            let via = Via::BOTH[index % 2];
            let name = format!("{stop}.{index}");
            let incarnation = u128::from(stop) * 100 + index as u128 + 10;
            let (wire, _) = Wire::greeted(via, server.clients, hello(&token, &name, incarnation, Vec::new())).await;
            clients.push((via, tokio::spawn(write(wire, name, index < 2, Arc::clone(&answered)))));
        }
        while answered.load(Relaxed) < 50 + stop * 37 && !clients.iter().any(|(_, client)| client.is_finished()) {
            tokio::task::yield_now().await;
        }
        server.terminate();
        places.clear();
        for (via, client) in clients {
            let heir = within("the server ends the connection", client).await.expect("a client");
            assert!(heir.draining, "{via:?} was not told that the server drains");
            assert_eq!(heir.close, Some(ErrorCode::ServerDraining as u32), "{via:?}");
            match via {
                Via::Quic => assert_eq!(heir.end, End::Quic(ErrorCode::ServerDraining as u64)),
                Via::WebSocket => assert_eq!(heir.end, End::WebSocket(ErrorCode::ServerDraining.close_code())),
            }
            all.extend(heir.accepted.into_iter().map(|(marker, _)| marker));
            places.push(heir.place);
        }
        // It reads nothing and is told all the same; the server does not wait for it for ever.
        drop(control);
        let status = server.ended().await;
        assert!(status.success(), "{status}: {}", setup.log());
    }
    println!("{STOPS} stops: {} accepted updates, none lost", all.len());
}
