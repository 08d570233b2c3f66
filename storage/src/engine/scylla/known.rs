//! A partition as this engine knows it, with what is to be written to it next: the same two steps, judge and flip, for a
//! session and for rows of tables.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{
    chart::{Chart, Draft},
    database::{Database, Face, Failure, Follows, Nonce, Place, Value, Writes, nonce, to_nonce},
    rows::seal_row,
};
use crate::{
    Error, Write,
    rules::{Head, Presence},
};

/// Rows of which it is remembered whether they are there; above it all are forgotten. 4,096 × ~60 B = 240 KiB a bucket.
const PRESENCES: usize = 4096;

/// Rows of a table.
#[derive(Default)]
pub(super) struct Rows {
    head: Option<Nonce>,
    txn: Option<Nonce>,
    present: HashMap<Bytes, Presence>,
    draft: BTreeMap<Bytes, Option<(Bytes, Option<u64>)>>,
}

/// A session.
#[derive(Default)]
pub(super) struct Session {
    chart: Chart,
    draft: Draft,
    /// Where it stands in the database, without the draft.
    follows: Follows,
    face: Face,
}

/// See the file's head.
pub(super) enum Known {
    /// A session.
    Session(Box<Session>),
    /// Rows.
    Rows(Rows),
}

/// What a flip writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// That a transaction has the partition (or, with `None`, that none has), and nothing else.
    Mark(Option<Nonce>),
    /// The draft; no transaction has it afterwards.
    Draft,
}

impl Known {
    pub async fn read(db: &Database, place: &Place, now_ms: u64) -> Result<Self, Failure> {
        match place {
            Place::Session(_) => {
                let chart = db.chart(place, now_ms).await?;
                let (follows, face) = (chart.follows(), chart.face());
                Ok(Self::Session(Box::new(Session { chart, draft: Draft::default(), follows, face })))
            }
            Place::Rows(..) => {
                let rows = db.run(&db.statements.rows_head, place.key()).await?.into_rows_result()?;
                let found = rows.maybe_first_row::<(i8, i16, Option<Bytes>, Option<Bytes>)>()?;
                let (head, txn) = found.map_or((None, None), |(_, _, head, txn)| (head, txn));
                let name = |bytes: Option<Bytes>| bytes.map(|bytes| to_nonce(&bytes)).transpose();
                Ok(Self::Rows(Rows { head: name(head)?, txn: name(txn)?, ..Rows::default() }))
            }
        }
    }

    /// The transaction that has the partition.
    pub fn txn(&self) -> Option<Nonce> {
        match self {
            Self::Session(of) => of.chart.txn,
            Self::Rows(rows) => rows.txn,
        }
    }

    /// Something is to be written.
    pub fn is_touched(&self) -> bool {
        match self {
            Self::Session(of) => of.draft.touched,
            Self::Rows(rows) => !rows.draft.is_empty(),
        }
    }

    pub fn chart(&mut self) -> Option<&mut Chart> {
        match self {
            Self::Session(of) => Some(&mut of.chart),
            Self::Rows(_) => None,
        }
    }

    pub fn head(&self) -> Option<Head> {
        match self {
            Self::Session(of) => of.chart.judged(),
            Self::Rows(_) => None,
        }
    }

    /// Finds out whether a row is there, before a commit is judged by it.
    pub async fn look(&mut self, db: &Database, place: &Place, key: &Bytes) -> Result<(), Failure> {
        if let Self::Rows(rows) = self
            && !rows.present.contains_key(key)
        {
            if rows.present.len() >= PRESENCES {
                rows.present.clear();
            }
            let presence = match db.presence(place, key).await {
                // It is there, whatever it was: its key is nobody's until it is written anew.
                Err(Failure::Store(error @ Error::Damaged { .. })) => {
                    tracing::error!(%error, "a commit met a damaged row");
                    Some(None)
                }
                presence => presence?,
            };
            rows.present.insert(key.clone(), presence);
        }
        Ok(())
    }

    /// Whether a row is there that was looked for; not there otherwise.
    pub fn presence(&self, key: &Bytes) -> Presence {
        match self {
            Self::Session(_) => None,
            Self::Rows(rows) => match rows.draft.get(key) {
                Some(row) => row.as_ref().map(|(_, expires)| *expires),
                None => rows.present.get(key).copied().flatten(),
            },
        }
    }

