//! `state_update` and what comes of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use syncbridge_codec::{
    Message,
    message::{self, Durability, Position},
};

use super::{session, session_of, signed_in, subscribed, update};
use crate::{
    host::{Host, Socket},
    support::wire::{Via, Wire, hello},
};

#[tokio::test]
async fn an_update_is_acknowledged_to_its_writer_and_told_to_all_others() {
    let host = Host::new();
    let epoch = session(&host, "ann", "s", json!({"items": []})).await;
    let mut phone = subscribed(&host, "ann", "phone", "s").await;
    let mut laptop = signed_in(&host, "ann", "laptop").await;
    laptop.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    let sync = laptop.next().await.unwrap();
    assert_eq!(
        sync,
        json!({"type": "state_sync", "sessionId": "s", "version": 1, "epoch": epoch, "state": {"items": []}, "reason": "initial"})
    );

    let mut asked = update("s", 1, json!([{"op": "add", "path": "/items/-", "value": "milk"}]));
    asked["id"] = json!("a-1");
    phone.say(asked).await;
    assert_eq!(
        phone.next().await.unwrap(),
        json!({"type": "state_ack", "id": "a-1", "sessionId": "s", "version": 2, "epoch": epoch, "durable": false, "changed": true})
    );
    let mut delta = laptop.next().await.unwrap();
    assert!(delta["time"].take().is_u64());
    assert_eq!(
        delta,
        json!({
            "type": "state_delta", "sessionId": "s", "version": 2, "epoch": epoch, "deviceId": "phone", "time": null,
            "delta": {"operations": [{"op": "add", "path": "/items/-", "value": "milk"}]},
        })
    );
}

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

async fn state(host: &Host, id: &str) -> (u64, Value) {
    let mut socket = signed_in(host, "ann", "reader").await;
    socket.say(json!({"type": "get", "sessionId": id})).await;
    let answer = socket.next().await.unwrap();
    (answer["version"].as_u64().unwrap(), answer["state"].clone())
}

#[tokio::test]
async fn a_durable_update_is_acknowledged_once_it_is_durable_and_never_told_to_its_writer() {
    let host = Host::durable();
    session(&host, "ann", "s", json!({})).await;
    let mut writer = subscribed(&host, "ann", "phone", "s").await;
    let mut other = subscribed(&host, "ann", "laptop", "s").await;
    for number in 1..=20u64 {
        let mut asked = update("s", number, set(&format!("/n{number}"), json!(number)));
        asked["durable"] = json!(true);
        asked["id"] = json!(number);
        writer.say(asked).await;
    }
    for number in 1..=20u64 {
        let ack = writer.next().await.unwrap();
        assert_eq!(
            (&ack["type"], &ack["id"], &ack["version"], &ack["durable"]),
            (&json!("state_ack"), &json!(number), &json!(number + 1), &json!(true))
        );
        let delta = other.next().await.unwrap();
        assert_eq!((&delta["type"], &delta["version"]), (&json!("state_delta"), &json!(number + 1)));
    }
    other.say(update("s", 21, set("/last", json!(true)))).await;
    let delta = writer.next().await.unwrap();
    assert_eq!(
        (&delta["type"], &delta["version"], &delta["deviceId"]),
        (&json!("state_delta"), &json!(22), &json!("laptop"))
    );
}

#[tokio::test]
async fn an_update_needs_no_subscription_and_no_id() {
    let host = Host::new();
    let epoch = session(&host, "ann", "s", json!({})).await;
    let mut socket = signed_in(&host, "ann", "phone").await;
    socket.say(update("s", 1, set("/deep/er", json!(9_007_199_254_740_993u64)))).await;
    // A path that had to be made is told, as it is not what was sent.
    assert_eq!(
        socket.next().await.unwrap(),
        json!({
            "type": "state_ack", "sessionId": "s", "version": 2, "epoch": epoch, "durable": false, "changed": true,
            "delta": {"operations": set("/deep", json!({"er": 9_007_199_254_740_993u64}))},
        })
    );
    assert_eq!(state(&host, "s").await, (2, json!({"deep": {"er": 9_007_199_254_740_993u64}})));
    // What changes nothing keeps the version.
    socket.say(update("s", 2, set("/deep/er", json!(9_007_199_254_740_993u64)))).await;
    let ack = socket.next().await.unwrap();
    assert_eq!((&ack["version"], &ack["changed"]), (&json!(2), &json!(false)));
    socket
        .say(json!({"type": "state_update", "sessionId": "s", "lenient": false, "id": "x",
        "delta": {"version": 2, "operations": set("/no/where", json!(1))}}))
        .await;
    let error = socket.next().await.unwrap();
    assert_eq!(
        (&error["type"], &error["code"], &error["id"], &error["sessionId"]),
        (&json!("error"), &json!("path_not_found"), &json!("x"), &json!("s"))
    );
}

