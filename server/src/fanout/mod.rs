//! Fan-out, sans-IO: which bytes of which topic a connection gets next. Never makes a system call and never allocates
//! for a delivery; `shard/` does the sending.

mod ring;

use std::sync::OnceLock;

use bytes::Bytes;
use syncbridge_codec::{Message, frame::Frames, json};

pub use ring::{Ring, Slot};

use crate::session::ConnId;

/// A topic of a live session, unique in this process and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u64);

/// What an event's bytes are, for those who read it. A topic has one ring of each form in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Native frames: in binary messages on a WebSocket.
    Native,
    /// Flat JSON, in text messages.
    Json,
}

impl Form {
    /// Every form.
    pub const ALL: [Self; 2] = [Self::Native, Self::Json];
}

/// One encoded item of a topic, shared by all shards that are interested in it.
#[derive(Debug)]
pub struct Event {
    /// The topic.
    pub topic: TopicId,
    /// Its place; one more than the event before it.
    pub seq: u64,
    /// The whole native frame.
    pub frame: Bytes,
    /// The connection that caused it, and the frame that stands in its stream in place of `frame`.
    pub origin: Option<(ConnId, Bytes)>,
    /// The connection that caused it, when its answer is withheld.
    pub withheld: Option<ConnId>,
    /// The same as JSON, once somebody asked for it.
    pub text: OnceLock<Bytes>,
}

impl Event {
    /// Its bytes in a form; encoded once for all shards.
    pub fn payload(&self, form: Form) -> Bytes {
        match form {
            Form::Native => self.frame.clone(),
            Form::Json => self.text.get_or_init(|| text(&self.frame)).clone(),
        }
    }
}

/// The message of one whole native frame that the server itself made.
pub fn message(frame: &Bytes) -> Option<Message> {
    let decoded = Frames::new(frame.clone(), usize::MAX).next()?.and_then(Message::decode);
    if let Err(error) = &decoded {
        tracing::error!(%error, "a frame of this server cannot be read");
    }
    decoded.ok().flatten()
}

fn text(frame: &Bytes) -> Bytes {
    message(frame).map_or_else(Bytes::new, |message| json::encode(&message, &[]))
}
