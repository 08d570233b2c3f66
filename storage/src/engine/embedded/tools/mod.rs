//! What an operator does with a store that no server has open: look whether it is whole, repair it, take everything out and
//! put it in, count. Each holds the folder's lock. Never part of serving, but for [`super::Embedded::backup`].

mod backup;
mod check;
mod repair;
mod stats;
mod transfer;

use std::path::{Path, PathBuf};

pub use backup::Backup;
pub use check::{Finding, Harm};
pub use repair::Repaired;
pub use stats::{Figures, TableFigures};
pub use transfer::{Entry, Import};

use super::{
    files::{ASIDE, Folder, INDEX, LOG, io},
    index::salvage::put_aside,
    log::names::Name,
};
use crate::{Commit, Error, Outcome, Sink, Ticket, Write};

/// A store's folder that is locked for one of the tools.
pub struct Offline {
    folder: Folder,
}

impl Offline {
    /// Locks the folder of a store.
    ///
    /// # Errors
    /// [`Error::Locked`] when a server has it; [`Error::Io`] when there is no store.
    pub fn lock(folder: &Path) -> Result<Self, Error> {
        Folder::open_existing(folder).map(|folder| Self { folder })
    }

    fn index(&self) -> PathBuf {
        self.folder.path.join(INDEX)
    }

    fn log(&self) -> PathBuf {
        self.folder.path.join(LOG)
    }

    fn aside(&self) -> PathBuf {
        self.folder.path.join(ASIDE)
    }
}

/// What the commit is about.
pub(super) fn names(commit: &Commit) -> impl Iterator<Item = Name> + '_ {
    commit.writes.iter().map(|write| match write {
        Write::Put { table, key, .. } | Write::Remove { table, key } => Name::Row(*table, key.to_vec()),
        write => Name::Session(write.session().map_or(String::new(), |name| name.as_ref().to_owned())),
    })
}

/// Copies a damaged segment, which itself is used again, to the folder `aside`.
pub(super) fn keep(segment: &Path, aside: &Path) -> Result<PathBuf, Error> {
    // Not `.new`: by that name the thread that prepares segments is filling a file at this moment, perhaps of this number.
    let copy = segment.with_extension("copied");
    std::fs::copy(segment, &copy).map_err(io("copy", segment))?;
    std::fs::File::open(&copy).and_then(|file| file.sync_all()).map_err(io("sync", &copy))?;
    let named = segment.with_extension("damaged");
    std::fs::rename(&copy, &named).map_err(io("rename", &copy))?;
    let kept = put_aside(&named, aside)?;
    std::fs::remove_file(&named).map_err(io("remove", &named))?;
    Ok(kept)
}

/// A sink for an engine that is opened only to recover.
struct Nobody;

impl Sink for Nobody {
    fn completed(&self, _: &[(Ticket, Outcome)]) {}

    fn poisoned(&self, error: &Error) {
        tracing::error!(%error, "the store failed");
    }
}
