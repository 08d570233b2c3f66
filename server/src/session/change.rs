//! One change, encoded once: the frame that every device gets and the bytes that storage keeps are the same memory.
//! Never looks into the operations.
//!
//! Stored form: `user` (text of the wire encoding), then the whole native `Delta` frame. So catch-up from storage is a
//! slice of what was read, and replaying knows who made the change.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::{
    message::Delta,
    varint,
    wire::{Reader, Value, WireError},
};

/// A change in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    bytes: Bytes,
    frame_at: usize,
}

/// Why stored bytes are not a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The user or the frame around the message.
    #[error("the change's head: {0}")]
    Head(#[from] WireError),
    /// The frame is cut, or is not a `Delta`.
    #[error("not one whole Delta frame")]
    Frame,
    /// The message.
    #[error("{0}")]
    Message(#[from] syncbridge_codec::ProtocolError),
}

impl Change {
    /// Encodes a change that `user` made.
    pub fn encode(user: &ByteString, delta: &Delta) -> Self {
        let frame_at = user.size();
        let mut bytes = BytesMut::with_capacity(frame_at + delta.frame_size());
        user.write(&mut bytes);
        delta.write_frame(&mut bytes);
        Self { bytes: bytes.freeze(), frame_at }
    }

    /// Takes stored bytes; looks at the user and at where the frame begins, not into it.
    ///
    /// # Errors
    /// [`Malformed`] when there is no `Delta` frame.
    pub fn from_stored(bytes: Bytes) -> Result<Self, Malformed> {
        let user = ByteString::read(&mut Reader::new(bytes.clone()))?;
        let change = Self { frame_at: user.size(), bytes };
        change.body().map(|_| change)
    }

    /// What storage keeps.
    pub fn stored(&self) -> Bytes {
        self.bytes.clone()
    }

    /// What every device gets: one whole native frame.
    pub fn frame(&self) -> Bytes {
        self.bytes.slice(self.frame_at..)
    }

    /// Bytes of the stored form.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Who made it, and the message.
    ///
    /// # Errors
    /// [`Malformed`] when the message is not a `Delta`'s body.
    pub fn decode(&self) -> Result<(ByteString, Delta), Malformed> {
        let user = ByteString::read(&mut Reader::new(self.bytes.clone()))?;
        Ok((user, Delta::decode(self.body()?)?))
    }

    /// The frame of a stored change: for devices that catch up from storage.
    ///
    /// # Errors
    /// [`Malformed`] when there is no `Delta` frame.
    pub fn stored_frame(stored: Bytes) -> Result<Bytes, Malformed> {
        Self::from_stored(stored).map(|change| change.frame())
    }

    fn body(&self) -> Result<Bytes, Malformed> {
        let frame = self.frame();
        let (length, head) = varint::read(&frame).ok_or(Malformed::Frame)?;
        if length != (frame.len() - head) as u64 {
            return Err(Malformed::Frame);
        }
        match varint::read(&frame[head..]) {
            Some((Delta::KIND, size)) => Ok(frame.slice(head + size..)),
            _ => Err(Malformed::Frame),
        }
    }
}

#[cfg(test)]
mod tests {
    use syncbridge_codec::{
        Decoder, Message,
        message::{Origin, Position},
    };

    use super::*;

    fn delta() -> Delta {
        Delta {
            session: "s".into(),
            at: Position { epoch: 7, version: 300 },
            operations: Bytes::from_static(br#"[{"op":"add","path":"/a","value":1}]"#),
            device: "phone".into(),
            origin: Origin { incarnation: u128::MAX, counter: 9 },
            time_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn the_frame_inside_a_stored_change_is_what_the_message_encodes_to() {
        let change = Change::encode(&"ann".into(), &delta());
        assert_eq!(change.frame(), Message::from(delta()).to_frame());
        let mut decoder = Decoder::new(1 << 20);
        decoder.push(change.frame());
        let frame = decoder.next_frame().expect("a frame").expect("whole");
        assert_eq!(Message::decode(frame).expect("a message"), Some(delta().into()));
    }

    #[test]
    fn a_stored_change_gives_back_who_made_what() {
        let stored = Change::encode(&"ann".into(), &delta()).stored();
        assert_eq!(Change::stored_frame(stored.clone()), Ok(Message::from(delta()).to_frame()));
        let change = Change::from_stored(stored).expect("a change");
        assert_eq!(change.decode().expect("decodes"), ("ann".into(), delta()));
    }

    #[test]
    fn every_cut_of_a_stored_change_is_refused_and_none_panics() {
        let stored = Change::encode(&"ann".into(), &delta()).stored();
        for cut in 0..stored.len() {
            assert!(Change::from_stored(stored.slice(..cut)).is_err(), "cut at {cut}");
        }
        let mut longer = BytesMut::from(&stored[..]);
        longer.extend_from_slice(b"x");
        assert_eq!(Change::from_stored(longer.freeze()), Err(Malformed::Frame));
    }
}
