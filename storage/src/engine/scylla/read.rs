//! Reading partitions: a session's chart, a session with its contents, rows of tables. Never writes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;

use super::{
    chart::{Answers, Chart, Kept, Live, Run, Who},
    database::{Database, Face, Failure, Nonce, Pauses, Place, Value, to_nonce},
    rows::{self, Column, Kind},
};
use crate::{
    EpochStart, Error, Incarnation, StoredDelta, StoredSession, Table, defaults::INCARNATION_IDLE_MS, partition::Dedup,
    rules::expired,
};

type SessionRow = (
    String,
    Option<Bytes>,
    Option<Bytes>,
    Option<i64>,
    Option<Bytes>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<Bytes>,
    Option<Bytes>,
    Option<i64>,
);

/// A row without its value: kind, name, number, low, high, count, at.
type Index = (i8, Bytes, i64, i64, i64, i32, i64);

/// A row of answers: name, number, low, high, count, at, value.
type AnswersRow = (Bytes, i64, i64, i64, i32, i64, Bytes);

/// A session's static columns.
pub(super) struct Statics {
    pub head: Option<Nonce>,
    pub face: Face,
    /// What a session that is there has besides.
    live: Option<(i64, Vec<EpochStart>, Bytes, u64)>,
}

fn damaged(session: &Place, what: &str) -> Failure {
    Failure::Store(Error::Damaged { what: format!("{session:?}: {what}") })
}

impl Database {
    /// A session's static columns, with everything that was accepted before carried through.
    pub async fn statics(&self, place: &Place) -> Result<Statics, Failure> {
        let rows = self.run(&self.statements.session, place.key()).await?.into_rows_result()?;
        let Some(row) = rows.maybe_first_row::<SessionRow>()? else {
            return Ok(Statics { head: None, face: Face::default(), live: None });
        };
        let (_, head, txn, fence, owner, life, epoch, version, epochs, document, document_version) = row;
        let name = |bytes: Option<Bytes>| bytes.map(|bytes| to_nonce(&bytes)).transpose();
        let number = |number: Option<i64>| number.map(i64::cast_unsigned);
        let face = Face {
            txn: name(txn)?,
            fence: number(fence),
            owner: name(owner)?,
            life,
            epoch: number(epoch),
            version: number(version),
        };
        let there = match (life, epochs, document, number(document_version), epoch, version) {
            (None, ..) => None,
            (Some(life), Some(epochs), Some(document), Some(document_version), Some(_), Some(_)) => {
                let epochs = rows::open_column(Column::Epochs, place.id(), &epochs);
                let epochs = epochs.and_then(|epochs| rows::read_epochs(&epochs));
                let epochs = epochs.ok_or_else(|| damaged(place, "its epochs"))?;
                Some((life, epochs, document, document_version))
            }
            _ => return Err(damaged(place, "columns are missing")),
        };
        Ok(Statics { head: name(head)?, face, live: there })
    }

    /// A session's chart.
    pub async fn chart(&self, place: &Place, now_ms: u64) -> Result<Chart, Failure> {
        let Statics { head, face, live: there } = self.statics(place).await?;
        let mut chart = Chart { head, txn: face.txn, fence: face.fence, owner: face.owner, live: None };
        let Some((of_life, epochs, document, document_version)) = there else { return Ok(chart) };
        let mut live = Live {
            life: of_life,
            epoch: face.epoch.unwrap_or(0),
            version: face.version.unwrap_or(0),
            document,
            document_version,
            epochs,
            runs: VecDeque::new(),
            incarnations: HashMap::new(),
            next: 1,
            swept_ms: now_ms,
        };
        let of = |kind: Kind| [place.key(), vec![Value::Big(of_life), Value::Tiny(kind as i8)]].concat();
        self.each(&self.statements.session_index, of(Kind::Run), |(.., last, _, _, bytes, _): Index| {
            live.runs.push_back(Run { last: last.cast_unsigned(), bytes: usize::try_from(bytes).unwrap_or(0) });
            true
        })
        .await?;
        let mut unknown = false;
        self.each(&self.statements.session_index, of(Kind::Answers), |row: Index| {
            let (_, name, number, low, high, count, at) = row;
            let Some(who) = rows::who(&name) else {
                unknown = true;
                return false;
            };
            let kept = live.incarnations.entry(who).or_default();
            kept.last_ms = kept.last_ms.max(at.cast_unsigned());
            let number = number.cast_unsigned();
            live.next = live.next.max(number + 1);
            kept.rows.push_back(Answers {
                number,
                low: low.cast_unsigned(),
                high: high.cast_unsigned(),
                count: usize::try_from(count).unwrap_or(0),
            });
            true
        })
        .await?;
        if unknown {
            return Err(damaged(place, "the name of an incarnation"));
        }
        // Who was idle while nobody had the session goes with the next flush.
        let idle = |kept: &Kept| now_ms.saturating_sub(kept.last_ms) > INCARNATION_IDLE_MS;
        if live.incarnations.values().any(idle) {
            live.swept_ms = 0;
        }
        chart.live = Some(live);
        Ok(chart)
    }