    /// Takes a write that passed into the draft.
    pub fn apply(&mut self, write: &Write, me: Nonce, now_ms: u64) {
        match (self, write) {
            (Self::Rows(rows), Write::Put { key, value, expires_at_ms, .. }) => {
                rows.draft.insert(key.clone(), Some((value.clone(), *expires_at_ms)));
            }
            (Self::Rows(rows), Write::Remove { key, .. }) => {
                rows.draft.insert(key.clone(), None);
            }
            (Self::Session(of), write) => {
                let Session { chart, draft, .. } = &mut **of;
                chart.apply(write, me, now_ms, draft);
            }
            (Self::Rows(_), _) => {}
        }
    }

    /// Writes, if the partition is as it is known. After `false` it is not, and what is known is of no use any more.
    pub async fn flip(&mut self, db: &Database, place: &Place, part: Part, now_ms: u64) -> Result<bool, Failure> {
        let next = nonce();
        match self {
            Self::Session(of) => {
                let (face, writes) = match part {
                    Part::Mark(txn) => (Face { txn, ..of.face }, Writes::default()),
                    Part::Draft => {
                        of.chart.txn = None;
                        let draft = std::mem::take(&mut of.draft);
                        let writes = of.chart.writes(place, db, now_ms, draft);
                        (of.chart.face(), writes)
                    }
                };
                let applied = db.flip_session(place, of.follows, next, &face, writes).await?;
                (of.chart.head, of.chart.txn) = (Some(next), face.txn);
                of.follows = Follows { head: Some(next), fence: face.fence };
                of.face = face;
                Ok(applied)
            }
            Self::Rows(rows) => {
                let (txn, writes) = match part {
                    Part::Mark(txn) => (txn, Writes::default()),
                    Part::Draft => (None, rows.writes(db, place, now_ms)),
                };
                let applied = db.flip_rows(place, rows.head, next, txn, writes).await?;
                (rows.head, rows.txn) = (Some(next), txn);
                Ok(applied)
            }
        }
    }

    /// Gives the session to a server, under a new fence.
    pub fn own(&mut self, owner: Option<Nonce>, fence: Option<u64>) {
        if let Self::Session(of) = self {
            (of.chart.owner, of.chart.fence) = (owner, fence);
            (of.face.owner, of.face.fence) = (owner, fence);
        }
    }
}

/// Seconds after which the database may let a row go: never before it has expired by the engine's clock, which a read
/// asks. 0: never; also for what is further away than CQL allows (20 years).
pub(super) fn ttl(expires_at_ms: Option<u64>, now_ms: u64) -> i32 {
    const MOST: u64 = 20 * 365 * 24 * 3600;
    let left = expires_at_ms.map(|at| at.saturating_sub(now_ms) / 1000 + 2).filter(|left| *left < MOST);
    left.and_then(|left| i32::try_from(left).ok()).unwrap_or(0)
}

impl Rows {
    fn writes(&mut self, db: &Database, place: &Place, now_ms: u64) -> Writes {
        let mut writes = Writes::default();
        for (key, row) in std::mem::take(&mut self.draft) {
            let presence = row.as_ref().map(|(_, expires)| *expires);
            let mut values = place.key();
            values.push(Value::Blob(key.clone()));
            match row {
                Some((value, expires)) => {
                    let Place::Rows(table, _) = place else { continue };
                    let value = seal_row(*table, &key, expires, &value);
                    values.extend([Value::Blob(value), Value::option(expires), Value::Int(ttl(expires, now_ms))]);
                    writes.push(&db.statements.put, values);
                }
                None => writes.push(&db.statements.remove, values),
            }
            self.present.insert(key, presence);
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_lets_a_row_go_only_after_it_has_expired() {
        assert_eq!(ttl(None, 5_000), 0);
        assert_eq!(ttl(Some(6_000), 5_000), 3);
        assert_eq!(ttl(Some(6_999), 5_000), 3);
        assert_eq!(ttl(Some(1_000), 5_000), 2, "it is over, and 0 would be for ever");
        assert_eq!(ttl(Some(u64::MAX), 5_000), 0);
    }
}
