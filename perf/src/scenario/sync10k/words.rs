//! The flat JSON form, as much of it as the scenario says and hears. Knows no sockets.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::json;

use crate::error::{Error, Result};

/// Signs in under `--open`.
pub fn auth(user: usize, device: usize) -> String {
    json!({ "type": "auth", "token": format!("test-token-{user}"), "deviceId": format!("device-{device}") }).to_string()
}

/// Subscribes.
pub fn subscribe(session: &str) -> String {
    json!({ "type": "subscribe", "sessionId": session }).to_string()
}

/// A heartbeat; `timestamp` comes back.
pub fn heartbeat(timestamp: u64) -> String {
    format!(r#"{{"type":"heartbeat","timestamp":{timestamp}}}"#)
}

/// An update as existing clients send it: always for version 1, each at a path of its own.
pub fn update(session: &str, number: u64) -> String {
    let value = json!({ "n": number, "text": "what somebody typed meanwhile" });
    let operations = json!([{ "op": "add", "path": format!("/updates/{}", now_ms()), "value": value }]);
    json!({ "type": "state_update", "sessionId": session, "delta": { "operations": operations, "version": 1 } })
        .to_string()
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

/// What the server said.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// `auth_ok`.
    SignedIn,
    /// `state_sync`: the state at this version.
    State(u64),
    /// `state_ack`: our update made this version.
    Ack(u64),
    /// `state_delta`: somebody's update, with its number.
    Delta {
        /// The version it made.
        version: u64,
        /// The `n` of its value.
        number: u64,
    },
    /// `heartbeat_ack` with our number.
    Heartbeat(u64),
    /// Who came and went.
    Presence,
    /// Everything that should not be heard in this scenario, by its type.
    Unwanted(String),
}

#[derive(Deserialize)]
struct Message<'m> {
    r#type: &'m str,
    version: Option<u64>,
    timestamp: Option<u64>,
}

/// Reads one message.
///
/// # Errors
/// [`Error::Server`] when it is none of the flat JSON form.
pub fn read(text: &[u8]) -> Result<Said> {
    let no_message = || Error::Server(format!("said {}", String::from_utf8_lossy(text)));
    let message: Message<'_> = serde_json::from_slice(text).map_err(|_| no_message())?;
    let version = || message.version.ok_or_else(no_message);
    Ok(match message.r#type {
        "auth_ok" => Said::SignedIn,
        "state_sync" => Said::State(version()?),
        "state_ack" => Said::Ack(version()?),
        "state_delta" => Said::Delta { version: version()?, number: number(text).ok_or_else(no_message)? },
        "heartbeat_ack" => Said::Heartbeat(message.timestamp.ok_or_else(no_message)?),
        "device_joined" | "device_left" => Said::Presence,
        other => Said::Unwanted(other.to_owned()),
    })
}

/// The `n` of an update, wherever its value stands: the first one also makes `/updates`.
fn number(text: &[u8]) -> Option<u64> {
    const FIELD: &[u8] = b"\"n\":";
    let at = text.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&text[at..at + digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Said, read};

    #[test]
    fn messages_are_told_apart_whatever_else_they_hold() {
        let delta = br#"{"type":"state_delta","sessionId":"s","version":7,"epoch":1,"delta":{"operations":[{"op":"add","path":"/updates","value":{"12":{"n":42,"text":"t"}}}]},"deviceId":"d"}"#;
        assert_eq!(read(delta).expect("a message"), Said::Delta { version: 7, number: 42 });
        let ack = br#"{"type":"state_ack","sessionId":"s","version":8}"#;
        assert_eq!(read(ack).expect("a message"), Said::Ack(8));
        assert_eq!(read(br#"{"type":"heartbeat_ack","timestamp":5}"#).expect("a message"), Said::Heartbeat(5));
        let error = br#"{"type":"error","code":"busy"}"#;
        assert_eq!(read(error).expect("a message"), Said::Unwanted("error".into()));
        read(br#"{"type":"state_delta","version":7}"#).expect_err("without a number");
        read(b"hello").expect_err("no JSON");
    }
}
