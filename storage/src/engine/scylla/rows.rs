//! Rows as bytes: those of a session's partition, its columns, and rows of tables. Every value ends in a CRC over which row
//! it is and what it holds: a row that came to another place, or was cut, is found when it is read.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes};

use super::{
    super::embedded::encoding::{Reader, put_bytes, put_number},
    chart::Who,
};
use crate::{DEDUP_WINDOW, EpochStart, Error, StoredDelta, Table};

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum Kind {
    /// Deltas of versions that follow one another; its number is the last.
    Run = 1,
    /// Answers of one incarnation.
    Answers = 2,
    /// A piece of the document.
    Document = 3,
}

/// Bytes of a document in one row: few rows, and none so large that a page of them is.
const PIECE: usize = 256 << 10;

/// The pieces of a document; at least one.
pub(super) fn pieces(document: &Bytes) -> impl Iterator<Item = &[u8]> {
    let empty = document.is_empty().then_some(&[][..]);
    document.chunks(PIECE).chain(empty)
}

/// A row to be.
pub(super) struct NewRow {
    pub kind: Kind,
    pub name: Bytes,
    pub number: u64,
    pub low: u64,
    pub high: u64,
    pub count: usize,
    pub at: u64,
    pub value: Vec<u8>,
}

fn crc(kind: Kind, name: &[u8], number: u64, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(kind as u32, name);
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &number.to_le_bytes()), value)
}

impl NewRow {
    /// Its value with the CRC behind it.
    pub fn sealed(mut self) -> Bytes {
        let crc = crc(self.kind, &self.name, self.number, &self.value);
        self.value.put_u32_le(crc);
        self.value.into()
    }
}

/// The value of a row without its CRC; `None` when that is wrong.
pub(super) fn open(kind: Kind, name: &[u8], number: u64, sealed: &Bytes) -> Option<Bytes> {
    unsealed(sealed, |value| crc(kind, name, number, value))
}

/// A column of a session's partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Column {
    /// What the server keeps of the session.
    Meta = 1,
    /// Where its epochs began.
    Epochs = 2,
}

fn column_crc(column: Column, session: &str, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[column as u8]), &(session.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, session.as_bytes()), value)
}

/// A column's value with its CRC behind it.
pub(super) fn seal_column(column: Column, session: &str, value: &[u8]) -> Bytes {
    [value, &column_crc(column, session, value).to_le_bytes()].concat().into()
}

/// A column's value without its CRC; `None` when that is wrong.
pub(super) fn open_column(column: Column, session: &str, sealed: &Bytes) -> Option<Bytes> {
    unsealed(sealed, |value| column_crc(column, session, value))
}

fn row_crc(table: Table, key: &[u8], expires_at_ms: Option<u64>, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&[table as u8]), &(key.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc, key);
    let crc = match expires_at_ms {
        None => crc32c::crc32c_append(crc, &[0]),
        Some(at) => crc32c::crc32c_append(crc32c::crc32c_append(crc, &[1]), &at.to_le_bytes()),
    };
    crc32c::crc32c_append(crc, value)
}

/// The value of a table's row with its CRC behind it. When the row expires is under it, too: a right that ended must not
/// come back by one changed byte, nor one that was taken away be forgotten early.
pub(super) fn seal_row(table: Table, key: &[u8], expires_at_ms: Option<u64>, value: &[u8]) -> Bytes {
    [value, &row_crc(table, key, expires_at_ms, value).to_le_bytes()].concat().into()
}

/// The value of a table's row without its CRC; `None` when that is wrong.
pub(super) fn open_row(table: Table, key: &[u8], expires_at_ms: Option<u64>, sealed: &Bytes) -> Option<Bytes> {
    unsealed(sealed, |value| row_crc(table, key, expires_at_ms, value))
}

fn unsealed(sealed: &Bytes, crc: impl Fn(&[u8]) -> u32) -> Option<Bytes> {
    let at = sealed.len().checked_sub(4)?;
    let found = u32::from_le_bytes(sealed[at..].try_into().ok()?);
    (found == crc(&sealed[..at])).then(|| sealed.slice(..at))
}

/// The error of a table's row that does not match its CRC.
pub(super) fn broken(table: Table, key: &[u8]) -> Error {
    Error::Damaged { what: format!("row {} of table {table:?}", key.escape_ascii()) }
}

/// Appends a delta to a run.
pub(super) fn put_delta(run: &mut Vec<u8>, epoch: u64, change: &[u8]) {
    put_number(run, epoch);
    put_bytes(run, change);
}

/// The deltas of a run that begins with version `first` and ends with `last`.
pub(super) fn deltas(first: u64, last: u64, run: &[u8]) -> Option<Vec<StoredDelta>> {
    let mut from = Reader(run);
    let mut deltas = Vec::new();
    for version in first..=last {
        deltas.push(StoredDelta { version, epoch: from.number()?, change: from.owned()? });
    }
    from.0.is_empty().then_some(deltas)
}

/// The name of an incarnation's rows.
pub(super) fn answers_name((user, incarnation): &Who) -> Bytes {
    [&incarnation.to_be_bytes()[..], user.as_bytes()].concat().into()
}

