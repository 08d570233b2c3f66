//! Makes a damaged store open again with everything that is whole, and says what is not there any more. What was damaged is
//! put aside as it was; nothing is deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Nobody, Offline,
    check::{Parts, QUARANTINED, refused, sessions},
    keep,
};
use crate::{
    Engine, Error,
    engine::embedded::{
        Embedded, Options,
        files::{INDEX, STORE, io, sync_folder},
        index::{
            Kind, Range, Verdict, keys, rows,
            salvage::{Filling, Read, Reading, describe, put_aside},
        },
        log::{
            names::Name,
            recover::{self, Found, Met, Told},
        },
        replay::Policy,
    },
};

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What is not there any more, for people. Empty: nothing was lost.
    pub lost: Vec<String>,
    /// What had changed and is again what it was.
    pub put_right: Vec<String>,
    /// The damaged files as they were.
    pub aside: Vec<PathBuf>,
}

impl Offline {
    /// Repairs the store. One that is whole is only brought up to date, as a start does.
    ///
    /// # Errors
    /// [`Error::Format`] when the files are another program's; [`Error::Io`].
    pub fn repair(self, options: Options) -> Result<Repaired, Error> {
        let mut done = Repaired::default();
        let reading = match Reading::open(&self.index()) {
            Ok(reading) => Some(reading),
            Err(Error::Damaged { what }) => {
                done.lost.push(format!("everything that only the index had: {what}"));
                None
            }
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                done.lost.push(format!("everything that only the index had: {} is missing", self.index().display()));
                None
            }
            Err(error) => return Err(error),
        };
        let covered = reading.as_ref().and_then(|reading| reading.covered().ok());
        let log = self.keep_segments(covered.unwrap_or(0), &mut done)?;
        // Without knowing what the index has of the log, only one of the two can be used.
        let fresh = covered.is_none();
        let covered = covered.unwrap_or(log.next_seq.saturating_sub(1));
        if fresh && reading.is_some() {
            done.lost
                .push("changes of which only the log knew: how much of it the index has cannot be read".to_owned());
        }
        let epoch = self.repair_index(reading.as_ref(), covered, fresh, &mut done)?;
        drop(reading);
        match self.folder.last_epoch() {
            Ok(Some(_)) => {}
            Ok(None) | Err(Error::Damaged { .. }) => {
                let path = self.folder.path.join(STORE);
                if path.exists() {
                    done.aside.push(put_aside(&path, &self.aside())?);
                }
                self.folder.set_epoch(epoch.max(log.epoch))?;
            }
            Err(error) => return Err(error),
        }
        let mut tell = |path: &Path, met: Met| match met {
            Met::PutRight(what) => done.put_right.push(format!("{}: {what}", path.display())),
            Met::Lost(what) => done.lost.push(format!("{}: {what}", path.display())),
            Met::Named { what, names, .. } => {
                done.lost.extend(names.iter().map(|name| format!("{name}: its part of the log, of which {what}")));
            }
        };
        let store = Embedded::open_folder(self.folder, options, Arc::new(Nobody), Policy::Repair(&mut tell))?;
        store.close()?;
        Ok(done)
    }

    /// Copies segments in which something is damaged: the files themselves are used again.
    fn keep_segments(&self, covered: u64, done: &mut Repaired) -> Result<Found, Error> {
        let mut damaged = BTreeSet::new();
        let mut tell = |path: &Path, _: Met| {
            damaged.insert(path.to_path_buf());
        };
        let found = recover::recover(&self.log(), covered, &mut Told(&mut tell))?;
        for path in damaged {
            done.aside.push(keep(&path, &self.aside())?);
        }
        Ok(found)
    }

    /// Leaves an index of whole sessions only; returns the highest epoch in it.
    fn repair_index(
        &self,
        reading: Option<&Reading>,
        covered: u64,
        mut broken: bool,
        done: &mut Repaired,
    ) -> Result<u64, Error> {
        let (path, new) = (self.index(), self.folder.path.join("index.repaired"));
        let (mut gone, mut older, mut shorter) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut epoch = 0;
        let mut lost = Vec::new();
        if let Some(reading) = reading {
            broken |= reading.pages.verdict() != Verdict::Whole || reading.count(Kind::Damaged) > 0;
            let refused = refused(reading);
            let mut unseen = refused.clone();
            for read in reading.rows(Kind::Damaged) {
                if let Read::Row(_, key, value) = read
                    && let Some(Name::Row(table, key)) = Range::read(&key, &value).and_then(|range| range.name())
                {
                    lost.push(format!("{}: damaged before, and refused since", Name::Row(table, key)));
                }
            }
            sessions(reading, |name, parts, why| {
                unseen.remove(name);
                epoch = epoch.max(parts.head.as_ref().map_or(0, |head| head.epoch));
                if let Some(head) = parts.head.as_ref().filter(|_| refused.contains(name))
                    && why.is_none_or(|why| why == QUARANTINED)
                {
                    // All that came after what could not be read is in quarantine, so what is before is whole.
                    let version = head.version;
                    lost.push(format!(
                        "session {name:?}: what the log had of it after version {version}, as it is now"
                    ));
                    older.insert(keys::session(name));
                } else if let Some(why) = why {
                    lost.push(format!("session {name:?}: {why}"));
                    gone.insert(keys::session(name));
                } else if let Some((head, from)) = parts.shorter() {
                    lost.push(format!("session {name:?}: its changes before version {from}; its document is whole"));
                    shorter.insert(keys::session(name), (from, head));
                }
            });
            lost.extend(unseen.iter().map(|name| format!("session {name:?}: only the log had it")));
            for kind in [Kind::Head, Kind::Documents, Kind::Rows] {
                let (ranges, missing) = missing(reading, kind);
                if missing > 0 {
                    lost.push(describe(kind, missing, &ranges));
                }
            }
        }
        if !broken && lost.is_empty() {
            return Ok(epoch);
        }
        done.lost.append(&mut lost);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &new)(error)),
            _ => {}
        }
        let mut filling = Filling::new(&new)?;
        if let Some(reading) = reading {
            for kind in [Kind::Head, Kind::Documents, Kind::Rows] {
                for read in reading.rows(kind) {
                    let Read::Row(kind, key, value) = read else { continue };
                    let session = keys::name(&key).filter(|_| kind != Kind::Rows).map(keys::session);
                    if session.as_ref().is_some_and(|session| gone.contains(session)) {
                        continue;
                    }
                    if kind == Kind::Quarantine && session.as_ref().is_some_and(|session| older.contains(session)) {
                        continue;
                    }
                    match session.and_then(|session| shorter.get(&session)) {
                        Some((_, head)) if kind == Kind::Head => filling.put(kind, &key, &head.encode())?,
                        Some((from, _)) if kind == Kind::Deltas && keys::number(&key) < Some(*from) => {}
                        _ => filling.put(kind, &key, &value)?,
                    }
                }
            }
        }
        filling.finish(covered)?;
        if path.exists() {
            done.aside.push(put_aside(&path, &self.aside())?);
        }
        std::fs::rename(&new, self.folder.path.join(INDEX)).map_err(io("rename", &new))?;
        sync_folder(&self.folder.path)?;
        Ok(epoch)
    }
}

/// What cannot be read of a table.
pub(super) fn missing(reading: &Reading, kind: Kind) -> (Vec<Range>, u64) {
    let mut rows = reading.rows(kind);
    let mut ranges = Vec::new();
    for read in rows.by_ref() {
        if let Read::Lost(range) = read {
            ranges.push(range);
        }
    }
    (ranges, reading.count(kind).saturating_sub(rows.rows))
}

impl Parts {
    /// A whole session of which not all changes behind the document are there: its head without them, and the first that is.
    fn shorter(&self) -> Option<(rows::Head, u64)> {
        let head = self.head.as_ref()?;
        let (from, kept) = self.deltas.map_or((head.version + 1, 0), |deltas| (deltas.first, deltas.bytes));
        // What is behind the checkpoint is counted anew with the next one.
        (from > head.oldest).then(|| (rows::Head { oldest: from, kept, behind: 0, ..head.clone() }, from))
    }
}
