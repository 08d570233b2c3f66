//! `syncbridge storage migrate`: makes the schema in the CQL database, or raises it. Never run by a server.

use std::process::ExitCode;

use syncbridge_storage::{Error, engine::scylla};

use super::super::{End, Failure, config, print};
use crate::{app, config::Engine};

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub(super) fn run(options: &config::Options) -> Result<ExitCode, Failure> {
    let config = options.load(&[])?.config;
    if config.storage.engine != Engine::Scylla {
        return Err(Failure::new(End::Usage, "`storage.engine` is not `scylla`: only its schema is made by hand")
            .hint("add --set storage.engine=scylla, or name the server's configuration with --config"));
    }
    let options = app::cql_options(&config)?;
    let (before, after) = scylla::migrate(&options).map_err(|error| {
        let end = if matches!(error, Error::Unavailable { .. }) { End::Unreachable } else { End::Failed };
        Failure::new(end, error.to_string())
    })?;
    print(match before {
        0 => format!("keyspace {}: the schema is made, format {after}\n", options.keyspace),
        same if same == after => format!("keyspace {}: nothing to do, format {after}\n", options.keyspace),
        before => format!("keyspace {}: format {before} is now {after}\n", options.keyspace),
    })?;
    Ok(ExitCode::SUCCESS)
}
