//! An honest pair of clients at work while others misbehave: one writes, one update after the other; one reads, and must
//! see every version, in order, over one connection.

use std::net::SocketAddr;

use syncbridge_codec::{
    Message,
    message::{Create, Position, Subscribe, Update},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::support::{
    wire::{Heard, Via, Wire, hello},
    within,
};

/// Where they work.
pub const SESSION: &str = "honest";

/// See the file's head.
pub struct Honest {
    stop: watch::Sender<bool>,
    writer: JoinHandle<u64>,
    reader: JoinHandle<u64>,
}

impl Honest {
    /// Sets them to work.
    pub async fn start(address: SocketAddr, token: &str) -> Self {
        let (mut writer, _) = Wire::greeted(Via::WebSocket, address, hello(token, "w", 1, Vec::new())).await;
        writer.send(Create { counter: 1, session: SESSION.into(), state: r#"{"n":1}"#.into(), ..Create::default() });
        writer.wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
        let (mut reader, _) = Wire::greeted(Via::Quic, address, hello(token, "r", 2, Vec::new())).await;
        reader.send(Subscribe { id: 1, session: SESSION.into(), ..Subscribe::default() });
        reader.wait_for(|message| matches!(message, Message::Reset(_)).then_some(())).await;
        let (stop, stopped) = watch::channel(false);
        Self { stop, writer: tokio::spawn(write(writer, stopped.clone())), reader: tokio::spawn(read(reader)) }
    }

    /// Both are still connected, have lost nothing, and agree.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let written = within("the honest writer", self.writer).await.expect("it was served to the end");
        let read = within("the honest reader", self.reader).await.expect("it was served to the end");
        assert_eq!(read, written);
        assert!(written > 2, "they did nothing: the test shows nothing");
    }
}

/// Until it is told to stop; the last version, which says so to the reader.
async fn write(mut wire: Wire, stop: watch::Receiver<bool>) -> u64 {
    let mut at = Position { epoch: 1, version: 1 };
    loop {
        let last = *stop.borrow();
        let next = at.version + 1;
        let value = if last { "null".to_owned() } else { next.to_string() };
        loop {
            wire.send(Update {
                counter: next,
                session: SESSION.into(),
                base: at.clone(),
                operations: format!(r#"[{{"op":"replace","path":"/n","value":{value}}}]"#).into(),
                ..Update::default()
            });
            let accepted = wire
                .wait_for(|message| match message {
                    Message::Accepted(accepted) => Some(Some(accepted.at)),
                    // A disk that is behind is nobody's fault.
                    Message::Error(error) if error.retryable => Some(None),
                    Message::Error(error) => panic!("{error:?}"),
                    _ => None,
                })
                .await;
            if let Some(accepted) = accepted {
                assert_eq!(accepted.version, next);
                at = accepted;
                break;
            }
        }
        if last {
            return at.version;
        }
    }
}

/// Until the writer's last update; the last version.
async fn read(mut wire: Wire) -> u64 {
    let mut at = 1;
    loop {
        match wire.next().await {
            Heard::Message(Message::Delta(delta)) => {
                assert_eq!(delta.at.version, at + 1, "a gap, or a repeat");
                at += 1;
                let text = String::from_utf8_lossy(&delta.operations).into_owned();
                if text.contains("null") {
                    return at;
                }
                assert!(text.contains(&format!(r#""value":{at}}}"#)), "{text}");
            }
            Heard::Message(Message::Reset(reset)) => panic!("the honest reader was reset: {:?}", reset.reason),
            Heard::Message(_) => {}
            Heard::Ended(end) => panic!("the honest reader was disconnected: {end:?}"),
        }
    }
}
