//! `syncbridge storage repair`.

use std::process::ExitCode;

use serde_json::json;
use syncbridge_storage::engine::embedded::{self, tools::Offline};

use super::{Where, failure};
use crate::cli::{Failure, print, tell};

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Where) -> Result<ExitCode, Failure> {
    options.embedded_only(
        "`storage repair`",
        "repair it with the database's own tools (`nodetool repair`); `syncbridge storage check` then says whether every session is whole",
    )?;
    let store = Offline::lock(&options.store()?).map_err(failure)?;
    let done = store.repair(embedded::Options::default()).map_err(failure)?;
    if options.json {
        let done = json!({"lost": done.lost, "putRight": done.put_right, "aside": done.aside});
        print(format_args!("{done}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for what in &done.lost {
        print(format_args!("lost: {what}\n"))?;
    }
    for what in &done.put_right {
        print(format_args!("put right: {what}\n"))?;
    }
    for file in &done.aside {
        print(format_args!("kept as it was: {}\n", file.display()))?;
    }
    if done.lost.iter().any(|lost| lost.contains("table Token") || lost.contains("rows of rows")) {
        tell("logins that were ended may be among it: `syncbridge rotate-key` ends every access token that is out");
    }
    if done.lost.is_empty() {
        tell("nothing is lost; a server can be started");
    } else {
        tell("a server can be started; what is lost is listed above");
    }
    Ok(ExitCode::SUCCESS)
}