    /// What the server keeps of a session, as of one moment. It is in one row, so that nobody's writes get in the way: of
    /// its life alone it must be.
    pub async fn meta(&self, place: &Place) -> Result<Option<Bytes>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let Some((life, ..)) = self.statics(place).await?.live else { return Ok(None) };
            let meta = self.read_meta(place).await;
            if self.statics(place).await?.live.is_some_and(|(now, ..)| now == life) {
                return meta.map(Some);
            }
            pauses.wait().await;
        }
    }

    async fn read_meta(&self, place: &Place) -> Result<Bytes, Failure> {
        let meta = self.run(&self.statements.session_meta, place.key()).await?.into_rows_result()?;
        let meta = meta.maybe_first_row::<(String, Option<Bytes>)>()?.and_then(|(_, meta)| meta);
        let meta = rows::open_column(Column::Meta, place.id(), &meta.unwrap_or_default());
        meta.ok_or_else(|| damaged(place, "what the server keeps of it"))
    }

    /// A session with everything in it, as of one moment. Does not return while others write to it without a pause: take it
    /// first.
    pub async fn load(&self, place: &Place, now_ms: u64) -> Result<Option<StoredSession>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let statics = self.statics(place).await?;
            let Some(live) = &statics.live else { return Ok(None) };
            let read = self.contents(place, &statics.face, live).await.map(|(mut session, clients)| {
                session.incarnations = clients
                    .into_iter()
                    .filter(|(_, dedup)| now_ms.saturating_sub(dedup.last_ms) <= INCARNATION_IDLE_MS)
                    .map(|((user, incarnation), dedup)| Incarnation {
                        user,
                        incarnation,
                        high_water: dedup.high_water,
                        answers: dedup.answers.into_iter().collect(),
                    })
                    .collect();
                session
            });
            // If somebody wrote in the meantime, rows of two moments may be among them.
            if self.statics(place).await?.head == statics.head {
                return read.map(Some);
            }
            pauses.wait().await;
        }
    }

    /// A session with every change that is kept and everything of its clients, as of one moment.
    pub async fn whole(
        &self,
        place: &Place,
        now_ms: u64,
    ) -> Result<Option<(StoredSession, Vec<StoredDelta>, BTreeMap<Who, Dedup>)>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let statics = self.statics(place).await?;
            let Some(live) = &statics.live else { return Ok(None) };
            let read = async {
                let (session, mut clients) = self.contents(place, &statics.face, live).await?;
                clients.retain(|_, kept| now_ms.saturating_sub(kept.last_ms) <= INCARNATION_IDLE_MS);
                Ok((session, self.runs(place, live.0, 0, usize::MAX).await?, clients))
            };
            let read = read.await;
            if self.statics(place).await?.head == statics.head {
                return read.map(Some);
            }
            pauses.wait().await;
        }
    }

    /// A session without its clients, and these.
    async fn contents(
        &self,
        place: &Place,
        face: &Face,
        (life, epochs, document, document_version): &(i64, Vec<EpochStart>, Bytes, u64),
    ) -> Result<(StoredSession, BTreeMap<Who, Dedup>), Failure> {
        let version = face.version.unwrap_or(0);
        let of = |kind: Kind, rest: Vec<Value>| {
            [place.key(), vec![Value::Big(*life), Value::Tiny(kind as i8)], rest].concat()
        };
        let meta = self.read_meta(place).await?;
        let mut text = Vec::new();
        let mut whole = true;
        let values = of(Kind::Document, vec![Value::Blob(document.clone())]);
        let mut expected = 0;
        self.each(&self.statements.document, values, |(number, value): (i64, Bytes)| {
            match rows::open(Kind::Document, document, number.cast_unsigned(), &value) {
                Some(piece) if number == expected => text.extend_from_slice(&piece),
                _ => whole = false,
            }
            expected += 1;
            whole
        })
        .await?;
        if !whole || expected == 0 {
            return Err(damaged(place, "a piece of the document"));
        }

        let deltas = self.runs(place, *life, *document_version, usize::MAX).await?;
        if deltas.len() as u64 != version.saturating_sub(*document_version) {
            return Err(damaged(place, "its deltas do not reach from the document to its version"));
        }

        let mut incarnations: BTreeMap<Who, Dedup> = BTreeMap::new();
        self.each(&self.statements.session_rows, of(Kind::Answers, vec![]), |row: AnswersRow| {
            let (name, number, .., at, value) = row;
            let read = rows::open(Kind::Answers, &name, number.cast_unsigned(), &value)
                .and_then(|value| rows::read_answers(&value))
                .zip(rows::who(&name));
            let Some((answers, who)) = read else {
                whole = false;
                return false;
            };
            let dedup = incarnations.entry(who).or_default();
            for (counter, answer) in answers {
                dedup.record(counter, answer, at.cast_unsigned());
            }
            true
        })
        .await?;
        if !whole {
            return Err(damaged(place, "a row of answers"));
        }

        let session = StoredSession {
            epoch: face.epoch.unwrap_or(0),
            version,
            meta,
            document: text.into(),
            document_version: *document_version,
            deltas,
            epochs: epochs.clone(),
            incarnations: Vec::new(),
        };
        Ok((session, incarnations))
    }

    /// Deltas after `after`, oldest first, until `max_bytes` are collected; damaged when one is missing among them.
    async fn runs(&self, place: &Place, life: i64, after: u64, max_bytes: usize) -> Result<Vec<StoredDelta>, Failure> {
        let from = i64::try_from(after).unwrap_or(i64::MAX);
        let values = [
            place.key(),
            vec![Value::Big(life), Value::Tiny(Kind::Run as i8), Value::Blob(Bytes::new()), Value::Big(from)],
        ]
        .concat();
        let mut deltas: Vec<StoredDelta> = Vec::new();
        let (mut bytes, mut whole) = (0, true);
        self.each(&self.statements.runs_after, values, |(first, last, value): (i64, i64, Bytes)| {
            let (first, last) = (first.cast_unsigned(), last.cast_unsigned());
            let run = rows::open(Kind::Run, b"", last, &value).and_then(|run| rows::deltas(first, last, &run));
            let Some(run) = run else {
                whole = false;
                return false;
            };
            for delta in run.into_iter().filter(|delta| delta.version > after) {
                if deltas.last().is_some_and(|last| last.version + 1 != delta.version) {
                    whole = false;
                    return false;
                }
                if !deltas.is_empty() && bytes + delta.change.len() > max_bytes {
                    return false;
                }
                bytes += delta.change.len();
                deltas.push(delta);
            }
            true
        })
        .await?;
        if whole { Ok(deltas) } else { Err(damaged(place, "a run of deltas")) }
    }

    /// As [`crate::Engine::deltas`].
    pub async fn deltas(
        &self,
        place: &Place,
        after: u64,
        max_bytes: usize,
    ) -> Result<Option<Vec<StoredDelta>>, Failure> {
        let statics = self.statics(place).await?;
        let (Some((life, ..)), Some(version)) = (&statics.live, statics.face.version) else { return Ok(None) };
        if after >= version {
            return Ok(Some(Vec::new()));
        }
        let deltas = self.runs(place, *life, after, max_bytes).await?;
        Ok(deltas.first().is_some_and(|first| first.version == after + 1).then_some(deltas))
    }

    /// As [`crate::Engine::get`].
    pub async fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Failure> {
        let values = [Place::of_row(table, key).key(), vec![Value::Blob(Bytes::copy_from_slice(key))]].concat();
        let rows = self.run(&self.statements.row, values).await?.into_rows_result()?;
        let Some((sealed, expires)) = rows.maybe_first_row::<(Option<Bytes>, Option<i64>)>()? else { return Ok(None) };
        let expires = expires.map(i64::cast_unsigned);
        // Before it is asked whether it has expired: that may be what is damaged.
        let value = rows::open_row(table, key, expires, &sealed.unwrap_or_default());
        let value = value.ok_or_else(|| Failure::Store(rows::broken(table, key)))?;
        Ok((!expired(expires, now_ms)).then_some(value))
    }

    /// When a row expires; `None` when it is not there. A damaged one is an error.
    pub async fn presence(&self, place: &Place, key: &Bytes) -> Result<crate::rules::Presence, Failure> {
        let values = [place.key(), vec![Value::Blob(key.clone())]].concat();
        let rows = self.run(&self.statements.presence, values).await?.into_rows_result()?;
        let Some((sealed, expires)) = rows.maybe_first_row::<(Option<Bytes>, Option<i64>)>()? else { return Ok(None) };
        let expires = expires.map(i64::cast_unsigned);
        if let Place::Rows(table, _) = place
            && rows::open_row(*table, key, expires, &sealed.unwrap_or_default()).is_none()
        {
            return Err(Failure::Store(rows::broken(*table, key)));
        }
        Ok(Some(expires))
    }

    /// At most `limit` rows of one bucket, in key order; those that are damaged without a value.
    pub async fn scan_bucket(
        &self,
        (table, bucket): (Table, u16),
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Option<Bytes>)>, Failure> {
        let place = Place::Rows(table, bucket);
        let (statement, from) = match after {
            Some(after) if after >= prefix => (&self.statements.scan_after, after),
            _ => (&self.statements.scan_from, prefix),
        };
        let values = [place.key(), vec![Value::Blob(Bytes::copy_from_slice(from))]].concat();
        let mut found = Vec::new();
        self.each(statement, values, |(key, value, expires): (Bytes, Option<Bytes>, Option<i64>)| {
            if !key.starts_with(prefix) || found.len() >= limit {
                return false;
            }
            let expires = expires.map(i64::cast_unsigned);
            let value = rows::open_row(table, &key, expires, &value.unwrap_or_default());
            if value.is_none() || !expired(expires, now_ms) {
                found.push((key, value));
            }
            true
        })
        .await?;
        Ok(found)
    }
}
