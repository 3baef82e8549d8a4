//! `strongroom model …`: what ML ops do with a model before it is served.

mod keygen;

use clap::Subcommand;
use std::process::ExitCode;
use strongroom_wire::Result;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key pair for signing: PREFIX.key, which only you can read, and PREFIX.pub.
    Keygen(keygen::Arguments),
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Keygen(arguments) => keygen::run(&arguments, json)?,
    }
    Ok(ExitCode::SUCCESS)
}
