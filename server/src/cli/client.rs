//! What the commands that talk to a server have in common: options, the connection, and what went wrong in words that
//! help.

use std::{future::Future, net::IpAddr, path::PathBuf, process::ExitCode, time::Duration};

use syncbridge_client::{Client, Config, Error, ErrorCode, Fingerprint, Refusal, ServerError, Transport, Trust};

use super::{End, Failure};
use crate::defaults;

/// How long a command waits for an answer before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one attempt to connect may take. A person waits: three round trips of a slow mobile link, one lost packet.
const ATTEMPT: Duration = Duration::from_secs(4);

/// Options of every command that talks to a server.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The server
    #[arg(long, value_name = "HOST:PORT", env = "SYNCBRIDGE_SERVER", default_value_t = defaults::LISTEN.to_string())]
    pub server: String,
    /// What to connect by; auto tries QUIC first
    #[arg(long, value_enum, default_value_t = By::Auto)]
    pub transport: By,
    /// Access token, as `syncbridge token` makes it
    #[arg(
        long,
        env = "SYNCBRIDGE_TOKEN",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub token: String,
    /// This device's id [default: cli-HOSTNAME]
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub device: Option<String>,
    /// Fingerprint of the server's certificate, as the server prints it
    #[arg(long, value_name = "FINGERPRINT")]
    pub pin: Option<String>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// What to connect by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// QUIC first, WebSocket when UDP does not get through
    Auto,
    /// QUIC only
    Quic,
    /// WebSocket only
    Ws,
}

