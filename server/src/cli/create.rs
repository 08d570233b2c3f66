//! `syncbridge create`: makes a session.

use std::process::ExitCode;

use serde_json::{Value, json};
use syncbridge_client::{ConflictPolicy, DevicePolicy};

use super::{End, Failure, client, paint::clean, print};

/// `create …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub session: String,
    /// Its first state
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub state: String,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let state: Value = serde_json::from_str(&options.state).map_err(|error| {
        Failure::new(End::Usage, format!("--state is not JSON: {error}"))
            .hint("text needs its quotes, and the shell must leave them: --state '{\"title\": \"hello\"}'")
    })?;
    options.client.run(async |client| {
        let (_session, made) = client
            .create_queued(Some(&options.session), &state, ConflictPolicy::default(), DevicePolicy::default())
            .map_err(|error| options.client.failure(error))?;
        let at = options.client.in_time(made.durable()).await?;
        if options.client.json {
            print(format_args!(
                "{}\n",
                json!({"sessionId": options.session, "version": at.version, "epoch": at.epoch})
            ))?;
        } else {
            print(format_args!("{} is at version {}\n", clean(&options.session), at.version))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
