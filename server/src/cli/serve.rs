//! `syncbridge serve`: reads the configuration, starts the log, hands over to the server.

use std::{io::IsTerminal as _, process::ExitCode};

use tracing_subscriber::EnvFilter;

use super::{End, Failure, config};
use crate::config::{Config, Loaded};

/// Flags of their own for the common settings.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub common: config::Options,
    /// Address for clients: TCP and UDP [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Address for operators [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Where sessions are kept: embedded, memory or scylla [default: embedded]
    #[arg(long, value_name = "ENGINE")]
    pub storage: Option<String>,
    /// Development profile: lets clients in without tokens; on loopback only
    #[arg(long)]
    pub open: bool,
    /// Adds /echo for protocol test suites; on loopback only
    #[arg(long)]
    pub echo: bool,
}

impl Options {
    /// The configuration.
    ///
    /// # Errors
    /// [`Failure`] that names everything that is wrong.
    pub fn load(&self) -> Result<Loaded, Failure> {
        self.common.load(&[
            ("--listen", "listen", self.listen.clone()),
            ("--admin", "admin", self.admin.clone()),
            ("--storage", "storage.engine", self.storage.clone()),
            ("--open", "open", self.open.then(|| "true".to_owned())),
            ("--echo", "echo", self.echo.then(|| "true".to_owned())),
        ])
    }
}

/// Runs `serve` with the configuration, under a log on stderr.
///
/// # Errors
/// [`Failure`].
pub fn run<E: Into<Box<dyn std::error::Error>>>(
    options: &Options,
    serve: impl FnOnce(Config) -> Result<ExitCode, E>,
) -> Result<ExitCode, Failure> {
    let config = options.load()?.config;
    let filter = EnvFilter::try_new(&config.log.filter).map_err(|error| Failure::new(End::Usage, error.to_string()))?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).init();
    let data = config.data.clone();
    serve(config).map_err(|error| {
        let error = error.into();
        let mut what = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !what.contains(&inner_text) {
                what = format!("{what}: {inner_text}");
            }
            cause = inner.source();
        }
        let failure = Failure::new(End::Failed, &what);
        if what.contains("Address already in use") {
            failure.hint("another server has the port: stop it, or choose others with --listen and --admin")
        } else if what.contains("in use by another process") {
            failure.hint(format!(
                "another server works in {}: stop it, or choose another folder with --data",
                data.display()
            ))
        } else {
            failure
        }
    })
}
