//! Values of the index as bytes. Pure functions; damaged bytes are `None`.

use bytes::Bytes;

use crate::{
    EpochStart, StoredDelta,
    defaults::EPOCHS_KEPT,
    engine::embedded::encoding::{Reader, put_bytes, put_number},
};

/// A session's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::embedded) struct Head {
    pub epoch: u64,
    pub version: u64,
    pub document_version: u64,
    pub meta: Bytes,
    pub epochs: Vec<EpochStart>,
    /// Version of the oldest delta that is kept; `version + 1` when none is.
    pub oldest: u64,
    /// Bytes of changes that are kept.
    pub kept: u64,
    /// Of these, behind the checkpoint: never more than there really are.
    pub behind: u64,
    /// Incarnations that are kept.
    pub incarnations: u64,
    /// When the session was last searched for idle ones.
    pub swept_ms: u64,
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.meta.len());
        for number in [
            self.epoch,
            self.version,
            self.document_version,
            self.oldest,
            self.kept,
            self.behind,
            self.incarnations,
            self.swept_ms,
        ] {
            put_number(&mut out, number);
        }
        put_bytes(&mut out, &self.meta);
        put_number(&mut out, self.epochs.len() as u64);
        for start in &self.epochs {
            put_number(&mut out, start.epoch);
            put_number(&mut out, start.base);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let mut numbers = [0; 8];
        for number in &mut numbers {
            *number = reader.number()?;
        }
        let [epoch, version, document_version, oldest, kept, behind, incarnations, swept_ms] = numbers;
        let meta = reader.owned()?;
        let count = usize::try_from(reader.number()?).ok().filter(|count| *count <= EPOCHS_KEPT)?;
        let mut epochs = Vec::with_capacity(count);
        for _ in 0..count {
            epochs.push(EpochStart { epoch: reader.number()?, base: reader.number()? });
        }
        Some(Self { epoch, version, document_version, meta, epochs, oldest, kept, behind, incarnations, swept_ms })
    }
}

/// A document behind its version.
pub(in crate::engine::embedded) fn document(version: u64, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + text.len());
    put_number(&mut out, version);
    out.extend_from_slice(text);
    out
}

/// Version and text of a document.
pub(in crate::engine::embedded) fn read_document(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut reader = Reader(bytes);
    Some((reader.number()?, reader.0))
}

/// Contiguous deltas: how many, how many bytes of changes, then each.
pub(in crate::engine::embedded) fn run(deltas: &[StoredDelta]) -> Vec<u8> {
    let bytes: usize = deltas.iter().map(|delta| delta.change.len()).sum();
    let mut out = Vec::with_capacity(bytes + 12 * deltas.len() + 16);
    put_number(&mut out, deltas.len() as u64);
    put_number(&mut out, bytes as u64);
    for delta in deltas {
        put_number(&mut out, delta.epoch);
        put_bytes(&mut out, &delta.change);
    }
    out
}

/// Count and bytes of a run.
pub(in crate::engine::embedded) fn run_size(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader(bytes);
    Some((reader.number()?, reader.number()?))
}

/// The deltas of a run that begins with version `first`.
pub(in crate::engine::embedded) fn read_run(first: u64, bytes: &[u8]) -> Option<Vec<StoredDelta>> {
    let mut reader = Reader(bytes);
    let (count, _) = (reader.number()?, reader.number()?);
    (first..first.checked_add(count)?)
        .map(|version| Some(StoredDelta { version, epoch: reader.number()?, change: reader.owned()? }))
        .collect()
}

/// An incarnation: its high-water mark, when it was last heard of, and how many answers its runs hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::engine::embedded) struct Incarnation {
    pub high_water: u64,
    pub last_ms: u64,
    pub answers: u64,
}

impl Incarnation {
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        for number in [self.high_water, self.last_ms, self.answers] {
            put_number(&mut out, number);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self { high_water: reader.number()?, last_ms: reader.number()?, answers: reader.number()? })
    }
}

/// A run of answers: how many, then counter and answer of each.
pub(in crate::engine::embedded) fn answers(answers: &[(u64, Bytes)]) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, answers.len() as u64);
    for (counter, answer) in answers {
        put_number(&mut out, *counter);
        put_bytes(&mut out, answer);
    }
    out
}

/// How many answers a run holds.
pub(in crate::engine::embedded) fn answers_count(bytes: &[u8]) -> Option<u64> {
    Reader(bytes).number()
}

/// Hands each answer of a run to `each`.
pub(in crate::engine::embedded) fn read_answers(bytes: &[u8], mut each: impl FnMut(u64, Bytes)) -> Option<()> {
    let mut reader = Reader(bytes);
    for _ in 0..reader.number()? {
        each(reader.number()?, reader.owned()?);
    }
    Some(())
}

/// A row: its expiry, then its value.
pub(in crate::engine::embedded) fn row(value: &[u8], expires_at_ms: Option<u64>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + value.len());
    crate::engine::embedded::encoding::put_expiry(&mut out, expires_at_ms);
    out.extend_from_slice(value);
    out
}

/// Expiry and value of a row.
pub(in crate::engine::embedded) fn read_row(bytes: &[u8]) -> Option<(Option<u64>, &[u8])> {
    let mut reader = Reader(bytes);
    Some((reader.expiry()?.0, reader.0))
}
