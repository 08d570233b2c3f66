//! `syncbridge rotate-key`: exchanges the key that signs access tokens. A running server takes the new one by itself.

use std::{
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use super::{End, Failure, config, print, tell};
use crate::{
    auth::{KEY_FILE, keys},
    defaults,
};

/// `rotate-key …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Drop the former keys: every access token that they signed ends
    #[arg(long)]
    pub drop_former: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where the configuration comes from.
    #[command(flatten)]
    pub common: config::Options,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let data = options.common.load(&[])?.config.data;
    if !data.join(KEY_FILE).exists() {
        let what = format!("{} has no {KEY_FILE}", data.display());
        return Err(Failure::new(End::Usage, what).hint("name the server's data folder with --data"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let kid = keys::rotate(&data, options.drop_former, now)?;
    if options.json {
        print(format_args!("{}\n", json!({"kid": kid})))?;
    } else {
        print(format_args!("{kid}\n"))?;
        let within = defaults::KEYS_EVERY.as_secs();
        tell(format_args!("note: a running server signs with the new key within {within} s"));
    }
    Ok(ExitCode::SUCCESS)
}
