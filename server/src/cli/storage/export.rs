//! `syncbridge storage export`.

use std::{
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    process::ExitCode,
};

use syncbridge_storage::engine::{
    embedded::{self, tools::Offline},
    scylla,
};

use super::{Where, failure, lines};
use crate::cli::{End, Failure, tell};

/// `export …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The file to make [default: stdout]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Which store.
    #[command(flatten)]
    of: Where,
}

/// Runs it. One entry is in memory at a time.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let out: Box<dyn Write> = match &options.file {
        // It holds password hashes, and what people wrote.
        Some(path) => Box::new(
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| Failure::new(End::Usage, format!("{}: {error}", path.display())))?,
        ),
        None => Box::new(io::stdout().lock()),
    };
    let mut out = io::BufWriter::new(out);
    let written = |error: io::Error| Failure::new(End::Failed, format!("the output: {error}"));
    writeln!(out, "{}", lines::first()).map_err(written)?;
    let mut entries = 0u64;
    let mut each = |entry| {
        entries += 1;
        writeln!(out, "{}", lines::line(&entry)).map_err(Stopped::Output)
    };
    let done = match options.of.database()? {
        None => Offline::export(&options.of.store()?, embedded::Options::default(), &mut each),
        Some(database) => {
            let store = scylla::tools::Offline::open(&database).map_err(failure)?;
            let done = store.export(&mut each);
            store.close().map_err(failure)?;
            done
        }
    };
    let epoch = done.map_err(|stopped| match stopped {
        Stopped::Output(error) => written(error),
        Stopped::Store(error) => failure(error),
    })?;
    writeln!(out, "{}", lines::last(entries, epoch)).and_then(|()| out.flush()).map_err(written)?;
    tell(format_args!("{entries} entries"));
    Ok(ExitCode::SUCCESS)
}

/// What ended it.
enum Stopped {
    Output(io::Error),
    Store(syncbridge_storage::Error),
}

impl From<syncbridge_storage::Error> for Stopped {
    fn from(error: syncbridge_storage::Error) -> Self {
        Self::Store(error)
    }
}
