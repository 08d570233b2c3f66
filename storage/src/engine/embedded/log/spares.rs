//! Files that are ready to become the next segment: reused ones, else new ones that a thread fills with zeros ahead of
//! time, so that the writer never has to. Never touches a segment that the log still needs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};

use super::segment;
use crate::{
    Error,
    defaults::SPARE_SEGMENTS,
    engine::embedded::files::{io, sync_folder},
};

#[derive(Default)]
struct State {
    ready: Vec<PathBuf>,
    next_name: u64,
    stop: bool,
}

struct Inner {
    folder: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    wake: Condvar,
}

/// The spare files of one log.
pub(crate) struct Spares {
    inner: Arc<Inner>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Spares {
    /// Takes over the spare files that an earlier process left, and starts the thread.
    pub fn open(folder: &Path, segment_bytes: u64) -> Result<Self, Error> {
        let mut state = State::default();
        for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
            let entry = entry.map_err(io("list", folder))?;
            let path = entry.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("spare") => {}
                // Cut short: a file that was being filled, a damaged one that was being put aside (and still is to be).
                Some("new" | "copied") => {
                    std::fs::remove_file(&path).map_err(io("remove", &path))?;
                    continue;
                }
                _ => continue,
            }
            let length = entry.metadata().map_err(io("stat", &path))?.len();
            if length == segment_bytes && state.ready.len() < SPARE_SEGMENTS {
                state.ready.push(path);
            } else {
                std::fs::remove_file(&path).map_err(io("remove", &path))?;
            }
        }
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        state.next_name = state.ready.iter().filter_map(number).max().map_or(0, |name| name + 1);
        let inner = Arc::new(Inner {
            folder: folder.to_path_buf(),
            segment_bytes,
            state: Mutex::new(state),
            wake: Condvar::new(),
        });
        let worker = inner.clone();
        let thread = thread::Builder::new()
            .name("log-spares".into())
            .spawn(move || worker.prepare())
            .map_err(io("start the thread of", folder))?;
        Ok(Self { inner, thread: Mutex::new(Some(thread)) })
    }

    /// A file of the usual size; made on the spot when none is ready.
    pub fn take(&self) -> Result<PathBuf, Error> {
        let ready = self.inner.state.lock().ready.pop();
        self.inner.wake.notify_all();
        ready.map_or_else(|| self.inner.make(self.inner.segment_bytes), Ok)
    }

    /// A file for one group that no usual segment can hold.
    pub fn oversize(&self, bytes: u64) -> Result<PathBuf, Error> {
        self.inner.make(bytes)
    }

    /// Keeps a segment's file that the index has covered for reuse, or deletes it.
    pub fn retire(&self, path: &Path) -> Result<(), Error> {
        let length = std::fs::metadata(path).map_err(io("stat", path))?.len();
        let spare = {
            let mut state = self.inner.state.lock();
            let wanted = length == self.inner.segment_bytes && state.ready.len() < SPARE_SEGMENTS;
            wanted.then(|| state.name(&self.inner.folder, "spare"))
        };
        let Some(spare) = spare else { return std::fs::remove_file(path).map_err(io("remove", path)) };
        std::fs::rename(path, &spare).map_err(io("rename", path))?;
        // Who takes it writes another segment's header into it. Were the former name still the one on the disk, a loss of
        // power then would leave a segment of the log under the name of another.
        sync_folder(&self.inner.folder)?;
        self.inner.state.lock().ready.push(spare);
        Ok(())
    }

    /// Stops the thread; nothing is prepared any more.
    pub fn stop(&self) {
        self.inner.state.lock().stop = true;
        self.inner.wake.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares log segments panicked");
        }
    }
}

impl State {
    fn name(&mut self, folder: &Path, extension: &str) -> PathBuf {
        self.next_name += 1;
        folder.join(format!("{:016}.{extension}", self.next_name))
    }
}

impl Inner {
    /// A new file; under a name that a later start removes if this one is cut short.
    fn make(&self, bytes: u64) -> Result<PathBuf, Error> {
        let (new, spare) = {
            let mut state = self.state.lock();
            let new = state.name(&self.folder, "new");
            (new.clone(), new.with_extension("spare"))
        };
        segment::preallocate(&new, bytes)?;
        std::fs::rename(&new, &spare).map_err(io("rename", &new))?;
        Ok(spare)
    }

    fn prepare(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.stop && !state.ready.is_empty() {
                    self.wake.wait(&mut state);
                }
                if state.stop {
                    return;
                }
            }
            match self.make(self.segment_bytes) {
                Ok(path) => self.state.lock().ready.push(path),
                Err(error) => {
                    // The writer makes its own when it needs one, and is poisoned if that fails as well.
                    tracing::warn!(%error, "no log segment could be prepared");
                    let mut state = self.state.lock();
                    if state.stop {
                        return;
                    }
                    self.wake.wait(&mut state);
                }
            }
        }
    }
}
