//! What is no message, and what may not come: a clear error, and the connection lives.

use bytes::BytesMut;
use serde_json::{Value, json};
use syncbridge_codec::websocket::{Opcode, write_client_frame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{session, signed_in};
use crate::{host::Host, support::within};

#[tokio::test]
async fn what_is_no_message_is_an_error_with_its_id_and_the_connection_lives() {
    let host = Host::new();
    session(&host, "ann", "s", json!({})).await;
    let mut socket = signed_in(&host, "ann", "phone").await;
    let deep = format!(r#"{{"type":"get","sessionId":"s","x":{}1{}}}"#, "[".repeat(300), "]".repeat(300));
    for (text, code) in [
        ("", "malformed_message"),
        ("[]", "malformed_message"),
        ("{", "invalid_json"),
        (r#"{"type":"get","sessionId":"s",}"#, "invalid_json"),
        (r#"{"type":"get","type":"get","sessionId":"s"}"#, "invalid_json"),
        (r#"{"type":"get","sessionId":"s","x":01}"#, "invalid_json"),
        (r#"{"type":"get","sessionId":"s","x":NaN}"#, "invalid_json"),
        (r#"{"type":"get","sessionId":"s"} x"#, "invalid_json"),
        (&deep, "invalid_json"),
        (r#"{"sessionId":"s"}"#, "malformed_message"),
        (r#"{"type":7}"#, "malformed_message"),
        (r#"{"type":"nonsense"}"#, "unknown_message"),
        (r#"{"type":"get"}"#, "invalid_field"),
        (r#"{"type":"get","sessionId":7}"#, "invalid_field"),
        (r#"{"type":"get","id":-1,"sessionId":"s"}"#, "invalid_field"),
        (r#"{"type":"subscribe","sessionId":"s","lastVersion":1.5}"#, "invalid_field"),
        (r#"{"type":"subscribe","sessionId":"s","lastVersion":18446744073709551616}"#, "invalid_field"),
        (r#"{"type":"state_update","sessionId":"s"}"#, "invalid_field"),
        (r#"{"type":"state_update","sessionId":"s","delta":[]}"#, "invalid_field"),
        (r#"{"type":"state_update","sessionId":"s","delta":{"version":"one","operations":[]}}"#, "invalid_field"),
        (r#"{"type":"state_update","sessionId":"s","delta":{"version":1}}"#, "invalid_field"),
        (
            r#"{"type":"state_update","sessionId":"s","durable":1,"delta":{"version":1,"operations":[]}}"#,
            "invalid_field",
        ),
        (
            r#"{"type":"state_update","sessionId":"s","onConflict":"win","delta":{"version":1,"operations":[]}}"#,
            "invalid_field",
        ),
        (r#"{"type":"state_update","sessionId":"s","delta":{"version":1,"operations":{}}}"#, "invalid_patch"),
        (
            r#"{"type":"state_update","sessionId":"s","delta":{"version":1,"operations":[{"op":"add"}]}}"#,
            "invalid_patch",
        ),
        (r#"{"type":"unsubscribe","sessionId":"s"}"#, "not_subscribed"),
        (
            r#"{"type":"state_ack","sessionId":"s","version":2,"epoch":1,"durable":true,"changed":true}"#,
            "unexpected_message",
        ),
        (r#"{"type":"session_deleted","sessionId":"s"}"#, "unexpected_message"),
        (
            r#"{"type":"handoff_completed","sessionId":"s","seq":1,"handoffId":"h","userId":"u","deviceId":"d"}"#,
            "unexpected_message",
        ),
        (r#"{"type":"stream_open","class":1}"#, "unexpected_message"),
    ] {
        socket.say_text(text).await;
        let error = socket.next().await.unwrap();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{text}: {error}");
        // What is right pays for what was not.
        socket.say(json!({"type": "get", "id": 1, "sessionId": "s"})).await;
        assert_eq!(socket.next().await.unwrap()["type"], "document");
    }
    socket.say(json!({"type": "nonsense", "id": "mine"})).await;
    assert_eq!(socket.next().await.unwrap()["id"], "mine");
    socket.say_binary(b"\x02\x06\x01").await;
    let error = socket.next().await.unwrap();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("malformed_message")));
}

#[tokio::test]
async fn who_sends_only_rubbish_is_closed_in_the_end() {
    let host = Host::new();
    let mut socket = signed_in(&host, "ann", "phone").await;
    let mut errors = 0;
    let code = loop {
        socket.say_if_open(json!("rubbish")).await;
        match socket.next().await {
            Ok(error) => assert_eq!(error["type"], "error"),
            Err(code) => break code,
        }
        errors += 1;
        assert!(errors < 1_000);
    };
    assert_eq!((code, errors), (4400, 65));
}

/// What a raw client that sends this frame is answered last: a close code.
async fn closed_with(host: &Host, opcode: Opcode, payload: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(host.server().listen).await.unwrap();
    let head = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut out = BytesMut::from(head);
    write_client_frame(&mut out, opcode, [1, 2, 3, 4], payload);
    // The server may be done before it has read everything.
    let _sent = stream.write_all(&out).await;
    let mut all = Vec::new();
    within("the end", stream.read_to_end(&mut all)).await.ok();
    let at = all.windows(4).position(|four| four == b"\r\n\r\n").expect("an upgrade") + 4;
    let close = &all[at..];
    assert_eq!(close[0], 0x88, "{:?}", String::from_utf8_lossy(close));
    u16::from_be_bytes([close[2], close[3]])
}

#[tokio::test]
async fn text_that_is_not_utf_8_and_what_is_too_long_close_as_rfc_6455_has_it() {
    let host = Host::with(|config| config.limits.max_client_frame = 4_096);
    assert_eq!(closed_with(&host, Opcode::Text, b"{\"type\":\"\xff\"}").await, 1007);
    assert_eq!(closed_with(&host, Opcode::Text, &vec![b' '; 4_097]).await, 1009);
}

#[tokio::test]
async fn hostile_json_is_answered_in_bounded_time() {
    let host = Host::new();
    session(&host, "ann", "s", json!({})).await;
    let mut socket = signed_in(&host, "ann", "phone").await;
    let big = 1_000_000;
    let many_keys: String = (0..90_000).map(|n| format!(r#""k{n}":1,"#)).collect();
    let begun = std::time::Instant::now();
    for text in [
        "[".repeat(big),
        format!(r#"{{"a":{}"#, "[".repeat(big)),
        format!(r#"{{"a":{}"#, r#"{"a":"#.repeat(big / 5)),
        format!(r#"{{{many_keys}"type":"get"}}"#),
        format!(r#"{{"type":"{}"}}"#, "a".repeat(big)),
        format!(r#"{{"type":"get","id":"{}","sessionId":"s"}}"#, "i".repeat(big)),
        format!(r#"{{"type":"get","sessionId":"{}"}}"#, r"\u0041".repeat(big / 6)),
        format!(r#"{{"type":"auth","resume":[{}1]}}"#, "1,".repeat(big / 2 - 20)),
        format!(
            r#"{{"type":"state_update","sessionId":"s","delta":{{"version":1,"operations":[{}1]}}}}"#,
            "1,".repeat(big / 2 - 60)
        ),
    ] {
        socket.say_text(&text).await;
        let answer = socket.next().await.unwrap();
        assert_eq!(answer["type"], "error", "{}", &text[..40]);
        assert!(answer.to_string().len() < 2_000, "an error does not repeat what was sent");
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    let _: Value = {
        socket.say(json!({"type": "get", "sessionId": "s"})).await;
        socket.next().await.unwrap()
    };
}
