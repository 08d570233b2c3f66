//! The commands of the `syncbridge` binary, one file each, and what they have in common: how a command ends.
//! What people are told goes to stderr; stdout carries what was asked for, and nothing else.

pub mod client;
pub mod config;
pub mod create;
pub mod get;
pub mod handoff;
mod paint;
pub mod profile;
pub mod rotate_key;
pub mod serve;
pub mod storage;
pub mod token;
pub mod update;
pub mod watch;

use std::{
    fmt::Display,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use crate::control;

/// How a command ends; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// It did what was asked.
    Done = 0,
    /// The server or this computer failed.
    Failed = 1,
    /// What was asked cannot be: a wrong option, setting or patch.
    Usage = 2,
    /// No token, a bad one, or not allowed.
    Refused = 3,
    /// No such session.
    NotFound = 4,
    /// Somebody was first: a conflict, a `test` that failed, an id that is taken.
    Conflict = 5,
    /// No server could be reached.
    Unreachable = 6,
    /// Something of the store is damaged.
    Damaged = 7,
}

/// The last lines of `--help`.
pub const HELP: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong option, setting or patch; 3 refused; 4 no such session; 5 conflict, or the id is
taken; 6 no server reached; 7 something of the store is damaged.";

/// Why a command ends without having done what was asked.
#[derive(Debug)]
pub struct Failure {
    end: End,
    what: String,
    hint: Option<String>,
}

impl Failure {
    /// One with this exit code and these words.
    pub fn new(end: End, what: impl Into<String>) -> Self {
        Self { end, what: what.into(), hint: None }
    }

    /// With a sentence that helps.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(End::Failed, error.to_string())
    }
}

/// The exit code of a command; tells on stderr why it failed.
pub fn end(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(failure) => {
            tell(format_args!("error: {}", failure.what));
            if let Some(hint) = failure.hint {
                tell(format_args!("hint: {hint}"));
            }
            ExitCode::from(failure.end as u8)
        }
    }
}

/// What the server that serves from this data folder answers; `hint` is for who finds none there.
fn ask_server(data: &Path, request: &control::Request, hint: &str) -> Result<serde_json::Value, Failure> {
    let unanswered =
        |error| Failure::new(End::Unreachable, format!("no server answers in {}: {error}", data.display())).hint(hint);
    match control::ask(data, request).map_err(unanswered)? {
        control::Answer::Done(done) => Ok(done),
        control::Answer::Failed(why) => Err(Failure::new(End::Failed, why)),
    }
}

/// Writes a line to stderr. Nobody is left to be told when that fails.
pub fn tell(line: impl Display) {
    let _unheard = writeln!(io::stderr().lock(), "{line}");
}

/// Writes text to stdout at once.
///
/// # Errors
/// [`Failure`] when it cannot be written; a reader that closed the pipe has had enough, which is no failure of ours,
/// but the command ends.
pub fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(End::Done, "the reader of the output is gone"),
        _ => Failure::new(End::Failed, format!("stdout: {error}")),
    })
}
