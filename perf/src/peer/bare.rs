//! The bare axum server, as a child process of this very program.

use std::{env, fs, process::Command};

use crate::{
    bare::Same,
    error::{Context, Result},
    place::Placement,
    process::{Server, free_address},
};

/// Starts one that answers `same` to everything.
///
/// # Errors
/// When it does not become ready.
pub fn start(same: &Same, place: Placement) -> Result<Server> {
    let address = free_address()?;
    let folder = tempfile::tempdir().context("making a folder for the bare server")?;
    let file = folder.path().join("answer.json");
    let text = serde_json::to_vec(same).context("writing the answer")?;
    fs::write(&file, text).context(format!("writing {}", file.display()))?;
    let mut command = Command::new(env::current_exe().context("finding this program")?);
    command.args(["bare-server", "--listen", &address.to_string(), "--answer"]).arg(&file);
    Server::start(command, address, folder, false, place)
}
