//! Bytes of writes and of index values: lengths and numbers as LEB128, byte strings behind their length. Pure functions;
//! a reader of damaged bytes gets `None`, never a panic and never more memory than the input has bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Applied, Table, Write};

/// Appends a number.
pub(in crate::engine) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a byte string.
pub(in crate::engine) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_op(out: &mut Vec<u8>, op: Option<&Applied>) {
    let Some(op) = op else {
        out.push(0);
        return;
    };
    out.push(1);
    put_applied(out, op);
}

fn put_applied(out: &mut Vec<u8>, op: &Applied) {
    put_bytes(out, op.user.as_bytes());
    out.extend_from_slice(&op.incarnation.to_le_bytes());
    put_number(out, op.counter);
    put_bytes(out, &op.answer);
}

const CREATE: u8 = 1;
const DELTA: u8 = 2;
const META: u8 = 3;
const CHECKPOINT: u8 = 4;
const DELETE_SESSION: u8 = 5;
const PUT: u8 = 6;
const REMOVE: u8 = 7;
const OP: u8 = 8;
const FORGET: u8 = 9;

/// Appends one write.
pub(in crate::engine) fn put_write(out: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Create { session, epoch, meta, document, op } => {
            out.push(CREATE);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_bytes(out, meta);
            put_bytes(out, document);
            put_op(out, op.as_ref());
        }
        Write::Delta { session, epoch, version, change, op } => {
            out.push(DELTA);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_number(out, *version);
            put_bytes(out, change);
            put_op(out, op.as_ref());
        }
        Write::Op { session, epoch, op } => {
            out.push(OP);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_applied(out, op);
        }
        Write::Forget { session, epoch, user, incarnation } => {
            out.push(FORGET);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_bytes(out, user.as_bytes());
            out.extend_from_slice(&incarnation.to_le_bytes());
        }
        Write::Meta { session, epoch, meta } => {
            out.push(META);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_bytes(out, meta);
        }
        Write::Checkpoint { session, epoch, version, document } => {
            out.push(CHECKPOINT);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
            put_number(out, *version);
            put_bytes(out, document);
        }
        Write::DeleteSession { session, epoch } => {
            out.push(DELETE_SESSION);
            put_bytes(out, session.as_bytes());
            put_number(out, *epoch);
        }
        Write::Put { table, key, value, expires_at_ms, if_absent } => {
            out.push(PUT);
            out.push(*table as u8);
            put_bytes(out, key);
            put_bytes(out, value);
            put_expiry(out, *expires_at_ms);
            out.push(u8::from(*if_absent));
        }
        Write::Remove { table, key } => {
            out.push(REMOVE);
            out.push(*table as u8);
            put_bytes(out, key);
        }
    }
}

/// Appends an expiry: 0 for none, else the milliseconds + 1.
pub(in crate::engine) fn put_expiry(out: &mut Vec<u8>, expires_at_ms: Option<u64>) {
    put_number(out, expires_at_ms.map_or(0, |at| at.saturating_add(1)));
}

/// When a value is over; in a type of its own, because not being readable is another matter.
pub(in crate::engine) struct Expiry(pub Option<u64>);

/// Takes values off the front of bytes.
pub(in crate::engine) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    pub fn owned(&mut self) -> Option<Bytes> {
        self.bytes().map(Bytes::copy_from_slice)
    }

    pub fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    pub fn u128(&mut self) -> Option<u128> {
        Some(u128::from_le_bytes(self.take(16)?.try_into().ok()?))
    }

    /// An expiry as [`put_expiry`] wrote it.
    pub fn expiry(&mut self) -> Option<Expiry> {
        Some(Expiry(self.number()?.checked_sub(1)))
    }

    fn table(&mut self) -> Option<Table> {
        table(self.byte()?)
    }

    fn applied(&mut self) -> Option<Applied> {
        Some(Applied { user: self.text()?, incarnation: self.u128()?, counter: self.number()?, answer: self.owned()? })
    }

    /// An op into `op`, if there is one.
    fn op(&mut self, op: &mut Option<Applied>) -> Option<()> {
        match self.byte()? {
            0 => {}
            1 => *op = Some(self.applied()?),
            _ => return None,
        }
        Some(())
    }

    pub fn write(&mut self) -> Option<Write> {
        let mut made = match self.byte()? {
            CREATE => Write::Create {
                session: self.text()?,
                epoch: self.number()?,
                meta: self.owned()?,
                document: self.owned()?,
                op: None,
            },
            DELTA => Write::Delta {
                session: self.text()?,
                epoch: self.number()?,
                version: self.number()?,
                change: self.owned()?,
                op: None,
            },
            META => Write::Meta { session: self.text()?, epoch: self.number()?, meta: self.owned()? },
            CHECKPOINT => Write::Checkpoint {
                session: self.text()?,
                epoch: self.number()?,
                version: self.number()?,
                document: self.owned()?,
            },
            DELETE_SESSION => Write::DeleteSession { session: self.text()?, epoch: self.number()? },
            PUT => Write::Put {
                table: self.table()?,
                key: self.owned()?,
                value: self.owned()?,
                expires_at_ms: self.expiry()?.0,
                if_absent: self.byte()? == 1,
            },
            REMOVE => Write::Remove { table: self.table()?, key: self.owned()? },
            OP => Write::Op { session: self.text()?, epoch: self.number()?, op: self.applied()? },
            FORGET => Write::Forget {
                session: self.text()?,
                epoch: self.number()?,
                user: self.text()?,
                incarnation: self.u128()?,
            },
            _ => return None,
        };
        if let Write::Create { op, .. } | Write::Delta { op, .. } = &mut made {
            self.op(op)?;
        }
        Some(made)
    }
}

