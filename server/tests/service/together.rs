//! All transports on one session: what one writes the others see, in one order; what is taken back is taken back
//! everywhere at once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use syncbridge_codec::{
    ErrorCode, Message,
    message::{Durability, Position, Reset, ResetReason, Role, Subscribe, Update},
};

use crate::{
    host::{Host, Socket},
    support::wire::{Via, Wire, hello},
};

/// A greeted connection of a user's device.
async fn wire(host: &Host, via: Via, user: &str, incarnation: u128) -> Wire {
    let token = host.token(user, None);
    Wire::greeted(via, host.server().listen, hello(&token, &format!("d{incarnation}"), incarnation, Vec::new())).await.0
}

fn subscribe(session: &str, have: Option<Position>) -> Subscribe {
    Subscribe { id: 1, session: session.into(), have, notices: true, durable: false }
}

/// Subscribes, from a snapshot.
async fn subscribed(wire: &mut Wire, session: &str, have: Option<Position>) -> Reset {
    wire.send(subscribe(session, have));
    wire.wait_for(|message| match message {
        Message::Reset(reset) => Some(reset),
        Message::Error(error) => panic!("{error:?}"),
        _ => None,
    })
    .await
}

async fn joined(host: &Host, user: &str) -> Socket {
    let mut socket = host.socket(Some(&host.token(user, None))).await;
    socket.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    socket.until("state_sync").await;
    socket
}

fn appended(operations: &[u8]) -> Vec<u64> {
    let operations: Value = serde_json::from_slice(operations).unwrap();
    operations.as_array().unwrap().iter().map(|operation| operation["value"].as_u64().unwrap()).collect()
}

const EACH: u64 = 500;

