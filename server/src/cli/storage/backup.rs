//! `syncbridge storage backup`: asks the server that has the store open.

use std::{path::PathBuf, process::ExitCode};

use super::Where;
use crate::{
    cli::{End, Failure, ask_server, print},
    control,
};

/// `backup …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The data folder to make; must not exist
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Which server.
    #[command(flatten)]
    of: Where,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    options.of.embedded_only(
        "`storage backup`",
        "use the database's own snapshots (`nodetool snapshot`), or `syncbridge storage export` while no server lives",
    )?;
    let to = std::path::absolute(&options.to)?;
    if to.exists() {
        return Err(Failure::new(End::Conflict, format!("{} exists already", to.display())));
    }
    let data = options.of.data()?;
    let hint = "is the server running, with this --data? The folder of a server that is not can simply be copied";
    let backup = ask_server(&data, &control::Request::Backup { to: to.clone() }, hint)?;
    if options.of.json {
        print(format_args!("{backup}\n"))?;
    } else {
        let (epoch, group, sessions) = (&backup["epoch"], &backup["group"], &backup["sessions"]);
        print(format_args!("{sessions} sessions as of group {group} of epoch {epoch}, in {}\n", to.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
