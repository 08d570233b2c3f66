//! Who is let in, by what, and until when.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{session, signed_in};
use crate::host::{Host, Socket};

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
async fn who_says_nothing_or_never_signs_in_is_closed_with_4401() {
    let host = Host::with(|config| {
        config.limits.handshake_seconds = 1;
        config.limits.auth_seconds = 3;
    });
    let begun = Instant::now();
    let mut silent = host.socket(None).await;
    let mut talkative = host.socket(None).await;
    talkative.say(json!({"type": "heartbeat", "timestamp": 1})).await;
    assert_eq!(silent.next().await, Err(4401));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(talkative.next().await.unwrap()["type"], "heartbeat_ack");
    // Heartbeats do not put it off.
    let code = loop {
        talkative.say_if_open(json!({"type": "heartbeat", "timestamp": 2})).await;
        match talkative.next().await {
            Ok(answer) => assert_eq!(answer["type"], "heartbeat_ack"),
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4401);
    assert!(begun.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn under_open_nobody_has_to_sign_in_and_a_session_is_made_by_addressing_it() {
    let host = Host::with(|config| {
        config.open = true;
        config.limits.handshake_seconds = 1;
        config.limits.auth_seconds = 1;
    });
    let begun = Instant::now();
    let mut socket = host.socket(None).await;
    while begun.elapsed() < Duration::from_millis(3_500) {
        socket.say(json!({"type": "heartbeat", "timestamp": 1})).await;
        assert_eq!(socket.next().await.unwrap()["type"], "heartbeat_ack");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    socket.say(json!({"type": "subscribe", "sessionId": "made"})).await;
    assert_eq!(socket.next().await.unwrap()["state"], json!({}));

    let mut other = host.socket(None).await;
    other.say(json!({"type": "auth", "token": "test-token-7"})).await;
    let answer = other.next().await.unwrap();
    assert_eq!(
        (&answer["type"], &answer["userId"], &answer["deviceId"]),
        (&json!("auth_ok"), &json!("dev-7"), &json!(""))
    );
    other
        .say(json!({"type": "state_update", "sessionId": "made", "delta":
            {"version": 1, "operations": [{"op": "add", "path": "/a/b", "value": 1}]}}))
        .await;
    assert_eq!(other.next().await.unwrap()["type"], "state_ack");
    assert_eq!(socket.next().await.unwrap()["version"], 2);
    // Who was taken for the shared user may still say who it is, while it has not begun with anything.
    let mut late = host.socket(None).await;
    late.say(json!({"type": "get", "sessionId": "made"})).await;
    assert_eq!(late.next().await.unwrap()["state"], json!({"a": {"b": 1}}));
    late.say(json!({"type": "auth", "token": "test-token-8", "deviceId": "tab"})).await;
    assert_eq!(late.next().await.unwrap()["userId"], "dev-8");
    socket.say(json!({"type": "auth", "token": "test-token-8"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_error");
    assert_eq!(socket.next().await, Err(4401));
}

#[tokio::test]
async fn a_bad_token_is_an_auth_error_with_its_code_and_4401() {
    let host = Host::new();
    for token in [json!("nonsense"), json!(""), json!("a.b.c"), json!("test-token-1")] {
        let mut socket = host.socket(None).await;
        socket.say(json!({"type": "auth", "token": token, "deviceId": "phone"})).await;
        let answer = socket.next().await.unwrap();
        assert_eq!((&answer["type"], &answer["code"]), (&json!("auth_error"), &json!("unauthenticated")), "{token}");
        assert_eq!(socket.next().await, Err(4401));
    }
    let mut socket = host.socket(None).await;
    socket.say(json!({"type": "auth", "token": host.token("ann", None), "deviceId": "two\nlines"})).await;
    socket.say(json!({"type": "auth", "token": host.token("ann", None), "deviceId": "phone"})).await;
    let first = socket.next().await.unwrap();
    assert_eq!((&first["type"], &first["code"]), (&json!("error"), &json!("invalid_field")));
    assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
}

#[tokio::test]
async fn a_token_in_the_header_lets_in_at_the_upgrade_and_a_bad_one_is_a_401() {
    let host = Host::new();
    session(&host, "ann", "s", json!(1)).await;
    let mut socket = host.socket(Some(&host.token("ann", None))).await;
    socket.say(json!({"type": "get", "sessionId": "s"})).await;
    assert_eq!(socket.next().await.unwrap()["state"], 1);
    // An `auth` that comes all the same is answered; it may still name the device, while there is none.
    for (message, device) in [
        (json!({"type": "auth"}), ""),
        (json!({"type": "auth", "token": host.token("ann", None)}), ""),
        (json!({"type": "auth", "deviceId": "phone"}), "phone"),
        (json!({"type": "auth", "token": host.token("ann", None), "deviceId": "laptop"}), "phone"),
    ] {
        socket.say(message).await;
        let answer = socket.next().await.unwrap();
        assert_eq!(
            (&answer["type"], &answer["userId"], &answer["deviceId"]),
            (&json!("auth_ok"), &json!("ann"), &json!(device))
        );
    }
    socket.say(json!({"type": "auth", "token": host.token("bob", None)})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_error");
    assert_eq!(socket.next().await, Err(4401));

    let headers = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for token in ["nonsense", "a.b.c"] {
        let answer = host.http().with(token).send(hyper::Method::GET, "/ws", &headers, "").await;
        answer.expect(401);
        assert_eq!((&*answer.code(), answer.header("www-authenticate")), ("unauthenticated", Some("Bearer")));
    }
    let basic = [&headers[..], &[("authorization", "Basic YTpi")]].concat();
    host.http().send(hyper::Method::GET, "/ws", &basic, "").await.expect(401);
    assert!(Socket::connect(host.server().listen, Some("nonsense")).await.is_err());
}

#[tokio::test]
async fn the_device_of_a_token_beats_the_one_that_is_named() {
    let host = Host::new();
    let mut socket = host.socket(None).await;
    socket.say(json!({"type": "auth", "token": host.token("ann", Some("phone")), "deviceId": "laptop"})).await;
    assert_eq!(socket.next().await.unwrap()["deviceId"], "phone");
}

#[tokio::test]
async fn what_needs_somebody_is_an_error_before_auth_and_the_connection_lives() {
    let host = Host::new();
    session(&host, "ann", "s", json!({})).await;
    let mut socket = host.socket(None).await;
    for message in [
        json!({"type": "subscribe", "id": 3, "sessionId": "s"}),
        json!({"type": "get", "id": 3, "sessionId": "s"}),
        json!({"type": "state_update", "id": 3, "sessionId": "s", "delta": {"version": 1, "operations": []}}),
        json!({"type": "create", "id": 3, "state": {}}),
        json!({"type": "unsubscribe", "id": 3, "sessionId": "s"}),
    ] {
        socket.say(message.clone()).await;
        let answer = socket.next().await.unwrap();
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["id"]),
            (&json!("error"), &json!("unauthenticated"), &json!(3)),
            "{message}"
        );
    }
    socket.say(json!({"type": "auth", "token": host.token("ann", None)})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
}

#[tokio::test]
async fn strangers_are_told_the_same_of_a_session_that_is_there_and_one_that_is_not() {
    let host = Host::new();
    session(&host, "ann", "kept", json!({})).await;
    let mut bob = signed_in(&host, "bob", "phone").await;
    for kind in ["subscribe", "get"] {
        let mut answers = Vec::new();
        for id in ["kept", "none"] {
            bob.say(json!({"type": kind, "id": 1, "sessionId": id})).await;
            answers.push(bob.next_text().await.unwrap().replace(id, "ID"));
        }
        assert_eq!(answers[0], answers[1]);
        assert!(answers[0].contains("not_found"), "{answers:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_down_says_so_and_closes() {
    let mut host = Host::new();
    let mut nobody = host.socket(None).await;
    let mut ann = signed_in(&host, "ann", "phone").await;
    nobody.say(json!({"type": "heartbeat", "timestamp": 1})).await;
    nobody.next().await.unwrap();
    host.stop().await;
    for socket in [&mut nobody, &mut ann] {
        let told = socket.next().await.unwrap();
        assert_eq!(told["type"], "draining");
        assert!(told["reconnectAfterMs"].is_u64() && told["windowMs"].is_u64());
        assert_eq!(socket.next().await, Err(4503));
    }
}
