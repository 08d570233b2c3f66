//! Keys of the index. Each begins with its session's name behind its length, so that no name is another's beginning and
//! everything of a session lies together; numbers are big endian, so that their order is the keys'.

use super::Kind;
use crate::Table;

fn push(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(&(text.len() as u32).to_be_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// A session.
pub(in crate::engine::embedded) fn session(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(4 + name.len() + 8);
    push(&mut key, name);
    key
}

/// The rows of one kind of a session.
pub(in crate::engine::embedded) fn part(session_key: &[u8], kind: Kind) -> Vec<u8> {
    let mut key = Vec::with_capacity(session_key.len() + 32);
    key.extend_from_slice(session_key);
    key.push(kind as u8);
    key
}

/// A row with a number behind its other parts.
pub(in crate::engine::embedded) fn numbered(part: &[u8], number: u64) -> Vec<u8> {
    let mut key = part.to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The number at the end of a key.
pub(in crate::engine::embedded) fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// An incarnation, of a part.
pub(in crate::engine::embedded) fn incarnation(part: &[u8], user: &str, incarnation: u128) -> Vec<u8> {
    let mut key = part.to_vec();
    push(&mut key, user);
    key.extend_from_slice(&incarnation.to_be_bytes());
    key
}

/// User and incarnation of a key.
pub(in crate::engine::embedded) fn of_incarnation<'a>(part: &[u8], key: &'a [u8]) -> Option<(&'a str, u128)> {
    let rest = key.strip_prefix(part)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (user, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let (incarnation, _) = rest.split_first_chunk()?;
    Some((std::str::from_utf8(user).ok()?, u128::from_be_bytes(*incarnation)))
}

/// Which kind of row a key of the table of `kind` is.
pub(in crate::engine::embedded) fn kind(kind: Kind, key: &[u8]) -> Option<Kind> {
    if kind.table() != Kind::Head.table() {
        return Some(kind);
    }
    let (length, rest) = key.split_first_chunk()?;
    let part = *rest.get(u32::from_be_bytes(*length) as usize)?;
    [Kind::Head, Kind::Deltas, Kind::Incarnations, Kind::Answers, Kind::Quarantine]
        .into_iter()
        .find(|kind| *kind as u8 == part)
}

/// The session of a key of the tables `sessions` and `documents`.
pub(in crate::engine::embedded) fn name(key: &[u8]) -> Option<&str> {
    let (length, rest) = key.split_first_chunk()?;
    std::str::from_utf8(rest.get(..u32::from_be_bytes(*length) as usize)?).ok()
}

/// A key of a table for people.
pub(in crate::engine::embedded) fn describe(table: usize, key: &[u8]) -> String {
    if key.is_empty() {
        return "the beginning".to_owned();
    }
    let named = [Kind::Head, Kind::Documents].into_iter().any(|kind| kind.table() == table);
    match name(key).filter(|_| named) {
        Some(name) => format!("session {name:?}"),
        None => format!("key {}", key.escape_ascii()),
    }
}

/// A row of a table.
pub(in crate::engine::embedded) fn row(table: Table, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + row.len());
    key.push(table as u8);
    key.extend_from_slice(row);
    key
}

/// When a row is over.
pub(in crate::engine::embedded) fn expiry(at_ms: u64, row_key: &[u8]) -> Vec<u8> {
    let mut key = at_ms.to_be_bytes().to_vec();
    key.extend_from_slice(row_key);
    key
}

/// The first key after all that begin with `prefix`.
pub(in crate::engine::embedded) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// The keys that begin with `prefix`, from `start` on, as bounds of a range.
pub(in crate::engine::embedded) fn within<'a>(
    start: &'a [u8],
    end: Option<&'a [u8]>,
) -> (std::ops::Bound<&'a [u8]>, std::ops::Bound<&'a [u8]>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    (Included(start), end.map_or(Unbounded, Excluded))
}