/// 500 appends over one connection of the native protocol; what is refused as busy is sent again.
async fn append_native(host: &Host, via: Via, first: u64) {
    let mut wire = wire(host, via, "ann", u128::from(first) + 1).await;
    let update = |counter: u64| Update {
        counter,
        session: "s".into(),
        base: Position { epoch: 0, version: 1 },
        operations: format!(r#"[{{"op":"add","path":"/list/-","value":{}}}]"#, first + counter - 1).into(),
        durability: Durability::Durable,
        ..Update::default()
    };
    let mut waiting: BTreeMap<u64, ()> = (1..=EACH).map(|counter| (counter, ())).collect();
    for counter in 1..=EACH {
        wire.send(update(counter));
    }
    while !waiting.is_empty() {
        match wire.message().await {
            Message::Accepted(accepted) => drop(waiting.remove(&accepted.counter)),
            Message::Error(error) if error.retryable => wire.send(update(error.op.unwrap())),
            Message::Error(error) => panic!("{error:?}"),
            Message::Conflict(conflict) => panic!("appends never clash: {conflict:?}"),
            _ => {}
        }
    }
}

async fn append_json(host: &Host, first: u64) {
    let mut socket = host.socket(Some(&host.token("ann", Some("flat")))).await;
    for number in first..first + EACH {
        let operations = json!([{"op": "add", "path": "/list/-", "value": number}]);
        let delta = json!({"operations": operations, "version": 1});
        let update = json!({"type": "state_update", "sessionId": "s", "delta": delta, "id": number.to_string()});
        loop {
            socket.say(update.clone()).await;
            let answer = socket.next().await.unwrap();
            match answer["type"].as_str().unwrap() {
                "state_ack" => break,
                "error" if answer["code"] == "busy" => {}
                _ => panic!("{answer}"),
            }
        }
    }
}

async fn append_rest(host: &Host, first: u64) {
    let ann = host.user("ann");
    let numbers: Vec<u64> = (first..first + EACH).collect();
    let tasks = numbers.chunks(50).map(|chunk| {
        let (ann, chunk) = (ann.clone(), chunk.to_vec());
        tokio::spawn(async move {
            for number in chunk {
                let patch = json!([{"op": "add", "path": "/list/-", "value": number}]);
                ann.patch("/sessions/s", patch).await.expect(200);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// What a subscriber of the native protocol sees appended, until it has seen all.
async fn seen_native(wire: &mut Wire) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut version = 1;
    while seen.len() < 4 * EACH as usize {
        match wire.message().await {
            Message::Delta(delta) => {
                version += 1;
                assert_eq!(delta.at.version, version, "no gap");
                seen.extend(appended(&delta.operations));
            }
            Message::Reset(reset) => panic!("nobody lags here: {reset:?}"),
            _ => {}
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_appends_over_all_transports_are_all_there_once_each_in_the_same_order_everywhere() {
    let host = Host::with(|config| config.fanout.ring_bytes = 1 << 22);
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {"list": []}})).await.expect(201);
    let mut over_quic = wire(&host, Via::Quic, "ann", 90_001).await;
    let mut over_websocket = wire(&host, Via::WebSocket, "ann", 90_002).await;
    subscribed(&mut over_quic, "s", None).await;
    subscribed(&mut over_websocket, "s", None).await;
    let mut over_json = joined(&host, "ann").await;
    let read_json = async {
        let mut seen = Vec::new();
        while seen.len() < 4 * EACH as usize {
            let delta = over_json.until("state_delta").await;
            seen.extend(appended(delta["delta"]["operations"].to_string().as_bytes()));
        }
        seen
    };
    let (_, _, _, _, quic, websocket, flat) = tokio::join!(
        append_rest(&host, 0),
        append_native(&host, Via::WebSocket, EACH),
        append_native(&host, Via::Quic, 2 * EACH),
        append_json(&host, 3 * EACH),
        seen_native(&mut over_quic),
        seen_native(&mut over_websocket),
        read_json,
    );
    let state = ann.get("/sessions/s").await.expect(200)["state"]["list"].clone();
    let list: Vec<u64> = state.as_array().unwrap().iter().map(|item| item.as_u64().unwrap()).collect();
    assert_eq!((&quic, &websocket, &flat), (&list, &list, &list));
    let mut sorted = list;
    sorted.sort_unstable();
    assert_eq!(sorted, (0..4 * EACH).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_is_removed_hears_so_last_and_nothing_more_on_any_link() {
    let host = Host::new();
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {"n": 0}})).await.expect(201);
    ann.put("/sessions/s/members", json!({"userId": "bob", "role": "editor"})).await.expect(200);
    let mut links = Vec::new();
    for via in Via::BOTH {
        let mut wire = wire(&host, via, "bob", 1 + links.len() as u128).await;
        subscribed(&mut wire, "s", None).await;
        links.push(wire);
    }
    let mut flat = joined(&host, "bob").await;
    let mut stays = wire(&host, Via::WebSocket, "ann", 9).await;
    subscribed(&mut stays, "s", None).await;

    ann.delete("/sessions/s/members/bob").await.expect(204);
    ann.put("/sessions/s", json!({"state": {"n": 1}})).await.expect(200);
    for wire in &mut links {
        let last = wire
            .wait_for(|message| match message {
                Message::AccessChanged(changed) => Some(changed),
                Message::Delta(delta) => panic!("{delta:?}"),
                _ => None,
            })
            .await;
        assert_eq!((&*last.user, last.role), ("bob", None));
        wire.send(Update {
            counter: 1,
            session: "s".into(),
            base: Position { epoch: 0, version: 1 },
            operations: "[]".into(),
            ..Update::default()
        });
        let Message::Error(error) = wire.message().await else { panic!("nothing but the refusal follows") };
        assert_eq!((error.code, error.op), (ErrorCode::NotFound as u32, Some(1)));
        wire.send(subscribe("s", None));
        let Message::Error(error) = wire.message().await else { panic!("nothing but the refusal follows") };
        assert_eq!((error.code, error.answers), (ErrorCode::NotFound as u32, Some(1)));
    }
    let last = flat.until("access_changed").await;
    assert_eq!((&last["userId"], &last["role"]), (&json!("bob"), &Value::Null));
    flat.say(json!({"type": "subscribe", "sessionId": "s", "id": 2})).await;
    let refused = flat.next().await.unwrap();
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("not_found")));

    let changed = stays
        .wait_for(|message| match message {
            Message::AccessChanged(changed) => Some(changed),
            _ => None,
        })
        .await;
    assert_eq!((&*changed.user, changed.role), ("bob", None::<Role>));
    stays.wait_for(|message| matches!(message, Message::Delta(_)).then_some(())).await;

    // Whoever comes back is let in again.
    ann.put("/sessions/s/members", json!({"userId": "bob", "role": "viewer"})).await.expect(200);
    subscribed(&mut links[0], "s", None).await;
}

#[tokio::test]
async fn a_role_that_changes_counts_for_the_next_message_of_a_live_connection() {
    let host = Host::new();
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {"n": 0}})).await.expect(201);
    ann.put("/sessions/s/members", json!({"userId": "bob", "role": "editor"})).await.expect(200);
    let mut wire = wire(&host, Via::Quic, "bob", 1).await;
    subscribed(&mut wire, "s", None).await;
    let update = |counter: u64| Update {
        counter,
        session: "s".into(),
        base: Position { epoch: 0, version: 1 },
        operations: r#"[{"op":"add","path":"/list","value":[]}]"#.into(),
        ..Update::default()
    };
    wire.send(update(1));
    wire.wait_for(|message| matches!(message, Message::Accepted(_)).then_some(())).await;
    ann.put("/sessions/s/members", json!({"userId": "bob", "role": "viewer"})).await.expect(200);
    wire.send(update(2));
    let code = wire
        .wait_for(|message| match message {
            Message::Error(error) => Some(error.code),
            Message::Accepted(accepted) => panic!("{accepted:?}"),
            _ => None,
        })
        .await;
    assert_eq!(code, ErrorCode::Forbidden as u32);
    ann.put("/sessions/s", json!({"state": {"n": 7}})).await.expect(200);
    wire.wait_for(|message| matches!(message, Message::Delta(_)).then_some(())).await;
}

