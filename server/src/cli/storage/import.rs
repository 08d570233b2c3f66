//! `syncbridge storage import`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::PathBuf,
    process::ExitCode,
};

use syncbridge_storage::{
    Error,
    engine::{
        embedded::tools::{Entry, Import},
        scylla,
    },
};

use super::{
    Where, failure,
    lines::{self, Line},
};
use crate::{
    cli::{End, Failure, tell},
    data,
};

/// Longest line, in bytes: a document of 64 MiB, escaped six times over at the worst.
const LINE: u64 = 512 << 20;

/// `import …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The file that `export` made [default: stdin]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where to.
    #[command(flatten)]
    to: Where,
}

/// Where entries go.
enum Into {
    Folder(Box<Import>),
    Database(Box<scylla::tools::Import>),
}

impl Into {
    fn put(&mut self, entry: Entry) -> Result<(), Error> {
        match self {
            Self::Folder(import) => import.put(entry),
            Self::Database(import) => import.put(entry),
        }
    }

    fn finish(self, epoch: u64) -> Result<(), Error> {
        match self {
            Self::Folder(import) => import.finish(epoch),
            Self::Database(import) => import.finish(epoch),
        }
    }
}

/// Runs it. One line is in memory at a time; the store has no name until the last line was right.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut input: Box<dyn BufRead> = match &options.file {
        Some(path) => Box::new(BufReader::new(
            File::open(path).map_err(|error| Failure::new(End::Usage, format!("{}: {error}", path.display())))?,
        )),
        None => Box::new(io::stdin().lock()),
    };
    let mut number = 0u64;
    let mut next = || -> Result<Option<String>, Failure> {
        number += 1;
        let mut line = String::new();
        let read = input.by_ref().take(LINE).read_line(&mut line);
        let bytes = read.map_err(|error| Failure::new(End::Usage, format!("line {number}: {error}")))?;
        Ok((bytes > 0).then_some(line))
    };
    if !next()?.is_some_and(|line| lines::is_first(&line)) {
        let what = format!("the first line is not that of an export of version {}", lines::VERSION);
        return Err(Failure::new(End::Usage, what));
    }
    let mut import = if let Some(database) = options.to.database()? {
        let store = scylla::tools::Offline::open(&database).map_err(failure)?;
        Into::Database(Box::new(store.import().map_err(failure)?))
    } else {
        data::create(&options.to.data()?)?;
        Into::Folder(Box::new(Import::begin(&options.to.store()?).map_err(failure)?))
    };
    let mut entries = 0u64;
    let epoch = loop {
        let at = entries + 2;
        let Some(line) = next()? else {
            return Err(Failure::new(End::Usage, "the last line is missing: it was cut short"));
        };
        match lines::read(&line) {
            Some(Line::Entry(entry)) => {
                let done = import.put(entry);
                done.map_err(|error| Failure::new(End::Usage, format!("line {at}: {error}")))?;
                entries += 1;
            }
            Some(Line::Last { entries: said, epoch }) if said == entries => break epoch,
            Some(Line::Last { entries: said, .. }) => {
                let what = format!("line {at} says that there were {said} entries, and there were {entries}");
                return Err(Failure::new(End::Usage, what));
            }
            None => return Err(Failure::new(End::Usage, format!("line {at} is not one of an export"))),
        }
    };
    import.finish(epoch).map_err(failure)?;
    tell(format_args!("{entries} entries; a server can be started on it"));
    Ok(ExitCode::SUCCESS)
}
