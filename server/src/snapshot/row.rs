//! What storage keeps of a snapshot beside its text, and under which keys. Keys begin with the session's id and when it
//! was made (`Meta::born`), so that a session made again under the same id has none of the former one's.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::wire::{Reader, Value, WireError};

use super::tree::{Hash, Root};

/// A snapshot's name: when it was made, in milliseconds since 1970 (48 bits), and 80 random ones. As text, 32
/// hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u128);

impl Id {
    fn new(now_ms: u64) -> Self {
        Self(u128::from(now_ms) << 80 | fastrand::u128(..) >> 48)
    }

    /// The same, after `latest`, whatever the clock says: two of one millisecond have an order as well.
    pub fn after(latest: Option<Self>, now_ms: u64) -> Self {
        let new = Self::new(now_ms);
        match latest {
            Some(latest) if new <= latest => Self(latest.0.saturating_add(u128::from(fastrand::u64(1..)))),
            _ => new,
        }
    }

    /// The one in a row's key.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        key.last_chunk().map(|bytes| Self(!u128::from_be_bytes(*bytes)))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if plain { u128::from_str_radix(text, 16).map(Self).map_err(|_| ()) } else { Err(()) }
    }
}

/// One making of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope(Bytes);

impl Scope {
    /// Of the session that was `born` then.
    pub fn new(session: &str, born: u128) -> Self {
        let mut prefix = BytesMut::with_capacity(session.len() + 18);
        // Ids have at most 128 bytes. With its length in front no id is the beginning of another's key.
        prefix.put_u16(u16::try_from(session.len()).unwrap_or(u16::MAX));
        prefix.put_slice(session.as_bytes());
        prefix.put_u128(born);
        Self(prefix.freeze())
    }

    /// What the keys of all its rows begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.0
    }

    /// The key of a snapshot. The newest comes first.
    pub(super) fn snapshot(&self, id: Id) -> Bytes {
        self.key(&(!id.0).to_be_bytes())
    }

    /// The key of a chunk.
    pub(super) fn chunk(&self, hash: &Hash) -> Bytes {
        self.key(hash)
    }

    fn key(&self, rest: &[u8]) -> Bytes {
        [&self.0, rest].concat().into()
    }
}

/// What there is to say about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Until when it is there.
    pub expires_ms: u64,
    /// The version that the session had.
    pub version: u64,
    /// Where its text is.
    pub root: Root,
    /// What it is called.
    pub label: Option<String>,
    /// Who made it.
    pub user: Arc<str>,
    /// On which device; empty: on none.
    pub device: Arc<str>,
}

impl About {
    /// The stored form. Grows at its end only, like a message.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.created_ms.write(&mut out);
        self.expires_ms.write(&mut out);
        self.version.write(&mut out);
        out.put_slice(&self.root.hash);
        self.root.height.write(&mut out);
        self.root.size.write(&mut out);
        self.label.as_deref().map(ByteString::from).write(&mut out);
        ByteString::from(&*self.user).write(&mut out);
        ByteString::from(&*self.device).write(&mut out);
        out.freeze()
    }

    /// Reads the stored form.
    pub(super) fn decode(row: Bytes) -> Result<Self, WireError> {
        let from = &mut Reader::new(row);
        let (created_ms, expires_ms, version) = (Value::read(from)?, Value::read(from)?, Value::read(from)?);
        let mut hash = Hash::default();
        hash.copy_from_slice(&from.take(32)?);
        let root = Root { hash, height: Value::read(from)?, size: Value::read(from)? };
        let label = Option::<ByteString>::read(from)?.map(Into::into);
        let (user, device) = (ByteString::read(from)?, ByteString::read(from)?);
        Ok(Self { created_ms, expires_ms, version, root, label, user: (&*user).into(), device: (&*device).into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(label: Option<&str>) -> About {
        let root = Root { hash: [7; 32], height: 2, size: 1 << 20 };
        About {
            created_ms: 1_700_000_000_000,
            expires_ms: 1_700_000_600_000,
            version: 9,
            root,
            label: label.map(Into::into),
            user: "ann".into(),
            device: "".into(),
        }
    }

    #[test]
    fn each_id_comes_after_the_one_before_whatever_the_clock_says() {
        let mut latest = None;
        for now_ms in [5_000, 5_000, 5_000, 4_000, 4_001, 5_000, 5_001] {
            let next = Id::after(latest, now_ms);
            assert!(Some(next) > latest, "{next} at {now_ms} after {latest:?}");
            latest = Some(next);
        }
    }

    #[test]
    fn what_is_stored_comes_back_and_a_part_of_it_is_refused() {
        for about in [about(None), about(Some("before lunch"))] {
            let row = about.encode();
            for cut in 0..row.len() {
                assert!(About::decode(row.slice(..cut)).is_err(), "cut at {cut}");
            }
            let grown = [&row[..], b"what a later version says"].concat();
            assert_eq!(About::decode(grown.into()), Ok(about.clone()));
            assert_eq!(About::decode(row), Ok(about));
        }
    }

    #[test]
    fn an_id_is_its_text_and_nothing_else_is_one() {
        let id = Id::new(1_700_000_000_000);
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = id.to_string();
        for other in ["", "x", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "+"), &text.to_uppercase()] {
            assert!(other.parse::<Id>().is_err() || *other == text, "{other}");
        }
    }

    #[test]
    fn the_newest_comes_first_and_no_session_sees_anothers() {
        let scope = Scope::new("s", 1);
        let (old, new) = (Id::new(1_000), Id::new(2_000));
        assert!(scope.snapshot(new) < scope.snapshot(old));
        assert_eq!(Id::of_key(&scope.snapshot(old)), Some(old));
        for other in [Scope::new("s", 2), Scope::new("s2", 1), Scope::new("", 1)] {
            assert!(!other.snapshot(old).starts_with(scope.prefix()));
            assert!(!scope.snapshot(old).starts_with(other.prefix()));
        }
    }
}
