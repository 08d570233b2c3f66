//! All transports on one session: what one writes the others see, in one order; what is taken back is taken back
//! everywhere at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use syncbridge_codec::{
    ErrorCode, Message,
    message::{Cursor, Durability, Position, Reset, ResetReason, Role, Subscribe, TopicKind, Update},
};

use crate::{
    host::{Host, Socket},
    support::{
        until,
        wire::{Via, Wire, hello},
    },
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
    let mut waiting: BTreeSet<u64> = (1..=EACH).collect();
    for counter in 1..=EACH {
        wire.send(update(counter));
    }
    while !waiting.is_empty() {
        match wire.message().await {
            Message::Accepted(accepted) => assert!(waiting.remove(&accepted.counter)),
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
    let ((), (), (), (), quic, websocket, flat) = tokio::join!(
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
    let mut wires = Vec::new();
    for via in Via::BOTH {
        let mut wire = wire(&host, via, "bob", 1 + wires.len() as u128).await;
        subscribed(&mut wire, "s", None).await;
        wires.push(wire);
    }
    let mut flat = joined(&host, "bob").await;
    for (counter, role) in (1..).zip(["editor", "viewer", "editor", "viewer", "owner", "viewer"]) {
        ann.put("/sessions/s/members", json!({"userId": "bob", "role": role})).await.expect(200);
        let expected = if role == "viewer" { "forbidden" } else { "written" };
        for wire in &mut wires {
            assert_eq!(written(wire, counter).await, expected, "{:?}, as {role}", wire.via);
        }
        let delta = json!({"operations": [{"op": "add", "path": "/list", "value": []}], "version": 1});
        flat.say(json!({"type": "state_update", "sessionId": "s", "delta": delta})).await;
        let told = loop {
            let answer = flat.next().await.unwrap();
            match answer["type"].as_str().unwrap() {
                "state_ack" => break "written".to_owned(),
                "error" => break answer["code"].as_str().unwrap().to_owned(),
                _ => {}
            }
        };
        assert_eq!(told, expected, "flat JSON, as {role}");
    }
    // A viewer goes on reading.
    ann.put("/sessions/s", json!({"state": {"n": 7}})).await.expect(200);
    for wire in &mut wires {
        wire.wait_for(|message| match message {
            Message::Delta(delta) => delta.operations.windows(2).any(|two| two == b"/n").then_some(()),
            _ => None,
        })
        .await;
    }
}

/// What an update is answered with.
async fn written(wire: &mut Wire, counter: u64) -> &'static str {
    wire.send(Update {
        counter,
        session: "s".into(),
        base: Position { epoch: 0, version: 1 },
        operations: r#"[{"op":"add","path":"/list","value":[]}]"#.into(),
        ..Update::default()
    });
    wire.wait_for(|message| match message {
        Message::Error(error) => Some(ErrorCode::from_number(error.code).unwrap().name()),
        Message::Accepted(_) => Some("written"),
        _ => None,
    })
    .await
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

    // The next has the versions that the old one had, and more, and nothing of what was in it.
    ann.post("/sessions", json!({"sessionId": "s", "state": {"next": true}})).await.expect(201);
    for next in 0..5 {
        ann.put("/sessions/s", json!({"state": {"next": next}})).await.expect(200);
    }
    for wire in &mut links {
        is_reset(wire, &place).await;
    }
    is_reset_flat(&mut flat, &place).await;
    host.restart().await;
    for (via, incarnation) in Via::BOTH.into_iter().zip(5..) {
        is_reset(&mut wire(&host, via, "ann", incarnation).await, &place).await;
        // By the cursor of `Hello` too.
        let cursor = Cursor { kind: TopicKind::State, topic: "s".into(), epoch: place.epoch, seq: place.version };
        let hello = hello(&host.token("ann", None), "d", u128::from(place.epoch), vec![cursor]);
        let mut resumed = Wire::greeted(via, host.server().listen, hello).await.0;
        let reset =
            resumed.wait_for(|message| if let Message::Reset(reset) = message { Some(reset) } else { None }).await;
        assert_eq!(reset.reason, ResetReason::UnknownEpoch);
    }
    let mut flat = host.socket(Some(&host.token("ann", None))).await;
    is_reset_flat(&mut flat, &place).await;
}

/// With a cursor of the session that was deleted one gets the next one whole, and nothing on top of the old.
async fn is_reset(wire: &mut Wire, place: &Position) {
    let reset = subscribed(wire, "s", Some(place.clone())).await;
    assert_eq!((reset.reason, reset.at.version), (ResetReason::UnknownEpoch, 6));
    assert_eq!(reset.state.as_deref(), Some(&br#"{"next":4}"#[..]));
}

async fn is_reset_flat(flat: &mut Socket, place: &Position) {
    let cursor = json!({"type": "subscribe", "sessionId": "s", "lastVersion": place.version, "epoch": place.epoch});
    flat.say(cursor).await;
    let reset = flat.next().await.unwrap();
    assert_eq!((&reset["type"], &reset["reason"]), (&json!("state_sync"), &json!("unknown_epoch")));
    assert_eq!((&reset["version"], &reset["state"]), (&json!(6), &json!({"next": 4})));
}

#[tokio::test]
async fn who_is_removed_while_much_waits_for_them_gets_none_of_what_was_not_delivered() {
    const WRITTEN: u64 = 200;
    let host = Host::new();
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    ann.put("/sessions/s/members", json!({"userId": "bob", "role": "viewer"})).await.expect(200);
    let mut slow = Wire::connect_with_small_buffer(host.server().listen).await;
    slow.greet(hello(&host.token("bob", None), "slow", 1, Vec::new())).await;
    subscribed(&mut slow, "s", None).await;
    // More than the kernel's buffers hold, and no more than the server keeps for who does not read.
    let large = "x".repeat(64 << 10);
    for n in 0..WRITTEN {
        ann.put("/sessions/s", json!({"state": {"n": n, "large": format!("{n}{large}")}})).await.expect(200);
    }
    ann.delete("/sessions/s/members/bob").await.expect(204);
    let mut seen = 0;
    let last = slow
        .wait_for(|message| match message {
            Message::Delta(_) | Message::Reset(_) => {
                seen += 1;
                None
            }
            Message::AccessChanged(changed) => Some(changed),
            _ => None,
        })
        .await;
    assert_eq!((&*last.user, last.role), ("bob", None));
    assert!(seen < WRITTEN / 2, "{seen} of {WRITTEN} were told");
    slow.send(subscribe("s", None));
    let Message::Error(error) = slow.message().await else { panic!("nothing but the refusal follows") };
    assert_eq!(error.code, ErrorCode::NotFound as u32);
}

#[tokio::test]
async fn who_is_attached_is_listed_with_what_they_are_connected_by_and_which_device_is_active() {
    let host = Host::new();
    let phone = host.http().with(host.token("ann", Some("phone")));
    phone.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    phone.put("/sessions/s/members", json!({"userId": "bob", "role": "viewer"})).await.expect(200);
    assert_eq!(phone.get("/sessions/s/devices").await.expect(200), json!({"items": [], "nextCursor": null}));
    let mut desk = wire(&host, Via::Quic, "bob", 1).await;
    subscribed(&mut desk, "s", None).await;
    let mut flat = host.socket(Some(&host.token("ann", Some("phone")))).await;
    flat.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    flat.until("state_sync").await;

    let listed = phone.get("/sessions/s/devices?limit=1").await.expect(200);
    let next = format!("/sessions/s/devices?cursor={}", listed["nextCursor"].as_str().unwrap());
    let rest = phone.get(&next).await.expect(200);
    assert_eq!(rest["nextCursor"], Value::Null);
    let mut items = [&listed["items"], &rest["items"]].map(|items| items.as_array().unwrap().clone()).concat();
    for item in &mut items {
        let seen = item.as_object_mut().unwrap().remove("lastSeenAt").unwrap();
        assert!(seen.as_str().unwrap().starts_with("20"), "{seen}");
    }
    let ann = json!({"deviceId": "phone", "userId": "ann", "presence": "online", "transport": "json", "active": true});
    let bob = json!({"deviceId": "d1", "userId": "bob", "presence": "online", "transport": "quic", "active": false});
    assert_eq!(items, [ann, bob]);

    drop(flat);
    until("the socket's end to be seen", async || {
        phone.get("/sessions/s/devices").await.expect(200)["items"][0]["presence"] == "away"
    })
    .await;
}

#[tokio::test]
async fn who_subscribes_to_as_much_as_they_may_cannot_tell_anothers_session_from_none() {
    let host = Host::with(|config| config.limits.subscriptions = 1);
    host.user("ann").post("/sessions", json!({"sessionId": "session-1", "state": {}})).await.expect(201);
    host.user("eve").post("/sessions", json!({"sessionId": "own", "state": {}})).await.expect(201);
    for via in Via::BOTH {
        let mut eve = wire(&host, via, "eve", 1).await;
        subscribed(&mut eve, "own", None).await;
        let mut answers = Vec::new();
        for session in ["session-1", "session-2"] {
            eve.send(subscribe(session, None));
            let error = eve
                .wait_for(|message| match message {
                    Message::Error(error) => Some(error),
                    Message::Reset(reset) => panic!("{reset:?}"),
                    _ => None,
                })
                .await;
            answers.push(format!("{error:?}").replace(session, "ID"));
        }
        assert!(answers[0].contains("not_found"), "{answers:?}");
        assert_eq!(answers[0], answers[1]);
    }
}