/// Whose rows have this name.
pub(super) fn who(name: &[u8]) -> Option<Who> {
    let (incarnation, user) = name.split_first_chunk()?;
    Some((Arc::from(std::str::from_utf8(user).ok()?), u128::from_be_bytes(*incarnation)))
}

/// Sorts answers by counter and lets go of those that the window does not hold.
pub(super) fn newest(answers: &mut Vec<(u64, Bytes)>) {
    // Of one counter that is there twice, the later one counts.
    answers.reverse();
    answers.sort_by_key(|(counter, _)| *counter);
    answers.dedup_by_key(|(counter, _)| *counter);
    answers.drain(..answers.len().saturating_sub(DEDUP_WINDOW));
}

/// Answers as a value.
pub(super) fn answers(answers: &[(u64, Bytes)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(answers.iter().map(|(_, answer)| answer.len() + 12).sum());
    for (counter, answer) in answers {
        put_number(&mut out, *counter);
        put_bytes(&mut out, answer);
    }
    out
}

/// Answers from a value.
pub(super) fn read_answers(value: &[u8]) -> Option<Vec<(u64, Bytes)>> {
    let mut from = Reader(value);
    let mut answers = Vec::new();
    while !from.0.is_empty() {
        answers.push((from.number()?, from.owned()?));
    }
    Some(answers)
}

/// Epoch starts as a value.
pub(super) fn epochs(epochs: &[EpochStart]) -> Bytes {
    let mut out = Vec::with_capacity(epochs.len() * 8);
    for start in epochs {
        put_number(&mut out, start.epoch);
        put_number(&mut out, start.base);
    }
    out.into()
}

/// Epoch starts from a value.
pub(super) fn read_epochs(value: &[u8]) -> Option<Vec<EpochStart>> {
    let mut from = Reader(value);
    let mut epochs = Vec::new();
    while !from.0.is_empty() {
        epochs.push(EpochStart { epoch: from.number()?, base: from.number()? });
    }
    Some(epochs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_changed_or_moved_is_not_read() {
        let row = || NewRow {
            kind: Kind::Run,
            name: Bytes::new(),
            number: 7,
            low: 6,
            high: 7,
            count: 4,
            at: 0,
            value: b"abcd".to_vec(),
        };
        let sealed = row().sealed();
        assert_eq!(open(Kind::Run, b"", 7, &sealed).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(open(Kind::Run, b"", 8, &sealed), None);
        assert_eq!(open(Kind::Document, b"", 7, &sealed), None);
        assert_eq!(open(Kind::Run, b"", 7, &sealed.slice(..sealed.len() - 1)), None);
        assert_eq!(open(Kind::Run, b"", 7, &Bytes::new()), None);
    }

    #[test]
    fn a_table_s_row_or_a_column_that_was_changed_or_moved_is_not_read() {
        let sealed = seal_row(Table::Token, b"key", Some(7), b"value");
        assert_eq!(open_row(Table::Token, b"key", Some(7), &sealed).as_deref(), Some(&b"value"[..]));
        assert_eq!(open_row(Table::Token, b"key", Some(8), &sealed), None);
        assert_eq!(open_row(Table::Token, b"key", None, &sealed), None);
        assert_eq!(open_row(Table::Token, b"kez", Some(7), &sealed), None);
        assert_eq!(open_row(Table::User, b"key", Some(7), &sealed), None);
        assert_eq!(open_row(Table::Token, b"key", Some(7), &sealed.slice(..8)), None);
        assert_eq!(open_row(Table::Token, b"key", Some(7), &Bytes::new()), None);
        // Its own key and value, cut elsewhere.
        assert_eq!(open_row(Table::Token, b"keyv", None, &seal_row(Table::Token, b"key", None, b"valu")), None);
        let sealed = seal_column(Column::Meta, "s", b"value");
        assert_eq!(open_column(Column::Meta, "s", &sealed).as_deref(), Some(&b"value"[..]));
        assert_eq!(open_column(Column::Meta, "t", &sealed), None);
        assert_eq!(open_column(Column::Epochs, "s", &sealed), None);
        assert_eq!(open_column(Column::Meta, "s", &Bytes::from_static(b"val")), None);
    }

    #[test]
    fn a_run_reads_back_and_one_that_was_cut_does_not() {
        let mut run = Vec::new();
        put_delta(&mut run, 3, b"one");
        put_delta(&mut run, 4, b"");
        let read = deltas(8, 9, &run).expect("whole");
        assert_eq!(
            read.iter().map(|d| (d.version, d.epoch, &d.change[..])).collect::<Vec<_>>(),
            [(8, 3, &b"one"[..]), (9, 4, &b""[..])]
        );
        assert_eq!(deltas(8, 10, &run), None);
        assert_eq!(deltas(8, 8, &run), None);
    }

    #[test]
    fn the_window_keeps_the_newest_answers_and_the_later_of_two() {
        let mut some: Vec<_> = (0..DEDUP_WINDOW as u64 + 5).map(|n| (n, Bytes::from_static(b"x"))).collect();
        some.push((9, Bytes::from_static(b"again")));
        newest(&mut some);
        assert_eq!(some.len(), DEDUP_WINDOW);
        assert_eq!(some[0].0, 5);
        assert_eq!(some[4], (9, Bytes::from_static(b"again")));
    }
}
