//! The commit log: groups of commits in preallocated segments. One writer; what [`Log::append`] and [`Log::sync`] let
//! pass survives a power loss. Knows nothing of sessions.

pub(crate) mod group;
pub(crate) mod names;
pub(crate) mod recover;
mod rot;
pub(crate) mod segment;
mod spares;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    failpoint,
    faults::{Fault, Installed, Operation, check},
    files::{io, private, sync_folder},
};
use crate::Error;
use group::{HEADER, Segment};
use names::{Touched, Window};
use segment::START;
pub(crate) use spares::Spares;

/// Full segments that the index does not cover yet, oldest first, each with its last group's seq.
pub(crate) struct Full {
    segments: Mutex<Vec<(PathBuf, u64)>>,
    spares: Arc<Spares>,
}

impl Full {
    pub fn new(spares: Arc<Spares>) -> Arc<Self> {
        Arc::new(Self { segments: Mutex::default(), spares })
    }

    /// Gives up the segments whose groups are all at or below `covered`.
    pub fn release(&self, covered: u64) -> Result<(), Error> {
        let mut segments = self.segments.lock();
        let done = segments.iter().take_while(|(_, last)| *last <= covered).count();
        for (path, _) in segments.drain(..done) {
            self.spares.retire(&path)?;
            failpoint::reach("log.retired");
        }
        Ok(())
    }
}

/// The end of the log, where groups are appended.
pub(crate) struct Log {
    folder: PathBuf,
    file: File,
    path: PathBuf,
    segment: Segment,
    at: u64,
    capacity: u64,
    next_seq: u64,
    epoch: u64,
    /// What the newest groups touched. Those of an earlier process are all in the index.
    window: Window,
    full: Arc<Full>,
    faults: Installed,
}

impl Log {
    /// Begins a new segment with this id whose first group will be `first`. `full` is told when it is.
    pub fn begin(
        folder: &Path,
        id: u64,
        first: u64,
        epoch: u64,
        full: Arc<Full>,
        faults: Installed,
    ) -> Result<Self, Error> {
        let opened = open(folder, id, first, epoch, &full.spares.take()?)?;
        let (file, path, segment, capacity) = opened;
        Ok(Self {
            folder: folder.to_path_buf(),
            file,
            path,
            segment,
            at: START,
            capacity,
            next_seq: first,
            epoch,
            window: Window::default(),
            full,
            faults,
        })
    }

    /// The full segments, for who covers them.
    pub fn full(&self) -> Arc<Full> {
        self.full.clone()
    }

    /// Makes `buffer` the beginning of the next group: room for its header, and what the groups before it touched.
    pub fn prepare(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        buffer.resize(HEADER, 0);
        self.window.put(buffer);
    }

    /// Writes one group; `buffer` holds what [`Log::prepare`] left and the commits behind it, and is left with what was
    /// written. Returns its seq and its bytes. Durable after [`Log::sync`] only.
    pub fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        touched: &Touched,
        time_ms: u64,
        commits: u32,
    ) -> Result<(u64, u64), Error> {
        if u32::try_from(buffer.len()).is_err() {
            return Err(io("write", &self.path)(std::io::Error::other("a commit of more than 4 GiB")));
        }
        let size = group::size(buffer.len() - HEADER) as u64;
        if self.at + size + HEADER as u64 > self.capacity {
            self.roll(START + size + HEADER as u64)?;
        }
        let seq = self.next_seq;
        group::seal(buffer, self.segment, self.at, seq, time_ms, commits);
        self.write(buffer)?;
        self.at += size;
        self.next_seq += 1;
        self.window.push(touched, size);
        Ok((seq, size))
    }

    fn write(&self, buffer: &[u8]) -> Result<(), Error> {
        match self.faults.as_ref().and_then(|faults| faults.before(Operation::LogWrite(buffer.len()))) {
            None => {}
            Some(Fault::Fails(error)) => return Err(io("write", &self.path)(error)),
            Some(Fault::Short(bytes, error)) => {
                self.file.write_all_at(&buffer[..bytes.min(buffer.len())], self.at).map_err(io("write", &self.path))?;
                return Err(io("write", &self.path)(error));
            }
        }
        if failpoint::is_due("log.half") {
            self.file.write_all_at(&buffer[..buffer.len() / 2], self.at).map_err(io("write", &self.path))?;
            std::process::abort();
        }
        self.file.write_all_at(buffer, self.at).map_err(io("write", &self.path))
    }

    /// Makes everything that was appended durable.
    pub fn sync(&self) -> Result<(), Error> {
        check(&self.faults, Operation::LogSync).and_then(|()| self.file.sync_data()).map_err(io("sync", &self.path))
    }

    /// Goes on in the next segment. Everything in this one is durable: each group is synced before the next is written.
    fn roll(&mut self, needed: u64) -> Result<(), Error> {
        check(&self.faults, Operation::Roll).map_err(io("roll over", &self.path))?;
        let usual = self.full.spares.take()?;
        let spare = if std::fs::metadata(&usual).map_err(io("stat", &usual))?.len() >= needed {
            usual
        } else {
            // Back among the spares: it is whole and nothing was written to it.
            self.full.spares.retire(&usual)?;
            self.full.spares.oversize(needed)?
        };
        let (file, path, segment, capacity) =
            open(&self.folder, self.segment.id + 1, self.next_seq, self.epoch, &spare)?;
        let full = std::mem::replace(&mut self.path, path);
        self.full.segments.lock().push((full, self.next_seq - 1));
        (self.file, self.segment, self.capacity, self.at) = (file, segment, capacity, START);
        Ok(())
    }
}

/// Turns a spare file into a segment: its header durable first, then its name.
fn open(folder: &Path, id: u64, first: u64, epoch: u64, spare: &Path) -> Result<(File, PathBuf, Segment, u64), Error> {
    let salt = getrandom::u64().map_err(|error| io("choose a salt for", spare)(std::io::Error::other(error)))?;
    let segment = Segment { id, salt };
    let file = private().open(spare).map_err(io("open", spare))?;
    segment::begin(&file, spare, &segment::Header { segment, first, epoch })?;
    failpoint::reach("log.begun");
    let path = segment::path(folder, id);
    std::fs::rename(spare, &path).map_err(io("rename", spare))?;
    failpoint::reach("log.named");
    sync_folder(folder)?;
    let capacity = file.metadata().map_err(io("stat", &path))?.len();
    Ok((file, path, segment, capacity))
}
