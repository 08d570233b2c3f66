//! Subscribing, resuming, being reset, presence, requests.

use serde_json::{Value, json};

use super::{session, signed_in, subscribed, update};
use crate::host::Host;

fn set(path: &str, value: Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

#[tokio::test]
async fn who_names_its_last_version_gets_what_it_missed_and_then_what_comes() {
    let host = Host::new();
    let epoch = session(&host, "ann", "s", json!({})).await;
    let mut writer = signed_in(&host, "ann", "laptop").await;
    for number in 1..=4u64 {
        writer.say(update("s", number, set(&format!("/n{number}"), json!(number)))).await;
        writer.next().await.unwrap();
    }
    for named in [Value::Null, json!(epoch), json!(0)] {
        let mut phone = signed_in(&host, "ann", "phone").await;
        phone
            .say(json!({"type": "subscribe", "sessionId": "s", "lastVersion": 3, "epoch": named, "notices": false}))
            .await;
        for version in [4, 5] {
            let delta = phone.next().await.unwrap();
            assert_eq!((&delta["type"], &delta["version"]), (&json!("state_delta"), &json!(version)));
        }
        // With an id it is told that it goes on; asking again moves the subscription.
        phone.say(json!({"type": "subscribe", "id": 9, "sessionId": "s", "lastVersion": 5, "notices": false})).await;
        assert_eq!(
            phone.next().await.unwrap(),
            json!({"type": "resumed", "id": 9, "sessionId": "s", "after": 5, "version": 5, "epoch": epoch})
        );
    }
    for (last, reason) in [(99, "unknown_epoch"), (0, "initial")] {
        let mut phone = signed_in(&host, "ann", "phone").await;
        phone.say(json!({"type": "subscribe", "sessionId": "s", "lastVersion": last})).await;
        let sync = phone.next().await.unwrap();
        assert_eq!(
            (&sync["type"], &sync["reason"], &sync["version"]),
            (&json!("state_sync"), &json!(reason), &json!(5))
        );
    }
}

#[tokio::test]
async fn more_than_memory_keeps_comes_from_the_store() {
    let host = Host::durable();
    session(&host, "ann", "s", json!({})).await;
    let mut writer = signed_in(&host, "ann", "laptop").await;
    for number in 1..=300u64 {
        let mut asked = update("s", number, set("/text", json!(format!("{number}{}", "x".repeat(1_000)))));
        asked["durable"] = json!(number == 300);
        writer.say(asked).await;
        writer.next().await.unwrap();
    }
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "subscribe", "sessionId": "s", "lastVersion": 1, "notices": false})).await;
    for version in 2..=301 {
        let delta = phone.next().await.unwrap();
        assert_eq!((&delta["type"], &delta["version"]), (&json!("state_delta"), &json!(version)));
    }
    writer.say(update("s", 301, set("/a", json!(1)))).await;
    assert_eq!(phone.next().await.unwrap()["version"], 302);
}

#[tokio::test]
async fn a_large_state_comes_whole() {
    let host = Host::new();
    let big = json!({"text": "ä".repeat(200_000)});
    session(&host, "ann", "s", big.clone()).await;
    let mut writer = signed_in(&host, "ann", "laptop").await;
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "subscribe", "id": 1, "sessionId": "s", "notices": true})).await;
    let sync = phone.next().await.unwrap();
    assert_eq!((&sync["type"], &sync["id"], &sync["state"]), (&json!("state_sync"), &json!(1), &big));
    let list = phone.next().await.unwrap();
    assert_eq!((&list["type"], &list["devices"][0]["deviceId"]), (&json!("presence"), &json!("phone")));
    writer.say(update("s", 1, set("/b", json!(1)))).await;
    assert_eq!(phone.next().await.unwrap()["version"], 2);
    phone.say(json!({"type": "get", "id": 2, "sessionId": "s"})).await;
    let document = phone.next().await.unwrap();
    assert_eq!((&document["type"], &document["id"], &document["version"]), (&json!("document"), &json!(2), &json!(2)));
    assert_eq!(document["state"]["text"], big["text"]);
}

