//! `strongroom-enclave`: the measured workload's process.

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use strongroom_enclave::config::Config;
use strongroom_enclave::{process, service};
use strongroom_wire::{Code, Refusal, Result};

/// Serves sealed and signed models from inside a confidential guest, with evidence
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Parse the configuration and exit
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            tracing::error!(%refusal, "refused");
            let line = serde_json::json!({ "refused": refusal });
            // Nobody is left to be told where standard error is closed; the exit code still says it.
            drop(writeln!(std::io::stderr(), "{line}"));
            ExitCode::from(refusal.fault().exit_code())
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    process::hide_panic_messages();
    let config = Config::load(&arguments.config)?;
    if arguments.check {
        return Ok(());
    }
    process::clean_environment()?;
    strongroom_transport::forbid_dumps()?;
    if config.lock_memory {
        strongroom_transport::lock_memory()?;
    }
    process::start_log(config.log)?;
    strongroom_transport::install_crypto();
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Refusal::new(Code::Io, "threads").because(e))?;
    let outcome = runtime.block_on(service::run(&config));
    // A thread that is loading a model cannot be interrupted, and nothing it does outlasts the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
