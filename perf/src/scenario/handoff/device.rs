//! One device with a live connection, which looks on. Waits for what it is told, and checks that nothing is amiss.

use std::net::SocketAddr;

use serde_json::{Value, json};
use syncbridge_codec::{
    Message, PROTOCOL_VERSION,
    message::{Hello, Ping, Pong, Reset, Scope, Subscribe},
};

use crate::{
    dialect::Handshake,
    error::{Error, Result},
};

/// See the file's head.
pub struct Device {
    connection: Handshake,
    native: bool,
}

impl Device {
    /// Connects, signs in and subscribes, by the native protocol or by flat JSON.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn join(server: SocketAddr, native: bool, session: &str, token: &str, device: &str) -> Result<Self> {
        if native {
            Self::join_native(server, session, token, device)
        } else {
            Self::join_flat(server, session, token, device)
        }
    }

    fn join_native(server: SocketAddr, session: &str, token: &str, device: &str) -> Result<Self> {
        let mut connection = Handshake::upgrade(server, None)?;
        connection.send(Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            token: token.into(),
            device: device.into(),
            incarnation: fastrand::u128(..),
            scope: Scope::default(),
            agent: "syncbridge-perf".into(),
            ..Hello::default()
        })?;
        connection.send(Subscribe { id: 1, session: session.into(), notices: true, ..Subscribe::default() })?;
        loop {
            match connection.next()? {
                Message::Welcome(_) => {}
                Message::Reset(Reset { state: Some(_), .. }) => return Ok(Self { connection, native: true }),
                other => return Err(Error::Server(format!("answered {other:?} to a device that joins"))),
            }
        }
    }

    fn join_flat(server: SocketAddr, session: &str, token: &str, device: &str) -> Result<Self> {
        let mut connection = Handshake::upgrade_flat(server)?;
        connection.say(&json!({ "type": "auth", "token": token, "deviceId": device }).to_string())?;
        connection.say(&json!({ "type": "subscribe", "sessionId": session }).to_string())?;
        let mut joined = Self { connection, native: false };
        joined.until("auth_ok")?;
        joined.until("state_sync")?;
        Ok(joined)
    }

    /// Waits for the next handoff that is told: from which device, to which.
    ///
    /// # Errors
    /// When the server says something that has no place here, says nothing, or closes.
    pub fn completed(&mut self) -> Result<(String, String)> {
        if !self.native {
            let told = self.until("handoff_completed")?;
            let device = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
            return Ok((device("fromDeviceId"), device("deviceId")));
        }
        loop {
            match self.connection.next()? {
                Message::HandoffCompleted(told) => {
                    return Ok((told.from.map(|from| from.to_string()).unwrap_or_default(), told.device.to_string()));
                }
                Message::Ping(Ping { nonce }) => self.connection.send(Pong { nonce })?,
                Message::Presence(_) | Message::DeviceJoined(_) | Message::DeviceLeft(_) => {}
                other => return Err(Error::Server(format!("said {other:?} to a device that looks on"))),
            }
        }
    }

    /// The next flat message of this type; news of devices are passed over.
    fn until(&mut self, wanted: &str) -> Result<Value> {
        loop {
            let bytes = self.connection.next_text()?;
            let no_message = || Error::Server(format!("said {}", String::from_utf8_lossy(&bytes)));
            let message: Value = serde_json::from_slice(&bytes).map_err(|_| no_message())?;
            match message["type"].as_str() {
                Some(kind) if kind == wanted => return Ok(message),
                Some("device_joined" | "device_left" | "presence") => {}
                _ => return Err(no_message()),
            }
        }
    }
}