/// The table of a number.
pub(in crate::engine) fn table(number: u8) -> Option<Table> {
    [
        Table::User,
        Table::Credential,
        Table::Device,
        Table::Token,
        Table::Snapshot,
        Table::Chunk,
        Table::Membership,
        Table::Handoff,
        Table::Idempotency,
    ]
    .into_iter()
    .find(|table| *table as u8 == number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn name() -> impl Strategy<Value = Arc<str>> {
        "[a-zé]{0,12}".prop_map(Arc::from)
    }

    fn op() -> impl Strategy<Value = Option<Applied>> {
        proptest::option::of(
            (name(), any::<u128>(), any::<u64>(), bytes()).prop_map(|(user, incarnation, counter, answer)| Applied {
                user,
                incarnation,
                counter,
                answer,
            }),
        )
    }

    fn any_table() -> impl Strategy<Value = Table> {
        (1u8..=9).prop_map(|number| table(number).expect("1 to 9 are tables"))
    }

    pub(in crate::engine) fn any_write() -> impl Strategy<Value = Write> {
        prop_oneof![
            (name(), any::<u64>(), bytes(), bytes(), op()).prop_map(|(session, epoch, meta, document, op)| {
                Write::Create { session, epoch, meta, document, op }
            }),
            (name(), any::<u64>(), any::<u64>(), bytes(), op()).prop_map(|(session, epoch, version, change, op)| {
                Write::Delta { session, epoch, version, change, op }
            }),
            (name(), any::<u64>(), bytes()).prop_map(|(session, epoch, meta)| Write::Meta { session, epoch, meta }),
            (name(), any::<u64>(), any::<u64>(), bytes()).prop_map(|(session, epoch, version, document)| {
                Write::Checkpoint { session, epoch, version, document }
            }),
            (name(), any::<u64>()).prop_map(|(session, epoch)| Write::DeleteSession { session, epoch }),
            (any_table(), bytes(), bytes(), proptest::option::of(0..u64::MAX), any::<bool>()).prop_map(
                |(table, key, value, expires_at_ms, if_absent)| Write::Put {
                    table,
                    key,
                    value,
                    expires_at_ms,
                    if_absent
                }
            ),
            (name(), any::<u64>(), op())
                .prop_filter_map("an op", |(session, epoch, op)| { op.map(|op| Write::Op { session, epoch, op }) }),
            (name(), any::<u64>(), name(), any::<u128>()).prop_map(|(session, epoch, user, incarnation)| {
                Write::Forget { session, epoch, user, incarnation }
            }),
            (any_table(), bytes()).prop_map(|(table, key)| Write::Remove { table, key }),
        ]
    }

    proptest! {
        #[test]
        fn every_write_reads_back_as_it_was(write in any_write()) {
            let mut out = Vec::new();
            put_write(&mut out, &write);
            let mut reader = Reader(&out);
            prop_assert_eq!(reader.write(), Some(write));
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn a_write_cut_short_is_not_a_write(write in any_write(), cut in any::<prop::sample::Index>()) {
            let mut out = Vec::new();
            put_write(&mut out, &write);
            let cut = cut.index(out.len());
            prop_assert_eq!(Reader(&out[..cut]).write(), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader(&bytes);
            while reader.write().is_some() {}
        }
    }
}