impl Options {
    /// Connects, does something, and ends the connection.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run<F>(&self, work: impl FnOnce(Client) -> F) -> Result<ExitCode, Failure>
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = self.in_time(Client::connect(self.config()?)).await?;
            Self::work(client, work).await
        })
    }

    /// As [`Options::run`], with a client that nobody is signed in at: the token is not looked at.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn run_signed_out<F>(&self, work: impl FnOnce(Client) -> F) -> Result<ExitCode, Failure>
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = Client::signed_out(self.config()?).map_err(|error| self.failure(error))?;
            Self::work(client, work).await
        })
    }

    async fn work<F>(client: Client, work: impl FnOnce(Client) -> F) -> Result<ExitCode, Failure>
    where
        F: Future<Output = Result<ExitCode, Failure>>,
    {
        let outcome = work(client.clone()).await;
        // What is still on its way was either awaited by the work or is not wanted any more.
        if tokio::time::timeout(Duration::from_secs(2), client.close()).await.is_err() {
            tracing::debug!("the connection did not end in time");
        }
        outcome
    }

    /// Waits for an answer, but not for ever.
    ///
    /// # Errors
    /// [`Failure`], in words that help.
    pub async fn in_time<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await else {
            let what = format!("{} did not answer within {} s", self.server, PATIENCE.as_secs());
            return Err(Failure::new(End::Unreachable, what));
        };
        answer.map_err(|error| self.failure(error))
    }

    fn config(&self) -> Result<Config, Failure> {
        let transport = match self.transport {
            By::Auto => Transport::Auto,
            By::Quic => Transport::Quic,
            By::Ws => Transport::WebSocket,
        };
        let mut config = Config::new(&self.server, self.device()).token(self.token.trim()).transport(transport);
        config.times.handshake = ATTEMPT.as_millis() as u64;
        Ok(config.trust(self.trust()?))
    }

    /// This device's id.
    pub fn device(&self) -> String {
        self.device.clone().unwrap_or_else(default_device)
    }

    /// The server as `HOST:PORT`, however it was given.
    fn authority(&self) -> &str {
        let (_scheme, authority) = self.server.split_once("://").unwrap_or(("", &self.server));
        authority.trim_end_matches('/')
    }

    /// The pinned server; else any on this machine, where nobody can stand in between; else the one that was met first.
    fn trust(&self) -> Result<Trust, Failure> {
        if let Some(pin) = &self.pin {
            let pin: Fingerprint = pin.parse().map_err(|error| Failure::new(End::Usage, format!("--pin: {error}")))?;
            return Ok(Trust::Pin(pin));
        }
        let address = self.authority();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match state_folder() {
            Some(folder) if !here => {
                crate::data::create(&folder)?;
                Ok(Trust::FirstUse(folder.join("known_servers")))
            }
            _ => Ok(Trust::Loopback),
        }
    }

    /// What to tell of an error.
    pub fn failure(&self, error: Error) -> Failure {
        match error {
            Error::Connect(why) => Failure::new(End::Unreachable, format!("cannot connect to {}: {why}", self.server))
                .hint("is the server running? `syncbridge serve` starts one; --server HOST:PORT names another"),
            Error::Server(error) | Error::Refused(Refusal::Error(error)) => self.refused(&error),
            Error::Refused(conflict) => Failure::new(End::Conflict, conflict.to_string())
                .hint("somebody changed the same place meanwhile: look with `syncbridge get`, then try again"),
            Error::Config(why) => {
                Failure::new(End::Usage, why).hint("--server takes HOST:PORT, such as 127.0.0.1:7400")
            }
            Error::Request(why) => Failure::new(End::Usage, why.to_string()),
            Error::Json(why) => Failure::new(End::Failed, why),
            Error::Disconnected => Failure::new(End::Unreachable, error.to_string()),
            Error::SignedOut => Failure::new(End::Refused, error.to_string()),
            Error::Answer(_) => Failure::new(End::Failed, error.to_string()),
            Error::Closed => Failure::new(End::Failed, "the connection was ended"),
        }
    }

    /// What to tell when the server said no.
    pub fn refused(&self, error: &ServerError) -> Failure {
        use ErrorCode as Code;
        let failure = |end| Failure::new(end, error.to_string());
        match error.code() {
            Some(Code::Unauthenticated) if self.token.is_empty() => failure(End::Refused).hint(
                "no token was given: `export SYNCBRIDGE_TOKEN=$(syncbridge token USER)`, with the server's --data DIR",
            ),
            Some(Code::Unauthenticated) => failure(End::Refused)
                .hint("the token must be made with this server's key: `syncbridge token USER --data DIR`"),
            Some(Code::TokenExpired) => failure(End::Refused)
                .hint("make a new one: `syncbridge token USER`, with --ttl SECONDS for a longer life"),
            Some(Code::Forbidden | Code::NotActive | Code::HandoffDeclined) => failure(End::Refused),
            Some(Code::NotFound) => failure(End::NotFound)
                .hint("`syncbridge create SESSION` makes one; if there is one, this user may not see it"),
            Some(Code::AlreadyExists | Code::TestFailed | Code::VersionAhead) => failure(End::Conflict),
            Some(Code::InvalidSessionId) => failure(End::Usage)
                .hint("a session's id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ : @ - and is not `.` or `..`"),
            Some(
                Code::InvalidJson
                | Code::InvalidPatch
                | Code::PathNotFound
                | Code::DocumentTooLarge
                | Code::InvalidField
                | Code::InvalidRequest,
            ) => failure(End::Usage),
            Some(Code::UnsupportedVersion) => {
                failure(End::Failed).hint("server and client are too far apart in age: update the older one")
            }
            _ if error.retryable => failure(End::Failed).hint("this passes: try again in a moment"),
            _ => failure(End::Failed),
        }
    }
}

fn default_device() -> String {
    // Where the kernel does not tell, all such machines are one device to the server; --device tells them apart.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| !c.is_control()).take(100).collect();
    if host.is_empty() || host.len() > 120 { "cli".to_owned() } else { format!("cli-{host}") }
}

/// Where known servers are remembered: the place of the XDG Base Directory Specification for state.
fn state_folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_STATE_HOME") {
        Some(state) if !state.is_empty() => PathBuf::from(state),
        _ => PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".local/state"),
    };
    Some(folder.join("syncbridge"))
}
