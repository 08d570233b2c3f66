//! `syncbridge handoff`: offers a session to another device, and takes it there. Completing needs no token, for it is what
//! signs a device in.

use std::{process::ExitCode, time::Duration};

use serde_json::json;
use syncbridge_client::{
    Error, ErrorCode, Tokens,
    service::{Moved, Offer},
};
use syncbridge_codec::id;

use super::{
    End, Failure, client,
    paint::{Paint, clean},
    print,
};
use crate::handoff::qr;

/// `handoff …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Offers a session: prints a code, a link and its QR code, good once
    Start(Start),
    /// Takes a session that was offered: signs this device in and makes it the active one
    Complete(Complete),
}

/// `handoff start …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Start {
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub session: String,
    /// How long the code is good for, 30 to 900; the server's `handoff.ttl_seconds` without it
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u64>,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

/// `handoff complete …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Complete {
    /// The code, or the token that the link ends in
    #[arg(value_name = "CODE|TOKEN", allow_hyphen_values = true)]
    pub presented: String,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Start(options) => start(options),
        Command::Complete(options) => complete(options),
    }
}

fn start(options: &Start) -> Result<ExitCode, Failure> {
    let Start { session, ttl, client: reach } = options;
    // It becomes part of a path: what no session is called must not lead to another route.
    if !id::is_session(session) {
        let failure = Failure::new(End::Usage, "no session can have this id");
        return Err(failure.hint("it has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not `.` or `..`"));
    }
    reach.run(async |client| {
        let offer = reach.in_time(client.handoff(session).offer(ttl.map(Duration::from_secs))).await?;
        let Offer { code, token, url, expires_at, .. } = offer;
        if reach.json {
            let object =
                json!({"sessionId": session, "code": code, "token": token, "url": url, "expiresAt": expires_at});
            print(format_args!("{object}\n"))?;
        } else {
            let picture = qr::half_blocks(&url)?;
            let picture = Paint::for_stdout().white_on_black(&picture);
            print(format_args!(
                "code     {}\nlink     {}\nexpires  {}\n\n{picture}",
                clean(&code),
                clean(&url),
                clean(&expires_at)
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn complete(options: &Complete) -> Result<ExitCode, Failure> {
    let Complete { presented, client: reach } = options;
    reach.run_signed_out(async |client| {
        let taken = reach.in_time(async { Ok(client.account().take_over(presented.trim()).await) }).await?;
        let Moved { session, at, state, active_device } = taken.map_err(|error| failure(reach, error))?;
        let tokens = client.tokens().borrow().clone();
        let Tokens { access, refresh, .. } =
            tokens.ok_or_else(|| Failure::new(End::Failed, "the server let this device in without tokens"))?;
        if reach.json {
            let object = json!({
                "sessionId": session, "version": at.version, "epoch": at.epoch, "state": state.to_serde(),
                "deviceId": active_device, "accessToken": access, "refreshToken": refresh,
            });
            print(format_args!("{object}\n"))?;
        } else {
            print(format_args!(
                "session  {} at version {}, active on {}\naccess   {}\nrefresh  {}\n",
                clean(&session),
                at.version,
                clean(&active_device),
                clean(&access),
                clean(&refresh)
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What to tell whose code does not open anything.
fn failure(reach: &client::Options, error: Error) -> Failure {
    let Error::Server(said) = &error else { return reach.failure(error) };
    match said.code() {
        Some(ErrorCode::Gone) => Failure::new(End::Conflict, said.to_string())
            .hint("a code is good once and for minutes: `syncbridge handoff start` makes another"),
        Some(ErrorCode::NotFound) => Failure::new(End::NotFound, said.to_string())
            .hint("look at the code again: 10 letters and digits; case, spaces and hyphens do not count"),
        _ => reach.failure(error),
    }
}
