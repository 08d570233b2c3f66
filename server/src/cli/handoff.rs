//! `syncbridge handoff`: offers a session to another device, and takes it there. Both go by the routes of REST, over the
//! native connection; completing needs no token, for it is what signs a device in.

use std::process::ExitCode;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use syncbridge_client::{As, ErrorCode, Header, Method, Request, Response, ServerError};
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

/// What an offer's maker is told.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offered {
    code: String,
    token: String,
    url: String,
    expires_at: String,
}

/// What who completes is told.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completed {
    session_id: String,
    version: u64,
    device_id: String,
    access_token: String,
    refresh_token: String,
}

/// What a server says of a request that failed (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
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
    let Start { session, ttl, client } = options;
    // It becomes part of a path: what no session is called must not lead to another route.
    if !id::is_session(session) {
        let failure = Failure::new(End::Usage, "no session can have this id");
        return Err(failure.hint("it has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not `.` or `..`"));
    }
    let body = ttl.map_or_else(|| json!({}), |seconds| json!({"ttlSeconds": seconds}));
    let answer = client.ask(As::Device, post(client, &format!("/sessions/{session}/handoff/code"), &body))?;
    let none = "`syncbridge create SESSION` makes one; if there is one, this user may not see it";
    let Offered { code, token, url, expires_at } = taken(client, &answer, none)?;
    if client.json {
        let object = json!({"sessionId": session, "code": code, "token": token, "url": url, "expiresAt": expires_at});
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
}

fn complete(options: &Complete) -> Result<ExitCode, Failure> {
    let Complete { presented, client } = options;
    // A code is short, and how people type one is the server's to read; a link's token is never as short.
    let presented = presented.trim();
    let field = if presented.len() < TOKEN { "code" } else { "token" };
    let body = json!({field: presented, "deviceId": client.device()});
    let answer = client.ask(As::Nobody, post(client, "/handoff/complete", &body))?;
    let none = "look at the code again: 10 letters and digits; case, spaces and hyphens do not count";
    if client.json {
        let object: Value = taken(client, &answer, none)?;
        print(format_args!("{object}\n"))?;
    } else {
        let Completed { session_id, version, device_id, access_token, refresh_token } = taken(client, &answer, none)?;
        print(format_args!(
            "session  {} at version {version}, active on {}\naccess   {}\nrefresh  {}\n",
            clean(&session_id),
            clean(&device_id),
            clean(&access_token),
            clean(&refresh_token)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Characters of a token: 256 bits as base64url. A code with all its spaces and hyphens is shorter.
const TOKEN: usize = 43;

fn post(client: &client::Options, path: &str, body: &Value) -> Request {
    let header = |name: &'static str, value: &str| Header { name: name.into(), value: value.into() };
    Request {
        id: 1,
        method: Method::Post,
        path: path.into(),
        // The link that the server makes is to lead back to where it was reached.
        headers: vec![header("content-type", "application/json"), header("host", client.authority())],
        body: body.to_string().into(),
    }
}

/// The body of an answer, or what to tell of the problem in it; `none` helps when there is nothing of that name.
fn taken<T: DeserializeOwned>(client: &client::Options, answer: &Response, none: &str) -> Result<T, Failure> {
    if (200..300).contains(&answer.status) {
        return serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::new(End::Failed, format!("the server's answer cannot be read: {error}")));
    }
    // A problem that cannot be read is told by its status.
    let Problem { code, detail } = serde_json::from_slice(&answer.body).unwrap_or_default();
    let known = ErrorCode::ALL.iter().copied().find(|known| known.name() == code);
    let Some(code) = known else {
        return Err(Failure::new(End::Failed, format!("the server answered with status {}", answer.status)));
    };
    let error = ServerError::of(code, clean(&detail));
    let failure = |end| Failure::new(end, error.to_string());
    Err(match code {
        ErrorCode::Gone => {
            failure(End::Conflict).hint("a code is good once and for minutes: `syncbridge handoff start` makes another")
        }
        ErrorCode::HandoffDeclined => failure(End::Refused),
        ErrorCode::InvalidRequest => failure(End::Usage),
        ErrorCode::NotFound => failure(End::NotFound).hint(none),
        _ => client.refused(&error),
    })
}
