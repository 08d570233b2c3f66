//! `syncbridge handoff`: offers a session to another device, and takes it there. Completing needs no token: it is what
//! signs a device in.

use std::{process::ExitCode, time::Duration};

use serde_json::json;
use syncbridge_client::{
    Error, ErrorCode, ServerError,
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
    #[arg(value_name = "CODE|TOKEN")]
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
    let Start { session, ttl, client: connection } = options;
    if !id::is_session(session) {
        let failure = Failure::new(End::Usage, "no session can have this id");
        return Err(failure.hint("it has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not `.` or `..`"));
    }
    connection.run(async |client| {
        let handoff = client.handoff(session);
        let offer = handoff.offer(ttl.map(Duration::from_secs));
        let Offer { code, token, expires_at, url, .. } = connection.in_time(offer).await?;
        if connection.json {
            let object =
                json!({"sessionId": session, "code": code, "token": token, "url": url, "expiresAt": expires_at});
            print(format_args!("{object}\n"))?;
        } else {
            let picture = Paint::for_stdout().white_on_black(&qr::half_blocks(&url)?);
            let [code, url, expires] = [&code, &url, &expires_at].map(|text| clean(text));
            print(format_args!("code     {code}\nlink     {url}\nexpires  {expires}\n\n{picture}"))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn complete(options: &Complete) -> Result<ExitCode, Failure> {
    let Complete { presented, client: connection } = options;
    connection.run_signed_out(async |client| {
        let account = client.account();
        let moved = connection
            .in_time_or(account.take_over(presented.trim()), |error| match &error {
                Error::Server(said) => of_code(said).unwrap_or_else(|| connection.failure(error)),
                _ => connection.failure(error),
            })
            .await?;
        let Moved { session, at, state, active_device } = moved;
        let tokens = client.tokens().borrow().clone();
        let tokens = tokens.ok_or_else(|| Failure::new(End::Failed, "the server let this device in without tokens"))?;
        if connection.json {
            let object = json!({
                "sessionId": session, "version": at.version, "epoch": at.epoch, "state": state.to_serde(),
                "deviceId": active_device, "userId": tokens.user.id, "accessToken": tokens.access,
                "refreshToken": tokens.refresh, "expiresIn": tokens.expires_in,
            });
            print(format_args!("{object}\n"))?;
        } else {
            let [session, device, access, refresh] =
                [&session, &active_device, &tokens.access, &tokens.refresh].map(|text| clean(text));
            let version = at.version;
            print(format_args!(
                "session  {session} at version {version}, active on {device}\naccess   {access}\nrefresh  {refresh}\n"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// What to tell of a code that was not taken, where that is about the code.
fn of_code(error: &ServerError) -> Option<Failure> {
    let failure = |end| Failure::new(end, error.to_string());
    match error.code()? {
        ErrorCode::NotFound => Some(
            failure(End::NotFound)
                .hint("look at the code again: 10 letters and digits; case, spaces and hyphens do not count"),
        ),
        ErrorCode::Gone => Some(
            failure(End::Conflict)
                .hint("a code is good once and for minutes: `syncbridge handoff start` makes another"),
        ),
        ErrorCode::HandoffDeclined => Some(failure(End::Refused)),
        _ => None,
    }
}
