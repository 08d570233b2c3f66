//! The disk takes nothing more while the server runs: updates are refused by name, reads go on, operators are told, and
//! what was durable before is there after a restart.

use syncbridge_codec::{
    ErrorCode, Message,
    message::{Accepted, Create, Durability, Get, Position, Subscribe, Update},
};

use crate::{
    support::{
        http::{get, metric},
        server::Setup,
        wire::{Via, Wire, hello},
    },
    truth::{append, log},
};

async fn update(
    wire: &mut Wire,
    counter: u64,
    durability: Durability,
) -> Result<Accepted, syncbridge_codec::message::Error> {
    wire.send(Update {
        counter,
        session: "s".into(),
        base: Position { epoch: 1, version: 1 },
        operations: append(&format!("m{counter}")).into(),
        durability,
        ..Update::default()
    });
    wire.wait_for(|message| match message {
        Message::Accepted(accepted) if accepted.counter == counter => Some(Ok(accepted)),
        Message::Error(error) if error.op == Some(counter) => Some(Err(error)),
        _ => None,
    })
    .await
}

async fn document(wire: &mut Wire) -> Vec<String> {
    wire.send(Get { id: 9, session: "s".into() });
    wire.wait_for(|message| match message {
        Message::Document(document) => Some(log(&document.state.expect("small"))),
        Message::Error(error) => panic!("{error:?}"),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn when_the_disk_takes_nothing_more_updates_are_refused_reads_go_on_and_nothing_durable_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup { survives_full_disk: true, ..Setup::new(&folder.path().join("data")) };
    let token = setup.token("ann", &[]);
    let server = setup.start();
    let mut wires = Vec::new();
    for (via, incarnation) in Via::BOTH.into_iter().zip(1..) {
        wires.push(Wire::greeted(via, server.clients, hello(&token, "phone", incarnation, Vec::new())).await.0);
    }
    wires[0].send(Create { counter: 1, session: "s".into(), state: r#"{"log":[]}"#.into(), ..Create::default() });
    wires[0].wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
    for counter in 2..52 {
        assert!(update(&mut wires[0], counter, Durability::Durable).await.expect("there is room").durable);
    }
    assert_eq!(get(server.clients, "/ready").await.0, 200);

    server.fill_disk();
    for wire in &mut wires {
        let refused = update(wire, 100, Durability::Durable).await.expect_err("it cannot be durable");
        assert_eq!(refused.code, ErrorCode::StorageFailed as u32, "{refused:?}");
        assert_eq!(refused.name, "storage_failed");
        let refused = update(wire, 101, Durability::Accepted).await.expect_err("nothing more is accepted");
        // The first waits to come again, and comes first.
        assert!([ErrorCode::StorageFailed as u32, ErrorCode::Busy as u32].contains(&refused.code), "{refused:?}");
    }
    let (status, reason) = get(server.clients, "/ready").await;
    assert_eq!(status, 503, "{reason}");
    assert!(reason.contains("storage failed"), "{reason}");
    assert!(metric(server.admin, "syncbridge_poisoned").await > 0.0);
    let durable: Vec<String> = (2..52).map(|counter| format!("m{counter}")).collect();
    for via in Via::BOTH {
        let (mut reader, _) = Wire::greeted(via, server.clients, hello(&token, "desktop", 3, Vec::new())).await;
        assert!(document(&mut reader).await.starts_with(&durable), "reads go on");
        reader.send(Subscribe { id: 1, session: "s".into(), ..Subscribe::default() });
        reader.wait_for(|message| matches!(message, Message::Reset(_)).then_some(())).await;
        reader.send(Create { counter: 1, session: "t".into(), state: "{}".into(), ..Create::default() });
        let refused = reader
            .wait_for(|message| match message {
                Message::Error(error) => Some(error),
                _ => None,
            })
            .await;
        assert_eq!(refused.code, ErrorCode::StorageFailed as u32, "{refused:?}");
    }
    server.terminate();
    let status = server.ended().await;
    assert_eq!(status.code(), Some(1), "{}", setup.log());
    assert!(setup.log().contains("accepted updates are lost"), "{}", setup.log());

    let server = setup.start();
    let (mut wire, _) = Wire::greeted(Via::Quic, server.clients, hello(&token, "phone", 1, Vec::new())).await;
    assert_eq!(document(&mut wire).await, durable, "what was durable, and nothing that was refused");
    for counter in [100, 101] {
        assert!(update(&mut wire, counter, Durability::Durable).await.expect("there is room again").durable);
    }
}
