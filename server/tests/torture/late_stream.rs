//! A QUIC client whose session stream comes after its `Hello` was answered still gets what its cursors ask for, also when
//! that has to be read from the store, which keeps the server from reading on.

use syncbridge_codec::{
    Message,
    message::{Create, Cursor, Durability, Position, StreamOpen, TopicKind, Update},
};

use crate::{
    support::{
        server::Setup,
        wire::{Via, Wire, hello},
    },
    truth::append,
};

/// With 4 KiB each, more than the server reads ahead for a connection that has not taken what it has.
const LAST: u64 = 20;

#[tokio::test]
async fn cursors_of_hello_are_answered_on_a_session_stream_that_comes_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::new(&folder.path().join("data"));
    let token = setup.token("ann", &[]);
    let server = setup.start();
    let (mut wire, _) = Wire::greeted(Via::WebSocket, server.clients, hello(&token, "w", 1, Vec::new())).await;
    wire.send(Create { counter: 1, session: "s".into(), state: r#"{"log":[]}"#.into(), ..Create::default() });
    let epoch = wire
        .wait_for(|message| match message {
            Message::Created(created) => Some(created.epoch),
            _ => None,
        })
        .await;
    for counter in 2..=LAST {
        wire.send(Update {
            counter,
            session: "s".into(),
            base: Position { epoch, version: counter - 1 },
            operations: append(&format!("m{counter}{}", "x".repeat(4 << 10))).into(),
            durability: Durability::Durable,
            ..Update::default()
        });
        wire.wait_for(|message| matches!(message, Message::Accepted(_)).then_some(())).await;
    }
    server.kill();

    // In the new process only the store has the versions after the cursor.
    let server = setup.start();
    let mut late = Wire::connect_without_session_stream(server.clients).await;
    let cursor = Cursor { kind: TopicKind::State, topic: "s".into(), epoch, seq: 2 };
    late.greet(hello(&token, "l", 2, vec![cursor])).await;
    late.send(StreamOpen::SESSION);
    let mut versions = Vec::new();
    while versions.last() != Some(&LAST) {
        match late.message().await {
            Message::Resumed(resumed) => assert_eq!(resumed.after, 2),
            Message::Delta(delta) => versions.push(delta.at.version),
            Message::Durable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(versions.into_iter().eq(3..=LAST));
}