#[tokio::test]
async fn clients_that_always_say_version_1_are_applied_for_ever() {
    let host = Host::new();
    session(&host, "ann", "s", json!({"updates": {}, "list": []})).await;
    let mut other = subscribed(&host, "ann", "laptop", "s").await;
    let mut phones = [signed_in(&host, "ann", "a").await, signed_in(&host, "ann", "b").await];
    // More than 1,000 versions, and more than 256 KiB of paths.
    let long = "p".repeat(300);
    let mut sent = 0;
    for number in 0..750u64 {
        for (at, phone) in phones.iter_mut().enumerate() {
            let path = format!("/updates/{long}{}", 1_767_225_600_000 + number * 2 + at as u64);
            let operations = json!([
                {"op": "add", "path": path, "value": {"n": number}},
                {"op": "add", "path": "/list/-", "value": sent},
                {"op": "replace", "path": "/updates/last", "value": number},
            ]);
            let operations = if sent == 0 { json!([operations[0], operations[1]]) } else { operations };
            let operations = if sent == 1 {
                json!([operations[0], operations[1],
                {"op": "add", "path": "/updates/last", "value": 0}])
            } else {
                operations
            };
            phone.say(update("s", 1, operations)).await;
            let ack = phone.next().await.unwrap();
            assert_eq!((&ack["type"], &ack["version"]), (&json!("state_ack"), &json!(sent + 2)), "{ack}");
            sent += 1;
        }
    }
    for version in 2..sent + 2 {
        assert_eq!(other.next().await.unwrap()["version"], version);
    }
    let (version, state) = state(&host, "s").await;
    assert_eq!(version, 1_501);
    assert_eq!(state["list"].as_array().unwrap().len(), 1_500);
    assert_eq!(state["updates"].as_object().unwrap().len(), 1_501);
}

#[tokio::test]
async fn appends_never_clash_even_where_clashes_are_refused() {
    let host = Host::new();
    session_of(&host, "ann", "s", json!({"list": []}), json!({"conflict": "reject"})).await;
    let mut phones = [signed_in(&host, "ann", "a").await, signed_in(&host, "ann", "b").await];
    for number in 0..600 {
        for phone in &mut phones {
            phone.say(update("s", 1, json!([{"op": "add", "path": "/list/-", "value": number}]))).await;
        }
    }
    for phone in &mut phones {
        for _ in 0..600 {
            assert_eq!(phone.next().await.unwrap()["type"], "state_ack");
        }
    }
    assert_eq!(state(&host, "s").await.1["list"].as_array().unwrap().len(), 1_200);
}

#[tokio::test]
async fn a_clash_is_decided_by_the_stricter_of_policy_and_update() {
    let host = Host::new();
    let epoch = session(&host, "ann", "s", json!({"a": 1})).await;
    let mut phone = signed_in(&host, "ann", "phone").await;
    let mut laptop = signed_in(&host, "ann", "laptop").await;
    laptop.say(update("s", 1, set("/a", json!(2)))).await;
    laptop.next().await.unwrap();
    let mut strict = update("s", 1, set("/a", json!(3)));
    strict["onConflict"] = json!("reject");
    strict["id"] = json!(1.5);
    phone.say(strict).await;
    assert_eq!(
        phone.next().await.unwrap(),
        json!({"type": "conflict", "id": 1.5, "code": "conflict", "sessionId": "s", "version": 2, "epoch": epoch, "paths": ["/a"]})
    );
    phone.say(update("s", 1, set("/a", json!(3)))).await;
    assert_eq!(phone.next().await.unwrap()["type"], "state_ack");

    let mut ahead = update("s", 99, set("/a", json!(4)));
    ahead["id"] = json!("far");
    phone.say(ahead).await;
    assert_eq!(
        phone.next().await.unwrap(),
        json!({"type": "conflict", "id": "far", "code": "version_ahead", "sessionId": "s", "version": 3, "epoch": epoch, "paths": []})
    );
    phone.say(update("s", 0, set("/a", json!(4)))).await;
    let error = phone.next().await.unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("invalid_field")));
}

#[tokio::test]
async fn an_update_with_an_id_is_applied_once_however_often_it_comes() {
    let mut host = Host::durable();
    session(&host, "ann", "s", json!({"list": []})).await;
    let mut asked = update("s", 1, json!([{"op": "add", "path": "/list/-", "value": "once"}]));
    asked["id"] = json!("k-1");
    asked["durable"] = json!(true);
    for device in ["phone", "phone", "laptop"] {
        let mut socket = signed_in(&host, "ann", device).await;
        for _ in 0..2 {
            socket.say(asked.clone()).await;
            let ack = socket.next().await.unwrap();
            assert_eq!((&ack["type"], &ack["id"]), (&json!("state_ack"), &json!("k-1")));
            // Ids are a device's own.
            assert_eq!(ack["version"], if device == "phone" { 2 } else { 3 });
        }
    }
    host.restart().await;
    let mut socket = signed_in(&host, "ann", "phone").await;
    socket.say(asked.clone()).await;
    let ack = socket.next().await.unwrap();
    assert_eq!((&ack["version"], &ack["changed"]), (&json!(2), &json!(false)));
    // As a number and as text it is another id; for another change it is refused.
    asked["delta"]["operations"][0]["value"] = json!("twice");
    socket.say(asked.clone()).await;
    let error = socket.next().await.unwrap();
    assert_eq!((&error["code"], &error["id"]), (&json!("id_mismatch"), &json!("k-1")));
    assert_eq!(state(&host, "s").await.1, json!({"list": ["once", "once"]}));
}

