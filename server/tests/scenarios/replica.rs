//! A device's copy of one session, kept by the protocol's rules and by nothing else: what breaks them panics.

use bytes::{Bytes, BytesMut};
use syncbridge_codec::{
    Message,
    message::{Position, ResetReason},
};
use syncbridge_document::{Limits, Options, Patch, Value};

/// See the file's head.
pub struct Replica {
    pub session: String,
    pub at: Position,
    pub value: Value,
    /// A document that comes in parts.
    partial: Option<Partial>,
    /// Why it was reset, in order.
    pub resets: Vec<ResetReason>,
    /// Everything up to here is on the server's disk.
    pub durable: u64,
    /// Parts of documents that came.
    pub parts: usize,
}

struct Partial {
    at: Position,
    size: Option<u64>,
    text: BytesMut,
}

impl Replica {
    pub fn new(session: &str) -> Self {
        Self {
            session: session.to_owned(),
            at: Position::default(),
            value: Value::null(),
            partial: None,
            resets: Vec::new(),
            durable: 0,
            parts: 0,
        }
    }

    /// A copy from earlier, of this place and text.
    pub fn kept(session: &str, at: &Position, json: &str) -> Self {
        let mut replica = Self::new(session);
        replica.replace(at.clone(), json.as_bytes());
        replica
    }

    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    pub fn json(&self) -> String {
        String::from_utf8(self.value.to_json()).expect("JSON is UTF-8")
    }

    /// Takes a message about this session; `sent` are the operations of an own update that it answers.
    pub fn take(&mut self, message: &Message, sent: Option<&Bytes>) {
        if self.partial.is_some() {
            return self.take_part(message);
        }
        match message {
            Message::Reset(reset) => {
                assert_eq!(*reset.session, *self.session);
                self.resets.push(reset.reason);
                self.begin(&reset.at, reset.state.as_ref());
            }
            Message::Resumed(resumed) => {
                assert_eq!((&*resumed.session, resumed.after), (&*self.session, self.at.version));
                self.at.epoch = resumed.epoch;
            }
            Message::Delta(delta) => {
                assert_eq!(*delta.session, *self.session);
                self.apply(&delta.at, &delta.operations);
            }
            // A withheld one comes after its own Delta.
            Message::Accepted(accepted) if accepted.changed && accepted.at.version > self.at.version => {
                assert_eq!(*accepted.session, *self.session);
                let operations = accepted.operations.as_ref().or(sent).expect("an update that this client sent");
                self.apply(&accepted.at, operations);
            }
            Message::Durable(durable) => {
                assert!(durable.at.version >= self.durable, "it is cumulative");
                self.durable = durable.at.version;
            }
            _ => {}
        }
    }

    /// Takes a document: this text, or parts that follow.
    pub fn begin(&mut self, at: &Position, state: Option<&Bytes>) {
        match state {
            Some(state) => self.replace(at.clone(), state),
            None => self.partial = Some(Partial { at: at.clone(), size: None, text: BytesMut::new() }),
        }
    }

    fn take_part(&mut self, message: &Message) {
        let partial = self.partial.as_mut().expect("a document that comes in parts");
        match message {
            Message::SnapshotBegin(begin) => {
                assert_eq!((&*begin.session, &begin.at, partial.size), (&*self.session, &partial.at, None));
                partial.size = Some(begin.size);
            }
            Message::SnapshotPart(part) => {
                assert_eq!((&*part.session, part.offset), (&*self.session, partial.text.len() as u64));
                assert!(part.bytes.len() <= syncbridge_codec::SNAPSHOT_PART && !part.bytes.is_empty());
                partial.text.extend_from_slice(&part.bytes);
                self.parts += 1;
            }
            Message::SnapshotEnd(end) => {
                assert_eq!(partial.size, Some(partial.text.len() as u64));
                assert_eq!(end.checksum, crc32c::crc32c(&partial.text));
                let Partial { at, text, .. } = self.partial.take().expect("see above");
                self.replace(at, &text);
            }
            other => panic!("inside a document in parts: {other:?}"),
        }
    }

    fn replace(&mut self, at: Position, state: &[u8]) {
        self.value = Value::parse(state, &Limits::default()).expect("the server sends JSON");
        self.at = at;
    }

    fn apply(&mut self, at: &Position, operations: &[u8]) {
        assert_eq!(at.version, self.at.version + 1, "no gap and no repeat");
        assert!(at.epoch <= self.at.epoch, "what is made up for may be of an older epoch, nothing is of a later one");
        let limits = Limits::default();
        let patch = Patch::parse(operations, &limits).expect("the server sends a JSON Patch");
        patch.apply(&mut self.value, Options::LENIENT, &limits).expect("it applies");
        self.at.version = at.version;
    }
}
