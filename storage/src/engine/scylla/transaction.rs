//! Commits of several partitions. The database changes one partition at a time, so such a commit is written down first;
//! then marked in each of its partitions, which nobody else writes while they are marked; then decided, by one
//! conditional write of its record; then carried out in each. Whoever meets the mark of a commit whose server went away
//! finishes it: forward when it was decided, back when it was not.
//!
//! A commit is told as durable after it was carried out everywhere, so reads need not look at marks.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    super::embedded::encoding::{Reader, put_number, put_write},
    core::{Core, place},
    database::{Failure, Nonce, Pauses, Place, Value, nonce, to_nonce},
    faults::Step,
    known::{Known, Part},
    lanes::Job,
};
use crate::{Error, Outcome, Write};

/// How a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open = 0,
    Decided = 1,
    Given = 2,
}

/// How long who meets a mark waits for the one who made it. A transaction takes about ten round trips.
const PATIENCE: Duration = Duration::from_secs(2);

/// Age at which the record of a transaction is removed by whoever opens the store: far more than any server goes on with
/// one of its own.
const RECORD_KEPT_MS: u64 = 24 * 3600 * 1000;

/// A transaction as it was written down.
struct Record {
    state: State,
    at: u64,
    by: Nonce,
    writes: Vec<Write>,
}

