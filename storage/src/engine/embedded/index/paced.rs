//! The index's file as redb sees it: what redb writes goes to the disk in small helpings, so that a sync of the log never
//! waits behind all that a flush has to write. Never changes what is written, nor in which order it is promised.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicUsize, Ordering},
};

use redb::StorageBackend;

use crate::defaults::INDEX_HELPING_BYTES;

/// A file. Nobody else opens it: the folder is locked.
#[derive(Debug)]
pub(super) struct Paced {
    file: File,
    /// Bytes that were written and not synced.
    unsynced: AtomicUsize,
}

impl Paced {
    pub fn new(file: File) -> Self {
        Self { file, unsynced: AtomicUsize::new(0) }
    }
}

impl StorageBackend for Paced {
    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        if self.unsynced.fetch_add(data.len(), Ordering::Relaxed) + data.len() >= INDEX_HELPING_BYTES {
            self.sync_data()?;
        }
        Ok(())
    }
}
