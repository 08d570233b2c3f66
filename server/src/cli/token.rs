//! `syncbridge token`: makes an access token with the key in the data folder. Needs no running server.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;

use super::{End, Failure, config, print, tell};
use crate::{
    auth::{IssueError, KEY_FILE, SigningKey},
    data,
};

/// `token …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Who the token is for: a user's id
    #[arg(allow_hyphen_values = true)]
    pub user: String,
    /// The one device it is for; without it, any device of the user
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub device: Option<String>,
    /// How long it is good for; `auth.access_ttl_seconds` without it
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u64>,
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
    let config = options.common.load(&[])?.config;
    let made = data::create(&config.data)?;
    let file = config.data.join(KEY_FILE);
    let new = made || !file.exists();
    let key = SigningKey::create_or_load(&file)?;
    if new {
        tell(format_args!(
            "note: made a new key in {}; only a server with this data folder takes the token",
            file.display()
        ));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let ttl = options.ttl.unwrap_or(config.auth.access_ttl_seconds);
    let token =
        key.issue(&options.user, options.device.as_deref(), None, Duration::from_secs(ttl), now).map_err(|error| {
            let end = if matches!(error, IssueError::Failed(_)) { End::Failed } else { End::Usage };
            Failure::new(end, error.to_string())
        })?;
    if options.json {
        let expires_at = now + ttl;
        print(format_args!(
            "{}\n",
            json!({"token": token, "user": options.user, "device": options.device, "expiresAt": expires_at})
        ))?;
    } else {
        print(format_args!("{token}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
