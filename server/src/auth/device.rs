//! A device: what is kept of an installation that a user signs in from, and how.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::wire::{Reader, Value as _, WireError};
use syncbridge_storage::{Table, Write};

/// What a row of [`Table::Device`] is, by its key's first byte.
const ROW: u8 = b'd';
const SEEN_ROW: u8 = b's';

/// A device of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id, chosen by the client; ids are per user.
    pub id: Arc<str>,
    /// What a person calls it; may be empty.
    pub name: Arc<str>,
    /// What it runs on, as it says itself; may be empty.
    pub platform: Arc<str>,
    /// When it was registered, milliseconds since 1970.
    pub created_ms: u64,
    /// Drawn when it was registered: what was given out for a device of this id that was removed since does not fit.
    pub born: u128,
}

impl Device {
    /// One that is registered at `now_ms`.
    pub fn new(id: &str, now_ms: u64) -> Self {
        let empty: Arc<str> = Arc::from("");
        Self { id: id.into(), name: Arc::clone(&empty), platform: empty, created_ms: now_ms, born: fastrand::u128(..) }
    }

    /// Keeps it.
    pub fn put(&self, user: &str) -> Write {
        let mut value = BytesMut::new();
        ByteString::from(&*self.name).write(&mut value);
        ByteString::from(&*self.platform).write(&mut value);
        self.created_ms.write(&mut value);
        self.born.write(&mut value);
        row(Self::key(user, &self.id), value.freeze())
    }

    /// Lets go of it.
    pub fn remove(&self, user: &str) -> [Write; 2] {
        [ROW, SEEN_ROW].map(|kind| Write::Remove { table: Table::Device, key: key(kind, user, &self.id) })
    }

    /// The key of its row.
    pub fn key(user: &str, id: &str) -> Bytes {
        key(ROW, user, id)
    }

    /// What the keys of all of a user's devices begin with. (No user's id has control characters.)
    pub fn prefix(user: &str) -> Bytes {
        key(ROW, user, "")
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`WireError`] when it is none.
    pub fn decode(key: &[u8], value: Bytes) -> Result<Self, WireError> {
        let id = key.iter().position(|byte| *byte == 0).ok_or(WireError::Truncated)?;
        let from = &mut Reader::new(value);
        Ok(Self {
            id: std::str::from_utf8(&key[id + 1..]).map_err(|_| WireError::NotUtf8)?.into(),
            name: Arc::from(&*ByteString::read(from)?),
            platform: Arc::from(&*ByteString::read(from)?),
            created_ms: u64::read(from)?,
            born: u128::read(from)?,
        })
    }
}

/// When a device was last seen (milliseconds since 1970) is a row of its own: it changes often, and nothing hangs on it.
pub fn put_seen(user: &str, id: &str, at_ms: u64) -> Write {
    let mut value = BytesMut::new();
    at_ms.write(&mut value);
    row(seen_key(user, id), value.freeze())
}

/// The key of that row.
pub fn seen_key(user: &str, id: &str) -> Bytes {
    key(SEEN_ROW, user, id)
}

/// Reads that row.
///
/// # Errors
/// [`WireError`] when it is none.
pub fn decode_seen(value: Bytes) -> Result<u64, WireError> {
    u64::read(&mut Reader::new(value))
}

fn key(kind: u8, user: &str, id: &str) -> Bytes {
    [&[kind], user.as_bytes(), &[0], id.as_bytes()].concat().into()
}

const fn row(key: Bytes, value: Bytes) -> Write {
    Write::Put { table: Table::Device, key, value, expires_at_ms: None, if_absent: false }
}
