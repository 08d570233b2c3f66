//! Argument parsing, nothing else: each command is a file in `cli/`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use syncbridge::{app, cli};

/// Allocates what shards and clients' state are made of; measured against the system's in perf/NOTES.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One live session on all of a person's devices. Without a command: serve.
#[derive(Debug, Parser)]
#[command(name = "syncbridge", version, after_help = cli::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server.
    Serve(cli::serve::Options),
    /// Makes an access token from the key in the data folder.
    Token(cli::token::Options),
    /// Shows or checks the configuration.
    Config {
        #[command(subcommand)]
        command: cli::config::Command,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::end(match arguments.command {
        None => cli::serve::run(&cli::serve::Options::default(), app::serve),
        Some(Command::Serve(options)) => cli::serve::run(&options, app::serve),
        Some(Command::Token(options)) => cli::token::run(&options),
        Some(Command::Config { command }) => cli::config::run(command),
    })
}
