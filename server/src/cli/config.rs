//! `syncbridge config check|print`, and the options that every command with a configuration has.

use std::{path::PathBuf, process::ExitCode};

use super::{End, Failure, print};
use crate::config::{self, Loaded, Sources};

/// Where a configuration comes from.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "SYNCBRIDGE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder for sessions and keys
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Sets any setting by its path; can be given often
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
}

impl Options {
    /// The configuration of these options, the environment and more flags, each (flag, path, value if given).
    ///
    /// # Errors
    /// [`Failure`] that names everything that is wrong.
    pub fn load(&self, flags: &[(&'static str, &'static str, Option<String>)]) -> Result<Loaded, Failure> {
        let own = [("--data", "data", self.data.clone())];
        let flags = own.iter().chain(flags);
        let sources = Sources {
            file: self.config.clone(),
            // A variable that is not UTF-8 cannot be one of ours: their names are ASCII, and their values settings.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
                .collect(),
            sets: self.set.clone(),
            flags: flags.filter_map(|(flag, path, value)| Some((*flag, *path, value.clone()?))).collect(),
        };
        sources.load().map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            Failure::new(End::Usage, format!("the configuration is not right:{}", lines.concat()))
                .hint("docs/CONFIG.md and `syncbridge config print` describe every setting")
        })
    }
}

/// `config …`
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Says whether the configuration is right, and all that is wrong
    Check(super::serve::Options),
    /// Prints the whole configuration as a TOML file, with comments and where each value came from
    Print {
        /// Print docs/CONFIG.md instead
        #[arg(long, hide = true)]
        markdown: bool,
        /// What to print
        #[command(flatten)]
        options: super::serve::Options,
    },
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(options) => {
            options.load()?;
            print("the configuration is right\n")?;
        }
        Command::Print { markdown: true, .. } => print(config::markdown())?,
        Command::Print { options, .. } => print(config::toml(&options.load()?))?,
    }
    Ok(ExitCode::SUCCESS)
}
