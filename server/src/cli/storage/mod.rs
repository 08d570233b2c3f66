//! `syncbridge storage …`: looks after the embedded store in the data folder, or the one in a CQL database. All but `backup`
//! work on a store that no server has open; `backup` asks the server that has. `repair` and `backup` are for the embedded
//! store: a database does both for itself. `migrate` is for a CQL database.

mod backup;
mod check;
mod export;
mod import;
mod lines;
mod migrate;
mod repair;
mod stats;

use std::{path::PathBuf, process::ExitCode};

use syncbridge_storage::{Error, engine::scylla};

use super::{End, Failure, config};
use crate::{app, config::Engine};

/// `storage …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Reads everything and lists what is damaged; changes nothing
    Check(Where),
    /// Makes a damaged store open again and says what is lost; damaged files are put aside, never deleted
    Repair(Where),
    /// Writes everything as JSON lines
    Export(export::Options),
    /// Makes a store of JSON lines that `export` wrote
    Import(import::Options),
    /// Counts sessions, rows and bytes
    Stats(Where),
    /// Copies the store of a running server, with its keys, to a new data folder that a server can be started on
    Backup(backup::Options),
    /// Makes the schema in the CQL database, or raises it to what this program needs
    Migrate(config::Options),
}

/// Which store, and how it is told.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Where {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    common: config::Options,
}

impl Where {
    fn data(&self) -> Result<PathBuf, Failure> {
        Ok(self.common.load(&[])?.config.data)
    }

    /// The CQL database, if the store is in one.
    fn database(&self) -> Result<Option<scylla::Options>, Failure> {
        let config = self.common.load(&[])?.config;
        match config.storage.engine {
            Engine::Scylla => Ok(Some(app::cql_options(&config)?)),
            Engine::Embedded => Ok(None),
            Engine::Memory => Err(Failure::new(End::Usage, "`storage.engine` is `memory`: there is no store")),
        }
    }

    /// Refuses what a database does for itself.
    fn embedded_only(&self, what: &str, instead: &str) -> Result<(), Failure> {
        match self.database()? {
            None => Ok(()),
            Some(_) => Err(Failure::new(
                End::Usage,
                format!("{what} is for the embedded store; this one is in a CQL database"),
            )
            .hint(instead)),
        }
    }

    /// The store's folder.
    fn store(&self) -> Result<PathBuf, Failure> {
        Ok(self.data()?.join(crate::data::STORE))
    }
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(options) => check::run(options),
        Command::Repair(options) => repair::run(options),
        Command::Export(options) => export::run(options),
        Command::Import(options) => import::run(options),
        Command::Stats(options) => stats::run(options),
        Command::Backup(options) => backup::run(options),
        Command::Migrate(options) => migrate::run(options),
    }
}

/// Why the store could not be worked on.
#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` takes")]
fn failure(error: Error) -> Failure {
    match &error {
        Error::Locked { .. } => Failure::new(End::Failed, error.to_string()).hint(
            "a server has it open: stop that first; `syncbridge storage backup` copies a store while it is served",
        ),
        Error::Damaged { .. } => Failure::new(End::Damaged, error.to_string())
            .hint("`syncbridge storage check` lists what is damaged, `syncbridge storage repair` goes around it"),
        Error::Unavailable { .. } => Failure::new(End::Unreachable, error.to_string()),
        Error::Refused { .. } => Failure::new(End::Conflict, error.to_string()),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::new(End::Usage, error.to_string()).hint("name the server's data folder with --data")
        }
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            Failure::new(End::Conflict, error.to_string()).hint("name a folder that has no store yet")
        }
        _ => Failure::new(End::Failed, error.to_string()),
    }
}