#[tokio::test]
async fn who_reads_too_slowly_gets_the_newest_state_in_place_of_changes() {
    let host = Host::with(|config| config.fanout.ring_bytes = 65_536);
    session(&host, "ann", "s", json!({})).await;
    let mut slow = subscribed(&host, "ann", "slow", "s").await;
    let mut writer = signed_in(&host, "ann", "laptop").await;
    let text = "x".repeat(100_000);
    let versions = 200u64;
    for number in 1..=versions {
        writer.say(update("s", number, set("/text", json!(format!("{number} {text}"))))).await;
        assert_eq!(writer.next().await.unwrap()["type"], "state_ack");
    }
    let (mut version, mut resets) = (1, 0);
    while version <= versions {
        let told = slow.next().await.unwrap();
        let next = told["version"].as_u64().unwrap();
        if told["type"] == "state_sync" {
            assert_eq!(told["reason"], "lagged");
            assert!(next > version, "from {version} to {next}");
            assert!(told["state"]["text"].as_str().unwrap().starts_with(&format!("{} ", next - 1)));
            resets += 1;
        } else {
            assert_eq!((&told["type"], next), (&json!("state_delta"), version + 1));
        }
        version = next;
    }
    assert!(resets > 0, "20 MB fitted in the sockets");
}

#[tokio::test]
async fn devices_are_told_of_each_other_unless_they_do_not_want_it() {
    let host = Host::with(|config| config.presence.grace_ms = 0);
    session(&host, "ann", "s", json!({})).await;
    let mut deaf = subscribed(&host, "ann", "deaf", "s").await;
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    assert_eq!(phone.next().await.unwrap()["type"], "state_sync");
    // Who names no device is not told of.
    let mut nameless = host.socket(Some(&host.token("ann", None))).await;
    nameless.say(json!({"type": "subscribe", "sessionId": "s", "notices": false})).await;
    nameless.next().await.unwrap();
    let mut laptop = signed_in(&host, "ann", "laptop").await;
    laptop.say(json!({"type": "subscribe", "sessionId": "s", "notices": true})).await;
    assert_eq!(laptop.next().await.unwrap()["type"], "state_sync");
    let list = laptop.next().await.unwrap();
    let devices: Vec<_> = list["devices"].as_array().unwrap().iter().map(|device| device["deviceId"].clone()).collect();
    assert_eq!(devices, ["deaf", "laptop", "phone"]);
    let joined = phone.next().await.unwrap();
    assert_eq!(
        joined,
        json!({"type": "device_joined", "sessionId": "s", "seq": joined["seq"], "deviceId": "laptop", "userId": "ann", "transport": "json"})
    );
    laptop.say(json!({"type": "unsubscribe", "id": 4, "sessionId": "s"})).await;
    assert_eq!(laptop.next().await.unwrap(), json!({"type": "unsubscribed", "id": 4, "sessionId": "s"}));
    let left = phone.next().await.unwrap();
    assert_eq!(
        (&left["type"], &left["deviceId"], &left["userId"]),
        (&json!("device_left"), &json!("laptop"), &json!("ann"))
    );
    // Nothing more comes to who unsubscribed, and no notices to who wants none.
    phone.say(update("s", 1, set("/a", json!(1)))).await;
    assert_eq!(phone.next().await.unwrap()["type"], "state_ack");
    assert_eq!(deaf.next().await.unwrap()["type"], "state_delta");
    laptop.say(json!({"type": "heartbeat", "timestamp": 1})).await;
    assert_eq!(laptop.next().await.unwrap()["type"], "heartbeat_ack");
}

#[tokio::test]
async fn durable_is_told_to_who_asks_for_it() {
    let host = Host::durable();
    session(&host, "ann", "s", json!({})).await;
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "subscribe", "sessionId": "s", "durable": true, "notices": false})).await;
    phone.next().await.unwrap();
    let mut laptop = signed_in(&host, "ann", "laptop").await;
    let mut asked = update("s", 1, set("/a", json!(1)));
    asked["durable"] = json!("notify");
    laptop.say(asked).await;
    for socket in [&mut phone, &mut laptop] {
        let told = socket.until("durable").await;
        assert_eq!(told, json!({"type": "durable", "sessionId": "s", "version": 2, "epoch": told["epoch"]}));
    }
}

#[tokio::test]
async fn requests_are_answered_by_the_routes_of_rest() {
    let host = Host::new();
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "request", "id": 12, "method": "GET", "path": "/sessions/nowhere"})).await;
    let answer = phone.next().await.unwrap();
    assert_eq!((&answer["type"], &answer["id"], &answer["status"]), (&json!("response"), &json!(12), &json!(404)));
    assert_eq!(answer["body"]["code"], "not_found");
    assert!(
        answer["headers"]
            .as_array()
            .unwrap()
            .contains(&json!({"name": "content-type", "value": "application/problem+json"}))
    );
}

#[tokio::test]
async fn a_handoff_that_nobody_asked_for_cannot_be_answered() {
    let host = Host::new();
    let mut phone = signed_in(&host, "ann", "phone").await;
    phone.say(json!({"type": "handoff_answer", "handoffId": "made-up", "accept": true})).await;
    let error = phone.next().await.unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("not_found")));
}
