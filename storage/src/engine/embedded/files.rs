//! The data folder: its lock, its modes, and the file that says which format it has and which epoch was the last.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{Error, defaults::EPOCHS_SKIPPED};

/// Version of everything in the folder; raised when a program of before could misread it.
pub(super) const FORMAT: u32 = 3;
const MAGIC: &[u8; 8] = b"SBSTORE\0";
pub(super) const STORE: &str = "store";
/// There while nobody has started on a copy of another store.
const COPY: &str = "copy";
const LOCK: &str = "lock";
pub(super) const LOG: &str = "log";
pub(super) const INDEX: &str = "index.redb";
/// Damaged files, as they were found.
pub(super) const ASIDE: &str = "damaged";

/// An [`Error::Io`] that names the file.
pub(super) fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let what = format!("{what} {}", path.display());
    move |source| Error::Io { what, source }
}

/// An [`Error::Damaged`] that names the file.
pub(super) fn damaged(path: &Path, why: &str) -> Error {
    Error::Damaged { what: format!("{}: {why}", path.display()) }
}

/// Options that make files only their owner may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(io("sync", folder))
}

/// A data folder that is locked by this process.
pub(super) struct Folder {
    pub path: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder if needed and locks it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        for folder in [path.to_path_buf(), path.join(LOG)] {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(io("make", &folder))?;
        }
        let lock_path = path.join(LOCK);
        let lock = private().create(true).truncate(false).open(&lock_path).map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(io("lock", &lock_path)(source)),
        }
    }

    /// Locks a folder that has a store, or the remains of one; makes nothing.
    pub fn open_existing(path: &Path) -> Result<Self, Error> {
        if !path.join(STORE).exists() && !path.join(INDEX).exists() {
            let source = ErrorKind::NotFound.into();
            return Err(Error::Io { what: format!("find a store in {}", path.display()), source });
        }
        Self::open(path)
    }

    /// Says that this is a copy of another store, which may have begun epochs since.
    pub fn mark_copy(&self) -> Result<(), Error> {
        let path = self.path.join(COPY);
        private().create(true).truncate(true).open(&path).map(drop).map_err(io("make", &path))?;
        sync_folder(&self.path)
    }

    /// How many epochs a start skips: on a copy of another store as many as lead away from all that this store, or another
    /// copy of it, may have begun. A cursor of theirs must never be taken for one of ours.
    pub fn skipped_epochs(&self) -> Result<u64, Error> {
        let path = self.path.join(COPY);
        if !path.exists() {
            return Ok(0);
        }
        let random =
            getrandom::u64().map_err(|error| io("choose an epoch for", &path)(std::io::Error::other(error)))?;
        Ok(EPOCHS_SKIPPED + random % EPOCHS_SKIPPED)
    }

    /// This is no copy any more: an epoch of its own is durable.
    pub fn unmark_copy(&self) -> Result<(), Error> {
        let path = self.path.join(COPY);
        std::fs::remove_file(&path).map_err(io("remove", &path))?;
        sync_folder(&self.path)
    }

    /// The epoch of the last process; `None` when there was none.
    pub fn last_epoch(&self) -> Result<Option<u64>, Error> {
        let path = self.path.join(STORE);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io("read", &path)(error)),
        }
        let fields: &[u8; 24] = bytes.as_slice().try_into().map_err(|_| damaged(&path, "wrong length"))?;
        let (body, sum) = fields.split_at(20);
        if &body[..8] != MAGIC {
            return Err(damaged(&path, "not a store file"));
        }
        if crc32c::crc32c(body).to_le_bytes() != sum {
            return Err(damaged(&path, "checksum"));
        }
        let found = u32::from_le_bytes([body[8], body[9], body[10], body[11]]);
        if found != FORMAT {
            return Err(Error::Format { found, known: FORMAT });
        }
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&body[12..20]);
        Ok(Some(u64::from_le_bytes(epoch)))
    }

    /// Replaces the store file; durable when this returns.
    pub fn set_epoch(&self, epoch: u64) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&epoch.to_le_bytes());
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        let (path, temporary) = (self.path.join(STORE), self.path.join("store.new"));
        let mut file = private().create(true).truncate(true).open(&temporary).map_err(io("open", &temporary))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(io("rename", &temporary))?;
        sync_folder(&self.path)
    }
}
