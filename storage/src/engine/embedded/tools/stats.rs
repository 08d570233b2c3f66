//! What a store's folder holds, counted. Changes nothing.

use std::path::Path;

use super::Offline;
use crate::{
    Error,
    engine::embedded::{
        files::io,
        index::{Kind, salvage::Reading},
        log::recover::{self, Met, Told},
    },
};

/// A table of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFigures {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Bytes of the pages that they take.
    pub bytes: u64,
}

/// What a store's folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The epoch of the last server.
    pub epoch: u64,
    /// Sessions, without those of which only the log knows.
    pub sessions: u64,
    /// The tables of the index.
    pub tables: Vec<TableFigures>,
    /// Bytes of the index's file.
    pub index_bytes: u64,
    /// Of these, bytes of pages that no table takes: free, to be used again.
    pub index_garbage: u64,
    /// Segments of the log.
    pub log_segments: u64,
    /// Bytes of their files.
    pub log_bytes: u64,
    /// Seq of the newest group that the index has.
    pub log_covered: u64,
    /// Groups that only the log has: what a start replays.
    pub log_groups: u64,
    /// Files that are ready to become a segment, bytes.
    pub spare_bytes: u64,
    /// Damaged files that were put aside, bytes.
    pub aside_bytes: u64,
}

impl Offline {
    /// Counts.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot be counted; then `check` says more.
    pub fn stats(&self) -> Result<Figures, Error> {
        let reading = Reading::open(&self.index())?;
        let mut figures = Figures {
            epoch: self.folder.last_epoch()?.unwrap_or(0),
            sessions: reading.count(Kind::Documents),
            log_covered: reading.covered()?,
            index_bytes: reading.pages.length(),
            ..Figures::default()
        };
        for table in &reading.tables {
            let rows = table.root.map_or(0, |root| root.rows);
            figures.tables.push(TableFigures { name: table.name.clone(), rows, bytes: reading.pages.bytes_of(table) });
        }
        let used: u64 = figures.tables.iter().map(|table| table.bytes).sum();
        figures.index_garbage = figures.index_bytes.saturating_sub(used);
        let mut ignore = |_: &Path, _: Met| {};
        figures.log_groups = recover::recover(&self.log(), figures.log_covered, &mut Told(&mut ignore))?.replayed;
        for entry in std::fs::read_dir(self.log()).map_err(io("list", &self.log()))? {
            let entry = entry.map_err(io("list", &self.log()))?;
            let bytes = entry.metadata().map_err(io("stat", &entry.path()))?.len();
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                figures.log_segments += 1;
                figures.log_bytes += bytes;
            } else {
                figures.spare_bytes += bytes;
            }
        }
        if let Ok(aside) = std::fs::read_dir(self.aside()) {
            for entry in aside {
                let entry = entry.map_err(io("list", &self.aside()))?;
                figures.aside_bytes += entry.metadata().map_err(io("stat", &entry.path()))?.len();
            }
        }
        Ok(figures)
    }
}
