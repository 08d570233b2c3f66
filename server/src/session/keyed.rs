//! Requests that come again under the client's own key (JSON `id`, REST `Idempotency-Key`): each has its effect once, and
//! a resend gets the recorded answer. The record is a row of the store, committed with the effect.
//!
//! Exact without reading the store under the lock: what memory does not know is read off the shard, and whatever is
//! recorded after such a read began stays in memory until the read has come back. A record leaves memory only when it
//! is durable and no read is under way that began before it was.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use bytes::{Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use syncbridge_codec::wire::{Reader, Value, WireError};
use syncbridge_storage::{Table, Write};

use super::{dedup::Record, defaults::KEYED_KEPT_MS};

/// An idempotent request: which it is, and what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyed {
    /// SHA-256 of (user, device, route, key).
    pub key: [u8; 32],
    /// SHA-256 of what is asked.
    pub body: [u8; 32],
}

/// What is recorded of an idempotent request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// SHA-256 of what was asked.
    pub body: [u8; 32],
    /// Which making of the session it was about (`Meta::born`); 0: about none.
    pub born: u128,
    /// The answer; what is in it is the route's matter.
    pub answer: Bytes,
}

/// Bytes before a row's answer.
const HEAD: usize = 32 + 16;

impl Keyed {
    /// The request `key` of a user's device (empty: of a call without one) to a route. The route names the session, if
    /// it is about one; `body` is what is asked, in parts.
    pub fn new(user: &str, device: &str, route: &str, key: &str, body: &[&[u8]]) -> Self {
        Self { key: digest(&[user, device, route, key].map(str::as_bytes)), body: digest(body) }
    }

    /// The row that remembers it.
    pub fn row(&self, born: u128, answer: &[u8], wall_ms: u64) -> Write {
        let mut value = BytesMut::with_capacity(HEAD + answer.len());
        value.extend_from_slice(&self.body);
        value.extend_from_slice(&born.to_le_bytes());
        value.extend_from_slice(answer);
        Write::Put {
            table: Table::Idempotency,
            key: Bytes::copy_from_slice(&self.key),
            value: value.freeze(),
            expires_at_ms: Some(wall_ms + KEYED_KEPT_MS),
            if_absent: false,
        }
    }

    /// The row of an update that made, or found, `version`.
    pub(super) fn row_of_update(&self, born: u128, version: u64, wall_ms: u64) -> Write {
        let mut answer = BytesMut::with_capacity(version.size());
        version.write(&mut answer);
        self.row(born, &answer, wall_ms)
    }
}

impl Recorded {
    /// Reads a row.
    ///
    /// # Errors
    /// [`WireError`] when it is not one.
    pub fn read(row: &Bytes) -> Result<Self, WireError> {
        let (body, rest) = row.split_first_chunk().ok_or(WireError::Truncated)?;
        let born = rest.first_chunk().ok_or(WireError::Truncated)?;
        Ok(Self { body: *body, born: u128::from_le_bytes(*born), answer: row.slice(HEAD..) })
    }

    /// The version that an update made, or found.
    pub(super) fn version(&self) -> Result<u64, WireError> {
        Value::read(&mut Reader::new(self.answer.clone()))
    }
}

/// SHA-256 of parts, such that no other parts have the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A read of the store that is under way, or whose result is still to be used. While it lives, whatever was recorded
/// since it began stays in memory.
#[derive(Debug, Clone)]
pub struct Read(Arc<()>);

/// What the store has of a key.
#[derive(Debug)]
pub struct Found {
    /// The row.
    pub row: Result<Option<Bytes>, syncbridge_codec::ErrorCode>,
    /// Keeps true that memory has all that came after.
    pub read: Read,
}

/// What memory knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing; the store may.
    Nothing,
    /// It was applied.
    Applied(Record),
    /// It was used for another request.
    Mismatch,
}

#[derive(Debug)]
struct Entry {
    body: [u8; 32],
    record: Record,
}

/// The keyed updates of a session that the store may not have yet, or that a read of it may have missed. At most those
/// under way to the disk, and those recorded while the oldest read is under way.
#[derive(Debug, Default)]
pub struct KeyedOps {
    entries: HashMap<[u8; 32], Entry>,
    /// The keys in the order of their commits; with each that is durable, the number of the first read that sees it.
    order: VecDeque<([u8; 32], u64, Option<u64>)>,
    /// Reads under way, by their numbers.
    reads: VecDeque<(u64, Weak<()>)>,
    next_read: u64,
}

