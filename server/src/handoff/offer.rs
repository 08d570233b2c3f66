//! One handoff that was offered: who may take it for whom, and until when. This is also how storage keeps it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::wire::{Reader, Value, WireError};
use syncbridge_storage::{Table, Write};

use super::code::Digest;
use crate::defaults;

/// An offer's name: random, never used again, and of no use to anybody but this server.
pub type OfferId = u128;

/// See the file's head. Each part that has a `born` or `since` is dead once the thing of that name is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its name.
    pub id: OfferId,
    /// What its code is known by.
    pub code: Digest,
    /// What its token is known by.
    pub token: Digest,
    /// The session.
    pub session: Arc<str>,
    /// Which session of that id ([`crate::session::Meta::born`]).
    pub session_born: u128,
    /// Who made it, and signs in by it.
    pub user: Arc<str>,
    /// Which membership of theirs; 0: none, the session is open to everybody.
    pub since: u64,
    /// The device that it was made on, and which device of that id; `None`: by a call without a device.
    pub device: Option<(Arc<str>, u128)>,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Whether it was used, or is dead for another reason.
    pub used: bool,
}

impl Offer {
    /// When it need not be remembered any more: until then a late comer is told that it was there.
    pub fn forgotten_ms(&self) -> u64 {
        self.expires_ms.saturating_add(defaults::ms(defaults::HANDOFF_GONE))
    }

    /// The row that keeps it.
    pub fn write(&self) -> Write {
        Write::Put {
            table: Table::Handoff,
            key: Bytes::copy_from_slice(&self.id.to_be_bytes()),
            value: self.encode(),
            expires_at_ms: Some(self.forgotten_ms()),
            if_absent: false,
        }
    }

    /// Grows at its end only, like a message.
    fn encode(&self) -> Bytes {
        let text = |text: &Arc<str>| ByteString::from(&**text);
        let mut out = BytesMut::new();
        Bytes::copy_from_slice(&self.code).write(&mut out);
        Bytes::copy_from_slice(&self.token).write(&mut out);
        text(&self.session).write(&mut out);
        self.session_born.write(&mut out);
        text(&self.user).write(&mut out);
        self.since.write(&mut out);
        self.device.as_ref().map(|(device, _)| text(device)).write(&mut out);
        self.device.as_ref().map_or(0, |(_, born)| *born).write(&mut out);
        self.expires_ms.write(&mut out);
        self.used.write(&mut out);
        out.freeze()
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`WireError`] when it is none.
    pub fn decode(key: &[u8], value: Bytes) -> Result<Self, WireError> {
        fn digest(from: &mut Reader) -> Result<Digest, WireError> {
            Bytes::read(from)?.as_ref().try_into().map_err(|_| WireError::OutOfRange)
        }
        fn text(from: &mut Reader) -> Result<Arc<str>, WireError> {
            ByteString::read(from).map(|text| Arc::from(&*text))
        }
        let id = key.try_into().map(OfferId::from_be_bytes).map_err(|_| WireError::OutOfRange)?;
        let from = &mut Reader::new(value);
        let (code, token) = (digest(from)?, digest(from)?);
        let (session, session_born, user) = (text(from)?, Value::read(from)?, text(from)?);
        let since = Value::read(from)?;
        let device: Option<ByteString> = Value::read(from)?;
        let born: u128 = Value::read(from)?;
        let device = device.map(|device| (Arc::from(&*device), born));
        let (expires_ms, is_gone) = (Value::read(from)?, Value::read(from)?);
        Ok(Self { id, code, token, session, session_born, user, since, device, expires_ms, used: is_gone })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offer(device: Option<(Arc<str>, u128)>) -> Offer {
        Offer {
            id: 7 << 100,
            code: [1; 32],
            token: [2; 32],
            session: "todo".into(),
            session_born: 3,
            user: "ann".into(),
            since: 4,
            device,
            expires_ms: 1_000,
            used: true,
        }
    }

    fn row(offer: &Offer) -> (Bytes, Bytes) {
        match offer.write() {
            Write::Put { key, value, .. } => (key, value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_stored_comes_back_and_says_neither_code_nor_token() {
        for offer in [offer(None), offer(Some(("phone".into(), u128::MAX)))] {
            let (key, value) = row(&offer);
            assert_eq!(Offer::decode(&key, value), Ok(offer));
        }
    }

    #[test]
    fn a_row_that_is_cut_is_refused() {
        let (key, value) = row(&offer(Some(("phone".into(), 5))));
        for cut in 0..value.len() {
            assert!(Offer::decode(&key, value.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert!(Offer::decode(&key[1..], value).is_err());
    }
}
