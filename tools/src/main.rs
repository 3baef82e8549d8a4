//! `strongroom`: the command line of ML ops, key owners and application developers.
//!
//! Each subcommand is one file: it reads arguments, calls a library or a service's API, and prints. What is refused exits 1,
//! wrong usage 2, a failing environment 3 ([`strongroom_wire::Fault`]). `--json` prints one document on stdout.
//!
//! This crate does not judge anything itself, and links no service.

mod evidence;
mod output;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use strongroom_wire::{Refusal, Result};

/// Confidential AI model serving: publish sealed models, approve the guests that may open them, call what was verified.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Look at or verify hardware evidence (an AMD SEV-SNP report).
    #[command(subcommand)]
    Evidence(evidence::Command),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(refusal) => output::report(&refusal),
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Evidence(command) => evidence::run(command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads a file of at most `limit` bytes; `-` is standard input.
fn read_file(path: &std::path::Path, limit: usize) -> Result<Vec<u8>> {
    use std::io::Read;
    let io = |e: std::io::Error| Refusal::io(path.display(), &e);
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(io)?;
    } else {
        std::fs::File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
    }
    if bytes.len() > limit {
        return Err(Refusal::too_large(format!("`{}`", path.display()), format!("over {limit} bytes"), limit));
    }
    Ok(bytes)
}
