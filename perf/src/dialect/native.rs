//! SyncBridge's own protocol over plain WebSocket: native frames in binary messages.

use std::net::SocketAddr;

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    Frame, Message, PROTOCOL_VERSION,
    message::{
        Accepted, Close, Conflict, Create, Delta, Draining, Durability, Error as ErrorMessage, Hello, Origin, Ping,
        Pong, Position, Refused, Reset, Scope, Subscribe, Update,
    },
};

use crate::{
    dialect::{Dialect, Heard, Opened, Place, Role, Topic, handshake::Handshake, scan},
    error::{Error, Result},
    wire::websocket,
};

/// The upper half of all incarnations of a run; the lower half is the connection's number. As wide as a real one.
const INCARNATION: u128 = 0x5BBE_0000_0000_0000 << 64;

/// The native dialect about one session.
#[derive(Debug, Clone)]
pub struct Native {
    session: ByteString,
    /// What is appended to a value so that its `Delta` has the size that was asked for.
    padding: String,
}

impl Native {
    /// Speaks about `topic`.
    pub fn new(topic: &Topic) -> Self {
        let mut native = Self { session: topic.name.as_str().into(), padding: String::new() };
        // As a receiver gets it in the middle of a run: four-byte counters, a wall clock, one character of device.
        let sample = Delta {
            session: native.session.clone(),
            at: Position { epoch: 1, version: 100_000 },
            operations: native.operations(0, 100_000),
            device: device(0).into(),
            origin: Origin { incarnation: INCARNATION, counter: 100_000 },
            time_ms: u64::MAX,
        };
        native.padding = "x".repeat(topic.event_bytes.saturating_sub(sample.frame_size()));
        native
    }

