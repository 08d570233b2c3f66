//! The `syncbridge` binary: argument parsing, nothing else.

use std::process::ExitCode;

use clap::Parser;
use syncbridge::{app, cli};

/// One live session on all of a person's devices.
#[derive(Debug, Parser)]
#[command(name = "syncbridge", version, after_help = cli::HELP, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: serve.
    #[command(flatten)]
    serve: cli::serve::Options,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Starts the server; so does no command at all
    Serve(cli::serve::Options),
    /// Makes a session
    Create(cli::create::Options),
    /// Prints a session's document
    Get(cli::get::Options),
    /// Shows a session and everything that happens in it
    Watch(cli::watch::Options),
    /// Changes a session's document
    Update(cli::update::Options),
    /// Moves a session to another device
    #[command(subcommand)]
    Handoff(cli::handoff::Command),
    /// Makes an access token with the key in the data folder
    Token(cli::token::Options),
    /// Exchanges the key that signs access tokens
    RotateKey(cli::rotate_key::Options),
    /// Samples what a running server's processor does
    Profile(cli::profile::Options),
    /// Looks after the store
    #[command(subcommand)]
    Storage(cli::storage::Command),
    /// Checks or prints the configuration
    #[command(subcommand)]
    Config(cli::config::Command),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::end(match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(options) => cli::serve::run(&options, app::serve),
        Command::Create(options) => cli::create::run(&options),
        Command::Get(options) => cli::get::run(&options),
        Command::Watch(options) => cli::watch::run(&options),
        Command::Update(options) => cli::update::run(&options),
        Command::Handoff(command) => cli::handoff::run(&command),
        Command::Token(options) => cli::token::run(&options),
        Command::RotateKey(options) => cli::rotate_key::run(&options),
        Command::Profile(options) => cli::profile::run(&options),
        Command::Storage(command) => cli::storage::run(&command),
        Command::Config(command) => cli::config::run(command),
    })
}
