//! `syncbridge profile`: asks the server that serves from the data folder what its processor does.

use std::{path::PathBuf, process::ExitCode};

use super::{End, Failure, ask_server, config, print};
use crate::{
    control,
    defaults::{PROFILE_SECONDS, PROFILE_USUAL_SECONDS},
    profile::Format,
};

/// `profile …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// For how long
    #[arg(long, default_value_t = PROFILE_USUAL_SECONDS, value_parser = clap::value_parser!(u64).range(1..=PROFILE_SECONDS))]
    seconds: u64,
    /// As what it is written.
    #[command(flatten)]
    to: To,
    /// Where the configuration comes from.
    #[command(flatten)]
    common: config::Options,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Write a flame graph to this file, which must not exist
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write compressed protobuf to this file, which must not exist: for `go tool pprof` and its like
    #[arg(long, value_name = "FILE")]
    pprof: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let To { svg, pprof } = &options.to;
    let svg = svg.as_ref().map(|to| (to, Format::Svg));
    let Some((to, format)) = svg.or(pprof.as_ref().map(|to| (to, Format::Pprof))) else {
        return Err(Failure::new(End::Usage, "where to? --svg FILE or --pprof FILE"));
    };
    let to = std::path::absolute(to)?;
    if to.exists() {
        return Err(Failure::new(End::Conflict, format!("{} exists already", to.display())));
    }
    let data = options.common.load(&[])?.config.data;
    let request = control::Request::Profile { seconds: options.seconds, format, to: to.clone() };
    let done = ask_server(&data, &request, "is the server running, with this --data?")?;
    print(format_args!("{} samples, in {}\n", done["samples"], to.display()))?;
    Ok(ExitCode::SUCCESS)
}