#[tokio::test]
async fn all_subscribers_of_a_session_that_is_deleted_hear_so_and_its_cursors_are_unknown_to_the_next() {
    let mut host = Host::durable();
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {"n": 0}})).await.expect(201);
    let mut links = Vec::new();
    let mut place = Position::default();
    for via in Via::BOTH {
        let mut wire = wire(&host, via, "ann", 1 + links.len() as u128).await;
        place = subscribed(&mut wire, "s", None).await.at;
        links.push(wire);
    }
    let mut flat = joined(&host, "ann").await;
    ann.delete("/sessions/s").await.expect(204);
    for wire in &mut links {
        wire.wait_for(|message| matches!(message, Message::SessionDeleted(_)).then_some(())).await;
        wire.send(subscribe("s", None));
        let refused =
            wire.wait_for(|message| if let Message::Error(error) = message { Some(error) } else { None }).await;
        assert_eq!(refused.code, ErrorCode::NotFound as u32);
    }
    assert_eq!(flat.until("session_deleted").await["sessionId"], "s");

    ann.post("/sessions", json!({"sessionId": "s", "state": {"n": 0}})).await.expect(201);
    let reset = subscribed(&mut links[0], "s", Some(place.clone())).await;
    assert_eq!(reset.reason, ResetReason::UnknownEpoch);
    host.restart().await;
    let mut wire = wire(&host, Via::WebSocket, "ann", 5).await;
    let reset = subscribed(&mut wire, "s", Some(place)).await;
    assert_eq!(reset.reason, ResetReason::UnknownEpoch, "also after a restart");
}
