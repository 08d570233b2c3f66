//! Flat JSON on `/ws`, by a stock WebSocket library: every message of the contract.

mod admission;
mod errors;
mod sessions;
mod updates;

use serde_json::{Value, json};

use crate::host::{Host, Socket};

/// A session that this user owns; its epoch.
async fn session(host: &Host, user: &str, id: &str, state: Value) -> u64 {
    session_of(host, user, id, state, json!({})).await
}

/// The same, with this policy.
async fn session_of(host: &Host, user: &str, id: &str, state: Value, policy: Value) -> u64 {
    let mut socket = signed_in(host, user, "maker").await;
    socket.say(json!({"type": "create", "id": 1, "sessionId": id, "state": state, "policy": policy})).await;
    let made = socket.next().await.unwrap();
    assert_eq!(made, json!({"type": "created", "id": 1, "sessionId": id, "version": 1, "epoch": made["epoch"]}));
    made["epoch"].as_u64().unwrap()
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