fn encode(by: Nonce, writes: &[Write]) -> Bytes {
    let mut out = by.to_vec();
    put_number(&mut out, writes.len() as u64);
    for write in writes {
        put_write(&mut out, write);
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.into()
}

fn decode(bytes: &[u8]) -> Option<(Nonce, Vec<Write>)> {
    let (rest, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (by, rest) = rest.split_first_chunk()?;
    let mut from = Reader(rest);
    let count = from.number()?;
    let writes = (0..count).map(|_| from.write()).collect::<Option<Vec<_>>>()?;
    from.0.is_empty().then_some((*by, writes))
}

impl Core {
    /// Writes a commit of several partitions; how it ended.
    pub(super) async fn transaction(&self, job: &Arc<Job>) -> Result<Outcome, Failure> {
        if job.is_too_large() {
            return Ok(Outcome::Fenced);
        }
        let mut held = self.hold(&job.places).await;
        let mut pauses = Pauses::new();
        loop {
            let now_ms = (self.clock)();
            let outcome = match self.prepare(&mut held, std::slice::from_ref(job), now_ms).await {
                Ok(outcomes) => outcomes.first().copied().unwrap_or(Outcome::Fenced),
                Err(Failure::Store(error @ Error::Damaged { .. })) => {
                    tracing::error!(%error, ticket = job.commit.ticket, "a commit met damaged data and is refused");
                    Outcome::Fenced
                }
                Err(failure) => return Err(failure),
            };
            if outcome != Outcome::Committed {
                return Ok(outcome);
            }
            // Out of the slots: if anything goes wrong from here on, they are read again.
            let mut parts: Vec<(Place, Known)> =
                held.iter_mut().filter_map(|(place, slot)| Some((place.clone(), slot.take()?))).collect();
            let id = nonce();
            self.begin(id, now_ms, &job.commit.writes).await?;
            self.db.reached(Step::Begun).await;
            let mut marked = 0;
            while let Some((place, known)) = parts.get_mut(marked)
                && known.flip(&self.db, place, Part::Mark(Some(id)), now_ms).await?
            {
                marked += 1;
                self.db.reached(Step::Marked).await;
            }
            let all = marked == parts.len();
            if all && self.end(id, State::Decided).await? == Some(State::Decided) {
                self.db.reached(Step::Decided).await;
                for ((place, mut known), (_, slot)) in parts.into_iter().zip(&mut held) {
                    // `false`: somebody who met the mark was faster.
                    if known.flip(&self.db, &place, Part::Draft, now_ms).await? {
                        **slot = Some(known);
                    }
                    self.db.reached(Step::CarriedOut).await;
                }
                self.forget(id).await;
                return Ok(Outcome::Committed);
            }
            self.end(id, State::Given).await?;
            for (place, known) in parts.iter_mut().take(marked) {
                known.flip(&self.db, place, Part::Mark(None), now_ms).await?;
            }
            self.forget(id).await;
            tracing::debug!(ticket = job.commit.ticket, "another server wrote: the commit begins again");
            pauses.wait().await;
        }
    }

    async fn begin(&self, id: Nonce, at: u64, writes: &[Write]) -> Result<(), Failure> {
        let record = encode(self.me, writes);
        let mut pauses = Pauses::new();
        loop {
            let values = vec![Value::nonce(Some(id)), Value::number(at), Value::Blob(record.clone())];
            match self.db.run_once(&self.db.statements.begin_transaction, values).await {
                // Not applied: an earlier try was.
                Ok(_) => return Ok(()),
                Err(Failure::Transient(cause)) => {
                    tracing::debug!(cause, "a transaction cannot begin now");
                    pauses.wait().await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Ends a transaction so, unless it has ended; how it has. `None`: its record is gone, so it is long over.
    async fn end(&self, id: Nonce, state: State) -> Result<Option<State>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            let values = vec![Value::Tiny(state as i8), Value::nonce(Some(id))];
            let ended = match self.db.run_once(&self.db.statements.end_transaction, values).await {
                Ok(true) => return Ok(Some(state)),
                Ok(false) => self.record(id).await,
                Err(failure) => Err(failure),
            };
            match ended {
                Ok(None) => return Ok(None),
                Ok(Some(record)) if record.state != State::Open => return Ok(Some(record.state)),
                Ok(Some(_)) => {}
                Err(Failure::Transient(cause)) => {
                    tracing::debug!(cause, "a transaction cannot end now");
                    pauses.wait().await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn record(&self, id: Nonce) -> Result<Option<Record>, Failure> {
        let values = vec![Value::nonce(Some(id))];
        let rows = self.db.run(&self.db.statements.transaction, values).await?.into_rows_result()?;
        let Some((state, at, bytes)) = rows.maybe_first_row::<(Option<i8>, Option<i64>, Option<Bytes>)>()? else {
            return Ok(None);
        };
        let damaged = || Failure::Store(Error::Damaged { what: "the record of a transaction".into() });
        let state = match state {
            Some(0) => State::Open,
            Some(1) => State::Decided,
            Some(2) => State::Given,
            _ => return Err(damaged()),
        };
        let (by, writes) = bytes.as_deref().and_then(decode).ok_or_else(damaged)?;
        Ok(Some(Record { state, at: at.unwrap_or(0).cast_unsigned(), by, writes }))
    }

    /// Lets go of the record of one that is over. If it stays, whoever opens the store next removes it.
    async fn forget(&self, id: Nonce) {
        let values = vec![Value::nonce(Some(id))];
        if let Err(failure) = self.db.run(&self.db.statements.forget_transaction, values).await {
            tracing::debug!(?failure, "the record of a transaction stays for a while");
        }
    }

    /// Frees a partition from the mark of a transaction: carries it out there if it was decided.
    pub(super) async fn resolve(&self, place: &Place, id: Nonce) -> Result<(), Failure> {
        let began = tokio::time::Instant::now();
        let mut pauses = Pauses::new();
        let record = loop {
            match self.record(id).await? {
                Some(record) if record.state == State::Open => {
                    if began.elapsed() >= PATIENCE {
                        self.end(id, State::Given).await?;
                    } else {
                        pauses.wait().await;
                    }
                }
                other => break other,
            }
        };
        let now_ms = (self.clock)();
        let mut known = Known::read(&self.db, place, now_ms).await?;
        if known.txn() != Some(id) {
            return Ok(());
        }
        let part = match record {
            Some(Record { state: State::Decided, at, by, writes }) => {
                for write in writes.iter().filter(|write| self::place(write) == *place) {
                    known.apply(write, by, at);
                }
                Part::Draft
            }
            // Given up; or a mark that came after all was over.
            _ => Part::Mark(None),
        };
        // `false`: somebody else was faster.
        known.flip(&self.db, place, part, now_ms).await?;
        tracing::info!(?place, ?part, "a transaction of another server was finished");
        Ok(())
    }

    /// Finishes again and again what servers that went away left half done.
    pub(super) async fn keep_tidy(&self) {
        let mut done = HashSet::new();
        loop {
            if let Err(failure) = self.tidy(&mut done).await {
                tracing::warn!(?failure, "what other servers left half done is finished later");
            }
            tokio::time::sleep(self.lease.length).await;
        }
    }

    /// Finishes what servers that went away left half done, unless it is `done`, and removes the records of what is long
    /// over.
    pub(super) async fn tidy(&self, done: &mut HashSet<Nonce>) -> Result<(), Failure> {
        let mut left: Vec<(Bytes, u64)> = Vec::new();
        self.db
            .each(&self.db.statements.transactions, vec![], |(id, at): (Bytes, Option<i64>)| {
                left.push((id, at.unwrap_or(0).cast_unsigned()));
                true
            })
            .await?;
        let left = left.into_iter().map(|(id, at)| Ok((to_nonce(&id)?, at))).collect::<Result<Vec<_>, Failure>>()?;
        done.retain(|id| left.iter().any(|(kept, _)| kept == id));
        for (id, at) in left {
            if (self.clock)().saturating_sub(at) >= RECORD_KEPT_MS && done.contains(&id) {
                self.forget(id).await;
                continue;
            }
            if done.contains(&id) {
                continue;
            }
            let Some(record) = self.record(id).await? else { continue };
            if self.is_alive(record.by).await? {
                continue;
            }
            if record.state == State::Open {
                self.end(id, State::Given).await?;
            }
            let mut places: Vec<Place> = record.writes.iter().map(place).collect();
            places.sort_unstable();
            places.dedup();
            for place in &places {
                if Known::read(&self.db, place, record.at).await?.txn() == Some(id) {
                    self.resolve(place, id).await?;
                }
            }
            done.insert(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    #[test]
    fn a_record_reads_back_and_a_damaged_one_does_not() {
        let writes = vec![
            Write::Remove { table: Table::User, key: Bytes::from_static(b"u") },
            Write::DeleteSession { session: "s".into(), epoch: 4 },
        ];
        let bytes = encode([7; 16], &writes);
        assert_eq!(decode(&bytes), Some(([7; 16], writes)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None);
            assert_eq!(decode(&bytes[..at]), None);
        }
    }
}
