//! `syncbridge update`: changes a session's document by a JSON Patch and waits until the change is on the server's disk.

use std::process::ExitCode;

use serde_json::json;
use syncbridge_client::{OnConflict, Patch, UpdateDurability, UpdateOptions};
use syncbridge_document::{ApplyError, Limits};

use super::{End, Failure, client, paint::clean, print};

/// `update …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub session: String,
    /// JSON Patch (RFC 6902): a list of operations
    #[arg(long, value_name = "JSON")]
    pub patch: String,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

const EXAMPLE: &str =
    r#"a patch is a list of operations: --patch '[{"op": "add", "path": "/title", "value": "hello"}]'"#;

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let patch = Patch::parse(options.patch.as_bytes(), &Limits::default())
        .map_err(|error| Failure::new(End::Usage, format!("--patch: {error}")).hint(EXAMPLE))?;
    options.client.run(async |client| {
        let session = options.client.in_time(client.session::<serde_json::Value>(&options.session)).await?;
        let mut document = session.document().map_err(|error| options.client.failure(error))?;
        patch
            .apply(&mut document, syncbridge_document::Options::STRICT, &Limits::default())
            .map_err(|error| does_not_apply(&error))?;
        let how = UpdateOptions {
            durability: UpdateDurability::Durable,
            on_conflict: OnConflict::SessionPolicy,
            ..UpdateOptions::default()
        };
        let update = session.update_as(patch, &how).map_err(|error| options.client.failure(error))?;
        let at = options.client.in_time(update.durable()).await?;
        if options.client.json {
            print(format_args!(
                "{}\n",
                json!({"sessionId": options.session, "version": at.version, "epoch": at.epoch, "durable": true})
            ))?;
        } else {
            print(format_args!("{} is at version {}, on disk\n", clean(&options.session), at.version))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn does_not_apply(error: &ApplyError) -> Failure {
    let what = clean(&error.to_string());
    match error {
        ApplyError::TestFailed { .. } => Failure::new(End::Conflict, what),
        ApplyError::PathNotFound { .. } => Failure::new(End::Usage, what).hint(
            "`syncbridge get` shows what is there; `replace` and `remove` need it to be there, `add` needs its parent",
        ),
        _ => Failure::new(End::Usage, what),
    }
}
