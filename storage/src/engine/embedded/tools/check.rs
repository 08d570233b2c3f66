//! Reads everything and says what is damaged. Changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Offline, repair::missing, transfer::all_there};
use crate::{
    Error,
    engine::embedded::{
        index::{
            Kind, Range, Verdict, keys, rows,
            salvage::{Read, Reading, describe},
        },
        log::{
            names::Name,
            recover::{self, Met, Told},
        },
    },
};

/// What damage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Nothing that is needed is touched.
    None,
    /// What is named is refused; everything else is served.
    Some,
    /// A server does not start on it.
    All,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it does.
    pub harm: Harm,
    /// Which file, session or row, and what is wrong with it.
    pub what: String,
}

impl Offline {
    /// Reads every page, row and group, hands everything that is not as it should be to `found`, and returns how many
    /// sessions are whole. Memory is bounded by the largest row.
    ///
    /// # Errors
    /// [`Error::Io`] when the files cannot be read at all.
    pub fn check(&self, found: &mut dyn FnMut(Finding)) -> Result<u64, Error> {
        if let Err(error) = named(self.folder.last_epoch().and_then(|epoch| {
            let what = format!("{}: the file that says the epoch is missing", self.folder.path.display());
            epoch.ok_or(Error::Damaged { what })
        }))? {
            found(Finding { harm: Harm::All, what: error });
        }
        let reading = match named(Reading::open(&self.index()))? {
            Ok(reading) => reading,
            Err(what) => {
                found(Finding { harm: Harm::All, what });
                return Ok(0);
            }
        };
        let covered = match named(reading.covered())? {
            Ok(covered) => Some(covered),
            Err(what) => {
                found(Finding { harm: Harm::All, what });
                None
            }
        };
        if let Verdict::Damaged(why) = reading.pages.verdict() {
            let what = format!("{}: {why}; the next start builds it anew", self.index().display());
            found(Finding { harm: Harm::None, what });
        }
        for kind in [Kind::Head, Kind::Documents, Kind::Rows] {
            let (ranges, missing) = missing(&reading, kind);
            if missing > 0 {
                found(Finding { harm: Harm::Some, what: describe(kind, missing, &ranges) });
            }
        }
        for read in reading.rows(Kind::Damaged) {
            let range = match read {
                Read::Row(_, key, value) => Range::read(&key, &value),
                Read::Lost(_) => None,
            };
            let what = range.map_or_else(
                || "the list of what was damaged before".to_owned(),
                |range| format!("{}: damaged before, and refused since", range.describe()),
            );
            found(Finding { harm: Harm::Some, what });
        }
        let refused = refused(&reading);
        let mut whole = 0;
        sessions(&reading, |name, _, why| match why {
            // It is named above.
            _ if refused.contains(name) => {}
            None => whole += 1,
            Some(why) => found(Finding { harm: Harm::Some, what: format!("session {name:?}: {why}") }),
        });
        if let Some(covered) = covered {
            let mut tell = |path: &Path, met: Met| {
                let path = path.display();
                match met {
                    Met::PutRight(what) => {
                        found(Finding {
                            harm: Harm::None,
                            what: format!("{path}: {what}; the next start puts it right"),
                        });
                    }
                    Met::Lost(what) => found(Finding { harm: Harm::All, what: format!("{path}: {what}") }),
                    Met::Named { what, names, .. } => {
                        for name in names {
                            found(Finding { harm: Harm::Some, what: format!("{name}: {path}: {what}") });
                        }
                    }
                }
            };
            let log = recover::recover(&self.log(), covered, &mut Told(&mut tell))?;
            if let Some(torn) = log.torn {
                let what = format!("{}: torn at byte {}, as a crash leaves it", torn.segment.display(), torn.offset);
                found(Finding { harm: Harm::None, what });
            }
        }
        Ok(whole)
    }
}

/// Sessions of which a start found that their part of the log cannot be read.
pub(super) fn refused(reading: &Reading) -> BTreeSet<String> {
    let ranges = reading.rows(Kind::Damaged).filter_map(|read| match read {
        Read::Row(_, key, value) => Range::read(&key, &value)?.name(),
        Read::Lost(_) => None,
    });
    ranges
        .filter_map(|name| match name {
            Name::Session(id) => Some(id),
            Name::Row(..) => None,
        })
        .collect()
}

/// The index, if everything is there.
pub(super) fn whole(offline: &Offline) -> Result<Reading, Error> {
    let reading = Reading::open(&offline.index())?;
    all_there(reading.pages.verdict())?;
    if reading.count(Kind::Damaged) > 0 {
        let what = format!("{}: some of it was damaged before; `repair` says what is lost", offline.index().display());
        return Err(Error::Damaged { what });
    }
    let mut refused = None;
    sessions(&reading, |name, _, why| {
        if let Some(why) = why {
            refused.get_or_insert_with(|| format!("session {name:?}: {why}"));
        }
    });
    refused.map_or(Ok(reading), |what| Err(Error::Damaged { what }))
}

