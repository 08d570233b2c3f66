//! A copy of the store while it is served: the index as of one commit, row by row, each compared with its checksum.

use std::{path::Path, sync::atomic::Ordering};

use super::transfer::publish;
use crate::{
    Error,
    engine::embedded::{
        Embedded,
        files::{Folder, INDEX, STORE, io},
        index::{
            Kind,
            salvage::{Filling, Read, Readable, describe},
        },
    },
};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The epoch in which it was made.
    pub epoch: u64,
    /// Seq of the newest group of commits in it: every commit up to it is there, and none after it.
    pub group: u64,
    /// Sessions.
    pub sessions: u64,
    /// What could not be read, and is refused as damaged there as here.
    pub damaged: Vec<String>,
}

impl Embedded {
    /// Copies the store to a new folder, with every commit that was completed before the call. Serving goes on; what is
    /// copied is one moment. Blocks for as long as it takes to read and write the index.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder has a store already, or the disk says no.
    pub fn backup(&self, to: &Path) -> Result<Backup, Error> {
        let folder = Folder::open(to)?;
        for name in [STORE, INDEX] {
            let path = folder.path.join(name);
            if path.exists() {
                return Err(io("make", &path)(std::io::ErrorKind::AlreadyExists.into()));
            }
        }
        let snapshot = self.settled()?;
        let name = "index.copied";
        let path = folder.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &path)(error)),
            _ => {}
        }
        let mut filling = Filling::new(&path)?;
        let mut backup = Backup { epoch: self.epoch, group: snapshot.covered, sessions: 0, damaged: Vec::new() };
        for kind in [Kind::Head, Kind::Documents, Kind::Rows, Kind::Damaged] {
            let (items, count) = snapshot.items(kind)?;
            let mut rows = Readable::new(items, kind);
            let mut ranges = Vec::new();
            for read in rows.by_ref() {
                match read {
                    Read::Row(kind, key, value) => {
                        backup.sessions += u64::from(kind == Kind::Documents);
                        filling.put(kind, &key, &value)?;
                    }
                    Read::Lost(range) => ranges.push(range),
                }
            }
            let missing = count.saturating_sub(rows.rows);
            if missing > 0 {
                backup.damaged.push(describe(kind, missing, &ranges));
                for range in &ranges {
                    filling.put(Kind::Damaged, &range.key(), &range.value())?;
                }
            }
        }
        filling.finish(snapshot.covered)?;
        publish(&folder, name, self.epoch)?;
        Ok(backup)
    }

    /// The index, once it has everything that is completed now.
    fn settled(&self) -> Result<crate::engine::embedded::index::Snapshot, Error> {
        let target = {
            let tables = self.shared.tables.read();
            let frozen = tables.frozen.as_ref().map_or(0, |frozen| frozen.last_seq);
            tables.active.last_seq.max(frozen)
        };
        let covered = || self.shared.index().and_then(|index| index.snapshot()).map(|snapshot| snapshot.covered);
        // An error ends the wait, and is met again below.
        self.shared.signal.wait(|| covered().map_or(true, |covered| covered >= target));
        self.shared.failed()?;
        let snapshot = self.shared.index()?.snapshot()?;
        if snapshot.covered < target {
            let cause = self.shared.unflushed.load(Ordering::Acquire);
            return Err(Error::Poisoned { cause: format!("closed with {cause} bytes that are not in the index") });
        }
        Ok(snapshot)
    }
}