    /// Different for each publish, or the change would change nothing.
    fn operations(&self, number: u32, counter: u64) -> Bytes {
        let padding = &self.padding;
        Bytes::from(format!(r#"[{{"op":"add","path":"/n","value":"{number:x}.{counter:08}{padding}"}}]"#))
    }

    /// The session of a user.
    fn session(&self, user: u32) -> ByteString {
        if user == 0 { self.session.clone() } else { format!("{}.{user}", self.session).into() }
    }

    fn connect(server: SocketAddr, role: &Role) -> Result<Handshake> {
        let mut handshake = Handshake::upgrade(server, role.receive_buffer)?;
        handshake.send(Hello {
            min_version: PROTOCOL_VERSION,
            max_version: PROTOCOL_VERSION,
            // Under `--open`: nothing is the shared development user, `test-token-N` the development user N.
            token: if role.user == 0 { String::new() } else { format!("test-token-{}", role.user) }.into(),
            device: device(role.number).into(),
            incarnation: INCARNATION | u128::from(role.number),
            scope: Scope::default(),
            agent: "syncbridge-perf".into(),
            ..Hello::default()
        })?;
        Ok(handshake)
    }
}

/// The device of a connection: one each, since a device has one connection a scope.
fn device(number: u32) -> String {
    format!("{number:x}")
}

/// An answer that is not the one waited for.
fn unexpected(message: &Message) -> Error {
    match message {
        Message::Error(ErrorMessage { name, text, .. }) | Message::Refused(Refused { name, text, .. }) => {
            Error::Server(format!("answered {name}: {text}"))
        }
        other => Error::Server(format!("answered with {other:?}")),
    }
}

impl Dialect for Native {
    fn create(&self, server: SocketAddr, user: u32) -> Result<()> {
        let role = Role { number: u32::MAX, user, receive_buffer: None };
        let mut handshake = Self::connect(server, &role)?;
        loop {
            match handshake.next()? {
                Message::Welcome(_) => handshake.send(Create {
                    counter: 1,
                    session: self.session(user),
                    state: Bytes::from_static(b"{\"n\":\"\"}"),
                    ..Create::default()
                })?,
                Message::Created(_) => return handshake.send(Close::default()),
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn open(&self, server: SocketAddr, role: &Role) -> Result<Opened> {
        let mut handshake = Self::connect(server, role)?;
        let mut heartbeat_ms = 0;
        loop {
            match handshake.next()? {
                Message::Welcome(welcome) => {
                    heartbeat_ms = welcome.heartbeat_ms;
                    handshake.send(Subscribe { id: 1, session: self.session(role.user), ..Subscribe::default() })?;
                }
                Message::Reset(Reset { at, state: Some(_), .. }) => {
                    let at = Place { epoch: at.epoch, seq: at.version };
                    return Ok(Opened { stream: handshake.stream, rest: handshake.read, at, heartbeat_ms });
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    fn publish(&self, number: u32, counter: u64, at: Place, out: &mut Vec<u8>) {
        let update = Update {
            counter,
            session: self.session.clone(),
            base: Position { epoch: at.epoch, version: at.seq },
            operations: self.operations(number, counter),
            durability: Durability::Accepted,
            on_conflict: None,
            after: None,
            lenient: true,
        };
        websocket::write_masked(out, websocket::BINARY, &Message::from(update).to_frame());
    }

    fn heartbeat(&self, out: &mut Vec<u8>) {
        websocket::write_masked(out, websocket::BINARY, &Message::from(Ping { nonce: 1 }).to_frame());
    }

    fn hear(&self, bytes: &[u8], heard: &mut Vec<Heard>, replies: &mut Vec<u8>) -> Result<usize> {
        let mut taken = 0;
        while let Some(head) = websocket::read_head(&bytes[taken..])? {
            let start = taken + head.size;
            let Some(payload) = bytes.get(start..start + head.payload) else { break };
            match head.opcode {
                websocket::BINARY => hear_frames(payload, heard, replies)?,
                websocket::PING => websocket::write_masked(replies, websocket::PONG, payload),
                websocket::PONG => {}
                websocket::CLOSE => return Err(closed(payload)),
                opcode => return Err(Error::Server(format!("sent opcode {opcode}"))),
            }
            taken = start + head.payload;
        }
        Ok(taken)
    }
}

/// What a close frame says.
fn closed(payload: &[u8]) -> Error {
    let (code, reason) = payload.split_at_checked(2).unwrap_or_default();
    let code = code.iter().fold(0u16, |code, byte| (code << 8) | u16::from(*byte));
    Error::Server(format!("closed with code {code} {}", String::from_utf8_lossy(reason)))
}

fn hear_frames(mut payload: &[u8], heard: &mut Vec<Heard>, replies: &mut Vec<u8>) -> Result<()> {
    while !payload.is_empty() {
        let (kind, body, taken) = scan::first_frame(payload)?;
        match kind {
            Delta::KIND => {
                let delta = scan::delta(body).ok_or_else(|| Error::Server("sent a broken Delta".into()))?;
                let publisher = delta.incarnation as u32;
                heard.push(Heard::Event { seq: delta.version, publisher, counter: delta.counter });
            }
            Accepted::KIND => {
                let accepted = scan::accepted(body).ok_or_else(|| Error::Server("sent a broken Accepted".into()))?;
                if !accepted.changed {
                    return Err(Error::Server(format!("applied update {} as no change", accepted.counter)));
                }
                heard.push(Heard::Own { seq: accepted.version, counter: accepted.counter });
            }
            _ => hear_other(kind, body, heard, replies)?,
        }
        payload = &payload[taken..];
    }
    Ok(())
}

/// Everything that is rare.
fn hear_other(kind: u64, body: &[u8], heard: &mut Vec<Heard>, replies: &mut Vec<u8>) -> Result<()> {
    if matches!(kind, Conflict::KIND | Draining::KIND | Close::KIND | ErrorMessage::KIND | Refused::KIND) {
        let frame = Frame { kind, body: Bytes::copy_from_slice(body) };
        let message = Message::decode(frame).map_err(|error| Error::Server(format!("sent {error}")))?;
        return Err(message.as_ref().map_or_else(|| Error::Server(format!("sent kind {kind:#x}")), unexpected));
    }
    match kind {
        Ping::KIND => {
            let Ping { nonce } =
                Ping::decode(Bytes::copy_from_slice(body)).map_err(|error| Error::Server(format!("sent {error}")))?;
            websocket::write_masked(replies, websocket::BINARY, &Message::from(Pong { nonce }).to_frame());
        }
        Reset::KIND => {
            let reset =
                Reset::decode(Bytes::copy_from_slice(body)).map_err(|error| Error::Server(format!("sent {error}")))?;
            heard.push(Heard::Snapshot { seq: reset.at.version });
        }
        // Pong, and what other scenarios may have asked for: nothing of it is counted.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use syncbridge_codec::{
        Message,
        message::{Accepted, Delta, Error as ErrorMessage, Origin, Ping, Position, Reset, Update},
    };

    use super::{Dialect, Heard, INCARNATION, Native, Topic, device, scan, websocket};
    use crate::dialect::Place;

    fn native() -> Native {
        Native::new(&Topic { name: "perf".into(), event_bytes: 128 })
    }

    fn delta(operations: Bytes) -> Delta {
        Delta {
            session: "perf".into(),
            at: Position { epoch: 1, version: 90_000 },
            operations,
            device: device(0).into(),
            origin: Origin { incarnation: INCARNATION | 7, counter: 70_000 },
            time_ms: 1_800_000_000_000,
        }
    }

    /// Several native messages in one WebSocket message.
    fn message(messages: &[Message]) -> Vec<u8> {
        let frames: Vec<u8> = messages.iter().flat_map(Message::to_frame).collect();
        let mut out = Vec::new();
        websocket::write_head(&mut out, websocket::BINARY, frames.len(), None);
        out.extend_from_slice(&frames);
        out
    }

    #[test]
    fn a_published_update_makes_an_event_of_the_size_asked_for() {
        let mut out = Vec::new();
        native().publish(0, 70_000, Place { epoch: 1, seq: 9 }, &mut out);
        let head = websocket::read_head(&out).expect("valid").expect("whole");
        let mut payload = out.split_off(head.size);
        websocket::apply_mask(&mut payload, head.mask.expect("masked"));
        let (kind, body, _) = scan::first_frame(&payload).expect("whole");
        assert_eq!(kind, Update::KIND);
        let update = Update::decode(Bytes::copy_from_slice(body)).expect("an update");
        assert_eq!((update.base.version, update.counter), (9, 70_000));
        assert_eq!(delta(update.operations).frame_size(), 128);
    }

    #[test]
    fn all_frames_of_a_message_are_heard_and_an_unfinished_one_is_left() {
        let accepted =
            Accepted { counter: 3, at: Position { epoch: 1, version: 12 }, changed: true, ..Accepted::default() };
        let reset = Reset { at: Position { epoch: 1, version: 20 }, ..Reset::default() };
        let first = message(&[delta(Bytes::new()).into(), accepted.into(), Ping { nonce: 5 }.into()]);
        let second = message(&[reset.into()]);
        let bytes = [first.as_slice(), &second].concat();
        let (mut heard, mut replies) = (Vec::new(), Vec::new());
        assert_eq!(native().hear(&bytes[..bytes.len() - 1], &mut heard, &mut replies).expect("valid"), first.len());
        assert!(!replies.is_empty(), "a ping is answered");
        assert_eq!(native().hear(&second, &mut heard, &mut replies).expect("valid"), second.len());
        let expected = [
            Heard::Event { seq: 90_000, publisher: 7, counter: 70_000 },
            Heard::Own { seq: 12, counter: 3 },
            Heard::Snapshot { seq: 20 },
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn an_error_an_unchanged_update_and_a_close_end_the_run() {
        let unchanged = Accepted::default();
        let close = [0x88, 2, 0x0f, 0xa0];
        let error = ErrorMessage { name: "busy".into(), ..ErrorMessage::default() };
        for bytes in [message(&[unchanged.into()]), message(&[error.into()]), close.to_vec()] {
            native().hear(&bytes, &mut Vec::new(), &mut Vec::new()).expect_err("not a delivery");
        }
    }
}
