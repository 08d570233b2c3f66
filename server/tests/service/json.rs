//! Flat JSON on `/ws`, by a stock WebSocket library: every message of the contract.

use serde_json::{Value, json};

use crate::host::{Host, Socket};

/// A session that this user owns.
async fn session(host: &Host, user: &str, id: &str, state: Value) {
    session_of(host, user, id, state, json!({})).await;
}

/// The same, with this policy.
async fn session_of(host: &Host, user: &str, id: &str, state: Value, policy: Value) {
    let mut socket = signed_in(host, user, "maker").await;
    socket.say(json!({"type": "create", "id": 1, "sessionId": id, "state": state, "policy": policy})).await;
    let made = socket.next().await.unwrap();
    assert_eq!(made, json!({"type": "created", "id": 1, "sessionId": id, "version": 1, "epoch": made["epoch"]}));
}

async fn signed_in(host: &Host, user: &str, device: &str) -> Socket {
    let mut socket = host.socket(None).await;
    socket.say(json!({"type": "auth", "token": host.token(user, None), "deviceId": device})).await;
    let answer = socket.next().await.unwrap();
    assert_eq!(
        (&answer["type"], &answer["userId"], &answer["deviceId"]),
        (&json!("auth_ok"), &json!(user), &json!(device))
    );
    socket
}

async fn subscribed(host: &Host, user: &str, device: &str, id: &str) -> Socket {
    let mut socket = signed_in(host, user, device).await;
    socket.say(json!({"type": "subscribe", "sessionId": id, "notices": false})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "state_sync");
    socket
}

fn update(id: &str, version: u64, operations: Value) -> Value {
    json!({"type": "state_update", "sessionId": id, "delta": {"operations": operations, "version": version}})
}

#[tokio::test]
async fn heartbeats_come_back_as_they_were_written_before_auth_and_after() {
    let host = Host::new();
    let mut socket = host.socket(None).await;
    for number in ["1767225600000", "0", "1767225600000.125", "-5", "18446744073709551615", "1e3"] {
        socket.say_text(&format!(r#"{{"type":"heartbeat","timestamp":{number}}}"#)).await;
        assert_eq!(socket.next_text().await.unwrap(), format!(r#"{{"type":"heartbeat_ack","timestamp":{number}}}"#));
    }
    socket.say(json!({"type": "auth", "token": host.token("ann", None), "deviceId": "phone"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
    socket.say(json!({"type": "heartbeat", "timestamp": 7})).await;
    assert_eq!(socket.next().await.unwrap(), json!({"type": "heartbeat_ack", "timestamp": 7}));
}

#[tokio::test]
async fn an_update_is_acknowledged_to_its_writer_and_told_to_all_others() {
    let host = Host::new();
    session(&host, "ann", "s", json!({"items": []})).await;
    let mut phone = subscribed(&host, "ann", "phone", "s").await;
    let mut laptop = signed_in(&host, "ann", "laptop").await;
    laptop.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    let sync = laptop.next().await.unwrap();
    assert_eq!(sync["epoch"].as_u64(), Some(1));
    assert_eq!(
        sync,
        json!({"type": "state_sync", "sessionId": "s", "version": 1, "epoch": 1, "state": {"items": []}, "reason": "initial"})
    );

    let mut asked = update("s", 1, json!([{"op": "add", "path": "/items/-", "value": "milk"}]));
    asked["id"] = json!("a-1");
    phone.say(asked).await;
    assert_eq!(
        phone.next().await.unwrap(),
        json!({"type": "state_ack", "id": "a-1", "sessionId": "s", "version": 2, "epoch": 1, "durable": false, "changed": true})
    );
    let mut delta = laptop.next().await.unwrap();
    assert!(delta["time"].take().is_u64());
    assert_eq!(
        delta,
        json!({
            "type": "state_delta", "sessionId": "s", "version": 2, "epoch": 1, "deviceId": "phone", "time": null,
            "delta": {"operations": [{"op": "add", "path": "/items/-", "value": "milk"}]},
        })
    );
}
