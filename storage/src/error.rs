//! Why the store cannot do what was asked; says whether the disk, the data or the caller is at fault.

/// Why the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no. After a failed write or sync of the log the engine is poisoned.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the file's name.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// Something read back does not match its checksum or its form.
    #[error("damaged: {what}")]
    Damaged {
        /// Which file or session, and where.
        what: String,
    },
    /// Another process has the folder open.
    #[error("the data folder is in use by another process: {path}")]
    Locked {
        /// The folder.
        path: String,
    },
    /// The files are of a version that this program does not know.
    #[error("the data folder has format {found}; this program reads {known}")]
    Format {
        /// The version found.
        found: u32,
        /// The version known.
        known: u32,
    },
    /// An earlier failure closed the engine.
    #[error("the store is closed after an earlier failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// The database does not answer, or says that it cannot now. It may later; what was submitted is tried until then.
    #[error("{what}: the database is not available: {cause}")]
    Unavailable {
        /// What was being done.
        what: String,
        /// What the driver said.
        cause: String,
    },
    /// The database refuses, and will again: the rights, the schema or the settings are wrong.
    #[error("{what}: the database refuses: {cause}")]
    Refused {
        /// What was being done.
        what: String,
        /// What it said.
        cause: String,
    },
}