#[tokio::test]
async fn an_op_with_a_counter_is_the_native_ones() {
    let host = Host::new();
    session(&host, "ann", "s", json!({})).await;
    let auth = json!({"type": "auth", "token": host.token("ann", None), "deviceId": "phone", "incarnation": "77"});
    for changed in [true, false] {
        let mut socket = host.socket(None).await;
        socket.say(auth.clone()).await;
        assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
        let mut asked = update("s", 1, set("/a", json!(1)));
        asked["counter"] = json!(1);
        socket.say(asked).await;
        let ack = socket.next().await.unwrap();
        assert_eq!((&ack["counter"], &ack["version"], &ack["changed"]), (&json!(1), &json!(2), &json!(changed)));
    }
}

/// Every transport, one session: all see the same versions in the same order.
#[tokio::test]
async fn json_binary_and_quic_clients_see_one_order() {
    let host = Host::new();
    session(&host, "ann", "s", json!({"list": []})).await;
    let address = host.server().listen;
    let mut sockets = [subscribed(&host, "ann", "j1", "s").await, subscribed(&host, "ann", "j2", "s").await];
    let mut wires = Vec::new();
    for (via, device, incarnation) in [(Via::WebSocket, "w", 1), (Via::Quic, "q", 2)] {
        let (mut wire, _) =
            Wire::greeted(via, address, hello(&host.token("ann", None), device, incarnation, Vec::new())).await;
        wire.send(message::Subscribe { id: 1, session: "s".into(), ..message::Subscribe::default() });
        wire.wait_for(|message| matches!(message, Message::Reset(_)).then_some(())).await;
        wires.push(wire);
    }
    let each = 50u64;
    for number in 1..=each {
        let append = |who: &str| json!([{"op": "add", "path": "/list/-", "value": format!("{who}-{number}")}]);
        for (at, socket) in sockets.iter_mut().enumerate() {
            socket.say(update("s", 1, append(&format!("j{at}")))).await;
        }
        for (at, wire) in wires.iter().enumerate() {
            wire.send(message::Update {
                counter: number,
                session: "s".into(),
                base: Position { epoch: 0, version: 1 },
                operations: append(&format!("n{at}")).to_string().into(),
                durability: if number % 2 == 0 { Durability::Durable } else { Durability::Accepted },
                lenient: true,
                ..message::Update::default()
            });
        }
    }
    let last = 1 + 4 * each;
    let mut seen: Vec<Vec<(u64, Option<String>)>> = Vec::new();
    for socket in &mut sockets {
        seen.push(json_versions(socket, last).await);
    }
    for wire in &mut wires {
        seen.push(native_versions(wire, last).await);
    }
    let (_, state) = state(&host, "s").await;
    let list: Vec<_> = state["list"].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect();
    assert_eq!(list.iter().collect::<BTreeSet<_>>().len() as u64, 4 * each, "all there, once each");
    for versions in seen {
        assert_eq!(versions.len() as u64, 4 * each);
        for ((version, value), expected) in versions.into_iter().zip(2..) {
            assert_eq!(version, expected);
            // A writer's own come as answers, without the operations.
            assert!(value.is_none_or(|value| value == list[expected as usize - 2]));
        }
    }
}

async fn json_versions(socket: &mut Socket, last: u64) -> Vec<(u64, Option<String>)> {
    let mut versions = Vec::new();
    while versions.last().is_none_or(|(version, _)| *version < last) {
        let told = socket.next().await.unwrap();
        let value = told["delta"]["operations"][0]["value"].as_str().map(str::to_owned);
        assert!(told["type"] == "state_ack" || value.is_some(), "{told}");
        versions.push((told["version"].as_u64().unwrap(), value));
    }
    versions
}

async fn native_versions(wire: &mut Wire, last: u64) -> Vec<(u64, Option<String>)> {
    let mut versions: Vec<(u64, Option<String>)> = Vec::new();
    while versions.last().is_none_or(|(version, _)| *version < last) {
        match wire.message().await {
            Message::Delta(delta) => {
                let operations: Value = serde_json::from_slice(&delta.operations).unwrap();
                versions.push((delta.at.version, operations[0]["value"].as_str().map(str::to_owned)));
            }
            Message::Accepted(accepted) if !accepted.durable => versions.push((accepted.at.version, None)),
            Message::Accepted(_) => {}
            other => panic!("{other:?}"),
        }
    }
    versions
}
