//! `syncbridge get`: prints a session's document.

use std::process::ExitCode;

use serde_json::json;

use super::{Failure, client, paint::clean, print, tell};

/// `get …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub session: String,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    options.client.run(async |client| {
        let document = options.client.in_time(client.get(&options.session)).await?;
        let (version, epoch) = (document.at.version, document.at.epoch);
        let state = document.value.to_serde();
        if options.client.json {
            let object = json!({
                "sessionId": options.session, "version": version, "epoch": epoch, "state": state,
                "activeDeviceId": document.active_device,
            });
            print(format_args!("{object}\n"))?;
        } else {
            tell(format_args!("{} at version {version}", clean(&options.session)));
            print(format_args!("{state:#}\n"))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