impl KeyedOps {
    /// What memory knows of a request.
    pub fn known(&self, keyed: &Keyed) -> Known {
        match self.entries.get(&keyed.key) {
            None => Known::Nothing,
            Some(entry) if entry.body == keyed.body => Known::Applied(entry.record),
            Some(_) => Known::Mismatch,
        }
    }

    /// A read of the store begins now.
    pub fn begin_read(&mut self) -> Read {
        let read = Read(Arc::new(()));
        self.reads.push_back((self.next_read, Arc::downgrade(&read.0)));
        self.next_read += 1;
        read
    }

    /// A request had its effect, with the commit that `record` names.
    pub fn applied(&mut self, keyed: &Keyed, record: Record) {
        self.entries.insert(keyed.key, Entry { body: keyed.body, record });
        self.order.push_back((keyed.key, record.commit, None));
    }

    /// Every commit up to `commit` is durable.
    pub fn committed(&mut self, commit: u64) {
        self.reads.retain(|(_, read)| read.strong_count() > 0);
        for (.., seen_by) in self.order.iter_mut().take_while(|(_, of, _)| *of <= commit) {
            seen_by.get_or_insert(self.next_read);
        }
        let oldest = self.reads.front().map_or(self.next_read, |(number, _)| *number);
        while let Some((key, ..)) = self.order.pop_front_if(|(.., seen_by)| seen_by.is_some_and(|by| by <= oldest)) {
            self.entries.remove(&key);
        }
    }

    /// Requests in memory.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyed(key: &str) -> Keyed {
        Keyed::new("ann", "phone", "PUT sessions/s", key, &[b"{}"])
    }

    fn record(commit: u64) -> Record {
        Record { counter: 0, version: 2, commit }
    }

    #[test]
    fn neither_the_user_nor_the_device_nor_the_route_nor_the_parts_of_a_body_run_into_each_other() {
        let of = |user, device, route, key| Keyed::new(user, device, route, key, &[]).key;
        let keys = [of("a", "b", "c", "d"), of("ab", "", "c", "d"), of("a", "bc", "", "d"), of("a", "b", "cd", "")];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at}");
        }
        assert_ne!(Keyed::new("", "", "", "", &[b"a", b"b"]).body, Keyed::new("", "", "", "", &[b"ab", b""]).body);
    }

    #[test]
    fn a_row_gives_back_what_was_recorded_and_a_cut_one_is_refused() {
        let Write::Put { value, expires_at_ms, .. } = keyed("k").row(7, b"answer", 1_000) else { panic!("a row") };
        assert_eq!(expires_at_ms, Some(1_000 + KEYED_KEPT_MS));
        let recorded = Recorded { body: keyed("k").body, born: 7, answer: Bytes::from_static(b"answer") };
        assert_eq!(Recorded::read(&value), Ok(recorded));
        for cut in 0..HEAD {
            assert!(Recorded::read(&value.slice(..cut)).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_record_stays_until_it_is_durable_and_no_read_is_left_that_began_before() {
        let mut ops = KeyedOps::default();
        let early = ops.begin_read();
        ops.applied(&keyed("a"), record(1));
        let while_under_way = ops.begin_read();
        ops.committed(0);
        assert_eq!(ops.known(&keyed("a")), Known::Applied(record(1)), "it is not durable");
        ops.committed(1);
        let late = ops.begin_read();
        drop(early);
        ops.committed(1);
        assert_eq!(ops.known(&keyed("a")), Known::Applied(record(1)), "a read may have missed it");
        drop(while_under_way);
        ops.committed(1);
        assert_eq!((ops.known(&keyed("a")), ops.count()), (Known::Nothing, 0), "the read that is left began after it");
        drop(late);
    }

    #[test]
    fn a_read_that_is_given_up_holds_nothing_back() {
        let mut ops = KeyedOps::default();
        drop(ops.begin_read());
        ops.applied(&keyed("a"), record(1));
        ops.committed(1);
        assert_eq!((ops.count(), ops.reads.len()), (0, 0));
    }

    #[test]
    fn the_same_key_with_another_body_is_a_mismatch() {
        let mut ops = KeyedOps::default();
        ops.applied(&keyed("a"), record(1));
        let other = Keyed { body: [9; 32], ..keyed("a") };
        assert_eq!(ops.known(&other), Known::Mismatch);
    }
}