/// Damage as its words; other errors as they are.
fn named<T>(result: Result<T, Error>) -> Result<Result<T, String>, Error> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ (Error::Damaged { .. } | Error::Format { .. })) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// The changes of a session that are there without a gap, up to the newest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deltas {
    pub first: u64,
    next: u64,
    pub bytes: u64,
}

/// What a session's rows amount to.
#[derive(Default)]
pub(super) struct Parts {
    pub head: Option<rows::Head>,
    pub deltas: Option<Deltas>,
    incarnations: u64,
    /// Answers that there should be, and those that there are.
    answers: BTreeMap<Vec<u8>, (u64, u64)>,
    quarantined: bool,
    /// A row's form is not right.
    broken: bool,
}

/// Why a session is refused of which everything else is there.
pub(super) const QUARANTINED: &str = "writes that met damage are in quarantine";

impl Parts {
    fn add(&mut self, kind: Kind, session: &[u8], key: &[u8], value: &[u8]) {
        // A kind, and then what tells one row from another.
        let rest = &key[(session.len() + 1).min(key.len())..];
        let done = match kind {
            Kind::Head => rows::Head::decode(value).map(|head| self.head = Some(head)),
            Kind::Deltas => keys::number(key).zip(rows::run_size(value)).map(|(first, (count, bytes))| {
                let next = first.saturating_add(count);
                self.deltas = Some(match self.deltas {
                    Some(deltas) if deltas.next == first => Deltas { next, bytes: deltas.bytes + bytes, ..deltas },
                    _ => Deltas { first, next, bytes },
                });
            }),
            Kind::Incarnations => rows::Incarnation::decode(value).map(|kept| {
                self.incarnations += 1;
                self.answers.insert(rest.to_vec(), (kept.answers, 0));
            }),
            Kind::Answers => {
                rest.split_last_chunk::<8>().zip(rows::answers_count(value)).and_then(|((of, _), count)| {
                    let (_, there) = self.answers.get_mut(of)?;
                    *there += count;
                    Some(())
                })
            }
            _ => {
                self.quarantined = true;
                Some(())
            }
        };
        if done.is_none() {
            self.broken = true;
        }
    }

    /// Why the session would be refused, of what is in the index.
    fn why(&self, document: Option<u64>) -> Option<&'static str> {
        let Some(head) = &self.head else { return Some("its head is lost") };
        let (first, next) =
            self.deltas.map_or((head.version + 1, head.version + 1), |deltas| (deltas.first, deltas.next));
        let answers = self.answers.values().all(|(should, there)| should == there);
        let reasons = [
            (self.broken, "a row of it is not what it should be"),
            (document != Some(head.document_version), "its document is lost"),
            (next != head.version + 1 || first > head.document_version + 1, "changes of it are lost"),
            (self.incarnations != head.incarnations || !answers, "answers to its clients are lost"),
            (self.quarantined, QUARANTINED),
        ];
        reasons.into_iter().find_map(|(is, why)| is.then_some(why))
    }
}

/// Goes through all sessions, and tells of each what there is and why it would be refused, if it would. Bounded by the names
/// of one session's clients.
pub(super) fn sessions(reading: &Reading, mut each: impl FnMut(&str, &Parts, Option<&'static str>)) {
    let documents = reading.rows(Kind::Documents).filter_map(|read| match read {
        Read::Row(_, key, value) => Some((key, rows::read_document(&value).map(|(version, _)| version))),
        Read::Lost(_) => None,
    });
    let mut documents = documents.peekable();
    let mut end = |session: Option<&[u8]>, parts: &Parts| {
        while let Some((orphan, _)) = documents.next_if(|(key, _)| session.is_none_or(|session| **key < *session)) {
            each(keys::name(&orphan).unwrap_or("?"), &Parts::default(), Some("only its document is left"));
        }
        let Some(session) = session else { return };
        let document = documents.next_if(|(key, _)| key == session).and_then(|(_, version)| version);
        each(keys::name(session).unwrap_or("?"), parts, parts.why(document));
    };
    let mut open: Option<(Vec<u8>, Parts)> = None;
    for read in reading.rows(Kind::Head) {
        let Read::Row(kind, key, value) = read else { continue };
        let Some(name) = keys::name(&key) else { continue };
        let session = keys::session(name);
        if open.as_ref().is_some_and(|(of, _)| *of != session)
            && let Some((of, parts)) = open.take()
        {
            end(Some(&of), &parts);
        }
        let (_, parts) = open.get_or_insert_with(|| (session.clone(), Parts::default()));
        parts.add(kind, &session, &key, &value);
    }
    if let Some((of, parts)) = &open {
        end(Some(of), parts);
    }
    end(None, &Parts::default());
}
